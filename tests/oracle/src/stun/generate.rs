//! Generated messages. Most of them are nearly Binding requests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::input::{COOKIE, fingerprinted};
use super::message::message as build;

/// Change to a request.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Byte(Index, u8),
    Cut(Index),
    Grown(Vec<u8>),
    Kind(u16),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::None),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => vec(any::<u8>(), 1..9).prop_map(Damage::Grown),
        1 => select(&[0x0101, 0x0111, 0x0011, 0x0003, 0x0000][..]).prop_map(Damage::Kind),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let kind = prop_oneof![
        8 => select(&[0x8022, 0x802c, 0x8000, 0xffff][..]),
        4 => select(&[0x0000, 0x0002, 0x0003, 0x0004, 0x0024, 0x4000, 0x7fff][..]),
        4 => select(&[0x0001, 0x0009, 0x000a, 0x0020][..]),
        1 => select(&[0x0006, 0x0008, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e, 0x8028][..]),
        1 => any::<u16>(),
    ];
    let value = prop_oneof![
        2 => Just(vec![0; 4]),
        4 => vec(any::<u8>(), 0..24),
        1 => vec(any::<u8>(), 0..300),
    ];
    let empty = prop_oneof![0x4000..0x4040u16, 0x8100..0x8140u16];
    prop_oneof![
        4 => vec((kind, value), 0..8),
        1 => vec(empty.prop_map(|kind| (kind, Vec::new())), 14..35),
    ]
}

/// Generates payloads of datagrams.
pub fn message() -> impl Strategy<Value = Vec<u8>> {
    let cookie = prop_oneof![4 => Just(COOKIE), 1 => any::<[u8; 4]>()];
    let id = any::<[u8; 12]>();
    let parts = (cookie, id, attributes(), any::<bool>(), damage());
    parts.prop_map(|(cookie, id, attributes, print, damage)| {
        let attributes: Vec<(u16, &[u8])> = attributes
            .iter()
            .map(|(kind, value)| (*kind, &value[..]))
            .collect();
        let mut bytes = build(1, cookie, &attributes);
        bytes[8..20].copy_from_slice(&id);
        if print {
            bytes = fingerprinted(bytes);
        }
        match damage {
            Damage::None => {}
            Damage::Byte(at, value) => *at.get_mut(&mut bytes) = value,
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Grown(more) => bytes.extend(more),
            Damage::Kind(kind) => bytes[..2].copy_from_slice(&kind.to_be_bytes()),
        }
        bytes
    })
}
