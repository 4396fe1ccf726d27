//! Which of two addresses answers.

use crate::abi::{Counter, Entry, Policy, SECOND, TICK_SHIFT, flag, ticks};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::env::{Env, Table};
use crate::engine::lifetimes::PEER_LIFE;
use crate::tables::slots::{SlotKey, age};

/// RFC 3261's estimate of a round trip, in ticks.
pub(super) const T1: u32 = ((SECOND / 2) >> TICK_SHIFT) as u32;

/// How often a request is sent before every other transmission takes the other way.
pub(super) const PATIENCE: u8 = 4;

/// How many responses a terminal may be sent before its repeated request says that it does not get them.
pub(super) const RESPONSES: u8 = 2;

/// What a terminal is asked about by [`decide`].
pub(super) struct Case {
    /// The verdict if the packet is redirected.
    pub(super) counter: Counter,
    /// Nothing stands between this host and the terminal.
    pub(super) direct: bool,
    /// What was sent before drew no answer.
    pub(super) doubtful: bool,
}

/// Whether a packet to `to` goes to `learned` instead.
#[inline(always)]
pub(super) fn decide<E: Env>(
    env: &E,
    learned: &Endpoint,
    to: &mut Endpoint,
    case: &Case,
) -> Counter {
    env.record().set_learned(learned);
    if learned == &*to {
        return Counter::OutAlreadyThere;
    }
    if learned.is_v4() != to.is_v4() {
        return Counter::OutOtherFamily;
    }
    let verdict = match env.policy(learned) {
        Policy::Off => Counter::OutPolicyOff,
        Policy::Auto if !case.direct => Counter::OutNotDirect,
        Policy::Auto if !env.shadow() => choose(env, learned, to, case),
        Policy::Auto | Policy::Force => case.counter,
    };
    if verdict == case.counter {
        // SAFETY: valid references.
        unsafe { words::copy(learned, to) };
    }
    verdict
}

/// Of the learned address and the one that the PBX means: the learned, unless the terminal has answered only at
/// the other. If what was sent before drew no answer, the one that is not usual. Both must be one host's: who
/// answers at another address, a private one of the PBX's own network say, may be anybody.
#[inline(always)]
fn choose<E: Env>(env: &E, learned: &Endpoint, to: &Endpoint, case: &Case) -> Counter {
    if learned.addr != to.addr {
        return case.counter;
    }
    let key = peer_key(env, learned);
    let mut left_alone = false;
    if let Some(known) = env.slots(Table::Peers, &key).and_then(|s| s.find(&key))
        && age(ticks(env.now()), known.at) < PEER_LIFE
    {
        if known.flags & flag::PROVEN != 0 {
            return case.counter;
        }
        left_alone = known.advertised() == *to;
    }
    match (left_alone, case.doubtful) {
        (true, false) => Counter::OutLeftAlone,
        (false, true) => Counter::OutUnanswered,
        _ => case.counter,
    }
}

/// How often a request was sent, given its last transmission, while the terminal was where it is now.
#[inline(always)]
pub(super) fn transmissions(before: &Entry, learned: &Endpoint) -> u8 {
    let there = if before.flags & flag::REDIRECTED != 0 {
        before.peer()
    } else {
        before.advertised()
    };
    if there == *learned {
        before.sent.saturating_add(1)
    } else {
        0
    }
}

/// An answer shows where the terminal can be reached: that is remembered of its learned address. A refusal may be
/// another terminal's, which a router has where the PBX means; and when both ways were tried, only an answer that
/// comes at once tells which of them it was.
#[inline(always)]
pub(super) fn answers_there<E: Env>(env: &E, request: &mut Entry, status: u16) {
    let left_alone = request.flags & flag::LEFT_ALONE != 0;
    if !left_alone && request.flags & flag::REDIRECTED == 0 {
        return;
    }
    let age = age(ticks(env.now()), request.at);
    let clear = status > 100 && status < 300 && (request.sent < PATIENCE || age < T1);
    let (there, other) = (request.peer(), request.advertised());
    if !left_alone {
        if clear {
            note_peer(env, &there, &other, flag::PROVEN);
        }
        return;
    }
    // It was sent where it was meant to go. The terminal is still known by its learned address.
    if clear {
        note_peer(env, &other, &there, flag::LEFT_ALONE);
    } else {
        request.flags &= !flag::LEFT_ALONE;
    }
    request.set_peer(&other);
}

/// What names a learned address in `PEERS`.
#[inline(always)]
fn peer_key<E: Env>(env: &E, learned: &Endpoint) -> SlotKey {
    SlotKey::of(env.mix(learned.addr[0], learned.addr[1], u64::from(learned.port)))
}

/// Notes where the terminal at a learned address answers, unless that is known.
#[inline(never)]
fn note_peer<E: Env>(env: &E, learned: &Endpoint, meant: &Endpoint, state: u16) {
    let key = peer_key(env, learned);
    let now = ticks(env.now());
    if let Some(known) = env.slots(Table::Peers, &key).and_then(|s| s.find(&key))
        && known.flags == state
        && known.advertised() == *meant
        && age(now, known.at) < PEER_LIFE / 2
    {
        return;
    }
    let entry = env.entry();
    entry.at = now;
    entry.flags = state;
    entry.set_peer(learned);
    entry.set_advertised(meant);
    if env
        .slots(Table::Peers, &key)
        .is_some_and(|mut s| s.put(&key, entry))
    {
        env.count(if state == flag::PROVEN {
            Counter::PeerProven
        } else {
            Counter::PeerLeftAlone
        });
    }
}
