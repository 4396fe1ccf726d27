//! The decisions: what is learned from a message, when it counts, and where a packet of the PBX goes.
//!
//! Pure but for [`Env`]: the kernel programs give it their maps, tests give it tables of their own.
//! ARCHITECTURE.md has the rules in prose; the functions below are in the same order.

pub mod fragments;

use core::ptr::NonNull;

use crate::abi::Counter;
use crate::abi::{
    Binding, ContactKey, DialogKey, Entry, Policy, Record, SECOND, TICK_SHIFT, flag, ticks,
};
use crate::bpf::atomic::Word;
use crate::bytes::Span;
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::sip::message::{CONTACTS, Direction, Field, MAX_CONTACTS, Message, Method, header};
use crate::tables::key;
use crate::tables::slots::{Noted, SlotKey, Slots, age};

/// How long the first source of a transaction wins, and a pending dialog end lasts: 64 * T1 (RFC 3261
/// 17), in ticks.
pub const TRANSACTION_LIFE: u32 = ((32 * SECOND) >> TICK_SHIFT) as u32;

/// How long an early dialog lasts without another provisional response: Timer C is above three
/// minutes (RFC 3261 16.6).
pub const EARLY_LIFE: u64 = 300 * SECOND;

/// How long a dialog lasts without another accepted message.
pub const DIALOG_LIFE: u64 = 12 * 3600 * SECOND;

/// How long a dialog end is kept after BYE, for retransmissions.
pub const ENDED_LIFE: u64 = 32 * SECOND;

/// What a registrar grants if it says nothing, in seconds (RFC 3261 10.2.1.1, 20.19 suggest an hour).
pub const DEFAULT_EXPIRES: u32 = 3600;

/// How long the mark of `Contact: *` is kept: longer than registrars grant.
pub const REMOVED_LIFE: u64 = 7 * 24 * 3600 * SECOND;

/// How long it is remembered where a terminal answers, in ticks.
pub const PEER_LIFE: u32 = ((12 * 3600 * SECOND) >> TICK_SHIFT) as u32;

/// How long an answer to the PBX is waited for: longer than a phone rings, in ticks.
pub const ANSWER_LIFE: u32 = (EARLY_LIFE >> TICK_SHIFT) as u32;

/// RFC 3261's estimate of a round trip, in ticks.
const T1: u32 = ((SECOND / 2) >> TICK_SHIFT) as u32;

/// How often a request is sent before every other transmission takes the other way.
const PATIENCE: u8 = 4;

/// How many responses a terminal may be sent before its repeated request says that it does not get them.
const RESPONSES: u8 = 2;

/// The set-associative tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Transactions that terminals opened.
    Inbound,
    /// Transactions that the PBX opened.
    Outbound,
    /// Dialog ends not yet accepted.
    Pending,
    /// Learned addresses, and whether they answer.
    Peers,
    /// Datagrams that the PBX sends in fragments.
    Fragments,
    /// Where STUN requests come from.
    Stun,
}

/// How many tables there are.
pub const TABLES: usize = 6;

/// What the decisions need from where they run.
///
/// Pointers to bindings lead into memory that others change at any time; they are read and written
/// field by field, and never kept.
pub trait Env {
    /// `CLOCK_MONOTONIC_COARSE`, nanoseconds.
    fn now(&self) -> u64;
    /// The hash of a part of the message by its index, see [`Text::digest`]; 0 for one that is not there.
    fn hash(&self, part: usize) -> u64;
    /// The set of a table in which a key belongs. Room for copies is one per table, so what was found
    /// in a table is valid until the next look into the same table.
    fn slots(&self, table: Table, key: &SlotKey) -> Option<Slots<'_>>;
    /// An entry to fill in, empty; the one asked for before is then of no use.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn entry(&self) -> &mut Entry;
    /// An active dialog end.
    fn dialog(&self, key: &DialogKey) -> Option<NonNull<Binding>>;
    /// An active contact.
    fn contact(&self, key: &ContactKey) -> Option<NonNull<Binding>>;
    /// Room for a binding, in which is what was left there.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn draft(&self) -> &mut Binding;
    /// Stores a draft. False if the table is full.
    fn put_dialog(&self, key: &DialogKey, draft: &Binding) -> bool;
    /// Stores a draft. False if the table is full.
    fn put_contact(&self, key: &ContactKey, draft: &Binding) -> bool;
    /// Forgets a contact.
    fn remove_contact(&self, key: &ContactKey);
    /// Policy for a learned address.
    fn policy(&self, learned: &Endpoint) -> Policy;
    /// Keyed hash of three words.
    fn mix(&self, a: u64, b: u64, c: u64) -> u64;
    /// Whether nothing is to be redirected.
    fn shadow(&self) -> bool;
    /// The record of this message.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn record(&self) -> &mut Record;
    /// Keeps the record of this message.
    fn remember(&self, record: &Record);
    /// Adds one to a counter, and an event to the record.
    fn count(&self, counter: Counter);

