//! Kind of a media packet, by its first bytes (RFC 7983, RFC 5761 4).

/// Kind of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketKind {
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// STUN: it must pass, and says little of a stream.
    Stun,
    /// Any other: DTLS, ZRTP, keepalives, fax.
    #[default]
    Other,
}

/// First bytes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Its kind.
    pub kind: PacketKind,
    /// Source of RTP, as it lies in memory; 0 for other kinds.
    pub ssrc: u32,
    /// First byte below 0x80, as that of fax is: it is not empty.
    pub is_low: bool,
}

impl Packet {
    /// Reads a packet of `len` bytes, whose first sixteen are `first` and `second`. Zeros stand for the bytes past the end.
    #[inline(always)]
    #[must_use]
    pub const fn read(len: u32, first: u64, second: u64) -> Self {
        let version = first as u8 >> 6;
        let second_byte = (first >> 8) as u8;
        let is_rtcp = second_byte >= 192 && second_byte <= 223;
        let kind = if version == 2 && is_rtcp && len >= 8 {
            PacketKind::Rtcp
        } else if version == 2 && !is_rtcp && len >= 12 {
            PacketKind::Rtp
        } else if (first as u8) < 4 && len >= 20 && first >> 32 == COOKIE {
            PacketKind::Stun
        } else {
            PacketKind::Other
        };
        Self {
            kind,
            ssrc: if matches!(kind, PacketKind::Rtp) {
                second as u32
            } else {
                0
            },
            is_low: len > 4 && first as u8 & 0x80 == 0,
        }
    }
}

/// Magic cookie of STUN (RFC 8489 5), as it lies in the first word.
const COOKIE: u64 = u32::from_le_bytes([0x21, 0x12, 0xa4, 0x42]) as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (first, len, kind) in [
            ([0x80, 0], 172, PacketKind::Rtp),
            ([0xbf, 0x7f], 12, PacketKind::Rtp),
            ([0x80, 191], 172, PacketKind::Rtp),
            ([0x80, 224], 172, PacketKind::Rtp),
            ([0x80, 192], 28, PacketKind::Rtcp),
            ([0x81, 200], 28, PacketKind::Rtcp),
            ([0x80, 223], 8, PacketKind::Rtcp),
            // Too short for a header.
            ([0x80, 0], 11, PacketKind::Other),
            ([0x80, 200], 7, PacketKind::Other),
            // Other versions: DTLS, ZRTP, fax, TURN channels.
            ([0x16, 0xfe], 100, PacketKind::Other),
            ([0x10, 0], 100, PacketKind::Other),
            ([0x40, 0], 100, PacketKind::Other),
            ([0xc0, 0], 100, PacketKind::Other),
            ([0, 0], 0, PacketKind::Other),
            ([0, 1], 20, PacketKind::Other),
        ] {
            let word = u64::from_le_bytes([first[0], first[1], 0, 1, 2, 3, 4, 5]);
            let packet = Packet::read(len, word, 0x1_2345_6789);
            assert_eq!(packet.kind, kind, "{first:?} {len}");
            let ssrc = if kind == PacketKind::Rtp {
                0x2345_6789
            } else {
                0
            };
            assert_eq!(packet.ssrc, ssrc);
        }
        let stun = u64::from_le_bytes([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(Packet::read(20, stun, 0).kind, PacketKind::Stun);
        assert_eq!(Packet::read(19, stun, 0).kind, PacketKind::Other);
    }
}
