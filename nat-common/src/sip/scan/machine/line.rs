//! The start of a header line, and lines that do not matter.

use super::expect::Expect;
use super::numbers::MALFORMED_EXPIRES;
use super::state::Machine;
use crate::bpf::bounded;
use crate::bytes::swar::{below, byte, equal, first, head, literal, starts_with};
use crate::bytes::{Source, Span, WIDE};
use crate::sip::doubt::Doubt;
use crate::sip::field::Field;
use crate::sip::header;
use crate::sip::scan::grammar::find_wide;
use crate::sip::scan::table::{HEADERS, Header, folded_name, index};

/// First element of the value of each header, and its bit in [`header`] if it must appear only once, otherwise 0.
static VALUES: [(Expect, u8); 16] = {
    let mut values = [(Expect::Skip, 0); 16];
    values[Header::Via as usize] = (Expect::Via, 0);
    values[Header::From as usize] = (Expect::Address, header::FROM);
    values[Header::To as usize] = (Expect::Address, header::TO);
    values[Header::CallId as usize] = (Expect::CallId, header::CALL_ID);
    values[Header::Cseq as usize] = (Expect::Number, header::CSEQ);
    values[Header::Contact as usize] = (Expect::Address, 0);
    values[Header::Expires as usize] = (Expect::Number, header::EXPIRES);
    values[Header::RecordRoute as usize] = (Expect::Address, 0);
    values
};

impl Machine {
    /// First part of a step: looks up the header by its name, long or compact (RFC 3261 7.3.3), in any case.
    #[inline(always)]
    pub(super) fn line<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let stops = equal(w, b':') | below(w, 0x21);
        let found = &HEADERS[index(folded_name(w, stops))];
        if found.name != folded_name(w, stops) {
            if byte(w, 0) == b'\n' || head(w, 2) == literal(b"\r\n") {
                self.done = true;
                return false;
            }
            return self.go(at, Expect::Skip);
        }
        let mut at = at + first(stops);
        let m = &mut self.message;
        match found.header {
            Header::Route => {
                // 0 for a second one. Arithmetic, since the verifier follows each branch here through all parameters.
                let only = 1 ^ u32::from((m.headers / header::ROUTE) & 1);
                m.headers |= header::ROUTE;
                self.set_span(Field::Route as usize, Span::between(at, at + only));
                return self.go(at, Expect::Skip);
            }
            // Eight bytes of its name are enough: no other header begins so that a REGISTER has.
            Header::Credentials => {
                m.headers |= header::CREDENTIALS;
                return self.go(at, Expect::Skip);
            }
            Header::RecordRoute => {
                let rest = source.word(at);
                if !starts_with(rest, b"oute") || !matches!(byte(rest, 4), b':' | b' ' | b'\t') {
                    return self.go(at, Expect::Skip);
                }
                at += 4;
            }
            Header::Expires => {
                // PBXs take the first. No identity depends on it.
                if m.headers & header::EXPIRES != 0 {
                    return self.go(at, Expect::Skip);
                }
                m.expires = MALFORMED_EXPIRES;
            }
            _ => {}
        }
        // SAFETY: the index is in bounds.
        let (value_start, once) =
            unsafe { *VALUES.get_unchecked(bounded::<16>(found.header as usize)) };
        if m.headers & once != 0 {
            return self.give_up(Doubt::Duplicate);
        }
        m.headers |= once;
        if self.ignored & found.header.bit() != 0 {
            return self.go(at, Expect::Skip);
        }
        self.header = found.header;
        self.value_start = value_start;
        let w = source.word(at);
        if head(w, 2) == literal(b": ") && byte(w, 2) > b' ' {
            return self.begin_value(at + 2);
        }
        self.go(at, Expect::Colon)
    }

    /// Finds the end of a line that does not matter. `line` skips its folded continuation.
    #[inline(always)]
    pub(super) fn skip<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        // Line ends, and control characters without a meaning here.
        let n = find_wide(source, at, |w| below(w, b'\r' + 1));
        let at = at + n;
        if n == WIDE {
            return self.go(at, Expect::Skip);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b'\r' | b'\n' => self.end_skipped_line(at, w),
            _ => {
                let n = find_wide(source, at, |w| equal(w, b'\n') | equal(w, b'\r'));
                self.go(at + n, Expect::Skip)
            }
        }
    }

    /// Ends a line that does not matter, at the first byte of `w`. A lone CR is in doubt: some parsers take it for a
    /// line end, others do not.
    #[inline(always)]
    pub(super) fn end_skipped_line(&mut self, at: u32, w: u64) -> bool {
        match (byte(w, 0), byte(w, 1)) {
            (b'\n', _) => self.go(at + 1, Expect::Line),
            (_, b'\n') => self.go(at + 2, Expect::Line),
            _ => self.give_up(Doubt::Syntax),
        }
    }
}
