//! The walk over the lines of a body: the machine reads alike what it leaves out.

use std::cell::Cell;

use nat_common::bpf::{HostLoop, Repeat, Step};
use nat_common::sdp::{self, Description, NoDescription};
use nat_common::sip;

use crate::bodies;

thread_local! {
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// Loop that counts its rounds.
struct Counting;

impl Repeat for Counting {
    fn repeat(limit: u32, mut step: impl Step) {
        STEPS.set((0..limit).take_while(|_| step.step()).count() as u32 + 1);
    }
}

/// Reads the description in a message line by line, and again after a walk over its headers and over the lines of its body. Both must
/// find the same. Returns that, and the number of the machine's steps after the walk.
///
/// # Panics
///
/// If they differ.
pub(crate) fn read_twice(text: &[u8]) -> (Result<Description, NoDescription>, u32) {
    let mut headers = sip::Scan::default();
    headers.walk::<_, HostLoop>(text);
    let mut scan = sdp::Scan::default();
    STEPS.set(0);
    let found = scan.run::<_, HostLoop, Counting>(text, headers.content());
    let found = found.map(|()| scan.description);
    assert_eq!(found, sdp::read(text), "{}", String::from_utf8_lossy(text));
    (found, STEPS.get())
}

/// Returns a message with this body, that has this Content-Length.
fn message(body: &str, length: usize) -> Vec<u8> {
    format!("INVITE sip:b SIP/2.0\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

const BODY: &str = "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\na=ptime:20\r\n";

#[test]
fn usual_lines_take_no_step_of_the_machine() {
    let (found, steps) = read_twice(&message(BODY, BODY.len()));
    assert_eq!((found.map(|d| d.count), steps), (Ok(1), 0));
    let usual = BODY.to_owned() + &"a=rtpmap:8 PCMA/8000\r\na=fmtp:101 0-15\r\n".repeat(20);
    assert_eq!(read_twice(&message(&usual, usual.len())).1, 0);
    // Not so of a body that the walk leaves: it has a tab.
    let body = usual.clone() + "a=tool:\tx\r\n";
    assert!(read_twice(&message(&body, body.len())).1 > 40);
    // From a line on that is not usual, the machine reads those that matter.
    let body = usual
        + "m=video 4002 RTP/AVP 99\r\nc=IN IP6 2001:db8::1\r\na=rtpmap:99 H264/90000\r\na=inactive\r\n";
    let (found, steps) = read_twice(&message(&body, body.len()));
    assert_eq!(found.map(|d| d.count), Ok(2));
    assert!((3..10).contains(&steps), "{steps}");
}

#[test]
fn bodies_of_devices() {
    for (_, body, _) in bodies::ALL {
        let (_, steps) = read_twice(&message(body, body.len()));
        assert!(steps <= 16, "{steps}: {body}");
    }
}

#[test]
fn odd_bodies() {
    for more in [
        // A second description.
        "v=0\r\n",
        // A boundary.
        "--unique\r\n",
        // A bare LF.
        "a=sendrecv\nm=video 4002 RTP/AVP 9\r\n",
        // A lone CR.
        "a=x\ra=inactive\r\n",
        // A zero.
        "a=x\0\r\na=inactive\r\n",
        // A tab.
        "a=x\ty\r\na=inactive\r\n",
        // No line end.
        "a=inactive",
        // A CR at the end.
        "a=inactive\r",
        // An empty line.
        "\r\na=inactive\r\n",
        // RTCP.
        "a=rtcp:5001 IN IP4 10.0.0.2\r\na=rtcp-mux\r\n",
        // ICE.
        "a=ice-ufrag:F7gI\r\n",
        // Two addresses.
        "c=IN IP6 2001:db8::1\r\nc=IN IP4 10.0.0.3\r\n",
        // Half a word.
        "a=",
    ] {
        let body = BODY.to_owned() + more;
        for body in [
            body.clone(),
            body.clone() + "a=recvonly\r\nm=text 0 RTP/AVP 98\r\n",
        ] {
            // Content-Length may cut it anywhere.
            for length in BODY.len()..=body.len() + 1 {
                let _ = read_twice(&message(&body, length));
            }
            let text = String::from_utf8(message(&body, 0)).expect("ASCII");
            let _ = read_twice(text.replace("Content-Length: 0\r\n", "").as_bytes());
        }
    }
}

/// A scan reads one message after the other, as that of the kernel does.
#[test]
fn a_scan_is_used_again() {
    let mut scan = sdp::Scan::default();
    for (_, body, _) in bodies::ALL.iter().chain(bodies::ALL.iter().rev()) {
        let text = message(body, body.len());
        let mut headers = sip::Scan::default();
        headers.walk::<_, HostLoop>(text.as_slice());
        let found = scan.run::<_, HostLoop, HostLoop>(text.as_slice(), headers.content());
        let found = found.map(|()| scan.description);
        assert_eq!(found, sdp::read(&text), "{body}");
    }
}

/// More lines that matter than are noted.
#[test]
fn many_lines() {
    for count in 0..40 {
        let lines = "m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n".repeat(count);
        let body = BODY.to_owned() + &lines + "a=recvonly\r\n";
        let (found, steps) = read_twice(&message(&body, body.len()));
        assert_eq!(found.map(|d| usize::from(d.count)), Ok(count + 1));
        // Sixteen are noted.
        assert_eq!(steps == 0, 4 + 2 * count <= 16, "{count}");
    }
}

/// Content-Length may end a body within its first line.
#[test]
fn bodies_of_few_bytes() {
    for length in 0..BODY.len() {
        let _ = read_twice(&message(BODY, length));
    }
}

#[test]
fn other_types() {
    for kind in [
        "multipart/mixed;boundary=unique",
        "text/plain",
        "application/sdpx",
    ] {
        for body in [
            BODY.to_owned(),
            format!("--unique\r\n\r\n{BODY}--unique--\r\nv=1\r\n"),
            format!("{BODY}--unique--\r\nm=audio 1 RTP/AVP 0\r\n"),
        ] {
            let text = String::from_utf8(message(&body, body.len())).expect("ASCII");
            let _ = read_twice(text.replace("application/sdp", kind).as_bytes());
        }
    }
}
