//! The fast path of the scanner: which forms it reads, and that it leaves the others to the machine.

use nat_common::bpf::HostLoop;
use nat_common::sip::{MAX_SCAN, Scan};
use nat_test_oracle::usual::check;

/// Lines of a message that the fast path reads, for all headers and for both directions.
const LINES: [(&str, &str); 9] = [
    ("start", "INVITE sip:2000@pbx.example.com SIP/2.0"),
    (
        "via",
        "Via: SIP/2.0/UDP 192.168.1.10:5060;branch=z9hG4bK776asdhds",
    ),
    ("max", "Max-Forwards: 70"),
    (
        "from",
        "From: \"Alice\" <sip:1000@pbx.example.com>;tag=1928301774",
    ),
    ("to", "To: <sip:2000@pbx.example.com>"),
    ("call-id", "Call-ID: a84b4c76e66710@192.168.1.10"),
    ("cseq", "CSeq: 314159 INVITE"),
    (
        "contact",
        "Contact: <sip:1000@192.168.1.10:5062;transport=udp>",
    ),
    ("length", "Content-Length: 0"),
];

/// Returns the message with another line in place of that of this name.
fn with(name: &str, line: &str) -> String {
    assert!(LINES.iter().any(|(known, _)| *known == name), "{name}");
    let lines = LINES.map(|(known, usual)| if known == name { line } else { usual });
    lines.join("\r\n") + "\r\n\r\n"
}

/// Forms that most devices write.
#[test]
fn usual_forms() {
    let response = "SIP/2.0 200 OK";
    let long = format!("Call-ID: {}", "a".repeat(64));
    let branch = format!("Via: SIP/2.0/UDP x;branch=z9hG4bK{}", "a".repeat(56));
    for (name, line) in [
        ("start", "INVITE sip:2000@pbx.example.com SIP/2.0"),
        ("start", "INVITE sips:pbx SIP/2.0"),
        (
            "start",
            "INVITE sip:1000@192.168.1.10:5062;transport=udp;rinstance=0123456789ab SIP/2.0",
        ),
        ("start", response),
        ("start", "SIP/2.0 180 Ringing"),
        ("start", "SIP/2.0 200"),
        ("via", "v: SIP/2.0/UDP x;branch=z"),
        (
            "via",
            "VIA: sip/2.0/udp 192.168.1.10;RPORT;Branch=z9hG4bK-a:b/c_d.e",
        ),
        ("via", "Via: SIP/2.0/UDP x;branch=z9hG4bK7;rport"),
        (
            "via",
            "Via: SIP/2.0/UDP x;branch=z9hG4bK7;received=192.0.2.1;rport=5060",
        ),
        (
            "via",
            "Via: SIP/2.0/UDP x;rport=5060;received=192.0.2.1;branch=z9hG4bK7",
        ),
        ("via", &branch),
        ("max", "X: <sip:a@b>;tag=1, \"\\ ü"),
        ("max", "Authorization: Digest username=\"a\""),
        ("max", "Proxy-Authenticate: Digest realm=\"a\""),
        ("max", "Expires: 3600"),
        ("max", "Route: <sip:pbx;lr>"),
        ("from", "f: <sip:1000@pbx>;tag=1"),
        ("from", "From: <sip:1000@pbx>"),
        ("from", "From: Alice <sip:1000@pbx>;tag=1"),
        ("from", "From: Alice Müller<sip:1000@pbx>;tag=1"),
        (
            "from",
            "From: \"Müller, <Alice>; sip:a@b\"<sip:1000@pbx>;tag=a.b-c_d:e/f",
        ),
        ("from", "From: <sip:+4930123456@pbx;user=phone>;tag=1"),
        ("from", "From: <sip:pbx?a=b>;tag=1"),
        ("to", "t: <tel:+4930123456>"),
        (
            "to",
            "To: <sip:01234567890123456789@0123456789.example.com:5060>;tag=1",
        ),
        ("call-id", "i: a"),
        ("call-id", &long),
        ("cseq", "CSeq: 0 INVITE"),
        ("contact", "m: <sip:1000@phone.example>"),
        ("contact", "Contact: <sip:192.168.1.10>"),
        (
            "contact",
            "Contact: \"Alice\" <sip:1000@192.168.1.10:70000>",
        ),
        ("contact", "X: y"),
    ] {
        assert_eq!(check(with(name, line).as_bytes()), 3, "{line}");
    }
}