    /// [`place_dialog`]; a kernel has it as a function that is verified once.
    #[inline(always)]
    fn place_dialog(&self, m: &Message, call: u64, tag: u64, place: &Entry) -> bool
    where
        Self: Sized,
    {
        place_dialog(self, m, call, tag, place)
    }

    /// [`place_contact`], likewise.
    #[inline(always)]
    fn place_contact(&self, key: &ContactKey) -> bool
    where
        Self: Sized,
    {
        place_contact(self, key)
    }
}

/// What needs the text of the message at hand.
pub trait Text: Env {
    /// Hashes parts of the message with the secret, a bit for each (see [`Field`]), for [`Env::hash`].
    fn digest(&self, m: &Message, parts: u32);
    /// Copies part of the message into a draft's text.
    fn name(&self, draft: &mut Binding, span: Span);
}

/// A message arrived from `peer`. The packet goes to the PBX in any case; the counter says what was
/// made of it.
#[inline(always)]
pub fn ingress<E: Text>(env: &E, m: &Message, peer: &Endpoint) -> Counter {
    let call = identify(env, m, Direction::In);
    if m.status == 0 {
        return request_in(env, m, call, peer);
    }
    begin_record(env, m, call);
    let counter = response_in(env, m, call, peer);
    if counter == Counter::InResponse {
        end_record(env, counter);
    }
    counter
}

/// The PBX sends a message. `to` is where the packet is going, and changed if it is to go elsewhere; the
/// counter says why.
#[inline(always)]
pub fn egress<E: Text>(env: &E, m: &Message, to: &mut Endpoint) -> Counter {
    let call = identify(env, m, Direction::Out);
    begin_record(env, m, call);
    env.record().set_meant(to);
    let counter = if m.status == 0 {
        request_out(env, m, call, to)
    } else {
        response_out(env, m, call, to)
    };
    if env.shadow() {
        env.record().copy_meant(to);
    }
    end_record(env, counter);
    counter
}

/// Hashes what is looked up or noted of a message, all at once, but for what [`live_contact`] wants: seldom does it come to
/// that. The hash of the Call-ID.
#[inline(always)]
fn identify<E: Text>(env: &E, m: &Message, direction: Direction) -> u64 {
    let request = m.status == 0;
    // Who sends a request is in From (RFC 3261 8.1.1.3); of both, the terminal's tag counts.
    let more = match (direction, request) {
        (Direction::In, true) if m.method == Method::Register => Field::Contact.bit(),
        (Direction::In, true) if m.method.subscribes() => Field::FromTag.bit(),
        (Direction::In, true) => 0,
        (Direction::In, false) | (Direction::Out, true) => Field::ToTag.bit(),
        (Direction::Out, false) if m.method == Method::Register => {
            Field::FromTag.bit() | Field::ToUri.bit() | CONTACTS
        }
        (Direction::Out, false) => Field::FromTag.bit(),
    };
    let parts = Field::CallId.bit() | Field::Branch.bit() | more;
    match direction {
        Direction::In => env.digest(m, parts),
        Direction::Out => digest_apart(env, m, parts),
    }
    env.hash(Field::CallId as usize)
}

/// [`Text::digest`] in a function of its own. What the PBX sends comes by here up to twice, and needs most of the stack that
/// there is before 6.9.
#[inline(never)]
fn digest_apart<E: Text>(env: &E, m: &Message, parts: u32) {
    env.digest(m, parts);
}

#[inline(always)]
fn begin_record<E: Env>(env: &E, m: &Message, call: u64) {
    let record = env.record();
    // SAFETY: a valid reference.
    unsafe { words::zero(record) };
    record.at = env.now();
    record.call = call;
    record.cseq = m.cseq;
    record.status = m.status;
    record.method = m.method as u8;
}

#[inline(always)]
fn end_record<E: Env>(env: &E, verdict: Counter) {
    let record = env.record();
    record.verdict = verdict as u8;
    env.remember(record);
}

