//! Messages that the PBX sends: what its answers decide, and where its packets go.

use core::ptr::NonNull;

use crate::abi::{
    Binding, BindingFlags, Counter, DialogKey, Entry, EvidenceFlags, InboundFlags,
    InboundTransaction, OutboundFlags, OutboundTransaction, age, ticks,
};
use crate::bpf::atomic::Word;
use crate::endpoint::Endpoint;
use crate::engine::contacts::{live_contact, registered, shows_nat};
use crate::engine::dialogs::{accept_dialog, activate_pending, forget_pending, live_dialog};
use crate::engine::env::{Env, Text};
use crate::engine::history;
use crate::engine::identity::digest;
use crate::engine::lifetimes::TRANSACTION_LIFE;
use crate::engine::reach::{
    RESPONSES_BEFORE_FALLBACK, Redirect, TRANSMISSIONS_BEFORE_FALLBACK, decide, retransmissions,
};
use crate::engine::verdict::Decision;
use crate::sip::{Field, Message, Method, header};
use crate::tables::key;
use crate::tables::slots::SlotKey;

/// Takes the PBX's answer as its decision on a terminal's request, and sends it back to the request's source.
#[inline(never)]
pub(super) fn response_out<E: Text>(
    env: &E,
    m: &Message,
    call: u64,
    to: &mut Endpoint,
) -> Decision {
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, m.method);
    let Some(request) = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key))
    else {
        return late_response_out(env, m, call, to);
    };
    answered(env, m, call, request);
    let decision = decide(
        env,
        &request.value.source(),
        to,
        &Redirect {
            decision: Decision::RedirectedResponse,
            direct: request.value.flags.contains(InboundFlags::DIRECT),
            unanswered: request.value.flags.contains(InboundFlags::REPEATED),
        },
    );
    if decision.is_choice() {
        count_response(env, &key, request);
    }
    decision
}

/// Counts the responses to a terminal's request, as far as it matters when the request is repeated: after two
/// responses, the next one goes to the other destination, once.
#[inline(never)]
fn count_response<E: Env>(env: &E, key: &SlotKey, request: &mut Entry<InboundTransaction>) {
    if env.shadow() {
        return;
    }
    if request.value.flags.contains(InboundFlags::REPEATED) {
        request.value.flags -= InboundFlags::REPEATED;
        request.value.responses = 0;
    } else if request.value.responses < RESPONSES_BEFORE_FALLBACK {
        request.value.responses += 1;
    } else {
        return;
    }
    let entry = env.entry::<InboundTransaction>();
    entry.assign(request);
    if let Some(mut slots) = env.slots::<InboundTransaction>(key)
        && !slots.put(key, entry)
    {
        env.count(Counter::SlotBusy);
    }
}

/// Sends a response whose transaction is not known (any more) to the dialog end.
#[inline(never)]
fn late_response_out<E: Env>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Decision {
    if !m.has(Field::FromTag) {
        return Decision::UnknownResponse;
    }
    let tag = env.hash(Field::FromTag as usize);
    env.record().tag = tag;
    if live_dialog(env, &DialogKey { call, tag }).is_none() {
        return Decision::UnknownResponse;
    }
    let known = env.draft();
    // Through another proxy, or to an address that no terminal advertised: the PBX knows better.
    if m.vias != 1 || !(*to == known.advertised || to.is_private()) {
        return Decision::UnknownResponse;
    }
    decide(
        env,
        &known.learned,
        to,
        &Redirect {
            decision: Decision::RedirectedResponse,
            direct: known.flags.contains(BindingFlags::DIRECT),
            unanswered: false,
        },
    )
}

/// Applies the PBX's response to a terminal's request.
#[inline(always)]
fn answered<E: Text>(env: &E, m: &Message, call: u64, request: &Entry<InboundTransaction>) {
    if m.status <= 100 {
        return;
    }
    if m.method == Method::Register {
        if m.status / 100 == 2 {
            registered(env, m, call, &request.value);
        }
        return;
    }
    let in_dialog = request.value.flags.contains(InboundFlags::IN_DIALOG);
    if !m.has(Field::FromTag) || !(in_dialog || m.method.creates_dialog()) {
        return;
    }
    let tag = env.hash(Field::FromTag as usize);
    env.record().tag = tag;
    if m.status >= 300 {
        if !in_dialog && forget_pending(env, m, call, tag, &request.value) {
            env.count(Counter::PendingDropped);
        }
        return;
    }
    if in_dialog && m.status < 200 {
        return;
    }
    let evidence = env.evidence();
    evidence.take_request(request);
    if m.status < 200 {
        evidence.flags |= EvidenceFlags::EARLY;
    }
    if m.method == Method::Bye {
        evidence.flags |= EvidenceFlags::ENDED;
    }
    if !in_dialog {
        forget_pending(env, m, call, tag, &request.value);
    }
    accept_dialog(env, m, call, tag, evidence);
}