/// The machine reads these, or doubts them.
#[test]
fn other_forms() {
    let long = format!("Call-ID: {}", "a".repeat(65));
    let branch = format!("Via: SIP/2.0/UDP x;branch=z9hG4bK{}", "a".repeat(57));
    for (name, line) in [
        ("start", "BREW sip:2000@pbx SIP/2.0"),
        ("start", "SIP/2.0 99 Low"),
        ("start", "SIP/2.0 700 High"),
        ("start", "SIP/2.0 2000 Long"),
        ("start", "\r\nINVITE sip:2000@pbx SIP/2.0"),
        ("via", "Via: SIP/2.0/TCP x;branch=z"),
        ("via", "Via: SIP/2.0/UDP  x;branch=z"),
        ("via", "Via : SIP/2.0/UDP x;branch=z"),
        ("via", "Via:SIP/2.0/UDP x;branch=z"),
        ("via", "Via: SIP/2.0/UDP x"),
        ("via", "Via: SIP/2.0/UDP x;branch="),
        ("via", "Via: SIP/2.0/UDP x;branch=z+"),
        ("via", "Via: SIP/2.0/UDP x;branch=z;branch=y"),
        ("via", "Via: SIP/2.0/UDP x;branch=z;Branch=y"),
        ("via", "Via: SIP/2.0/UDP x;b;branch=z"),
        ("via", "Via: SIP/2.0/UDP x;branch=z, SIP/2.0/UDP y;branch=x"),
        (
            "via",
            "Via: SIP/2.0/UDP x;branch=z\r\nVia: SIP/2.0/UDP y;branch=x",
        ),
        ("via", "Via: SIP/2.0/UDP x;branch=z\r\n ;rport"),
        ("via", "Via: SIP/2.0/UDP x;a=\"b\";branch=z"),
        ("via", "Via: SIP/2.0/UDP x;branch=z;c=\"b\""),
        ("via", &branch),
        ("max", "X: a\tb"),
        ("max", "X: a\nY: b"),
        ("max", "X: a\rY: b"),
        ("max", "X: a\0b"),
        ("max", "t\r\nX: y"),
        ("max", "Expires: never"),
        ("max", "Expires: 60\r\nExpires: 70"),
        ("max", "Record-Route: <sip:a;lr>"),
        ("max", "Route: <sip:a;lr>\r\nRoute: <sip:b;lr>"),
        ("to", "To: sip:2000@pbx"),
        ("to", "To: <sip:2000@pbx> ;tag=1"),
        ("to", "To: <sip:2000@pbx>;tag=1;a=b"),
        ("to", "To: <sip:2000@pbx>;a=b;tag=1"),
        ("to", "To: <sip:2000@pbx>;tag="),
        ("to", "To: <sip:2000@pbx>;tag=\"1\""),
        ("to", "To: \"a\\\"b\" <sip:2000@pbx>"),
        ("to", "To: a, b <sip:2000@pbx>"),
        ("to", "To: <sip:20 00@pbx>"),
        ("to", "To: <sip:a@b@pbx>"),
        ("to", "To: <sip:2000;a=b@pbx>"),
        ("to", "To: <sip:>"),
        ("to", "To: <sip:2000@pbx"),
        ("to", "To: <sip:2000@pbx\r\n >"),
        ("call-id", "Call-ID: "),
        ("call-id", "Call-ID: a b"),
        ("call-id", "Call-ID: a\r\nCall-ID: b"),
        ("call-id", &long),
        ("cseq", "CSeq: 1  INVITE"),
        ("cseq", "CSeq: 12345678 INVITE"),
        ("cseq", "CSeq: 1 BYE"),
        ("cseq", "CSeq: 1 INVITE "),
        ("cseq", "CSeq: x INVITE"),
    ] {
        assert_eq!(check(with(name, line).as_bytes()), 0, "{line}");
    }
    let whole = with("max", "Max-Forwards: 70");
    for end in 0..whole.len() {
        assert_eq!(check(&whole.as_bytes()[..end]), 0, "cut off after {end}");
    }
}

/// A header that a direction does not need may have any form: a Contact from the PBX, From and Request-URI of a terminal's request.
#[test]
fn what_is_not_needed_has_any_form() {
    for (name, line) in [
        ("start", "INVITE  sip:2000@pbx SIP/2.0"),
        ("contact", "Contact: <sip:1000@[2001:db8::1]>"),
        ("start", "INVITE sip: SIP/2.0"),
        ("contact", "Contact: *"),
        ("contact", "Contact: * <sip:a@b>"),
        ("contact", "Contact: <sip:a@b>;expires=1"),
        ("from", "From: a;b"),
    ] {
        assert_eq!(check(with(name, line).as_bytes()), 1, "{line}");
    }
}

/// A header section that ends behind what the scanner reads.
#[test]
fn headers_of_many_bytes() {
    let usual = with("max", "X: ").len();
    for end in MAX_SCAN - 8..MAX_SCAN + 8 {
        let line = format!("X: {}", "x".repeat(end as usize - usual));
        let text = with("max", &line) + "body";
        let want = if end <= MAX_SCAN { 3 } else { 0 };
        assert_eq!(check(text.as_bytes()), want, "{end}");
    }
}

