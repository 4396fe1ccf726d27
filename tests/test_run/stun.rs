//! STUN Binding requests are answered in the driver, and nothing else is.

use std::thread::sleep;
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};
use etherparse::Ipv4Header;
use nat_common::abi::{Binding, Entry, Record, Set, address, flag, stun};
use nat_test_oracle::stun::input::{self, COOKIE, fingerprinted};
use nat_test_oracle::stun::message::{classic, message, request};
use nat_test_oracle::stun::{codec, expected};
use nat_userspace::{kernel::loops::Loops, settings::Stun};

use crate::frames::{INVITE, PBX, PHONE, inbound, tagged, udp};
use crate::packets::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, extended, fragments, options};
use crate::run::{Path, XDP_DROP, XDP_TX, endpoint, loops};

/// The interface on which test runs arrive.
const LOOPBACK: u32 = 1;

/// What addresses are to this host.
const ADDRESSES: &[(&str, u32)] = &[
    ("203.0.113.0/24", address::on_link(LOOPBACK)),
    ("203.0.113.10/32", address::LOCAL),
    ("203.0.113.0/32", address::BROADCAST),
    ("203.0.113.255/32", address::BROADCAST),
    ("192.168.5.0/24", address::on_link(LOOPBACK)),
    ("192.168.5.1/32", address::LOCAL),
    ("192.168.5.255/32", address::BROADCAST),
    ("192.168.8.0/24", address::on_link(LOOPBACK + 1)),
    ("2001:db8::/64", address::on_link(LOOPBACK)),
    ("2001:db8::10/128", address::LOCAL),
    ("fd00:5::/64", address::on_link(LOOPBACK)),
    ("fd00:5::1/128", address::LOCAL),
    ("fe80::/64", address::on_link(LOOPBACK)),
    ("fe80::1/128", address::LOCAL),
];

pub(crate) const PBX6: &str = "[2001:db8::10]:5060";
const PHONE6: &str = "[2001:db8:1::2]:49163";

/// The same hosts, the port of STUN.
const STUN: &str = "203.0.113.10:3478";
const STUN6: &str = "[2001:db8::10]:3478";

/// None, one and two tags of VLANs.
const TAGS: [&[[u8; 4]]; 3] = [
    &[],
    &[[0x81, 0, 0, 7]],
    &[[0x88, 0xa8, 0, 9], [0x81, 0, 0, 7]],
];

/// Without a limit.
pub(crate) const UNLIMITED: Stun = Stun {
    answer: true,
    port: 3478,
    rate: 0,
    burst: 1,
    software: false,
};

fn path(stun: Stun) -> Path {
    with(stun, loops()[0])
}

pub(crate) fn with(stun: Stun, loops: Loops) -> Path {
    Path::with(|setup| {
        setup.settings.ports = vec![5060, 5070];
        setup.settings.stun = stun;
        setup.loops = loops;
        let parsed = |(prefix, kind): &(&str, u32)| (prefix.parse().expect("a prefix"), *kind);
        setup.addresses.kinds = ADDRESSES.iter().map(parsed).collect();
    })
}

/// The frame that answers one from `from` to `to`.
pub(crate) fn turned(from: &str, to: &str, tags: &[[u8; 4]], message: &[u8]) -> Vec<u8> {
    let mut frame = udp(to, from, message);
    let (destination, source) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    tagged(frame, tags)
}

/// The message in a frame.
fn payload<'f>(frame: &'f [u8], tags: &[[u8; 4]]) -> &'f [u8] {
    let start = 14 + 4 * tags.len();
    let ip = if frame[start - 2] == 8 { 20 } else { 40 };
    &frame[start + ip + 8..]
}

/// A request arrives and is answered: everything about the frame is checked, and what the judge says of the
/// message. The verdict and the message.
fn answered(
    path: &mut Path,
    from: &str,
    to: &str,
    tags: &[[u8; 4]],
    request: &[u8],
) -> (&'static str, Vec<u8>) {
    let frame = tagged(udp(from, to, request), tags);
    let (action, out, verdict, events) = path.run(true, &frame);
    assert_eq!(action, XDP_TX, "{verdict}");
    assert!(events.is_empty(), "{events:?}");
    let answer = payload(&out, tags).to_vec();
    assert_eq!(out, turned(from, to, tags, &answer), "{verdict}");
    let software = path.0.tables.config().expect("settings").stun & stun::SOFTWARE != 0;
    let peer = from.parse().expect("an address");
    expected::check(request, peer, software, Some(&answer));
    (verdict, answer)
}

