//! Messages: requests that are answered, and all others, which pass.

use nat_test_oracle::stun::expected;
use nat_test_oracle::stun::input::{self, COOKIE, fingerprinted};
use nat_test_oracle::stun::message::{classic, message, request};
use nat_userspace::{kernel::loops::Loops, settings::Stun};

use super::sources::sources;
use super::{PBX6, PHONE6, STUN, STUN6, TAGS, UNLIMITED, answered, many, with};
use crate::frames::{PBX, PHONE, tagged, udp};
use crate::run::loops;

/// Returns requests that are answered, each with its verdict.
pub(super) fn answerable() -> Vec<(Vec<u8>, &'static str)> {
    let (ok, refused) = ("stun_answered", "stun_refused");
    let mut padded = request(&[(0x8022, b"phone")]);
    let end = padded.len();
    padded[end - 3..].fill(b' ');
    vec![
        (request(&[]), ok),
        (classic(&[]), ok),
        (fingerprinted(request(&[])), ok),
        // Optional attributes, of any length and with any padding.
        (request(&[(0x8022, b"")]), ok),
        (
            request(&[(0x8022, b"1"), (0x802c, b"22"), (0xffff, b"333")]),
            ok,
        ),
        (fingerprinted(request(&[(0x8000, b"12345")])), ok),
        (padded, ok),
        (request(&many(0x8100, 32)), ok),
        (fingerprinted(request(&many(0x8100, 31))), ok),
        // The answer is shorter than the request.
        (request(&[(0x8022, &[b'x'; 401])]), ok),
        (fingerprinted(request(&[(0x8022, &[b'x'; 516])])), ok),
        // Known attributes without use in a request.
        (request(&[(0x0001, &[0; 8]), (0x0020, &[1; 20])]), ok),
        (request(&[(0x0009, &[0; 4]), (0x000a, b"ab")]), ok),
        // CHANGE-REQUEST: no change, other port, other address, both, and a malformed one.
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
        // PRIORITY of ICE, and unknown attributes.
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
        // FINGERPRINT is newer than RFC 3489.
        (classic(&[(0x8028, b"none"), (0x8022, b"x")]), ok),
    ]
}

/// Returns messages that pass unchanged, each with its verdict.
pub(super) fn unanswerable() -> Vec<(Vec<u8>, &'static str)> {
    let (malformed, bad) = ("stun_malformed", "stun_bad_fingerprint");
    let print = |attributes| fingerprinted(request(attributes));
    // One byte of a right message is changed: cookie, transaction ID, attribute or value.
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
        // Credentials between unknown attributes.
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
    // Responses, an indication, Allocate, Shared Secret, and an invalid type.
    let kinds = [
        0x0101, 0x0111, 0x0011, 0x0003, 0x0002, 0x0000, 0x03ff, 0x0201,
    ];
    all.extend(kinds.map(|kind| (message(kind, COOKIE, &[]), "stun_not_request")));
    // Longer than 548 bytes.
    all.push((request(&[(0x8022, &[b'x'; 525])]), "stun_unusual"));
    all
}

/// Sends all answerable requests in every kind of packet.
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
