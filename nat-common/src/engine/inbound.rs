//! Messages that terminals send.

use crate::abi::{
    BindingFlags, Counter, EvidenceFlags, InboundFlags, InboundTransaction, OutboundFlags,
    OutboundTransaction, PendingDialog, PendingFlags, age, ticks,
};
use crate::bpf::nothing;
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::contacts::{granted, note_sent_on, prove_weak};
use crate::engine::dialogs::{accept_answer, acknowledge, end_dialog, live_dialog};
use crate::engine::env::{Checksum, Env, Text};
use crate::engine::identity::{dialog_key, digest, is_for_its_domain, registration_key, uri_hash};
use crate::engine::lifetimes::{ANSWER_LIFE, NOTIFY_LIFE, TRANSACTION_LIFE};
use crate::engine::proof::{describe_pair_of, describe_resident, note_answer};
use crate::engine::reach::turn_by_time;
use crate::engine::verdict::Heard;
use crate::sip::{Field, Message, Method, READ_CONTACTS, header};
use crate::tables::key::{self, OfRegister};
use crate::tables::rank;
use crate::tables::slots::Noted;

/// Bits of the Contacts whose addresses are read, in a set of fields.
const FURTHER_CONTACTS: u32 = ((1 << READ_CONTACTS) - 1) << Field::Contact as u32;

/// Stores a request's source with its transaction, and with the dialog end if the PBX may send to that before it
/// answers. It does not count until the PBX accepts the request. What a REGISTER asks for is only stored if the PBX sees it.
#[inline(never)]
pub(super) fn request_in<E: Text>(env: &E, m: &Message, call: u64, source: &Endpoint) -> Heard {
    if m.has(Field::ToTag) && m.has(Field::FromTag) {
        note_progress(env, m, call, source);
    }
    if m.method == Method::Ack {
        return Heard::Ack;
    }
    let mut registers = m.method == Method::Register;
    if registers {
        let checksum = env.checksum();
        if checksum == Checksum::Wrong {
            // The PBX never sees it.
            return Heard::BadChecksum;
        }
        // Of a fragment, the PBX may see another part, or nothing.
        registers = checksum == Checksum::Right;
    }
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, m.method);
    let direct = m.vias == 1 && m.record_routes == 0;
    let entry = env.entry::<InboundTransaction>();
    entry.at = ticks(env.now());
    let transaction = &mut entry.value;
    transaction.set_source(source);
    transaction.set_advertised(&m.advertised);
    if direct {
        transaction.flags |= InboundFlags::DIRECT;
    }
    if m.has(Field::ToTag) {
        transaction.flags |= InboundFlags::IN_DIALOG;
    }
    if registers {
        describe_registration(env, m, transaction);
    }
    let Some(mut slots) = env.slots::<InboundTransaction>(&key) else {
        return Heard::NoTables;
    };
    // A proxy shows the branch of a call to those whom it rings, so it stays its caller's while a phone may ring.
    let life = if m.method == Method::Invite {
        ANSWER_LIFE
    } else {
        TRANSACTION_LIFE
    };
    match slots.note(&key, entry, life) {
        Noted::New => {}
        Noted::Pushed => {
            entry.value.repetitions = turn_by_time(env.now());
            slots.put(&key, entry);
        }
        Noted::Same => {
            // The response before did not arrive, if there was one. If another CPU changes the entry meanwhile, this repetition
            // does not count, or is the copy that the other one counts.
            slots.count(&key, InboundFlags::ANSWERED);
            if registers {
                // Another Request-URI under the same branch may name another domain.
                note_registration(env, m, source);
            }
            return Heard::Repeat;
        }
        Noted::Other => {
            // One of the two is not the terminal, and sipnat cannot tell which.
            slots.add_flags(&key, InboundFlags::AMBIGUOUS);
            return Heard::OtherSource;
        }
        Noted::Busy => return Heard::Busy,
    }
    if registers {
        let flags = note_registration(env, m, source);
        if !flags.is_empty()
            && let Some(mut slots) = env.slots::<InboundTransaction>(&key)
        {
            slots.add_flags(&key, flags);
        }
        if m.contacts > 1 {
            note_further_contacts(env, m, source);
        }
    } else if m.method.subscribes() && !m.has(Field::ToTag) && m.has(Field::FromTag) {
        note_pending(env, m, call, source, direct);
    }
    Heard::Request
}