/// A start line is no header, whatever its method is called.
#[test]
fn a_start_line_like_a_header() {
    let text = with("start", "To: <sip:2000@pbx>")
        .replace("To: <sip:2000@pbx.example.com>", "X: y")
        .replace("314159 INVITE", "314159 To:");
    assert_eq!(check(text.as_bytes()), 0);
}

/// Headers that describe the body. The walk knows them in the form that most devices write, and SDP must find the same from the
/// first byte. In any other form, the body must be sought there.
#[test]
fn headers_of_the_body() {
    const BODY: &str = "v=0\r\nc=IN IP4 192.168.1.10\r\nm=audio 4000 RTP/AVP 0\r\n";
    const TYPE: &str = "Content-Type: application/sdp";
    const LENGTH: &str = "Content-Length: 52";
    for (lines, known) in [
        (format!("{TYPE}\r\n{LENGTH}"), true),
        (
            "CONTENT-TYPE: Application/SDP;a=b\r\ncontent-length: 20".into(),
            true,
        ),
        (TYPE.into(), true),
        (LENGTH.into(), true),
        (format!("Content-Disposition: session\r\n{TYPE}"), true),
        (format!("c: application/sdp\r\n{LENGTH}"), true),
        (format!("{TYPE}\r\nl: 20"), true),
        ("C: application/sdp\r\nL: 52".into(), true),
        (format!("k: timer\r\nx: 90\r\n{TYPE}"), true),
        (format!("{TYPE}\r\ne: gzip"), false),
        (format!("{TYPE}\r\nE: gzip"), false),
        (format!("{TYPE}\r\ne : gzip"), false),
        (format!("{TYPE}\r\nc: application/sdp"), false),
        (format!("l: 20\r\n{LENGTH}"), false),
        ("c:application/sdp".into(), false),
        ("c : application/sdp".into(), false),
        ("l : 20".into(), false),
        ("c: application/sdp\r\n ;a=b".into(), false),
        (format!("{TYPE}\r\nContent-Encoding: gzip"), false),
        (format!("{TYPE}\r\n{TYPE}"), false),
        (format!("{LENGTH}\r\n{LENGTH}"), false),
        ("Content-Types: x".into(), false),
        ("Content-Type : application/sdp".into(), false),
        ("Content-Type:application/sdp".into(), false),
        ("Content-Type:  application/sdp".into(), false),
        ("Content-Type: \r\n application/sdp".into(), false),
        (format!("{TYPE}\r\n ;a=b"), false),
        (format!("{TYPE}\r\nContent-Length:\r\n 20"), false),
    ] {
        let text = with("length", &lines) + BODY;
        let mut scan = Scan::default();
        scan.walk::<_, HostLoop>(text.as_bytes());
        assert!(scan.read_usual(text.as_bytes(), None), "{lines}");
        assert_eq!(scan.content().body != 0, known, "{lines}");
        assert_eq!(check(text.as_bytes()), 3, "{lines}");
    }
    let read = |text: &str| {
        let mut scan = Scan::default();
        assert_eq!(scan.run::<_, HostLoop>(text.as_bytes(), None), Ok(()));
        check(text.as_bytes());
        scan.content().body != 0
    };
    // The machine reads the headers, and the walk knows the body.
    assert!(read(&with(
        "to",
        &format!("To: \"a\\\"b\" <sip:2000@pbx>\r\n{TYPE}")
    )));
    // The walk takes the first empty line for the end of the headers.
    assert!(!read(&format!("\r\n\r\n{}", with("length", TYPE))));
    assert!(read(&format!("\r\n{}", with("length", TYPE))));
}

/// A start line describes no body, whatever its method is called.
#[test]
fn a_start_line_like_a_header_of_the_body() {
    const BODY: &str = "v=0\r\nc=IN IP4 192.168.1.10\r\nm=audio 4000 RTP/AVP 0\r\n";
    for start in [
        "c: application/sdp",
        "Content-Type: application/sdp",
        "e: gzip",
    ] {
        for kind in [
            "X: y",
            "Content-Type: text/plain",
            "Content-Type: application/sdp",
        ] {
            for before in ["", "\r\n"] {
                check(format!("{before}{start}\r\n{kind}\r\n\r\n{BODY}").as_bytes());
            }
        }
    }
}

/// A body behind what the scanner reads has no description.
#[test]
fn a_body_behind_what_is_read() {
    for end in MAX_SCAN - 4..MAX_SCAN + 4 {
        let start = "INVITE sip:b SIP/2.0\r\nContent-Type: application/sdp\r\nX: ";
        let line = "x".repeat(end as usize - start.len() - 4);
        check(format!("{start}{line}\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n").as_bytes());
    }
}
