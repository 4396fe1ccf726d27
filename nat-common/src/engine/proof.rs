//! Proof: which addresses have shown that they are reached. A stranger can make none of it.
//!
//! The table `PEERS` holds six kinds of facts: of a pair of addresses, that the terminal answers at the learned one; of
//! an address, that it answered by itself; that it is the learned address of a terminal; that a terminal has left it; that the
//! PBX sent an OPTIONS to a URI there; and of the PBX, whether it is a proxy.

use crate::abi::{
    Binding, Counter, Entry, OutboundFlags, OutboundTransaction, Peer, PeerFlags, SECOND, age,
    ticks,
};
use crate::bpf::{nothing, sign};
use crate::endpoint::Endpoint;
use crate::engine::env::{Clock, Env, Hashes, Journal, Tables};
use crate::engine::lifetimes::{ANSWERED_LIFE, PEER_LIFE, T1};
use crate::sip::Field;
use crate::tables::slots::SlotKey;

/// Transmissions to a proven destination before the other one is tried. A PBX that gives up after three reaches both.
pub(super) const PATIENCE: u8 = 2;

/// Answers at the original destination after which a proof of the learned address counts no more.
const STRIKES: u8 = 2;

/// Time within which a NAT gives the port of a silent terminal to no other: mappings last for 30 s at least (RFC 5626 4.4.1).
const MAPPING_LIFE: u64 = ticks(20 * SECOND);

/// Kinds of facts, as part of their keys.
const PAIR: u64 = 1 << 32;
const ANSWERED: u64 = 2 << 32;
const LEARNED: u64 = 3 << 32;
const PROXY: u64 = 4 << 32;
const LEFT: u64 = 5 << 32;
const PINGED: u64 = 6 << 32;

/// Returns the key of the pair of addresses in a value. The entry holds both, so those of another pair with this key are
/// noticed.
#[inline(always)]
fn pair_key<E: Hashes>(env: &E, peer: &Peer) -> SlotKey {
    let [learned, original] = [&peer.learned_addr, &peer.original_addr];
    SlotKey::of(env.mix(
        learned[0] ^ original[0].rotate_left(32) ^ env.pbx(),
        learned[1] ^ original[1].rotate_left(32),
        u64::from(peer.learned_port) << 16 | u64::from(peer.original_port) | PAIR,
    ))
}

/// Returns the key of a fact of the learned address in a value. An owner is part of it where each has a fact of its own.
#[inline(always)]
fn address_key<E: Hashes>(env: &E, peer: &Peer, kind: u64, owner: u64) -> SlotKey {
    let port = u64::from(peer.learned_port) | kind;
    SlotKey::of(env.mix(
        peer.learned_addr[0] ^ env.pbx(),
        peer.learned_addr[1] ^ owner,
        port,
    ))
}

/// Looks up the pair of addresses in a value. Values are passed by reference: addresses would need the kernel's small
/// stack.
#[inline(always)]
pub(super) fn pair<'e, E: Tables + Hashes + Clock>(
    env: &'e E,
    peer: &Peer,
) -> Option<&'e mut Entry<Peer>> {
    let key = pair_key(env, peer);
    let known = env.slots::<Peer>(&key).and_then(|s| s.find(&key))?;
    let is_it = known.value.learned_addr == peer.learned_addr
        && known.value.original_addr == peer.original_addr
        && known.value.learned_port == peer.learned_port
        && known.value.original_port == peer.original_port;
    (is_it && age(ticks(env.now()), known.at) < PEER_LIFE).then_some(known)
}

/// Owner of an address of which nothing is known. A number, since the compiler reads an `Option` before it is sure that
/// there is one, which the verifier refuses: "R5 !read_ok".
pub(super) const NOBODY: u64 = u64::MAX;

/// Whether the owner's terminal answered by itself at the learned address of a value. Owner 0: whether any did.
#[inline(always)]
pub(super) fn has_answered<E: Tables + Hashes + Clock>(env: &E, peer: &Peer, owner: u64) -> bool {
    fact(env, peer, ANSWERED, owner).is_some_and(|known| {
        known.value.owner == owner && age(ticks(env.now()), known.at) < ANSWERED_LIFE
    })
}

