//! Scans for one direction: they find the same as a full scan, without the fields that this direction does not need.

use nat_common::bytes::Span;
use nat_common::endpoint::Endpoint;
use nat_common::sip::{Direction, Doubt, Field, MAX_CONTACTS, Message, Method};

use crate::scan_for;

/// Compares the scans for either direction with `all`, the result of the full scan.
///
/// # Panics
///
/// If a scan finds anything else.
pub fn check(text: &[u8], all: &Message) {
    for direction in [Direction::In, Direction::Out] {
        // Anybody could write a response without a branch.
        let proves_nothing =
            direction == Direction::In && all.status != 0 && !all.has(Field::Branch);
        let want = if proves_nothing {
            Err(Doubt::Missing)
        } else {
            Ok(needed(*all, direction))
        };
        assert_eq!(scan_for(text, direction), want, "{direction:?}");
    }
}

/// Removes the fields that the direction does not need.
fn needed(mut m: Message, direction: Direction) -> Message {
    let request = m.status == 0;
    let mut remove = |field: Field, many: usize| {
        m.spans[field as usize..][..many].fill(Span::default());
    };
    match direction {
        Direction::In => {
            if m.method != Method::Register {
                remove(Field::RequestUri, 1);
            }
            if request && !m.method.needs_from() {
                remove(Field::FromTag, 1);
                remove(Field::FromUri, 1);
            }
        }
        Direction::Out if request => {
            remove(Field::Contact, MAX_CONTACTS);
            m.contacts = 0;
            m.star = 0;
            m.first_contact = 0;
            m.contact_expires = [0; MAX_CONTACTS];
            m.advertised = Endpoint::UNKNOWN;
        }
        Direction::Out => {}
    }
    m
}