/// Stores what a REGISTER asks for.
#[inline(always)]
fn describe_registration<E: Text>(env: &E, m: &Message, transaction: &mut InboundTransaction) {
    transaction.flags |= InboundFlags::REGISTER;
    if m.star != 0 {
        transaction.flags |= InboundFlags::REMOVE_ALL;
    }
    let first = usize::from(m.first_contact);
    if granted(m, first) == Some(0) {
        transaction.flags |= InboundFlags::REMOVE;
    }
    let others = if m.contacts > 1 { FURTHER_CONTACTS } else { 0 };
    digest(env, m, Field::ToUri.bit() | others);
    if is_own_user(env, m, first) {
        transaction.flags |= InboundFlags::OWN_USER;
    }
    transaction.detail = uri_hash(env, Field::Contact as usize + first);
    transaction.others = m.contacts.saturating_sub(1);
}

/// Whether the user of a Contact is its owner's. A Contact URI that is registered as an address-of-record, with its port or
/// without, names no owner.
#[inline(always)]
fn is_own_user<E: Text>(env: &E, m: &Message, index: usize) -> bool {
    let (contact, to) = (m.contact(index), m.span(Field::ToUri));
    env.same_user(contact, to) && !env.same_host(contact, to)
}

/// Returns a hash of all Contacts of a REGISTER that are read.
#[inline(always)]
fn contacts_hash<E: Text>(env: &E, m: &Message) -> u64 {
    let hash = |index: usize| env.hash(Field::Contact as usize + index);
    let mut all = hash(m.first_contact.into());
    if m.contacts > 1 {
        for index in 0..READ_CONTACTS {
            all = all.rotate_left(8) ^ hash(index);
        }
    }
    all
}

/// Stores what a REGISTER asks for its Contacts other than the first one that lasts, each in an entry of its own.
#[inline(always)]
fn note_further_contacts<E: Text>(env: &E, m: &Message, source: &Endpoint) {
    // Scratch lies outside of the kernel's small stack.
    words::assign(&mut env.evidence().learned, source);
    for index in 0..READ_CONTACTS {
        env.note_further_contact(m, index as u32);
    }
}

/// Stores what a REGISTER asks for one of its Contacts, if that is not the first one that lasts. The evidence has the source.
///
/// It ranks as answered: it is worth less than the REGISTER, so that a flood of REGISTERs pushes out no more.
#[inline(always)]
pub fn note_further_contact<E: Text>(env: &E, m: &Message, index: u32) {
    let at = index as usize;
    let hash = env.hash(Field::Contact as usize + at);
    let first = env.hash(Field::Contact as usize + usize::from(m.first_contact));
    if index >= u32::from(m.contacts) || hash == first {
        return;
    }
    let entry = env.entry::<InboundTransaction>();
    entry.at = ticks(env.now());
    let contact = &mut entry.value;
    contact.set_source(&env.evidence().learned);
    contact.set_advertised(env.contact_address(at));
    contact.detail = hash ^ env.pbx();
    contact.flags = InboundFlags::REGISTER | InboundFlags::BESIDE | InboundFlags::ACCEPTED;
    if granted(m, at) == Some(0) {
        contact.flags |= InboundFlags::REMOVE;
    }
    if is_own_user(env, m, at) {
        contact.flags |= InboundFlags::OWN_USER;
    }
    let call = env.hash(Field::CallId as usize) ^ env.pbx();
    let branch = env.hash(Field::Branch as usize);
    let key = key::further_contact(call, branch, m.cseq, index);
    if let Some(mut slots) = env.slots::<InboundTransaction>(&key) {
        slots.put(&key, entry);
    }
}

