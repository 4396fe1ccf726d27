//! Lines of a description.

use nat_common::sdp::{Kind, LineFlags, NoDescription, Transport};

use crate::{lines, media, read};

#[test]
fn addresses() {
    for (value, address) in [
        ("IN IP4 192.168.1.10", "192.168.1.10"),
        ("IN IP4 0.0.0.0", "0.0.0.0"),
        ("IN IP4 255.255.255.255", "255.255.255.255"),
        ("IN IP4 192.168.1.10 ", "192.168.1.10"),
        ("IN IP4 224.2.36.42/127", "224.2.36.42"),
        ("IN IP6 2001:db8::1", "[2001:db8::1]"),
        ("IN IP6 FF15::101", "[ff15::101]"),
        ("IN IP6 FF15::101/3", "[ff15::101]"),
        ("IN IP6 ::1", "[::1]"),
        ("IN IP6 2001:db8:1:2:3:4:5:6", "[2001:db8:1:2:3:4:5:6]"),
        ("IN IP6 64:ff9b::192.0.2.33", "[64:ff9b::c000:221]"),
        ("IN IP6 fe80::", "[fe80::]"),
        ("IN IP6 ::", "?"),
        // Not numeric, or not as RFC 8866 writes it.
        ("IN IP4 phone.example.com", "?"),
        ("IN IP4 192.168.1", "?"),
        ("IN IP4 192.168.1.256", "?"),
        ("IN IP4 192.168.1.10.1", "?"),
        ("IN IP4 192.168.1.10x", "?"),
        // Octal for some readers.
        ("IN IP4 192.168.1.010", "?"),
        ("IN IP4 2001:db8::1", "?"),
        ("IN IP4  192.168.1.10", "?"),
        ("IN IP6 192.168.1.10", "?"),
        ("IN IP6 ::ffff:192.168.1.10", "?"),
        ("IN IP6 2001:db8", "?"),
        ("IN IP6 2001:db8::1::2", "?"),
        ("IN IP6 :1:2:3:4:5:6:7:8", "?"),
        ("IN IP6 1:2:3:4:5:6:7:8:9", "?"),
        ("IN IP6 2001:db8::10000", "?"),
        ("IN IP6 2001:db8:::1", "?"),
        ("IN IP6 [2001:db8::1]", "?"),
        ("in ip4 192.168.1.10", "?"),
        ("ATM NSAP 47.0091", "?"),
        ("", "?"),
    ] {
        let d = lines(&[&format!("c={value}"), "m=audio 4000 RTP/AVP 0"]);
        assert_eq!(media(&d.lines[0]), format!("{address}:4000"), "{value}");
        assert_eq!(d.lines[0].flags, LineFlags::empty(), "{value}");
    }
}

/// RFC 8866 5.7: a line's own address counts for it, the session's for all others.
#[test]
fn levels() {
    let d = lines(&[
        "c=IN IP4 10.0.0.1",
        "a=sendonly",
        "a=ice-ufrag:F7gI",
        "m=audio 4000 RTP/AVP 0",
        "m=video 4002 RTP/AVP 99",
        "c=IN IP4 10.0.0.2",
        "a=sendrecv",
        "m=text 4004 RTP/AVP 98",
        "c=IN IP4 phone.example.com",
        "a=inactive",
    ]);
    assert_eq!(
        d.lines.map(|line| media(&line))[..3],
        ["10.0.0.1:4000", "10.0.0.2:4002", "?:4004"]
    );
    let ice = LineFlags::ICE;
    assert_eq!(d.lines[0].flags, ice | LineFlags::NO_RECEIVE);
    assert_eq!(d.lines[1].flags, ice);
    assert_eq!(
        d.lines[2].flags,
        ice | LineFlags::NO_RECEIVE | LineFlags::NO_SEND
    );
    assert_eq!(d.count, 3);
    assert_eq!(d.lines[3].kind, Kind::Other);
    // An attribute of one line is none of the other's.
    let d = lines(&[
        "m=audio 4000 RTP/AVP 0",
        "a=rtcp-mux",
        "m=video 2 RTP/AVP 99",
    ]);
    assert_eq!(
        [d.lines[0].flags, d.lines[1].flags],
        [LineFlags::MUX, LineFlags::empty()]
    );
    assert_eq!(media(&d.lines[0]), "?:4000");
}

