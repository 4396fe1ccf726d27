//! How far the scanner reads, and how much that may cost.

use crate::bytes::BLOCK;

/// Number of bytes that the scanner reads. A longer header section is [`Doubt::Truncated`](crate::sip::Doubt::Truncated).
pub const MAX_SCAN: u32 = 0x3fbf;

/// Number of bytes of a datagram that fills an Ethernet frame.
const FRAME: u32 = 1472;

/// Most steps of the machine for a message that fits an Ethernet frame.
///
/// Of 1,650 messages of other projects the one that takes most is `wsinv` of RFC 4475, with 112 steps; those of devices take
/// half as many. Junk of one frame takes up to 2,900 (docs/limits.md).
const FRAME_STEPS: u32 = 148;

/// Returns the number of rounds that the walk may make for a message of a length: one for each block, and for lines of 32
/// bytes on the average. Devices write longer ones.
#[inline(always)]
pub(crate) const fn rounds(length: u32) -> u32 {
    16 + length / BLOCK + length / 32
}

/// Returns the number of steps that a scanner may make for a message of a length.
#[inline(always)]
pub(crate) const fn steps(length: u32) -> u32 {
    FRAME_STEPS + length.saturating_sub(FRAME) / 12
}

/// Returns the number of steps that the machine may make for a message of a length, after so many rounds of the walk. A round
/// takes less than half of the time of a step.
#[inline(always)]
pub(super) const fn budget(length: u32, walked: u32) -> u32 {
    // An even number: a callback makes two steps.
    steps(length).saturating_sub(walked / 2) & !1
}
