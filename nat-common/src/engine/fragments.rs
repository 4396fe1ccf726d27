//! IP fragments that the PBX sends: a datagram is redirected in all of them, or in none.
//!
//! Only the first fragment has the SIP headers. Its destination is stored, and the others follow. A later fragment that
//! comes before the first is left alone, and so is the first then.
//!
//! ```
//! use nat_common::datagram::{Datagram, Part};
//! use nat_common::endpoint::Endpoint;
//! use nat_common::engine::{fragments, verdict::Decision};
//! use nat_test_oracle::env::MemoryEnv;
//!
//! let (env, learned) = (MemoryEnv::new(), Endpoint::v4([60, 17, 196, 2], 49163));
//! let mut datagram = Datagram {
//!     source: Endpoint::v4([203, 0, 113, 10], 5060),
//!     destination: Endpoint::v4([192, 168, 1, 10], 5060),
//!     part: Part::First,
//!     id: 7,
//!     ..Datagram::default()
//! };
//! let mut to = learned;
//! assert!(fragments::first(&env, &datagram, &mut to));
//!
//! datagram.part = Part::Later;
//! let mut to = datagram.destination;
//! assert_eq!(fragments::later(&env, &datagram, &mut to), Decision::FragmentRedirected);
//! assert_eq!(to.addr, learned.addr);
//! ```

use crate::abi::{Counter, FragmentFlags, FragmentedDatagram, age, ticks};
use crate::bytes::words;
use crate::datagram::Datagram;
use crate::endpoint::Endpoint;
use crate::engine::env::{Clock, Hashes, Journal, Tables};
use crate::engine::lifetimes::FRAGMENT_LIFE;
use crate::engine::verdict::Decision;
use crate::tables::slots::SlotKey;

/// Returns the key of a datagram: its addresses and the identification that its fragments share (RFC 791 3.2, RFC 8200
/// 4.5).
#[inline(always)]
fn key<E: Hashes>(env: &E, datagram: &Datagram) -> SlotKey {
    let (source, destination) = (&datagram.source, &datagram.destination);
    let from = env.mix(source.addr[0], source.addr[1], u64::from(datagram.id));
    SlotKey::of(env.mix(destination.addr[0], destination.addr[1], from))
}

/// Stores where the first fragment of a datagram goes. Returns false if the others could not follow it there; `to` is
/// then its original destination again.
#[inline(never)]
pub fn first<E: Tables + Hashes + Clock>(env: &E, datagram: &Datagram, to: &mut Endpoint) -> bool {
    let stays = *to == datagram.destination;
    let key = key(env, datagram);
    let now = ticks(env.now());
    let passed = env
        .slots::<FragmentedDatagram>(&key)
        .and_then(|s| s.find(&key))
        .is_some_and(|known| {
            known.value.flags.contains(FragmentFlags::PASSED) && age(now, known.at) < FRAGMENT_LIFE
        });
    let entry = env.entry::<FragmentedDatagram>();
    entry.at = now;
    entry.value.set_destination(to);
    let noted = !passed
        && env
            .slots::<FragmentedDatagram>(&key)
            .is_some_and(|mut slots| slots.put(&key, entry));
    if !noted {
        words::assign(to, &datagram.destination);
    }
    noted || stays
}

/// Decides on a fragment after the first: it goes where the first went.
#[inline(always)]
pub fn later<E: Tables + Hashes + Clock + Journal>(
    env: &E,
    datagram: &Datagram,
    to: &mut Endpoint,
) -> Decision {
    let key = key(env, datagram);
    let now = ticks(env.now());
    if let Some(first) = env
        .slots::<FragmentedDatagram>(&key)
        .and_then(|s| s.find(&key))
        && age(now, first.at) < FRAGMENT_LIFE
    {
        let address = first.value.destination_addr;
        if address == to.addr {
            return Decision::Fragment;
        }
        to.addr[0] = address[0];
        to.addr[1] = address[1];
        return Decision::FragmentRedirected;
    }
    let entry = env.entry::<FragmentedDatagram>();
    entry.at = now;
    entry.value.flags = FragmentFlags::PASSED;
    entry.value.set_destination(to);
    if env
        .slots::<FragmentedDatagram>(&key)
        .is_none_or(|mut slots| !slots.put(&key, entry))
    {
        env.count(Counter::SlotBusy);
    }
    Decision::Fragment
}
