//! The walk over the lines of a message. It notes where the values of the wanted headers lie, and reads none of them.
//!
//! The control characters of 64 bytes at a time are a map of bits: so the start of a line does not wait for what an
//! earlier line says. A line that is not as most devices write it ends the walk: one that is folded, ends in a bare LF, or
//! holds a tab, or a second one of a header that mostly stands alone.

use core::cmp::max;

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::limit::{MAX_SCAN, rounds};
use super::table::{FOLD, HEADERS, Header, index};
use crate::bpf::{Repeat, bounded};
use crate::bytes::swar::{byte, head, literal, lowest_bit};
use crate::bytes::{BLOCK, Reader, Source};
use crate::sip::scan::grammar::is_blank;

/// Upper bound of the rounds.
const MAX_ROUNDS: u32 = rounds(MAX_SCAN);

/// Lines of a message, as far as it was walked.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Lines {
    /// Control characters of the block that no line has ended at, a bit for each byte.
    controls: u64,
    /// Start of the block.
    block: u32,
    /// Start of the line.
    at: u32,
    /// End of the start line.
    pub(super) start_line: u32,
    /// Start of the body, where the walk ends; 0 before that.
    body: u32,
    /// Headers that were seen, a bit for each (see [`Header::bit`]).
    seen: u32,
    /// Number of rounds that are left.
    left: u32,
    /// Values of the headers that were seen.
    values: [Value; 16],
}

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
        let (at, mut block, mut controls) = self.state();
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            return false;
        }
        if controls == 0 {
            block = max(block.wrapping_add(BLOCK), at);
            controls = source.controls(block);
            self.block = block;
            self.controls = controls;
            if controls == 0 {
                return true;
            }
        }
        let end = block + lowest_bit(controls);
        // The CR and the LF, which may lie in the next block.
        self.controls = controls.wrapping_sub((controls & controls.wrapping_neg()).wrapping_mul(3));
        let after = source.word(end);
        if head(after, 2) != literal(b"\r\n") {
            return false;
        }
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
        }
        if self.start_line == 0 {
            self.start_line = end;
        }
        self.at = end + 2;
        if head(after, 4) == literal(b"\r\n\r\n") {
            self.body = end + 4;
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

    /// Whether the walk came to the body of the message.
    #[inline(always)]
    pub(super) const fn is_done(&self) -> bool {
        self.body != 0 && self.body <= MAX_SCAN
    }

    /// Returns the number of rounds that the walk has made for a message of a length.
    #[inline(always)]
    pub(super) const fn walked(&self, length: u32) -> u32 {
        rounds(length).saturating_sub(self.left)
    }

    /// Prepares for the first round, which goes to the first block.
    #[inline(always)]
    fn begin(&mut self, length: u32) {
        // SAFETY: valid references. Volatile, so that the compiler calls no function for it.
        unsafe {
            (&raw mut self.controls).write_volatile(0);
            (&raw mut self.block).write_volatile(0_u32.wrapping_sub(BLOCK));
            (&raw mut self.at).write_volatile(0);
            (&raw mut self.start_line).write_volatile(0);
            (&raw mut self.body).write_volatile(0);
            (&raw mut self.seen).write_volatile(0);
            (&raw mut self.left).write_volatile(rounds(length));
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

    /// Reads the state of a round from memory. The verifier then takes it for unknown, so that all rounds look alike to it.
    #[inline(always)]
    fn state(&self) -> (u32, u32, u64) {
        // SAFETY: valid references. Volatile, so that the compiler keeps the state in memory.
        unsafe {
            (
                (&raw const self.at).read_volatile(),
                (&raw const self.block).read_volatile(),
                (&raw const self.controls).read_volatile(),
            )
        }
    }
}
