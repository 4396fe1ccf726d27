//! Kinds of datagrams, compared with the same rules written byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat_common::bytes::Source;
use nat_common::datagram::{DatagramKind, classify};

/// RFC 8489 5: the two most significant bits are zeros; the length counts what follows the header of 20 bytes, and
/// its last two bits are zeros. RFC 5764 5.1.2: and the first byte is at most 3.
fn is_stun(datagram: &[u8]) -> bool {
    let [first, _, high, low, rest @ ..] = datagram else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    *first <= 3 && length % 4 == 0 && rest.len() == length + 16
}

/// RFC 5626 3.5.1 and 4.4.1: a client sends a double CRLF, and a server answers a single one. Devices also send empty
/// datagrams and zeros.
fn is_keepalive(datagram: &[u8]) -> bool {
    datagram.len() <= 4
        && (datagram == b"\r\n" || datagram == b"\r\n\r\n" || datagram.iter().all(|b| *b == 0))
}

/// RFC 3261 7.5: CRLFs may precede the start line. Four of them fill all that is looked at.
fn may_be_sip(datagram: &[u8]) -> bool {
    let crlfs = datagram
        .chunks(2)
        .take_while(|pair| pair == b"\r\n")
        .count();
    let start = datagram.get(crlfs.min(3) * 2);
    // CRLF and two bytes are no message.
    if crlfs > 0 && datagram.len() <= 4 {
        return false;
    }
    crlfs > 3 || start.is_some_and(u8::is_ascii_uppercase)
}

fn expected(datagram: &[u8]) -> DatagramKind {
    if is_keepalive(datagram) {
        DatagramKind::Keepalive
    } else if is_stun(datagram) {
        DatagramKind::Stun
    } else if may_be_sip(datagram) {
        DatagramKind::Sip
    } else {
        DatagramKind::Other
    }
}

fuzz_target!(|datagram: &[u8]| {
    let told = |d: &[u8]| classify(d.len() as u32, d.word(0));
    assert_eq!(told(datagram), expected(datagram));

    // A random length field seldom matches: use one that matches exactly or nearly.
    if let [first, second, off, rest @ ..] = datagram {
        let length = (rest.len() as u16).wrapping_add(u16::from(*off) & 7);
        let header = [[*first & 7, *second], length.to_be_bytes()].concat();
        let datagram = [&header, &[0; 16][..], rest].concat();
        assert_eq!(told(&datagram), expected(&datagram));
    }
});
