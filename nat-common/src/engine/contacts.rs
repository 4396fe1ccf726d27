//! Contacts: what an accepted REGISTER makes of them, and which one a request means.

use crate::abi::{
    Binding, BindingFlags, ContactKey, Counter, Entry, EvidenceFlags, InboundFlags,
    InboundTransaction, OutboundFlags, OutboundTransaction, PeerFlags, SECOND, address, ticks,
};
use crate::bpf::nothing;
use crate::bytes::{Span, words};
use crate::endpoint::Endpoint;
use crate::engine::draft::{find_live, place};
use crate::engine::env::{Bindings, Buffer, Clock, Env, Hashes, Tables, Text};
use crate::engine::identity::{registration_key, uri_hash};
use crate::engine::lifetimes::{CONTEST_LIFE, DEFAULT_EXPIRES, REMOVED_LIFE};
use crate::engine::proof::{
    describe_pair, describe_resident, host_word, may_be_proxy, note_departure,
};
use crate::engine::verdict::Placed;
use crate::sip::{Field, MAX_CONTACTS, Message, READ_CONTACTS, header};
use crate::tables::bindings::{BindingKey as _, Found, Stored};
use crate::tables::key::{self, OfRegister};

/// Returns the seconds granted to, or asked for, the Contact at `index` (RFC 3261 10.2.1.1).
#[inline(always)]
pub(super) fn granted(m: &Message, index: usize) -> Option<u32> {
    match m.contact_expires(index) {
        None if m.headers & header::EXPIRES != 0 => Some(m.expires),
        seconds => seconds,
    }
}

/// Takes a 2xx to a REGISTER: its contact is active for as long as granted. The draft is made once, and stored under the
/// contact's keys by [`place_registration`]. The evidence says whether the PBX gave it itself. Returns the number of Contacts.
#[inline(never)]
pub(super) fn registered<E: Text>(env: &E, m: &Message, request: &Entry<InboundTransaction>) -> u8 {
    let transaction = &request.value;
    let own = env.evidence().flags;
    let refused = InboundFlags::IN_DIALOG | InboundFlags::REFUSED;
    if transaction.flags.intersects(refused) || !own.contains(EvidenceFlags::OWN) {
        env.count(Counter::RegisterNotOwn);
        return 0;
    }
    let may_relay = may_be_proxy(env);
    if may_relay && own.contains(EvidenceFlags::OTHER_DOMAIN) {
        env.count(Counter::RegisterOtherDomain);
        return 0;
    }
    let aor = uri_hash(env, Field::ToUri as usize);
    let now = env.now();
    let draft = env.draft();
    words::clear(draft);
    draft.created = now;
    draft.arrived = request.at;
    draft.aor = aor;
    draft.call = env.hash(Field::CallId as usize);
    draft.pbx = env.socket();
    draft.flags = BindingFlags::from_bits_truncate(transaction.flags.bits())
        & (BindingFlags::DIRECT | BindingFlags::OWN_USER);
    if may_relay {
        draft.flags |= BindingFlags::PROXY;
    }
    if transaction.flags.contains(InboundFlags::REMOVE_ALL) {
        remove_all(env, aor);
        return 0;
    }
    if transaction.detail == 0 {
        return 0;
    }
    let removal = ContactKey { uri: 0, aor };
    if env.find(&removal, Buffer::Other).is_some()
        && env.buffer(Buffer::Other).arrived == draft.arrived
    {
        // Both came within one tick, and the PBX accepted this one later.
        draft.arrived += 1;
    }
    transaction.copy_source(&mut draft.learned);
    transaction.copy_advertised(&mut draft.advertised);
    draft.seen = now;
    draft.expires = now + u64::from(seconds_of(env, m, transaction)) * SECOND;
    draft.key[0] = transaction.detail;
    transaction.others.saturating_add(1)
}

