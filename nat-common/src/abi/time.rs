//! Clock of the kernel programs: `CLOCK_MONOTONIC_COARSE`, in nanoseconds or in ticks.

/// Nanoseconds of a tick, as a shift: a tick is about a millisecond.
pub const TICK_SHIFT: u32 = 20;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Converts nanoseconds to ticks.
#[inline(always)]
#[must_use]
pub const fn ticks(ns: u64) -> u64 {
    ns >> TICK_SHIFT
}

/// Ticks from `then` to `now`; 0 if `then` is ahead, since the clock of another CPU may be a tick ahead.
#[inline(always)]
#[must_use]
pub const fn age(now: u64, then: u64) -> u64 {
    now.saturating_sub(then)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks of 32 bits went round in 52 days, and an entry of 27 days was new again.
    #[test]
    fn an_age_grows_for_years() {
        const DAY: u64 = 24 * 3600 * SECOND;
        let born = ticks(DAY);
        let mut before = 0;
        for day in 2..4000 {
            let age = age(ticks(day * DAY), born);
            assert!(age > before, "day {day}");
            before = age;
        }
        assert_eq!(age(born, born + 1), 0);
    }
}