/// Returns the owner of the terminal whose learned address is that of the value, or [`NOBODY`].
#[inline(always)]
pub(super) fn resident<E: Tables + Hashes + Clock>(env: &E, peer: &Peer) -> u64 {
    match fact(env, peer, LEARNED, 0) {
        Some(known) if age(ticks(env.now()), known.at) < PEER_LIFE => known.value.owner,
        _ => NOBODY,
    }
}

#[inline(always)]
fn fact<'e, E: Tables + Hashes>(
    env: &'e E,
    peer: &Peer,
    kind: u64,
    owner: u64,
) -> Option<&'e mut Entry<Peer>> {
    let key = address_key(env, peer, kind, owner);
    env.slots::<Peer>(&key)
        .and_then(|s| s.find(&key))
        .filter(|known| {
            known.value.learned_addr == peer.learned_addr
                && known.value.learned_port == peer.learned_port
        })
}

/// Returns the scratch entry with an address as its learned one.
#[inline(always)]
pub(super) fn describe<'e, E: Tables>(env: &'e E, address: &Endpoint) -> &'e mut Entry<Peer> {
    let entry = env.entry::<Peer>();
    entry.value.set_learned(address);
    entry
}

/// Returns the scratch entry with a pair of addresses.
#[inline(always)]
pub(super) fn describe_pair<'e, E: Tables>(
    env: &'e E,
    learned: &Endpoint,
    original: &Endpoint,
) -> &'e mut Entry<Peer> {
    let entry = describe(env, learned);
    entry.value.set_original(original);
    entry
}

/// Notes that a terminal is reached at its learned address, while packets for it are meant for the original destination. The
/// flags of the entry say how that shows: `HEARS` or `SEEMING`, and `PROVEN` unless the evidence is weak. Returns whether it
/// counts: what only seems so counts no more, once it proved wrong.
#[inline(always)]
pub fn prove_pair<E: Tables + Hashes + Clock + Journal>(env: &E, entry: &mut Entry<Peer>) -> bool {
    let now = ticks(env.now());
    let proves = entry.value.flags.contains(PeerFlags::PROVEN);
    let seems = entry.value.flags.contains(PeerFlags::SEEMING);
    let mut counts = true;
    entry.at = now;
    if let Some(known) = pair(env, &entry.value) {
        let before = known.value.flags;
        let mut flags = entry.value.flags;
        if seems && before.contains(PeerFlags::HEARS) {
            flags ^= PeerFlags::SEEMING | PeerFlags::HEARS;
        }
        counts = !(seems && before.contains(PeerFlags::DEAF));
        if before.contains(flags)
            && known.value.unanswered == 0
            && known.value.strikes == 0
            && age(now, known.at) < PEER_LIFE / 2
        {
            return true;
        }
        if !counts {
            entry.assign(known);
            entry.value.unanswered = 0;
        } else if proves {
            entry.value.flags = flags;
        } else {
            // Weak evidence ends no count, and makes no proof of the other kind last longer.
            let proof = before & PeerFlags::PROVEN;
            entry.assign(known);
            entry.value.flags = flags | proof;
            if proof.is_empty() {
                entry.at = now;
            }
        }
    }
    if put_pair(env, entry) && proves && counts {
        env.count(Counter::PeerProven);
    }
    counts
}

/// Notes that a terminal does not get what is sent to its learned address, if it only seems so that it does: the pair has the
/// flag `SEEMING`, and those in the entry. With `DEAF` in the entry, it suffices that no answer has proven the pair. Returns
/// whether that is noted.
#[inline(always)]
pub fn note_deaf<E: Tables + Hashes + Clock>(env: &E, entry: &mut Entry<Peer>) -> bool {
    let flags = entry.value.flags;
    let before = match pair(env, &entry.value) {
        Some(known) => known.value.flags,
        None => PeerFlags::empty(),
    };
    let seemed = if flags.contains(PeerFlags::DEAF) {
        !before.contains(PeerFlags::PROVEN) || before.contains(PeerFlags::SEEMING)
    } else {
        before.contains(flags | PeerFlags::SEEMING)
    };
    if seemed {
        entry.at = ticks(env.now());
        entry.value.flags = PeerFlags::DEAF;
        put_pair(env, entry);
    }
    seemed
}

