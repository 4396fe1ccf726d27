//! Contacts: what an accepted REGISTER makes of them, and which one a request means.

use core::ptr::NonNull;

use crate::abi::{
    Binding, BindingFlags, ContactKey, Counter, Entry, InboundFlags, InboundTransaction,
    OutboundTransaction, SECOND, address,
};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::draft::copy_live;
use crate::engine::env::{Bindings, Clock, Env, Hashes, Tables, Text};
use crate::engine::identity::{registration_key, uri_hash};
use crate::engine::lifetimes::{CONTEST_LIFE, DEFAULT_EXPIRES, REMOVED_LIFE};
use crate::engine::proof::may_be_proxy;
use crate::sip::{Field, MAX_CONTACTS, Message, header};

/// Returns the seconds granted to, or asked for, the Contact at `index` (RFC 3261 10.2.1.1).
#[inline(always)]
pub(super) fn granted(m: &Message, index: usize) -> Option<u32> {
    match m.contact_expires(index) {
        None if m.headers & header::EXPIRES != 0 => Some(m.expires),
        seconds => seconds,
    }
}

/// Takes a 2xx to a REGISTER: its contact is active for as long as granted. The draft is made once, and stored under the
/// contact's two keys. `own`: whether the PBX gave the 2xx itself. Returns whether the contact in the draft is active now.
#[inline(never)]
pub(super) fn registered<E: Text>(
    env: &E,
    m: &Message,
    request: &Entry<InboundTransaction>,
    own: Own,
) -> bool {
    let transaction = &request.value;
    let refused = InboundFlags::IN_DIALOG | InboundFlags::REFUSED;
    if transaction.flags.intersects(refused) || own == Own::No {
        env.count(Counter::RegisterNotOwn);
        return false;
    }
    let may_relay = may_be_proxy(env);
    if may_relay && own == Own::OtherDomain {
        env.count(Counter::RegisterOtherDomain);
        return false;
    }
    let aor = uri_hash(env, Field::ToUri as usize);
    let now = env.now();
    let draft = env.draft();
    words::clear(draft);
    draft.created = now;
    draft.arrived = request.at;
    draft.aor = aor;
    draft.call = env.hash(Field::CallId as usize);
    draft.flags = BindingFlags::from_bits_truncate(transaction.flags.bits())
        & (BindingFlags::DIRECT | BindingFlags::OWN_USER);
    if may_relay {
        draft.flags |= BindingFlags::PROXY;
    }
    if transaction.flags.contains(InboundFlags::REMOVE_ALL) {
        remove_all(env, aor);
        return false;
    }
    if transaction.contact == 0 {
        return false;
    }
    // The response lists every contact of the address-of-record (RFC 3261 10.3, 8): find this one. A PBX that lists
    // none, or writes this one otherwise, still granted what its Expires says.
    let mut seconds = if transaction.flags.contains(InboundFlags::REMOVE) {
        0
    } else if m.headers & header::EXPIRES != 0 {
        m.expires
    } else {
        DEFAULT_EXPIRES
    };
    for index in 0..MAX_CONTACTS {
        if uri_hash(env, Field::Contact as usize + index) == transaction.contact {
            seconds = granted(m, index).unwrap_or(DEFAULT_EXPIRES);
            break;
        }
    }
    if removed_at(env, aor) == Some(draft.arrived) {
        // Both came within one tick, and the PBX accepted this one later.
        draft.arrived += 1;
    }
    transaction.copy_source(&mut draft.learned);
    transaction.copy_advertised(&mut draft.advertised);
    draft.seen = now;
    draft.expires = now + u64::from(seconds) * SECOND;
    env.name(draft, m.span(Field::ToUri));
    let uri = transaction.contact;
    let newest = env.place_contact(&ContactKey { uri, aor });
    if newest {
        env.place_contact(&ContactKey { uri, aor: 0 });
    }
    newest && seconds != 0
}

/// Whether the PBX gave a 2xx to a REGISTER itself.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// The PBX sent the REGISTER on to another host, got a response to it, or answers for another To. Or the REGISTER has no
    /// entry.
    No,
    /// The Request-URI names another domain than To: a proxy relays the REGISTER.
    OtherDomain,
    /// The PBX gave the 2xx itself.
    Yes,
}

/// Returns whether the PBX gave a 2xx to a REGISTER itself (see [`registered`]).
#[inline(always)]
pub(super) fn own_answer<E: Tables + Hashes>(env: &E, m: &Message) -> Own {
    let key = registration_key(env, m.cseq);
    match env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key))
    {
        Some(known)
            if !known.value.flags.contains(InboundFlags::SENT_ON)
                && known.value.contact == env.hash(Field::ToUri as usize) =>
        {
            if known.value.flags.contains(InboundFlags::OTHER_DOMAIN) {
                Own::OtherDomain
            } else {
                Own::Yes
            }
        }
        _ => Own::No,
    }
}