/// A request's source is noted with its transaction, and with the dialog end if the PBX may send to that before it answers.
/// Nothing of that counts until the PBX accepts it.
#[inline(always)]
fn request_in<E: Env>(env: &E, m: &Message, call: u64, peer: &Endpoint) -> Counter {
    if m.method == Method::Ack {
        return Counter::InAck;
    }
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, m.method);
    let entry = env.entry();
    entry.at = ticks(env.now());
    entry.set_peer(peer);
    entry.set_advertised(&m.advertised);
    if m.vias == 1 && m.record_routes == 0 {
        entry.flags |= flag::DIRECT;
    }
    if m.has(Field::ToTag) {
        entry.flags |= flag::IN_DIALOG;
    }
    if m.method == Method::Register {
        entry.flags |= flag::REGISTER;
        if m.star != 0 {
            entry.flags |= flag::REMOVE_ALL;
        }
        if granted(m, 0) == Some(0) {
            entry.flags |= flag::REMOVE;
        }
        entry.contact = env.hash(Field::Contact as usize);
    }
    let Some(mut slots) = env.slots(Table::Inbound, &key) else {
        return Counter::InNoTables;
    };
    match slots.note(&key, entry, TRANSACTION_LIFE) {
        Noted::New => {}
        Noted::Same => {
            let known = slots.found();
            if known.sent >= RESPONSES {
                // What was sent does not seem to arrive.
                slots.amend(&key, flag::REPEATED);
            }
            return Counter::InRepeat;
        }
        Noted::Other => return Counter::InOtherSource,
        Noted::Busy => return Counter::InBusy,
    }
    if m.method.subscribes() && !m.has(Field::ToTag) && m.has(Field::FromTag) {
        let tag = env.hash(Field::FromTag as usize);
        let key = key::pending(call, tag);
        if let Some(mut slots) = env.slots(Table::Pending, &key) {
            match slots.note(&key, entry, TRANSACTION_LIFE) {
                Noted::New => env.count(Counter::PendingNoted),
                Noted::Same => {}
                Noted::Other => {
                    let marked = slots.amend(&key, flag::AMBIGUOUS);
                    env.count(if marked {
                        Counter::PendingAmbiguous
                    } else {
                        Counter::SlotBusy
                    });
                }
                Noted::Busy => env.count(Counter::SlotBusy),
            }
        }
    }
    Counter::InRequest
}

/// A response counts if the PBX sent the request: only who got that knows its branch. What it proves is that the
/// terminal can be reached where the request was sent; if that was where it used to send from, and it now sends
/// from elsewhere, that its mapping has changed.
#[inline(always)]
fn response_in<E: Text>(env: &E, m: &Message, call: u64, peer: &Endpoint) -> Counter {
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, m.method);
    let now = ticks(env.now());
    let Some(request) = env
        .slots(Table::Outbound, &key)
        .and_then(|s| s.find(&key))
        .filter(|request| age(now, request.at) < ANSWER_LIFE)
    else {
        return Counter::InResponseUnasked;
    };
    let record = env.record();
    record.set_meant(&request.peer());
    record.set_learned(peer);
    let elsewhere = request.flags & flag::REDIRECTED != 0 && *peer != request.peer();
    if elsewhere {
        request.set_peer(peer);
        request.at = now;
    } else {
        answers_there(env, request, m.status);
    }
    let flags = request.flags;
    request.contact = branch;
    let in_dialog = request.flags & flag::IN_DIALOG != 0;
    let accepted = in_dialog || (m.method.creates_dialog() && m.status < 300);
    if m.status > 100 && accepted && m.has(Field::ToTag) {
        request.set_advertised(&m.advertised);
        if m.record_routes > request.record_routes {
            request.flags &= !flag::DIRECT;
        }
        if !in_dialog && m.status < 200 {
            request.flags |= flag::EARLY;
        }
        // What RFC 3261 15.1.1 takes for an end; a BYE that is challenged is sent again.
        if m.method == Method::Bye && (m.status / 100 == 2 || m.status == 481 || m.status == 408) {
            request.flags |= flag::ENDED;
        }
        let tag = env.hash(Field::ToTag as usize);
        env.record().tag = tag;
        accept_dialog(env, m, call, tag, request);
    }
    if elsewhere {
        // The same answer again, or a late one of before, is then one to a request that was sent there.
        request.flags = flags & !flag::REDIRECTED;
        let entry = env.entry();
        // SAFETY: valid references.
        unsafe { words::copy(request, entry) };
        if let Some(mut slots) = env.slots(Table::Outbound, &key) {
            slots.put(&key, entry);
        }
    }
    Counter::InResponse
}

/// An answer shows where the terminal can be reached: that is remembered of its learned address. A refusal may be
/// another terminal's, which a router has where the PBX means; and when both ways were tried, only an answer that
/// comes at once tells which of them it was.
#[inline(always)]
fn answers_there<E: Env>(env: &E, request: &mut Entry, status: u16) {
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

/// The PBX's answer decides what a request of a terminal was worth, and goes back to its source.
#[inline(never)]
fn response_out<E: Text>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Counter {
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, m.method);
    let Some(request) = env.slots(Table::Inbound, &key).and_then(|s| s.find(&key)) else {
        return late_response_out(env, m, call, to);
    };
    let flags = request.flags;
    answered(env, m, call, request);
    // What came of the answer is not the request's.
    request.flags = flags;
    let counter = decide(
        env,
        &request.peer(),
        to,
        &Case {
            counter: Counter::OutRedirectedResponse,
            direct: flags & flag::DIRECT != 0,
            doubtful: flags & flag::REPEATED != 0,
        },
    );
    if is_choice(counter) {
        follow_response(env, &key, request);
    }
    counter
}

