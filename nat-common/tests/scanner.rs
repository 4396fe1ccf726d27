//! Tables for the scanner: the parts that it finds, and the messages that leave it in doubt.

use std::net::{Ipv6Addr, SocketAddr};

use nat_common::bpf::HostLoop;
use nat_common::endpoint::Endpoint;
use nat_common::sip::{self, Direction, Doubt, Field, Message, Method, Scan, header};
use nat_test_oracle::scan_for;

fn part<'t>(text: &'t str, m: &Message, f: Field) -> &'t str {
    let s = m.span(f);
    &text[s.start.into()..usize::from(s.start) + usize::from(s.len)]
}

fn contact<'t>(text: &'t str, m: &Message, i: usize) -> &'t str {
    let s = m.contact(i);
    &text[s.start.into()..usize::from(s.start) + usize::from(s.len)]
}

const INVITE: &str = "INVITE sip:1002@203.0.113.10;transport=udp SIP/2.0\r\n\
    Via: SIP/2.0/UDP 60.17.196.2;branch=z9hG4bK-1;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice \\\"A\\\" <x@y>\" <sip:1000@pbx.example.com;user=phone>;tag=a-tag\r\n\
    To: Bob <sip:1002@pbx.example.com>\r\n\
    Call-ID: 4711@192.168.1.10\r\n\
    CSeq: 2147483647 INVITE\r\n\
    Contact: <sip:1000@60.17.196.2>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 4\r\n\
    \r\n\
    v=0\r\n";

#[test]
fn request() {
    let m = sip::read(INVITE.as_bytes()).unwrap();
    assert_eq!(m.status, 0);
    assert_eq!(m.method, Method::Invite);
    assert_eq!(
        part(INVITE, &m, Field::RequestUri),
        "1002@203.0.113.10;transport=udp"
    );
    assert_eq!(part(INVITE, &m, Field::CallId), "4711@192.168.1.10");
    assert_eq!(part(INVITE, &m, Field::FromTag), "a-tag");
    assert_eq!(part(INVITE, &m, Field::FromUri), "1000@pbx.example.com");
    assert_eq!(part(INVITE, &m, Field::ToUri), "1002@pbx.example.com");
    assert_eq!(part(INVITE, &m, Field::Branch), "z9hG4bK-1");
    assert!(!m.has(Field::ToTag));
    assert_eq!(m.cseq, i32::MAX as u32);
    assert_eq!((m.vias, m.record_routes, m.contacts, m.star), (1, 0, 1, 0));
    assert_eq!(contact(INVITE, &m, 0), "1000@60.17.196.2");
    assert_eq!(m.advertised, Endpoint::v4([60, 17, 196, 2], 5060));
    assert_eq!(m.contact_expires(0), None);
    assert_eq!(m.headers & header::ROUTE, 0);
}

/// Headers that a direction does not need are only checked for presence.
#[test]
fn what_is_wanted_depends_on_the_way() {
    let read = |text: &str, direction| {
        let read = scan_for(text.as_bytes(), direction);
        read.map(|m| [Field::FromTag, Field::ToUri, Field::Contact].map(|field| m.has(field)))
    };
    let subscribe = INVITE.replace("INVITE", "SUBSCRIBE");
    let response = INVITE.replace(INVITE.lines().next().unwrap(), "SIP/2.0 200 OK");
    for (text, direction, wanted) in [
        (INVITE, Direction::In, [false, true, true]),
        (&subscribe, Direction::In, [true, true, true]),
        (&response, Direction::In, [true, true, true]),
        (INVITE, Direction::Out, [true, true, false]),
        (&subscribe, Direction::Out, [true, true, false]),
        (&response, Direction::Out, [true, true, true]),
    ] {
        assert_eq!(read(text, direction), Ok(wanted), "{direction:?} {text}");
        let broken = text.replace("a-tag", "a>");
        let doubt = if wanted[0] {
            Err(Doubt::Syntax)
        } else {
            Ok(wanted)
        };
        assert_eq!(read(&broken, direction), doubt, "{direction:?} {broken}");
        for (header, instead, doubt) in [
            ("From: ", "X: ", Doubt::Missing),
            ("To: ", "From: ", Doubt::Duplicate),
        ] {
            let text = text.replace(header, instead);
            assert_eq!(read(&text, direction), Err(doubt), "{direction:?} {text}");
        }
    }
}