/// So many attributes of a type, without a value.
fn many(first: u16, count: u16) -> Vec<(u16, &'static [u8])> {
    (first..first + count).map(|kind| (kind, &[][..])).collect()
}

/// Requests that are answered, and how.
fn answerable() -> Vec<(Vec<u8>, &'static str)> {
    let (ok, refused) = ("stun_answered", "stun_refused");
    let mut padded = request(&[(0x8022, b"phone")]);
    let end = padded.len();
    padded[end - 3..].fill(b' ');
    vec![
        (request(&[]), ok),
        (classic(&[]), ok),
        (fingerprinted(request(&[])), ok),
        // What need not be understood, of any length, padded with anything.
        (request(&[(0x8022, b"")]), ok),
        (
            request(&[(0x8022, b"1"), (0x802c, b"22"), (0xffff, b"333")]),
            ok,
        ),
        (fingerprinted(request(&[(0x8000, b"12345")])), ok),
        (padded, ok),
        (request(&many(0x8100, 32)), ok),
        (fingerprinted(request(&many(0x8100, 31))), ok),
        // The answer is shorter.
        (request(&[(0x8022, &[b'x'; 401])]), ok),
        (fingerprinted(request(&[(0x8022, &[b'x'; 516])])), ok),
        // Known, and of no use in a request.
        (request(&[(0x0001, &[0; 8]), (0x0020, &[1; 20])]), ok),
        (request(&[(0x0009, &[0; 4]), (0x000a, b"ab")]), ok),
        // CHANGE-REQUEST: no change, other port, other address, both; and none at all.
        (request(&[(0x0003, &[0; 4])]), ok),
        (classic(&[(0x0003, &[0; 4])]), ok),
        (classic(&[(0x0003, &[0xff, 0xff, 0xff, 0xf9])]), ok),
        (request(&[(0x0003, &[0, 0, 0, 2])]), refused),
        (request(&[(0x0003, &[0, 0, 0, 4])]), refused),
        (classic(&[(0x0003, &[0, 0, 0, 6])]), refused),
        (request(&[(0x0003, &[0; 8])]), refused),
        (request(&[(0x0003, b"")]), refused),
        // RESPONSE-ADDRESS and SOURCE-ADDRESS of RFC 3489.
        (classic(&[(0x0002, &[0; 8])]), refused),
        (classic(&[(0x0004, &[0; 8]), (0x0002, &[0; 8])]), refused),
        // PRIORITY of ICE, and others that nobody knows.
        (request(&[(0x0024, b"prio")]), refused),
        (fingerprinted(request(&[(0x0024, b"prio")])), refused),
        (
            request(&[(0x7fff, b"x"), (0x8022, b"y"), (0x0000, b"z")]),
            refused,
        ),
        (request(&many(0x4000, 15)), refused),
        (request(&many(0x4000, 16)), refused),
        (fingerprinted(request(&many(0x4000, 16))), refused),
        (classic(&many(0x4000, 3)), refused),
        (classic(&many(0x4000, 15)), refused),
        (classic(&many(0x4000, 16)), refused),
        // FINGERPRINT came after RFC 3489.
        (classic(&[(0x8028, b"none"), (0x8022, b"x")]), ok),
    ]
}

