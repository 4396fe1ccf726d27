//! STUN messages to send.

use crate::judge::input::{COOKIE, set_length};

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
