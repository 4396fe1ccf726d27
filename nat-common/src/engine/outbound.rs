//! Messages that the PBX sends: what its answers decide, and where its packets go.

use crate::abi::{
    Binding, BindingFlags, ContactKey, Counter, DialogKey, Entry, EvidenceFlags, Ground,
    InboundFlags, InboundTransaction, OutboundFlags, OutboundTransaction, PeerFlags, Policy, age,
    ticks,
};
use crate::bpf::nothing;
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::contacts::{
    host_before, live_contact, note_heard_challenge, note_holder, note_own_answer, note_sent_on,
    registered, registered_further,
};
use crate::engine::dialogs::{
    accept_request, activate_pending, end_dialog, forget_pending, live_dialog, note_ack,
};
use crate::engine::env::{Bindings, Env, Hashes, Journal, Text};
use crate::engine::evidence::Evidence;
use crate::engine::follow::{follow_dialog, follow_dialog_by_uri, follow_invite, follow_source};
use crate::engine::history;
use crate::engine::identity::{dialog_key, digest, uri_hash};
use crate::engine::lifetimes::{MOST_GRANTED, NOTIFY_LIFE, T1, TRANSACTION_LIFE};
use crate::engine::proof::{describe_pair, describe_pair_of, is_taken, pair, unanswered};
use crate::engine::reach::{Redirect, carry_out, decide, permit, turn_by_time};
use crate::engine::route::Route;
use crate::engine::verdict::{Choice, Decision};
use crate::sip::{Field, Message, Method, header};
use crate::tables::bindings::{BindingKey, Found};
use crate::tables::slots::SlotKey;
use crate::tables::{key, rank};

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
    // Before the transaction is looked up, which lies in the same table.
    if m.method == Method::Register && m.status / 100 == 2 {
        note_own_answer(env, m);
    }
    let request = route_response(env, m, call, &key, to);
    let decision = history::decision(env);
    let Some(request) = request else {
        return decision;
    };
    let mut contacts = 0;
    if m.method != Method::Register {
        let to_source = (decision == Decision::AlreadyThere
            || decision == Decision::RedirectedResponse && !env.shadow())
            && env.record().learned() == request.value.source();
        answered(env, m, call, request, to_source);
    } else if m.status / 100 == 2 {
        contacts = registered(env, m, request);
    }
    if contacts != 0 {
        env.place_registration(m);
    }
    note_response(env, m, &key, request, decision);
    if contacts != 0 {
        if !request.value.flags.contains(InboundFlags::CREDENTIALS) {
            note_holder(env);
        }
        if request.value.flags.contains(InboundFlags::CHALLENGED) {
            env.prove_challenge(m.cseq);
        }
    }
    if contacts > 1 {
        // The entries lie in the table of the transaction, whose copy is no longer needed.
        registered_further(env, m);
    }
    decision
}

