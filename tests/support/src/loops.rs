//! Kernel versions that take the loops of the programs.

use nat_userspace::checks::preflight::Kernel;

/// First kernel with `may_goto`.
pub const HAS_MAY_GOTO: Kernel = Kernel(6, 9);

/// First kernel whose verifier is known to accept the programs with `may_goto`. Versions between the two may not end.
pub const TAKES_MAY_GOTO: Kernel = Kernel(6, 12);
