//! STUN requests in frames from which no answer may be made.

use nat_common::abi::address;

use crate::frames;
use crate::run::Path;

const REQUEST: &[u8] = b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl";

fn path() -> Path {
    Path::with(|setup| {
        let here = "203.0.113.10".parse().expect("a prefix");
        setup.settings.stun.answer = true;
        setup.addresses.kinds.push((here, address::LOCAL));
    })
}

/// The kernel may drop a unicast datagram to a group of stations, and an answer would come from a group.
#[test]
fn groups_of_stations() {
    let mut path = path();
    for (at, station) in [
        (0, [0xff; 6]),
        (0, [1, 0, 0x5e, 1, 1, 1]),
        (6, [1, 0, 0x5e, 1, 1, 1]),
    ] {
        let mut frame = frames::udp(frames::PHONE, frames::PBX, REQUEST);
        frame[at..at + 6].copy_from_slice(&station);
        assert_eq!(path.arrives(&frame), "stun_unusual", "{station:x?}");
    }
}

/// The source address of a damaged header may be that of another host.
#[test]
fn a_damaged_ip_header() {
    let mut path = path();
    let right = frames::udp(frames::PHONE, frames::PBX, REQUEST);
    assert_eq!(path.test(true, &right).0, 3, "XDP_TX");
    for byte in 14 + 12..14 + 16 {
        let mut frame = right.clone();
        frame[byte] ^= 0x10;
        assert_eq!(path.arrives(&frame), "stun_unusual", "{byte}");
    }
}