/// Whether the learned address and the one that the PBX means differ, and one of them was chosen.
#[inline(always)]
const fn is_choice(counter: Counter) -> bool {
    matches!(
        counter,
        Counter::OutRedirectedResponse
            | Counter::OutRedirectedDialog
            | Counter::OutRedirectedContact
            | Counter::OutLeftAlone
            | Counter::OutUnanswered
    )
}

/// Notes with a terminal's request that a response was sent, as far as it matters when the request is repeated:
/// after two responses, the next one takes the other way, once.
#[inline(never)]
fn follow_response<E: Env>(env: &E, key: &SlotKey, request: &mut Entry) {
    if env.shadow() {
        return;
    }
    if request.flags & flag::REPEATED != 0 {
        request.flags &= !flag::REPEATED;
        request.sent = 0;
    } else if request.sent < RESPONSES {
        request.sent += 1;
    } else {
        return;
    }
    let entry = env.entry();
    // SAFETY: valid references.
    unsafe { words::copy(request, entry) };
    if let Some(mut slots) = env.slots(Table::Inbound, key)
        && !slots.put(key, entry)
    {
        env.count(Counter::SlotBusy);
    }
}

/// A response whose transaction is not known (any more) goes where the dialog end is.
#[inline(never)]
fn late_response_out<E: Env>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Counter {
    if !m.has(Field::FromTag) {
        return Counter::OutUnknownResponse;
    }
    let tag = env.hash(Field::FromTag as usize);
    env.record().tag = tag;
    if live_dialog(env, &DialogKey { call, tag }).is_none() {
        return Counter::OutUnknownResponse;
    }
    let known = env.draft();
    // Through another proxy, or where nobody advertised: the PBX knows better.
    if m.vias != 1 || !(*to == known.advertised || to.is_private()) {
        return Counter::OutUnknownResponse;
    }
    decide(
        env,
        &known.learned,
        to,
        &Case {
            counter: Counter::OutRedirectedResponse,
            direct: known.has(flag::DIRECT),
            doubtful: false,
        },
    )
}

/// What the PBX's response makes of a terminal's request.
#[inline(always)]
fn answered<E: Text>(env: &E, m: &Message, call: u64, request: &mut Entry) {
    if m.status <= 100 {
        return;
    }
    if m.method == Method::Register {
        if m.status / 100 == 2 {
            registered(env, m, call, request);
        }
        return;
    }
    let in_dialog = request.flags & flag::IN_DIALOG != 0;
    if !m.has(Field::FromTag) || !(in_dialog || m.method.creates_dialog()) {
        return;
    }
    let tag = env.hash(Field::FromTag as usize);
    env.record().tag = tag;
    if m.status >= 300 {
        if !in_dialog && forget_pending(env, m, call, tag, request) {
            env.count(Counter::PendingDropped);
        }
        return;
    }
    if in_dialog && m.status < 200 {
        return;
    }
    if m.status < 200 {
        request.flags |= flag::EARLY;
    }
    if m.method == Method::Bye {
        request.flags |= flag::ENDED;
    }
    if !in_dialog {
        forget_pending(env, m, call, tag, request);
    }
    accept_dialog(env, m, call, tag, request);
}

/// The PBX has decided on a request that creates a dialog: what was pending is forgotten, if it came from there.
#[inline(never)]
fn forget_pending<E: Env>(env: &E, m: &Message, call: u64, tag: u64, request: &Entry) -> bool {
    if !m.method.subscribes() {
        return false;
    }
    let key = key::pending(call, tag);
    let pending = env.slots(Table::Pending, &key).and_then(|s| s.find(&key));
    pending.is_some_and(|p| p.peer() == request.peer())
        && env
            .slots(Table::Pending, &key)
            .is_some_and(|mut s| s.amend(&key, 0))
}

/// A dialog end is believed to be at `place`, whose flags say why: the PBX accepted its request `m`, or it
/// answered a request of the PBX with `m`.
#[inline(always)]
fn accept_dialog<E: Text>(env: &E, m: &Message, call: u64, tag: u64, place: &Entry) {
    if !env.place_dialog(m, call, tag, place) {
        return;
    }
    let draft = env.draft();
    let terminal = if place.flags & flag::PBX == 0 {
        Field::FromUri
    } else {
        Field::ToUri
    };
    env.name(draft, m.span(terminal));
    put_dialog(
        env,
        &DialogKey { call, tag },
        draft,
        Counter::DialogActivated,
    );
}

