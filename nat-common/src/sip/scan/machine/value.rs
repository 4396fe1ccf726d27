//! Elements of values that several headers share, and Call-ID.

use super::expect::Expect;
use super::state::Machine;
use crate::bytes::swar::{below, blanks, byte, equal, first};
use crate::bytes::{Source, Span, WIDE};
use crate::sip::field::Field;
use crate::sip::scan::grammar::{LineEnd, find_wide, is_blank, line_end};
use crate::sip::scan::table::Header;

impl Machine {
    /// Reads `HCOLON` (RFC 3261 25.1) where it is not just a colon and a space.
    #[inline(always)]
    pub(super) fn colon(&mut self, at: u32, w: u64) -> bool {
        let b = byte(w, 0);
        if is_blank(b) {
            return self.go(at + blanks(w), Expect::Colon);
        }
        if b != b':' {
            return self.give_up_at(at);
        }
        self.go(at + 1 + blanks(w >> 8), Expect::Value)
    }

    /// Skips white space, folded or not, before a value.
    #[inline(always)]
    pub(super) fn value(&mut self, at: u32, w: u64) -> bool {
        let n = blanks(w);
        // A blank, if there are eight.
        if byte(w, n) > b' ' {
            return self.begin_value(at + n);
        }
        if n > 0 {
            return self.go(at + n, Expect::Value);
        }
        match line_end(w) {
            LineEnd::Folded(n) => self.go(at + n, Expect::Value),
            // An empty value.
            _ if self.header == Header::Expires => self.go(at, Expect::Skip),
            _ => self.spoil(at),
        }
    }

    /// Prepares for a value that begins at `at`.
    #[inline(always)]
    pub(super) fn begin_value(&mut self, at: u32) -> bool {
        self.token_start = at;
        self.host_start = 0;
        self.address_end = 0;
        self.number = 0;
        self.count = 0;
        self.kept = false;
        self.semicolons = u64::MAX;
        self.resume = Expect::Tail;
        self.go(at, self.value_start)
    }

    /// Reads the value of Call-ID.
    #[inline(always)]
    pub(super) fn call_id<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let n = find_wide(source, at, |w| below(w, 0x21));
        let at = at + n;
        if n == WIDE {
            return self.go(at, Expect::CallId);
        }
        self.set_span(Field::CallId as usize, Span::between(self.token_start, at));
        self.tail(at, source.word(at))
    }

    /// Reads a quoted string up to its closing quote.
    #[inline(always)]
    pub(super) fn quoted<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64) -> bool {
        let n = first(equal(w, b'"') | equal(w, b'\\') | below(w, b' '));
        let at = at + n;
        if n == 8 {
            return self.go(at, Expect::Quoted);
        }
        let w = source.word(at);
        match byte(w, 0) {
            b'"' => self.go(at + 1, self.resume),
            b'\\' if byte(w, 1) >= b' ' => self.go(at + 2, Expect::Quoted),
            b'\t' => self.go(at + 1, Expect::Quoted),
            // A quoted string over two lines is legal, but no device sends one.
            _ => self.spoil(at),
        }
    }

    /// Reads white space and the line end. If the line is folded, the scan continues with `resume`.
    #[inline(always)]
    pub(super) fn tail(&mut self, at: u32, w: u64) -> bool {
        if is_blank(byte(w, 0)) {
            return self.go(at + blanks(w), Expect::Tail);
        }
        match line_end(w) {
            LineEnd::Last(n) => self.go(at + n, Expect::Line),
            LineEnd::Folded(n) => self.go(at + n, self.resume),
            // What follows `Contact: *` could mean that it is another Contact.
            LineEnd::Bad if self.header == Header::Contact && self.message.star == 0 => {
                self.go(at, Expect::Skip)
            }
            LineEnd::Bad => self.give_up_at(at),
        }
    }
}
