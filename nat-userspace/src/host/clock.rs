//! The time base of the kernel programs, and the calendar.

use std::{io, mem::zeroed};

use jiff::Timestamp;
use nat_common::abi::SECOND;
use nix::time::{ClockId, clock_gettime};

/// Returns the time in nanoseconds of `CLOCK_MONOTONIC_COARSE`, as map values count it.
#[must_use]
pub fn now() -> u64 {
    read(ClockId::CLOCK_MONOTONIC_COARSE)
}

/// Returns the time of the same clock at this moment: `CLOCK_MONOTONIC`, in nanoseconds.
#[must_use]
pub fn precise() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> u64 {
    // Linux has both clocks since 2.6.32.
    let t = clock_gettime(clock).expect("a clock of Linux");
    u64::try_from(t.tv_sec()).unwrap_or_default() * SECOND
        + u64::try_from(t.tv_nsec()).unwrap_or_default()
}

/// Whether something keeps the calendar's clock right, such as NTP.
///
/// # Errors
/// If the kernel does not say.
pub fn is_synchronised() -> io::Result<bool> {
    // SAFETY: it is made of numbers, for all of which zero is a value.
    let mut state: libc::timex = unsafe { zeroed() };
    // SAFETY: without modes the kernel only writes the state.
    if unsafe { libc::adjtimex(&raw mut state) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state.status & libc::STA_UNSYNC == 0)
}

/// A conversion from the programs' clock to the calendar. It is wrong by as much as the host's clock was set, or the host
/// slept, since the time that is converted.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    /// Nanoseconds since 1970 at which the clock of the kernel programs began.
    origin: i128,
}

impl Calendar {
    /// Compares the clocks as they are now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Timestamp::now().as_nanosecond() - i128::from(now()),
        }
    }

    /// Makes the calendar of a clock that began at `origin`.
    #[must_use]
    pub fn starting(origin: Timestamp) -> Self {
        Self {
            origin: origin.as_nanosecond(),
        }
    }

    /// Converts `at` nanoseconds of the programs' clock, to the millisecond.
    #[must_use]
    pub fn at(self, at: u64) -> Timestamp {
        const MILLI: i128 = 1_000_000;
        let ns = self.origin + i128::from(at);
        Timestamp::from_nanosecond(ns - ns.rem_euclid(MILLI)).unwrap_or_default()
    }
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now_by_both_clocks() {
        let calendar = Calendar::new();
        let off = Timestamp::now().duration_since(calendar.at(now()));
        assert!(off.as_millis().abs() < 1000, "{off}");
        let later = calendar.at(now() + 60 * SECOND);
        assert_eq!(
            later
                .duration_since(calendar.at(now()))
                .as_secs_f64()
                .round(),
            60.0
        );
    }
}