/// Moves, confirms or ends a dialog end, or leaves it as it is. If it is new, it is put into the draft, without a
/// name: true.
#[inline(always)]
pub fn place_dialog<E: Env>(env: &E, m: &Message, call: u64, tag: u64, place: &Entry) -> bool {
    let key = DialogKey { call, tag };
    let now = env.now();
    let known = live_dialog(env, &key);
    let draft = env.draft();
    let Some(known) = known.map(NonNull::as_ptr) else {
        // SAFETY: a valid reference.
        unsafe { words::zero(draft) };
        draft.key = [call, tag];
        draft.call = place.contact;
        draft.created = now;
        settle(draft, m, place, now);
        if place.flags & (flag::PBX | flag::IN_DIALOG) == flag::IN_DIALOG && !draft.has(flag::ENDED)
        {
            // A dialog that was not seen to begin: one answer is not enough to keep it for long, or a PBX
            // that answers anything would fill the table.
            draft.flags |= flag::EARLY;
            draft.expires = now + EARLY_LIFE;
        }
        return true;
    };
    let event = renew_dialog(m, known, draft, place, now);
    if event == Counter::DialogMoved {
        put_dialog(env, &key, draft, event);
    } else {
        env.count(event);
    }
    false
}

/// The same of one that is known, and copied to the draft. If it moved, the draft is what it becomes.
#[inline(always)]
fn renew_dialog(
    m: &Message,
    known: *mut Binding,
    draft: &mut Binding,
    place: &Entry,
    now: u64,
) -> Counter {
    let newest = if place.flags & flag::PBX == 0 {
        draft.cseq
    } else {
        draft.peer_cseq
    };
    if m.cseq < newest {
        return Counter::DialogStale;
    }
    let ended = draft.has(flag::ENDED);
    if draft.learned != place.peer() {
        let began_it =
            place.flags & flag::PBX != 0 && place.contact != 0 && place.contact == draft.call;
        if place.flags & flag::IN_DIALOG == 0 && !ended && !began_it {
            // A new dialog was accepted, not a message of this one.
            return Counter::DialogGuarded;
        }
        if place.flags & flag::PBX != 0 && !is_later(place.at, ticks(draft.seen)) {
            // The PBX asked before it heard where the terminal is now.
            return Counter::DialogStale;
        }
        let expires = draft.expires;
        settle(draft, m, place, now);
        if ended && place.flags & flag::IN_DIALOG != 0 {
            draft.flags |= flag::ENDED;
            draft.expires = expires;
        }
        return Counter::DialogMoved;
    }
    // SAFETY: `dialog` gives valid pointers. Others may write to the binding meanwhile: each field is
    // written once.
    unsafe {
        if place.flags & flag::PBX == 0 {
            (*known).cseq = m.cseq;
        } else {
            (*known).peer_cseq = m.cseq;
            (*known).flags = draft.flags & !flag::LEFT_ALONE | place.flags & flag::LEFT_ALONE;
        }
        (*known).seen = now;
        if ended {
            return Counter::DialogRefreshed;
        }
        if place.flags & flag::ENDED != 0 {
            (*known).flags |= flag::ENDED;
            (*known).expires = now + ENDED_LIFE;
            return Counter::DialogEnded;
        }
        if place.flags & flag::EARLY == 0 {
            (*known).flags &= !flag::EARLY;
        }
        (*known).expires = now + life((*known).flags);
    }
    Counter::DialogRefreshed
}

