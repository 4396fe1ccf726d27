//! The walk over the lines of a description. It notes where the lines lie that matter, and reads none of them.
//!
//! Of a dozen lines, mostly two or three matter. The scanner then goes from one of them to the next. A body that is not as most
//! devices write it is read line by line: one with other line ends, with a tab, cut off, in several parts, or with too many lines
//! that matter.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::bpf::{Repeat, bounded};
use crate::bytes::swar::{head, literal, lowest_bit};
use crate::bytes::{LineWalk, Reader, Source, next_line};
use crate::sip::{MAX_SCAN, rounds};

/// Number of lines that are noted: a power of two, so that the verifier can bound an index.
pub(super) const LINES: usize = 16;

/// Lines of a description that matter.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Lines {
    /// Position of the walk.
    walk: LineWalk,
    /// End of the description.
    end: u32,
    /// Number of lines that were noted.
    count: u32,
    /// Number of them that were taken.
    taken: u32,
    /// Not 0: all lines were walked over.
    done: u32,
    /// Positions of the lines.
    starts: [u32; LINES],
}

impl Reader for Lines {
    const TWO_PER_CALL: bool = true;

    /// Passes one line, and a second one that ends in the same block. False at the end of the description, or at something unusual.
    #[inline(always)]
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        let (at, end, _, (block, controls)) = next_line!(self.walk, source);
        if !self.pass(source, at, end) {
            return false;
        }
        if controls == 0 {
            return true;
        }
        // A second line in this round: the round itself takes as long as a line.
        let at = end + 2;
        let end = block + lowest_bit(controls);
        self.walk.end_line(controls);
        head(source.word(end), 2) == literal(b"\r\n") && self.pass(source, at, end)
    }
}

impl Lines {
    /// Notes a line if it matters, and goes to the next. False at the end of the description.
    #[inline(always)]
    fn pass<S: Source + ?Sized>(&mut self, source: &S, at: u32, end: u32) -> bool {
        let next = end + 2;
        if matters(source.word(at)) {
            let index = bounded::<LINES>(self.count as usize);
            // SAFETY: the index is in bounds.
            unsafe { *self.starts.get_unchecked_mut(index) = at };
            self.count = self.count.wrapping_add(1);
        }
        if next >= self.end {
            // A line that crosses the end is unusual.
            self.done = u32::from(next == self.end && self.count <= LINES as u32);
            return false;
        }
        self.walk.go(next);
        true
    }

    /// Walks over the lines from `at`, up to the end of the description. False at something unusual.
    #[inline(always)]
    pub(super) fn walk<S: Source + ?Sized, L: Repeat>(
        &mut self,
        source: &S,
        at: u32,
        end: u32,
    ) -> bool {
        self.walk.begin(at, rounds(end.saturating_sub(at)));
        self.end = end;
        self.count = 0;
        self.taken = 0;
        self.read::<S, L>(source, rounds(MAX_SCAN));
        self.is_done()
    }

    /// Returns to the state before a walk.
    #[inline(always)]
    pub(super) const fn forget(&mut self) {
        self.done = 0;
    }

    /// Whether all lines were walked over.
    #[inline(always)]
    pub(super) fn is_done(&self) -> bool {
        // SAFETY: a valid reference. Volatile, as the state of a round is.
        unsafe { (&raw const self.done).read_volatile() != 0 }
    }

    /// Takes the next line that matters; none if there is none.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<u32> {
        let taken = self.taken;
        if taken >= self.count {
            return None;
        }
        self.taken = taken + 1;
        let index = bounded::<LINES>(taken as usize);
        // SAFETY: the index is in bounds.
        Some(unsafe { *self.starts.get_unchecked(index) })
    }
}

/// Whether a line that begins with `w` may matter. Of attributes, four letters tell.
#[inline(always)]
const fn matters(w: u64) -> bool {
    const fn begins(w: u64, s: &[u8; 2]) -> bool {
        w as u16 == u16::from_le_bytes(*s)
    }
    const fn is(w: u64, name: &[u8; 4]) -> bool {
        (w >> 16) as u32 == literal(name) as u32
    }
    if begins(w, b"a=") {
        return is(w, b"rtcp")
            || is(w, b"send")
            || is(w, b"recv")
            || is(w, b"inac")
            || is(w, b"ice-");
    }
    begins(w, b"c=") || begins(w, b"m=") || begins(w, b"v=")
}
