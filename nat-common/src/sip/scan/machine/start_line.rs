//! The start line of a request or response (RFC 3261 7.1, 7.2).

use super::expect::Expect;
use super::state::Machine;
use crate::bytes::swar::{below, brackets, byte, digits, head, literal};
use crate::bytes::{Source, Span};
use crate::sip::doubt::Doubt;
use crate::sip::field::Field;
use crate::sip::method::Method;
use crate::sip::scan::grammar::{NARROW, find_narrow, scheme};
use crate::sip::scan::methods::method;
use crate::sip::scan::table::{Needed, ignored};

impl Machine {
    /// Reads CRLFs before the start line (RFC 3261 7.5), then `SIP/2.0 SP Status-Code SP`, or `Method SP` and the scheme of
    /// the Request-URI. Devices omit an empty reason with the space before it.
    #[inline(always)]
    pub(super) fn start_line<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        if head(w, 2) == literal(b"\r\n") {
            return self.go(at + 2, Expect::StartLine);
        }
        if w == literal(b"SIP/2.0 ") {
            let w = source.word(at + 8);
            let (n, status) = digits(w);
            let has_end = matches!(byte(w, 3), b' ' | b'\r' | b'\n');
            if n != 3 || !has_end || !(100..=699).contains(&status) {
                return self.give_up(Doubt::Syntax);
            }
            self.message.status = status as u16;
            self.ignored = ignored(self.needed, None);
            return self.go(at + 11, Expect::Skip);
        }
        let next = source.word(at + 8);
        let Some((method, n)) = method(w, next) else {
            return self.give_up(Doubt::Syntax);
        };
        if byte(if n < 8 { w } else { next }, n) != b' ' {
            return self.give_up(Doubt::Syntax);
        }
        self.message.method = method;
        self.ignored = ignored(self.needed, Some(method));
        let uri = at + n + 1;
        if self.needed == Needed::In && method != Method::Register {
            // Of a terminal's requests, only a REGISTER is one that sipnat asks what it is for.
            return self.go(uri, Expect::Skip);
        }
        let uri = uri + scheme(source.word(uri));
        self.token_start = uri;
        self.go(uri, Expect::RequestUri)
    }

    /// Reads the Request-URI and `SP SIP/2.0`.
    #[inline(always)]
    pub(super) fn request_uri<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let n = find_narrow(source, at, w, |w| below(w, 0x21) | brackets(w));
        if n == NARROW {
            return self.go(at + n, Expect::RequestUri);
        }
        let end = at + n;
        let w = source.word(end);
        let version = source.word(end + 1);
        let eol = byte(version, 7);
        if byte(w, 0) != b' '
            || end == self.token_start
            || head(version, 7) != literal(b"SIP/2.0")
            || (eol != b'\r' && eol != b'\n')
        {
            return self.give_up_at(end);
        }
        self.set_span(
            Field::RequestUri as usize,
            Span::between(self.token_start, end),
        );
        self.end_skipped_line(end + 8, source.word(end + 8))
    }
}