/// A line end in a quoted string is a doubt. If the header is not needed, the next line counts as a header.
#[test]
fn hidden_in_what_is_passed_over() {
    let hide = |hidden: &str| {
        let text = INVITE
            .replace("Via: ", "X: ")
            .replace("Alice", &format!("\\\n{hidden}\nX: "));
        text.replace(
            "To: Bob",
            "Via: SIP/2.0/UDP 60.17.196.2;branch=z9hG4bK-1\r\nTo: Bob",
        )
    };
    let branch = |text: &str, read: Result<Message, Doubt>| {
        read.map(|m| (part(text, &m, Field::Branch).to_owned(), m.vias))
    };
    let read = |text: &str| branch(text, sip::read(text.as_bytes()));
    let read_for = |text: &str, direction| branch(text, scan_for(text.as_bytes(), direction));
    for hidden in [
        "To: <sip:a@b>;tag=c",
        "Call-ID: other",
        "CSeq: 1 INVITE",
        "From: <sip:a@b>",
    ] {
        let text = hide(hidden);
        assert_eq!(read(&text), Err(Doubt::Syntax), "{text}");
        let doubt = Err(Doubt::Duplicate);
        assert_eq!(read_for(&text, Direction::In), doubt, "{text}");
    }
    let text = hide("Via: SIP/2.0/UDP evil;branch=hidden");
    assert_eq!(read(&text), Err(Doubt::Syntax));
    let hidden = Ok(("hidden".to_owned(), 2));
    assert_eq!(read_for(&text, Direction::In), hidden);
}

#[test]
fn response_with_compact_names_and_white_space() {
    let text = "SIP/2.0 200 OK\r\n\
        v : SIP / 2.0 / UDP 203.0.113.10:5060 ; foo=\"a,b;branch=no\" ; BRANCH = z9hG4bKx,\r\n \
        SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKy\r\n\
        VIA:SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKz\n\
        Record-Route: <sip:p1;lr>, \"x,y\" <sip:p2,3;lr>\r\n\
        record-route : <sip:p3;lr>\r\n\
        f:sip:1001@a ;tag=from\r\n\
        t\t:\r\n\t<sips:al;ice@b:5061;x=y?h=v>;\r\n  TAG=to;q=1\r\n\
        i:\r\n abc \r\n\
        m: sip:1000@192.168.1.10:49163;expires=60, <sip:1000@[2001:db8::1]:5060>;q=0.1;expires=7 , <sip:x>\r\n\
        Expires: 3600\r\n\
        CSEQ: 00007\r\n  REGISTER\r\n\
        l: 0\r\n\r\n";
    let m = sip::read(text.as_bytes()).unwrap();
    assert_eq!((m.status, m.method, m.cseq), (200, Method::Register, 7));
    assert_eq!((m.vias, m.record_routes, m.contacts), (3, 3, 3));
    assert_eq!(part(text, &m, Field::Branch), "z9hG4bKx");
    assert_eq!(part(text, &m, Field::FromUri), "1001@a");
    assert_eq!(part(text, &m, Field::FromTag), "from");
    assert_eq!(part(text, &m, Field::ToUri), "al;ice@b:5061");
    assert_eq!(part(text, &m, Field::ToTag), "to");
    assert_eq!(part(text, &m, Field::CallId), "abc");
    assert_eq!(contact(text, &m, 0), "1000@192.168.1.10:49163");
    assert_eq!(contact(text, &m, 1), "1000@[2001:db8::1]:5060");
    assert_eq!(
        [0, 1, 2].map(|i| m.contact_expires(i)),
        [Some(60), Some(7), None]
    );
    assert_eq!(m.advertised, Endpoint::v4([192, 168, 1, 10], 49163));
    assert_eq!(
        (m.expires, m.headers & header::EXPIRES),
        (3600, header::EXPIRES)
    );
}

