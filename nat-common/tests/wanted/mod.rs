//! What is read of a message that goes one way: the same as of one of which all is read, less what is not wanted.

use nat_common::bpf::HostLoop;
use nat_common::bytes::Span;
use nat_common::endpoint::Endpoint;
use nat_common::sip::Scan;
use nat_common::sip::{Direction, Field, MAX_CONTACTS, Message};

/// Fails if something else is read of a message, either way, than `all`.
pub(crate) fn check(text: &[u8], all: &Message) {
    for direction in [Direction::In, Direction::Out] {
        let mut scan = Scan::default();
        let read = scan.run::<_, HostLoop>(text, Some(direction));
        let read = read.map(|()| scan.message);
        assert_eq!(read, Ok(wanted(*all, direction)), "{direction:?}");
    }
}

fn wanted(mut m: Message, direction: Direction) -> Message {
    let request = m.status == 0;
    let mut forget = |field: Field, many: usize| {
        m.spans[field as usize..][..many].fill(Span::default());
    };
    match direction {
        Direction::In => {
            forget(Field::RequestUri, 1);
            if !(request && m.method.subscribes()) {
                forget(Field::FromTag, 1);
                forget(Field::FromUri, 1);
            }
        }
        Direction::Out if request => {
            forget(Field::FromTag, 1);
            forget(Field::FromUri, 1);
            forget(Field::Contact, MAX_CONTACTS);
            m.contacts = 0;
            m.star = 0;
            m.contact_expires = [0; MAX_CONTACTS];
            m.advertised = Endpoint::UNKNOWN;
        }
        Direction::Out => {}
    }
    m
}
