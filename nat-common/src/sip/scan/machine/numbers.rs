//! CSeq, Expires and the parameter `expires`.

use super::expect::Expect;
use super::state::Machine;
use crate::bpf::bounded;
use crate::bytes::Source;
use crate::bytes::swar::{blanks, byte, digits};
use crate::sip::doubt::Doubt;
use crate::sip::field::MAX_CONTACTS;
use crate::sip::scan::grammar::{LineEnd, is_address_end, is_blank, line_end};
use crate::sip::scan::methods::method;
use crate::sip::scan::table::Header;

/// Seconds that a malformed `expires` stands for (RFC 3261 10.2.1.1).
pub(super) const MALFORMED_EXPIRES: u32 = 3600;

impl Machine {
    /// Reads digits.
    #[inline(always)]
    pub(super) fn number<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let (n, v) = digits(w);
        if n > 0 {
            let number = u64::from(self.number) * power_of_ten(n) + u64::from(v);
            if number > u64::from(u32::MAX) {
                return self.not_a_number(at);
            }
            self.number = number as u32;
            self.count = 1;
        }
        if n == 8 {
            return self.go(at + 8, Expect::Number);
        }
        if self.count == 0 {
            return self.not_a_number(at);
        }
        match self.header {
            Header::Cseq => {
                self.message.cseq = self.number;
                // RFC 3261 8.1.1.5 wants less than 2**31. FreeSWITCH before 2024 writes all 32 bits.
                if byte(w, n) > b' ' {
                    return self.give_up(Doubt::Syntax);
                }
                let next = source.word(at + n + 1);
                if byte(w, n) == b' ' && byte(next, 0) > b' ' {
                    return self.cseq_method(source, at + n + 1, next);
                }
                self.go(at + n, Expect::CseqMethod)
            }
            Header::Expires => {
                if matches!(byte(w, n), b' ' | b'\t' | b'\r' | b'\n') {
                    self.message.expires = self.number;
                }
                self.go(at + n, Expect::Skip)
            }
            // The parameter `expires` of a Contact. No other value begins with a number.
            Header::Contact
            | Header::Via
            | Header::From
            | Header::To
            | Header::CallId
            | Header::RecordRoute
            | Header::Route
            | Header::Credentials => {
                if is_address_end(byte(w, n)) {
                    self.set_contact_expires(self.number);
                }
                self.go(at + n, Expect::Params)
            }
        }
    }

    /// Leaves a number that is none, or has more than 32 bits. A malformed `expires` has its value already.
    #[inline(always)]
    fn not_a_number(&mut self, at: u32) -> bool {
        match self.header {
            Header::Cseq => self.give_up(Doubt::Syntax),
            Header::Expires => self.go(at, Expect::Skip),
            _ => self.go(at, Expect::Params),
        }
    }

    /// Notes the `expires` parameter of the Contact being read.
    #[inline(always)]
    pub(super) fn set_contact_expires(&mut self, seconds: u32) {
        let index = usize::from(self.message.contacts.wrapping_sub(1));
        if index < MAX_CONTACTS {
            let index = bounded::<MAX_CONTACTS>(index);
            // SAFETY: the index is in bounds.
            unsafe {
                *self.message.contact_expires.get_unchecked_mut(index) = seconds.saturating_add(1);
            }
        }
    }

    /// Reads the method of CSeq.
    #[inline(always)]
    pub(super) fn cseq_method<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + blanks(w), Expect::CseqMethod);
        }
        if b < 0x21 {
            return match line_end(w) {
                LineEnd::Folded(n) => self.go(at + n, Expect::CseqMethod),
                _ => self.give_up(Doubt::Syntax),
            };
        }
        let Some((method, n)) = method(w, source.word(at + 8)) else {
            return self.give_up(Doubt::Syntax);
        };
        if self.message.status == 0 {
            // RFC 3261 8.1.1.5: it must match the method of the request.
            if method != self.message.method {
                return self.give_up(Doubt::Syntax);
            }
        } else {
            self.message.method = method;
        }
        self.tail(at + n, source.word(at + n))
    }
}

/// Returns 10 to the power of `n`, from 1 to 8.
#[inline(always)]
const fn power_of_ten(n: u32) -> u64 {
    static POWERS: [u64; 8] = [
        100_000_000,
        10,
        100,
        1000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
    ];
    POWERS[(n & 7) as usize]
}