#[test]
fn media_lines() {
    let unreadable = LineFlags::UNREADABLE;
    for (value, kind, port, transport, flags) in [
        (
            "audio 49170 RTP/AVP 0 8",
            Kind::Audio,
            49170,
            Transport::Rtp,
            LineFlags::empty(),
        ),
        (
            "video 65535 RTP/AVPF 99",
            Kind::Video,
            65535,
            Transport::Rtp,
            LineFlags::empty(),
        ),
        (
            "audio 0 RTP/SAVP 0",
            Kind::Audio,
            0,
            Transport::Rtp,
            LineFlags::empty(),
        ),
        (
            "audio 4000 RTP/SAVPF 0",
            Kind::Audio,
            4000,
            Transport::Rtp,
            LineFlags::empty(),
        ),
        (
            "audio 4000 UDP/TLS/RTP/SAVP 0",
            Kind::Audio,
            4000,
            Transport::Rtp,
            LineFlags::empty(),
        ),
        (
            "audio 4000 UDP/TLS/RTP/SAVPF 0",
            Kind::Audio,
            4000,
            Transport::Rtp,
            LineFlags::empty(),
        ),
        (
            "image 4000 udptl t38",
            Kind::Image,
            4000,
            Transport::Udptl,
            LineFlags::empty(),
        ),
        (
            "image 4000 UDPTL t38",
            Kind::Image,
            4000,
            Transport::Udptl,
            LineFlags::empty(),
        ),
        (
            "image 4000 TCP t38",
            Kind::Image,
            4000,
            Transport::Other,
            LineFlags::empty(),
        ),
        (
            "text 4000 RTP/AVP 98",
            Kind::Text,
            4000,
            Transport::Rtp,
            LineFlags::empty(),
        ),
        (
            "message 4000 TCP/MSRP *",
            Kind::Other,
            4000,
            Transport::Other,
            LineFlags::empty(),
        ),
        (
            "application 9 UDP/DTLS/SCTP webrtc-datachannel",
            Kind::Application,
            9,
            Transport::Other,
            LineFlags::empty(),
        ),
        (
            "application 4000 UDP/BFCP *",
            Kind::Application,
            4000,
            Transport::Other,
            LineFlags::empty(),
        ),
        (
            "audio 4000 RTP/AVPX 0",
            Kind::Audio,
            4000,
            Transport::Other,
            LineFlags::empty(),
        ),
        (
            "audio 4000 RTP/SAVPFF 0",
            Kind::Audio,
            4000,
            Transport::Other,
            LineFlags::empty(),
        ),
        ("audio 4000", Kind::Audio, 0, Transport::Other, unreadable),
        (
            "audio 65536 RTP/AVP 0",
            Kind::Audio,
            0,
            Transport::Other,
            unreadable,
        ),
        (
            "audio 004000 RTP/AVP 0",
            Kind::Audio,
            0,
            Transport::Other,
            unreadable,
        ),
        (
            "audio 4000/2 RTP/AVP 0",
            Kind::Audio,
            0,
            Transport::Other,
            unreadable,
        ),
        (
            "audio -1 RTP/AVP 0",
            Kind::Audio,
            0,
            Transport::Other,
            unreadable,
        ),
        (
            "audio  4000 RTP/AVP 0",
            Kind::Audio,
            0,
            Transport::Other,
            unreadable,
        ),
        ("audio", Kind::Audio, 0, Transport::Other, unreadable),
        ("", Kind::Other, 0, Transport::Other, unreadable),
        (
            "averylongnameofmedia 4000 RTP/AVP 0",
            Kind::Other,
            0,
            Transport::Other,
            unreadable,
        ),
    ] {
        let d = lines(&["c=IN IP4 10.0.0.1", &format!("m={value}")]);
        let line = &d.lines[0];
        assert_eq!(
            (line.kind, line.port, line.transport),
            (kind, port, transport),
            "{value}"
        );
        assert_eq!(line.flags, flags, "{value}");
        assert_eq!(d.count, 1);
    }
}

