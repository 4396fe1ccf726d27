//! Lifetimes of what is known, in nanoseconds, or in ticks where a table of sets keeps it.
//!
//! ```
//! use nat_common::abi::{SECOND, ticks};
//! use nat_common::engine::lifetimes::{DIALOG_LIFE, TRANSACTION_LIFE};
//!
//! assert_eq!(TRANSACTION_LIFE, ticks(32 * SECOND));
//! assert_eq!(DIALOG_LIFE, 12 * 3600 * SECOND);
//! ```

use crate::abi::{DIALOG_STATES, SECOND, ticks};
use crate::tables::rank;

/// Ticks for which the first source of a transaction wins, and a pending dialog end lasts: 64 * T1 (RFC 3261 17).
pub const TRANSACTION_LIFE: u64 = rank::TRANSACTION;

/// Ticks for which an answer to the PBX is waited for: longer than a phone rings.
pub const ANSWER_LIFE: u64 = rank::RINGS;

/// Default life of an early dialog without another provisional response: Timer C is above three minutes (RFC 3261 16.6).
pub const EARLY_LIFE: u64 = 300 * SECOND;

/// Default life of a dialog without another accepted message.
pub const DIALOG_LIFE: u64 = 12 * 3600 * SECOND;

/// Life of a dialog end after BYE, for retransmissions.
pub const ENDED_LIFE: u64 = 32 * SECOND;

/// Returns the lives of dialog ends by their state ([`BindingFlags::dialog_state`](crate::abi::BindingFlags::dialog_state)).
#[must_use]
pub const fn of_dialogs(active: u64, early: u64) -> [u64; DIALOG_STATES] {
    [active, early, ENDED_LIFE, ENDED_LIFE]
}

/// Seconds that a registrar grants if it says nothing (RFC 3261 10.2.1.1 and 20.19 suggest an hour); and a notifier whose
/// answer sipnat has not seen.
pub const DEFAULT_EXPIRES: u32 = 3600;

/// Most seconds for which a subscription lasts without a refresh. At a proxy, the far end grants them.
pub const MOST_GRANTED: u32 = 24 * 3600;

/// Seconds for which a NOTIFY is repeated: 64 * T1 (RFC 3261 17.1.2.2). The last one comes when a subscription ends.
pub const NOTIFY_LIFE: u32 = 32;

/// Longest time for which one claim of a contact puts another in doubt, if the PBX may be a proxy.
pub const CONTEST_LIFE: u64 = 3600 * SECOND;

/// Life of the entry that `Contact: *` leaves: longer than registrars grant.
pub const REMOVED_LIFE: u64 = 7 * 24 * 3600 * SECOND;

/// Ticks for which it is remembered what is proven of a pair of addresses, and whose learned address one is.
pub const PEER_LIFE: u64 = ticks(12 * 3600 * SECOND);

/// Ticks for which it is remembered that an address answered by itself.
pub const ANSWERED_LIFE: u64 = ticks(24 * 3600 * SECOND);

/// Ticks within which the fragments of a datagram follow one another: the kernel sends them in a row.
pub const FRAGMENT_LIFE: u64 = ticks(SECOND);

/// Life of an entry that stays until another replaces it.
pub const FOREVER: u64 = u64::MAX;

/// Estimate of a round trip (RFC 3261 17.1.1.1), in ticks.
pub const T1: u64 = ticks(SECOND / 2);
