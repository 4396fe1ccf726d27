//! Messages that terminals send.

use crate::abi::{
    Counter, EvidenceFlags, InboundFlags, InboundTransaction, OutboundFlags, OutboundTransaction,
    PendingDialog, PendingFlags, age, ticks,
};
use crate::endpoint::Endpoint;
use crate::engine::contacts::granted;
use crate::engine::dialogs::accept_dialog;
use crate::engine::env::{Env, Text};
use crate::engine::lifetimes::{ANSWER_LIFE, TRANSACTION_LIFE};
use crate::engine::reach::{RESPONSES_BEFORE_FALLBACK, note_answer};
use crate::engine::verdict::Heard;
use crate::sip::{Field, Message, Method};
use crate::tables::key;
use crate::tables::slots::Noted;

/// Stores a request's source with its transaction, and with the dialog end if the PBX may send to that before it
/// answers. It does not count until the PBX accepts the request.
#[inline(always)]
pub(super) fn request_in<E: Env>(env: &E, m: &Message, call: u64, source: &Endpoint) -> Heard {
    if m.method == Method::Ack {
        return Heard::Ack;
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
    if m.method == Method::Register {
        transaction.flags |= InboundFlags::REGISTER;
        if m.star != 0 {
            transaction.flags |= InboundFlags::REMOVE_ALL;
        }
        if granted(m, 0) == Some(0) {
            transaction.flags |= InboundFlags::REMOVE;
        }
        transaction.contact = env.hash(Field::Contact as usize);
    }
    let Some(mut slots) = env.slots::<InboundTransaction>(&key) else {
        return Heard::NoTables;
    };
    match slots.note(&key, entry, TRANSACTION_LIFE) {
        Noted::New => {}
        Noted::Same => {
            if slots.found().value.responses >= RESPONSES_BEFORE_FALLBACK {
                // The responses do not seem to arrive.
                slots.add_flags(&key, InboundFlags::REPEATED);
            }
            return Heard::Repeat;
        }
        Noted::Other => return Heard::OtherSource,
        Noted::Busy => return Heard::Busy,
    }
    if m.method.subscribes() && !m.has(Field::ToTag) && m.has(Field::FromTag) {
        note_pending(env, m, call, source, direct);
    }
    Heard::Request
}

/// Stores the source of a SUBSCRIBE or REFER with the dialog end: a NOTIFY may come ahead of the PBX's answer.
#[inline(always)]
fn note_pending<E: Env>(env: &E, m: &Message, call: u64, source: &Endpoint, direct: bool) {
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
        Noted::New => env.count(Counter::PendingNoted),
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

/// Takes a response as evidence if the PBX sent its request: only its receiver knows the branch. It proves that the
/// terminal can be reached at the request's destination. If that was the learned address, and the response comes from
/// elsewhere, the terminal's mapping has changed.
#[inline(always)]
pub(super) fn response_in<E: Text>(env: &E, m: &Message, call: u64, source: &Endpoint) -> Heard {
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
    let record = env.record();
    record.set_original(&request.value.destination());
    record.set_learned(source);
    let elsewhere = request.value.flags.contains(OutboundFlags::REDIRECTED)
        && *source != request.value.destination();
    if elsewhere {
        request.value.set_destination(source);
        request.at = now;
    } else {
        note_answer(env, request, m.status);
    }
    let in_dialog = request.value.flags.contains(OutboundFlags::IN_DIALOG);
    let accepted = in_dialog || (m.method.creates_dialog() && m.status < 300);
    if m.status > 100 && accepted && m.has(Field::ToTag) {
        let evidence = env.evidence();
        evidence.take_answer(request, branch, &m.advertised);
        if m.record_routes > request.value.record_routes {
            evidence.flags -= EvidenceFlags::DIRECT;
        }
        if !in_dialog && m.status < 200 {
            evidence.flags |= EvidenceFlags::EARLY;
        }
        // RFC 3261 15.1.1 takes these for an end; a BYE that is challenged is sent again.
        if m.method == Method::Bye && (m.status / 100 == 2 || m.status == 481 || m.status == 408) {
            evidence.flags |= EvidenceFlags::ENDED;
        }
        let tag = env.hash(Field::ToTag as usize);
        env.record().tag = tag;
        accept_dialog(env, m, call, tag, evidence);
    }
    if elsewhere {
        // The same answer again, or an older one that is late, is then one to a request that was sent there.
        request.value.flags -= OutboundFlags::REDIRECTED;
        let entry = env.entry::<OutboundTransaction>();
        entry.assign(request);
        if let Some(mut slots) = env.slots::<OutboundTransaction>(&key) {
            slots.put(&key, entry);
        }
    }
    Heard::Response
}
