//! Limits of a STUN request do not depend on the loop that reads it.

use nat_common::bpf::{HostLoop, Repeat, Step};
use nat_common::stun::{Answer, Doubt, MAX_ATTRIBUTES, Request};

/// A loop like the kernel's, which leaves the limit to the kernel.
struct Endless;

impl Repeat for Endless {
    fn repeat(_: u32, mut step: impl Step) {
        while step.step() {}
    }
}

/// Returns a request with this number of attributes, all empty and optional.
fn request(attributes: u32) -> Vec<u8> {
    let mut message = b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl".to_vec();
    message[2..4].copy_from_slice(&(attributes as u16 * 4).to_be_bytes());
    message.extend(b"\x80\x22\0\0".repeat(attributes as usize));
    message
}

#[test]
fn no_more_attributes_than_said_are_looked_at() {
    for (attributes, read) in [
        (MAX_ATTRIBUTES, Ok(Answer::Address)),
        (MAX_ATTRIBUTES + 1, Err(Doubt::Malformed)),
        (132, Err(Doubt::Malformed)),
        (133, Err(Doubt::TooLong)),
    ] {
        let message = &request(attributes)[..];
        let mut request = Request::default();
        assert_eq!(request.read::<_, HostLoop>(message), read, "{attributes}");
        assert_eq!(request.read::<_, Endless>(message), read, "{attributes}");
    }
}
