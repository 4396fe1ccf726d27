//! Packets: ports, addresses, fragments, headers and padding around a request.

use etherparse::Ipv4Header;
use nat_test_oracle::stun::codec;
use nat_test_oracle::stun::message::request;
use nat_userspace::settings::Stun;

use super::{PBX6, PHONE6, STUN, UNLIMITED, answered, path, turned, with};
use crate::frames::{INVITE, PBX, PHONE, inbound, udp};
use crate::packets::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, extended, fragments, options};
use crate::run::{XDP_TX, loops};

#[test]
fn ports() {
    let mut path = path(UNLIMITED);
    let host = |port: u16| format!("203.0.113.10:{port}");
    for port in [5060, 5070, 3478] {
        answered(&mut path, PHONE, &host(port), &[], &request(&[]));
    }
    let cut = |mut message: Vec<u8>| {
        message.truncate(16);
        message
    };
    for (port, message, wanted) in [
        (3479, request(&[]), "in_other_port"),
        (0, request(&[]), "in_other_port"),
        (5060, cut(request(&[])), "in_not_sip"),
        (3478, cut(request(&[])), "in_other_port"),
        (3478, INVITE.into(), "in_other_port"),
        (3478, b"\r\n\r\n".into(), "in_other_port"),
        (3478, b"".into(), "in_other_port"),
        // The length in the header differs from the length of the datagram.
        (5060, [request(&[]), vec![0; 4]].concat(), "in_not_sip"),
        (3478, [request(&[]), vec![0; 4]].concat(), "in_other_port"),
        // ChannelData of TURN, and RTP.
        (
            5060,
            b"\x40\x00\x00\x10 and sixteen of it".into(),
            "in_not_sip",
        ),
        (
            5060,
            b"\x80\x00\x00\x10 and sixteen of it".into(),
            "in_not_sip",
        ),
    ] {
        assert_eq!(
            path.arrives(&udp(PHONE, &host(port), &message)),
            wanted,
            "{port}"
        );
    }
    // SIP on a SIP port is still learned. Port 3478 is ignored on egress.
    assert_eq!(path.arrives(&inbound(PHONE, INVITE)), "in_request");
    path.leaves(&udp(STUN, PHONE, &request(&[])));

    let mut path = super::path(Stun {
        port: 0,
        ..UNLIMITED
    });
    answered(&mut path, PHONE, PBX, &[], &request(&[]));
    assert_eq!(
        path.arrives(&udp(PHONE, STUN, &request(&[]))),
        "in_other_port"
    );

    let mut path = with(Stun::default(), loops()[0]);
    assert_eq!(path.arrives(&udp(PHONE, PBX, &request(&[]))), "in_stun");
    assert_eq!(
        path.arrives(&udp(PHONE, STUN, &request(&[]))),
        "in_other_port"
    );
}