/// Notes one more transmission to a pair of addresses that is not answered yet. `again`: it is one of the same request.
/// Another request within T1 does not count, because the answer to the one before may be on its way.
#[inline(always)]
pub fn note_transmission<E: Tables + Hashes + Clock>(
    env: &E,
    entry: &mut Entry<Peer>,
    again: bool,
) {
    entry.at = ticks(env.now());
    entry.value.unanswered = 1;
    if let Some(known) = pair(env, &entry.value) {
        let counts = unanswered(env, known, again) == known.value.unanswered;
        let now = entry.at;
        entry.assign(known);
        entry.value.unanswered = known.value.unanswered.saturating_add(counts.into());
        // A proof ages from the answer on, and the wait for an answer from the first request on.
        let flags = known.value.flags;
        let is_proven = flags.contains(PeerFlags::PROVEN) && !flags.contains(PeerFlags::SEEMING);
        if counts && !is_proven {
            entry.at = now;
        }
    }
    put_pair(env, entry);
}

/// Returns the number of transmissions to a pair that are not answered. The last one does not count within T1, unless the
/// PBX sends the same request `again`.
#[inline(always)]
pub(super) fn unanswered<E: Clock>(env: &E, pair: &Entry<Peer>, again: bool) -> u8 {
    let waits = !again && age(ticks(env.now()), pair.at) < T1;
    pair.value.unanswered.saturating_sub(waits.into())
}

/// Notes an answer at the original destination. A proof of the learned address stands the first one, and does not last longer for
/// it: somebody else may have answered while the terminal was silent. All responses to one request are one answer.
#[inline(never)]
fn note_strike<E: Tables + Hashes + Clock>(env: &E, entry: &mut Entry<Peer>) {
    let Some(known) = pair(env, &entry.value) else {
        return;
    };
    let branch = env.hash(Field::Branch as usize);
    if known.value.strikes != 0 && known.value.owner == branch {
        return;
    }
    entry.at = if known.value.flags.contains(PeerFlags::PROVEN) {
        known.at
    } else {
        ticks(env.now())
    };
    entry.value.owner = branch;
    entry.value.strikes = known.value.strikes.saturating_add(1);
    entry.value.flags = if entry.value.strikes < STRIKES {
        known.value.flags
    } else {
        known.value.flags & PeerFlags::DEAF
    };
    put_pair(env, entry);
}

#[inline(always)]
fn put_pair<E: Tables + Hashes>(env: &E, entry: &Entry<Peer>) -> bool {
    let key = pair_key(env, &entry.value);
    env.slots::<Peer>(&key)
        .is_some_and(|mut slots| slots.put(&key, entry))
}

/// Notes that the address in the entry is the learned address of the owner's terminal. If the terminal has registered, the entry
/// has its [`holder`](Peer::holder).
///
/// Terminals with two Contact hosts that register from one address within 20 s share it: a device that registers for
/// several, or whose accounts name it in several ways. Otherwise the NAT has given the port to another.
#[inline(always)]
pub fn note_resident<E: Tables + Hashes + Clock>(env: &E, entry: &mut Entry<Peer>) {
    let now = ticks(env.now());
    entry.value.flags = PeerFlags::LEARNED;
    if let Some(known) = fact(env, &entry.value, LEARNED, 0)
        && age(now, known.at) < PEER_LIFE
    {
        let [host, since] = known.value.holder();
        let [new_host, arrived] = entry.value.holder();
        entry.value.flags = known.value.flags;
        if new_host == 0 || new_host == host {
            entry.value.set_holder(host, since);
            if known.value.owner == entry.value.owner && age(now, known.at) < PEER_LIFE / 2 {
                return;
            }
        } else if host != 0 && age(arrived, since) < MAPPING_LIFE {
            entry.value.flags |= PeerFlags::SHARED;
        }
    }
    entry.at = now;
    let key = address_key(env, &entry.value, LEARNED, 0);
    if let Some(mut slots) = env.slots::<Peer>(&key) {
        slots.put(&key, entry);
    }
}