/// Returns for how many seconds a 2xx to a REGISTER grants one of its Contacts.
///
/// The response lists every contact of the address-of-record (RFC 3261 10.3, 8): find this one. A PBX that lists none, or
/// writes this one otherwise, still granted what its Expires says.
#[inline(always)]
fn seconds_of<E: Hashes>(env: &E, m: &Message, transaction: &InboundTransaction) -> u32 {
    let mut seconds = if transaction.flags.contains(InboundFlags::REMOVE) {
        0
    } else if m.headers & header::EXPIRES != 0 {
        m.expires
    } else {
        DEFAULT_EXPIRES
    };
    for index in 0..MAX_CONTACTS {
        if uri_hash(env, Field::Contact as usize + index) == transaction.detail {
            seconds = granted(m, index).unwrap_or(DEFAULT_EXPIRES);
            break;
        }
    }
    seconds
}

/// Takes a 2xx to a REGISTER for its further Contacts, as [`registered`] has left the draft.
#[inline(always)]
pub(super) fn registered_further<E: Text>(env: &E, m: &Message) {
    for index in 0..READ_CONTACTS {
        if env.draft_further_contact(m, index as u32) {
            env.place_registration(m);
        }
    }
}

/// Makes the draft that of a further Contact of its REGISTER, if the very packet that brought the first one had it. False if
/// it had none.
#[inline(always)]
pub fn draft_further_contact<E: Env>(env: &E, m: &Message, index: u32) -> bool {
    let call = env.hash(Field::CallId as usize) ^ env.pbx();
    let branch = env.hash(Field::Branch as usize);
    let key = key::further_contact(call, branch, m.cseq, index);
    let Some(found) = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key))
    else {
        return false;
    };
    let (draft, contact) = (env.draft(), &found.value);
    // `registered` may have added a tick.
    if draft.arrived.wrapping_sub(found.at) > 1 {
        return false;
    }
    let kept = BindingFlags::DIRECT | BindingFlags::PROXY;
    draft.flags = draft.flags & kept
        | BindingFlags::from_bits_truncate(contact.flags.bits()) & BindingFlags::OWN_USER;
    contact.copy_advertised(&mut draft.advertised);
    let seconds = seconds_of(env, m, contact);
    if seconds == 0 {
        // The entry by its address may be that of a Contact which lasts.
        words::clear(&mut draft.advertised);
    }
    draft.expires = env.now() + u64::from(seconds) * SECOND;
    draft.key[0] = contact.detail;
    true
}

/// Places the contact in the draft under its keys. Its key has the hash of its URI.
///
/// The key is read from the draft each time, not kept: the stack has no space for it (6.1).
#[inline(always)]
pub fn place_registration<E: Text>(env: &E, m: &Message) {
    let key = |with_owner: bool| {
        let draft = env.draft();
        let aor = if with_owner { draft.aor } else { 0 };
        ContactKey {
            uri: draft.key[0],
            aor,
        }
    };
    env.name(m.span(Field::ToUri));
    words::clear(env.buffer(Buffer::Known));
    if place(env, || env.place_contact(&key(true))) != Placed::Done {
        return;
    }
    note_move(env);
    forget_pushed(env);
    // The entries without an owner keep the URI for display, and have previous hosts of their own.
    env.draft().flags -= BindingFlags::MOVED;
    env.name(listed(env, m));
    place(env, || env.place_contact(&key(false)));
    place_by_address(env);
    if env.draft().expires > env.now() {
        note_registered(env);
    }
}

/// Returns the position of the URI of the contact in the draft in a 2xx to REGISTER; an empty one if the PBX does not list it.
#[inline(always)]
fn listed<E: Bindings + Hashes>(env: &E, m: &Message) -> Span {
    let uri = env.draft().key[0];
    for index in 0..MAX_CONTACTS {
        if uri_hash(env, Field::Contact as usize + index) == uri {
            return m.contact(index);
        }
    }
    Span::default()
}

/// Notes if the contact in the draft was known at another address. Whether its registration goes on, its Call-ID tells.
#[inline(never)]
fn note_move<E: Tables + Hashes + Bindings>(env: &E) {
    let (contact, known) = (env.draft(), env.buffer(Buffer::Known));
    if !known.learned.is_unknown() && known.learned != contact.learned {
        note_departure(env, known, contact.arrived);
    }
}

