//! Forms of messages that real devices and PBXs write against the grammar, or at its edge: one table for each kind. A row
//! is the smallest input, and what the scanner reads.

use nat_common::bpf::HostLoop;
use nat_common::bytes::Source;
use nat_common::sip::{self, Doubt, Field, MAX_SCAN, Message, Scan};

/// Message to try a form in. It has every header of which a form is tried.
const REGISTER: &str = "REGISTER sip:pbx SIP/2.0\r\n\
    Via: SIP/2.0/UDP h;branch=b\r\n\
    From: <sip:1000@pbx>;tag=f\r\n\
    To: <sip:1000@pbx>\r\n\
    Call-ID: c\r\n\
    CSeq: 1 REGISTER\r\n\
    Contact: <sip:1000@192.168.1.10>\r\n\
    Expires: 60\r\n\
    \r\n";

/// Returns [`REGISTER`] with one line written otherwise.
fn with(line: &str) -> String {
    let (name, _) = line.split_once(':').expect("a header");
    let mut found = 0;
    let lines = REGISTER.split_inclusive("\r\n").map(|old| {
        if !old.starts_with(&format!("{name}:")) {
            return old.to_owned();
        }
        found += 1;
        format!("{line}\r\n")
    });
    let text = lines.collect();
    assert_eq!(found, 1, "{name}");
    text
}

fn read(text: &str) -> Message {
    sip::read(text.as_bytes()).unwrap_or_else(|doubt| panic!("{doubt:?}: {text}"))
}

fn part<'t>(text: &'t str, m: &Message, field: Field) -> &'t str {
    m.text(field, text.as_bytes())
        .map_or("", |part| str::from_utf8(part).expect("UTF-8"))
}

/// FreeSWITCH before 2024 begins with numbers of 32 bits, against RFC 3261 8.1.1.5.
#[test]
fn sequence_numbers() {
    for (number, want) in [
        ("2147483648", Ok(1 << 31)),
        ("4294967295", Ok(u32::MAX)),
        ("0000000001", Ok(1)),
        ("4294967296", Err(Doubt::Syntax)),
        ("9999999999", Err(Doubt::Syntax)),
        ("18446744073709551617", Err(Doubt::Syntax)),
        ("-1", Err(Doubt::Syntax)),
        ("", Err(Doubt::Syntax)),
    ] {
        let text = with(&format!("CSeq: {number} REGISTER"));
        let cseq = sip::read(text.as_bytes()).map(|m| m.cseq);
        assert_eq!(cseq, want, "{number}");
    }
}

/// Line ends, and what stands before the start line and after the last header.
#[test]
fn framing() {
    let response = REGISTER.replace("REGISTER sip:pbx SIP/2.0", "SIP/2.0 200");
    let (_, headers) = REGISTER.split_once("\r\n").expect("a start line");
    let reads = [
        // RFC 3261 7.5.
        format!("\r\n{REGISTER}"),
        format!("\r\n\r\n{REGISTER}"),
        format!("{}{REGISTER}", "\r\n".repeat(100)),
        // No empty line: the datagram ends.
        REGISTER.strip_suffix("\r\n").expect("a line").to_owned(),
        REGISTER.replace("\r\n\r\n", "\n"),
        // No reason.
        response.clone(),
        response.replace("200\r\n", "200 \r\n"),
        response.replace("200\r\n", "200\n"),
        // A lone LF ends a line for every parser.
        REGISTER.replace("\r\n", "\n"),
        response.replace("\r\n", "\n"),
        format!("REGISTER sip:pbx SIP/2.0\n{headers}"),
        REGISTER.replace("\r\n\r\n", "\r\n\n"),
        REGISTER.replace("\r\n\r\n", "\n\r\n"),
    ];
    for text in reads {
        let m = read(&text);
        assert_eq!(m.status, if text.starts_with("SIP") { 200 } else { 0 });
        assert_eq!(m.cseq, 1, "{text:?}");
        assert_eq!(part(&text, &m, Field::CallId), "c", "{text:?}");
        assert_eq!(m.expires, 60, "{text:?}");
        // A body changes nothing.
        let ended = text.ends_with("\n\n") || text.ends_with("\n\r\n");
        let end = if ended { "" } else { "\r\n" };
        let longer = format!("{text}{end}Call-ID: other\r\n\r\n");
        assert_eq!(read(&longer), m, "{text:?}");
    }
    for (text, doubt) in [
        // The datagram ends within a line: a parameter or a header could be missing.
        (&REGISTER[..REGISTER.len() - 4], Doubt::Truncated),
        (&REGISTER[..REGISTER.len() - 3], Doubt::Syntax),
        ("\r\n", Doubt::Truncated),
        ("\r\n\r\n\r\n", Doubt::Truncated),
        ("\r\nX", Doubt::Syntax),
        (&format!("\r{REGISTER}"), Doubt::Syntax),
        (&format!("\n\r{REGISTER}"), Doubt::Syntax),
        (&format!(" {REGISTER}"), Doubt::Syntax),
        (&response.replace("200\r\n", "20\r\n"), Doubt::Syntax),
        (&response.replace("200\r\n", "2000\r\n"), Doubt::Syntax),
        (&response.replace("200\r\n", "200OK\r\n"), Doubt::Syntax),
        (&response.replace("200\r\n", "200\r"), Doubt::Syntax),
        // A lone CR is a line end for some parsers only.
        (&REGISTER.replace("60\r\n", "60\r"), Doubt::Syntax),
        (&REGISTER.replace("\r\n", "\r"), Doubt::Syntax),
    ] {
        assert_eq!(sip::read(text.as_bytes()), Err(doubt), "{text:?}");
    }
}

/// Part of a datagram, without the other parts.
struct Cut<'t>(&'t [u8]);

impl Source for Cut<'_> {
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

/// The first fragment of a message may end between two headers. Only the end of a datagram ends the headers.
#[test]
fn a_fragment_without_an_empty_line_is_truncated() {
    let read = |text: &str, whole: bool| {
        let mut scan = Scan::default();
        if whole {
            scan.run::<_, HostLoop>(text.as_bytes(), None)
        } else {
            scan.run::<_, HostLoop>(&Cut(text.as_bytes()), None)
        }
    };
    let without = &REGISTER[..REGISTER.len() - 2];
    assert_eq!(read(without, true), Ok(()));
    assert_eq!(read(without, false), Err(Doubt::Truncated));
    assert_eq!(read(REGISTER, false), Ok(()));
    // A message that is longer than what is read.
    let filler = "X: y\r\n".repeat(MAX_SCAN as usize / 6);
    let long = format!("{without}{filler}{}", "X: y\r\n".repeat(30));
    for start in 0..6 {
        let long = long.replacen(
            "Expires: 60",
            &format!("Expires: 60{}", " ".repeat(start)),
            1,
        );
        assert_eq!(read(&long, true), Err(Doubt::Truncated));
    }
}