/// Returns a host in one word; not 0 for an address of a terminal.
#[inline(always)]
pub(super) const fn host_word(address: &Endpoint) -> u64 {
    address.addr[0].rotate_left(32) ^ address.addr[1]
}

/// Whether another terminal has registered from the learned address of a contact since the contact did: one of another owner, whose
/// Contact names another host. The terminal's NAT has forgotten its mapping, and given the port away.
#[inline(always)]
pub(super) fn is_taken<E: Tables + Hashes + Clock>(env: &E, contact: &Binding) -> bool {
    let Some(known) = fact(env, &describe(env, &contact.learned).value, LEARNED, 0) else {
        return false;
    };
    let [host, since] = known.value.holder();
    since > contact.arrived
        && host != host_word(&contact.advertised)
        && known.value.owner != contact.aor
        && !contact.advertised.is_unknown()
        && !known.value.flags.contains(PeerFlags::SHARED)
        && age(ticks(env.now()), known.at) < PEER_LIFE
}

/// Returns the scratch entry with an address and the owner of its terminal.
#[inline(always)]
pub(super) fn describe_resident<'e, E: Tables>(
    env: &'e E,
    address: &Endpoint,
    owner: u64,
) -> &'e mut Entry<Peer> {
    let entry = describe(env, address);
    entry.value.owner = owner;
    entry
}

/// Notes that the owner's terminal answered by itself at the learned address of the entry; with owner 0, that any did.
#[inline(never)]
fn note_answerer<E: Tables + Hashes + Clock + Journal>(env: &E, entry: &mut Entry<Peer>) {
    entry.value.flags = PeerFlags::ANSWERED;
    if put_answerer(env, entry) && entry.value.owner == 0 {
        env.count(Counter::PeerLeftAlone);
    }
}

/// Stores that an owner's terminal answered at an address. False if it is known already, or cannot be stored.
#[inline(always)]
fn put_answerer<E: Tables + Hashes + Clock>(env: &E, entry: &mut Entry<Peer>) -> bool {
    let now = ticks(env.now());
    let owner = entry.value.owner;
    let known = fact(env, &entry.value, ANSWERED, owner);
    if known.is_some_and(|known| {
        known.value.owner == entry.value.owner && age(now, known.at) < PEER_LIFE / 2
    }) {
        return false;
    }
    entry.at = now;
    let key = address_key(env, &entry.value, ANSWERED, owner);
    env.slots::<Peer>(&key)
        .is_some_and(|mut slots| slots.put(&key, entry))
}

/// Notes that a contact was `known` at an address, and that its registration goes on elsewhere since `at`.
#[inline(never)]
pub(super) fn note_departure<E: Tables + Hashes>(env: &E, known: &Binding, at: u64) {
    let entry = describe(env, &known.learned);
    entry.at = at;
    entry.value.owner = known.aor;
    entry.value.flags = PeerFlags::LEFT;
    entry.value.set_registration(known.key[0], known.call);
    let key = address_key(env, &entry.value, LEFT, known.aor);
    if let Some(mut slots) = env.slots::<Peer>(&key) {
        slots.put(&key, entry);
    }
}

/// Looks up whether a contact of the owner has left an address.
#[inline(always)]
pub(super) fn departure<'e, E: Tables + Hashes>(
    env: &'e E,
    address: &Endpoint,
    owner: u64,
) -> Option<&'e mut Entry<Peer>> {
    fact(env, &describe(env, address).value, LEFT, owner)
}

/// Notes an OPTIONS of the PBX to the Contact URI in its route, by its key in `OUTBOUND`.
#[inline(always)]
pub fn note_ping<E: Env>(env: &E, ping: &SlotKey) {
    let entry = describe(env, &env.record().original());
    let uri = env.route().subject;
    entry.at = ticks(env.now());
    entry.value.owner = uri;
    entry.value.flags = PeerFlags::PINGED;
    entry.value.original_addr = ping.words();
    let key = address_key(env, &entry.value, PINGED, uri);
    if let Some(mut slots) = env.slots::<Peer>(&key) {
        slots.put(&key, entry);
    }
}