/// Notes that the PBX sends a terminal's REGISTER on to another host, or gets a response to it from there. A registrar
/// that the user named is as good as the PBX.
#[inline(never)]
pub(super) fn note_sent_on<E: Env>(env: &E, m: &Message, host: &Endpoint) {
    if env.kind_of(host) & address::REGISTRAR != 0 {
        return;
    }
    let none = InboundFlags::empty();
    if amend_registration(env, m, none, InboundFlags::SENT_ON, host) {
        env.count(Counter::RegisterSentOn);
    }
}

/// Notes whether the last challenge to a REGISTER was redirected to its source. If the terminal gets it, it sends the next
/// REGISTER with credentials.
#[inline(never)]
pub(super) fn note_challenge<E: Env>(env: &E, m: &Message, original: &Endpoint, redirected: bool) {
    let mut flags = InboundFlags::empty();
    if redirected {
        flags = InboundFlags::CHALLENGED;
    }
    amend_registration(env, m, InboundFlags::CHALLENGED, flags, original);
}

/// Removes and adds flags of the entry of a REGISTER, and stores an address there, unless it was sent on. False if there is
/// none.
#[inline(always)]
fn amend_registration<E: Env>(
    env: &E,
    m: &Message,
    old: InboundFlags,
    new: InboundFlags,
    address: &Endpoint,
) -> bool {
    let key = registration_key(env, m.cseq);
    let Some(known) = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key))
    else {
        return false;
    };
    if known.value.flags.contains(InboundFlags::SENT_ON) {
        return false;
    }
    let entry = env.entry::<InboundTransaction>();
    entry.assign(known);
    entry.value.flags = (entry.value.flags - old) | new;
    entry.value.set_advertised(address);
    env.slots::<InboundTransaction>(&key)
        .is_some_and(|mut slots| slots.put(&key, entry))
}

/// Takes a 2xx to a REGISTER with `Contact: *`, as the draft has it: every contact that arrived before is void.
#[inline(always)]
fn remove_all<E: Text>(env: &E, aor: u64) {
    let removal = ContactKey { uri: 0, aor };
    let draft = env.draft();
    let known = removed_at(env, aor);
    if known.is_some_and(|arrived| draft.arrived <= arrived) {
        // The response again.
        return;
    }
    draft.key = [0, aor];
    draft.expires = env.now() + REMOVED_LIFE;
    env.put_contact(&removal, draft);
    env.count(Counter::ContactRemoved);
}

/// Returns the arrival of the newest `Contact: *` of an address-of-record, in ticks.
#[inline(always)]
fn removed_at<E: Bindings>(env: &E, aor: u64) -> Option<u64> {
    // SAFETY: `contact` gives valid pointers.
    env.contact(&ContactKey { uri: 0, aor })
        .map(|removal| unsafe { (*removal.as_ptr()).arrived })
}

/// Change of a contact by an accepted REGISTER.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Activated,
    Refreshed,
    Moved,
    Removed,
    /// The URI belongs to another owner, who has a better claim.
    Outranked,
    /// The table has no space.
    Refused,
}

impl Change {
    const fn counter(self) -> Counter {
        match self {
            Self::Activated => Counter::ContactActivated,
            Self::Refreshed => Counter::ContactRefreshed,
            Self::Moved => Counter::ContactMoved,
            Self::Removed => Counter::ContactRemoved,
            Self::Outranked => Counter::ContactOutranked,
            Self::Refused => Counter::TableFull,
        }
    }
}

/// Stores, moves or removes one entry of a contact, as the draft says; one that expires at once is removed. Returns
/// false if the REGISTER is older than what is known. Counts events once for the two entries.
///
/// Where the entry is that of the URI alone, owners compete for it. One whose user is the URI's outranks one whose is not.
#[inline(always)]
pub fn place_contact<E: Env>(env: &E, key: &ContactKey) -> bool {
    let now = env.now();
    let draft = env.draft();
    draft.key = [key.uri, key.aor];
    draft.created = now;
    draft.redirected = 0;
    draft.contested = 0;
    let removes = draft.expires <= now;
    let mut change = Change::Activated;
    // SAFETY: `contact` gives valid pointers, read field by field.
    unsafe {
        if let Some(known) = env.contact(key).map(NonNull::as_ptr)
            && (*known).key == draft.key
            && is_live(env, known, now)
        {
            let same_owner = (*known).aor == draft.aor;
            if same_owner && draft.arrived < (*known).arrived {
                return false;
            }
            let anothers = draft.may_be_anothers(&*known);
            if removes && (!same_owner || anothers) {
                // Another owner's contact of the same URI stays. If the terminal's own is gone, the PBX sends nothing there.
                return true;
            }
            let same_host = (*known).learned.addr == draft.learned.addr;
            let forged = anothers && !same_host;
            draft.created = (*known).created;
            draft.redirected = (*known).redirected;
            draft.contested = (*known).contested;
            let [ours, theirs] =
                [draft.flags, (*known).flags].map(|flags| flags & BindingFlags::OWN_USER);
            if same_owner {
                // The proof moves with its owner.
                draft.flags |= (*known).flags & (BindingFlags::WEAK | BindingFlags::MOVED);
                if !removes && !same_host && !forged && (*known).call != draft.call {
                    leave_host(env, key, known);
                }
            }
            if (*known).learned == draft.learned {
                change = Change::Refreshed;
            } else if same_owner && !forged {
                // The PBX keeps one contact of that URI and owner, the newest; so does sipnat.
                change = Change::Moved;
            } else if ours.bits() < theirs.bits() {
                change = Change::Outranked;
            } else if ours.bits() > theirs.bits() {
                draft.created = now;
                draft.redirected = 0;
                draft.contested = 0;
            } else {
                let mut until = (*known).expires;
                if forged && until > now + CONTEST_LIFE {
                    until = now + CONTEST_LIFE;
                }
                if draft.contested < until {
                    draft.contested = until;
                }
                env.count(Counter::ContactAmbiguous);
            }
        }
    }
    if change == Change::Outranked {
        env.count(change.counter());
        return true;
    }
    if removes {
        env.remove_contact(key);
        change = Change::Removed;
    } else if !env.put_contact(key, draft) {
        change = Change::Refused;
    }
    if key.aor != 0 || change == Change::Refused {
        env.count(change.counter());
    }
    true
}

