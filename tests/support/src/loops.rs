//! Which kernels take which loop of the programs.

use nat_userspace::checks::preflight::Kernel;

/// The first that has `may_goto`.
pub const HAS_MAY_GOTO: Kernel = Kernel(6, 9);

/// The first whose verifier is known to get through the programs with it. Those between may get lost in it.
pub const TAKES_MAY_GOTO: Kernel = Kernel(6, 12);