/// A header that matters is recognised by each of its names, in any case; no other header is taken for it.
#[test]
fn names() {
    let with = |line: &str| {
        let text = format!(
            "OPTIONS sip:a SIP/2.0\r\n{line}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:b>;tag=c\r\n\
             To: <sip:d>\r\nCall-ID: e\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        sip::read(text.as_bytes())
    };
    for name in ["CONTACT", "contact", "cOnTaCt ", "m", "M"] {
        let m = with(&format!("{name}: <sip:x@192.0.2.1>")).unwrap();
        assert_eq!((m.contacts, m.advertised.port), (1, 5060), "{name}");
    }
    for name in ["ROUTE", "route "] {
        let m = with(&format!("{name}: <sip:x;lr>")).unwrap();
        assert_eq!(m.headers & header::ROUTE, header::ROUTE, "{name}");
    }
    for name in ["record-route", "RECORD-ROUTE "] {
        let m = with(&format!("{name}: <sip:x;lr>")).unwrap();
        assert_eq!(m.record_routes, 1, "{name}");
    }
    for name in ["v", "VIA", "f", "FROM", "t", "TO", "i", "CALL-ID", "CSEQ"] {
        // A second header, before the first.
        let twice = with(&format!("{name}: SIP/2.0/UDP g"));
        let vias = twice.map(|m| m.vias);
        assert!(vias.is_err() || vias == Ok(2), "{name}: {vias:?}");
    }
    let nothing = with("X: y").unwrap();
    for name in [
        "Contactz",
        "Contacts",
        "Contac",
        "n",
        "mm",
        "Contact-",
        "Call-IDs",
        "Call-I",
        "Expiresz",
        "Expire",
        "Vias",
        "Vi",
        "Record-Routes",
        "Record-Rout",
        "Record-",
        "Routes",
        "Rout",
        "CSeqs",
        "Fromm",
        "Tos",
        "Tn",
        "Ff",
        "_ontact",
        "\u{e3}ontact",
    ] {
        // Values of such a length that all of them end at one offset.
        let fill = "y".repeat(40 - name.len());
        let m = with(&format!("{name}: {fill}")).unwrap();
        assert_eq!(m.headers, nothing.headers, "{name}");
        assert_eq!((m.vias, m.contacts, m.record_routes), (1, 0, 0), "{name}");
    }
}

#[test]
fn methods() {
    for (name, method) in [
        ("ACK", Method::Ack),
        ("BYE", Method::Bye),
        ("CANCEL", Method::Cancel),
        ("INVITE", Method::Invite),
        ("NOTIFY", Method::Notify),
        ("REFER", Method::Refer),
        ("REGISTER", Method::Register),
        ("SUBSCRIBE", Method::Subscribe),
        ("UPDATE", Method::Update),
        ("INFO", Method::Info),
        ("PRACK", Method::Prack),
        ("MESSAGE", Method::Message),
        ("OPTIONS", Method::Options),
        ("PUBLISH", Method::Publish),
        ("OPTION", Method::Other),
        ("invite", Method::Other),
        ("INVITES", Method::Other),
        ("SUBSCRIBER", Method::Other),
        ("FIFTEENLETTERSX", Method::Other),
    ] {
        let text = INVITE.replace("INVITE", name);
        assert_eq!(sip::read(text.as_bytes()).unwrap().method, method, "{name}");
        assert_eq!(Method::from(method as u8), method);
        if method != Method::Other {
            assert_eq!(method.name(), name);
        }
    }
}

#[test]
fn contacts() {
    for (value, uri, advertised, star) in [
        ("*", "", None, 1),
        (
            "<sip:1000@1.2.3.4:80>",
            "1000@1.2.3.4:80",
            Some(([1, 2, 3, 4], 80)),
            0,
        ),
        (
            "<sip:1.2.3.4>;q=1",
            "1.2.3.4",
            Some(([1, 2, 3, 4], 5060)),
            0,
        ),
        ("sip:1.2.3.4", "1.2.3.4", Some(([1, 2, 3, 4], 5060)), 0),
        (
            "SIPS:a@1.2.3.4;expires=1",
            "a@1.2.3.4",
            Some(([1, 2, 3, 4], 5060)),
            0,
        ),
        (
            "<sip:a@1.2.3.4;transport=udp>",
            "a@1.2.3.4;transport=udp",
            Some(([1, 2, 3, 4], 5060)),
            0,
        ),
        (
            "Bob The <sip:a;b@1.2.3.4>;+sip.instance=\"<urn:x>\"",
            "a;b@1.2.3.4",
            Some(([1, 2, 3, 4], 5060)),
            0,
        ),
        (
            "<sip:a@1.2.3.4.example.com>",
            "a@1.2.3.4.example.com",
            None,
            0,
        ),
        ("<sip:a@1.2.3.256>", "a@1.2.3.256", None, 0),
        ("<sip:a@1.2.3.4:65536>", "a@1.2.3.4:65536", None, 0),
        ("<sip:a@1.2.3.4:0>", "a@1.2.3.4:0", None, 0),
        ("<sip:a@host>", "a@host", None, 0),
        ("<tel:+49301234>", "tel:+49301234", None, 0),
    ] {
        let text = INVITE.replace("<sip:1000@60.17.196.2>", value);
        let m = sip::read(text.as_bytes()).unwrap_or_else(|d| panic!("{value}: {d:?}"));
        let want = advertised
            .map(|(a, p)| Endpoint::v4(a, p))
            .unwrap_or_default();
        assert_eq!(
            (contact(&text, &m, 0), m.advertised, m.star),
            (uri, want, star),
            "{value}"
        );
    }
}

/// Every IPv6 address is read as the standard library reads it.
#[test]
fn contacts_at_ipv6_addresses() {
    let advertised = |host: &str, port: &str| {
        let uri = format!("<sip:1000@{host}{port};ob>");
        let text = INVITE.replace("<sip:1000@60.17.196.2>", &uri);
        let m = sip::read(text.as_bytes()).unwrap_or_else(|d| panic!("{uri}: {d:?}"));
        assert_eq!(contact(&text, &m, 0), &uri[5..uri.len() - 1]);
        m.advertised
    };
    let endpoint = |address: Ipv6Addr, port: u32| {
        let bytes = address.octets();
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        Endpoint {
            addr: [word(0), word(8)],
            port,
            reserved: 0,
        }
    };
    for address in [
        "2001:db8::7",
        "2001:DB8::aBcD",
        "1:2:3:4:5:6:7:8",
        "0001:0020:0300:4000:5:6:7:8",
        "fe80::1",
        "::1",
        "::",
        "1::",
        "1::8",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3::6:7:8",
        "1:2:3:4::6:7:8",
        "1:2:3:4:5::8",
        "::ffff:1.2.3.4",
        "64:ff9b::255.255.255.0",
        "1:2:3:4:5:6:7.8.9.10",
        "1:2:3:4:5::7.8.9.10",
    ] {
        let parsed = address.parse().expect(address);
        let host = format!("[{address}]");
        assert_eq!(advertised(&host, ""), endpoint(parsed, 5060), "{address}");
        assert_eq!(
            advertised(&host, ":49163"),
            endpoint(parsed, 49163),
            "{address}"
        );
        assert_eq!(advertised(&host, ":65536"), Endpoint::UNKNOWN, "{address}");
        assert_eq!(advertised(&host, "x"), Endpoint::UNKNOWN, "{address}");
    }
    // One endpoint in several forms.
    assert_eq!(
        advertised("[::ffff:60.17.196.2]", ""),
        Endpoint::v4([60, 17, 196, 2], 5060)
    );
    for address in [
        "",
        ":",
        ":::",
        "1",
        "1:",
        ":1",
        "1:2",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:",
        ":2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        "1:2:3:4::5:6:7:8",
        "1::2::3",
        "1:::2",
        "::1:",
        "12345::",
        "g::",
        "::g",
        "1.2.3.4",
        "::1.2.3",
        "::1.2.3.256",
        "::1.2.3.4.5",
        "::1.2.3.4:1",
        "1:2:3:4:5:6:7:1.2.3.4",
        "1:2:3:4:5:1.2.3.4",
        "1:2:3:4:5:6::1.2.3.4",
        "fe80::1%25eth0",
        "v1.x",
        "[::1]",
        "::1.",
        "::.1.2.3",
    ] {
        assert_eq!(
            advertised(&format!("[{address}]"), ""),
            Endpoint::UNKNOWN,
            "{address}"
        );
        address.parse::<Ipv6Addr>().expect_err(address);
    }
    for host in ["[::1", "::1]", "[::1]]", "::1", "[::1].1"] {
        assert_eq!(advertised(host, ""), Endpoint::UNKNOWN, "{host}");
    }
}

/// Contacts that devices write.
#[test]
fn contacts_of_devices() {
    let public = Endpoint::v4([60, 17, 196, 2], 5060);
    for (value, uri, advertised, expires) in [
        (
            "\"Tag;tag=x,<sip:no@1.1.1.1>\" <sip:1000@60.17.196.2;transport=udp;ob>;\
             +sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\";reg-id=1;expires=300",
            "1000@60.17.196.2;transport=udp;ob",
            public,
            Some(300),
        ),
        (
            "\"a \\\"<sip:x@1.1.1.1>\\\" \\\\\"<sips:1000@60.17.196.2:5060>; +u.x=\"expires=1\" ;EXPIRES = 0",
            "1000@60.17.196.2:5060",
            public,
            Some(0),
        ),
        (
            "<sip:al%40home:pass@60.17.196.2;line=ab%3bcd?a=b>;q=0.5",
            "al%40home:pass@60.17.196.2;line=ab%3bcd?a=b",
            public,
            None,
        ),
        // Without brackets, parameters are the header's (RFC 3261 20).
        (
            "sip:s-7f@60.17.196.2;transport=udp;expires=60",
            "s-7f@60.17.196.2",
            public,
            Some(60),
        ),
        (
            "Bob The Builder <sip:60.17.196.2:5060>",
            "60.17.196.2:5060",
            public,
            None,
        ),
        (
            "<sip:a@pbx.example.com:5060>;isfocus;expires=60;methods=\"INVITE,ACK\"",
            "a@pbx.example.com:5060",
            Endpoint::UNKNOWN,
            Some(60),
        ),
    ] {
        let text = INVITE.replace("<sip:1000@60.17.196.2>", value);
        let m = sip::read(text.as_bytes()).unwrap_or_else(|d| panic!("{value}: {d:?}"));
        assert_eq!(
            (
                contact(&text, &m, 0),
                m.advertised,
                m.contact_expires(0),
                m.contacts
            ),
            (uri, advertised, expires, 1),
            "{value}"
        );
    }
}

/// Several Contacts are found, in one header and in several headers; the advertised address is that of the first.
#[test]
fn several_contacts() {
    let values = [
        "<sip:9@[2001:db8::7]:5070>;expires=1",
        "\"x,y\" <sip:a,b@10.0.0.1>;q=0.1;expires=2",
        "sip:c@10.0.0.2;expires=3",
    ];
    for separator in [", ", ",", "\r\n , ", "\r\nm:", "\r\nCONTACT : "] {
        let text = INVITE.replace("<sip:1000@60.17.196.2>", &values.join(separator));
        let m = sip::read(text.as_bytes()).unwrap_or_else(|d| panic!("{separator:?}: {d:?}"));
        assert_eq!(m.contacts, 3);
        assert_eq!(contact(&text, &m, 0), "9@[2001:db8::7]:5070");
        assert_eq!(contact(&text, &m, 1), "a,b@10.0.0.1");
        assert_eq!(contact(&text, &m, 2), "c@10.0.0.2");
        assert_eq!(
            [0, 1, 2].map(|i| m.contact_expires(i)),
            [Some(1), Some(2), Some(3)]
        );
        let address: Ipv6Addr = "2001:db8::7".parse().unwrap();
        assert_eq!(
            m.advertised.addr.map(u64::to_ne_bytes).concat(),
            address.octets()
        );
        assert_eq!(m.advertised.port, 5070);
    }
}

/// A Via is recognised by its sent-protocol (RFC 3261 25.1), with any white space in it.
#[test]
fn vias() {
    for (value, branch, vias) in [
        (
            "SIP/2.0/UDP [2001:db8::9]:5060;branch=b;received=2001:db8::1;rport=5062",
            "b",
            1,
        ),
        ("SIP/2.0/UDP h;received=[2001:db8::1];branch=b", "b", 1),
        ("sip/2.0/udp h ; rport ; branch = b", "b", 1),
        ("SIP / 2.0 / UDP h;branch=b", "b", 1),
        (
            "SIP\r\n /2.0\r\n\t/\r\n UDP\r\n h:5060\r\n ;branch=b",
            "b",
            1,
        ),
        ("SIP/2.0/TLS-SCTP h;branch=b", "b", 1),
        ("SIP/2.0/x-a-transport-of-some-length h;branch=b", "b", 1),
        ("SIP/2.0/UDP h;branch=b,SIP/2.0/UDP i;branch=c", "b", 2),
        ("SIP/2.0/UDP h , SIP/2.0/UDP i;branch=c", "", 2),
        ("SIP/2.0/UDP h;x=\"a,b\";branch=b", "b", 1),
        (
            "SIP/2.0/UDP h;branch=z9hG4bK+a/b=@[1:2]",
            "z9hG4bK+a/b=@[1:2]",
            1,
        ),
    ] {
        let text = INVITE.replace("SIP/2.0/UDP 60.17.196.2;branch=z9hG4bK-1;rport", value);
        let m = sip::read(text.as_bytes()).unwrap_or_else(|d| panic!("{value}: {d:?}"));
        assert_eq!(
            (part(&text, &m, Field::Branch), m.vias),
            (branch, vias),
            "{value}"
        );
    }
}

#[test]
fn doubts() {
    let no = |line: &str| {
        let mut lines: Vec<_> = INVITE.split("\r\n").collect();
        lines.retain(|l| !l.starts_with(line));
        lines.join("\r\n")
    };
    for (text, doubt) in [
        (no("Via"), Doubt::Missing),
        (no("From"), Doubt::Missing),
        (no("To"), Doubt::Missing),
        (no("Call-ID"), Doubt::Missing),
        (no("CSeq"), Doubt::Missing),
        (
            INVITE.replace("\r\n\r\nv=0\r\n", "\r\nv=0"),
            Doubt::Truncated,
        ),
        (
            INVITE.replace("Max-Forwards: 70", "Call-ID: x"),
            Doubt::Duplicate,
        ),
        (
            INVITE.replace("Max-Forwards: 70", "t: <sip:x@y>"),
            Doubt::Duplicate,
        ),
        (INVITE.replace("tag=a-tag", "tag=a;tag=b"), Doubt::Duplicate),
        (INVITE.replace("tag=a-tag", "tag="), Doubt::Syntax),
        (INVITE.replace("SIP/2.0\r\n", "SIP/3.0\r\n"), Doubt::Syntax),
        (
            INVITE.replace("2147483647", "99999999999999"),
            Doubt::Syntax,
        ),
        (INVITE.replace("2147483647", "x"), Doubt::Syntax),
        (INVITE.replace("2147483647 INVITE", "1 BYE"), Doubt::Syntax),
        (
            INVITE
                .replace("INVITE sip", "OPTIONS sip")
                .replace("7 INVITE", "7 UPDATE"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("4711@192.168.1.10", "4711 @192.168.1.10"),
            Doubt::Syntax,
        ),
        (INVITE.replace("4711@192.168.1.10", ""), Doubt::Syntax),
        (
            INVITE.replace("<sip:1002@pbx", "<sip:1002 @pbx"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("<sip:1002@pbx.example.com>", "<sip:1002@pbx.example.com"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("<sip:1002@pbx.example.com>", "\"Bob"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("<sip:1002@pbx.example.com>", "\"Bob\""),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("Max-Forwards: 70", "Contact: *, <sip:a>"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("INVITE sip:1002@203.0.113.10;transport=udp", "INVITE "),
            Doubt::Syntax,
        ),
        (INVITE.replace("INVITE sip", "INVITE\tsip"), Doubt::Syntax),
        // A lone CR, which some take for a line end.
        (
            INVITE.replace("Max-Forwards: 70", "X: y\rCall-ID: other"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("Max-Forwards: 70", "X: y\r\rTo: z"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("\"Alice", "\"\\\nCall-ID: other\n"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("<sip:1002@pbx.example.com>", "<sip:a@b><sip:c@d>"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("196.2>\r", "196.2>\r\nContact: *\r"),
            Doubt::Syntax,
        ),
        // Characters that end a token for one parser and not for another.
        (INVITE.replace("tag=a-tag", "tag=a>"), Doubt::Syntax),
        (INVITE.replace("tag=a-tag", "tag=a\\b"), Doubt::Syntax),
        (INVITE.replace("tag=a-tag", "tag=a?b"), Doubt::Syntax),
        (INVITE.replace("tag=a-tag", "tag=a\u{e9}"), Doubt::Syntax),
        (INVITE.replace("tag=a-tag", "tag=a b"), Doubt::Syntax),
        (INVITE.replace("tag=a-tag", "tag=a b;c"), Doubt::Syntax),
        (INVITE.replace("bK-1;", "bK(1);"), Doubt::Syntax),
        (
            INVITE.replace("sip:1002@pbx.example.com>", "sip:1002@pbx>;x=<sip:a@b>"),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("<sip:1002@pbx.example.com>", "sip:a@b;x <sip:c@d>"),
            Doubt::Syntax,
        ),
        // Boundaries between Vias.
        (
            INVITE.replace("60.17.196.2;b", "60.17,196.2;b"),
            Doubt::Syntax,
        ),
        (INVITE.replace("60.17.196.2;b", ";b"), Doubt::Syntax),
        (
            INVITE.replace("60.17.196.2;b", ",SIP/2.0/UDP h;b"),
            Doubt::Syntax,
        ),
        (INVITE.replace("SIP/2.0/UDP ", "SIP/2.0/UDP"), Doubt::Syntax),
        (INVITE.replace("SIP/2.0/UDP ", "SIP/2.0/ "), Doubt::Syntax),
        (
            INVITE.replace("SIP/2.0/UDP ", "SIP/2.0 UDP "),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("SIP/2.0/UDP ", "SIP/3.0/UDP "),
            Doubt::Syntax,
        ),
        (
            INVITE.replace("SIP/2.0/UDP ", "SIPS/2.0/UDP "),
            Doubt::Syntax,
        ),
        (INVITE.replace("SIP/2.0/UDP ", ""), Doubt::Syntax),
        (
            INVITE.replace("SIP/2.0/UDP ", "SIP/2.0/UDP\r\nX: "),
            Doubt::Syntax,
        ),
        ("SIP/2.0 20 OK\r\n\r\n".into(), Doubt::Syntax),
        ("SIP/2.0 700 OK\r\n\r\n".into(), Doubt::Syntax),
        ("SIP/2.0 200 OK\r\n\r\n".into(), Doubt::Missing),
        ("INVITE".into(), Doubt::Syntax),
        (String::new(), Doubt::Truncated),
    ] {
        assert_eq!(sip::read(text.as_bytes()), Err(doubt), "{text}");
    }
}

/// A message that is cut off in a line is in doubt, and so is one without a mandatory header. A message that is cut off in
/// its body reads the same.
#[test]
fn truncated_anywhere() {
    let whole = sip::read(INVITE.as_bytes()).unwrap();
    let end = INVITE.find("\r\n\r\n").unwrap() + 4;
    for n in 0..INVITE.len() {
        let cut = sip::read(&INVITE.as_bytes()[..n]);
        if n < end && INVITE[..n].ends_with("INVITE\r\n") {
            // No header after CSeq is mandatory.
            assert!(!cut.unwrap().has(Field::Contact));
        } else if n < end && INVITE[..n].ends_with('\n') && INVITE[..n].contains("Contact") {
            assert_eq!(cut.unwrap(), whole);
        } else if n < end {
            cut.expect_err(&INVITE[..n]);
        } else {
            assert_eq!(cut.unwrap(), whole);
        }
    }
}

/// A cut at the end of a name or a value does not contradict the grammar.
#[test]
fn truncated_between_tokens() {
    let text = INVITE.replace("Content-Type", "Expires: 60\r\nContent-Type");
    for before in [
        "\r\nVia",
        "\r\nFrom",
        "\r\nTo",
        "\r\nCall-ID",
        "\r\nCall-ID: 4711@192.168.1.10",
        "\r\nCSeq",
        "\r\nCSeq: 2147483647 INVITE",
        "\r\nContact",
        "\r\nExpires",
        "\r\nExpires: 60",
    ] {
        let end = text.find(before).unwrap() + before.len();
        let cut = sip::read(&text.as_bytes()[..end]);
        assert_eq!(cut, Err(Doubt::Truncated), "{before}");
    }
}

/// The scanner reads several words at a time. A part may end in each of them, at each byte.
#[test]
fn ends_at_any_place() {
    for n in 1..40 {
        let run = "x".repeat(n);
        for end in ["", ";ob", ";lr;x=y", "?a=b"] {
            for host in [format!("{run}.example"), format!("h{run}:5060")] {
                let uri = format!("{run}@{host}{end}");
                let text = INVITE
                    .replace(
                        "Via: SIP/2.0/UDP ",
                        &format!("Via: SIP/2.0/UDP {host};{run}={run};branch={run} ,SIP/2.0/UDP "),
                    )
                    .replace(
                        "To: ",
                        &format!("To: <sip:{uri}>;{run}={run};tag={run}\r\nX: "),
                    )
                    .replace("Contact: ", &format!("Contact: <sip:{uri}>;{run}\r\nX: "));
                let m =
                    sip::read(text.as_bytes()).unwrap_or_else(|doubt| panic!("{doubt:?}: {text}"));
                assert_eq!(part(&text, &m, Field::Contact), uri);
                assert_eq!(part(&text, &m, Field::ToUri), format!("{run}@{host}"));
                assert_eq!(part(&text, &m, Field::ToTag), run);
                assert_eq!(part(&text, &m, Field::Branch), run);
                assert_eq!(m.vias, 2);
            }
        }
    }
}

/// Headers that do not matter may have any length, form and alignment.
#[test]
fn found_at_any_place() {
    for n in 0..100 {
        let filler = format!(
            "X: {}\r\n \t{}\r\nTo-X: <sip:a>;tag=no\r\nVia-:",
            "a".repeat(n),
            "b".repeat(n)
        );
        let text = INVITE.replace("Max-Forwards:", &filler);
        let m = sip::read(text.as_bytes()).unwrap();
        assert_eq!(part(&text, &m, Field::CallId), "4711@192.168.1.10");
        assert_eq!(part(&text, &m, Field::FromTag), "a-tag");
        assert!(!m.has(Field::ToTag));
        assert_eq!(m.vias, 1);
    }
}

/// Of a message with several Contacts that arrives, the addresses of the first four are read.
#[test]
fn addresses_of_several_contacts() {
    let read = |value: &str| {
        let text = INVITE
            .replace("INVITE sip", "REGISTER sip")
            .replace(" INVITE\r\n", " REGISTER\r\n")
            .replace("<sip:1000@60.17.196.2>", value);
        let mut scan = Scan::default();
        let scanned = scan.run::<_, HostLoop>(text.as_bytes(), Some(Direction::In));
        assert_eq!(scanned, Ok(()), "{value}");
        let address = |index| {
            let address = *scan.contact_address(index);
            let octets = address.addr.map(u64::to_ne_bytes).concat();
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap()).to_canonical();
            let address = SocketAddr::new(ip, address.port as u16);
            (address.port() != 0).then(|| address.to_string())
        };
        ([0, 1, 2, 3].map(address), scan.message().advertised.port)
    };
    let some = |text: &str| Some(text.to_owned());
    for (value, addresses, first) in [
        (
            "<sip:1@10.0.0.1>, sip:[2001:db8::7]:5070;q=1, \"x\" <sip:a@h.example:1>, <sip:4@10.0.0.4:4>, <sip:5@10.0.0.5>",
            [
                some("10.0.0.1:5060"),
                some("[2001:db8::7]:5070"),
                None,
                some("10.0.0.4:4"),
            ],
            5060,
        ),
        // One that can be read in two ways is none, and leaves nothing to the next.
        (
            "<sip:1@10.0.0.1:1>, sip:2@10.0.0.2:2;x <sip:x@h>, <sip:3@host>, <sip:4@10.0.0.4:4>",
            [some("10.0.0.1:1"), None, some("10.0.0.4:4"), None],
            1,
        ),
        // The first that lasts is advertised.
        (
            "<sip:1@[2001:db8::1]:1>;expires=0, <sip:2@[2001:db8::2]:2>, <sip:3@[::ffff]:3>",
            [
                some("[2001:db8::1]:1"),
                some("[2001:db8::2]:2"),
                some("[::ffff]:3"),
                None,
            ],
            2,
        ),
    ] {
        assert_eq!(read(value), (addresses, first), "{value}");
    }
}