/// Places the contact in the draft by its advertised address. A PBX calls the numbers behind a gateway with the gateway's
/// host and port, and another user.
#[inline(always)]
fn place_by_address<E: Env>(env: &E) {
    let contact = env.draft();
    if contact.advertised.is_unknown() || contact.advertised == contact.learned {
        return;
    }
    contact.flags -= BindingFlags::WEAK | BindingFlags::MOVED;
    contact.flags |= BindingFlags::BY_ADDRESS;
    let key = address_key(env, &contact.advertised);
    place(env, || env.place_contact(&key));
}

/// Notes that the terminal of the contact in the draft is at its learned address.
#[inline(never)]
fn note_registered<E: Env>(env: &E) {
    let contact = env.draft();
    let pair = describe_pair(env, &contact.learned, &contact.advertised);
    env.note_return(pair);
    env.note_resident(describe_resident(env, &contact.learned, contact.aor));
}

/// Notes whose Contact host is at the learned address of the contact in the draft, whose REGISTER came without credentials, or heard
/// its challenge there: whoever has an account may forge an address.
///
/// A proxy registers terminals of many hosts from its own address. A host on the Internet is not behind the terminal's NAT.
#[inline(never)]
pub(super) fn note_holder<E: Env>(env: &E) {
    let contact = env.draft();
    let host = &contact.advertised;
    if contact.expires > env.now()
        && contact.flags.contains(BindingFlags::DIRECT)
        && !host.is_unknown()
        && (host.addr == contact.learned.addr || host.is_private())
    {
        let resident = describe_resident(env, &contact.learned, contact.aor);
        resident.value.set_holder(host_word(host), contact.arrived);
        env.note_resident(resident);
    }
    nothing();
}

/// Notes in the evidence whether the PBX gave a 2xx to a REGISTER itself (see [`registered`]). It did not if it sent the REGISTER on
/// to another host, got a response to it, or answers for another To; or if the REGISTER has no entry, or two of that name have other
/// Contacts.
#[inline(never)]
pub(super) fn note_own_answer<E: Env>(env: &E, m: &Message) {
    let evidence = env.evidence();
    evidence.flags = EvidenceFlags::empty();
    let key = registration_key(env, m.cseq, OfRegister::Source);
    let not_own = InboundFlags::SENT_ON | InboundFlags::AMBIGUOUS;
    if let Some(known) = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key))
        && !known.value.flags.intersects(not_own)
        && known.value.detail == env.hash(Field::ToUri as usize)
    {
        evidence.flags = EvidenceFlags::from_bits_truncate(known.value.flags.bits())
            & EvidenceFlags::OTHER_DOMAIN
            | EvidenceFlags::OWN;
    }
    nothing();
}

/// Notes that the PBX sends a terminal's REGISTER on to another host, or gets a response to it from there. A registrar
/// that the user named is as good as the PBX.
#[inline(never)]
pub(super) fn note_sent_on<E: Env>(env: &E, m: &Message, host: &Endpoint) {
    if env.kind_of(host) & address::REGISTRAR != 0 {
        return;
    }
    let key = registration_key(env, m.cseq, OfRegister::Source);
    let known = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key));
    if known.is_none_or(|known| known.value.flags.contains(InboundFlags::SENT_ON)) {
        return;
    }
    if let Some(mut slots) = env.slots::<InboundTransaction>(&key)
        // Once more, if another CPU changed the entry meanwhile.
        && (slots.add_flags(&key, InboundFlags::SENT_ON)
            || slots.add_flags(&key, InboundFlags::SENT_ON))
    {
        env.count(Counter::RegisterSentOn);
        note_next_host(env, m, host);
    }
}

/// Notes the host to which a REGISTER was sent on, for the agent. It has an entry of its own, as a challenge has.
#[inline(always)]
fn note_next_host<E: Env>(env: &E, m: &Message, host: &Endpoint) {
    let entry = env.entry::<InboundTransaction>();
    entry.at = ticks(env.now());
    entry.value.flags = InboundFlags::REGISTER | InboundFlags::BESIDE | InboundFlags::SENT_ON;
    entry.value.set_advertised(host);
    let key = registration_key(env, m.cseq, OfRegister::NextHost);
    if let Some(mut slots) = env.slots::<InboundTransaction>(&key) {
        slots.put(&key, entry);
    }
}

