//! How long what is known lasts.

use crate::abi::{SECOND, TICK_SHIFT};

/// How long the first source of a transaction wins, and a pending dialog end lasts: 64 * T1 (RFC 3261
/// 17), in ticks.
pub const TRANSACTION_LIFE: u32 = ((32 * SECOND) >> TICK_SHIFT) as u32;

/// How long an answer to the PBX is waited for: longer than a phone rings, in ticks.
pub const ANSWER_LIFE: u32 = (EARLY_LIFE >> TICK_SHIFT) as u32;

/// How long an early dialog lasts without another provisional response: Timer C is above three
/// minutes (RFC 3261 16.6).
pub const EARLY_LIFE: u64 = 300 * SECOND;

/// How long a dialog lasts without another accepted message.
pub const DIALOG_LIFE: u64 = 12 * 3600 * SECOND;

/// How long a dialog end is kept after BYE, for retransmissions.
pub const ENDED_LIFE: u64 = 32 * SECOND;

/// What a registrar grants if it says nothing, in seconds (RFC 3261 10.2.1.1, 20.19 suggest an hour).
pub const DEFAULT_EXPIRES: u32 = 3600;

/// How long the mark of `Contact: *` is kept: longer than registrars grant.
pub const REMOVED_LIFE: u64 = 7 * 24 * 3600 * SECOND;

/// How long it is remembered where a terminal answers, in ticks.
pub const PEER_LIFE: u32 = ((12 * 3600 * SECOND) >> TICK_SHIFT) as u32;