/// Decides where a response goes; the record has the decision. Returns the transaction, if it is known and undisputed.
///
/// Its own function: what follows needs the stack (6.1).
#[inline(never)]
fn route_response<'e, E: Text>(
    env: &'e E,
    m: &Message,
    call: u64,
    key: &SlotKey,
    to: &mut Endpoint,
) -> Option<&'e mut Entry<InboundTransaction>> {
    let find = || {
        env.slots::<InboundTransaction>(key)
            .and_then(|s| s.find(key))
    };
    let mut request = find();
    if let Some(known) = request.as_deref()
        && !known.value.flags.contains(InboundFlags::AMBIGUOUS)
    {
        // The draft lies outside of the kernel's small stack.
        known.value.copy_source(&mut env.draft().learned);
        // Within a round trip, no terminal moves and registers. Only a call waits longer for its answer.
        let mut follows = m.method == Method::Invite && age(ticks(env.now()), known.at) >= T1;
        if follows {
            digest(env, m, Field::FromUri.bit());
            follows = follow_source(env, known.at);
        }
        if is_final_again(env, m, known, follows) {
            // No ACK came for the one before (RFC 3261 13.3.1.4, 17.2.1).
            if let Some(mut slots) = env.slots::<InboundTransaction>(key) {
                slots.count(key, InboundFlags::ANSWERED);
            }
            request = find();
        }
    }
    let Some(request) = request else {
        history::decided(env, late_response_out(env, m, call, to));
        return None;
    };
    if request.value.flags.contains(InboundFlags::AMBIGUOUS) {
        history::decided(env, Decision::Disputed);
        return None;
    }
    let mut transmissions = request.value.repetitions;
    if transmissions == 1 {
        // The terminal repeats its request: if the response before went to its learned address, it did not arrive. It went
        // there if the proof is one for all requests.
        let entry = describe_pair(env, &env.draft().learned, to);
        entry.value.flags = PeerFlags::PROVEN;
        if env.note_deaf(entry) {
            transmissions = 0;
        }
    }
    let decision = decide(
        env,
        &env.draft().learned,
        to,
        &Redirect {
            decision: Decision::RedirectedResponse,
            direct: request.value.flags.contains(InboundFlags::DIRECT),
            proven: request.value.flags.contains(InboundFlags::CHALLENGED),
            owner: 0,
            transmissions,
            redirected: false,
        },
    );
    history::decided(env, decision);
    Some(request)
}

/// Whether a response repeats the final one to a request that was repeated before, or whose terminal has moved since.
#[inline(always)]
fn is_final_again<E: Hashes>(
    env: &E,
    m: &Message,
    request: &Entry<InboundTransaction>,
    follows: bool,
) -> bool {
    let answered_now = InboundFlags::from_bits_retain(rank::answered(m.status));
    let is_final = InboundFlags::ACCEPTED | InboundFlags::REFUSED;
    (follows || request.value.repetitions != 0)
        && request.value.flags.contains(InboundFlags::ANSWERED)
        && request.value.flags.intersects(answered_now & is_final)
        && (m.method == Method::Register || request.value.detail == env.hash(Field::ToTag as usize))
}

/// Whether a response challenges a REGISTER (RFC 3261 22.2, 22.3).
#[inline(always)]
const fn is_challenge(m: &Message) -> bool {
    matches!(m.method, Method::Register) && (m.status == 401 || m.status == 407)
}

/// Notes that a response was sent. If it had a `choice` of addresses and the request is repeated, it did not arrive.
///
/// A final response is the last (RFC 3261 17.2.2): a 2xx that follows a refusal is somebody else's.
///
/// The first final response to another request than REGISTER is written over what was found. If a copy of the request arrives
/// on another CPU between the two, what that says is lost. A repetition is then not counted, and one more response goes to
/// the wrong address. A second source is not noticed by later responses, which go on to the source of the first one. What
/// the PBX's answer proves was learned before. A REGISTER is not concerned: its flags are added.
#[inline(never)]
fn note_response<E: Env>(
    env: &E,
    m: &Message,
    key: &SlotKey,
    request: &mut Entry<InboundTransaction>,
    decision: Decision,
) {
    let mut flags = InboundFlags::from_bits_retain(rank::answered(m.status));
    let choice = decision.is_choice() && !env.shadow();
    if choice {
        flags |= InboundFlags::ANSWERED;
    }
    if m.method != Method::Register && m.status >= 200 && request.value.detail == 0 {
        // Another tag in a later response is another answer: a fork's (RFC 3261 13.2.2.4).
        let entry = env.entry::<InboundTransaction>();
        entry.assign(request);
        entry.value.flags |= flags;
        entry.value.detail = env.hash(Field::ToTag as usize);
        if let Some(mut slots) = env.slots::<InboundTransaction>(key)
            && !slots.put(key, entry)
        {
            env.count(Counter::SlotBusy);
        }
    } else if !request.value.flags.contains(flags)
        && let Some(mut slots) = env.slots::<InboundTransaction>(key)
        // Once more, if another CPU changed the entry meanwhile: a refusal of a REGISTER must not be lost.
        && !slots.add_flags(key, flags)
        && !slots.add_flags(key, flags)
    {
        env.count(Counter::SlotBusy);
    }
    let redirected = decision == Decision::RedirectedResponse;
    if is_challenge(m) {
        let repetitions = request.value.repetitions;
        if choice && (redirected || repetitions != 0) {
            env.note_challenge(m.cseq, redirected, repetitions);
        }
        if decision == Decision::AlreadyThere || choice && redirected && repetitions == 0 {
            note_heard_challenge(env, m.cseq);
        }
    }
    nothing();
}

