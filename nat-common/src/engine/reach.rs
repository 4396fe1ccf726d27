//! Reach: which of two addresses answers, the learned one or the original destination.

use crate::abi::{
    Counter, Entry, OutboundFlags, OutboundTransaction, Peer, PeerFlags, Policy, age, ticks,
};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::env::{Clock, Env, Hashes, Journal, Tables};
use crate::engine::lifetimes::{PEER_LIFE, T1};
use crate::engine::verdict::Decision;
use crate::tables::slots::SlotKey;

/// Transmissions of a request before every second one goes to the other destination.
pub(super) const TRANSMISSIONS_BEFORE_FALLBACK: u8 = 4;

/// Responses sent to a terminal before its repeated request says that they do not arrive.
pub(super) const RESPONSES_BEFORE_FALLBACK: u8 = 2;

/// Redirect that is considered.
pub(super) struct Redirect {
    /// Decision if the packet is redirected.
    pub(super) decision: Decision,
    /// No other proxy stands between this host and the terminal.
    pub(super) direct: bool,
    /// Earlier transmissions drew no answer.
    pub(super) unanswered: bool,
}

/// Decides whether a packet to `to` goes to `learned` instead.
#[inline(always)]
pub(super) fn decide<E: Env>(
    env: &E,
    learned: &Endpoint,
    to: &mut Endpoint,
    redirect: &Redirect,
) -> Decision {
    env.record().set_learned(learned);
    if learned == &*to {
        return Decision::AlreadyThere;
    }
    if learned.is_v4() != to.is_v4() {
        return Decision::OtherFamily;
    }
    let decision = match env.policy(learned) {
        Policy::Off => Decision::PolicyOff,
        Policy::Auto if !redirect.direct => Decision::NotDirect,
        Policy::Auto if !env.shadow() => choose(env, learned, to, redirect),
        Policy::Auto | Policy::Force => redirect.decision,
    };
    if decision == redirect.decision {
        words::assign(to, learned);
    }
    decision
}

/// Chooses between the learned address and the original destination. Prefers the learned address, unless the terminal
/// has answered only at the original one; after unanswered transmissions it takes the other one. Both must be one host's:
/// a host that answers at another address, in the PBX's own network say, may be anybody.
#[inline(always)]
fn choose<E: Tables + Hashes + Clock>(
    env: &E,
    learned: &Endpoint,
    to: &Endpoint,
    redirect: &Redirect,
) -> Decision {
    if learned.addr != to.addr {
        return redirect.decision;
    }
    let key = peer_key(env, learned);
    let mut left_alone = false;
    if let Some(known) = env.slots::<Peer>(&key).and_then(|s| s.find(&key))
        && age(ticks(env.now()), known.at) < PEER_LIFE
    {
        if known.value.flags.contains(PeerFlags::PROVEN) {
            return redirect.decision;
        }
        left_alone = known.value.original() == *to;
    }
    match (left_alone, redirect.unanswered) {
        (true, false) => Decision::LeftAlone,
        (false, true) => Decision::Unanswered,
        _ => redirect.decision,
    }
}

/// Counts the transmissions of a request before this one, since the terminal is at its learned address.
#[inline(always)]
pub(super) fn retransmissions(before: &OutboundTransaction, learned: &Endpoint) -> u8 {
    let there = if before.flags.contains(OutboundFlags::REDIRECTED) {
        before.destination()
    } else {
        before.alternative()
    };
    if there == *learned {
        before.retransmissions.saturating_add(1)
    } else {
        0
    }
}

/// Remembers of a learned address which destination was answered. A refusal may be another terminal's, which a router
/// has at the original destination. If both destinations were tried, only an answer within T1 tells which of them it was.
#[inline(always)]
pub(super) fn note_answer<E: Tables + Hashes + Clock + Journal>(
    env: &E,
    request: &mut Entry<OutboundTransaction>,
    status: u16,
) {
    let transaction = &mut request.value;
    let left_alone = transaction.flags.contains(OutboundFlags::LEFT_ALONE);
    if !left_alone && !transaction.flags.contains(OutboundFlags::REDIRECTED) {
        return;
    }
    let age = age(ticks(env.now()), request.at);
    let proves = status > 100
        && status < 300
        && (transaction.retransmissions < TRANSMISSIONS_BEFORE_FALLBACK || age < T1);
    let (there, other) = (transaction.destination(), transaction.alternative());
    if !left_alone {
        if proves {
            note_peer(env, &there, &other, PeerFlags::PROVEN);
        }
        return;
    }
    // The request went to its original destination. The terminal is still known by its learned address.
    if proves {
        note_peer(env, &other, &there, PeerFlags::LEFT_ALONE);
    } else {
        transaction.flags -= OutboundFlags::LEFT_ALONE;
    }
    transaction.set_destination(&other);
}

/// Returns the key of a learned address in `PEERS`.
#[inline(always)]
fn peer_key<E: Hashes>(env: &E, learned: &Endpoint) -> SlotKey {
    SlotKey::of(env.mix(learned.addr[0], learned.addr[1], u64::from(learned.port)))
}

/// Stores where the terminal at a learned address answers, unless that is known.
#[inline(never)]
fn note_peer<E: Tables + Hashes + Clock + Journal>(
    env: &E,
    learned: &Endpoint,
    original: &Endpoint,
    flags: PeerFlags,
) {
    let key = peer_key(env, learned);
    let now = ticks(env.now());
    if let Some(known) = env.slots::<Peer>(&key).and_then(|s| s.find(&key))
        && known.value.flags == flags
        && known.value.original() == *original
        && age(now, known.at) < PEER_LIFE / 2
    {
        return;
    }
    let entry = env.entry::<Peer>();
    entry.at = now;
    entry.value.flags = flags;
    entry.value.set_learned(learned);
    entry.value.set_original(original);
    if env
        .slots::<Peer>(&key)
        .is_some_and(|mut s| s.put(&key, entry))
    {
        env.count(if flags == PeerFlags::PROVEN {
            Counter::PeerProven
        } else {
            Counter::PeerLeftAlone
        });
    }
}
