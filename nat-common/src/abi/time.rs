//! The clock of the kernel programs.

/// Ticks are nanoseconds shifted down to about a millisecond, so that 32 bits last for 52 days.
#[inline(always)]
#[must_use]
pub const fn ticks(ns: u64) -> u32 {
    (ns >> TICK_SHIFT) as u32
}

/// A tick is `1 << TICK_SHIFT` nanoseconds.
pub const TICK_SHIFT: u32 = 20;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;