/// Whether a moment, in ticks, comes after another.
#[inline(always)]
const fn is_later(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

/// How long a dialog end lasts from now.
#[inline(always)]
const fn life(flags: u16) -> u64 {
    if flags & flag::ENDED != 0 {
        ENDED_LIFE
    } else if flags & flag::EARLY != 0 {
        EARLY_LIFE
    } else {
        DIALOG_LIFE
    }
}

/// Puts into a draft what was accepted.
#[inline(always)]
fn settle(draft: &mut Binding, m: &Message, place: &Entry, now: u64) {
    place.copy_peer(&mut draft.learned);
    if place.advertised_port != 0 {
        place.copy_advertised(&mut draft.advertised);
    }
    if place.flags & flag::PBX == 0 {
        draft.cseq = m.cseq;
    } else {
        draft.peer_cseq = m.cseq;
    }
    draft.flags = place.flags & (flag::DIRECT | flag::EARLY | flag::ENDED | flag::LEFT_ALONE);
    draft.seen = now;
    draft.expires = now + life(place.flags);
}

#[inline(always)]
fn put_dialog<E: Env>(env: &E, key: &DialogKey, draft: &Binding, event: Counter) {
    let stored = env.put_dialog(key, draft);
    env.count(if stored { event } else { Counter::TableFull });
}

/// A dialog end that has not expired, and a copy of it in the draft.
#[inline(never)]
fn live_dialog<E: Env>(env: &E, key: &DialogKey) -> Option<NonNull<Binding>> {
    let found = env.dialog(key)?;
    // SAFETY: `dialog` gives valid pointers.
    let live = unsafe { copy(env, found.as_ptr(), &[key.call, key.tag]) };
    live.then_some(found)
}

/// Copies a binding into the draft. Whether it is that of the key, and has not expired: the kernel may give
/// the memory of a removed binding to another at any time, which then starts with another key.
///
/// # Safety
/// `known` must be valid.
#[inline(always)]
unsafe fn copy<E: Env>(env: &E, known: *mut Binding, key: &[u64; 2]) -> bool {
    let draft = env.draft();
    // SAFETY: as above, and a valid reference.
    let now_there = unsafe {
        words::copy(known, draft);
        (&raw const (*known).key).read_volatile()
    };
    draft.key == *key && now_there == *key && draft.expires > env.now()
}

/// Seconds granted to, or asked for, the Contact at `index` (RFC 3261 10.2.1.1).
#[inline(always)]
fn granted(m: &Message, index: usize) -> Option<u32> {
    match m.contact_expires(index) {
        None if m.headers & header::EXPIRES != 0 => Some(m.expires),
        seconds => seconds,
    }
}

/// The PBX accepted a REGISTER: its contact is active for as long as granted. The draft is made once, and
/// stored under the contact's two keys.
#[inline(never)]
fn registered<E: Text>(env: &E, m: &Message, call: u64, request: &Entry) {
    let aor = env.hash(Field::ToUri as usize);
    let now = env.now();
    let draft = env.draft();
    // SAFETY: a valid reference.
    unsafe { words::zero(draft) };
    draft.created = now;
    if request.flags & flag::REMOVE_ALL != 0 {
        let mark = ContactKey { uri: 0, aor };
        // SAFETY: `contact` gives valid pointers.
        let known = env
            .contact(&mark)
            .map(|b| unsafe { ((*b.as_ptr()).call, (*b.as_ptr()).cseq) });
        if known.is_some_and(|(of, cseq)| of == call && m.cseq <= cseq) {
            // The response again: what was registered since stays.
            return;
        }
        draft.key = [0, aor];
        draft.call = call;
        draft.cseq = m.cseq;
        draft.expires = now + REMOVED_LIFE;
        env.put_contact(&mark, draft);
        return env.count(Counter::ContactRemoved);
    }
    if request.contact == 0 {
        return;
    }
    // The response lists every contact of the address-of-record (RFC 3261 10.3, 8): find ours. A PBX
    // that lists none, or writes ours otherwise, still granted what its Expires says.
    let mut seconds = if request.flags & flag::REMOVE != 0 {
        0
    } else if m.headers & header::EXPIRES != 0 {
        m.expires
    } else {
        DEFAULT_EXPIRES
    };
    for index in 0..MAX_CONTACTS {
        if env.hash(Field::Contact as usize + index) == request.contact {
            seconds = granted(m, index).unwrap_or(DEFAULT_EXPIRES);
            break;
        }
    }
    request.copy_peer(&mut draft.learned);
    request.copy_advertised(&mut draft.advertised);
    draft.aor = aor;
    draft.call = call;
    draft.cseq = m.cseq;
    draft.seen = now;
    draft.expires = now + u64::from(seconds) * SECOND;
    draft.flags = request.flags & flag::DIRECT;
    env.name(draft, m.span(Field::ToUri));
    let uri = request.contact;
    if env.place_contact(&ContactKey { uri, aor }) {
        env.place_contact(&ContactKey { uri, aor: 0 });
    }
}

/// Stores, moves or removes one entry of a contact, as the draft says; one that is over at once removes. False if the
/// REGISTER is older than what is known. Events are counted once for the two entries.
#[inline(always)]
pub fn place_contact<E: Env>(env: &E, key: &ContactKey) -> bool {
    let now = env.now();
    let draft = env.draft();
    draft.key = [key.uri, key.aor];
    let removes = draft.expires <= now;
    let mut event = Counter::ContactActivated;
    // SAFETY: as in `renew_dialog`.
    unsafe {
        if let Some(known) = env.contact(key).map(NonNull::as_ptr)
            && (*known).key == draft.key
            && is_live(env, known, now)
        {
            let same_owner = (*known).aor == draft.aor;
            if same_owner && (*known).call == draft.call && draft.cseq < (*known).cseq {
                return false;
            }
            if removes && !same_owner {
                // Another's contact of the same URI stays.
                return true;
            }
            draft.created = (*known).created;
            draft.redirected = (*known).redirected;
            draft.contested = (*known).contested;
            if (*known).learned == draft.learned {
                event = Counter::ContactRefreshed;
            } else if same_owner {
                // The PBX keeps one contact of that URI and owner: the newest, and so do we.
                event = Counter::ContactMoved;
            } else {
                if draft.contested < (*known).expires {
                    draft.contested = (*known).expires;
                }
                env.count(Counter::ContactAmbiguous);
            }
        }
    }
    if removes {
        env.remove_contact(key);
        event = Counter::ContactRemoved;
    } else if !env.put_contact(key, draft) {
        event = Counter::TableFull;
    }
    if key.aor != 0 || event == Counter::TableFull {
        env.count(event);
    }
    true
}

/// Whether a contact counts: not expired, and not removed by `Contact: *` since.
///
/// # Safety
/// `known` must be valid.
#[inline(always)]
unsafe fn is_live<E: Env>(env: &E, known: *const Binding, now: u64) -> bool {
    // SAFETY: as above; `contact` gives valid pointers.
    unsafe {
        let mark = ContactKey {
            uri: 0,
            aor: (*known).aor,
        };
        (*known).expires > now
            && env
                .contact(&mark)
                .is_none_or(|mark| !(*known).is_voided_by(mark.as_ref()))
    }
}

/// Where a request of the PBX should go.
#[inline(never)]
fn request_out<E: Text>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Counter {
    let branch = env.hash(Field::Branch as usize);
    let follows = m.method == Method::Ack || m.method == Method::Cancel;
    let routed = m.headers & header::ROUTE != 0;
    let key = key::transaction(call, branch, m.cseq, m.method);
    let now = ticks(env.now());
    let mut before = None;
    if !follows {
        before = env.slots(Table::Outbound, &key).and_then(|s| s.find(&key));
        before = before.filter(|before| age(now, before.at) < TRANSACTION_LIFE);
    }
    let (counter, sent) = if routed {
        (Counter::OutRoute, 0)
    } else {
        aim(env, m, call, branch, before, to)
    };
    if follows {
        return counter;
    }
    let entry = env.entry();
    let record = env.record();
    entry.at = now;
    entry.record_routes = m.record_routes;
    entry.sent = sent;
    entry.flags = flag::PBX;
    if !routed {
        entry.flags |= flag::DIRECT;
    }
    if m.has(Field::ToTag) {
        entry.flags |= flag::IN_DIALOG;
    }
    entry.set_peer(to);
    if env.shadow() {
        entry.set_peer(&record.meant());
    } else if is_choice(counter) {
        if *to == record.meant() {
            entry.flags |= flag::LEFT_ALONE;
            entry.set_advertised(&record.learned());
        } else {
            entry.flags |= flag::REDIRECTED;
            entry.set_advertised(&record.meant());
        }
    }
    if let Some(mut slots) = env.slots(Table::Outbound, &key)
        && !slots.put(&key, entry)
    {
        env.count(Counter::SlotBusy);
    }
    counter
}

/// Looks for the terminal that a request is meant for: its dialog end, else, for an ACK or a CANCEL, where its INVITE
/// went, else its contact. `before` is the transmission before, if there was one; also returned is how many there were
/// since the terminal is where it is.
#[inline(always)]
fn aim<E: Text>(
    env: &E,
    m: &Message,
    call: u64,
    branch: u64,
    before: Option<&mut Entry>,
    to: &mut Endpoint,
) -> (Counter, u8) {
    let mut found = None;
    if m.has(Field::ToTag) {
        found = dialog_end(env, m, call);
    }
    if found.is_none() {
        if (m.method == Method::Ack || m.method == Method::Cancel)
            && let Some(counter) = after_invite(env, m, call, branch, to)
        {
            return (counter, 0);
        }
        digest_apart(env, m, Field::RequestUri.bit() | Field::ToUri.bit());
        found = live_contact(env);
    }
    let Some(found) = found else {
        return (Counter::OutUnknownRequest, 0);
    };
    let known = env.draft();
    if known.is_ambiguous(env.now()) {
        return (Counter::OutAmbiguous, 0);
    }
    let is_dialog = known.aor == 0;
    if !is_dialog
        && known.aor != env.hash(Field::ToUri as usize)
        && !is_symptom(&known.learned, &known.advertised, to)
    {
        return (Counter::OutForeignContact, 0);
    }
    let counter = if is_dialog {
        Counter::OutRedirectedDialog
    } else {
        Counter::OutRedirectedContact
    };
    let sent = before.map_or(0, |before| transmissions(before, &known.learned));
    let verdict = decide(
        env,
        &known.learned,
        to,
        &Case {
            counter,
            direct: known.has(flag::DIRECT),
            doubtful: sent >= PATIENCE && sent % 2 == PATIENCE % 2,
        },
    );
    let found = found.as_ptr();
    // SAFETY: `dialog` and `contact` give valid pointers; the programs change `redirected` only so, and a
    // flag that is lost is only not shown.
    unsafe {
        if verdict == counter {
            Word::new(&raw mut (*found).redirected).add(1);
            if known.has(flag::LEFT_ALONE) {
                (*found).flags &= !flag::LEFT_ALONE;
            }
        } else if verdict == Counter::OutLeftAlone {
            (*found).flags |= flag::LEFT_ALONE;
        }
    }
    (verdict, sent)
}

/// How often a request was sent, given its last transmission, while the terminal was where it is now.
#[inline(always)]
fn transmissions(before: &Entry, learned: &Endpoint) -> u8 {
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

/// A CANCEL, and an ACK to a response other than 2xx, have the branch of their INVITE (RFC 3261 9.1, 17.1.1.3)
/// and go where that went. Under shadow it went where it was meant to go, which says nothing.
#[inline(always)]
fn after_invite<E: Env>(
    env: &E,
    m: &Message,
    call: u64,
    branch: u64,
    to: &mut Endpoint,
) -> Option<Counter> {
    let key = key::transaction(call, branch, m.cseq, Method::Invite);
    let invite = env.slots(Table::Outbound, &key)?.find(&key)?.peer();
    if env.shadow() {
        return None;
    }
    env.record().set_learned(&invite);
    if invite == *to {
        return Some(Counter::OutAlreadyThere);
    }
    *to = invite;
    Some(Counter::OutRedirectedInvite)
}

/// The dialog end that a request is meant for, and a copy of it in the draft.
#[inline(always)]
fn dialog_end<E: Text>(env: &E, m: &Message, call: u64) -> Option<NonNull<Binding>> {
    let tag = env.hash(Field::ToTag as usize);
    env.record().tag = tag;
    let key = DialogKey { call, tag };
    let found = live_dialog(env, &key);
    if found.is_none() && from_pending(env, m, call, tag) {
        return live_dialog(env, &key);
    }
    found
}

/// A contact by Request-URI and the address-of-record in To, else by Request-URI alone, and a copy of it in the
/// draft.
#[inline(never)]
fn live_contact<E: Env>(env: &E) -> Option<NonNull<Binding>> {
    let uri = env.hash(Field::RequestUri as usize);
    let aor = env.hash(Field::ToUri as usize);
    for key in [ContactKey { uri, aor }, ContactKey { uri, aor: 0 }] {
        if let Some(found) = env.contact(&key)
            // SAFETY: `contact` gives valid pointers, and the draft is one.
            && unsafe {
                copy(env, found.as_ptr(), &[key.uri, key.aor])
                    && is_live(env, env.draft(), env.now())
            }
        {
            return Some(found);
        }
    }
    None
}

/// The PBX may send within a dialog before it accepts it: a NOTIFY may be ahead of the 2xx to its
/// SUBSCRIBE (RFC 6665 4.4.1). If exactly one source is pending, it is that. Whether it is.
#[inline(never)]
fn from_pending<E: Text>(env: &E, m: &Message, call: u64, tag: u64) -> bool {
    let key = key::pending(call, tag);
    let Some(pending) = env.slots(Table::Pending, &key).and_then(|s| s.find(&key)) else {
        return false;
    };
    if pending.flags & flag::AMBIGUOUS != 0 || age(ticks(env.now()), pending.at) >= TRANSACTION_LIFE
    {
        return false;
    }
    env.count(Counter::DialogFromPending);
    // It is the PBX's request that is believed, not yet the terminal's.
    pending.flags |= flag::PBX | flag::EARLY;
    accept_dialog(env, m, call, tag, pending);
    true
}

/// Whether a contact that is found by Request-URI alone shows what NAT does: the packet goes where the
/// contact points, and that is the learned address with another port, or an address that no one can reach.
/// Else anyone with an account could register somebody else's public address, and get the calls to it.
#[inline(always)]
fn is_symptom(learned: &Endpoint, advertised: &Endpoint, to: &Endpoint) -> bool {
    to == advertised
        && (to.addr[1] == learned.addr[1] && to.addr[0] == learned.addr[0] || to.is_private())
}

/// What a terminal is asked about by [`decide`].
struct Case {
    /// The verdict if the packet is redirected.
    counter: Counter,
    /// Nothing stands between this host and the terminal.
    direct: bool,
    /// What was sent before drew no answer.
    doubtful: bool,
}

/// Whether a packet to `to` goes to `learned` instead.
#[inline(always)]
fn decide<E: Env>(env: &E, learned: &Endpoint, to: &mut Endpoint, case: &Case) -> Counter {
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
