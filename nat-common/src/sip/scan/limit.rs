//! How far the scanner reads.

/// Number of bytes that the scanner reads. A longer header section is [`Doubt::Truncated`](crate::sip::Doubt::Truncated).
pub const MAX_SCAN: u32 = 0x3fbf;
