//! Forms of messages that real devices and PBXs write against the grammar, or at its edge: one table for each kind. A row
//! is the smallest input, and what the scanner reads.

use nat_common::bpf::HostLoop;
use nat_common::bytes::Source;
use nat_common::sip::{
    self, Direction, Doubt, Field, MAX_CONTACTS, MAX_SCAN, Message, Scan, header,
};
use nat_test_oracle::{direction, plain, scan_for};

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
    plain::check(text.as_bytes());
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
        ("0004294967295", Ok(u32::MAX)),
        ("00000000000000000001", Ok(1)),
        ("000042949672960", Err(Doubt::Syntax)),
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
        format!("{}{REGISTER}", "\r\n".repeat(50)),
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
    let filler = format!("X: {}\r\n", "y".repeat(59)).repeat(MAX_SCAN as usize / 64);
    let long = format!("{without}{filler}{}", "X: y\r\n".repeat(80));
    for start in 0..6 {
        let long = long.replacen(
            "Expires: 60",
            &format!("Expires: 60{}", " ".repeat(start)),
            1,
        );
        assert_eq!(read(&long, true), Err(Doubt::Truncated));
    }
}

/// Expires in a header: RFC 3261 10.2.1.1 takes a malformed value for 3600, and the first of two counts.
#[test]
fn expires_headers() {
    for (value, want) in [
        ("60", 60),
        ("0", 0),
        (" 60\t", 60),
        ("\r\n 60", 60),
        ("60\r\n ", 60),
        ("4294967295", u32::MAX),
        ("4294967296", 3600),
        ("99999999999999999999", 3600),
        ("00000000000000000060", 60),
        ("01000000000", 1_000_000_000),
        ("", 3600),
        (" \r\n ", 3600),
        ("-1", 3600),
        ("\"60\"", 3600),
        ("60s", 3600),
        ("60;x", 3600),
        ("60, 70", 3600),
        // RFC 2543 6.20 allowed a date.
        ("Thu, 01 Dec 1994 16:00:00 GMT", 3600),
        ("60\r\nExpires: 0", 60),
        ("\r\nExpires: 0", 3600),
        ("\0", 3600),
    ] {
        let text = with(&format!("Expires: {value}"));
        let m = read(&text);
        let expires = (m.headers & header::EXPIRES != 0).then_some(m.expires);
        assert_eq!(expires, Some(want), "{value:?}");
        assert_eq!(m.contacts, 1, "{value:?}");
    }
}

/// Returns the URIs of the Contacts, their `expires`, and the advertised port.
fn contacts(text: &str) -> (Vec<(&str, Option<u32>)>, u32) {
    let m = read(text);
    assert_eq!((part(text, &m, Field::CallId), m.cseq), ("c", 1), "{text}");
    let uri = |index| m.contact(index).slice(text.as_bytes());
    let uri = |index| str::from_utf8(uri(index).unwrap_or_default()).expect("UTF-8");
    let count = usize::from(m.contacts);
    assert!((count..MAX_CONTACTS).all(|i| uri(i).is_empty() && m.contact_expires(i).is_none()));
    let all = (0..count).map(|i| (uri(i), m.contact_expires(i))).collect();
    (all, m.advertised.port)
}

