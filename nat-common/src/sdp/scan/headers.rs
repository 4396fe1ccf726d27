//! The headers that describe the body (RFC 3261 20.11 to 20.15), long and compact.

use super::expect::{Body, Expect, Header};
use super::state::Scan;
use crate::bytes::Source;
use crate::bytes::swar::{before, below, byte, digits, equal, literal, starts_with};
use crate::sdp::none::NoDescription;

impl Scan {
    /// Skips line ends before the start line.
    #[inline(always)]
    pub(super) fn start<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        if matches!(byte(source.word(at), 0), b'\r' | b'\n') {
            return self.go(at + 1, Expect::Start);
        }
        self.go(at, Expect::Rest)
    }

    /// Reads the name of a header, or the empty line.
    #[inline(always)]
    pub(super) fn header<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let stops = equal(w, b':') | below(w, 0x21);
        let name = before(w | 0x2020_2020_2020_2020, stops);
        let (header, n) = if name == literal(b"content-") {
            let rest = source.word(at + 8);
            if starts_with(rest, b"type") {
                (Header::Type, 12)
            } else if starts_with(rest, b"length") {
                (Header::Length, 14)
            } else if starts_with(rest, b"encoding") {
                (Header::Encoding, 16)
            } else {
                return self.go(at, Expect::Rest);
            }
        } else if name == literal(b"c") {
            (Header::Type, 1)
        } else if name == literal(b"l") {
            (Header::Length, 1)
        } else if name == literal(b"e") {
            (Header::Encoding, 1)
        } else {
            return match (byte(w, 0), byte(w, 1)) {
                (b'\n', _) => self.begin_body(source, at + 1),
                (b'\r', b'\n') => self.begin_body(source, at + 2),
                _ => self.go(at, Expect::Rest),
            };
        };
        self.header = header;
        self.go(at + n, Expect::Colon)
    }

    /// Reads the colon after a name.
    #[inline(always)]
    pub(super) fn colon<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        match byte(w, 0) {
            b' ' | b'\t' => self.go(at + 1, Expect::Colon),
            b':' => {
                let bit = self.header.bit();
                if self.seen & bit != 0 {
                    return self.refuse(NoDescription::Duplicate);
                }
                self.seen |= bit;
                let space = u32::from(byte(w, 1) == b' ');
                self.go(at + 1 + space, Expect::Value)
            }
            // A longer name.
            _ => self.go(at, Expect::Rest),
        }
    }

    /// Skips white space, folded or not, and reads the value.
    #[inline(always)]
    pub(super) fn value<S: Source + ?Sized>(&mut self, source: &S, at: u32) -> bool {
        let w = source.word(at);
        let n = match (byte(w, 0), byte(w, 1), byte(w, 2)) {
            (b' ' | b'\t', ..) => 1,
            (b'\n', b' ' | b'\t', _) => 2,
            (b'\r', b'\n', b' ' | b'\t') => 3,
            _ => 0,
        };
        if n != 0 {
            return self.go(at + n, Expect::Value);
        }
        match self.header {
            Header::Type => {
                let rest = source.word(at + 8);
                let ends = matches!(byte(rest, 7), b';' | b' ' | b'\t' | b'\r' | b'\n');
                if starts_with(w, b"applicat") && starts_with(rest, b"ion/sdp") && ends {
                    self.body = Body::Description;
                } else if starts_with(w, b"multipar") && starts_with(rest, b"t/") {
                    self.body = Body::Multipart;
                }
            }
            Header::Length => {
                let (n, length) = digits(w);
                if n == 0 || n == 8 || !matches!(byte(w, n), b' ' | b'\t' | b'\r' | b'\n') {
                    return self.refuse(NoDescription::Syntax);
                }
                self.length = length;
            }
            Header::Encoding => {
                let ends = matches!(byte(source.word(at + 8), 0), b' ' | b'\t' | b'\r' | b'\n');
                self.encoded = !(starts_with(w, b"identity") && ends);
            }
        }
        self.go(at, Expect::Rest)
    }

    /// Whether there is a Content-Length.
    #[inline(always)]
    pub(super) fn has_length(&self) -> bool {
        self.seen & Header::Length.bit() != 0
    }
}
