//! Dialog ends: how evidence activates, moves, confirms and ends them.

use crate::abi::{
    Binding, BindingFlags, Counter, DIALOG_STATES, DialogKey, EvidenceFlags, InboundTransaction,
    PendingDialog, PendingFlags, SECOND, age, ticks,
};
use crate::bpf::nothing;
use crate::bytes::{Span, words};
use crate::engine::draft::{find_live, place};
use crate::engine::env::{Bindings, Buffer, Clock, Env, Journal, Rules, Tables, Text};
use crate::engine::evidence::Evidence;
use crate::engine::identity::{digest, uri_hash};
use crate::engine::lifetimes::{DEFAULT_EXPIRES, TRANSACTION_LIFE};
use crate::engine::verdict::Placed;
use crate::sip::{Field, Message, Method};
use crate::tables::bindings::{BindingKey as _, Found, Stored};
use crate::tables::key;

/// Believes that a dialog end is where the evidence says: the PBX accepted the terminal's request, by `m`. Its From says
/// whose terminal it is.
///
/// Callers pass only requests that create a dialog or need one. Otherwise anybody could fill the table with invented To-tags, and
/// somebody who knows both tags could move the dialog end by an OPTIONS or a MESSAGE, which the PBX takes from anybody.
#[inline(always)]
pub(super) fn accept_request<E: Text>(
    env: &E,
    m: &Message,
    key: &DialogKey,
    evidence: &mut Evidence,
) {
    if place(env, || env.place_dialog(key, evidence)) != Placed::New {
        return;
    }
    digest(env, m, Field::FromUri.bit());
    evidence.owner = uri_hash(env, Field::FromUri as usize);
    begin_dialog(env, m.span(Field::FromUri), key, evidence);
}

/// Believes that a dialog end is where the evidence says: the terminal answered the PBX, by `m`, or the PBX sends it a
/// request, `m`, before it answers the terminal's.
///
/// To does not say whose terminal it is: another account may have registered that URI. Besides, to hash it here would take
/// more stack than kernels before 6.9 have.
#[inline(always)]
pub(super) fn accept_answer<E: Text>(env: &E, m: &Message, key: &DialogKey, evidence: &Evidence) {
    if place(env, || env.place_dialog(key, evidence)) == Placed::New {
        begin_dialog(env, m.span(Field::ToUri), key, evidence);
    }
}

/// Stores a new dialog end, which lies in the draft, with the name of its terminal.
#[inline(always)]
fn begin_dialog<E: Text>(env: &E, name: Span, key: &DialogKey, evidence: &Evidence) {
    let draft = env.draft();
    env.name(name);
    draft.aor = evidence.owner;
    if !store_dialog(env, None, Counter::DialogActivated) {
        // It is known now.
        env.place_dialog(key, evidence);
    }
}

/// Moves, confirms or ends a dialog end, or leaves it as it is.
#[inline(always)]
pub fn place_dialog<E: Env>(env: &E, key: &DialogKey, evidence: &Evidence) -> Placed {
    let now = env.now();
    let known = live_dialog(env, key);
    let draft = env.draft();
    let Some(known) = known else {
        words::clear(draft);
        draft.key = [key.call, key.tag];
        draft.call = evidence.branch;
        draft.created = now;
        settle(draft, evidence, now);
        let by_pbx = evidence.flags.contains(EvidenceFlags::BY_PBX);
        if by_pbx && evidence.lasts != 0 {
            // Of a subscription that sipnat has not seen to begin.
            draft.expires = now + u64::from(DEFAULT_EXPIRES) * SECOND;
        }
        let began_unseen = evidence.flags.contains(EvidenceFlags::IN_DIALOG);
        if began_unseen && !draft.flags.contains(BindingFlags::ENDED) {
            // One answer is not enough to keep it for long, or a PBX that answers anything would fill the table, as would the
            // far end of what a proxy relays.
            draft.flags |= BindingFlags::EARLY;
        }
        extend(draft, evidence, now, env.dialog_lives());
        return Placed::New;
    };
    let event = match renew_dialog(draft, evidence, now, env.dialog_lives()) {
        Renewal::Moved => Counter::DialogMoved,
        Renewal::Refreshed => Counter::DialogRefreshed,
        Renewal::Ended => Counter::DialogEnded,
        Renewal::Stale => {
            env.count(Counter::DialogStale);
            return Placed::Done;
        }
        Renewal::Guarded => {
            env.count(Counter::DialogGuarded);
            return Placed::Done;
        }
    };
    if store_dialog(env, Some(known), event) {
        Placed::Done
    } else {
        Placed::Busy
    }
}