/// A malformed Contact is no Contact; the others count. RFC 3261 10.2.1.1 takes a malformed `expires` for 3600.
#[test]
#[rustfmt::skip]
fn odd_contacts() {
    const OWN: &str = "1000@192.168.1.10";
    for (value, want, port) in [
        // Parameters.
        ("<sip:1000@192.168.1.10>;+sip.instance=<urn:uuid:1>;expires=60", &[(OWN, Some(60))][..], 5060),
        ("<sip:1000@192.168.1.10>;expires=60;+sip.instance=<urn:uuid:1>, <sip:a@b>", &[(OWN, Some(60)), ("a@b", None)], 5060),
        ("<sip:1000@192.168.1.10>;expires=\"360\"", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires=\"360\";q=1, <sip:a@b>", &[(OWN, Some(3600)), ("a@b", None)], 5060),
        ("<sip:1000@192.168.1.10>;expires=", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires=;q=1", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires=,<sip:a@b>", &[(OWN, Some(3600)), ("a@b", None)], 5060),
        ("<sip:1000@192.168.1.10>;expires=4294967296;q=1", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires=99999999999999999", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires=-1", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires=60;expires=0", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires=60;expires=60;expires=60", &[(OWN, Some(3600))], 5060),
        ("<sip:1000@192.168.1.10>;expires;q=1", &[(OWN, None)], 5060),
        ("<sip:1000@192.168.1.10>;expires ;q=1", &[(OWN, None)], 5060),
        ("<sip:1000@192.168.1.10>;expires = 60 ; q=1", &[(OWN, Some(60))], 5060),
        ("<sip:1000@192.168.1.10>;expires=60\r\n ;q=1", &[(OWN, Some(60))], 5060),
        ("<sip:1000@192.168.1.10>;q=\"unclosed;expires=60", &[(OWN, None)], 5060),
        ("<sip:1000@192.168.1.10>;x\0;expires=60", &[(OWN, None)], 5060),
        // FreeSWITCH 1.6 writes Date behind the last Contact.
        ("<sip:1000@192.168.1.10>;expires=60Date: Fri, 26 Apr 2019 18:00:00 GMT", &[(OWN, Some(3600))], 5060),
        ("<sip:a@b>;expires=9,<sip:1000@192.168.1.10>;expires=60Date: Fri, 26 Apr 2019 18:00:00 GMT", &[("a@b", Some(9)), (OWN, Some(3600))], 0),
        ("<sip:1000@192.168.1.10>Date: Fri, 26 Apr 2019 18:00:00 GMT", &[(OWN, None)], 5060),
        // Names.
        ("COVER, JERRY <sip:1000@192.168.1.10>;expires=60", &[(OWN, Some(60))], 5060),
        ("Joe; home <sip:1000@192.168.1.10>;expires=60", &[(OWN, Some(60))], 5060),
        ("Joe (home)? <sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("Joe;expires=5 <sip:1000@192.168.1.10>;expires=60", &[(OWN, Some(60))], 5060),
        ("joe@home <sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("*97 <sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("J\u{fc}rgen <sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("DOMAIN\\joe <sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        // Addresses.
        ("1000@192.168.1.10", &[(OWN, None)], 5060),
        ("1000@192.168.1.10;expires=60", &[(OWN, Some(60))], 5060),
        ("<1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("<sip:1000@a@192.168.1.10:5070>", &[("1000@a@192.168.1.10:5070", None)], 5070),
        // No Contact.
        ("", &[], 0),
        (",", &[], 0),
        ("foo", &[], 0),
        ("foo;expires=60", &[], 0),
        ("<>", &[], 0),
        ("<sip:>", &[], 0),
        ("<sip:a@b", &[], 0),
        ("<sip:a b@c>;expires=60", &[], 0),
        ("<sip:a@b\0>", &[], 0),
        ("\"Joe\"", &[], 0),
        ("\"Joe\" sip:a@b", &[], 0),
        ("sip:a@b?x=y;expires=60", &[], 0),
        ("a\0@b", &[], 0),
        // Two readings.
        ("<sip:a@b><sip:c@d>", &[], 0),
        ("<sip:a@b> <sip:c@d>;expires=60", &[], 0),
        ("<sip:a@b>;x <sip:c@d>;expires=60", &[], 0),
        ("sip:a@b;x <sip:c@d>;expires=60", &[], 0),
        ("sip:a@b;x=<sip:c@d>;expires=60", &[], 0),
        ("a@b;x <sip:c@d>", &[], 0),
        ("tel:1;x <sip:c@d>", &[], 0),
        ("\"Joe <sip:a@b>, <sip:c@d>", &[], 0),
        ("<sip:a@b, <sip:c@d>", &[], 0),
        // The others count.
        ("foo > bar, <sip:a@b>", &[("a@b", None)], 0),
        ("foo? bar, <sip:a@b>", &[("a@b", None)], 0),
        ("<sip:a@b>,", &[("a@b", None)], 0),
        (",<sip:a@b>", &[("a@b", None)], 0),
        ("<sip:a@b>;expires=1,,<sip:c@d>;expires=2", &[("a@b", Some(1)), ("c@d", Some(2))], 0),
        ("<sip:a@b>;expires=1,<sip:c d@e>;expires=2,<sip:f@g>;expires=3", &[("a@b", Some(1)), ("f@g", Some(3))], 0),
        ("<sip:a b@192.168.1.9:1>;expires=1,<sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("sip:a@192.168.1.9:1;expires=1;x <sip:c@d>;expires=2,<sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("sip:a@[2001:db8::1]:1;x <sip:c@d>,<sip:1000@192.168.1.10>", &[(OWN, None)], 5060),
        ("sip:a@[::1:2]:1;x <sip:c@d>,<sip:1000@[::1]>", &[("1000@[::1]", None)], 5060),
        ("<sip:a@b>, \"Joe <sip:c@d>, <sip:e@f>", &[("a@b", None)], 0),
        ("<sip:a@b\r\nContact: <sip:c@d>", &[("c@d", None)], 0),
        ("\"Joe\r\nm: <sip:c@d>", &[("c@d", None)], 0),
    ] {
        let text = with(&format!("Contact: {value}"));
        assert_eq!(contacts(&text), (want.to_vec(), port), "{value}");
    }
    // Nothing is left of the host of a Contact that was dropped.
    let advertised = |value: &str| read(&with(&format!("Contact: {value}"))).advertised;
    for dropped in ["sip:a@[2001:db8::1]:1;x <sip:c@d>", "sip:a@[::1:2]:1;x <sip:c@d>", "sip:a@1.2.3.4;x <sip:c@d>"] {
        for own in ["<sip:a@[::1]>", "<sip:a@[2001::]:5070>", "<sip:a@10.0.0.1>", "<sip:a@host>"] {
            assert_eq!(advertised(&format!("{dropped},{own}")), advertised(own), "{dropped},{own}");
        }
    }
    let own = |value: &str| contacts(&with(&format!("Contact: {value}"))).0.len();
    assert_eq!(own(&format!("{}<sip:1000@192.168.1.10>", "a b,".repeat(9))), 1);
    // What `*` means with a Contact beside it is open.
    for value in ["* <sip:a@b>", "*,<sip:a@b>", "*\r\nContact: <sip:a@b>", "*;expires=0"] {
        let text = with(&format!("Contact: {value}"));
        assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Syntax), "{value}");
    }
    // A lone CR may end a line.
    for value in ["<sip:a@b>\rTo: x", "\"Joe\rx\" <sip:a@b>", "<sip:a\r@b>", "a\rb"] {
        let text = with(&format!("Contact: {value}"));
        assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Syntax), "{value}");
    }
}

/// Names that devices write before the URI, with and without quotes.
#[test]
#[rustfmt::skip]
fn names() {
    for name in [
        "", "Joe ", "Joe", "Joe  ", "Joe\t", "\"Joe\" ", "\"Joe\"", "Joe Q. Smith ", "1000 ", "*97 ", "#31# ",
        "+49 (30) 123-456 ", "Joe (home)? ", "? ", "Joe? ", "Who?Me ", "COVER, JERRY ", "COVER,JERRY ", "COVER , JERRY ",
        "COVER,\tJERRY ", "A, B, C ", "Joe,", ", ", ",", "Smith; Joe ", "Smith;Joe ", "Smith ; Joe ", "Joe;", "; ", ";; ",
        "Joe;x=y ", "Joe;x=y;z, Smith? ", "Joe & Co. ", "joe@home ", "joe@home@work ", "Joe @ home ", "J\u{fc}rgen ",
        "J\u{fc}rgen M\u{fc}ller, B\u{fc}ro ", "\u{65e5}\u{672c}\u{8a9e} ", "\"J\u{fc}rgen\" ", "\"\u{65e5}\u{672c}\" ",
        "DOMAIN\\joe ", "Joe\\ ", "a\\b, c\\d ", "\"DOMAIN\\joe\" ", "\"DOMAIN\\\\joe\" ", "\"DOMAIN\\\\\" ",
        "\"a \\\"b\\\" c\" ", "\"\" ", "\" \" ", "\"COVER, JERRY\" ", "\"Joe;tag=no\" ", "\"<sip:no@no>\" ", "\"a@b\" ",
        "Joe \"x\" Smith ", "Joe \"x\"; Smith ", "\"Joe\" Smith ", "\"Joe\", Smith ", "\"Joe\"; \"x\" ", "Joe's ",
        "Joe [1] ", "Joe {1} ", "Joe: 1 ", "Dr: Joe ", "Joe! ", "! ", "Joe = Smith ", "100% ", "$ ", "~ ", "^ ", "| ",
        "`Joe` ", "a/b ", "tag=no ", "Joe;tagged=no ", "Joe;x=\"<sip:no@no>;tag=no\" ", "\r\n ", "Joe\r\n ",
        "Joe,\r\n Smith ", "Joe\r\n ; Smith ", "sip:no@no ", "sip:no@no x ", "Anonymous",
    ] {
        let value = format!("{name}<sip:1000@pbx>;tag=1");
        for (header, uri, tag) in [
            ("From", Field::FromUri, Field::FromTag),
            ("To", Field::ToUri, Field::ToTag),
        ] {
            let text = with(&format!("{header}: {value}"));
            let m = read(&text);
            assert_eq!(part(&text, &m, uri), "1000@pbx", "{header}: {value}");
            assert_eq!(part(&text, &m, tag), "1", "{header}: {value}");
            assert_eq!(m.expires, 60, "{header}: {value}");
        }
    }
    // Two readings, or none.
    for name in [
        "sip:no@no;x ", "sips:no@no, x ", "SIP:no@no; ", "tel:1;x ", "http:no, ", "no@no;x ", "no@no, x ", "x;tag=no ",
        "x;tag=no;y ", "x; tag = no ", "x, y;tag=no ", "x;tag=no, y ", "x;TAG=\"no\" ", "x;tag ", "x;tag=no", "x;tag=", "Joe \"x ",
        "\"Joe ", "\"Joe\\\" ", "Joe\" ", "<Joe> ", "<Joe>", "Joe <x> ", "Joe > ", "Joe < ", "Joe; < ", "Joe; > ", "Joe;x=<y> ",
        "Joe\0 ", "Joe; \0 ", "\"Joe\0\" ", "Joe\r ", "Joe\u{7}, x ", "\"Joe\n\" ", "\"Joe\r\n \" ",
        "sip:no@no?x;y ", "sip:no@no \"x\"; ",
    ] {
        for header in ["From", "To"] {
            let text = with(&format!("{header}: {name}<sip:1000@pbx>;tag=1"));
            assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Syntax), "{header}: {name:?}");
        }
    }
    // ISO 8859-1.
    let mut text = with("From: J?rgen, x <sip:1000@pbx>;tag=1").into_bytes();
    let at = text.iter().position(|b| *b == b'?').expect("a place");
    text[at] = 0xfc;
    let m = sip::read(&text).expect("no doubt");
    assert_eq!(m.text(Field::FromUri, &text), Some(&b"1000@pbx"[..]));
}

