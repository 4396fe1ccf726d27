//! Ends of lines, found by the control characters of a text.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::BLOCK;

/// Position of a walk over lines that end in CR and LF and hold no other control characters.
///
/// The control characters of 64 bytes at a time are a map of bits: so the start of a line does not wait for what an earlier
/// line says.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct LineWalk {
    /// Control characters of the block that no line has ended at, a bit for each byte.
    controls: u64,
    /// Start of the block.
    block: u32,
    /// Start of the line.
    at: u32,
    /// Number of rounds that are left.
    left: u32,
    reserved: u32,
}

impl LineWalk {
    /// Prepares for the first of so many rounds, at the start of a line.
    #[inline(always)]
    pub(crate) fn begin(&mut self, at: u32, rounds: u32) {
        // SAFETY: valid references. Volatile, so that the compiler calls no function for it.
        unsafe {
            (&raw mut self.controls).write_volatile(0);
            (&raw mut self.block).write_volatile(at.wrapping_sub(BLOCK));
            (&raw mut self.at).write_volatile(at);
            (&raw mut self.left).write_volatile(rounds);
        }
    }

    /// Takes one of the rounds that are left. False at the last one.
    #[inline(always)]
    pub(crate) const fn count_down(&mut self) -> bool {
        self.left = self.left.wrapping_sub(1);
        self.left != 0
    }

    /// Number of rounds that are left.
    #[inline(always)]
    pub(crate) const fn left(&self) -> u32 {
        self.left
    }

    /// Notes a block, and its control characters.
    #[inline(always)]
    pub(crate) const fn set_block(&mut self, block: u32, controls: u64) {
        self.block = block;
        self.controls = controls;
    }

    /// Removes the CR and the LF of the first line from `controls`, stores the rest, and returns it. The LF may lie in the next
    /// block.
    #[inline(always)]
    pub(crate) const fn end_line(&mut self, controls: u64) -> u64 {
        let left = controls.wrapping_sub((controls & controls.wrapping_neg()).wrapping_mul(3));
        self.controls = left;
        left
    }

    /// Goes to the start of a line.
    #[inline(always)]
    pub(crate) const fn go(&mut self, at: u32) {
        self.at = at;
    }

    /// Reads the state of a round from memory. The verifier then takes it for unknown, so that all rounds look alike to it.
    #[inline(always)]
    pub(crate) fn state(&self) -> (u32, u32, u64) {
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

/// Reads one line of a walk. Evaluates to the position of the line, that of its CR, the eight bytes from there, and the block with
/// the control characters that are left. Returns from the calling step if there is none: true if the line goes on in the next
/// block, false if it does not end with CRLF, or if no round is left.
///
/// A macro: the verifier would follow each result of a function.
macro_rules! next_line {
    ($walk:expr, $source:expr) => {{
        let (at, mut block, mut controls) = $walk.state();
        if !$walk.count_down() {
            return false;
        }
        if controls == 0 {
            block = core::cmp::max(block.wrapping_add($crate::bytes::BLOCK), at);
            controls = $source.controls(block);
            $walk.set_block(block, controls);
            if controls == 0 {
                return true;
            }
        }
        let end = block + $crate::bytes::swar::lowest_bit(controls);
        let controls = $walk.end_line(controls);
        let after = $source.word(end);
        if $crate::bytes::swar::head(after, 2) != $crate::bytes::swar::literal(b"\r\n") {
            return false;
        }
        (at, end, after, (block, controls))
    }};
}

pub(crate) use next_line;