/// Messages that are left alone, and why.
fn unanswerable() -> Vec<(Vec<u8>, &'static str)> {
    let (malformed, bad) = ("stun_malformed", "stun_bad_fingerprint");
    let print = |attributes| fingerprinted(request(attributes));
    // A byte of the right one is changed: type, cookie, transaction, attribute or value.
    let spoilt = [4 + 4, 19, 23, 24, 39].map(|at| {
        let mut message = print(&[(0x8022, b"phone")]);
        message[at] ^= 1;
        (message, bad)
    });
    let mut reaching = request(&[(0x8022, b"phone")]);
    reaching[23] = 9;
    let mut far = request(&[(0x8022, b"phone")]);
    far[22..24].fill(0xff);
    let mut twice = print(&[]);
    twice.extend_from_within(20..);
    input::set_length(&mut twice);
    let mut followed = print(&[]);
    followed.extend([0x80, 0x22, 0, 0]);
    input::set_length(&mut followed);
    let credentials = [0x0006, 0x0008, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e];
    let mut all: Vec<(Vec<u8>, &str)> = vec![
        (reaching, malformed),
        (far, malformed),
        (twice, malformed),
        (followed, malformed),
        (request(&[(0x8028, b"")]), malformed),
        (request(&[(0x8028, &[0; 8])]), malformed),
        (request(&[(0x8028, &[0; 3])]), malformed),
        (request(&[(0x8028, &[0; 4])]), bad),
        (request(&many(0x8100, 33)), malformed),
        (fingerprinted(request(&many(0x8100, 32))), malformed),
        (request(&many(0x4000, 17)), malformed),
        (classic(&many(0x4000, 17)), malformed),
        // With what is unknown, before and behind it.
        (
            request(&[(0x4000, b"x"), (0x0006, b"user"), (0x4001, b"y")]),
            "stun_credentials",
        ),
        (
            print(&[(0x0006, b"user"), (0x0008, &[7; 20])]),
            "stun_credentials",
        ),
    ];
    all.extend(spoilt);
    all.extend(credentials.map(|kind| (request(&[(kind, b"user")]), "stun_credentials")));
    all.extend(credentials.map(|kind| (classic(&[(kind, b"user")]), "stun_credentials")));
    // Responses, an indication, Allocate and Shared Secret, and a type that is none.
    let kinds = [
        0x0101, 0x0111, 0x0011, 0x0003, 0x0002, 0x0000, 0x03ff, 0x0201,
    ];
    all.extend(kinds.map(|kind| (message(kind, COOKIE, &[]), "stun_not_request")));
    // Longer than 548 bytes.
    all.push((request(&[(0x8022, &[b'x'; 525])]), "stun_unusual"));
    all
}

/// All of it, in every kind of packet.
fn answers_with(loops: Loops, software: bool) {
    let stun = Stun {
        software,
        ..UNLIMITED
    };
    let mut path = with(stun, loops);
    for (request, wanted) in answerable() {
        for (from, to) in [(PHONE, PBX), (PHONE6, PBX6), (PHONE, STUN), (PHONE6, STUN6)] {
            for tags in TAGS {
                let (verdict, _) = answered(&mut path, from, to, tags, &request);
                assert_eq!(verdict, wanted, "{request:02x?}");
            }
        }
    }
}

#[test]
fn binding_requests_are_answered() {
    answers_with(loops()[0], false);
    answers_with(loops()[0], true);
}

#[test]
fn binding_requests_are_answered_on_older_kernels() {
    answers_with(Loops::BpfLoop, true);
}

#[test]
fn what_is_no_plain_request_passes() {
    for loops in loops() {
        let mut path = with(UNLIMITED, *loops);
        for (message, wanted) in unanswerable() {
            expected::check(&message, PHONE.parse().expect("an address"), false, None);
            for (from, to) in [(PHONE, PBX), (PHONE6, PBX6), (PHONE, STUN), (PHONE6, STUN6)] {
                for tags in TAGS {
                    let frame = tagged(udp(from, to, &message), tags);
                    assert_eq!(path.arrives(&frame), wanted, "{message:02x?}");
                }
            }
        }
        assert!(sources(&path).is_empty());
    }
}

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
        // The length of the header is not that of the datagram.
        (5060, [request(&[]), vec![0; 4]].concat(), "in_not_sip"),
        (3478, [request(&[]), vec![0; 4]].concat(), "in_other_port"),
        // ChannelData of TURN, RTP.
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
    // SIP on a SIP port is learned as ever, and nobody's port 3478 is looked at on the way out.
    assert_eq!(path.arrives(&inbound(PHONE, INVITE)), "in_request");
    path.leaves(&udp(STUN, PHONE, &request(&[])));

    let mut path = self::path(Stun {
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
        // Private, and on the link of an interface, or not.
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
        // Public, on the link.
        ("203.0.113.77:1024", PBX, here),
        // Of all hosts of the link, or this host's own.
        ("203.0.113.255:1024", PBX, bad),
        ("192.168.5.255:1024", "192.168.5.1:5060", bad),
        ("203.0.113.10:1024", PBX, bad),
        ("192.168.5.1:1024", PBX, bad),
        (PBX, PBX, bad),
        ("[2001:db8::10]:1024", PBX6, bad),
        // Nobody's.
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

/// To several hosts of the link, though to one address.
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

/// An IPv4 header with so many words of options, which say nothing.
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
        // A datagram in one fragment.
        (FRAGMENT, vec![0; 8]),
    ] {
        let frame = extended(v6.clone(), std::slice::from_ref(&header));
        assert_eq!(path.arrives(&frame), "stun_unusual", "{header:?}");
    }
    // The first fragment of many that begins with a message as long as the fragment, and those behind it.
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
    // In several pieces of memory: the message itself, and what is behind it.
    let large = request(&[(0x8022, &[b'x'; 8000])]);
    assert_eq!(path.arrives(&udp(PHONE, PBX, &large)), "in_not_sip");
    assert_eq!(path.arrives(&udp(PHONE, STUN, &large)), "in_other_port");
    assert_eq!(
        path.arrives(&[v4.clone(), vec![0; 8000]].concat()),
        "stun_unusual"
    );
    // Cut off.
    for length in 15..v4.len() {
        assert_eq!(path.arrives(&v4[..length]), "in_malformed", "{length}");
    }
    for length in 15..v6.len() {
        assert_eq!(path.arrives(&v6[..length]), "in_malformed", "{length}");
    }
}