/// Sends a response whose transaction is not known (any more) to the dialog end.
#[inline(never)]
fn late_response_out<E: Env>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Decision {
    // A REGISTER belongs to no dialog, and its tags are not hashed.
    if !m.has(Field::FromTag) || m.method == Method::Register {
        return Decision::UnknownResponse;
    }
    let key = dialog_key(env, call, Field::FromTag);
    env.record().tag = key.tag;
    if live_dialog(env, &key).is_none() {
        return Decision::UnknownResponse;
    }
    history::bind(env);
    let known = env.draft();
    // Through another proxy, or to an address that no terminal advertised: the PBX knows better. An ALG may write the public host
    // into Via, and not into Contact.
    let (host, port) = (known.learned.addr, known.advertised.port);
    let by_via = to.port == port && to.addr == host;
    if m.vias != 1 || !(*to == known.advertised || by_via || to.is_private()) {
        return Decision::UnknownResponse;
    }
    let proven = known.flags.contains(BindingFlags::PROVEN);
    decide(
        env,
        &known.learned,
        to,
        &Redirect {
            decision: Decision::RedirectedResponse,
            direct: known.flags.contains(BindingFlags::DIRECT),
            proven,
            owner: known.aor,
            transmissions: if proven { 0 } else { turn_by_time(env.now()) },
            redirected: false,
        },
    )
}

/// Applies the PBX's response to a terminal's request other than REGISTER. `to_source`: it goes to the request's source.
#[inline(never)]
fn answered<E: Text>(
    env: &E,
    m: &Message,
    call: u64,
    request: &Entry<InboundTransaction>,
    to_source: bool,
) {
    apply_answer(env, m, call, request, to_source);
    nothing();
}

/// Does what [`answered`] does, which ends in one place.
#[inline(always)]
fn apply_answer<E: Text>(
    env: &E,
    m: &Message,
    call: u64,
    request: &Entry<InboundTransaction>,
    to_source: bool,
) {
    if m.status <= 100 {
        return;
    }
    let in_dialog = request.value.flags.contains(InboundFlags::IN_DIALOG);
    // The PBX accepts an OPTIONS or a MESSAGE of anybody, whatever tags it has: that says nothing of a dialog.
    let counts = if in_dialog {
        m.method.needs_dialog()
    } else {
        m.method.creates_dialog()
    };
    if !m.has(Field::FromTag) || !counts {
        return;
    }
    let key = dialog_key(env, call, Field::FromTag);
    env.record().tag = key.tag;
    if !in_dialog {
        let tag = env.hash(Field::FromTag as usize);
        if forget_pending(env, m, call, tag, &request.value) && m.status >= 300 {
            env.count(Counter::PendingDropped);
        }
    }
    let evidence = env.evidence();
    evidence.take_request(request);
    // The PBX knows the dialog no more (12.2.2), as after a restart; or a refusal ends the early dialog (RFC 3261 12.3).
    let unknown = in_dialog && m.method == Method::Bye && m.status == 481;
    let refused = !in_dialog && m.method == Method::Invite && m.status >= 300;
    if unknown || refused {
        end_dialog(env, &key, refused);
        return;
    }
    if m.status >= 300 || (in_dialog && m.status < 200) {
        return;
    }
    if m.status < 200 || !matches!(m.method, Method::Invite | Method::Subscribe | Method::Bye) {
        // In an early dialog, a PBX may accept any other request.
        evidence.flags |= EvidenceFlags::EARLY;
    }
    if m.method == Method::Subscribe && m.status >= 200 && m.headers & header::EXPIRES != 0 {
        subscribe(m, evidence);
    }
    if m.method == Method::Bye {
        evidence.flags |= EvidenceFlags::ENDED;
    }
    if m.method == Method::Invite && m.status >= 200 && !in_dialog {
        evidence.flags |= EvidenceFlags::UNACKNOWLEDGED;
    }
    if to_source {
        evidence.flags |= EvidenceFlags::TOLD;
    }
    accept_request(env, m, &key, evidence);
}

