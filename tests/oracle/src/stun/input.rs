//! Inputs of the STUN fuzz target, and repairs of a message.

use std::net::SocketAddr;

use stun_types::attribute::Fingerprint;

/// Magic cookie of RFC 5389.
pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Bits of an input's first byte.
mod bit {
    pub(super) const SOFTWARE: u8 = 1;
    pub(super) const IPV6: u8 = 1 << 1;
    // Parts to repair, because a fuzzer hardly finds their value.
    pub(super) const TYPE_AND_LENGTH: u8 = 1 << 2;
    pub(super) const COOKIE: u8 = 1 << 3;
    pub(super) const FINGERPRINT: u8 = 1 << 4;
}

/// Reads an input: the message, its source address, and whether answers carry SOFTWARE.
pub fn read(input: &[u8]) -> Option<(Vec<u8>, SocketAddr, bool)> {
    let (choice, message) = input.split_first()?;
    let chosen = |bit| choice & bit != 0;
    let mut message = message.to_vec();
    if message.len() >= 20 {
        if chosen(bit::COOKIE) {
            message[4..8].copy_from_slice(&COOKIE);
        }
        if chosen(bit::TYPE_AND_LENGTH) {
            message.truncate(message.len() / 4 * 4);
            message[..2].copy_from_slice(&[0, 1]);
            set_length(&mut message);
        }
        if chosen(bit::FINGERPRINT) {
            message = fingerprinted(message);
        }
    }
    let peer = if chosen(bit::IPV6) {
        ([0x2001, 0xdb8, 1, 2, 3, 4, 5, 6], 49163).into()
    } else {
        ([60, 17, 196, 2], 49163).into()
    };
    Some((message, peer, chosen(bit::SOFTWARE)))
}

/// Appends FINGERPRINT.
pub fn fingerprinted(mut message: Vec<u8>) -> Vec<u8> {
    message.extend([0x80, 0x28, 0, 4, 0, 0, 0, 0]);
    set_length(&mut message);
    let end = message.len() - 8;
    let print = Fingerprint::compute(&[&message[..end]]);
    for ((to, value), mask) in message[end + 4..].iter_mut().zip(print).zip(*b"STUN") {
        *to = value ^ mask;
    }
    message
}

/// Sets the length field in the header.
pub fn set_length(message: &mut [u8]) {
    let length = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}
