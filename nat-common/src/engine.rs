//! The decisions: what is learned from a message, when it counts, and where a packet of the PBX goes.
//!
//! Pure but for [`Env`]: the kernel programs give it their maps, tests give it tables of their own.
//! ARCHITECTURE.md has the rules in prose; the functions below are in the same order.

use core::ptr::NonNull;

use crate::abi::{
    Binding, ContactKey, DialogKey, Endpoint, Entry, Policy, SECOND, TICK_SHIFT, flag, ticks,
};
use crate::atomic::Word;
use crate::counter::Counter;
use crate::key;
use crate::message::{Field, MAX_CONTACTS, Message, Method, header};
use crate::slots::{Noted, SlotKey, Slots};
use crate::source::Span;
use crate::words;

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
}

/// How many tables there are.
pub const TABLES: usize = 5;

/// What the decisions need from where they run.
///
/// Pointers to bindings lead into memory that others change at any time; they are read and written
/// field by field, and never kept.
pub trait Env {
    /// `CLOCK_MONOTONIC_COARSE`, nanoseconds.
    fn now(&self) -> u64;
    /// Keyed hash of part of the message; 0 for an empty one.
    fn hash(&self, span: Span) -> u64;
    /// The set of a table in which a key belongs. Room for copies is one per table, so what was found
    /// in a table is valid until the next look into the same table.
    fn slots(&self, table: Table, key: &SlotKey) -> Option<Slots<'_>>;
    /// An entry to fill in, empty; asked for once a message.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn entry(&self) -> &mut Entry;
    /// An active dialog end.
    fn dialog(&self, key: &DialogKey) -> Option<NonNull<Binding>>;
    /// An active contact.
    fn contact(&self, key: &ContactKey) -> Option<NonNull<Binding>>;
    /// A binding to fill in, empty; asked for once a message.
    #[expect(clippy::mut_from_ref, reason = "memory for one message")]
    fn draft(&self) -> &mut Binding;
    /// Copies part of the message into a draft's text.
    fn name(&self, draft: &mut Binding, span: Span);
    /// Stores a draft. False if the table is full.
    fn put_dialog(&self, key: &DialogKey, draft: &Binding) -> bool;
    /// Stores a draft. False if the table is full.
    fn put_contact(&self, key: &ContactKey, draft: &Binding) -> bool;
    /// Forgets a contact.
    fn remove_contact(&self, key: &ContactKey);
    /// Policy for a learned address.
    fn policy(&self, learned: &Endpoint) -> Policy;
    /// Adds one to a counter.
    fn count(&self, counter: Counter);
}

/// A message arrived from `peer`. The packet goes to the PBX in any case; the counter says what was
/// made of it.
#[inline(always)]
pub fn ingress<E: Env>(env: &E, m: &Message, peer: &Endpoint) -> Counter {
    let call = env.hash(m.span(Field::CallId));
    if m.status == 0 {
        request_in(env, m, call, peer)
    } else {
        response_in(env, m, call)
    }
}

/// The PBX sends a message. `to` is where the packet is going, and changed if it is to go elsewhere; the
/// counter says why.
#[inline(always)]
pub fn egress<E: Env>(env: &E, m: &Message, to: &mut Endpoint) -> Counter {
    let call = env.hash(m.span(Field::CallId));
    if m.status == 0 {
        if m.has(Field::ToTag) {
            from_pending(env, m, call);
        }
        request_out(env, m, call, to)
    } else {
        response_out(env, m, call, to)
    }
}