/// Notes the life of a subscription that the PBX accepts by `m`: the granted time, and the repetitions of its last NOTIFY. A
/// SUBSCRIBE with `Expires: 0` only fetches a state (RFC 6665 4.4.3), and confirms nothing.
#[inline(always)]
fn subscribe(m: &Message, evidence: &mut Evidence) {
    evidence.lasts = NOTIFY_LIFE + m.expires.min(MOST_GRANTED);
    if m.expires == 0 {
        evidence.flags |= EvidenceFlags::EARLY;
    }
}

/// Decides where a request of the PBX goes, and stores that with its transaction.
#[inline(never)]
pub(super) fn request_out<E: Text>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Decision {
    let follows = m.method == Method::Ack || m.method == Method::Cancel;
    if m.method == Method::Register {
        note_sent_on(env, m, to);
    }
    if !m.has(Field::ToTag) && (m.vias > 1 || m.method == Method::Invite) {
        env.note_proxy(m.vias > 1);
    }
    // An ACK to a 2xx has a branch of its own each time (RFC 3261 13.2.2.4).
    let name = if m.method == Method::Ack && m.has(Field::ToTag) {
        dialog_key(env, call, Field::ToTag).tag
    } else {
        env.hash(Field::Branch as usize)
    };
    let key = key::transaction(call, name, m.cseq, m.method);
    let mut before = env
        .slots::<OutboundTransaction>(&key)
        .and_then(|s| s.find(&key));
    before = before.filter(|before| age(ticks(env.now()), before.at) < TRANSACTION_LIFE);
    let route = env.route();
    words::clear(route);
    if m.headers & header::ROUTE == 0 || is_for_this_hop(env, m, to.port) {
        route.flags = OutboundFlags::DIRECT;
    }
    let decision = if route.flags.contains(OutboundFlags::DIRECT) {
        find_terminal(env, m, call, before, to)
    } else {
        Decision::Route
    };
    let decision = history::decided(env, decision);
    if decision.is_choice() && !env.shadow() {
        note_choice(env, to, route, m.method == Method::Ack);
    }
    let chosen = OutboundFlags::REDIRECTED | OutboundFlags::LEFT_ALONE;
    if follows && !route.flags.intersects(chosen) {
        return decision;
    }
    let entry = env.entry::<OutboundTransaction>();
    entry.at = ticks(env.now());
    let transaction = &mut entry.value;
    transaction.record_routes = m.record_routes;
    transaction.retransmissions = route.retransmissions;
    transaction.subject = route.subject;
    transaction.flags = route.flags;
    if env.shadow() {
        transaction.flags -= BY_HOST;
        transaction.set_destination(&env.record().original());
    } else {
        transaction.set_destination(to);
        transaction.set_alternative(&route.other);
    }
    if m.has(Field::ToTag) {
        transaction.flags |= OutboundFlags::IN_DIALOG;
    }
    if decision == Decision::AlreadyThere && !follows {
        transaction.flags |= OutboundFlags::AT_LEARNED;
    }
    if let Some(mut slots) = env.slots::<OutboundTransaction>(&key)
        && !slots.put(&key, entry)
    {
        env.count(Counter::SlotBusy);
    }
    let is_weak = route.flags.contains(OutboundFlags::WEAK) && route.subject != 0;
    if m.method == Method::Options && is_weak {
        env.note_ping(&key);
    }
    decision
}