/// Notes that a challenge to a REGISTER went to its source alone, unless another host may have written it.
#[inline(never)]
pub(super) fn note_heard_challenge<E: Env>(env: &E, cseq: u32) {
    let key = registration_key(env, cseq, OfRegister::Source);
    let known = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key));
    if known.is_some_and(|known| !known.value.flags.contains(InboundFlags::SENT_ON))
        && let Some(mut slots) = env.slots::<InboundTransaction>(&key)
    {
        slots.add_flags(&key, InboundFlags::CHALLENGED);
    }
    nothing();
}

/// Notes that a challenge to a REGISTER without credentials was redirected to its source, or forgets that the one before was.
/// If the terminal gets it, the PBX accepts the next REGISTER ([`prove_challenge`]).
///
/// It has an entry of its own. In that of the REGISTER, a write could undo a flag that another CPU sets.
#[inline(always)]
pub fn note_challenge<E: Env>(env: &E, cseq: u32, redirected: bool, repetitions: u8) {
    let key = registration_key(env, cseq, OfRegister::Source);
    let Some(known) = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key))
    else {
        return;
    };
    let others = InboundFlags::SENT_ON | InboundFlags::CREDENTIALS;
    if known.value.flags.intersects(others) {
        return;
    }
    let entry = env.entry::<InboundTransaction>();
    entry.assign(known);
    entry.value.flags = InboundFlags::REGISTER | InboundFlags::BESIDE | InboundFlags::CHALLENGED;
    entry.value.repetitions = repetitions;
    entry.value.set_advertised(&env.record().original());
    let key = registration_key(env, cseq, OfRegister::Challenge);
    if let Some(mut slots) = env.slots::<InboundTransaction>(&key) {
        if redirected {
            slots.put(&key, entry);
        } else {
            slots.forget(&key);
        }
    }
}

/// Notes that a REGISTER with credentials, which the PBX has accepted, proves that the challenge to the one before was heard
/// where it went.
#[inline(always)]
pub fn prove_challenge<E: Env>(env: &E, cseq: u32) {
    let key = registration_key(env, cseq.wrapping_sub(1), OfRegister::Challenge);
    let Some(challenged) = env
        .slots::<InboundTransaction>(&key)
        .and_then(|s| s.find(&key))
    else {
        return;
    };
    let challenged = &challenged.value;
    let entry = describe_pair(env, &challenged.source(), &challenged.advertised());
    // If the challenge before went to the original destination, the terminal may have got that one.
    entry.value.flags = PeerFlags::PROVEN
        | if challenged.repetitions == 0 {
            PeerFlags::HEARS
        } else {
            PeerFlags::SEEMING
        };
    env.prove_pair(entry);
}

/// Takes a 2xx to a REGISTER with `Contact: *`, as the draft has it: every contact that arrived before is void.
#[inline(never)]
fn remove_all<E: Text>(env: &E, aor: u64) {
    let removal = ContactKey { uri: 0, aor };
    let draft = env.draft();
    let found = env.find(&removal, Buffer::Other);
    if found.is_some() && draft.arrived <= env.buffer(Buffer::Other).arrived {
        // The response again.
        return;
    }
    draft.key = removal.words();
    draft.expires = env.now() + REMOVED_LIFE;
    env.count(match env.store::<ContactKey>(Buffer::Draft, found) {
        Stored::Busy => Counter::SlotBusy,
        Stored::Full => Counter::TableFull,
        Stored::New | Stored::Renewed | Stored::Pushed => Counter::ContactRemoved,
    });
}

/// Change of a contact by an accepted REGISTER.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Activated,
    Refreshed,
    Moved,
    Removed,
    /// Nothing changes.
    None,
    /// The URI belongs to another owner, who has a better claim.
    Outranked,
    /// The REGISTER is older than what is known.
    Late,
    /// The table has no space.
    Refused,
    /// Another CPU changes the contact.
    Busy,
}