/// Addresses of From and To.
#[test]
#[rustfmt::skip]
fn addresses() {
    for (value, uri, tag) in [
        ("sip:1000@pbx;tag=1", "1000@pbx", "1"),
        ("sip:1000@pbx ;tag=1", "1000@pbx", "1"),
        ("sip:1000@pbx", "1000@pbx", ""),
        ("SIPS:1000@pbx;tag=1", "1000@pbx", "1"),
        ("1000@pbx;tag=1", "1000@pbx", "1"),
        ("<1000@pbx>;tag=1", "1000@pbx", "1"),
        ("1000;tag=1", "1000", "1"),
        ("tel:+4930123;tag=1", "tel:+4930123", "1"),
        ("<tel:+4930123;phone-context=x>;tag=1", "tel:+4930123", "1"),
        ("sip:a@b@pbx;tag=1", "a@b@pbx", "1"),
        ("<sip:a@b@pbx>;tag=1", "a@b@pbx", "1"),
        ("<sip:a@b@c@pbx;x>;tag=1", "a@b@c@pbx", "1"),
        ("<sip:1000@pbx>", "1000@pbx", ""),
        ("<sip:1000@pbx> ;\ttag = 1 ; x", "1000@pbx", "1"),
        ("<sip:1000@pbx>;tag=1;", "1000@pbx", "1"),
        ("<sip:1000@pbx>;;tag=1;;", "1000@pbx", "1"),
        ("<sip:1000@pbx>;x=\"a;tag=no\";tag=1", "1000@pbx", "1"),
        ("<sip:1000@pbx>;tag;tag=1", "1000@pbx", "1"),
        ("<sip:1000@pbx;tag=no>;tag=1", "1000@pbx", "1"),
        ("<sip:1000@pbx?x=y>;tag=1", "1000@pbx", "1"),
        ("<sip:1000;x@pbx>;tag=1", "1000;x@pbx", "1"),
        ("<sip:1000:p,w@pbx:5060>;tag=1", "1000:p,w@pbx:5060", "1"),
        ("<sip:%23100@pbx>;tag=1", "%23100@pbx", "1"),
        ("<sip:#100@pbx>;tag=1", "#100@pbx", "1"),
        ("<sip:*97@pbx>;tag=1", "*97@pbx", "1"),
        ("<sip:J\u{fc}rgen@pbx>;tag=1", "J\u{fc}rgen@pbx", "1"),
        ("<sip:1000@[2001:db8::1]:5060>;tag=1", "1000@[2001:db8::1]:5060", "1"),
        ("<sip:pbx>;tag=1", "pbx", "1"),
    ] {
        for (header, uri_of, tag_of) in [
            ("From", Field::FromUri, Field::FromTag),
            ("To", Field::ToUri, Field::ToTag),
        ] {
            let text = with(&format!("{header}: {value}"));
            let m = read(&text);
            let found = (part(&text, &m, uri_of), part(&text, &m, tag_of));
            assert_eq!(found, (uri, tag), "{header}: {value}");
        }
    }
    for value in [
        "", ";tag=1", "<>;tag=1", "<sip:>;tag=1", "<sip:a@b;tag=1", "<sip:a b@c>;tag=1", "< sip:a@b>;tag=1", "<sip:a@b >;tag=1",
        "<sip:a@b>x;tag=1", "<sip:a@b><sip:c@d>;tag=1", "<sip:a@b> <sip:c@d>;tag=1", "<sip:a@b>, <sip:c@d>;tag=1",
        "<sip:a@b>,;tag=1", "<sip:a@b>;x=<sip:c@d>;tag=1", "sip:a@b?x=y;tag=1", "a@b?x=y;tag=1", "sip:a@b, sip:c@d;tag=1",
        "\"Joe\";tag=1", "\"Joe\" sip:a@b;tag=1", "Joe, Smith;tag=1", "Joe Smith;tag=1", "Joe?;tag=1", "Joe, <;tag=1",
        "<sip:a@b\0>;tag=1", "<sip:a@b>;x\0;tag=1",
    ] {
        for header in ["From", "To"] {
            let text = with(&format!("{header}: {value}"));
            assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Syntax), "{header}: {value:?}");
        }
    }
}