/// Keeps where a contact was before it moved to another host, as the draft says. If it was at that other host before, it
/// has returned.
///
/// # Safety
/// `known` must be valid.
#[inline(always)]
unsafe fn leave_host<E: Bindings + Clock>(env: &E, key: &ContactKey, known: *const Binding) {
    let draft = env.draft();
    let before = key.before();
    // SAFETY: as above; `contact` gives valid pointers.
    unsafe {
        if draft.flags.contains(BindingFlags::MOVED)
            && let Some(left) = env.contact(&before).map(NonNull::as_ptr)
            && (*left).expires > env.now()
        {
            if (*left).learned.addr == draft.learned.addr {
                draft.flags -= BindingFlags::MOVED;
                env.remove_contact(&before);
            }
            return;
        }
        draft.flags |= BindingFlags::MOVED;
        env.put_contact(&before, &*known);
    }
}

/// Returns where the contact in the draft was before it registered from another host, if that registration still lasts.
#[inline(always)]
pub(super) fn host_before<E: Bindings + Clock>(
    env: &E,
    key: &ContactKey,
) -> Option<NonNull<Binding>> {
    if !env.draft().flags.contains(BindingFlags::MOVED) {
        return None;
    }
    let left = env.contact(&key.before())?;
    // SAFETY: `contact` gives valid pointers, read field by field.
    unsafe { (*left.as_ptr()).key == [key.uri, key.aor] && (*left.as_ptr()).expires > env.now() }
        .then_some(left)
}

/// Whether a contact counts: not expired, and not removed by `Contact: *` since.
///
/// # Safety
/// `known` must be valid.
#[inline(always)]
unsafe fn is_live<E: Bindings>(env: &E, known: *const Binding, now: u64) -> bool {
    // SAFETY: as above; `contact` gives valid pointers.
    unsafe {
        let removal = ContactKey {
            uri: 0,
            aor: (*known).aor,
        };
        (*known).expires > now
            && env
                .contact(&removal)
                .is_none_or(|removal| !(*known).is_voided_by(removal.as_ref()))
    }
}

/// Looks up a contact that counts, and copies it to the draft.
#[inline(always)]
pub(super) fn load_contact<E: Bindings + Clock>(
    env: &E,
    key: &ContactKey,
) -> Option<NonNull<Binding>> {
    let found = env.contact(key)?;
    // SAFETY: `contact` gives valid pointers, and the draft is one.
    unsafe {
        copy_live(env, found.as_ptr(), &[key.uri, key.aor]) && is_live(env, env.draft(), env.now())
    }
    .then_some(found)
}

/// Looks up a contact by Request-URI and the address-of-record in To, else by Request-URI alone, and copies it to the
/// draft. Found in the second way, its [`Binding::aor`] is not that in To.
#[inline(never)]
pub(super) fn live_contact<E: Bindings + Clock + Hashes>(env: &E) -> Option<NonNull<Binding>> {
    let uri = uri_hash(env, Field::RequestUri as usize);
    let aor = uri_hash(env, Field::ToUri as usize);
    // To that is the Contact URI names no owner, whoever registered it as an address-of-record.
    let names_owner = aor != uri;
    if names_owner && let Some(found) = load_contact(env, &ContactKey { uri, aor }) {
        return Some(found);
    }
    load_contact(env, &ContactKey { uri, aor: 0 })
}

/// Notes with a contact that a request which only its URI named was answered at the learned address, after the original
/// destination had not answered.
#[inline(never)]
pub(super) fn prove_weak<E: Env>(env: &E, transaction: &OutboundTransaction) {
    if transaction.retransmissions == 0 {
        return;
    }
    let key = ContactKey {
        uri: transaction.subject,
        aor: 0,
    };
    let Some(binding) = load_contact(env, &key) else {
        return;
    };
    let draft = env.draft();
    if draft.learned != transaction.destination() || draft.flags.contains(BindingFlags::WEAK) {
        return;
    }
    // SAFETY: `load_contact` gives valid pointers. A lost flag is set again by the next answer.
    unsafe { (*binding.as_ptr()).flags = draft.flags | BindingFlags::WEAK };
    env.count(Counter::WeakProven);
}