impl Change {
    /// Returns the counter of a change that is made, or refused.
    const fn counter(self) -> Option<Counter> {
        match self {
            Self::Activated => Some(Counter::ContactActivated),
            Self::Refreshed => Some(Counter::ContactRefreshed),
            Self::Moved => Some(Counter::ContactMoved),
            Self::Removed => Some(Counter::ContactRemoved),
            Self::Outranked => Some(Counter::ContactOutranked),
            Self::Refused => Some(Counter::TableFull),
            Self::None | Self::Late | Self::Busy => None,
        }
    }
}

/// Stores, moves or removes one entry of a contact, as the draft says; one that expires at once is removed. Counts events
/// once for the two entries.
///
/// Where the entry is that of the URI alone, owners compete for it. One whose user is the URI's outranks one whose is not.
/// In the entry of an address all are equal: several private networks have the same addresses, so that it is ambiguous tells
/// nothing.
#[inline(always)]
pub fn place_contact<E: Env>(env: &E, key: &ContactKey) -> Placed {
    let change = change(env, key);
    if (key.aor != 0 || matches!(change, Change::Refused | Change::Outranked))
        && let Some(event) = change.counter()
    {
        env.count(event);
    }
    match change {
        Change::Busy => Placed::Busy,
        Change::Late | Change::Refused => Placed::Refused,
        _ => Placed::Done,
    }
}

/// Makes the change.
#[inline(always)]
fn change<E: Env>(env: &E, key: &ContactKey) -> Change {
    let now = env.now();
    let draft = env.draft();
    draft.key = key.words();
    draft.created = now;
    draft.redirected = 0;
    draft.contested = 0;
    let removes = draft.expires <= now;
    let mut change = Change::Activated;
    let found = env.find(key, Buffer::Known);
    let known = env.buffer(Buffer::Known);
    if found.is_some() && is_live(env, known, now) {
        let same_owner = known.aor == draft.aor;
        if same_owner && draft.arrived < known.arrived {
            return Change::Late;
        }
        let anothers = draft.may_be_anothers(known);
        if removes && (!same_owner || anothers) {
            // Another owner's contact of the same URI stays. If the terminal's own is gone, the PBX sends nothing there.
            return Change::None;
        }
        let same_host = known.learned.addr == draft.learned.addr;
        let forged = anothers && !same_host;
        draft.created = known.created;
        draft.redirected = known.redirected;
        draft.contested = known.contested;
        let by_address = draft.flags.contains(BindingFlags::BY_ADDRESS);
        let [ours, theirs] = [draft.flags, known.flags].map(|flags| {
            if by_address {
                BindingFlags::empty()
            } else {
                flags & BindingFlags::OWN_USER
            }
        });
        if same_owner {
            // The proof moves with its owner.
            draft.flags |= known.flags & (BindingFlags::WEAK | BindingFlags::MOVED);
        }
        let same_address = known.learned == draft.learned;
        if same_owner && same_address {
            change = Change::Refreshed;
        } else if same_owner && !forged {
            // The PBX keeps one contact of that URI and owner, the newest; so does sipnat.
            change = Change::Moved;
        } else if ours.bits() < theirs.bits() {
            return Change::Outranked;
        } else if ours.bits() > theirs.bits() {
            draft.created = now;
            draft.redirected = 0;
            draft.contested = 0;
        } else if same_address {
            // Two accounts of one phone; or one that forges the address, to take the claim elsewhere next. The first one keeps it.
            return Change::None;
        } else {
            let mut until = known.expires;
            if forged && until > now + CONTEST_LIFE {
                until = now + CONTEST_LIFE;
            }
            if draft.contested < until {
                draft.contested = until;
            }
            if !by_address {
                env.count(Counter::ContactAmbiguous);
            }
        }
        if same_owner && !removes && !same_host && !forged && known.call != draft.call {
            leave_host(env, key);
        }
    } else if found.is_some()
        && (draft.flags.contains(BindingFlags::BY_ADDRESS)
            || !(draft.flags - known.flags).contains(BindingFlags::OWN_USER))
    {
        draft.contested = known.contested;
    }
    if removes {
        change = Change::Removed;
    }
    // Otherwise an account could end the doubt by removing its claim and making it again.
    if removes && !draft.is_ambiguous(now) {
        if let Some(found) = found {
            env.remove_contact(key, found);
        }
        return change;
    }
    match env.store::<ContactKey>(Buffer::Draft, found) {
        Stored::Busy => return Change::Busy,
        Stored::Full => return Change::Refused,
        Stored::New | Stored::Renewed | Stored::Pushed => {}
    }
    change
}

