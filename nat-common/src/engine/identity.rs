//! Hashes of the parts that name a message.

use crate::engine::env::Text;
use crate::sip::{CONTACTS, Direction, Field, Message, Method};

/// Hashes all parts that are looked up or stored, but for those of a contact, which few messages need. Returns the hash
/// of the Call-ID.
#[inline(always)]
pub(super) fn identify<E: Text>(env: &E, m: &Message, direction: Direction) -> u64 {
    let request = m.status == 0;
    // From names the sender of a request (RFC 3261 8.1.1.3); the terminal's tag counts.
    let more = match (direction, request) {
        (Direction::In, true) if m.method == Method::Register => Field::Contact.bit(),
        (Direction::In, true) if m.method.subscribes() => Field::FromTag.bit(),
        (Direction::In, true) => 0,
        (Direction::In, false) | (Direction::Out, true) => Field::ToTag.bit(),
        (Direction::Out, false) if m.method == Method::Register => {
            Field::FromTag.bit() | Field::ToUri.bit() | CONTACTS
        }
        (Direction::Out, false) => Field::FromTag.bit(),
    };
    let parts = Field::CallId.bit() | Field::Branch.bit() | more;
    match direction {
        Direction::In => env.digest(m, parts),
        Direction::Out => digest(env, m, parts),
    }
    env.hash(Field::CallId as usize)
}

/// Calls [`Text::digest`] in a function of its own. Messages of the PBX pass here up to twice, and need most of the
/// stack that kernels before 6.9 have.
#[inline(never)]
pub(super) fn digest<E: Text>(env: &E, m: &Message, parts: u32) {
    env.digest(m, parts);
}