/// Tags and branches: characters that end a token for no parser belong to it, and so do quotes around the whole.
#[test]
#[rustfmt::skip]
fn tokens() {
    let fields = [
        ("From: <sip:1000@pbx>;tag=", Field::FromTag),
        ("To: <sip:1000@pbx>;tag=", Field::ToTag),
        ("Via: SIP/2.0/UDP h;branch=", Field::Branch),
    ];
    for token in [
        "a", "a#b", "#", "a$b", "a&b", "&", "a{b}", "{7c-1}", "a|b", "a~b", "~", "a!b", "a=b", "==", "a/b", "a:b", "a@b",
        "a@b@c", "a[b]", "a'b", "a`b", "a%22b", "a*b", "a+b", "a-b.c_d", "\"a\"", "\"a#{$&}\"", "\"~\"",
        "\"abcdefghijklmnopqrstuvwxyz\"", "abcdefghijklmno#pqrstuvwxyz{}",
    ] {
        for (start, field) in fields {
            for end in ["", ";x", " ;x", ";x=\"y\"", "\r\n ;x"] {
                let text = with(&format!("{start}{token}{end}"));
                assert_eq!(part(&text, &read(&text), field), token, "{start}{token}{end}");
            }
        }
    }
    for token in [
        "\"\"", "\"", "\"a", "a\"", "a\"b", "a\"b\"", "\"a\"b", "\"a\"\"b\"", "\"a b\"", "\"a;b\"", "\"a,b\"", "\"a\\\"b\"",
        "\"a;x=\"", "a b", "a>", "a<b", "<a>", "a(b)", "a\\b", "a?b", "a^b", "a\u{e9}b", "\"\u{e9}\"", "a\0b", "a\u{7f}", "a\tb",
    ] {
        for (start, _) in fields {
            for end in ["", ";x", ";x=\"y\""] {
                let text = with(&format!("{start}{token}{end}"));
                assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Syntax), "{start}{token}{end}");
            }
        }
    }
    for (start, _) in fields {
        let name = start.rsplit(';').next().expect("a parameter");
        let text = with(&format!("{start}a;{name}a"));
        assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Duplicate), "{start}");
    }
}

