//! Packets follow a terminal that has only registered again: its mapping has changed, and it has said nothing in its dialogs
//! since.
//!
//! The address alone would not do: somebody may register from a forged one first, and so move what is not his. So all of
//! this must hold:
//!
//! - The registration goes on: one contact of one owner, under one Call-ID, came from the address before, and comes from the
//!   new one now.
//! - The terminal's own URI is that owner's address-of-record: From of its requests, To of those to it. Where the PBX writes
//!   the Contact URI there, the Request-URI must name the owner, as for a new call (weak evidence).
//! - Nothing was heard from the address since.

use crate::abi::{Binding, BindingFlags, ContactKey, Counter, DialogKey, OutboundFlags};
use crate::bpf::nothing;
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::contacts::is_live;
use crate::engine::dialogs::live_dialog;
use crate::engine::env::{Bindings, Buffer, Clock, Env};
use crate::engine::identity::uri_hash;
use crate::engine::proof::departure;
use crate::engine::route::Route;
use crate::sip::Field;
use crate::tables::bindings::{BindingKey as _, Found};

/// Makes the address of the dialog end in the draft, which has no owner, that at which its terminal is registered, if the
/// terminal has left it. The request goes `to` an address, and its Request-URI must be hashed. Returns the dialog end as found.
#[inline(never)]
pub(super) fn follow_dialog_by_uri<E: Env>(env: &E, found: Found, to: &Endpoint) -> Option<Found> {
    let known = env.draft();
    let uri = uri_hash(env, Field::RequestUri as usize);
    if !may_have_left(env, uri, &known.learned) {
        return Some(found);
    }
    let key = DialogKey::from_words(known.key);
    let left = has_left_by_uri(env, &known.learned, known.arrived);
    // The contact was in the draft.
    let found = live_dialog(env, &key)?;
    if left {
        follow_dialog(env, to);
    }
    Some(found)
}

/// Makes the source of a terminal's request, which lies in the draft, the address at which the terminal is registered, if it
/// has left that since the request came. From of the response must be hashed. Returns whether it has.
#[inline(never)]
pub(super) fn follow_source<E: Env>(env: &E, since: u64) -> bool {
    let owner = uri_hash(env, Field::FromUri as usize);
    let source = &mut env.draft().learned;
    env.has_left(owner, source, since) && take_address(env, source)
}

/// Makes the destination of an INVITE of the PBX, whose route it is, the address at which its terminal is registered, if it has
/// left that since.
#[inline(always)]
pub(super) fn follow_invite<E: Env>(
    env: &E,
    destination: &mut Endpoint,
    route: &Route,
    since: u64,
) {
    let subject = route.subject;
    let left = if route.flags.contains(OutboundFlags::WEAK) {
        may_have_left(env, subject, destination) && has_left_by_uri(env, destination, since)
    } else {
        env.has_left(subject, destination, since)
    };
    if left {
        take_address(env, destination);
    }
}

/// Moves the dialog end in the draft, whose terminal has left its address, to the contact in `Known`, for this packet only. The
/// request goes `to` an address.
#[inline(never)]
pub(super) fn follow_dialog<E: Env>(env: &E, to: &Endpoint) {
    let known = env.draft();
    let was_there = known.learned == *to;
    if take_address(env, &mut known.learned) && was_there {
        // What is proven is that the terminal got what was sent there.
        known.flags -= BindingFlags::PROVEN;
    }
    nothing();
}

/// Makes an address that of the contact in `Known`. False if it is: the terminal has come back.
#[inline(always)]
fn take_address<E: Env>(env: &E, address: &mut Endpoint) -> bool {
    let contact = env.buffer(Buffer::Known);
    if contact.learned == *address {
        return false;
    }
    words::assign(address, &contact.learned);
    env.count(Counter::DialogFollowed);
    true
}

/// Whether the owner's terminal has left an address since a time, in ticks. Its contact then lies in `Known`.
#[inline(always)]
pub fn has_left<E: Env>(env: &E, owner: u64, address: &Endpoint, since: u64) -> bool {
    let Some(left) = departure(env, address, owner).filter(|left| left.at > since) else {
        return false;
    };
    let [uri, call] = left.value.registration();
    // Another registration of that URI may be another phone of the owner.
    find_contact(env, &ContactKey { uri, aor: owner })
        .is_some_and(|contact| contact.call == call && contact.flags.contains(BindingFlags::DIRECT))
}

/// Whether a terminal that only its Contact URI names may have left an address: requests that only the URI names are proven to
/// reach it. Its contact then lies in `Known`. Most terminals have not moved, and cost no more than this.
#[inline(always)]
fn may_have_left<E: Env>(env: &E, uri: u64, address: &Endpoint) -> bool {
    find_contact(env, &ContactKey { uri, aor: 0 }).is_some_and(|contact| {
        contact.learned != *address && contact.flags.contains(BindingFlags::WEAK)
    })
}

/// Whether the owner of the contact in `Known` has left an address since, and may be followed by its Contact URI alone. The
/// draft is then its contact, as is `Known`.
#[inline(never)]
fn has_left_by_uri<E: Env>(env: &E, address: &Endpoint, since: u64) -> bool {
    let owner = env.buffer(Buffer::Known).aor;
    if !env.has_left(owner, address, since) {
        return false;
    }
    words::assign(env.draft(), env.buffer(Buffer::Known));
    env.may_follow_uri()
}

/// Copies a contact to `Known`, if it counts. Inline: the kernel takes eight frames at most.
#[inline(always)]
fn find_contact<'e, E: Bindings + Clock>(env: &'e E, key: &ContactKey) -> Option<&'e Binding> {
    env.find(key, Buffer::Known)?;
    let contact = env.buffer(Buffer::Known);
    is_live(env, contact, env.now()).then_some(contact)
}
