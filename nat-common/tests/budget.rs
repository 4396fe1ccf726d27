//! The budget of the scanner's slow path: no message that a device sends exceeds it, and junk of an Ethernet frame does.

use nat_common::sdp::{self, NoDescription};
use nat_common::sip::{self, Direction, Doubt};
use nat_test_oracle::{effort, scan_for};

/// Length of a message that fills an Ethernet frame, together with its headers.
const FRAME: usize = 1472;

/// Most steps for a message of that length.
const STEPS: u32 = 148;

/// Returns a message with lines after its Via.
fn with(lines: &str) -> String {
    format!(
        "INVITE sip:2000@pbx.example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.168.1.10:5060;rport;branch=z9hG4bK776asdhds\r\n\
         {lines}Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:1000@pbx.example.com>;tag=1928301774\r\n\
         To: <sip:2000@pbx.example.com>\r\n\
         Call-ID: a84b4c76e66710@192.168.1.10\r\n\
         CSeq: 314159 INVITE\r\n\
         Contact: <sip:1000@192.168.1.10:5062>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Messages that passed many proxies, and messages with many headers, of any length.
#[test]
fn long_messages_of_devices_are_read() {
    let via = "Via: SIP/2.0/UDP proxy.example.com:5060;received=192.0.2.1;rport=5060;branch=z9hG4bK-1\r\n";
    let record_route = "Record-Route: <sip:192.0.2.1:5060;lr;ftag=1928301774;did=a.b>\r\n";
    for (name, lines) in [
        ("Vias", via.repeat(40)),
        (
            "short Vias",
            "v: SIP/2.0/UDP a;branch=z9hG4bK1\r\n".repeat(40),
        ),
        ("Record-Routes", record_route.repeat(40)),
        (
            "short Record-Routes",
            "Record-Route: <sip:a;lr>\r\n".repeat(40),
        ),
        ("both", (via.to_owned() + record_route).repeat(40)),
        (
            "Vias in one line",
            format!(
                "Via: SIP/2.0/UDP a;branch=b{}\r\n",
                ", SIP/2.0/UDP a;branch=b".repeat(39)
            ),
        ),
        (
            "Record-Routes in one line",
            format!(
                "Record-Route: <sip:a;lr>{}\r\n",
                ",<sip:192.0.2.1;lr>".repeat(39)
            ),
        ),
        (
            "lines of 30 bytes",
            format!("X-Header: {}\r\n", "x".repeat(18)).repeat(100),
        ),
        (
            "lines of 30 bytes, with a tab",
            format!("X-Header:\t{}\r\n", "x".repeat(18)).repeat(100),
        ),
        (
            "Contacts",
            "Contact: <sip:1000@192.168.1.10:5062;transport=udp>;expires=3599\r\n".repeat(15),
        ),
        ("a long header", format!("X: {}\r\n", "x".repeat(15_000))),
        (
            "a folded header",
            format!(
                "X: x{}\r\n",
                "\r\n xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".repeat(40)
            ),
        ),
    ] {
        for text in [
            with(&lines),
            with(&lines).replace("Max-Forwards: 70", "X:\ta"),
        ] {
            for direction in [None, Some(Direction::In), Some(Direction::Out)] {
                let (steps, _) = effort::read(text.as_bytes(), direction);
                let result = match direction {
                    None => sip::read(text.as_bytes()),
                    Some(direction) => scan_for(text.as_bytes(), direction),
                };
                assert!(
                    result.is_ok(),
                    "{name}, {} bytes, {steps} steps: {result:?}",
                    text.len()
                );
            }
        }
    }
}

/// Junk is left alone after so many steps, however it goes on.
#[test]
fn junk_is_too_costly() {
    for (start, unit) in [
        ("", "a\n"),
        ("", "a\tb:\r\n"),
        ("Contact: ", "a,"),
        ("Record-Route: ", "a,"),
        ("To: ", "!a"),
        ("To: <sip:a>;tag=", "!a"),
        ("To: <sip:a>", ";a=\"a\"\"a\""),
        ("To: <sip:a", ";"),
        ("", "a: \r\n\tb\r\n"),
    ] {
        let mut text = format!("REGISTER sip:a SIP/2.0\r\n{start}");
        while text.len() < FRAME {
            text += unit;
        }
        text.truncate(FRAME);
        let (steps, _) = effort::read(text.as_bytes(), None);
        assert!(steps > STEPS, "{start:?} {unit:?}: {steps} steps");
        assert_eq!(
            sip::read(text.as_bytes()),
            Err(Doubt::Costly),
            "{start:?} {unit:?}"
        );
    }
}

/// Descriptions of devices fit into a frame, and are read. Junk is left alone.
#[test]
fn descriptions_have_a_budget_too() {
    let body = |lines: &str| {
        format!(
            "{}v=0\r\nc=IN IP4 192.168.1.10\r\nm=audio 4000 RTP/AVP 0 8\r\n{lines}",
            with("Content-Type: application/sdp\r\n")
        )
        .replace("Content-Length: 0\r\n", "")
    };
    for lines in [
        "a=rtpmap:100 telephone-event/8000\r\n".repeat(20),
        "a=candidate:1 1 UDP 2130706431 192.168.1.10 4000 typ host\r\n".repeat(60),
        "m=video 4002 RTP/AVP 99\r\nc=IN IP4 192.168.1.10\r\na=rtcp:4003 IN IP4 192.168.1.10\r\n"
            .repeat(8),
    ] {
        let text = body(&lines);
        let (steps, _) = effort::describe(text.as_bytes());
        let result = sdp::read(text.as_bytes());
        assert!(
            result.is_ok(),
            "{} bytes, {steps} steps: {result:?}",
            text.len()
        );
    }
    for unit in ["a\n", "\n"] {
        let mut text = body(unit);
        while text.len() < FRAME {
            text += unit;
        }
        let (steps, _) = effort::describe(text.as_bytes());
        assert!(steps > STEPS, "{unit:?}: {steps} steps");
        assert_eq!(
            sdp::read(text.as_bytes()),
            Err(NoDescription::Costly),
            "{unit:?}"
        );
    }
}