/// Stores a REGISTER without its branch, with the hashes of To and of its Contacts, and the domain check: the far end of a relayed
/// REGISTER writes branch and To of its response. The entry also recognises the PBX's copy of the REGISTER if the PBX sends it on.
///
/// A REGISTER with credentials shows that the terminal got a redirected challenge to the one before, which had none, if the PBX
/// accepts them: anybody may invent some. Without them, or with those of an earlier challenge, the challenge may be lost.
/// Returns [`InboundFlags::CHALLENGED`] if it has them, and comes from where a redirected challenge went, and
/// [`InboundFlags::CREDENTIALS`] if it has them, and does not come from where alone a challenge went.
#[inline(never)]
fn note_registration<E: Text>(env: &E, m: &Message, source: &Endpoint) -> InboundFlags {
    let key = registration_key(env, m.cseq, OfRegister::Source);
    let entry = env.entry::<InboundTransaction>();
    entry.at = ticks(env.now());
    entry.value.set_source(source);
    entry.value.flags = InboundFlags::REGISTER | InboundFlags::BESIDE;
    entry.value.detail = env.hash(Field::ToUri as usize);
    let credentials = m.headers & header::CREDENTIALS != 0;
    if credentials {
        entry.value.flags |= InboundFlags::CREDENTIALS;
    }
    let other_domain = !is_for_its_domain(env, m);
    if other_domain {
        entry.value.flags |= InboundFlags::OTHER_DOMAIN;
    }
    let contacts = contacts_hash(env, m);
    entry.value.advertised_addr[0] = contacts;
    if let Some(mut slots) = env.slots::<InboundTransaction>(&key) {
        let noted = slots.note(&key, entry, TRANSACTION_LIFE);
        if noted == Noted::Same && slots.found().value.advertised_addr[0] != contacts {
            // The PBX may have seen another one than sipnat first.
            slots.add_flags(&key, InboundFlags::AMBIGUOUS);
        } else if !noted.is_new() && other_domain {
            slots.add_flags(&key, InboundFlags::OTHER_DOMAIN);
        }
    }
    let mut flags = InboundFlags::empty();
    if credentials {
        let came_before = |fact| {
            let key = registration_key(env, m.cseq.wrapping_sub(1), fact);
            env.slots::<InboundTransaction>(&key)
                .and_then(|s| s.find(&key))
                .is_some_and(|before| {
                    before.value.flags.contains(InboundFlags::CHALLENGED)
                        && before.value.source() == *source
                        && age(ticks(env.now()), before.at) < TRANSACTION_LIFE
                })
        };
        if came_before(OfRegister::Challenge) {
            flags |= InboundFlags::CHALLENGED;
        }
        if !came_before(OfRegister::Source) {
            flags |= InboundFlags::CREDENTIALS;
        }
    }
    flags
}

/// Stores the source of a SUBSCRIBE or REFER with the dialog end: a NOTIFY may come ahead of the PBX's answer.
#[inline(never)]
fn note_pending<E: Text>(env: &E, m: &Message, call: u64, source: &Endpoint, direct: bool) {
    if env.checksum() != Checksum::Right {
        // The PBX never sees it, and so never refuses it.
        env.count(Counter::PendingChecksum);
        return;
    }
    let tag = env.hash(Field::FromTag as usize);
    let key = key::pending(call, tag);
    let entry = env.entry::<PendingDialog>();
    entry.at = ticks(env.now());
    entry.value.set_source(source);
    entry.value.set_advertised(&m.advertised);
    if direct {
        entry.value.flags |= PendingFlags::DIRECT;
    }
    let Some(mut slots) = env.slots::<PendingDialog>(&key) else {
        return;
    };
    match slots.note(&key, entry, TRANSACTION_LIFE) {
        Noted::New | Noted::Pushed => env.count(Counter::PendingNoted),
        Noted::Same => {}
        Noted::Other => {
            let marked = slots.add_flags(&key, PendingFlags::AMBIGUOUS);
            env.count(if marked {
                Counter::PendingAmbiguous
            } else {
                Counter::SlotBusy
            });
        }
        Noted::Busy => env.count(Counter::SlotBusy),
    }
}

/// Notes progress: the message holds both tags of a dialog end. If the packet that told the terminal the PBX's tag went
/// to its learned address, it arrived there, so that the terminal is there: whoever forges that address does not know the tag. An
/// ACK confirms the dialog.
#[inline(never)]
fn note_progress<E: Env>(env: &E, m: &Message, call: u64, source: &Endpoint) {
    let key = dialog_key(env, call, Field::FromTag);
    let Some(known) = live_dialog(env, &key) else {
        return;
    };
    let draft = env.draft();
    let told = draft.flags & (BindingFlags::TOLD | BindingFlags::PROVEN) == BindingFlags::TOLD;
    let proves = told && draft.learned.addr == source.addr;
    if proves {
        draft.flags |= BindingFlags::PROVEN;
        env.count(Counter::DialogProven);
    }
    if m.method == Method::Ack && draft.flags.contains(BindingFlags::UNACKNOWLEDGED) {
        acknowledge(env, known);
    } else if proves {
        // If another CPU changes the binding meanwhile, the next message sets the flag.
        env.set_flags(&key, known, draft.flags);
    }
    if proves && draft.aor != 0 {
        env.note_resident(describe_resident(env, &draft.learned, draft.aor));
    }
}