#[test]
fn sources_and_destinations() {
    let mut path = path(UNLIMITED);
    let (here, not_here, bad) = ("stun_answered", "stun_not_here", "stun_bad_source");
    for (from, to, wanted) in [
        (PHONE, PBX, here),
        (PHONE, "203.0.113.11:5060", not_here),
        (PHONE, "203.0.113.255:5060", not_here),
        (PHONE, "203.0.113.0:5060", not_here),
        (PHONE, "255.255.255.255:5060", not_here),
        (PHONE, "224.0.1.75:5060", not_here),
        (PHONE, "198.51.100.1:5060", not_here),
        (PHONE, "192.168.5.1:5060", here),
        (PHONE6, "[2001:db8::11]:5060", not_here),
        (PHONE6, "[ff02::1]:5060", not_here),
        (PHONE6, "[fd00:5::1]:3478", here),
        // Private sources, on the link of the interface or not.
        ("192.168.5.77:1024", PBX, here),
        ("192.168.6.77:1024", PBX, bad),
        ("192.168.6.77:1024", "192.168.5.1:3478", bad),
        // On the link of another interface.
        ("192.168.8.77:1024", "192.168.5.1:3478", bad),
        ("10.0.0.1:1024", PBX, bad),
        ("172.16.0.1:1024", PBX, bad),
        ("172.31.255.255:1024", PBX, bad),
        ("172.32.0.1:1024", PBX, here),
        ("100.64.0.1:1024", PBX, bad),
        ("100.127.255.254:1024", PBX, bad),
        ("100.128.0.1:1024", PBX, here),
        ("169.254.1.1:1024", PBX, bad),
        ("[fd00:5::77]:1024", PBX6, here),
        ("[fd00:6::77]:1024", PBX6, bad),
        ("[fc00::1]:1024", PBX6, bad),
        ("[fe80::77]:1024", "[fe80::1]:5060", here),
        ("[fe80:0:0:1::77]:1024", PBX6, bad),
        ("[fec0::1]:1024", PBX6, here),
        // Public source on the link.
        ("203.0.113.77:1024", PBX, here),
        // Broadcast addresses of the link, and the host's own address.
        ("203.0.113.255:1024", PBX, bad),
        ("192.168.5.255:1024", "192.168.5.1:5060", bad),
        ("203.0.113.10:1024", PBX, bad),
        ("192.168.5.1:1024", PBX, bad),
        (PBX, PBX, bad),
        ("[2001:db8::10]:1024", PBX6, bad),
        // Unusable sources.
        ("0.0.0.0:1024", PBX, bad),
        ("0.1.2.3:1024", PBX, bad),
        ("127.0.0.1:1024", PBX, bad),
        ("224.0.0.1:1024", PBX, bad),
        ("239.255.255.250:1024", PBX, bad),
        ("240.0.0.1:1024", PBX, bad),
        ("255.255.255.255:1024", PBX, bad),
        ("60.17.196.2:0", PBX, bad),
        ("[::]:1024", PBX6, bad),
        ("[::1]:1024", PBX6, bad),
        ("[ff02::1]:1024", PBX6, bad),
        ("[2001:db8:1::2]:0", PBX6, bad),
        ("[::ffff:60.17.196.2]:1024", PBX6, "in_bad_source"),
    ] {
        if wanted == here {
            answered(&mut path, from, to, &[], &request(&[]));
        } else {
            let verdict = path.arrives(&udp(from, to, &request(&[])));
            assert_eq!(verdict, wanted, "{from} to {to}");
        }
    }
}

/// Frames to a group of stations, with a unicast IP address.
#[test]
fn frames_to_many() {
    let mut path = path(UNLIMITED);
    for (from, to) in [(PHONE, PBX), (PHONE6, PBX6)] {
        for destination in [[0xff; 6], [1, 0, 0x5e, 0, 1, 75], [0x33, 0x33, 0, 0, 0, 1]] {
            let mut frame = udp(from, to, &request(&[]));
            frame[..6].copy_from_slice(&destination);
            assert_eq!(path.arrives(&frame), "stun_unusual");
        }
    }
}

/// Adds options without meaning to an IPv4 header, this number of words.
fn with_ipv4_options(mut frame: Vec<u8>, words: u8) -> Vec<u8> {
    let bytes = usize::from(words) * 4;
    frame[14] += words;
    let total = u16::from_be_bytes([frame[16], frame[17]]) + bytes as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame.splice(34..34, vec![1; bytes]);
    frame
}

