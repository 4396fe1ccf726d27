//! The STUN codec, compared with the test vectors of RFC 5769 and, for generated messages, with the `stun-types`
//! crate.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use nat_common::bpf::HostLoop;
use nat_common::bytes::Source as _;
use nat_common::stun::{Doubt, Request, crc};
use nat_test_oracle::stun::{codec, expected, generate, input, message};
use proptest::prelude::*;

/// RFC 5769 2.1.
const REQUEST: &[u8] = b"\
    \x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x10STUN test client\
    \x00\x24\x00\x04\x6e\x00\x01\xff\
    \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
    \x00\x06\x00\x09evtj:h6vY   \
    \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
    \x80\x28\x00\x04\xe5\x7a\x3b\xcf";

/// RFC 5769 2.2.
const RESPONSE: &[u8] = b"\
    \x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0btest vector \
    \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
    \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
    \x80\x28\x00\x04\xc0\x7d\x4c\x96";

/// RFC 5769 2.3.
const RESPONSE6: &[u8] = b"\
    \x01\x01\x00\x48\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
    \x80\x22\x00\x0btest vector \
    \x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9\
    \x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41\
    \x80\x28\x00\x04\xc8\xfb\x0b\x4c";

#[test]
fn fingerprints_of_the_rfc() {
    for message in [REQUEST, RESPONSE, RESPONSE6] {
        let (before, print) = message.split_at(message.len() - 8);
        let word = |at| message.word(at) as u32;
        let len = before.len() as u32;
        let made = crc::fingerprint::<HostLoop>(word, len, &mut crc::Cursor::default());
        assert_eq!(print[4..], made.to_be_bytes());
    }
}

#[test]
fn addresses_of_the_rfc() {
    let mut request = message::request(&[]);
    request[4..20].copy_from_slice(&REQUEST[4..20]);
    let address6 = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0x11, 0x2233, 0x4455, 0x6677);
    for (ip, response, length) in [
        (IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)), RESPONSE, 12),
        (IpAddr::from(address6), RESPONSE6, 24),
    ] {
        let answer = codec::answer(&request, SocketAddr::new(ip, 32853), false).expect("an answer");
        assert_eq!(answer[20..], response[36..36 + length]);
    }
}

#[test]
fn messages_of_the_rfc() {
    for (message, why) in [
        (REQUEST, Doubt::Credentials),
        (RESPONSE, Doubt::NotRequest),
        (RESPONSE6, Doubt::NotRequest),
    ] {
        let read = Request::default().read::<_, HostLoop>(message);
        assert_eq!(read, Err(why));
    }
}

/// The smallest requests of each kind are those whose answers grow the most.
#[test]
fn no_answer_is_much_longer() {
    let peers: [SocketAddr; 2] = [
        ([60, 17, 196, 2], 49163).into(),
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 49163).into(),
    ];
    for peer in peers {
        for unknown in 0..=16 {
            let attributes: Vec<(u16, &[u8])> =
                (0..unknown).map(|n| (0x4000 + n, &[][..])).collect();
            for request in [
                message::request(&attributes),
                message::classic(&attributes),
                input::fingerprinted(message::request(&attributes)),
            ] {
                let answer = codec::answer(&request, peer, true);
                assert!(answer.is_some());
                expected::check(&request, peer, true, answer.as_deref());
            }
        }
    }
}

/// Corpus of the fuzz target.
#[test]
fn no_other_implementation_contradicts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/stun");
    let inputs: Vec<_> = fs::read_dir(&folder).expect("inputs").collect();
    assert!(!inputs.is_empty());
    for entry in inputs {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        if let Some((message, peer, software)) = input::read(&bytes) {
            let answer = codec::answer(&message, peer, software);
            expected::check(&message, peer, software, answer.as_deref());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn any_message(message in generate::message(), ip: IpAddr, port in 1..=u16::MAX, software: bool) {
        let peer = SocketAddr::new(ip.to_canonical(), port);
        let answer = codec::answer(&message, peer, software);
        expected::check(&message, peer, software, answer.as_deref());
    }

    #[test]
    fn any_bytes(choice: u8, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [vec![choice], bytes].concat();
        if let Some((message, peer, software)) = input::read(&bytes) {
            let answer = codec::answer(&message, peer, software);
            expected::check(&message, peer, software, answer.as_deref());
        }
    }
}