/// Outcome of evidence for a dialog end that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// The dialog end moves: the draft holds its new state.
    Moved,
    /// The dialog end is confirmed.
    Refreshed,
    /// The message is older than what is known.
    Stale,
    /// A new dialog tried to take a live one over.
    Guarded,
    /// A BYE ended the dialog.
    Ended,
}

/// Renews a dialog end that is known, and copied to the draft. What the PBX accepted in an order of its own is what it
/// believes now; only evidence that arrived before the known one is late.
#[inline(always)]
fn renew_dialog(draft: &mut Binding, evidence: &Evidence, now: u64, lives: &Lives) -> Renewal {
    if is_anothers_answer(draft, evidence) {
        return Renewal::Guarded;
    }
    let ended = draft.flags.contains(BindingFlags::ENDED);
    let late = evidence.at < draft.arrived;
    let elsewhere = draft.learned != evidence.learned;
    // A 2xx answers an INVITE that is older than the PRACK which was accepted before it. It moves nothing.
    if late && (ended || elsewhere) {
        return Renewal::Stale;
    }
    let in_dialog = evidence.flags.contains(EvidenceFlags::IN_DIALOG);
    // After a refusal, a terminal may call again with the same Call-ID and tag (RFC 3261 8.1.3.5).
    let again = ended && !in_dialog && evidence.at != draft.arrived;
    if again || elsewhere {
        // Only an answer to the PBX has a branch.
        let began_it = evidence.branch != 0 && evidence.branch == draft.call;
        if !in_dialog && !ended && !began_it {
            // A new dialog was accepted, not a message of this one.
            return Renewal::Guarded;
        }
        if evidence.flags.contains(EvidenceFlags::BY_PBX) && evidence.at <= ticks(draft.seen) {
            // The PBX asked before it heard where the terminal is now.
            return Renewal::Stale;
        }
        let (expires, confirmed) = (draft.expires, BindingFlags::EARLY - draft.flags);
        settle(draft, evidence, now);
        if ended && in_dialog {
            draft.flags |= BindingFlags::ENDED;
            draft.expires = expires;
            return Renewal::Moved;
        }
        if !ended {
            // What does not confirm a dialog does not put it in doubt.
            draft.flags -= confirmed;
        }
        extend(draft, evidence, now, lives);
        return Renewal::Moved;
    }
    refresh(draft, evidence, now, lives)
}

/// Whether a request of the PBX was answered at its original destination, which is neither the terminal's host nor the one in its Contact.
/// The PBX may have given a dialog of the same name to another terminal: its tag need not be random (RFC 3261 19.3).
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn is_anothers_answer(draft: &Binding, evidence: &Evidence) -> bool {
    let [a, b] = &evidence.learned.addr;
    let differs = |other: &[u64; 2]| *a != other[0] || *b != other[1];
    evidence.flags.contains(EvidenceFlags::LEFT_ALONE)
        && !draft.advertised.is_unknown()
        && differs(&draft.advertised.addr)
        && differs(&draft.learned.addr)
}