#[test]
fn rtcp() {
    let elsewhere = LineFlags::RTCP_ELSEWHERE;
    for (attributes, port, flags) in [
        (&[][..], 4001, LineFlags::empty()),
        // RFC 3605 2.1.
        (&["a=rtcp:53020"], 53020, LineFlags::empty()),
        (&["a=rtcp:53020 IN IP4 126.16.64.4"], 53020, elsewhere),
        (
            &["a=rtcp:53020 IN IP6 2001:DB8::211:D6FF:FE8B:8F8E"],
            53020,
            elsewhere,
        ),
        (&["a=rtcp:53020 IN IP4 10.0.0.1"], 53020, LineFlags::empty()),
        (&["a=rtcp:53020 IN IP4 phone.example.com"], 53020, elsewhere),
        (&["a=rtcp:53020 IN IP6 ::"], 53020, elsewhere),
        (&["a=rtcp:0"], 0, LineFlags::empty()),
        (&["a=rtcp:70000"], 4001, elsewhere),
        (&["a=rtcp:x"], 4001, elsewhere),
        (&["a=rtcp:53020", "a=rtcp:53022"], 53020, elsewhere),
        // RFC 5761 5.1.1.
        (&["a=rtcp-mux"], 4001, LineFlags::MUX),
        (&["a=rtcp:4000", "a=rtcp-mux "], 4000, LineFlags::MUX),
        (&["a=rtcp-mux-only"], 4001, LineFlags::empty()),
        (&["a=rtcp-fb:99 nack"], 4001, LineFlags::empty()),
        (&["a=RTCP-MUX"], 4001, LineFlags::empty()),
    ] {
        let mut all = vec!["c=IN IP4 10.0.0.1", "m=audio 4000 RTP/AVP 0"];
        all.extend(attributes);
        let line = lines(&all).lines[0];
        assert_eq!((line.rtcp, line.flags), (port, flags), "{attributes:?}");
    }
    let refused = lines(&[
        "c=IN IP4 10.0.0.1",
        "m=audio 0 RTP/AVP 0",
        "m=audio 65535 RTP/AVP 0",
    ]);
    assert_eq!(refused.lines.map(|line| line.rtcp)[..2], [0, 0]);
}

#[test]
fn two_addresses_of_one_line_are_left_alone() {
    let two = ["c=IN IP4 10.0.0.1", "c=IN IP4 10.0.0.2"];
    let d = lines(&["m=audio 4000 RTP/AVP 0", two[0], two[1]]);
    assert_eq!(d.lines[0].flags, LineFlags::UNREADABLE);
    let d = lines(&[
        two[0],
        two[1],
        "m=audio 4000 RTP/AVP 0",
        "m=video 1 RTP/AVP 0",
        two[0],
    ]);
    assert_eq!(d.lines[0].flags, LineFlags::UNREADABLE);
    assert_eq!(d.lines[1].flags, LineFlags::empty());
}

#[test]
fn more_lines_than_are_kept() {
    let media_line = |port: u16| format!("m=audio {port} RTP/AVP 0");
    for count in 0..9 {
        let all: Vec<_> = (0..count).map(|i| media_line(4000 + i)).collect();
        let mut all: Vec<_> = all.iter().map(String::as_str).collect();
        all.insert(0, "c=IN IP4 10.0.0.1");
        let d = lines(&all);
        assert_eq!(u16::from(d.count), count);
        let ports = d.lines.map(|line| line.port);
        let want: [u16; 4] = std::array::from_fn(|i| {
            if (i as u16) < count {
                4000 + i as u16
            } else {
                0
            }
        });
        assert_eq!(ports, want);
    }
}

#[test]
fn what_other_readers_may_take_otherwise() {
    for (body, why) in [
        ("v=0\r\nm=audio 4000\0 RTP/AVP 0\r\n", NoDescription::Syntax),
        (
            "v=0\r\nm=audio 4000 RTP/AVP 0\ra=x\r\n",
            NoDescription::Syntax,
        ),
        (
            "v=0\r\nm=audio 4000 RTP/AVP 0\r\nv=0\r\n",
            NoDescription::Duplicate,
        ),
        ("v=1\r\nm=audio 4000 RTP/AVP 0\r\n", NoDescription::Syntax),
        ("m=audio 4000 RTP/AVP 0\r\n", NoDescription::Syntax),
    ] {
        assert_eq!(read(body), Err(why), "{body:?}");
    }
    // A line that says nothing here, of any form.
    let d = lines(&[
        "c=IN IP4 10.0.0.1",
        "",
        "x",
        "z=\t\u{1}",
        "m=audio 4000 RTP/AVP 0",
        "--",
        "a=sendonly",
    ]);
    assert_eq!((d.count, d.lines[0].flags), (1, LineFlags::NO_RECEIVE));
}
