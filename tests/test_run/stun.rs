//! STUN Binding requests are answered in the driver, and nothing else is.

use nat_common::abi::address;
use nat_userspace::loader::Stun;

use crate::frames::{PBX, PHONE, tagged, udp};
use crate::judge;
use crate::judge::write::{classic, fingerprinted, request};
use crate::run::{Path, XDP_TX};

/// What addresses are to this host.
const ADDRESSES: &[(&str, u32)] = &[
    ("203.0.113.0/24", address::ON_LINK),
    ("203.0.113.10/32", address::LOCAL),
    ("203.0.113.0/32", address::BROADCAST),
    ("203.0.113.255/32", address::BROADCAST),
    ("192.168.5.0/24", address::ON_LINK),
    ("192.168.5.1/32", address::LOCAL),
    ("192.168.5.255/32", address::BROADCAST),
    ("2001:db8::/64", address::ON_LINK),
    ("2001:db8::10/128", address::LOCAL),
    ("fd00:5::/64", address::ON_LINK),
    ("fd00:5::1/128", address::LOCAL),
    ("fe80::/64", address::ON_LINK),
    ("fe80::1/128", address::LOCAL),
];

const PBX6: &str = "[2001:db8::10]:5060";
const PHONE6: &str = "[2001:db8:1::2]:49163";

/// Without a limit.
const UNLIMITED: Stun = Stun {
    port: Some(3478),
    rate: 0,
    burst: 1,
    software: false,
};

fn path(stun: Stun) -> Path {
    Path::with(|loader| {
        ADDRESSES
            .iter()
            .fold(loader.stun(Some(stun)), |loader, (prefix, kind)| {
                loader.address(prefix.parse().expect("a prefix"), *kind)
            })
    })
}

/// The frame that answers one from `from` to `to`.
fn turned(from: &str, to: &str, tags: &[[u8; 4]], message: &[u8]) -> Vec<u8> {
    let mut frame = udp(to, from, message);
    let (destination, source) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    tagged(frame, tags)
}

/// The message in a frame.
fn message<'f>(frame: &'f [u8], tags: &[[u8; 4]]) -> &'f [u8] {
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
    let answer = message(&out, tags).to_vec();
    assert_eq!(out, turned(from, to, tags, &answer), "{verdict}");
    let software = path.0.tables.config().expect("settings").stun & 2 != 0;
    let peer = from.parse().expect("an address");
    judge::check(request, peer, software, Some(&answer));
    (verdict, answer)
}

#[test]
fn a_binding_request() {
    for (from, to) in [(PHONE, PBX), (PHONE6, PBX6)] {
        let mut path = path(UNLIMITED);
        for tags in [
            &[][..],
            &[[0x81, 0, 0, 7]],
            &[[0x88, 0xa8, 0, 9], [0x81, 0, 0, 7]],
        ] {
            for message in [request(&[]), classic(&[]), fingerprinted(request(&[]))] {
                let (verdict, _) = answered(&mut path, from, to, tags, &message);
                assert_eq!(verdict, "stun_answered");
            }
        }
    }
}