/// Renews a dialog end whose terminal is where it was.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn refresh(draft: &mut Binding, evidence: &Evidence, now: u64, lives: &Lives) -> Renewal {
    let by_pbx = evidence.flags.contains(EvidenceFlags::BY_PBX);
    let ended = draft.flags.contains(BindingFlags::ENDED);
    let evident = BindingFlags::from_bits_truncate(evidence.flags.bits());
    let mut flags = draft.flags | (evident & BindingFlags::PROVEN);
    if by_pbx {
        flags = (flags - BindingFlags::LEFT_ALONE) | (evident & BindingFlags::LEFT_ALONE);
    } else {
        // The last answer of the PBX tells where its tag went.
        flags = (flags - BindingFlags::TOLD) | (evident & BindingFlags::TOLD);
    }
    let in_dialog = evidence.flags.contains(EvidenceFlags::IN_DIALOG);
    // The answer to the message that began an unseen dialog, again.
    let repeated = in_dialog
        && if by_pbx {
            evidence.branch == draft.call
        } else {
            evidence.at == draft.arrived
        };
    let mut renewal = Renewal::Refreshed;
    if !ended {
        if evident.contains(BindingFlags::ENDED) {
            flags = (flags - BindingFlags::UNACKNOWLEDGED) | BindingFlags::ENDED;
            renewal = Renewal::Ended;
        } else if !repeated {
            let early = evident.contains(BindingFlags::EARLY);
            if evident.contains(BindingFlags::UNACKNOWLEDGED) {
                if flags.contains(BindingFlags::EARLY) {
                    flags |= BindingFlags::UNACKNOWLEDGED;
                }
            } else if in_dialog {
                flags -= BindingFlags::UNACKNOWLEDGED;
            }
            if !early {
                flags -= BindingFlags::EARLY;
            }
        }
    }
    draft.flags = flags;
    if !ended {
        extend(draft, evidence, now, lives);
    }
    draft.arrived = draft.arrived.max(evidence.at);
    draft.seen = now;
    renewal
}

/// Sets the life of the dialog end in the draft by its state, or that of a subscription by the granted time. An early one lasts
/// for its NOTIFYs.
#[inline(always)]
fn extend(draft: &mut Binding, evidence: &Evidence, now: u64, lives: &Lives) {
    let by_state = now + life(lives, draft.flags);
    let mut until = by_state;
    if draft.flags.contains(BindingFlags::ENDED) {
        draft.expires = 0;
    } else if evidence.lasts != 0 {
        until = now + u64::from(evidence.lasts) * SECOND;
        let early = draft.flags.contains(BindingFlags::EARLY);
        if early && evidence.flags.contains(EvidenceFlags::BY_PBX) {
            until = until.max(by_state);
        }
    }
    // Nothing but its end makes it shorter.
    draft.expires = draft.expires.max(until);
}

/// Lives of dialog ends ([`Rules::dialog_lives`]).
type Lives = [u64; DIALOG_STATES];

/// Returns how long a dialog end lasts from now. Without a branch: the verifier would follow each of three.
#[inline(always)]
const fn life(lives: &Lives, flags: BindingFlags) -> u64 {
    lives[flags.dialog_state()]
}

/// Confirms the dialog end in the draft, as found, if it waits for this ACK.
#[inline(always)]
pub(super) fn acknowledge<E: Bindings + Clock + Journal + Rules>(env: &E, found: Found) {
    let (draft, now) = (env.draft(), env.now());
    draft.flags -= BindingFlags::UNACKNOWLEDGED;
    draft.seen = now;
    draft.expires = now + life(env.dialog_lives(), draft.flags);
    if !store_dialog(env, Some(found), Counter::DialogRefreshed) {
        env.count(Counter::SlotBusy);
    }
}

/// Confirms the dialog end in the draft, as found, if it waits for this ACK of the PBX.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
pub(super) fn note_ack<E: Bindings>(env: &E, found: Found) {
    let draft = env.draft();
    if draft.flags.contains(BindingFlags::UNACKNOWLEDGED) {
        draft.flags -= BindingFlags::UNACKNOWLEDGED;
        env.set_flags(&DialogKey::from_words(draft.key), found, draft.flags);
    }
    nothing();
}

