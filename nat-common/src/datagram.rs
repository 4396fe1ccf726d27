//! What a datagram on a SIP port is, told by its first bytes (RFC 5764 5.1.2, RFC 5626 3.5 and 4.4).

use crate::bytes::swar;

/// Kinds of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Possibly a SIP message: it starts with a capital letter, as every method and `SIP/2.0` do.
    Sip,
    /// A STUN message (RFC 8489 5), or one of RFC 3489, which has no magic cookie.
    Stun,
    /// Keeps a NAT mapping alive and says nothing: empty, or up to four bytes of CRLF or zeros.
    Keepalive,
    /// Anything else.
    Other,
}

/// Tells the kind from the length of the payload and its first eight bytes (zeros past the end).
#[inline(always)]
#[must_use]
pub const fn kind(len: u32, word: u64) -> Kind {
    let b = swar::byte(word, 0);
    if b >= b'A' && b <= b'Z' {
        return Kind::Sip;
    }
    // "\r\n", "\r\n\r\n", or zero bytes.
    if len <= 4 {
        let crlf = word as u32 == 0x0a0d_0a0d || (len == 2 && word as u32 == 0x0a0d);
        return if crlf || word == 0 {
            Kind::Keepalive
        } else {
            Kind::Other
        };
    }
    // The two top bits are 0, the length is a multiple of four and fits the header of 20 bytes.
    let length = (swar::byte(word, 2) as u32) << 8 | swar::byte(word, 3) as u32;
    if b < 4 && length.is_multiple_of(4) && length + 20 == len {
        return Kind::Stun;
    }
    Kind::Other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Source;

    #[test]
    fn table() {
        let binding = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
        for (bytes, want) in [
            (&b"INVITE sip:a SIP/2.0"[..], Kind::Sip),
            (b"SIP/2.0 200 OK", Kind::Sip),
            (b"", Kind::Keepalive),
            (b"\0", Kind::Keepalive),
            (b"\0\0\0\0", Kind::Keepalive),
            (b"\r\n", Kind::Keepalive),
            (b"\r\n\r\n", Kind::Keepalive),
            (b"\r\n\r\nx", Kind::Other),
            (b"\r\nx", Kind::Other),
            (b"jaK", Kind::Other),
            (binding, Kind::Stun),
            (&binding[..19], Kind::Other),
            (b"\x80\x00\x00\x00rtp-like", Kind::Other),
        ] {
            assert_eq!(kind(bytes.len() as u32, bytes.word(0)), want, "{bytes:?}");
        }
    }
}
