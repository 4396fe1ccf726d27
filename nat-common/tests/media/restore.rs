//! Restored sources: which packets get one, and their checksums.

use nat_common::abi::{MediaFlags, MediaSlot, SECOND, ticks};
use nat_common::datagram::{checksum_from, header_checksum};
use nat_common::endpoint::Endpoint;
use nat_common::media::{self, Arrival, Binding, Packet};
use proptest::prelude::*;

use crate::{PHONE, PRIVATE, STRANGER};

/// Returns the sum of the 16-bit words of bytes (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| {
        let low = word.get(1).copied().unwrap_or(0);
        u64::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Bytes of an address, as they stand in its header.
fn bytes(endpoint: &Endpoint) -> Vec<u8> {
    let all = endpoint.addr.map(u64::to_ne_bytes).concat();
    if endpoint.is_v4() {
        all[12..].to_vec()
    } else {
        all
    }
}

/// Returns the pseudo-header of a datagram, and the datagram with a checksum field.
fn datagram(from: &Endpoint, to: &Endpoint, payload: &[u8], checksum: u16) -> (Vec<u8>, Vec<u8>) {
    let length = payload.len() as u16 + 8;
    let mut pseudo = [bytes(from), bytes(to)].concat();
    pseudo.extend(17_u16.to_be_bytes());
    pseudo.extend(length.to_be_bytes());
    let mut udp = Vec::new();
    for half in [from.port as u16, to.port as u16, length, checksum] {
        udp.extend(half.to_be_bytes());
    }
    udp.extend(payload);
    (pseudo, udp)
}

/// Returns the checksum that a sender writes: complete, or left to its NIC.
fn written(from: &Endpoint, to: &Endpoint, payload: &[u8], partial: bool) -> u16 {
    let (pseudo, udp) = datagram(from, to, payload, 0);
    if partial {
        return sum(&pseudo);
    }
    match !sum(&[pseudo, udp].concat()) {
        0 => u16::MAX,
        sum => sum,
    }
}

fn endpoint(v4: bool) -> impl Strategy<Value = Endpoint> {
    (any::<[u8; 16]>(), 1..=u16::MAX).prop_map(move |(bytes, port)| {
        if v4 {
            return Endpoint::v4([bytes[0], bytes[1], bytes[2], bytes[3]], port);
        }
        let half = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight"));
        Endpoint {
            addr: [half(0) | 1, half(8)],
            port: port.into(),
            reserved: 0,
        }
    })
}

proptest! {
    #[test]
    fn checksums_stay_right(
        (from, here, to) in any::<bool>().prop_flat_map(|v4| (endpoint(v4), endpoint(v4), endpoint(v4))),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        partial: bool,
        is_virtual: bool,
    ) {
        // An interface that is real has no partial ones.
        let partial = partial && is_virtual;
        let before = written(&from, &here, &payload, partial);
        // One complete checksum in 65,536 looks like a partial one.
        prop_assume!(partial || before != written(&from, &here, &payload, true));
        let after = checksum_from(&to, &from, &here, payload.len() as u32, before.to_be(), is_virtual);
        let expected = written(&to, &here, &payload, partial);
        prop_assert_eq!(u16::from_be(after), expected);
        prop_assert_eq!(checksum_from(&to, &from, &here, 9, 0, is_virtual), 0);
    }

    #[test]
    fn checksums_of_headers_stay_right((old, to) in (endpoint(true), endpoint(true)), rest: [u8; 14]) {
        let checksum = |address: &Endpoint| !sum(&[rest.to_vec(), bytes(address)].concat());
        let after = header_checksum(&old, &to, checksum(&old).to_be());
        prop_assert_eq!(u16::from_be(after), checksum(&to));
    }
}

#[test]
fn packets_from_the_learned_source_get_the_advertised_one() {
    let now = 1000 * SECOND;
    let private = Endpoint::v4(PRIVATE, 4000);
    let learned = Endpoint::v4(PHONE.as_v4(), 50_123);
    let other_port = Endpoint::v4(PHONE.as_v4(), 50_124);
    let same_port = Endpoint::v4(STRANGER.as_v4(), 50_123);
    let v6 = Endpoint {
        addr: [u64::from_ne_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1]), 1],
        ..private
    };
    for (flags, advertised, source, restored) in [
        (MediaFlags::REWRITE, private, learned, true),
        (MediaFlags::empty(), private, learned, false),
        (MediaFlags::REWRITE, private, other_port, false),
        (MediaFlags::REWRITE, private, same_port, false),
        (MediaFlags::REWRITE, private, private, false),
        // It comes from where the PBX expects it.
        (MediaFlags::REWRITE, learned, learned, false),
        (MediaFlags::REWRITE, v6, learned, false),
    ] {
        let mut slot = MediaSlot::default();
        let binding = Binding {
            advertised,
            peer: PHONE.addr,
            flags,
            now,
            expires: now + SECOND,
            ..Binding::default()
        };
        let arrival = Arrival {
            source: learned,
            router: 1,
            packet: Packet::read(172, 0x80, 7),
            tick: ticks(now),
        };
        // SAFETY: one thread.
        unsafe {
            media::bind(&raw mut slot, &binding);
            assert_eq!(
                media::advertised_source(&raw mut slot, &source),
                None,
                "not learned"
            );
            media::arrive(&raw mut slot, &arrival);
            let found = media::advertised_source(&raw mut slot, &source);
            assert_eq!(
                found.is_some(),
                restored,
                "{flags:?} {advertised:?} {source:?}"
            );
            assert!(found.is_none_or(|found| found == advertised));
            media::clear(&raw mut slot);
            assert_eq!(
                media::advertised_source(&raw mut slot, &source),
                None,
                "cleared"
            );
        }
    }
}
