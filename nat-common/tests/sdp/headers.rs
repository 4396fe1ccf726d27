//! The headers that declare the body, and where the description begins and ends.

use nat_common::bpf::HostLoop;
use nat_common::bytes::Source;
use nat_common::sdp::{self, LineFlags, NoDescription, Scan};
use nat_common::sip::Content;

use crate::media;

const BODY: &str = "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n";

/// Reads a message with these headers, and returns the media of its first line.
fn first(headers: &str, body: &str) -> Result<String, NoDescription> {
    let text = format!("INVITE sip:b SIP/2.0\r\n{headers}\r\n\r\n{body}");
    sdp::read(text.as_bytes()).map(|description| media(&description.lines[0]))
}

#[test]
fn types() {
    let found = Ok("10.0.0.1:4000".to_string());
    for headers in [
        "Content-Type: application/sdp",
        "content-type:application/sdp",
        "CONTENT-TYPE : Application/SDP",
        "c: application/sdp",
        "C:application/sdp;charset=utf-8",
        "c: application/sdp ; a=b",
        "Content-Type:\r\n application/sdp",
        "Content-Type: application/sdp\r\nContent-Encoding: identity",
        "Subject: c: text/plain\r\nc: application/sdp",
        "X: y\r\n folded\r\n\tc: text/plain\r\nc: application/sdp",
        "Content-Type-Info: text/plain\r\nContent-Typed: x\r\nc: application/sdp",
    ] {
        assert_eq!(first(headers, BODY), found, "{headers}");
    }
    for (headers, why) in [
        ("Max-Forwards: 70", NoDescription::OtherType),
        ("c: text/plain", NoDescription::OtherType),
        ("c: application/sdpx", NoDescription::OtherType),
        ("c: application/isup", NoDescription::OtherType),
        ("Content-Type:", NoDescription::OtherType),
        (
            "c: application/sdp\r\nContent-Encoding: gzip",
            NoDescription::Encoded,
        ),
        ("c: application/sdp\r\ne: gzip", NoDescription::Encoded),
        ("c: application/sdp\r\ne: identity2", NoDescription::Encoded),
        (
            "c: application/sdp\r\nContent-Type: text/plain",
            NoDescription::Duplicate,
        ),
        (
            "c: text/plain\r\nc: application/sdp",
            NoDescription::Duplicate,
        ),
        (
            "c: application/sdp\r\nl: 45\r\nContent-Length: 45",
            NoDescription::Duplicate,
        ),
        ("c: application/sdp\r\nl: x", NoDescription::Syntax),
        ("c: application/sdp\r\nl:", NoDescription::Syntax),
        ("c: application/sdp\r\nl: -1", NoDescription::Syntax),
        (
            "c: application/sdp\r\nl: 99999999999",
            NoDescription::Syntax,
        ),
    ] {
        assert_eq!(first(headers, BODY), Err(why), "{headers}");
    }
}

#[test]
fn lengths() {
    let with =
        |length: usize, body: &str| first(&format!("c: application/sdp\r\nl: {length}"), body);
    let all = BODY.len();
    let found = Ok("10.0.0.1:4000".to_string());
    assert_eq!(with(all, BODY), found);
    // The description may end without a line end, at the end of the datagram.
    assert_eq!(with(all - 2, &BODY[..all - 2]), found);
    assert_eq!(with(all + 1, BODY), Err(NoDescription::Truncated));
    assert_eq!(with(0, BODY), Err(NoDescription::Absent));
    assert_eq!(first("c: application/sdp", ""), Err(NoDescription::Absent));
    // The body ends at Content-Length, and what follows does not count.
    let more = format!("{BODY}m=audio 5000 RTP/AVP 0\r\n");
    assert_eq!(with(all, &more), found);
    let text = format!("INVITE sip:b SIP/2.0\r\nc: application/sdp\r\nl: {all}\r\n\r\n{more}");
    assert_eq!(sdp::read(text.as_bytes()).unwrap().count, 1);
    // A line that it cuts off would be read in two ways: 4000 or 40.
    for length in 1..more.len() {
        let ends = [5, 5 + 19, all].contains(&length);
        let result = with(length, &more);
        let cut = matches!(
            result,
            Err(NoDescription::Truncated | NoDescription::Syntax)
        );
        assert!(ends || cut, "{length}: {result:?}");
    }
}

