//! Messages that terminals send.

use crate::abi::{Counter, flag, ticks};
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::engine::contacts::granted;
use crate::engine::dialogs::accept_dialog;
use crate::engine::env::{Env, Table, Text};
use crate::engine::lifetimes::{ANSWER_LIFE, TRANSACTION_LIFE};
use crate::engine::reach::{RESPONSES, answers_there};
use crate::sip::{Field, Message, Method};
use crate::tables::key;
use crate::tables::slots::{Noted, age};

/// A request's source is noted with its transaction, and with the dialog end if the PBX may send to that before it answers.
/// Nothing of that counts until the PBX accepts it.
#[inline(always)]
pub(super) fn request_in<E: Env>(env: &E, m: &Message, call: u64, peer: &Endpoint) -> Counter {
    if m.method == Method::Ack {
        return Counter::InAck;
    }
    let branch = env.hash(Field::Branch as usize);
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
        entry.contact = env.hash(Field::Contact as usize);
    }
    let Some(mut slots) = env.slots(Table::Inbound, &key) else {
        return Counter::InNoTables;
    };
    match slots.note(&key, entry, TRANSACTION_LIFE) {
        Noted::New => {}
        Noted::Same => {
            let known = slots.found();
            if known.sent >= RESPONSES {
                // What was sent does not seem to arrive.
                slots.amend(&key, flag::REPEATED);
            }
            return Counter::InRepeat;
        }
        Noted::Other => return Counter::InOtherSource,
        Noted::Busy => return Counter::InBusy,
    }
    if m.method.subscribes() && !m.has(Field::ToTag) && m.has(Field::FromTag) {
        let tag = env.hash(Field::FromTag as usize);
        let key = key::pending(call, tag);
        if let Some(mut slots) = env.slots(Table::Pending, &key) {
            match slots.note(&key, entry, TRANSACTION_LIFE) {
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

/// A response counts if the PBX sent the request: only who got that knows its branch. What it proves is that the
/// terminal can be reached where the request was sent; if that was where it used to send from, and it now sends
/// from elsewhere, that its mapping has changed.
#[inline(always)]
pub(super) fn response_in<E: Text>(env: &E, m: &Message, call: u64, peer: &Endpoint) -> Counter {
    let branch = env.hash(Field::Branch as usize);
    let key = key::transaction(call, branch, m.cseq, m.method);
    let now = ticks(env.now());
    let Some(request) = env
        .slots(Table::Outbound, &key)
        .and_then(|s| s.find(&key))
        .filter(|request| age(now, request.at) < ANSWER_LIFE)
    else {
        return Counter::InResponseUnasked;
    };
    let record = env.record();
    record.set_meant(&request.peer());
    record.set_learned(peer);
    let elsewhere = request.flags & flag::REDIRECTED != 0 && *peer != request.peer();
    if elsewhere {
        request.set_peer(peer);
        request.at = now;
    } else {
        answers_there(env, request, m.status);
    }
    let flags = request.flags;
    request.contact = branch;
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
        let tag = env.hash(Field::ToTag as usize);
        env.record().tag = tag;
        accept_dialog(env, m, call, tag, request);
    }
    if elsewhere {
        // The same answer again, or a late one of before, is then one to a request that was sent there.
        request.flags = flags & !flag::REDIRECTED;
        let entry = env.entry();
        // SAFETY: valid references.
        unsafe { words::copy(request, entry) };
        if let Some(mut slots) = env.slots(Table::Outbound, &key) {
            slots.put(&key, entry);
        }
    }
    Counter::InResponse
}