/// Forgets the entries without owner of the contact that gave way to the one in the draft, of the same owner, if one did.
#[inline(never)]
fn forget_pushed<E: Bindings + Hashes>(env: &E) {
    let pushed = env.pushed();
    let [uri, aor] = pushed.key;
    let owner = env.draft().aor;
    if aor != owner {
        return;
    }
    let by_uri = ContactKey { uri, aor: 0 };
    let by_address = address_key(env, &pushed.advertised);
    for key in [by_uri, by_uri.before(), by_address, by_address.before()] {
        if let Some(found) = env.find(&key, Buffer::Other)
            && env.buffer(Buffer::Other).aor == owner
        {
            env.remove_contact(&key, found);
        }
    }
}

/// Keeps where the known contact was before it moved to another host, as the draft says. If it was at that other host
/// before, it has returned.
#[inline(always)]
fn leave_host<E: Bindings + Clock>(env: &E, key: &ContactKey) {
    let before = key.before();
    let left = env.find(&before, Buffer::Other);
    let (draft, known) = (env.draft(), env.buffer(Buffer::Known));
    if draft.flags.contains(BindingFlags::MOVED)
        && let Some(found) = left
        && env.buffer(Buffer::Other).expires > env.now()
    {
        if env.buffer(Buffer::Other).learned.addr == draft.learned.addr {
            draft.flags -= BindingFlags::MOVED;
            env.remove_contact(&before, found);
        }
        return;
    }
    known.key = before.words();
    let stored = env.store::<ContactKey>(Buffer::Known, left);
    if matches!(stored, Stored::New | Stored::Renewed) {
        draft.flags |= BindingFlags::MOVED;
    }
}

/// Returns where the contact in the draft was before it registered from another host, if that registration still lasts.
#[inline(always)]
pub(super) fn host_before<E: Bindings + Clock>(env: &E) -> Option<&mut Binding> {
    let draft = env.draft();
    if !draft.flags.contains(BindingFlags::MOVED) {
        return None;
    }
    find_live(
        env,
        &ContactKey::from_words(draft.key).before(),
        Buffer::Other,
    )?;
    Some(env.buffer(Buffer::Other))
}

/// Whether a contact counts: not expired, and not removed by `Contact: *` since.
#[inline(always)]
pub(super) fn is_live<E: Bindings>(env: &E, known: &Binding, now: u64) -> bool {
    let removal = ContactKey {
        uri: 0,
        aor: known.aor,
    };
    known.expires > now
        && (env.find(&removal, Buffer::Other).is_none()
            || !known.is_voided_by(env.buffer(Buffer::Other)))
}

/// Looks up a contact that counts, and copies it to the draft.
#[inline(always)]
pub(super) fn load_contact<E: Bindings + Clock>(env: &E, key: &ContactKey) -> Option<Found> {
    env.find(key, Buffer::Draft)
        .filter(|_| is_live(env, env.draft(), env.now()))
}

/// Looks up the contact that a request means, and copies it to the draft: by Request-URI and the address-of-record in To, else by
/// Request-URI alone, else by its address alone. Found otherwise than in the first way, its [`Binding::aor`] need not be that in
/// To. It is ambiguous if it may be a [number of another](is_number_of_another).
///
/// Each way is a function of its own: the stack of 6.1 has no space for more frames below them.
#[inline(always)]
pub(super) fn live_contact<E: Text>(env: &E, m: &Message) -> Option<Found> {
    note_owner(env, m);
    contact_of_owner(env)
        .or_else(|| contact_by_uri(env, m))
        .or_else(|| contact_by_address(env, m))
}

/// Looks up a contact by Request-URI and the address-of-record in To.
#[inline(never)]
fn contact_of_owner<E: Env>(env: &E) -> Option<Found> {
    if !names_owner(env) {
        return None;
    }
    let uri = uri_hash(env, Field::RequestUri as usize);
    let aor = uri_hash(env, Field::ToUri as usize);
    load_contact(env, &ContactKey { uri, aor })
}