/// What became of an OPTIONS that the PBX sent to a Contact URI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ping {
    /// Nothing that speaks for the learned address.
    None,
    /// It was not answered at the original destination.
    Unanswered,
    /// It was answered at the learned address.
    Answered,
}

/// Returns what became of the OPTIONS before that the PBX sent to a Contact URI, at the original destination of the record.
#[inline(always)]
pub(super) fn ping_before<E: Tables + Hashes + Clock + Journal>(env: &E, uri: u64) -> Ping {
    let original = &env.record().original();
    let Some(known) = fact(env, &describe(env, original).value, PINGED, uri) else {
        return Ping::None;
    };
    if age(ticks(env.now()), known.at) < T1 {
        // Its answer may be on its way.
        return Ping::None;
    }
    let key = SlotKey::from_words(known.value.original_addr);
    let Some(before) = env
        .slots::<OutboundTransaction>(&key)
        .and_then(|s| s.find(&key))
    else {
        return Ping::None;
    };
    if before.value.retransmissions != 0 {
        // A PBX that repeats it needs no turns from one to the next.
        return Ping::None;
    }
    let answers = OutboundFlags::PROCEEDING | OutboundFlags::ACCEPTED | OutboundFlags::REFUSED;
    match (
        before.value.flags.contains(OutboundFlags::REDIRECTED),
        before.value.flags.intersects(answers),
    ) {
        (true, true) => Ping::Answered,
        (false, false) => Ping::Unanswered,
        _ => Ping::None,
    }
}

/// Notes whether the PBX is a proxy: a request outside of a dialog that it sends has the Via of somebody else. Once a
/// proxy, it remains one.
#[inline(always)]
pub fn note_proxy<E: Tables + Hashes + Clock>(env: &E, proxy: bool) {
    let entry = describe(env, &Endpoint::UNKNOWN);
    if let Some(known) = fact(env, &entry.value, PROXY, 0)
        && (!proxy || known.value.flags.contains(PeerFlags::PROXY))
    {
        return;
    }
    entry.at = ticks(env.now());
    if proxy {
        entry.value.flags = PeerFlags::PROXY;
    }
    let key = address_key(env, &entry.value, PROXY, 0);
    if let Some(mut slots) = env.slots::<Peer>(&key) {
        slots.put(&key, entry);
    }
}

/// Whether the PBX is a proxy, or nothing is known of that yet. Its answers may then be what others wrote: it recognises
/// an answer that it relays by its own branch alone (RFC 3261 17.1.3), or relays one that it never asked for.
#[inline(never)]
pub(super) fn may_be_proxy<E: Tables + Hashes>(env: &E) -> bool {
    let entry = describe(env, &Endpoint::UNKNOWN);
    fact(env, &entry.value, PROXY, 0)
        .is_none_or(|known| known.value.flags.contains(PeerFlags::PROXY))
}

/// Notes that a terminal is there again: its transmissions are counted anew.
#[inline(always)]
pub fn note_return<E: Tables + Hashes + Clock>(env: &E, entry: &mut Entry<Peer>) {
    let Some(known) = pair(env, &entry.value) else {
        return;
    };
    if known.value.unanswered == 0 {
        return;
    }
    entry.assign(known);
    entry.value.unanswered = 0;
    put_pair(env, entry);
}

/// Notes that another host than the original destination refused a request in a dialog: it may not know the dialog, and accept all that
/// needs none. So it has proven nothing, and its transmissions are counted anew.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn note_refusal<E: Tables + Hashes + Clock>(env: &E, entry: &mut Entry<Peer>) {
    if let Some(known) = pair(env, &entry.value) {
        entry.assign(known);
        entry.value.unanswered = 0;
        entry.value.flags &= PeerFlags::DEAF;
        put_pair(env, entry);
    }
    nothing();
}

/// Whether the terminal itself gives a response of this status: it rings, answers, redirects, is busy, declines, or waits for its
/// own re-INVITE (491). Another terminal does not know the user, or the dialog.
#[inline(always)]
const fn is_own(status: u16) -> bool {
    matches!(status, 101..=399 | 480 | 486..=488 | 491 | 600 | 603)
}