/// Topmost Vias of devices.
#[test]
#[rustfmt::skip]
fn vias() {
    for (value, branch, vias) in [
        ("SIP/2.0/UDP 192.168.1.10:5060;branch=z9hG4bK-1;rport", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.10;rport;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.10:5060;rport=;received=;branch=z9hG4bK-1;", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.10:5060 ; branch = z9hG4bK-1 ; keep", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.10:;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP  192.168.1.10;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP\t192.168.1.10;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("sip/2.0/udp 192.168.1.10;BRANCH=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP fritz.box:5060;rport;branch=z9hG4bK0F1A2", "z9hG4bK0F1A2", 1),
        ("SIP/2.0/UDP my_host.local;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP [fe80::1%25eth0]:5060;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.10 (comment);branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.10;i=1;ms-x=\"a,b;c\";alias;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.10;branch=z9hG4bK.~a!b%c;oc", "z9hG4bK.~a!b%c", 1),
        ("SIP/2.0/UDP h;branch=a, SIP/2.0/UDP i;branch=b", "a", 2),
        ("SIP/2.0/UDP h;branch=a\r\nv: SIP/2.0/UDP i;branch={b}", "a", 2),
        ("SIP/2.0/UDP J\u{fc}rgen;branch=a", "a", 1),
        // An Aastra Intelligate, and a proxy: docs/captures.md.
        ("SIP/2.0/UDP 192.0.2.1:5060port;branch=z9hG4bK-1", "z9hG4bK-1", 1),
        ("SIP/2.0/UDP 192.168.1.2:5065;received=192.0.2.1:64193;branch=z9hG4bKD+a/L50=", "z9hG4bKD+a/L50=", 1),
    ] {
        let text = with(&format!("Via: {value}"));
        let m = read(&text);
        assert_eq!((part(&text, &m, Field::Branch), m.vias), (branch, vias), "{value}");
    }
    for value in [
        "", "h;branch=a", "SIP/2.0/UDP", "SIP/2.0/UDP ;branch=a", "SIP/2.0/UDP <h>;branch=a", "SIP/2.0/UDP h;x=<y>;branch=a",
        "SIP/2.0/UDP h;x=\"y;branch=a", "SIP/2.0/UDP h;branch=a,", "SIP/2.0/UDP h\0;branch=a", "SIP/2.0/UDP h;branch=a,i;branch=b",
    ] {
        let text = with(&format!("Via: {value}"));
        assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Syntax), "{value}");
    }
}

