//! Record of a decision, from its beginning to its end.

use crate::abi::Counter;
use crate::bpf::sign;
use crate::bytes::words;
use crate::engine::env::{Clock, Hashes, Journal, Text};
use crate::engine::verdict::Decision;
use crate::sip::{Field, Message};

/// Begins the record of a message.
#[inline(always)]
pub(super) fn begin<E: Journal + Clock + Hashes>(env: &E, m: &Message) {
    let record = env.record();
    words::clear(record);
    record.at = env.now();
    record.call = env.hash(Field::CallId as usize);
    record.pbx = env.pbx();
    record.cseq = m.cseq;
    record.status = m.status;
    record.method = m.method as u8;
}

/// Writes a decision into the record. Returns it as read back: the verifier takes a value from memory for unknown, and so
/// does not follow each decision through all that comes after it (egress: 124,000 instructions without this).
#[inline(always)]
pub(super) fn decided<E: Journal>(env: &E, decision: Decision) -> Decision {
    let verdict = &raw mut env.record().verdict;
    // SAFETY: a valid reference. Volatile, so that the compiler writes it before it is read.
    unsafe { verdict.write_volatile(decision as u8) };
    self::decision(env)
}

/// Returns the decision in the record: [`decided`] must have written it.
#[inline(always)]
pub(super) fn decision<E: Journal>(env: &E) -> Decision {
    let verdict = &raw const env.record().verdict;
    // SAFETY: a valid reference to a decision, by the caller's promise. Volatile, so that the compiler reads it.
    unsafe { verdict.cast::<Decision>().read_volatile() }
}

/// Events of a message that belongs to a live binding.
const BOUND: u32 = Counter::DialogActivated.event_bit()
    | Counter::DialogMoved.event_bit()
    | Counter::DialogRefreshed.event_bit()
    | Counter::DialogStale.event_bit()
    | Counter::DialogGuarded.event_bit()
    | Counter::DialogEnded.event_bit()
    | Counter::ContactActivated.event_bit()
    | Counter::ContactMoved.event_bit()
    | Counter::ContactRefreshed.event_bit()
    | Counter::ContactRemoved.event_bit()
    | Counter::ContactAmbiguous.event_bit();

/// Notes that a message belongs to a live binding.
#[inline(always)]
pub(super) fn bind<E: Journal>(env: &E) {
    env.record().bound = 1;
}

/// Notes that a message belongs to a live binding if any bit is set. Without a branch, which the verifier would follow.
#[inline(always)]
pub(super) fn bind_if<E: Journal>(env: &E, bits: u32) {
    env.record().bound |= sign(-i64::from(bits)) as u8;
}

/// Ends it with the counter of its verdict, and stores it.
#[inline(always)]
pub(super) fn end<E: Journal>(env: &E, verdict: Counter) {
    let record = env.record();
    record.verdict = verdict as u8;
    bind_if(env, record.events & BOUND);
    env.remember(record);
}

/// Verdict of a record that has no decision, but the Request-URI of the one before it, for people.
pub const REQUEST_URI: u8 = u8::MAX - 1;
const _: () = assert!(Counter::COUNT <= REQUEST_URI as u32);

/// Stores the Request-URI of a request whose terminal is not known, or in doubt, in a record of its own.
#[inline(always)]
pub fn remember_request_uri<E: Text>(env: &E, m: &Message) {
    let record = env.record();
    env.name(m.span(Field::RequestUri));
    record.set_text(env.draft());
    record.verdict = REQUEST_URI;
    env.remember(record);
}