/// Whether the Route of a request leads to no other hop. FreeSWITCH writes one that only repeats the Request-URI.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn is_for_this_hop<E: Text>(env: &E, m: &Message, port: u32) -> bool {
    m.has(Field::Route) && env.leads_to_target(m, port)
}

/// If the ACK `before` went to a learned address at which the terminal only seemed to be, and the terminal repeated its response
/// after that, it did not arrive: ACKs are counted anew. The response comes T1 after the one before (RFC 3261 13.3.1.4,
/// 17.2.1). The dialog end, which lies in the draft, must be one whose terminal seemed to answer at its learned address: a
/// neighbour behind the same NAT may have answered at the original destination.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn disprove<E: Env>(env: &E, before: Option<&mut Entry<OutboundTransaction>>) {
    if let Some(before) = before
        && before.value.flags.contains(OutboundFlags::REDIRECTED)
        && env.draft().flags.contains(BindingFlags::PROVEN)
        && age(ticks(env.now()), before.at) >= T1 / 2
        && env.note_deaf(describe_pair_of(env, &before.value))
    {
        // It says nothing of the learned address any more.
        before.value.flags = OutboundFlags::empty();
    }
    nothing();
}

/// Notes which of two addresses a request goes to: in its route, and with the pair if it is open which of them answers. An
/// ACK is not answered.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn note_choice<E: Env>(env: &E, to: &Endpoint, route: &mut Route, is_ack: bool) {
    let record = env.record();
    let moved = route.flags.contains(OutboundFlags::MOVED);
    // Also if the terminal has moved since: it may answer what it got before.
    route.flags |= route.before & OutboundFlags::TRIED_LEARNED;
    // One of two hosts is never the original destination: there would be no choice.
    if *to == record.original() {
        route.flags |= OutboundFlags::LEFT_ALONE;
        record.copy_learned(&mut route.other);
    } else {
        route.flags |= OutboundFlags::TRIED_LEARNED;
        if !moved {
            route.flags |= OutboundFlags::REDIRECTED;
            record.copy_original(&mut route.other);
        }
    }
    let weak = route.flags.contains(OutboundFlags::WEAK);
    if is_ack {
        return;
    }
    if moved || !weak && is_open(record.ground.into(), route.retransmissions) {
        let entry = if route.flags.contains(OutboundFlags::REDIRECTED) {
            describe_pair(env, to, &route.other)
        } else {
            describe_pair(env, &route.other, to)
        };
        env.note_transmission(entry, route.retransmissions != 0);
    }
}

/// Whether it is open which of two addresses answers: the transmissions to both are counted. Those to a proven one are
/// counted from the second on.
#[inline(always)]
const fn is_open(ground: Ground, retransmissions: u8) -> bool {
    match ground {
        Ground::First | Ground::Turn | Ground::Seems => true,
        Ground::Proven | Ground::Answers | Ground::Progress => retransmissions != 0,
        _ => false,
    }
}