/// A request's source is noted with its transaction, and with the dialog end that it may create.
/// Nothing of that counts until the PBX accepts it.
#[inline(always)]
fn request_in<E: Env>(env: &E, m: &Message, call: u64, peer: &Endpoint) -> Counter {
    if m.method == Method::Ack {
        return Counter::InAck;
    }
    let branch = env.hash(m.span(Field::Branch));
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
        entry.contact = env.hash(m.contact(0));
    }
    let Some(mut slots) = env.slots(Table::Inbound, &key) else {
        return Counter::InNoTables;
    };
    match slots.note(&key, entry, TRANSACTION_LIFE, false) {
        Noted::New => {}
        Noted::Same => return Counter::InRepeat,
        Noted::Other => return Counter::InOtherSource,
        Noted::Busy => return Counter::InBusy,
    }
    if m.method.creates_dialog() && !m.has(Field::ToTag) && m.has(Field::FromTag) {
        let tag = env.hash(m.span(Field::FromTag));
        let key = key::pending(call, tag);
        if let Some(mut slots) = env.slots(Table::Pending, &key) {
            match slots.note(&key, entry, TRANSACTION_LIFE, false) {
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

/// A response counts if the PBX sent the request: only who got that knows its branch. What it proves
/// is that the terminal can be reached where the request was sent.
#[inline(always)]
fn response_in<E: Env>(env: &E, m: &Message, call: u64) -> Counter {
    let branch = env.hash(m.span(Field::Branch));
    let key = key::transaction(call, branch, m.cseq, m.method);
    let Some(request) = env.slots(Table::Outbound, &key).and_then(|s| s.find(&key)) else {
        return Counter::InResponseUnasked;
    };
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
        accept_dialog(env, m, call, env.hash(m.span(Field::ToTag)), request);
    }
    Counter::InResponse
}

/// The PBX's answer decides what a request of a terminal was worth, and goes back to its source.
#[inline(never)]
fn response_out<E: Env>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Counter {
    let branch = env.hash(m.span(Field::Branch));
    let key = key::transaction(call, branch, m.cseq, m.method);
    let Some(request) = env.slots(Table::Inbound, &key).and_then(|s| s.find(&key)) else {
        return Counter::OutUnknownResponse;
    };
    answered(env, m, call, request);
    let direct = request.flags & flag::DIRECT != 0;
    decide(
        env,
        &request.peer(),
        direct,
        to,
        Counter::OutRedirectedResponse,
    )
}

/// What the PBX's response makes of a terminal's request.
#[inline(always)]
fn answered<E: Env>(env: &E, m: &Message, call: u64, request: &mut Entry) {
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
    let tag = env.hash(m.span(Field::FromTag));
    if m.status >= 300 {
        if !in_dialog {
            refused(env, call, tag, request);
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
    accept_dialog(env, m, call, tag, request);
}

/// The PBX refused a request that would have created a dialog: what was pending is dropped, if it came
/// from there.
#[inline(always)]
fn refused<E: Env>(env: &E, call: u64, tag: u64, request: &Entry) {
    let key = key::pending(call, tag);
    let pending = env.slots(Table::Pending, &key).and_then(|s| s.find(&key));
    if pending.is_some_and(|p| p.peer() == request.peer())
        && env
            .slots(Table::Pending, &key)
            .is_some_and(|mut s| s.amend(&key, 0))
    {
        env.count(Counter::PendingDropped);
    }
}

/// A dialog end is believed to be at `place`, whose flags say why: the PBX accepted its request `m`, or it
/// answered a request of the PBX with `m`. A function of its own in the kernel, whose stack is small.
#[inline(never)]
fn accept_dialog<E: Env>(env: &E, m: &Message, call: u64, tag: u64, place: &Entry) {
    let key = DialogKey { call, tag };
    let now = env.now();
    let draft = env.draft();
    let Some(known) = live_dialog(env, &key, now).map(NonNull::as_ptr) else {
        draft.created = now;
        let terminal = if place.flags & flag::PBX == 0 {
            Field::FromUri
        } else {
            Field::ToUri
        };
        env.name(draft, m.span(terminal));
        settle(draft, m, place, now);
        if place.flags & (flag::PBX | flag::IN_DIALOG) == flag::IN_DIALOG && !draft.has(flag::ENDED)
        {
            // A dialog that was not seen to begin: one answer is not enough to keep it for long, or a PBX
            // that answers anything would fill the table.
            draft.flags |= flag::EARLY;
            draft.expires = now + EARLY_LIFE;
        }
        return put_dialog(env, &key, draft, Counter::DialogActivated);
    };
    // SAFETY: `dialog` gives valid pointers. Others may write to the binding meanwhile: each field is
    // copied once.
    unsafe {
        let newest = if place.flags & flag::PBX == 0 {
            &raw mut (*known).cseq
        } else {
            &raw mut (*known).peer_cseq
        };
        if m.cseq < *newest {
            return env.count(Counter::DialogStale);
        }
        let ended = (*known).flags & flag::ENDED != 0;
        if (*known).learned != place.peer() {
            if place.flags & (flag::PBX | flag::IN_DIALOG) == 0 && !ended {
                // The PBX accepted a new dialog, not a message of this one.
                return env.count(Counter::DialogGuarded);
            }
            words::copy(known, draft);
            settle(draft, m, place, now);
            if ended && place.flags & flag::IN_DIALOG != 0 {
                draft.flags |= flag::ENDED;
                draft.expires = (*known).expires;
            }
            return put_dialog(env, &key, draft, Counter::DialogMoved);
        }
        *newest = m.cseq;
        (*known).seen = now;
        if ended {
            return env.count(Counter::DialogRefreshed);
        }
        if place.flags & flag::ENDED != 0 {
            (*known).flags |= flag::ENDED;
            (*known).expires = now + ENDED_LIFE;
            return env.count(Counter::DialogEnded);
        }
        if place.flags & flag::EARLY == 0 {
            (*known).flags &= !flag::EARLY;
        }
        (*known).expires = now + life((*known).flags);
        env.count(Counter::DialogRefreshed);
    }
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
    let (peer, advertised) = (place.peer(), place.advertised());
    // SAFETY: valid references.
    unsafe { words::copy(&peer, &mut draft.learned) };
    if !advertised.is_unknown() {
        // SAFETY: valid references.
        unsafe { words::copy(&advertised, &mut draft.advertised) };
    }
    if place.flags & flag::PBX == 0 {
        draft.cseq = m.cseq;
    } else {
        draft.peer_cseq = m.cseq;
    }
    draft.flags = place.flags & (flag::DIRECT | flag::EARLY | flag::ENDED);
    draft.seen = now;
    draft.expires = now + life(place.flags);
}

#[inline(always)]
fn put_dialog<E: Env>(env: &E, key: &DialogKey, draft: &Binding, event: Counter) {
    let stored = env.put_dialog(key, draft);
    env.count(if stored { event } else { Counter::TableFull });
}

/// A dialog end that has not expired.
#[inline(always)]
fn live_dialog<E: Env>(env: &E, key: &DialogKey, now: u64) -> Option<NonNull<Binding>> {
    let found = env.dialog(key)?;
    // SAFETY: `dialog` gives valid pointers.
    let live = unsafe { (*found.as_ptr()).expires } > now;
    live.then_some(found)
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
fn registered<E: Env>(env: &E, m: &Message, call: u64, request: &Entry) {
    let aor = env.hash(m.span(Field::ToUri));
    let now = env.now();
    let draft = env.draft();
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
        let span = m.contact(index);
        if !span.is_empty() && env.hash(span) == request.contact {
            seconds = granted(m, index).unwrap_or(DEFAULT_EXPIRES);
            break;
        }
    }
    let (peer, advertised) = (request.peer(), request.advertised());
    // SAFETY: valid references.
    unsafe { words::copy(&peer, &mut draft.learned) };
    // SAFETY: valid references.
    unsafe { words::copy(&advertised, &mut draft.advertised) };
    draft.aor = aor;
    draft.call = call;
    draft.cseq = m.cseq;
    draft.seen = now;
    draft.expires = now + u64::from(seconds) * SECOND;
    draft.flags = request.flags & flag::DIRECT;
    env.name(draft, m.span(Field::ToUri));
    let uri = request.contact;
    if accept_contact(env, &ContactKey { uri, aor }, draft) {
        accept_contact(env, &ContactKey { uri, aor: 0 }, draft);
    }
}

/// Stores, moves or removes one entry of a contact; a draft that is over at once removes. False if the
/// REGISTER is older than what is known. Events are counted once for the two entries.
#[inline(never)]
fn accept_contact<E: Env>(env: &E, key: &ContactKey, draft: &mut Binding) -> bool {
    let now = env.now();
    let removes = draft.expires <= now;
    let mut event = Counter::ContactActivated;
    // SAFETY: as in `accept_dialog`.
    unsafe {
        if let Some(known) = env.contact(key).map(NonNull::as_ptr)
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
fn request_out<E: Env>(env: &E, m: &Message, call: u64, to: &mut Endpoint) -> Counter {
    let branch = env.hash(m.span(Field::Branch));
    let routed = m.headers & header::ROUTE != 0;
    let counter = if routed {
        Counter::OutRoute
    } else {
        aim(env, m, call, branch, to)
    };
    if m.method == Method::Ack || m.method == Method::Cancel {
        return counter;
    }
    let entry = env.entry();
    entry.at = ticks(env.now());
    entry.set_peer(to);
    entry.record_routes = m.record_routes;
    entry.flags = flag::PBX;
    if !routed {
        entry.flags |= flag::DIRECT;
    }
    if m.has(Field::ToTag) {
        entry.flags |= flag::IN_DIALOG;
    }
    let key = key::transaction(call, branch, m.cseq, m.method);
    if let Some(mut slots) = env.slots(Table::Outbound, &key)
        && slots.note(&key, entry, TRANSACTION_LIFE, true) == Noted::Busy
    {
        env.count(Counter::SlotBusy);
    }
    counter
}

/// Looks for the terminal that a request is meant for: by the INVITE's transaction, by dialog end, by
/// contact.
#[inline(always)]
fn aim<E: Env>(env: &E, m: &Message, call: u64, branch: u64, to: &mut Endpoint) -> Counter {
    if m.method == Method::Ack || m.method == Method::Cancel {
        // A CANCEL, and an ACK to a response other than 2xx, have the branch of their INVITE (RFC 3261
        // 9.1, 17.1.1.3) and go where that went.
        let key = key::transaction(call, branch, m.cseq, Method::Invite);
        if let Some(invite) = env.slots(Table::Outbound, &key).and_then(|s| s.find(&key)) {
            let invite = invite.peer();
            return if invite == *to {
                Counter::OutAlreadyThere
            } else {
                *to = invite;
                Counter::OutRedirectedInvite
            };
        }
    }
    let Some(found) = terminal(env, m, call) else {
        return Counter::OutUnknownRequest;
    };
    let found = found.as_ptr();
    // SAFETY: `dialog` and `contact` give valid pointers; each field is copied once.
    let (ambiguous, learned, flags, aor) = unsafe {
        (
            (*found).is_ambiguous(env.now()),
            (*found).learned,
            (*found).flags,
            (*found).aor,
        )
    };
    if ambiguous {
        return Counter::OutAmbiguous;
    }
    let counter = if aor == 0 {
        Counter::OutRedirectedDialog
    } else {
        Counter::OutRedirectedContact
    };
    // SAFETY: as above.
    let advertised = unsafe { (*found).advertised };
    if aor != 0 && aor != env.hash(m.span(Field::ToUri)) && !is_symptom(&learned, &advertised, to) {
        return Counter::OutForeignContact;
    }
    let verdict = decide(env, &learned, flags & flag::DIRECT != 0, to, counter);
    if verdict == counter {
        // SAFETY: as above; the programs change this field only so.
        unsafe { Word::new(&raw mut (*found).redirected) }.add(1);
    }
    verdict
}

/// The binding of the terminal that a request is meant for: its dialog end, else its contact by
/// Request-URI and the address-of-record in To, else by Request-URI alone.
#[inline(never)]
fn terminal<E: Env>(env: &E, m: &Message, call: u64) -> Option<NonNull<Binding>> {
    let now = env.now();
    if m.has(Field::ToTag) {
        let tag = env.hash(m.span(Field::ToTag));
        let key = DialogKey { call, tag };
        let found = live_dialog(env, &key, now);
        if found.is_some() {
            return found;
        }
    }
    let uri = env.hash(m.span(Field::RequestUri));
    let aor = env.hash(m.span(Field::ToUri));
    for key in [ContactKey { uri, aor }, ContactKey { uri, aor: 0 }] {
        if let Some(found) = env.contact(&key)
            // SAFETY: `contact` gives valid pointers.
            && unsafe { is_live(env, found.as_ptr(), now) }
        {
            return Some(found);
        }
    }
    None
}

/// The PBX may send within a dialog before it accepts it: a NOTIFY may be ahead of the 2xx to its
/// SUBSCRIBE (RFC 6665 4.4.1). If exactly one source is pending, it is that.
#[inline(never)]
fn from_pending<E: Env>(env: &E, m: &Message, call: u64) {
    let tag = env.hash(m.span(Field::ToTag));
    let now = env.now();
    if live_dialog(env, &DialogKey { call, tag }, now).is_some() {
        return;
    }
    let key = key::pending(call, tag);
    let Some(pending) = env.slots(Table::Pending, &key).and_then(|s| s.find(&key)) else {
        return;
    };
    if pending.flags & flag::AMBIGUOUS != 0
        || ticks(now).wrapping_sub(pending.at) >= TRANSACTION_LIFE
    {
        return;
    }
    env.count(Counter::DialogFromPending);
    // It is the PBX's request that is believed, not yet the terminal's.
    pending.flags |= flag::PBX | flag::EARLY;
    accept_dialog(env, m, call, tag, pending);
}

/// Whether a contact that is found by Request-URI alone shows what NAT does: the packet goes where the
/// contact points, and that is the learned address with another port, or an address that no one can reach.
/// Else anyone with an account could register somebody else's public address, and get the calls to it.
#[inline(always)]
fn is_symptom(learned: &Endpoint, advertised: &Endpoint, to: &Endpoint) -> bool {
    to == advertised
        && (to.addr[1] == learned.addr[1] && to.addr[0] == learned.addr[0] || to.is_private())
}

/// Whether a packet to `to` goes to `learned` instead.
#[inline(always)]
fn decide<E: Env>(
    env: &E,
    learned: &Endpoint,
    direct: bool,
    to: &mut Endpoint,
    counter: Counter,
) -> Counter {
    if learned == &*to {
        return Counter::OutAlreadyThere;
    }
    match env.policy(learned) {
        Policy::Off => Counter::OutPolicyOff,
        Policy::Auto if !direct => Counter::OutNotDirect,
        Policy::Auto | Policy::Force => {
            *to = *learned;
            counter
        }
    }
}
