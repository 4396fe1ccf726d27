//! Any bytes: the scanner ends, finds nothing outside of them, and the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat_common::sip::{Field, Message};
use nat_common::sip::Scan;
use nat_common::bpf::HostLoop;

#[path = "../../nat-common/tests/wanted/mod.rs"]
mod wanted;

fn scan(text: &[u8]) -> Option<Message> {
    let mut scan = Scan::default();
    scan.run::<_, HostLoop>(text, None).ok().map(|()| scan.message)
}

fuzz_target!(|text: &[u8]| {
    let found = scan(text);
    let mut again = Scan::default();
    let _ = again.run::<_, HostLoop>(
        b"BYE sip:x SIP/2.0\r\nv:SIP/2.0/UDP h;branch=left over\r\n".as_slice(),
        None,
    );
    let again = again.run::<_, HostLoop>(text, None).ok().map(|()| again.message);
    assert_eq!(found, again, "what was scanned before matters");
    let Some(m) = found else { return };
    wanted::check(text, &m);

    for span in m.spans {
        assert!(usize::from(span.start) + usize::from(span.len) <= text.len());
    }
    let part = |field| {
        let span = m.span(field);
        &text[span.start.into()..][..span.len.into()]
    };
    assert!(!part(Field::CallId).is_empty());
    assert!(part(Field::CallId).iter().all(|b| *b > b' '));
    for field in [Field::FromTag, Field::ToTag, Field::Branch] {
        let is_token = |b: &u8| b.is_ascii_graphic() && !b"\"#$&(),;<>?\\^{|}".contains(b);
        assert!(part(field).iter().all(is_token));
    }
    assert!(m.star == 0 || m.contacts == 1);
    assert!(
        (100..=699).contains(&m.status) || m.status == 0 && !part(Field::RequestUri).is_empty()
    );

    // The body does not matter, nor does what ends the line end that ends the headers.
    let mut body = text.to_vec();
    body.extend_from_slice(b"\r\nCall-ID: other\r\n\r\n");
    assert_eq!(scan(&body), Some(m));
});
