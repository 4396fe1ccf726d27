//! Any bytes through the scanner of session descriptions: it ends, a second scan finds the same, after a walk over the lines,
//! too, and where `sdp-types` reads the body, it reads the same lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat_common::bpf::HostLoop;
use nat_common::sdp::{self, Scan};
use nat_common::sip::Content;
use nat_test_oracle::sdp::{agrees, parsed};
use nat_test_oracle::usual::check_body;

fuzz_target!(|text: &[u8]| {
    let found = sdp::read(text);
    let mut again = Scan::default();
    let before = b"BYE sip:x SIP/2.0\r\nc:application/sdp\r\n\r\nv=0\r\nc=IN IP4 1.2.3.4\r\nm=audio 1 RTP/AVP 0\r\n";
    let _ = again.run::<_, HostLoop, HostLoop>(before.as_slice(), &Content::default());
    let again = again
        .run::<_, HostLoop, HostLoop>(text, &Content::default())
        .map(|()| again.description);
    assert_eq!(
        found, again,
        "the result depends on the message scanned before"
    );
    if let Ok(found) = found {
        let count = usize::from(found.count).min(sdp::MAX_LINES);
        assert!(
            found.lines[count..]
                .iter()
                .all(|line| *line == Default::default())
        );
    }

    // The same bytes as a body.
    let mut message = b"INVITE sip:b SIP/2.0\r\nc: application/sdp\r\n\r\n".to_vec();
    message.extend(text);
    check_body(&message);
    if let (Ok(ours), Some((lines, count))) = (sdp::read(&message), parsed(text)) {
        assert!(agrees(&ours, &lines, count), "{ours:?} {lines:?} {count}");
    }
});