/// Ends a dialog end, or only an `early` one, if its terminal is where the evidence says. Whoever sends from elsewhere knows
/// two tags, and is not the terminal.
#[inline(never)]
pub(super) fn end_dialog<E: Env>(env: &E, key: &DialogKey, early: bool) -> bool {
    let Some(found) = live_dialog(env, key) else {
        return false;
    };
    let (draft, now) = (env.draft(), env.now());
    let (learned, from) = (&draft.learned, &env.evidence().learned);
    let elsewhere = (learned.addr[0] ^ from.addr[0])
        | (learned.addr[1] ^ from.addr[1])
        | u64::from(learned.port ^ from.port);
    if elsewhere != 0
        || draft.flags.contains(BindingFlags::ENDED)
        || early && !draft.flags.contains(BindingFlags::EARLY)
    {
        return false;
    }
    draft.flags |= BindingFlags::ENDED;
    draft.expires = now + life(env.dialog_lives(), draft.flags);
    store_dialog(env, Some(found), Counter::DialogEnded)
}

/// Writes accepted evidence into a draft.
#[inline(always)]
fn settle(draft: &mut Binding, evidence: &Evidence, now: u64) {
    words::assign(&mut draft.learned, &evidence.learned);
    if !evidence.advertised.is_unknown() {
        words::assign(&mut draft.advertised, &evidence.advertised);
    }
    draft.arrived = evidence.at;
    draft.flags = BindingFlags::from_bits_truncate(evidence.flags.bits());
    draft.seen = now;
}

/// Stores the draft, and counts the event, unless the table is full. False if another CPU changed the dialog end at the same
/// time.
#[inline(always)]
fn store_dialog<E: Bindings + Journal>(env: &E, found: Option<Found>, event: Counter) -> bool {
    match env.store::<DialogKey>(Buffer::Draft, found) {
        Stored::Busy => return false,
        Stored::Full => env.count(Counter::TableFull),
        Stored::New | Stored::Renewed | Stored::Pushed => env.count(event),
    }
    true
}

/// Looks up a dialog end that has not expired, and copies it to the draft.
#[inline(always)]
pub(super) fn live_dialog<E: Bindings + Clock>(env: &E, key: &DialogKey) -> Option<Found> {
    find_live(env, key, Buffer::Draft)
}

/// Activates a dialog end that is pending: the PBX may send a NOTIFY ahead of the 2xx to its SUBSCRIBE (RFC 6665 4.4.1).
/// Only one pending source will do. Returns whether it did. `tag` is the hash of the terminal's own tag.
#[inline(never)]
pub(super) fn activate_pending<E: Text>(env: &E, m: &Message, key: &DialogKey, tag: u64) -> bool {
    if m.method != Method::Notify {
        return false;
    }
    let slot = key::pending(key.call, tag);
    let Some(pending) = env
        .slots::<PendingDialog>(&slot)
        .and_then(|s| s.find(&slot))
    else {
        return false;
    };
    if pending.value.flags.contains(PendingFlags::AMBIGUOUS)
        || age(ticks(env.now()), pending.at) >= TRANSACTION_LIFE
    {
        return false;
    }
    env.count(Counter::DialogFromPending);
    let evidence = env.evidence();
    evidence.take_pending(pending);
    accept_answer(env, m, key, evidence);
    true
}

/// Forgets a pending dialog end once the PBX has decided on its request. Returns whether one was pending from there.
#[inline(never)]
pub(super) fn forget_pending<E: Tables>(
    env: &E,
    m: &Message,
    call: u64,
    tag: u64,
    request: &InboundTransaction,
) -> bool {
    if !m.method.subscribes() {
        return false;
    }
    let key = key::pending(call, tag);
    let pending = env.slots::<PendingDialog>(&key).and_then(|s| s.find(&key));
    pending.is_some_and(|p| p.value.source() == request.source())
        && env
            .slots::<PendingDialog>(&key)
            .is_some_and(|mut s| s.forget(&key))
}
