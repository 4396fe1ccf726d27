//! IP fragments that the PBX sends: a datagram is redirected in all of them, or in none.
//!
//! Only the first has the SIP headers. Where it goes is noted, and the others follow. Should one of them come
//! by before the first, it is left alone, and so is the first then.

use crate::abi::Counter;
use crate::abi::{SECOND, TICK_SHIFT, flag, ticks};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::{Env, Table};
use crate::tables::slots::{SlotKey, age};

/// How long after one fragment another may come, in ticks. The kernel sends them in a row.
pub const LIFE: u32 = (SECOND >> TICK_SHIFT) as u32;

/// What names a datagram: its addresses and the identification that its fragments share (RFC 791 3.2, 8200 4.5).
#[inline(always)]
fn key<E: Env>(env: &E, source: &Endpoint, destination: &Endpoint, id: u32) -> SlotKey {
    let from = env.mix(source.addr[0], source.addr[1], u64::from(id));
    SlotKey::of(env.mix(destination.addr[0], destination.addr[1], from))
}

/// The first fragment of a datagram, which is to go to `to`. False if the others could not follow it there; it then
/// goes where it was `meant` to.
#[inline(never)]
pub fn first<E: Env>(
    env: &E,
    source: &Endpoint,
    meant: &Endpoint,
    id: u32,
    to: &mut Endpoint,
) -> bool {
    let stays = to == meant;
    let key = key(env, source, meant, id);
    let now = ticks(env.now());
    let passed = env
        .slots(Table::Fragments, &key)
        .and_then(|s| s.find(&key))
        .is_some_and(|known| known.flags & flag::LEFT_ALONE != 0 && age(now, known.at) < LIFE);
    let entry = env.entry();
    entry.at = now;
    entry.set_peer(to);
    let noted = !passed
        && env
            .slots(Table::Fragments, &key)
            .is_some_and(|mut slots| slots.put(&key, entry));
    if !noted {
        // SAFETY: valid references.
        unsafe { words::copy(meant, to) };
    }
    noted || stays
}

/// A fragment after the first. `to` is where the packet is going, and changed if its first went elsewhere.
#[inline(never)]
pub fn later<E: Env>(env: &E, source: &Endpoint, id: u32, to: &mut Endpoint) -> Counter {
    let key = key(env, source, to, id);
    let now = ticks(env.now());
    if let Some(first) = env.slots(Table::Fragments, &key).and_then(|s| s.find(&key))
        && age(now, first.at) < LIFE
    {
        if first.peer_addr == to.addr {
            return Counter::OutFragment;
        }
        to.addr[0] = first.peer_addr[0];
        to.addr[1] = first.peer_addr[1];
        return Counter::OutFragmentRedirected;
    }
    let entry = env.entry();
    entry.at = now;
    entry.flags = flag::LEFT_ALONE;
    entry.set_peer(to);
    if env
        .slots(Table::Fragments, &key)
        .is_none_or(|mut slots| !slots.put(&key, entry))
    {
        env.count(Counter::SlotBusy);
    }
    Counter::OutFragment
}
