//! STUN messages to send.

use super::input::{COOKIE, set_length};

/// Transaction ID of every message.
pub const ID: [u8; 12] = *b"transaction!";

/// Message of a type, with attributes that are padded with zeros.
pub fn message(kind: u16, cookie: [u8; 4], attributes: &[(u16, &[u8])]) -> Vec<u8> {
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

/// Binding request of RFC 5389.
pub fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    message(1, COOKIE, attributes)
}

/// Binding request of RFC 3489, without magic cookie.
pub fn classic(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    message(1, *b"RFC3", attributes)
}