/// Looks up the terminal that a request is meant for: its dialog end, else, for an ACK or a CANCEL, its INVITE's
/// destination, else its contact. `before` is the transmission before, if there was one.
#[inline(always)]
fn find_terminal<E: Text>(
    env: &E,
    m: &Message,
    call: u64,
    mut before: Option<&mut Entry<OutboundTransaction>>,
    to: &mut Endpoint,
) -> Decision {
    let mut found = None;
    let route = env.route();
    if let Some(before) = before.as_deref() {
        // Looking up the INVITE of an ACK or a CANCEL overwrites it.
        route.retransmissions = before.value.retransmissions.saturating_add(1);
    }
    if m.has(Field::ToTag) {
        found = dialog_end(env, m, call);
        if let Some(known) = found {
            if m.method == Method::Ack {
                disprove(env, before.as_deref_mut());
                note_ack(env, known);
            }
            let draft = env.draft();
            if draft.aor == 0 {
                // Not called from the function below: the stack is too small for that.
                digest(env, m, Field::RequestUri.bit());
                found = follow_dialog_by_uri(env, known, to);
            } else if env.has_left(draft.aor, &draft.learned, draft.arrived) {
                follow_dialog(env, to);
            }
        }
    }
    let is_dialog = found.is_some();
    if found.is_none() {
        if (m.method == Method::Ack || m.method == Method::Cancel)
            && let Some(decision) = after_invite(env, m, to)
        {
            return decision;
        }
        digest(env, m, Field::RequestUri.bit() | Field::ToUri.bit());
        found = live_contact(env, m);
    }
    let Some(found) = found else {
        return Decision::UnknownRequest;
    };
    history::bind(env);
    let known = env.draft();
    if known.is_ambiguous(env.now()) {
        return Decision::Ambiguous;
    }
    route.subject = known.aor;
    if let Some(before) = before {
        route.retransmissions = retransmissions(&before.value, &known.learned);
        route.before = before.value.flags;
    }
    let decision = if is_dialog {
        let proven = known.flags.contains(BindingFlags::PROVEN);
        decide(
            env,
            &known.learned,
            to,
            &redirect(
                Decision::RedirectedDialog,
                known,
                proven,
                route,
                route.retransmissions,
            ),
        )
    } else {
        find_contact(env, to)
    };
    let decision = history::decided(env, decision);
    env.note_route(found, is_dialog);
    decision
}

/// Returns the redirect to a binding that is considered.
#[inline(always)]
fn redirect(
    decision: Decision,
    to: &Binding,
    proven: bool,
    route: &Route,
    transmissions: u8,
) -> Redirect {
    Redirect {
        decision,
        direct: to.flags.contains(BindingFlags::DIRECT),
        proven,
        owner: to.aor,
        transmissions,
        redirected: route.before.contains(OutboundFlags::REDIRECTED),
    }
}

/// Flags of a request that goes to one of two hosts of a contact: `LEFT_ALONE` to the one before, `REDIRECTED` to the new
/// one.
const BY_HOST: OutboundFlags = OutboundFlags::MOVED
    .union(OutboundFlags::LEFT_ALONE)
    .union(OutboundFlags::REDIRECTED);

/// Flags of a request that goes to the host before.
const AT_HOST_BEFORE: OutboundFlags = OutboundFlags::MOVED.union(OutboundFlags::LEFT_ALONE);

/// Flags of a request whose terminal is known, one of which it has.
const OF_TERMINAL: OutboundFlags = OutboundFlags::LEFT_ALONE
    .union(OutboundFlags::REDIRECTED)
    .union(OutboundFlags::AT_LEARNED);

/// Decides on a request for the contact in the draft.
#[inline(never)]
fn find_contact<E: Env>(env: &E, to: &mut Endpoint) -> Decision {
    let (known, route) = (env.draft(), env.route());
    env.choose_host();
    let mut transmissions = route.retransmissions;
    if route.flags.contains(OutboundFlags::MOVED) {
        // Each host has its own turns with the original destination.
        transmissions = transmissions.div_ceil(2);
    }
    let to_uri = uri_hash(env, Field::ToUri as usize);
    let decision = if known.aor == to_uri && !route.flags.contains(OutboundFlags::WEAK) {
        decide(
            env,
            &known.learned,
            to,
            &redirect(
                Decision::RedirectedContact,
                known,
                false,
                route,
                transmissions,
            ),
        )
    } else {
        route.flags |= OutboundFlags::WEAK;
        route.subject = ContactKey::from_words(known.key).uri;
        follow_uri(env, known, to, transmissions)
    };
    if decision != Decision::RedirectedContact {
        if route.flags.contains(OutboundFlags::LEFT_ALONE) {
            // The next transmission of this request is known by where the terminal is now ([`retransmissions`]).
            env.record().set_learned(&route.other);
        }
        route.flags -= BY_HOST;
    } else if route.flags.contains(OutboundFlags::MOVED) {
        env.record().ground = if route.flags.contains(OutboundFlags::LEFT_ALONE) {
            Ground::Moved
        } else {
            Ground::Turn
        } as u8;
    }
    decision
}