/// Devices of RFC 2543 send no branch, an empty one, or no tag. Only a response that arrives must have a branch: that alone
/// proves that its sender got the request.
#[test]
fn without_branch_or_tag() {
    let response = REGISTER.replace("REGISTER sip:pbx SIP/2.0", "SIP/2.0 200 OK");
    for via in [
        "SIP/2.0/UDP h",
        "SIP/2.0/UDP h:5060",
        "SIP/2.0/UDP h;rport",
        "SIP/2.0/UDP h;branch;rport",
        "SIP/2.0/UDP h;branch=",
        "SIP/2.0/UDP h;branch=;rport",
        "SIP/2.0/UDP h;branch= ;rport",
        "SIP/2.0/UDP h;branch=\r\n ;rport",
        "SIP/2.0/UDP h;branch=,SIP/2.0/UDP i;branch=b",
        "SIP/2.0/UDP h,SIP/2.0/UDP i;branch=b",
    ] {
        let request = with(&format!("Via: {via}"));
        let response = response.replace("SIP/2.0/UDP h;branch=b", via);
        for text in [&request, &response] {
            let m = read(text);
            assert_eq!(part(text, &m, Field::Branch), "", "{text}");
            assert_eq!(part(text, &m, Field::CallId), "c", "{text}");
            direction::check(text.as_bytes(), &m);
        }
        let arrives = scan_for(response.as_bytes(), Direction::In);
        assert_eq!(arrives, Err(Doubt::Missing), "{response}");
        scan_for(response.as_bytes(), Direction::Out).expect(&response);
    }
    for via in [
        "SIP/2.0/UDP h;branch=;branch=b",
        "SIP/2.0/UDP h;branch=b;branch=",
    ] {
        let text = with(&format!("Via: {via}"));
        assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Duplicate), "{via}");
        // A Contact before it changes nothing.
        let (start, headers) = text.split_once("\r\n").expect("a start line");
        let text = format!("{start}\r\nContact: <sip:a@b>\r\n{headers}");
        assert_eq!(sip::read(text.as_bytes()), Err(Doubt::Duplicate), "{via}");
    }
    let text = REGISTER.replace("\r\nVia", "\r\nContact: <sip:a@b>\r\nVia");
    assert_eq!(part(&text, &read(&text), Field::Branch), "b");
    let text = with("From: <sip:1000@pbx>");
    let m = read(&text);
    assert_eq!(part(&text, &m, Field::FromUri), "1000@pbx");
    assert!(!m.has(Field::FromTag));
}