/// Takes a response as evidence if the PBX sent its request: only its receiver knows the branch. It must come from the
/// host to which the request was sent, or from the terminal's own, and its checksum must be right.
///
/// It proves that the terminal can be reached at the request's destination. If that was the learned address, and the
/// response comes from another port, the terminal's mapping has changed. The record holds the response's source, as the
/// learned address.
#[inline(never)]
pub(super) fn response_in<E: Text>(env: &E, m: &Message, call: u64) -> Heard {
    let source = &env.record().learned();
    if m.method == Method::Register {
        // The PBX may relay it as if it had given it itself.
        note_sent_on(env, m, source);
    }
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, m.method);
    let now = ticks(env.now());
    let Some(request) = env
        .slots::<OutboundTransaction>(&key)
        .and_then(|s| s.find(&key))
        .filter(|request| age(now, request.at) < ANSWER_LIFE)
    else {
        return Heard::Unasked;
    };
    let transaction = &mut request.value;
    let sender = sender(transaction, source);
    if sender == Sender::Stranger {
        note_delivery(env, transaction);
        return Heard::Elsewhere;
    }
    let swapped = sender == Sender::Late;
    if swapped {
        swap(transaction);
    }
    env.record().set_original(&transaction.destination());
    let exact = *source == transaction.destination();
    match env.checksum() {
        Checksum::Right => {}
        // A fragment: it may be one that never becomes a whole datagram.
        Checksum::Unknown if exact => {}
        Checksum::Unknown | Checksum::Wrong => return Heard::BadChecksum,
    }
    let elsewhere = !exact && transaction.flags.contains(OutboundFlags::REDIRECTED);
    if elsewhere && !transaction.flags.contains(OutboundFlags::WEAK) {
        env.note_return(describe_pair_of(env, transaction));
    }
    // A 100 has no tag: from a port of which the PBX knows nothing, it moves nothing.
    let moves = elsewhere && (m.status > 100 || *source == transaction.alternative());
    if moves {
        transaction.set_destination(source);
        // The same answer again, or an older one that is late, is then one to a request that was sent there.
        transaction.flags -= OutboundFlags::REDIRECTED;
        request.at = now;
    }
    let state = OutboundFlags::from_bits_retain(rank::answered(m.status));
    let is_first = !transaction.flags.contains(state);
    if moves || swapped || is_first {
        transaction.flags |= state;
        let entry = env.entry::<OutboundTransaction>();
        entry.assign(request);
        if let Some(mut slots) = env.slots::<OutboundTransaction>(&key) {
            slots.put(&key, entry);
        }
        // The write has put the entry of before into the copy.
        request.assign(entry);
    }
    let mut proven = false;
    if !elsewhere {
        let weak = OutboundFlags::WEAK | OutboundFlags::REDIRECTED;
        let first_unanswered =
            request.value.flags.contains(weak) && request.value.retransmissions != 0;
        proven = note_answer(env, request, sender != Sender::Learned);
        if proven && first_unanswered {
            prove_weak(env, &request.value);
        }
    }
    let in_dialog = request.value.flags.contains(OutboundFlags::IN_DIALOG);
    // Only an INVITE is accepted several times, once for each fork (RFC 3261 17.1.2).
    let once = is_first || m.method == Method::Invite;
    let accepted = in_dialog || (m.method.creates_dialog() && m.status < 300 && once);
    // A refusal ends the early dialog (RFC 3261 12.3).
    let refused = !in_dialog && m.method == Method::Invite && m.status >= 300;
    if m.status > 100 && (accepted || refused) && m.has(Field::ToTag) {
        let evidence = env.evidence();
        evidence.take_answer(request, branch, &m.advertised);
        if names_new_port(&request.value, m, source) {
            evidence.learned = *source;
            if is_first {
                // The same answer again tells nothing new.
                evidence.at = now;
            }
        }
        if proven {
            evidence.flags |= EvidenceFlags::PROVEN;
        }
        if m.record_routes > request.value.record_routes {
            evidence.flags -= EvidenceFlags::DIRECT;
        }
        let confirms = matches!(m.method, Method::Invite | Method::Subscribe | Method::Bye);
        if !confirms || m.status / 100 != 2 {
            // A friend of whoever lets a proxy relay it answers anything.
            evidence.flags |= EvidenceFlags::EARLY;
        } else if !in_dialog && m.method == Method::Invite {
            evidence.flags |= EvidenceFlags::UNACKNOWLEDGED;
        }
        if m.method == Method::Notify {
            // sipnat does not read Subscription-State. The dialog end outlasts the repetitions of this NOTIFY.
            evidence.lasts = NOTIFY_LIFE;
        }
        // RFC 3261 15.1.1 takes these for an end; a BYE that is challenged is sent again.
        if m.method == Method::Bye && (m.status / 100 == 2 || m.status == 481 || m.status == 408) {
            evidence.flags |= EvidenceFlags::ENDED;
        }
        let key = dialog_key(env, call, Field::ToTag);
        env.record().tag = key.tag;
        if refused {
            end_dialog(env, &key, true);
        } else {
            accept_answer(env, m, &key, evidence);
        }
    }
    Heard::Response
}

