//! The time base of the kernel programs.

use nat_common::abi::SECOND;
use nix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds of `CLOCK_MONOTONIC_COARSE`, as map values count it.
#[must_use]
pub fn now() -> u64 {
    // Fails only for a clock that the kernel does not have; this one is there since 2.6.32.
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("CLOCK_MONOTONIC_COARSE");
    u64::try_from(t.tv_sec()).unwrap_or_default() * SECOND
        + u64::try_from(t.tv_nsec()).unwrap_or_default()
}