/// Chooses between two hosts of the contact in the draft, and makes the chosen one its learned address; the other one goes
/// to the route. The host before comes first, until it is silent and the new one answers: the 2xx to the REGISTER from
/// the new one may be somebody else's.
///
/// The new host has its turn after the host before, and the host before after the new one or the original destination. So
/// where that comes first, all three take turns.
#[inline(always)]
pub fn choose_host<E: Env>(env: &E) {
    let (known, route) = (env.draft(), env.route());
    let Some(left) = host_before(env) else {
        return;
    };
    if is_taken(env, left) {
        return;
    }
    let entry = describe_pair(env, &known.learned, &left.learned);
    let is_first = route.retransmissions == 0;
    let last = route.before & BY_HOST;
    // A host that needs no redirect, or gets none, had its turn, too.
    let mut before = is_first || !last.is_empty() && last != AT_HOST_BEFORE;
    if let Some(pair) = pair(env, &entry.value) {
        if pair.value.flags.contains(PeerFlags::PROVEN) && pair.at >= left.arrived {
            // It answered after the host before had registered for the last time.
            return;
        }
        if is_first {
            before = unanswered(env, pair, false).is_multiple_of(2);
        }
    }
    let other = &mut route.other;
    if before {
        entry.value.copy_learned(other);
        entry.value.copy_original(&mut known.learned);
        route.flags |= AT_HOST_BEFORE;
    } else {
        entry.value.copy_original(other);
        route.flags |= OutboundFlags::MOVED | OutboundFlags::REDIRECTED;
    }
}

/// Decides on a request that only a Contact URI names (weak evidence). The original destination has the first
/// transmission, until one that it did not answer was answered at the learned address.
#[inline(always)]
fn follow_uri<E: Env>(env: &E, known: &Binding, to: &mut Endpoint, transmissions: u8) -> Decision {
    env.record().weak = 1;
    let direct = known.flags.contains(BindingFlags::DIRECT);
    let policy = match permit(env, &known.learned, to, direct) {
        Ok(policy) => policy,
        Err(decision) => return decision,
    };
    if policy != Policy::Force && !env.may_follow_uri() {
        return Decision::ForeignContact;
    }
    let choice = if env.shadow() || policy == Policy::Force {
        Choice::Learned
    } else {
        env.choose_by_uri(transmissions.into())
    };
    carry_out(choice, &known.learned, to, Decision::RedirectedContact)
}

/// Notes with the binding in the draft what became of a packet, as the record says.
#[inline(always)]
pub fn note_route<E: Bindings + Journal>(env: &E, found: Found, is_dialog: bool) {
    if is_dialog {
        note_route_of::<DialogKey, E>(env, found);
    } else {
        note_route_of::<ContactKey, E>(env, found);
    }
}

#[inline(always)]
fn note_route_of<K: BindingKey, E: Bindings + Journal>(env: &E, found: Found) {
    let (draft, decision) = (env.draft(), history::decision(env));
    let key = &K::from_words(draft.key);
    if matches!(
        decision,
        Decision::RedirectedDialog | Decision::RedirectedContact
    ) {
        env.count_redirected(key, found);
        if draft.flags.contains(BindingFlags::LEFT_ALONE) {
            env.set_flags(key, found, draft.flags - BindingFlags::LEFT_ALONE);
        }
    } else if decision == Decision::LeftAlone && !draft.flags.contains(BindingFlags::LEFT_ALONE) {
        env.set_flags(key, found, draft.flags | BindingFlags::LEFT_ALONE);
    }
}

