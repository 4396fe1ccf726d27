//! Contacts: what an accepted REGISTER makes of them, and which one a request means.

use core::ptr::NonNull;

use crate::abi::{
    Binding, BindingFlags, ContactKey, Counter, InboundFlags, InboundTransaction, SECOND,
};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::draft::copy_live;
use crate::engine::env::{Bindings, Clock, Env, Hashes, Text};
use crate::engine::lifetimes::{DEFAULT_EXPIRES, REMOVED_LIFE};
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
/// contact's two keys.
#[inline(never)]
pub(super) fn registered<E: Text>(env: &E, m: &Message, call: u64, request: &InboundTransaction) {
    let aor = env.hash(Field::ToUri as usize);
    let now = env.now();
    let draft = env.draft();
    words::clear(draft);
    draft.created = now;
    if request.flags.contains(InboundFlags::REMOVE_ALL) {
        return remove_all(env, m, call, aor);
    }
    if request.contact == 0 {
        return;
    }
    // The response lists every contact of the address-of-record (RFC 3261 10.3, 8): find this one. A PBX that lists
    // none, or writes this one otherwise, still granted what its Expires says.
    let mut seconds = if request.flags.contains(InboundFlags::REMOVE) {
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
    request.copy_source(&mut draft.learned);
    request.copy_advertised(&mut draft.advertised);
    draft.aor = aor;
    draft.call = call;
    draft.cseq = m.cseq;
    draft.seen = now;
    draft.expires = now + u64::from(seconds) * SECOND;
    draft.flags = BindingFlags::from_bits_truncate(request.flags.bits()) & BindingFlags::DIRECT;
    env.name(draft, m.span(Field::ToUri));
    let uri = request.contact;
    if env.place_contact(&ContactKey { uri, aor }) {
        env.place_contact(&ContactKey { uri, aor: 0 });
    }
}

/// Takes a 2xx to a REGISTER with `Contact: *`: stores the moment before which every contact is void.
#[inline(always)]
fn remove_all<E: Text>(env: &E, m: &Message, call: u64, aor: u64) {
    let removal = ContactKey { uri: 0, aor };
    let draft = env.draft();
    // SAFETY: `contact` gives valid pointers.
    let known = env
        .contact(&removal)
        .map(|b| unsafe { ((*b.as_ptr()).call, (*b.as_ptr()).cseq) });
    if known.is_some_and(|(of, cseq)| of == call && m.cseq <= cseq) {
        // The response again: contacts registered since stay.
        return;
    }
    draft.key = [0, aor];
    draft.call = call;
    draft.cseq = m.cseq;
    draft.expires = env.now() + REMOVED_LIFE;
    env.put_contact(&removal, draft);
    env.count(Counter::ContactRemoved);
}

/// Change of a contact by an accepted REGISTER.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Activated,
    Refreshed,
    Moved,
    Removed,
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
            Self::Refused => Counter::TableFull,
        }
    }
}

/// Stores, moves or removes one entry of a contact, as the draft says; one that expires at once is removed. Returns
/// false if the REGISTER is older than what is known. Counts events once for the two entries.
#[inline(always)]
pub fn place_contact<E: Env>(env: &E, key: &ContactKey) -> bool {
    let now = env.now();
    let draft = env.draft();
    draft.key = [key.uri, key.aor];
    let removes = draft.expires <= now;
    let mut change = Change::Activated;
    // SAFETY: `contact` gives valid pointers, read field by field.
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
                // Another owner's contact of the same URI stays.
                return true;
            }
            draft.created = (*known).created;
            draft.redirected = (*known).redirected;
            draft.contested = (*known).contested;
            if (*known).learned == draft.learned {
                change = Change::Refreshed;
            } else if same_owner {
                // The PBX keeps one contact of that URI and owner, the newest; so does sipnat.
                change = Change::Moved;
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
        change = Change::Removed;
    } else if !env.put_contact(key, draft) {
        change = Change::Refused;
    }
    if key.aor != 0 || change == Change::Refused {
        env.count(change.counter());
    }
    true
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

/// Looks up a contact by Request-URI and the address-of-record in To, else by Request-URI alone, and copies it to the
/// draft.
#[inline(never)]
pub(super) fn live_contact<E: Bindings + Clock + Hashes>(env: &E) -> Option<NonNull<Binding>> {
    let uri = env.hash(Field::RequestUri as usize);
    let aor = env.hash(Field::ToUri as usize);
    for key in [ContactKey { uri, aor }, ContactKey { uri, aor: 0 }] {
        if let Some(found) = env.contact(&key)
            // SAFETY: `contact` gives valid pointers, and the draft is one.
            && unsafe {
                copy_live(env, found.as_ptr(), &[key.uri, key.aor])
                    && is_live(env, env.draft(), env.now())
            }
        {
            return Some(found);
        }
    }
    None
}

/// Whether a contact that is found by Request-URI alone shows what NAT does: the packet goes to the advertised address,
/// and that is the learned one with another port, or one that is not routed on the Internet. Otherwise an account could
/// register somebody else's public address, and get the calls to it.
#[inline(always)]
pub(super) fn shows_nat(learned: &Endpoint, advertised: &Endpoint, to: &Endpoint) -> bool {
    to == advertised
        && (to.addr[1] == learned.addr[1] && to.addr[0] == learned.addr[0] || to.is_private())
}
