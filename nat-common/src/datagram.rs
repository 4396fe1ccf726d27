//! Kind of a datagram on a SIP port, by its length and first bytes (RFC 5764 5.1.2, RFC 5626 3.5 and 4.4).
//!
//! ```
//! use nat_common::bytes::Source;
//! use nat_common::datagram::{DatagramKind, classify};
//!
//! let text = &b"REGISTER sip:pbx SIP/2.0"[..];
//! assert_eq!(classify(text.len() as u32, text.word(0)), DatagramKind::Sip);
//! assert_eq!(classify(4, b"\r\n\r\n".word(0)), DatagramKind::Keepalive);
//! let text = &b"\r\nREGISTER sip:pbx SIP/2.0"[..];
//! assert_eq!(classify(text.len() as u32, text.word(0)), DatagramKind::Sip);
//! ```

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::bytes::swar;
use crate::endpoint::Endpoint;

/// Kind of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// Possibly a SIP message: it begins with a capital letter, as every method and `SIP/2.0` do. CRLFs may precede it (RFC
    /// 3261 7.5).
    Sip,
    /// A STUN message of RFC 8489 5, or of RFC 3489, which has no magic cookie.
    Stun,
    /// A keepalive of a NAT mapping: empty, or up to four bytes of CRLF or zeros.
    Keepalive,
    /// Any other datagram.
    Other,
}

/// Returns the kind of a payload with the length `len` and the first eight bytes `word`. Zeros stand for the bytes past
/// the end.
#[inline(always)]
#[must_use]
pub const fn classify(len: u32, word: u64) -> DatagramKind {
    let b = swar::byte(word, 0);
    if b >= b'A' && b <= b'Z' {
        return DatagramKind::Sip;
    }
    // "\r\n", "\r\n\r\n", or zero bytes.
    if len <= 4 {
        let crlf = word as u32 == 0x0a0d_0a0d || (len == 2 && word as u32 == 0x0a0d);
        return if crlf || word == 0 {
            DatagramKind::Keepalive
        } else {
            DatagramKind::Other
        };
    }
    // The two top bits are 0. The length is a multiple of four and fits the datagram with its header of 20 bytes.
    let length = (swar::byte(word, 2) as u32) << 8 | swar::byte(word, 3) as u32;
    if b < 4 && length.is_multiple_of(4) && length + 20 == len {
        return DatagramKind::Stun;
    }
    let w = skip_crlf(skip_crlf(skip_crlf(word)));
    let b = swar::byte(w, 0);
    // Behind four and more, the scanner looks for the start line.
    if w != word && (b.is_ascii_uppercase() || w == CRLF) {
        return DatagramKind::Sip;
    }
    DatagramKind::Other
}

/// CR and LF, and zeros.
const CRLF: u64 = swar::literal(b"\r\n");

/// Removes a CRLF from the start of a word.
#[inline(always)]
const fn skip_crlf(w: u64) -> u64 {
    if swar::head(w, 2) == CRLF { w >> 16 } else { w }
}

/// Part of a datagram that a packet carries.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub enum Part {
    /// All of it.
    #[default]
    Whole = 0,
    /// Its first fragment.
    First,
    /// A fragment after the first. It has no ports.
    Later,
}

/// UDP datagram over IP and Ethernet, or a fragment of one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub struct Datagram {
    /// Source.
    pub source: Endpoint,
    /// Destination, as the packet has it.
    pub destination: Endpoint,
    /// Offset of the IP header in the frame.
    pub ip: u32,
    /// Offset of the UDP header in the frame.
    pub udp: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Part that this packet carries.
    pub part: Part,
    /// Identification that the fragments of a datagram share (RFC 791 3.2, RFC 8200 4.5).
    pub id: u32,
    /// Not 0: the frame has a VLAN tag.
    pub tagged: u32,
    /// UDP checksum as the packet has it, read as a native word; 0: none.
    pub checksum: u32,
    /// Not 0: the end of the payload is not at hand, since the frame lies in several pieces.
    pub cut: u32,
}

