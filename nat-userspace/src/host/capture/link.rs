//! Link layers of captures (<https://www.tcpdump.org/linktypes.html>).

use std::{borrow::Cow, fmt};

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Link layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// Ethernet.
    Ethernet,
    /// IP without a link layer.
    Raw,
    /// Linux cooked capture, version 1: `tcpdump -i any`.
    Cooked,
    /// Linux cooked capture, version 2.
    Cooked2,
    /// Loopback of the BSDs.
    Loopback,
    /// A link layer without a reader here, by its number.
    Other(u32),
}

impl From<i32> for Link {
    fn from(number: i32) -> Self {
        // The upper bits hold the length of a frame check sequence.
        match number as u32 & 0xffff {
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            0 | 108 => Self::Loopback,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethernet => f.write_str("Ethernet"),
            Self::Raw => f.write_str("raw IP"),
            Self::Cooked => f.write_str("Linux cooked"),
            Self::Cooked2 => f.write_str("Linux cooked v2"),
            Self::Loopback => f.write_str("BSD loopback"),
            Self::Other(number) => write!(f, "link type {number}"),
        }
    }
}

impl Link {
    /// Returns the EtherType of what the frame carries, and its offset. `None` if the link layer has no reader here, the frame is
    /// too short, or carries something without an EtherType.
    #[must_use]
    pub fn payload(self, frame: &[u8]) -> Option<(u16, usize)> {
        /// Lengths stand in the place of types below this (IEEE 802.3).
        const LEAST_TYPE: u16 = 0x600;
        let be16 = |at: usize| {
            let bytes = frame.get(at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*bytes))
        };
        let ip = |at: usize| match frame.get(at)? >> 4 {
            4 => Some((IPV4, at)),
            6 => Some((IPV6, at)),
            _ => None,
        };
        let (ether_type, at) = match self {
            Self::Ethernet => (be16(12)?, ETHERNET),
            Self::Cooked => (be16(14)?, 16),
            Self::Cooked2 => (be16(0)?, 20),
            Self::Raw => ip(0)?,
            Self::Loopback => ip(4)?,
            Self::Other(_) => return None,
        };
        (ether_type >= LEAST_TYPE && at <= frame.len()).then_some((ether_type, at))
    }

    /// Returns the frame as one of Ethernet. A header that is made anew has the addresses of a PBX and of its router, and `out`
    /// says whether the PBX sends it. `None` as for [`Self::payload`].
    #[must_use]
    pub fn to_ethernet(self, frame: &[u8], out: bool) -> Option<Cow<'_, [u8]>> {
        const PBX: [u8; 6] = [2, 0, 0, 0, 0, 1];
        const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];
        let (ether_type, at) = self.payload(frame)?;
        if self == Self::Ethernet {
            return Some(Cow::Borrowed(frame));
        }
        let [to, from] = if out { [ROUTER, PBX] } else { [PBX, ROUTER] };
        let header = [&to[..], &from, &ether_type.to_be_bytes()].concat();
        Some([&header, &frame[at..]].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_layer_becomes_ethernet() {
        const IP: [u8; 4] = [0x45, 1, 2, 3];
        let with = |header: &[u8]| [header, &IP].concat();
        let mut cooked = [0; 16];
        cooked[14] = 8;
        let mut cooked2 = [0; 20];
        cooked2[0] = 8;
        let expected = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &IP].concat();
        for (number, frame) in [
            (1, expected.clone()),
            (0x5400_0001, expected.clone()),
            (101, with(&[])),
            (12, with(&[])),
            (113, with(&cooked)),
            (276, with(&cooked2)),
            (0, with(&[2, 0, 0, 0])),
        ] {
            let link = Link::from(number);
            let ethernet = link.to_ethernet(&frame, false).unwrap();
            assert_eq!(ethernet[..], expected, "{link}");
            for len in 0..frame.len() - IP.len() {
                assert_eq!(
                    link.to_ethernet(&frame[..len], false),
                    None,
                    "{link}: {len}"
                );
            }
        }
        let out = Link::Raw.to_ethernet(&IP, true).unwrap();
        assert_eq!(out[..6], expected[6..12]);
        assert_eq!(Link::from(105).payload(&expected), None);
        // 802.2: a length, and no type.
        cooked[14..].copy_from_slice(&[0, 4]);
        assert_eq!(Link::Cooked.payload(&with(&cooked)), None);
        assert_eq!(Link::Raw.payload(&[0x15]), None);
    }
}