/// Whether another terminal may give a response of this status.
#[inline(always)]
const fn is_foreign_refusal(status: u16) -> bool {
    status >= 400 && !is_own(status)
}

/// Whether the original destination in the evidence is another host than the learned address, in the same network: a carrier's, or an
/// old address of the terminal. Who refuses there or here may not know what the other does.
#[inline(always)]
pub fn is_for_another_host<E: Env>(env: &E) -> bool {
    let (learned, original) = (&env.evidence().learned, &env.evidence().advertised);
    learned.addr != original.addr
        && (!original.is_private() || original.shares_private_network(learned))
}

/// Remembers which destination of a request was answered. Returns whether it was the learned address.
///
/// A refusal from the original destination may be another terminal's, which a router has there. If both destinations were
/// tried, only an answer within T1 tells which of them it was. An answer from the terminal's learned host, another one than
/// the original destination, is not `by_itself`: it says nothing of that destination to other owners.
#[inline(always)]
pub(super) fn note_answer<E: Env>(
    env: &E,
    request: &mut Entry<OutboundTransaction>,
    by_itself: bool,
) -> bool {
    let at = request.at;
    let transaction = &mut request.value;
    let weak = transaction.flags.contains(OutboundFlags::WEAK);
    let tells = transaction.retransmissions == 0 || age(ticks(env.now()), at) < T1;
    if transaction.flags.contains(OutboundFlags::AT_LEARNED) {
        // Nothing was open. But another account may register an address that the Internet does not route, such as a trunk's.
        let to = transaction.destination();
        if to.is_private() {
            note_answerer(env, describe(env, &to));
        }
        return true;
    }
    let moved = transaction.flags.contains(OutboundFlags::MOVED);
    if transaction.flags.contains(OutboundFlags::REDIRECTED) {
        // Another terminal than that of the dialog, or of the Contact, refuses what it does not know. Where the terminal moved, no other
        // was asked. Read from memory: `response_in` has no stack left.
        let pair = describe_pair_of(env, transaction);
        let in_dialog = transaction.flags.contains(OutboundFlags::IN_DIALOG);
        let refuses = is_foreign_refusal(env.record().status);
        let foreign = refuses && (in_dialog || !moved);
        if tells && !foreign {
            return env.prove_pair(proof_by_answer(pair, transaction));
        }
        if !weak {
            if refuses && in_dialog && env.is_for_another_host() {
                note_refusal(env, pair);
            } else {
                env.note_return(pair);
            }
        }
        return false;
    }
    let left_alone = transaction.flags.contains(OutboundFlags::LEFT_ALONE);
    env.evidence().branch = 0;
    if moved {
        // The host before answered: it is not silent.
        env.note_return(describe_pair_of(env, transaction));
        transaction.flags -= OutboundFlags::LEFT_ALONE;
        return tells;
    }
    if left_alone {
        may_be_slow(env, transaction);
    }
    // One that may be a slow answer to another transmission tells nothing. Read from memory, not from a register.
    let tells = tells && env.evidence().branch != SLOW;
    // An answer that either address may have given proves nothing, nor does one that another terminal would give. No other has
    // the learned address.
    let own = !by_itself || env.evidence().branch == PROMPT || is_own(env.record().status);
    if !left_alone || tells && (weak || own) {
        let entry = describe(env, &transaction.destination());
        if by_itself {
            note_answerer(env, entry);
        }
        if left_alone && !weak && transaction.subject != 0 {
            entry.value.owner = transaction.subject;
            note_answerer(env, entry);
        }
    } else {
        transaction.flags -= OutboundFlags::LEFT_ALONE;
    }
    if left_alone {
        // The terminal is still known by its learned address.
        let pair = describe_pair_of(env, transaction);
        let proves = transaction.flags.contains(OutboundFlags::LEFT_ALONE);
        if proves && !weak {
            note_strike(env, pair);
        } else if !weak && (!tells || env.is_for_another_host()) {
            env.note_return(pair);
        }
        // Where only its URI names the terminal, or another host has answered, that may be another terminal; but what proves nothing moves
        // nothing.
        let learned = &env.evidence().learned;
        let [a, b] = transaction.destination_addr;
        let elsewhere = (learned.addr[0] ^ a) | (learned.addr[1] ^ b);
        if !weak && (elsewhere == 0 || !proves) || env.record().learned() == *learned {
            transaction.set_destination(learned);
        }
    } else {
        take_source(transaction, env.record().learned_port);
    }
    false
}