/// Notes in the route, as weak evidence, that To names no owner of a contact: it is the Contact URI, whoever registered that as an
/// address-of-record. Asterisk's `chan_pjsip` leaves its port out.
#[inline(never)]
fn note_owner<E: Text>(env: &E, m: &Message) {
    let [to, request] = [Field::ToUri, Field::RequestUri].map(|field| m.span(field));
    if env.hash(Field::ToUri as usize) == env.hash(Field::RequestUri as usize)
        || env.same_user(request, to) && env.same_host(request, to)
    {
        env.route().flags |= OutboundFlags::WEAK;
    }
}

/// Whether To may name the owner of a contact, by [`note_owner`].
#[inline(always)]
fn names_owner<E: Env>(env: &E) -> bool {
    !env.route().flags.contains(OutboundFlags::WEAK)
}

/// Looks up a contact by Request-URI alone.
///
/// Within a dialog, the URI is the Contact of a party of a dialog that sipnat does not know. That party may never have registered,
/// and the contact be another's: if To names somebody else, it is. Outside of one, an address-of-record in To that has the
/// user of the Request-URI is that of its owner, whom sipnat does not know. A contact whose owner lacks that user is another's.
#[inline(never)]
fn contact_by_uri<E: Text>(env: &E, m: &Message) -> Option<Found> {
    let uri = uri_hash(env, Field::RequestUri as usize);
    let found = load_contact(env, &ContactKey { uri, aor: 0 })?;
    let own_user = env.draft().flags.contains(BindingFlags::OWN_USER);
    let names_owner = names_owner(env);
    if m.has(Field::ToTag) {
        return (own_user && !names_owner).then_some(found);
    }
    if own_user {
        return Some(found);
    }
    if names_owner && env.same_user(m.span(Field::RequestUri), m.span(Field::ToUri)) {
        return None;
    }
    if is_number_of_another(env, m) {
        env.draft().contested = u64::MAX;
    }
    Some(found)
}

/// Whether the contact in the draft, which only the Request-URI names, may be one that an account made of a number behind
/// another's gateway: its user is a number, not its owner's, and another owner has a contact with the same private address. A
/// PBX that calls the number means the gateway.
#[inline(always)]
fn is_number_of_another<E: Text>(env: &E, m: &Message) -> bool {
    let original = &env.record().original();
    if !original.is_private() || !env.is_number(m.span(Field::RequestUri)) {
        return false;
    }
    let (now, key) = (env.now(), address_key(env, original));
    if env.find(&key, Buffer::Known).is_none() {
        return false;
    }
    let (draft, known) = (env.draft(), env.buffer(Buffer::Known));
    known.expires > now && (known.aor != draft.aor || known.is_ambiguous(now))
}

/// Looks up a contact by its address alone. Another terminal that has the same address may not have registered yet, in the first
/// hour. An address-of-record in To may be that of a terminal whose registration sipnat could not follow.
#[inline(never)]
fn contact_by_address<E: Text>(env: &E, m: &Message) -> Option<Found> {
    let names_owner = names_owner(env);
    if m.has(Field::ToTag) && !names_owner || !env.settled() {
        return None;
    }
    let found = load_contact(env, &address_key(env, &env.record().original()))?;
    let contact = env.draft();
    let is_other = names_owner && contact.aor != uri_hash(env, Field::ToUri as usize);
    (!is_other && !contact.is_ambiguous(env.now())).then_some(found)
}

/// Returns the key of contacts by their address alone.
#[inline(always)]
fn address_key<E: Hashes>(env: &E, address: &Endpoint) -> ContactKey {
    let [high, low] = address.addr;
    ContactKey {
        uri: env.mix(high, low, address.port.into()) ^ env.pbx(),
        aor: 0,
    }
}

/// Notes with a contact that a request which only its URI named was answered at the learned address, after the original
/// destination had not answered.
#[inline(never)]
pub(super) fn prove_weak<E: Env>(env: &E, transaction: &OutboundTransaction) {
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
    env.set_flags(&key, binding, draft.flags | BindingFlags::WEAK);
    env.count(Counter::WeakProven);
}
