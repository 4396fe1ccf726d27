//! The walk over the lines of a message. It notes where the values of the wanted headers lie, and reads none of them.
//!
//! A line that is not as most devices write it ends the walk: one that is folded, ends in a bare LF, or holds a tab, or a
//! second one of a header that mostly stands alone.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::limit::{MAX_SCAN, rounds};
use super::table::{FOLD, HEADERS, Header, index};
use crate::bpf::{Repeat, bounded};
use crate::bytes::swar::{byte, head, literal};
use crate::bytes::{LineWalk, Reader, Source, next_line};
use crate::sip::scan::grammar::is_blank;

/// Upper bound of the rounds.
const MAX_ROUNDS: u32 = rounds(MAX_SCAN);

/// Lines of a message, as far as it was walked.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Lines {
    /// Position of the walk.
    walk: LineWalk,
    /// End of the start line.
    pub(super) start_line: u32,
    /// Start of the body, where the walk ends; 0 before that.
    body: u32,
    /// Headers that were seen, a bit for each (see [`Header::bit`]), and [`ODD_CONTENT`].
    seen: u32,
    reserved: u32,
    /// Values of the headers that were seen.
    values: [Value; 16],
    /// Headers that describe the body.
    pub(super) content: Content,
}

/// Body of a message, and the headers that describe it, which stand once at most.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub struct Content {
    /// Position of the value of Content-Type; 0: there is none.
    pub kind: u32,
    /// Position of the value of Content-Length; 0: there is none.
    pub length: u32,
    /// Position of the body; 0: it must be sought from the first byte of the message.
    pub body: u32,
    reserved: u32,
}

/// Bit beside those of the headers: one may describe the body in another form than most devices write.
const ODD_CONTENT: u32 = 1 << 31;

/// Value of a header. It may be empty.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub struct Value {
    /// Position of its first byte.
    pub(super) start: u32,
    /// Position of the CR after it.
    pub(super) end: u32,
}

impl Reader for Lines {
    const TWO_PER_CALL: bool = true;

    /// Goes to the next line, or to the next block. False at the end of the headers, or at something unusual.
    #[inline(always)]
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        let (at, end, after, _) = next_line!(self.walk, source);
        let w = source.word(at) | FOLD;
        let found = &HEADERS[index(w)];
        if (w ^ found.name) & found.mask == 0 {
            let colon = at + u32::from(found.len);
            let single = u32::from(found.single);
            if source.word(colon) as u16 & found.colon_mask != found.colon
                || self.seen & single != 0
                || is_blank(byte(after, 2))
            {
                return false;
            }
            let header = found.header as u8;
            self.seen |= 1 << (header & 15);
            let value = Value {
                start: colon + 2,
                end,
            };
            let header = bounded::<16>(usize::from(header));
            // SAFETY: the index is in bounds.
            unsafe { *self.values.get_unchecked_mut(header) = value };
        } else if source.is_body_wanted() && may_describe_body(w) {
            self.note_content(source, at, w, byte(after, 2));
        }
        if self.start_line == 0 {
            self.start_line = end;
        }
        self.walk.go(end + 2);
        if head(after, 4) == literal(b"\r\n\r\n") {
            self.body = end + 4;
            // An empty line before the start line ends no headers.
            if self.seen & ODD_CONTENT == 0 && self.start_line != 0 && self.body <= MAX_SCAN {
                self.content.body = self.body;
            }
            return false;
        }
        true
    }
}

impl Lines {
    /// Walks over the lines, up to one that is not usual.
    #[inline(always)]
    pub(super) fn walk<S: Source + ?Sized, L: Repeat>(&mut self, source: &S) {
        self.begin(source.len());
        self.read::<S, L>(source, MAX_ROUNDS);
    }

    /// Notes where the value of a header that describes the body lies. Its line begins with `w`, in lower case.
    #[inline(always)]
    fn note_content<S: Source + ?Sized>(&mut self, source: &S, at: u32, w: u64, next_line: u8) {
        if self.start_line == 0 {
            // The start line is no header.
            return;
        }
        let rest = source.word(at + 8) | FOLD;
        let long = w == literal(b"content-");
        let (place, len) = if long && head(rest, 4) == literal(b"type") {
            (&mut self.content.kind, 12)
        } else if long && head(rest, 6) == literal(b"length") {
            (&mut self.content.length, 14)
        } else if !long && byte(w, 0) == b'c' {
            (&mut self.content.kind, 1)
        } else if !long && byte(w, 0) == b'l' {
            (&mut self.content.length, 1)
        } else {
            if !long || rest == literal(b"encoding") {
                self.seen |= ODD_CONTENT;
            }
            return;
        };
        let colon = source.word(at + len);
        let usual = head(colon, 2) == literal(b": ") && !is_blank(byte(colon, 2));
        if *place != 0 || !usual || is_blank(next_line) {
            self.seen |= ODD_CONTENT;
        }
        *place = at + len + 2;
    }

    /// Whether the walk came to the body of the message.
    #[inline(always)]
    pub(super) const fn is_done(&self) -> bool {
        self.body != 0 && self.body <= MAX_SCAN
    }

    /// Returns the number of rounds that the walk has made for a message of a length.
    #[inline(always)]
    pub(super) const fn walked(&self, length: u32) -> u32 {
        rounds(length).saturating_sub(self.walk.left())
    }

    /// Prepares for the first round.
    #[inline(always)]
    fn begin(&mut self, length: u32) {
        self.walk.begin(0, rounds(length));
        // SAFETY: valid references. Volatile, so that the compiler calls no function for it.
        unsafe {
            (&raw mut self.start_line).write_volatile(0);
            (&raw mut self.body).write_volatile(0);
            (&raw mut self.seen).write_volatile(0);
            (&raw mut self.content.kind).write_volatile(0);
            (&raw mut self.content.length).write_volatile(0);
            (&raw mut self.content.body).write_volatile(0);
        }
    }

    /// Headers that were seen.
    #[inline(always)]
    pub(super) const fn seen(&self, header: Header) -> bool {
        self.seen & header.bit() as u32 != 0
    }

    /// Value of a header that was seen.
    #[inline(always)]
    pub(super) const fn value(&self, header: Header) -> Value {
        self.values[header as usize]
    }
}

/// Whether a line that begins with `w`, in lower case, may describe the body: by a long name, or by a compact one (RFC 3261
/// 20.11 to 20.15).
#[inline(always)]
const fn may_describe_body(w: u64) -> bool {
    w == literal(b"content-")
        || matches!(byte(w, 1), b':' | b' ') && matches!(byte(w, 0), b'c' | b'l' | b'e')
}
