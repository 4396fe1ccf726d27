//! Hashes of the parts that name a message.

use crate::engine::env::Text;
use crate::sip::{CONTACTS, Direction, Field, Message, Method};

/// Hashes what is looked up or noted of a message, all at once, but for what [`live_contact`] wants: seldom does it come to
/// that. The hash of the Call-ID.
#[inline(always)]
pub(super) fn identify<E: Text>(env: &E, m: &Message, direction: Direction) -> u64 {
    let request = m.status == 0;
    // Who sends a request is in From (RFC 3261 8.1.1.3); of both, the terminal's tag counts.
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
        Direction::Out => digest_apart(env, m, parts),
    }
    env.hash(Field::CallId as usize)
}

/// [`Text::digest`] in a function of its own. What the PBX sends comes by here up to twice, and needs most of the stack that
/// there is before 6.9.
#[inline(never)]
pub(super) fn digest_apart<E: Text>(env: &E, m: &Message, parts: u32) {
    env.digest(m, parts);
}