/// The frame of an answer ends with it, whatever filled up that of the request.
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

/// Whatever the request's headers say beside its addresses, the answer's are its own.
#[test]
fn nothing_of_the_headers_stays() {
    let mut path = path(UNLIMITED);
    let (_, answer) = answered(&mut path, PHONE, PBX, &[], &request(&[]));
    let (_, answer6) = answered(&mut path, PHONE6, PBX6, &[], &request(&[]));
    // Type of service, identification and time to live, and UDP's checksum as a device that computes it leaves it.
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

/// A checksum that comes out as 0 is written as its other zero: 0 says that there is none.
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

/// How many of `count` requests are answered. The others are dropped as they are.
fn ask(path: &mut Path, from: &str, to: &str, count: usize) -> usize {
    let frame = udp(from, to, &request(&[]));
    let outcomes = (0..count).map(|_| path.test(true, &frame));
    outcomes
        .filter(|(action, out)| {
            let dropped = *action == XDP_DROP && *out == frame;
            assert!(dropped || *action == XDP_TX, "{action}");
            !dropped
        })
        .count()
}

#[test]
fn a_burst_and_then_the_rate() {
    let mut path = path(Stun {
        answer: true,
        ..Stun::default()
    });
    for (one, same, other, to) in [
        (PHONE, "60.17.196.2:5", "60.17.196.3:49163", PBX),
        (PHONE6, "[2001:db8:1::3]:5", "[2001:db8:1:1::2]:49163", PBX6),
    ] {
        let begin = Instant::now();
        // What comes in while the test runs.
        let grown = |since: Instant| (since.elapsed().as_secs_f64() * 20.0) as usize + 1;
        let answered = ask(&mut path, one, to, 200);
        assert!((50..=50 + grown(begin)).contains(&answered), "{answered}");
        let frame = udp(same, to, &request(&[]));
        let (action, out, verdict, _) = path.run(true, &frame);
        if grown(begin) == 1 {
            assert_eq!((action, verdict), (XDP_DROP, "stun_limited"));
            assert_eq!(out, frame);
        }
        assert!(ask(&mut path, other, to, 50) == 50, "somebody else");
        ask(&mut path, same, to, 100);
        let empty = Instant::now();
        sleep(Duration::from_secs(1));
        let answered = ask(&mut path, one, to, 100);
        assert!((18..=grown(empty) + 1).contains(&answered), "{answered}");
    }
}

#[test]
fn no_limit() {
    let mut path = path(UNLIMITED);
    assert_eq!(ask(&mut path, PHONE, PBX, 500), 500);
}

/// What is noted of sources.
fn sources(path: &Path) -> Vec<Entry> {
    sets(&path.0.tables.stun)
        .iter()
        .flat_map(Set::slots)
        .filter(nat_common::abi::Slot::is_used)
        .map(|slot| slot.entry)
        .collect()
}

fn sets(table: &Array<MapData, Set>) -> Vec<Set> {
    table.iter().map(|set| set.expect("a set")).collect()
}

#[test]
fn a_sign_of_life() {
    let mut path = path(UNLIMITED);
    let pause = || sleep(Duration::from_millis(30));
    answered(&mut path, PHONE, STUN, &[], &request(&[]));
    let [first] = sources(&path)[..] else {
        panic!("one source")
    };
    assert_eq!(first.peer(), endpoint(PHONE));
    assert_eq!((first.flags, first.sent), (0, 1));
    assert_eq!(first.contact, u64::from(first.at));
    pause();
    // Also one that is refused is one. On a SIP port it is a keepalive; and that it was remains.
    answered(&mut path, PHONE, PBX, &[], &request(&many(0x4000, 1)));
    let [second] = sources(&path)[..] else {
        panic!("one source")
    };
    assert_eq!(second.peer(), endpoint(PHONE));
    assert_eq!((second.flags, second.sent), (flag::KEEPALIVE, 2));
    assert_eq!(second.contact, first.contact);
    let later = second.at - first.at;
    assert!((20..2000).contains(&later), "{later} ticks");
    pause();
    answered(&mut path, PHONE, STUN, &[], &request(&[]));
    let [third] = sources(&path)[..] else {
        panic!("one source")
    };
    assert_eq!((third.flags, third.sent), (flag::KEEPALIVE, 3));
    assert_eq!(third.contact, first.contact);
    assert!(third.at > second.at);
    // As many as can be counted.
    ask(&mut path, PHONE, STUN, 300);
    assert_eq!(sources(&path)[0].sent, u8::MAX);
    // Another port is another source.
    answered(&mut path, "60.17.196.2:49164", PBX, &[], &request(&[]));
    answered(&mut path, PHONE6, PBX6, &[], &request(&[]));
    let mut peers: Vec<_> = sources(&path)
        .iter()
        .map(|entry| (entry.peer().port, entry.sent))
        .collect();
    peers.sort_unstable();
    assert_eq!(peers, [(49163, 1), (49163, 255), (49164, 1)]);
}

#[test]
fn no_sign_of_life() {
    let mut path = path(Stun {
        rate: 1,
        burst: 1,
        ..UNLIMITED
    });
    answered(&mut path, PHONE, PBX, &[], &request(&[]));
    let noted = sources(&path);
    sleep(Duration::from_millis(10));
    // Limited, both what is known and what would be new; bad; meant for others.
    for (from, to, wanted) in [
        (PHONE, PBX, "stun_limited"),
        ("60.17.196.2:49164", PBX, "stun_limited"),
        ("10.0.0.1:1", PBX, "stun_bad_source"),
        ("60.17.196.3:1", "203.0.113.11:5060", "stun_not_here"),
    ] {
        let (_, _, verdict, _) = path.run(true, &udp(from, to, &request(&[])));
        assert_eq!(verdict, wanted);
    }
    assert_eq!(sources(&path), noted);
}

/// All that is known of calls.
fn everything(path: &Path) -> (Vec<Binding>, Vec<Vec<Set>>, Vec<Record>) {
    let tables = &path.0.tables;
    let sets = [
        &tables.inbound,
        &tables.outbound,
        &tables.pending,
        &tables.peers,
        &tables.fragments,
    ]
    .map(sets);
    let mut bindings = [path.dialogs(), path.contacts()].concat();
    bindings.sort_by_key(|binding| binding.key);
    let history = tables
        .history
        .iter()
        .map(|record| record.expect("a record"));
    (bindings, sets.into(), history.collect())
}

/// STUN is not authenticated: it changes nothing that is known of calls.
#[test]
fn stun_changes_no_binding() {
    let mut path = path(UNLIMITED);
    path.call();
    path.register();
    let before = everything(&path);
    assert_eq!(before.0.len(), 3);
    for (message, _) in answerable().into_iter().chain(unanswerable()) {
        for (from, to) in [(PHONE, PBX), ("60.17.196.2:49999", PBX), (PHONE6, STUN6)] {
            path.test(true, &udp(from, to, &message));
        }
    }
    assert_eq!(sources(&path).len(), 3);
    assert!(everything(&path) == before);
}
