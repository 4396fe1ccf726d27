//! Any bytes through the scanner: it ends, its parts are inside of the message, and a second scan finds the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat_common::bpf::HostLoop;
use nat_common::sip::Scan;
use nat_common::sip::{self, Field};
use nat_test_oracle::{direction, part, plain};

fuzz_target!(|text: &[u8]| {
    let found = sip::read(text);
    let mut again = Scan::default();
    let _ = again.run::<_, HostLoop>(
        b"BYE sip:x SIP/2.0\r\nv:SIP/2.0/UDP h;branch=left over\r\n".as_slice(),
        None,
    );
    let again = again
        .run::<_, HostLoop>(text, None)
        .map(|()| *again.message());
    assert_eq!(
        found, again,
        "the result depends on the message scanned before"
    );
    let Ok(m) = found else { return };
    direction::check(text, &m);
    plain::check(text);

    for span in m.spans {
        assert!(usize::from(span.start) + usize::from(span.len) <= text.len());
    }
    let part = |field| part(text, m.span(field));
    assert!(!part(Field::CallId).is_empty());
    assert!(part(Field::CallId).iter().all(|b| *b > b' '));
    for field in [Field::FromTag, Field::ToTag, Field::Branch] {
        // With or without quotes around the whole.
        let is_token = |b: &u8| b.is_ascii_graphic() && !b"\"(),;<>?\\^".contains(b);
        let bare = match part(field) {
            [b'"', bare @ .., b'"'] if !bare.is_empty() => bare,
            bare => bare,
        };
        assert!(bare.iter().all(is_token));
    }
    assert!(m.star == 0 || m.contacts == 1);
    assert!(
        (100..=699).contains(&m.status) || m.status == 0 && !part(Field::RequestUri).is_empty()
    );

    // Neither the body nor the way in which the empty line ends changes the result.
    let mut body = text.to_vec();
    body.extend_from_slice(b"\r\nCall-ID: other\r\n\r\n");
    assert_eq!(sip::read(&body), Ok(m));
});
