//! Rank: which entry of a full set gives way to a new one.
//!
//! The oldest does, but an entry counts as older than it is by a head start, which grows with its rank. So expired entries
//! go first, then refused transactions, then accepted ones, then those that nobody has answered. Whoever floods the table
//! with requests that are refused, or never answered, pushes out no call that rings.
//!
//! ```
//! use nat_common::abi::{InboundFlags, SECOND, ticks};
//! use nat_common::tables::rank::{head_start, of};
//!
//! let [rings, waits, refused] = [InboundFlags::PROCEEDING, InboundFlags::empty(), InboundFlags::REFUSED]
//!     .map(|flags| head_start(of(flags.bits())));
//! let second = ticks(SECOND);
//! assert!(refused > waits + 31 * second && waits > rings + 299 * second);
//! // A transaction that nobody has answered in its lifetime is worth less than one that was just refused.
//! assert!(waits + 65 * second > refused);
//! ```

use crate::abi::{
    EPOCH_BITS, FragmentFlags, InboundFlags, OutboundFlags, PeerFlags, PendingFlags, RANK, SECOND,
    StunFlags, ticks,
};

/// Ranks, from the one that stays longest.
const PROCEEDING: u32 = 0;
const UNANSWERED: u32 = 1;
const ACCEPTED: u32 = 2;
const REFUSED: u32 = 3;

/// Ticks for which a request that got a provisional response stays before one that got none: a phone may ring so long.
pub(crate) const RINGS: u64 = ticks(300 * SECOND);

/// Ticks that an entry of the other ranks stays before one of the next rank: 64 * T1, the life of a transaction (RFC 3261
/// 17).
pub(crate) const TRANSACTION: u64 = ticks(32 * SECOND);

/// Ticks within which a request is repeated: T2 (RFC 3261 17.1.2.2).
pub const REPEATED: u64 = ticks(4 * SECOND);

const _: () = {
    assert!(InboundFlags::PROCEEDING.bits() == OutboundFlags::PROCEEDING.bits());
    assert!(InboundFlags::ACCEPTED.bits() == OutboundFlags::ACCEPTED.bits());
    assert!(InboundFlags::REFUSED.bits() == OutboundFlags::REFUSED.bits());
    let others = PendingFlags::all().bits()
        | PeerFlags::all().bits()
        | FragmentFlags::all().bits()
        | StunFlags::all().bits();
    assert!(of(others) == UNANSWERED);
};

/// Returns the flags of a transaction that has got a response of this status.
///
/// Arithmetic alone: a comparison would tell the verifier ranges of the status, and it would follow each of them to the end.
#[inline(always)]
#[must_use]
pub const fn answered(status: u16) -> u16 {
    /// Flags by class of the status, eight bits each.
    const FLAGS: u64 = {
        let [proceeding, accepted, refused] = [
            InboundFlags::PROCEEDING.bits(),
            InboundFlags::ACCEPTED.bits(),
            InboundFlags::REFUSED.bits(),
        ];
        assert!(proceeding | accepted | refused < 1 << 8);
        let [p, a, r] = [proceeding as u8, accepted as u8, refused as u8];
        u64::from_le_bytes([p, p, a, r, r, r, r, r])
    };
    (FLAGS >> (((status / 100) & 7) * 8)) as u8 as u16
}

/// Returns the rank of an entry with these flags. Entries of tables other than those of transactions have one and the same.
#[inline(always)]
#[must_use]
pub const fn of(flags: u16) -> u32 {
    if flags & InboundFlags::REFUSED.bits() != 0 {
        REFUSED
    } else if flags & InboundFlags::ACCEPTED.bits() != 0 {
        ACCEPTED
    } else if flags & InboundFlags::PROCEEDING.bits() != 0 {
        PROCEEDING
    } else {
        UNANSWERED
    }
}

/// Returns the ticks by which an entry of that rank counts as older than it is.
#[inline(always)]
#[must_use]
pub const fn head_start(rank: u32) -> u64 {
    if rank == PROCEEDING {
        0
    } else {
        RINGS + (rank - UNANSWERED) as u64 * TRANSACTION
    }
}

/// Returns the rank in the check of a slot.
#[inline(always)]
#[must_use]
pub(super) const fn in_check(check: u32) -> u32 {
    (check & RANK) >> EPOCH_BITS
}

/// Returns the bits of a rank in the check of a slot.
#[inline(always)]
#[must_use]
pub(super) const fn bits(rank: u32) -> u32 {
    rank << EPOCH_BITS
}