impl Datagram {
    /// Whether the UDP checksum is right (RFC 768, RFC 8200 8.1). `payload` is the sum of the payload's words. With
    /// `partial`, a checksum that the sender left to its NIC counts as right: that of the pseudo-header alone.
    #[inline(always)]
    #[must_use]
    pub const fn has_right_checksum(&self, payload: u32, partial: bool) -> bool {
        if self.checksum == 0 {
            return self.destination.is_v4();
        }
        let pseudo = pseudo_sum(&self.source, &self.destination, self.len);
        if partial && fold(pseudo) == self.checksum as u16 {
            return true;
        }
        let header = (self.source.port as u16).to_be() as u64
            + (self.destination.port as u16).to_be() as u64
            + length_word(self.len)
            + self.checksum as u64;
        fold(pseudo + header + payload as u64) == 0xffff
    }
}

/// Returns the UDP checksum of a datagram with `len` bytes of payload whose source changes (RFC 1624), as it had `checksum`
/// before. With `partial`, one that the sender left to its NIC stays such a one.
#[inline(always)]
#[must_use]
pub const fn checksum_from(
    to: &Endpoint,
    source: &Endpoint,
    destination: &Endpoint,
    len: u32,
    checksum: u16,
    partial: bool,
) -> u16 {
    if checksum == 0 {
        return 0;
    }
    let addresses = (!fold(address_sum(source))) as u64 + address_sum(to);
    if partial && fold(pseudo_sum(source, destination, len)) == checksum {
        return fold(checksum as u64 + addresses);
    }
    let ports = !(source.port as u16).to_be() as u64 + (to.port as u16).to_be() as u64;
    match !fold(!checksum as u64 + addresses + ports) {
        // RFC 768: 0 says that there is none.
        0 => u16::MAX,
        sum => sum,
    }
}

/// Returns the checksum of an IPv4 header in which one address replaces another (RFC 1624).
#[inline(always)]
#[must_use]
pub const fn header_checksum(old: &Endpoint, to: &Endpoint, checksum: u16) -> u16 {
    !fold(!checksum as u64 + !fold(address_sum(old)) as u64 + address_sum(to))
}

/// Sum of the words of a pseudo-header.
#[inline(always)]
const fn pseudo_sum(source: &Endpoint, destination: &Endpoint, len: u32) -> u64 {
    const UDP: u16 = 17;
    address_sum(source) + address_sum(destination) + UDP.to_be() as u64 + length_word(len)
}

/// Length field of a datagram with so many bytes of payload, as it lies in memory.
#[inline(always)]
const fn length_word(len: u32) -> u64 {
    (len as u16 + 8).to_be() as u64
}

/// Sum of the words of an address. The prefix of an IPv4-mapped one does not belong to the packet.
#[inline(always)]
const fn address_sum(endpoint: &Endpoint) -> u64 {
    let low = (endpoint.addr[1] as u32) as u64 + (endpoint.addr[1] >> 32);
    if endpoint.is_v4() {
        return u32::from_ne_bytes(endpoint.as_v4()) as u64;
    }
    low + (endpoint.addr[0] as u32) as u64 + (endpoint.addr[0] >> 32)
}

/// Folds a sum to 16 bits, with end-around carry.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Source;

    #[test]
    fn table() {
        let binding = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
        for (bytes, want) in [
            (&b"INVITE sip:a SIP/2.0"[..], DatagramKind::Sip),
            (b"SIP/2.0 200 OK", DatagramKind::Sip),
            (b"", DatagramKind::Keepalive),
            (b"\0", DatagramKind::Keepalive),
            (b"\0\0\0\0", DatagramKind::Keepalive),
            (b"\r\n", DatagramKind::Keepalive),
            (b"\r\n\r\n", DatagramKind::Keepalive),
            (b"\r\n\r\nx", DatagramKind::Other),
            (b"\r\nx", DatagramKind::Other),
            (b"\r\n\r\n\r\n", DatagramKind::Other),
            (b"\r\n\r\r\nINVITE", DatagramKind::Other),
            (b"\r\nSIP/2.0 200 OK", DatagramKind::Sip),
            (b"\r\n\r\nINVITE sip:a SIP/2.0", DatagramKind::Sip),
            (b"\r\n\r\n\r\nBYE sip:a SIP/2.0", DatagramKind::Sip),
            (b"\r\n\r\n\r\n\r\nBYE sip:a SIP/2.0", DatagramKind::Sip),
            (b"jaK", DatagramKind::Other),
            (binding, DatagramKind::Stun),
            (&binding[..19], DatagramKind::Other),
            (b"\x80\x00\x00\x00rtp-like", DatagramKind::Other),
        ] {
            assert_eq!(
                classify(bytes.len() as u32, bytes.word(0)),
                want,
                "{bytes:?}"
            );
        }
    }
}
