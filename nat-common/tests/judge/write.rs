//! STUN messages to send.

use stun_types::attribute::Fingerprint;

/// The value of the magic cookie.
pub(crate) const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// A transaction's ID.
pub(crate) const ID: [u8; 12] = *b"transaction!";

/// A message of a type, with attributes that are padded with zeros.
pub(crate) fn message(kind: u16, cookie: [u8; 4], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend([0; 2]);
    bytes.extend(cookie);
    bytes.extend(ID);
    for (kind, value) in attributes {
        bytes.extend(kind.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    set_length(&mut bytes);
    bytes
}

/// A Binding request.
pub(crate) fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    message(1, COOKIE, attributes)
}

/// A Binding request of RFC 3489.
pub(crate) fn classic(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    message(1, *b"RFC3", attributes)
}

/// The message with FINGERPRINT behind it.
pub(crate) fn fingerprinted(mut message: Vec<u8>) -> Vec<u8> {
    message.extend([0x80, 0x28, 0, 4, 0, 0, 0, 0]);
    set_length(&mut message);
    let end = message.len() - 8;
    let print = Fingerprint::compute(&[&message[..end]]);
    for ((to, value), mask) in message[end + 4..].iter_mut().zip(print).zip(*b"STUN") {
        *to = value ^ mask;
    }
    message
}

/// Sets the length in the header to what it is.
pub(crate) fn set_length(message: &mut [u8]) {
    let length = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}