#[test]
fn packets_that_are_not_plain_pass() {
    let mut path = path(UNLIMITED);
    let (v4, v6) = (
        udp(PHONE, PBX, &request(&[])),
        udp(PHONE6, PBX6, &request(&[])),
    );
    for words in [1, 10] {
        let frame = with_ipv4_options(v4.clone(), words);
        assert_eq!(path.arrives(&frame), "stun_unusual");
    }
    for header in [
        options(HOP_BY_HOP, 1),
        options(DESTINATION_OPTIONS, 2),
        // A datagram in a single fragment.
        (FRAGMENT, vec![0; 8]),
    ] {
        let frame = extended(v6.clone(), std::slice::from_ref(&header));
        assert_eq!(path.arrives(&frame), "stun_unusual", "{header:?}");
    }
    // The first of several fragments, which begins with a message as long as the fragment; and the later fragments.
    let long = request(&[(0x8022, &[b'x'; 1200])]);
    for frame in [udp(PHONE, PBX, &long), udp(PHONE6, PBX6, &long)] {
        let mut parts = fragments(&frame, 600, 7);
        assert_eq!(path.arrives(&parts[0]), "in_not_sip");
        let length = parts[0].len() - if frame[12] == 8 { 14 + 28 } else { 14 + 56 };
        let start = parts[0].len() - length;
        parts[0][start + 2..start + 4].copy_from_slice(&(length as u16 - 20).to_be_bytes());
        assert_eq!(path.arrives(&parts[0]), "stun_unusual");
        for part in &parts[1..] {
            assert_eq!(path.arrives(part), "in_fragment");
        }
    }
    // Packets in several buffers: the message itself, and the padding behind it.
    let large = request(&[(0x8022, &[b'x'; 8000])]);
    assert_eq!(path.arrives(&udp(PHONE, PBX, &large)), "in_not_sip");
    assert_eq!(path.arrives(&udp(PHONE, STUN, &large)), "in_other_port");
    assert_eq!(
        path.arrives(&[v4.clone(), vec![0; 8000]].concat()),
        "stun_unusual"
    );
    // Frames that are cut off.
    for length in 15..v4.len() {
        assert_eq!(path.arrives(&v4[..length]), "in_malformed", "{length}");
    }
    for length in 15..v6.len() {
        assert_eq!(path.arrives(&v6[..length]), "in_malformed", "{length}");
    }
}

/// The frame of an answer has no padding, whatever the padding of the request.
#[test]
fn padding_goes() {
    let mut path = path(UNLIMITED);
    for (from, to) in [(PHONE, PBX), (PHONE6, PBX6)] {
        for padding in [1, 2, 7, 12, 13, 100, 1000] {
            let mut frame = udp(from, to, &request(&[]));
            frame.resize(frame.len() + padding, 0xee);
            let (action, out) = path.test(true, &frame);
            assert_eq!(action, XDP_TX);
            let (_, answer) = answered(&mut path, from, to, &[], &request(&[]));
            assert_eq!(out, turned(from, to, &[], &answer), "{padding}");
        }
    }
}

/// No header field of the request is copied to the answer, except for the addresses.
#[test]
fn nothing_of_the_headers_stays() {
    let mut path = path(UNLIMITED);
    let (_, answer) = answered(&mut path, PHONE, PBX, &[], &request(&[]));
    let (_, answer6) = answered(&mut path, PHONE6, PBX6, &[], &request(&[]));
    // Type of service, identification and time to live, and UDP's checksum as an offloading device leaves it.
    let mut frame = udp(PHONE, PBX, &request(&[]));
    for (at, value) in [
        (15, 0xb8),
        (18, 7),
        (19, 9),
        (20, 0),
        (22, 1),
        (40, 0),
        (41, 0),
    ] {
        frame[at] = value;
    }
    let (ip, _) = Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
    frame[24..26].copy_from_slice(&ip.calc_header_checksum().to_be_bytes());
    assert_eq!(
        path.test(true, &frame),
        (XDP_TX, turned(PHONE, PBX, &[], &answer))
    );
    // Traffic class, flow label and hop limit.
    let mut frame = udp(PHONE6, PBX6, &request(&[]));
    for (at, value) in [
        (14, 0x6b),
        (15, 0x8a),
        (16, 0xbc),
        (17, 0xde),
        (21, 1),
        (60, 1),
    ] {
        frame[at] = value;
    }
    assert_eq!(
        path.test(true, &frame),
        (XDP_TX, turned(PHONE6, PBX6, &[], &answer6))
    );
}

/// A checksum of 0 is sent as ffff, because 0 means "no checksum".
#[test]
fn a_checksum_of_zero() {
    let mut path = path(UNLIMITED);
    for (from, to, at) in [(PHONE, PBX, 14 + 26), (PHONE6, PBX6, 14 + 46)] {
        let peer = from.parse().expect("an address");
        let of = |id: u32| {
            let mut message = request(&[]);
            message[16..].copy_from_slice(&id.to_be_bytes());
            message
        };
        let is_zero = |id: &u32| {
            let answer = codec::answer(&of(*id), peer, false).expect("an answer");
            turned(from, to, &[], &answer)[at..at + 2] == [0xff; 2]
        };
        let id = (0..=u32::MAX).find(is_zero).expect("one of them");
        answered(&mut path, from, to, &[], &of(id));
    }
}
