//! States of the scanner.

use zerocopy::{FromZeros, Immutable, KnownLayout};

/// Element that the scanner expects at its position.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Expect {
    /// The start of the message, or line ends before it (RFC 3261 7.5).
    #[default]
    Start = 0,
    /// The start of a line.
    Line,
    /// The rest of a line.
    Rest,
    /// White space or the colon after a header name.
    Colon,
    /// White space before a header's value, or the value.
    Value,
    /// A dotted quad, or the one that ends an IPv6 address.
    Ipv4,
    /// A group of an IPv6 address, a leading `::`, or the rest after `::`.
    Ipv6,
    /// The port of an `m=` line.
    Port,
    /// The protocol of an `m=` line.
    Transport,
    /// The port of `a=rtcp`.
    RtcpPort,
}

/// Part of the message.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Section {
    /// The headers.
    #[default]
    Headers = 0,
    /// The body before the description.
    Before,
    /// The description.
    Description,
    /// The parts of a multipart body after it.
    After,
}

/// Header that describes the body.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Header {
    #[default]
    Type = 0,
    Length,
    Encoding,
}

impl Header {
    /// Returns the bit of this header in a set of headers.
    #[inline(always)]
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Type of the body.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Body {
    /// Neither of the others, or unknown.
    #[default]
    Other = 0,
    /// `application/sdp`.
    Description,
    /// `multipart/...`.
    Multipart,
}

/// Line whose address is read.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub(super) enum Target {
    /// `c=`.
    #[default]
    Connection = 0,
    /// `a=rtcp`.
    Rtcp,
}

/// Whether `b` may follow a value. Zero stands for the end of the text; within it, the rest of a line refuses that.
#[inline(always)]
pub(super) const fn is_end(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0)
}
