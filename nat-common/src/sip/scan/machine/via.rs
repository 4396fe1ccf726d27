//! The sent-protocol of Via (RFC 3261 25.1, `via-parm`).

use super::expect::Expect;
use super::state::Machine;
use crate::bpf::sign;
use crate::bytes::Source;
use crate::bytes::swar::{below, blanks, byte, equal, first, starts_with};
use crate::sip::doubt::Doubt;
use crate::sip::header;
use crate::sip::scan::grammar::{LineEnd, is_blank, line_end};

impl Machine {
    /// Reads the start of a Via. Mostly that is `SIP/2.0/`, the transport and a space.
    #[inline(always)]
    pub(super) fn via<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let m = &mut self.message;
        m.headers |= header::VIA;
        m.vias = m.vias.saturating_add(1);
        // Only the topmost names the transaction of this hop.
        self.semicolons = 0_u64.wrapping_sub(sign(i64::from(m.vias) - 2));
        if starts_with(w, b"sip/2.0/") {
            let rest = source.word(at + 8);
            let n = part(rest);
            let b = byte(rest, n + 1);
            if n > 0
                && n < 7
                && byte(rest, n) == b' '
                && b > b' '
                && !matches!(b, b'/' | b';' | b',')
            {
                return self.go(at + 8 + n + 1, Expect::Params);
            }
        }
        self.go(at, Expect::Protocol)
    }

    /// Reads one part of `sent-protocol LWS`, which may have white space around its slashes.
    ///
    /// Each Via must say that it is of SIP: otherwise the end of one Via and the start of the next could be read in two
    /// ways.
    #[inline(always)]
    pub(super) fn protocol(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + blanks(w), Expect::Protocol);
        }
        if b < 0x21 {
            return match line_end(w) {
                LineEnd::Folded(n) => self.go(at + n, Expect::Protocol),
                _ => self.give_up(Doubt::Syntax),
            };
        }
        let n = part(w);
        let n = match self.count {
            0 if n == 3 && starts_with(w, b"sip") => 3,
            1 | 3 if b == b'/' => 1,
            2 if n == 3 && starts_with(w, b"2.0") => 3,
            // A transport of more than seven characters takes several steps.
            4 if n == 8 => return self.go(at + 7, Expect::Protocol),
            4 if n > 0 && byte(w, n) < 0x21 => n,
            5 if n > 0 => return self.go(at, Expect::Params),
            _ => return self.give_up(Doubt::Syntax),
        };
        self.count = self.count.wrapping_add(1);
        self.go(at + n + blanks(w >> (n * 8)), Expect::Protocol)
    }
}

/// Returns the number of bytes before white space or a separator; at most eight.
#[inline(always)]
const fn part(w: u64) -> u32 {
    first(below(w, 0x21) | equal(w, b'/') | equal(w, b';') | equal(w, b','))
}