#[test]
fn no_message() {
    for text in [
        "",
        "\r\n",
        "INVITE",
        "INVITE sip:b SIP/2.0\r\n",
        "\r\n\r\nINVITE sip:b SIP/2.0\r\nc: a",
    ] {
        assert_eq!(
            sdp::read(text.as_bytes()),
            Err(NoDescription::Absent),
            "{text:?}"
        );
    }
    // Line ends before the start line (RFC 3261 7.5) do not end the headers.
    let text = format!("\r\n\r\nINVITE sip:b SIP/2.0\r\nc: application/sdp\r\n\r\n{BODY}");
    assert_eq!(sdp::read(text.as_bytes()).unwrap().count, 1);
    // Lone line feeds end lines, as PBXs have it.
    let text = text.replace("\r\n", "\n");
    assert_eq!(
        media(&sdp::read(text.as_bytes()).unwrap().lines[0]),
        "10.0.0.1:4000"
    );
}

#[test]
fn multipart() {
    let headers = "Content-Type: multipart/mixed;boundary=unique";
    let part = |body: &str| format!("--unique\r\nContent-Type: application/sdp\r\n\r\n{body}\r\n");
    let isup = "--unique\r\nContent-Type: application/ISUP;version=x\r\n\r\n\u{1}\u{2}m=audio 1 RTP/AVP 0\r\n";
    let end = "--unique--\r\n";
    let found = Ok("10.0.0.1:4000".to_string());
    for body in [
        format!("{}{end}", part(BODY)),
        format!("{}{isup}{end}", part(BODY)),
        format!("preamble\r\n{isup}{}{end}", part(BODY)),
        format!("{isup}{}", part(BODY)),
    ] {
        assert_eq!(first(headers, &body), found, "{body}");
        let text = format!("INVITE sip:b SIP/2.0\r\n{headers}\r\n\r\n{body}");
        assert_eq!(sdp::read(text.as_bytes()).unwrap().count, 1, "{body}");
    }
    assert_eq!(first(headers, isup), Err(NoDescription::Absent));
    // Readers differ in which of two counts.
    let two = format!("{}{}{end}", part(BODY), part(BODY));
    assert_eq!(first(headers, &two), Err(NoDescription::Duplicate));
    // Only a multipart body has parts.
    let text = format!("--unique\r\n{BODY}");
    assert_eq!(
        first("c: application/sdp", &text),
        Err(NoDescription::Syntax)
    );
}

/// A fragment, or a message longer than the scanner reads.
struct Fragment<'t>(&'t [u8]);

impl Source for Fragment<'_> {
    fn word(&self, at: u32) -> u64 {
        self.0.word(at)
    }

    fn len(&self) -> u32 {
        self.0.len() as u32
    }

    fn is_whole(&self) -> bool {
        false
    }
}

#[test]
fn fragments() {
    let body = format!("{BODY}a=rtcp-mux\r\nm=video 4002 RTP/AVP 99\r\na=sendonly\r\n");
    let length = body.len();
    let text = format!("INVITE sip:b SIP/2.0\r\nc: application/sdp\r\nl: {length}\r\n\r\n{body}");
    let mut scan = Scan::default();
    for end in 0..=text.len() {
        let result = scan
            .run::<_, HostLoop, HostLoop>(&Fragment(&text.as_bytes()[..end]), &Content::default());
        let Ok(()) = result else { continue };
        let d = scan.description;
        assert!(d.cut, "{end}");
        let last = usize::from(d.count).checked_sub(1);
        for (index, line) in d.lines.iter().enumerate() {
            let unreadable = line.flags.contains(LineFlags::UNREADABLE);
            assert_eq!(unreadable, Some(index) == last, "{end}: {line:?}");
        }
        if d.count == 2 {
            assert_eq!(media(&d.lines[0]), "10.0.0.1:4000", "{end}");
            assert_eq!(d.lines[0].flags, LineFlags::MUX, "{end}");
        }
    }
    assert_eq!(scan.description.count, 2);
}