/// Decides where a request of the PBX goes, and stores that with its transaction.
#[inline(never)]
pub(super) fn request_out<E: Text>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Decision {
    let branch = env.hash(Field::Branch as usize);
    let follows = m.method == Method::Ack || m.method == Method::Cancel;
    let routed = m.headers & header::ROUTE != 0;
    let key = key::transaction(call, branch, m.cseq, m.method);
    let now = ticks(env.now());
    let mut before = None;
    if !follows {
        before = env
            .slots::<OutboundTransaction>(&key)
            .and_then(|s| s.find(&key));
        before = before.filter(|before| age(now, before.at) < TRANSACTION_LIFE);
    }
    let (decision, retransmissions) = if routed {
        (Decision::Route, 0)
    } else {
        route(env, m, call, branch, before, to)
    };
    let decision = history::decided(env, decision);
    if follows {
        return decision;
    }
    let entry = env.entry::<OutboundTransaction>();
    let record = env.record();
    entry.at = now;
    let transaction = &mut entry.value;
    transaction.record_routes = m.record_routes;
    transaction.retransmissions = retransmissions;
    if !routed {
        transaction.flags |= OutboundFlags::DIRECT;
    }
    if m.has(Field::ToTag) {
        transaction.flags |= OutboundFlags::IN_DIALOG;
    }
    transaction.set_destination(to);
    if env.shadow() {
        transaction.set_destination(&record.original());
    } else if decision.is_choice() {
        if *to == record.original() {
            transaction.flags |= OutboundFlags::LEFT_ALONE;
            transaction.set_alternative(&record.learned());
        } else {
            transaction.flags |= OutboundFlags::REDIRECTED;
            transaction.set_alternative(&record.original());
        }
    }
    if let Some(mut slots) = env.slots::<OutboundTransaction>(&key)
        && !slots.put(&key, entry)
    {
        env.count(Counter::SlotBusy);
    }
    decision
}

/// Looks up the terminal that a request is meant for: its dialog end, else, for an ACK or a CANCEL, its INVITE's
/// destination, else its contact. `before` is the transmission before, if there was one. Returns the decision, and the
/// transmissions since the terminal is where it is.
#[inline(always)]
fn route<E: Text>(
    env: &E,
    m: &Message,
    call: u64,
    branch: u64,
    before: Option<&mut Entry<OutboundTransaction>>,
    to: &mut Endpoint,
) -> (Decision, u8) {
    let mut found = None;
    if m.has(Field::ToTag) {
        found = dialog_end(env, m, call);
    }
    if found.is_none() {
        if (m.method == Method::Ack || m.method == Method::Cancel)
            && let Some(decision) = after_invite(env, m, call, branch, to)
        {
            return (decision, 0);
        }
        digest(env, m, Field::RequestUri.bit() | Field::ToUri.bit());
        found = live_contact(env);
    }
    let Some(found) = found else {
        return (Decision::UnknownRequest, 0);
    };
    let known = env.draft();
    if known.is_ambiguous(env.now()) {
        return (Decision::Ambiguous, 0);
    }
    let is_dialog = known.aor == 0;
    if !is_dialog
        && known.aor != env.hash(Field::ToUri as usize)
        && !shows_nat(&known.learned, &known.advertised, to)
    {
        return (Decision::ForeignContact, 0);
    }
    let redirected = if is_dialog {
        Decision::RedirectedDialog
    } else {
        Decision::RedirectedContact
    };
    let sent = before.map_or(0, |before| retransmissions(&before.value, &known.learned));
    let decision = decide(
        env,
        &known.learned,
        to,
        &Redirect {
            decision: redirected,
            direct: known.flags.contains(BindingFlags::DIRECT),
            unanswered: sent >= TRANSMISSIONS_BEFORE_FALLBACK
                && sent % 2 == TRANSMISSIONS_BEFORE_FALLBACK % 2,
        },
    );
    let found = found.as_ptr();
    // SAFETY: `dialog` and `contact` give valid pointers; the programs change `redirected` only so, and a lost flag is
    // only not shown.
    unsafe {
        if decision == redirected {
            Word::new(&raw mut (*found).redirected).add(1);
            if known.flags.contains(BindingFlags::LEFT_ALONE) {
                (*found).flags -= BindingFlags::LEFT_ALONE;
            }
        } else if decision == Decision::LeftAlone {
            (*found).flags |= BindingFlags::LEFT_ALONE;
        }
    }
    (decision, sent)
}

/// Sends a CANCEL, or an ACK to a response other than 2xx, where its INVITE went: they have its branch (RFC 3261 9.1,
/// 17.1.1.3). Under shadow the INVITE went to its original destination, which says nothing.
#[inline(always)]
fn after_invite<E: Env>(
    env: &E,
    m: &Message,
    call: u64,
    branch: u64,
    to: &mut Endpoint,
) -> Option<Decision> {
    let key = key::transaction(call, branch, m.cseq, Method::Invite);
    let invite = env
        .slots::<OutboundTransaction>(&key)?
        .find(&key)?
        .value
        .destination();
    if env.shadow() {
        return None;
    }
    env.record().set_learned(&invite);
    if invite == *to {
        return Some(Decision::AlreadyThere);
    }
    *to = invite;
    Some(Decision::RedirectedInvite)
}

/// Looks up the dialog end that a request is meant for, and copies it to the draft.
#[inline(always)]
fn dialog_end<E: Text>(env: &E, m: &Message, call: u64) -> Option<NonNull<Binding>> {
    let tag = env.hash(Field::ToTag as usize);
    env.record().tag = tag;
    let key = DialogKey { call, tag };
    let found = live_dialog(env, &key);
    if found.is_none() && activate_pending(env, m, call, tag) {
        return live_dialog(env, &key);
    }
    found
}
