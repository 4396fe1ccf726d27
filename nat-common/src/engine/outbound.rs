//! Messages that the PBX sends.

use core::ptr::NonNull;

use crate::abi::{Binding, Counter, DialogKey, Entry, flag, ticks};
use crate::bpf::atomic::Word;
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::contacts::{is_symptom, live_contact, registered};
use crate::engine::dialogs::{accept_dialog, forget_pending, from_pending, live_dialog};
use crate::engine::env::{Env, Table, Text};
use crate::engine::identity::digest_apart;
use crate::engine::lifetimes::TRANSACTION_LIFE;
use crate::engine::reach::{Case, PATIENCE, RESPONSES, decide, transmissions};
use crate::sip::{Field, Message, Method, header};
use crate::tables::key;
use crate::tables::slots::{SlotKey, age};

/// The PBX's answer decides what a request of a terminal was worth, and goes back to its source.
#[inline(never)]
pub(super) fn response_out<E: Text>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Counter {
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
pub(super) fn answered<E: Text>(env: &E, m: &Message, call: u64, request: &mut Entry) {
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

/// Where a request of the PBX should go.
#[inline(never)]
pub(super) fn request_out<E: Text>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Counter {
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
