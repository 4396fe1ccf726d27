//! Dialog ends.

use core::ptr::NonNull;

use crate::abi::{Binding, Counter, DialogKey, Entry, flag, ticks};
use crate::bytes::words;
use crate::engine::draft::copy;
use crate::engine::env::{Env, Table, Text};
use crate::engine::lifetimes::{DIALOG_LIFE, EARLY_LIFE, ENDED_LIFE, TRANSACTION_LIFE};
use crate::sip::{Field, Message};
use crate::tables::key;
use crate::tables::slots::age;

/// A dialog end is believed to be at `place`, whose flags say why: the PBX accepted its request `m`, or it
/// answered a request of the PBX with `m`.
#[inline(always)]
pub(super) fn accept_dialog<E: Text>(env: &E, m: &Message, call: u64, tag: u64, place: &Entry) {
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
pub(super) fn renew_dialog(
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
pub(super) fn put_dialog<E: Env>(env: &E, key: &DialogKey, draft: &Binding, event: Counter) {
    let stored = env.put_dialog(key, draft);
    env.count(if stored { event } else { Counter::TableFull });
}

/// A dialog end that has not expired, and a copy of it in the draft.
#[inline(never)]
pub(super) fn live_dialog<E: Env>(env: &E, key: &DialogKey) -> Option<NonNull<Binding>> {
    let found = env.dialog(key)?;
    // SAFETY: `dialog` gives valid pointers.
    let live = unsafe { copy(env, found.as_ptr(), &[key.call, key.tag]) };
    live.then_some(found)
}

/// The PBX may send within a dialog before it accepts it: a NOTIFY may be ahead of the 2xx to its
/// SUBSCRIBE (RFC 6665 4.4.1). If exactly one source is pending, it is that. Whether it is.
#[inline(never)]
pub(super) fn from_pending<E: Text>(env: &E, m: &Message, call: u64, tag: u64) -> bool {
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

/// The PBX has decided on a request that creates a dialog: what was pending is forgotten, if it came from there.
#[inline(never)]
pub(super) fn forget_pending<E: Env>(
    env: &E,
    m: &Message,
    call: u64,
    tag: u64,
    request: &Entry,
) -> bool {
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
