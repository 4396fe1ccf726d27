//! Result of a scan: media lines.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::endpoint::Endpoint;

/// Number of `m=` lines that a description holds. More are only counted.
pub const MAX_LINES: usize = 4;

/// Media of a session description.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub struct Description {
    /// The first `m=` lines, in order. Those from `count` on are zero.
    pub lines: [MediaLine; MAX_LINES],
    /// Number of `m=` lines, up to 255.
    pub count: u8,
    /// The text ends early: it is that of a fragment, or longer than the scanner reads. Lines, and attributes of the last
    /// line, may be missing.
    pub cut: bool,
}

/// An `m=` line, with the attributes that hold for it: its own, else those of the session.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub struct MediaLine {
    /// Address in `c=`, as in [`Endpoint`]; zero if it is no numeric address, or `::`.
    pub addr: [u64; 2],
    /// Port of the media; 0: the stream is refused or removed (RFC 3264 6, 8.2).
    pub port: u16,
    /// Port of RTCP: that in `a=rtcp` (RFC 3605), else the next one after `port`; 0: none.
    pub rtcp: u16,
    /// Kind of media.
    pub kind: Kind,
    /// Protocol below the media.
    pub transport: Transport,
    /// Attributes.
    pub flags: LineFlags,
}

impl MediaLine {
    /// Returns address and port of the media.
    #[inline(always)]
    #[must_use]
    pub const fn media(&self) -> Endpoint {
        Endpoint {
            addr: self.addr,
            port: self.port as u32,
            reserved: 0,
        }
    }
}

/// Kind of media (RFC 8866 5.14).
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub enum Kind {
    /// Any other.
    #[default]
    Other = 0,
    /// `audio`.
    Audio,
    /// `video`.
    Video,
    /// `image`: fax (RFC 3362).
    Image,
    /// `text`: real-time text (RFC 4103).
    Text,
    /// `application`.
    Application,
}

/// Protocol below the media, by the third field of an `m=` line.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub enum Transport {
    /// Any other: TCP, SCTP, BFCP.
    #[default]
    Other = 0,
    /// RTP or SRTP over UDP, with or without feedback or DTLS.
    Rtp,
    /// Fax over UDP (RFC 3362).
    Udptl,
}

/// Attributes of an [`MediaLine`].
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct LineFlags(u16);

bitflags::bitflags! {
    impl LineFlags: u16 {
        /// RTP and RTCP may share the port (RFC 5761).
        const MUX = 1;
        /// ICE: the address is one of several candidates (RFC 8839).
        const ICE = 1 << 1;
        /// The writer sends nothing: `recvonly` or `inactive`.
        const NO_SEND = 1 << 2;
        /// The writer receives nothing: `sendonly` or `inactive`.
        const NO_RECEIVE = 1 << 3;
        /// RTCP goes to another host than the media, or to two.
        const RTCP_ELSEWHERE = 1 << 4;
        /// Port or protocol cannot be read, or there are two addresses. The line must be left alone.
        const UNREADABLE = 1 << 5;
    }
}