/// Makes the port that an answer comes from that of the request's destination, if another answer has made another port that: one from
/// elsewhere than the learned address, to which the request went. A neighbour behind the same NAT may have given that other answer, and
/// then it says nothing of this terminal. If this one gave it, nothing moves: this answer is no newer.
///
/// By arithmetic: the verifier would follow each of two ways to the end.
#[inline(always)]
fn take_source(request: &mut OutboundTransaction, port: u16) {
    // Only a request that had a choice has another address.
    let had_choice = sign(-i64::from(request.alternative_port)) as u16;
    request.destination_port ^= (request.destination_port ^ port) * had_choice;
}

/// Returns the scratch entry with the two addresses of a request. They lie in the evidence, too, outside of the kernel's small
/// stack: the learned one, and the original destination as the advertised one.
#[inline(always)]
pub(super) fn describe_pair_of<'e, E: Env>(
    env: &'e E,
    request: &OutboundTransaction,
) -> &'e mut Entry<Peer> {
    let evidence = env.evidence();
    let (learned, original) = (&mut evidence.learned, &mut evidence.advertised);
    if request.flags.contains(OutboundFlags::REDIRECTED) {
        request.copy_destination(learned);
        request.copy_alternative(original);
    } else {
        request.copy_destination(original);
        request.copy_alternative(learned);
    }
    describe_pair(env, learned, original)
}

/// Returns what is proven of a pair by the answer to a request whose last transmission went to the learned address.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn proof_by_answer<'e>(
    entry: &'e mut Entry<Peer>,
    request: &OutboundTransaction,
) -> &'e mut Entry<Peer> {
    let moved = request.flags.contains(OutboundFlags::MOVED);
    entry.value.flags = if request.retransmissions != 0 && !moved {
        PeerFlags::SEEMING
    } else {
        PeerFlags::HEARS
    };
    if moved || !request.flags.contains(OutboundFlags::WEAK) {
        entry.value.flags |= PeerFlags::PROVEN;
    }
    entry
}

/// Branch in the evidence of an answer that comes from the learned address: it may be a slow one to a transmission there.
const SLOW: u64 = 1;

/// The same of one that can only be an answer to the transmission to the original destination: there was no other.
const PROMPT: u64 = 2;

/// Notes in the evidence whether an answer does not come from the original destination, though the last transmission went there:
/// [`SLOW`] if it may answer an earlier one to the learned address, [`PROMPT`] if it comes from that address and cannot. A third
/// address may be a new mapping.
///
/// An answer from the learned address ends what only seemed proven, and the turn of that address if the request began there: a
/// terminal that sends from one port and listens at another one answers so.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn may_be_slow<E: Env>(env: &E, request: &OutboundTransaction) {
    let entry = describe_pair_of(env, request);
    let source = env.record().learned();
    let tried = request.flags.contains(OutboundFlags::TRIED_LEARNED);
    if source == env.evidence().learned {
        if tried && request.retransmissions == 1 {
            entry.value.flags = PeerFlags::DEAF;
        }
        env.note_deaf(entry);
        env.evidence().branch = if tried { SLOW } else { PROMPT };
    } else if tried && source != env.evidence().advertised {
        env.evidence().branch = SLOW;
    }
    nothing();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both halves of an IPv6 address count.
    #[test]
    fn each_host_has_its_own_word() {
        let host = |addr| {
            host_word(&Endpoint {
                addr,
                port: 5060,
                reserved: 0,
            })
        };
        let of_one = host([0x2001, 0x0db8]);
        for other in [[0x2002, 0x0db8], [0x2001, 0x0db9], [0x0db8, 0x2001]] {
            assert_ne!(host(other), of_one, "{other:?}");
        }
    }
}