/// Whether a terminal names in its Contact another port than that at which it was asked, and answers from there: a phone
/// with STUN, whose mapping has changed. The PBX sends there, and so does sipnat.
///
/// One comparison: the verifier follows each to the end.
#[inline(always)]
fn names_new_port(request: &OutboundTransaction, m: &Message, source: &Endpoint) -> bool {
    let named = &m.advertised;
    let elsewhere = (named.addr[0] ^ source.addr[0]) | (named.addr[1] ^ source.addr[1]);
    let ports = u64::from(named.port ^ source.port);
    request.flags.contains(OutboundFlags::AT_LEARNED)
        && u32::from(request.destination_port) != source.port
        && elsewhere | ports == 0
}

/// Host that sent a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// The host to which the request was sent last.
    Asked,
    /// The other of two hosts, to which it was sent before the last time.
    Late,
    /// The terminal's learned address. The request went to its original destination, another host: a front address, or a
    /// node of a cluster, which leaves the answer to another.
    Learned,
    /// Any other.
    Stranger,
}

/// Returns which host sent a response.
#[inline(always)]
fn sender(transaction: &OutboundTransaction, source: &Endpoint) -> Sender {
    if source.addr == transaction.destination_addr {
        return Sender::Asked;
    }
    if source.addr != transaction.alternative_addr {
        return Sender::Stranger;
    }
    let [left_alone, redirected, moved] = [
        OutboundFlags::LEFT_ALONE,
        OutboundFlags::REDIRECTED,
        OutboundFlags::MOVED,
    ]
    .map(|flags| transaction.flags.contains(flags));
    if left_alone && !moved {
        return Sender::Learned;
    }
    if (redirected || moved) && transaction.retransmissions != 0 {
        return Sender::Late;
    }
    Sender::Stranger
}

/// Notes that a request arrived somewhere: a host that it was not sent to gives a response, and knows its branch. A cluster behind
/// one address does so. It proves no address, but nothing is overdue.
///
/// Its own function: its caller needs the stack (6.1).
#[inline(never)]
fn note_delivery<E: Text>(env: &E, request: &OutboundTransaction) {
    if !request.flags.contains(OutboundFlags::WEAK) && env.checksum() == Checksum::Right {
        env.note_return(describe_pair_of(env, request));
    }
    nothing();
}

/// Makes a transaction say that its last transmission went to the other host.
#[inline(always)]
fn swap(transaction: &mut OutboundTransaction) {
    let (destination, alternative) = (transaction.destination(), transaction.alternative());
    transaction.set_destination(&alternative);
    transaction.set_alternative(&destination);
    transaction.flags ^= OutboundFlags::REDIRECTED | OutboundFlags::LEFT_ALONE;
    transaction.retransmissions = 0;
}