/// Counts the transmissions of a request before this one, since the terminal is at its learned address.
#[inline(always)]
fn retransmissions(before: &OutboundTransaction, learned: &Endpoint) -> u8 {
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

/// Sends a CANCEL, or an ACK to a response other than 2xx, where its INVITE went: they have its branch (RFC 3261 9.1,
/// 17.1.1.3), or to where its terminal is now. Under shadow the INVITE went to its original destination, which says nothing.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn after_invite<E: Env>(env: &E, m: &Message, to: &mut Endpoint) -> Option<Decision> {
    let since = env.route_of_invite(m);
    if since == 0 {
        return None;
    }
    let destination = &mut env.evidence().learned;
    follow_invite(env, destination, env.route(), since);
    env.record().set_learned(destination);
    if *destination == *to {
        return Some(Decision::AlreadyThere);
    }
    env.record().ground = Ground::Rung as u8;
    words::assign(to, destination);
    Some(Decision::RedirectedInvite)
}

/// Looks up the INVITE that a CANCEL or an ACK belongs to, and takes its route. Its terminal's address goes to the evidence: scratch
/// lies outside of the kernel's small stack. Returns the time of the INVITE in ticks; 0: it is not known, or was not redirected.
#[inline(always)]
pub fn route_of_invite<E: Env>(env: &E, m: &Message) -> u64 {
    let call = env.hash(Field::CallId as usize) ^ env.pbx();
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, Method::Invite);
    let invite = env
        .slots::<OutboundTransaction>(&key)
        .and_then(|s| s.find(&key));
    let Some(invite) = invite.filter(|_| !env.shadow()) else {
        return 0;
    };
    let destination = &mut env.evidence().learned;
    let route = env.route();
    let from_invite =
        BY_HOST | OutboundFlags::WEAK | OutboundFlags::DIRECT | OutboundFlags::TRIED_LEARNED;
    route.flags = invite.value.flags & from_invite;
    route.subject = invite.value.subject;
    history::bind_if(env, (invite.value.flags & OF_TERMINAL).bits().into());
    if env.went_elsewhere(&invite.value, route.retransmissions.into()) {
        route.flags ^= OutboundFlags::REDIRECTED | OutboundFlags::LEFT_ALONE;
        invite.value.copy_alternative(destination);
        invite.value.copy_destination(&mut route.other);
    } else {
        invite.value.copy_destination(destination);
        invite.value.copy_alternative(&mut route.other);
    }
    invite.at
}

/// Whether a terminal may have got an INVITE at the other address than that of its last transmission: a CANCEL or an ACK that
/// went there before, `transmissions` times, did not arrive, or the terminal is known not to be at its learned address.
#[inline(always)]
pub fn went_elsewhere<E: Env>(env: &E, invite: &OutboundTransaction, transmissions: u32) -> bool {
    let chosen = OutboundFlags::REDIRECTED | OutboundFlags::LEFT_ALONE;
    // Its last transmission may have had one address alone.
    let one = !invite.flags.intersects(chosen);
    if one || invite.retransmissions == 0 || invite.flags.contains(OutboundFlags::MOVED) {
        return false;
    }
    let is_odd = !transmissions.is_multiple_of(2);
    if !invite.flags.contains(OutboundFlags::REDIRECTED) {
        return is_odd;
    }
    let is_deaf = pair(env, &describe_pair_of(env, invite).value)
        .is_some_and(|known| known.value.flags.contains(PeerFlags::DEAF));
    is_odd != is_deaf
}

/// Looks up the dialog end that a request is meant for, and copies it to the draft.
#[inline(always)]
fn dialog_end<E: Text>(env: &E, m: &Message, call: u64) -> Option<Found> {
    let key: DialogKey = dialog_key(env, call, Field::ToTag);
    env.record().tag = key.tag;
    let found = live_dialog(env, &key);
    if found.is_none() && activate_pending(env, m, &key, env.hash(Field::ToTag as usize)) {
        return live_dialog(env, &key);
    }
    found
}
