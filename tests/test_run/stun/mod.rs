//! STUN Binding requests are answered in the driver; everything else passes.

mod messages;
mod packets;
mod sources;

use nat_common::abi::{address, stun};
use nat_test_oracle::stun::expected;
use nat_userspace::{kernel::loops::Loops, settings::Stun};

use crate::frames::{tagged, udp};
use crate::run::{Path, XDP_TX, loops};

/// Interface on which test runs arrive.
const LOOPBACK: u32 = 1;

/// Addresses and subnets of this host.
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

/// The same hosts, at the port of STUN.
const STUN: &str = "203.0.113.10:3478";

const STUN6: &str = "[2001:db8::10]:3478";

/// No VLAN tag, one, and two.
const TAGS: [&[[u8; 4]]; 3] = [
    &[],
    &[[0x81, 0, 0, 7]],
    &[[0x88, 0xa8, 0, 9], [0x81, 0, 0, 7]],
];

/// STUN without rate limits.
pub(crate) const UNLIMITED: Stun = Stun {
    answer: true,
    port: 3478,
    rate: 0,
    burst: 1,
    total_rate: 0,
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

/// Returns the frame that answers a frame from `from` to `to`.
pub(crate) fn turned(from: &str, to: &str, tags: &[[u8; 4]], message: &[u8]) -> Vec<u8> {
    let mut frame = udp(to, from, message);
    let (destination, source) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    tagged(frame, tags)
}

/// Returns the message in a frame.
fn payload<'f>(frame: &'f [u8], tags: &[[u8; 4]]) -> &'f [u8] {
    let start = 14 + 4 * tags.len();
    let ip = if frame[start - 2] == 8 { 20 } else { 40 };
    &frame[start + ip + 8..]
}

/// A request arrives and is answered. The frame is compared byte by byte, and the message with the reference. Returns
/// the verdict and the message.
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

/// Returns this number of attributes, of consecutive types and without a value.
fn many(first: u16, count: u16) -> Vec<(u16, &'static [u8])> {
    (first..first + count).map(|kind| (kind, &[][..])).collect()
}
