//! Contacts.

use core::ptr::NonNull;

use crate::abi::{Binding, ContactKey, Counter, Entry, SECOND, flag};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::draft::copy;
use crate::engine::env::{Env, Text};
use crate::engine::lifetimes::{DEFAULT_EXPIRES, REMOVED_LIFE};
use crate::sip::{Field, MAX_CONTACTS, Message, header};

/// The PBX accepted a REGISTER: its contact is active for as long as granted. The draft is made once, and
/// stored under the contact's two keys.
#[inline(never)]
pub(super) fn registered<E: Text>(env: &E, m: &Message, call: u64, request: &Entry) {
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

/// Seconds granted to, or asked for, the Contact at `index` (RFC 3261 10.2.1.1).
#[inline(always)]
pub(super) fn granted(m: &Message, index: usize) -> Option<u32> {
    match m.contact_expires(index) {
        None if m.headers & header::EXPIRES != 0 => Some(m.expires),
        seconds => seconds,
    }
}

/// A contact by Request-URI and the address-of-record in To, else by Request-URI alone, and a copy of it in the
/// draft.
#[inline(never)]
pub(super) fn live_contact<E: Env>(env: &E) -> Option<NonNull<Binding>> {
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

/// Whether a contact that is found by Request-URI alone shows what NAT does: the packet goes where the
/// contact points, and that is the learned address with another port, or an address that no one can reach.
/// Else anyone with an account could register somebody else's public address, and get the calls to it.
#[inline(always)]
pub(super) fn is_symptom(learned: &Endpoint, advertised: &Endpoint, to: &Endpoint) -> bool {
    to == advertised
        && (to.addr[1] == learned.addr[1] && to.addr[0] == learned.addr[0] || to.is_private())
}
