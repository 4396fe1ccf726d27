//! The record of a decision.

use crate::abi::Counter;
use crate::bytes::words;
use crate::engine::env::Env;
use crate::sip::Message;

#[inline(always)]
pub(super) fn begin_record<E: Env>(env: &E, m: &Message, call: u64) {
    let record = env.record();
    // SAFETY: a valid reference.
    unsafe { words::zero(record) };
    record.at = env.now();
    record.call = call;
    record.cseq = m.cseq;
    record.status = m.status;
    record.method = m.method as u8;
}

#[inline(always)]
pub(super) fn end_record<E: Env>(env: &E, verdict: Counter) {
    let record = env.record();
    record.verdict = verdict as u8;
    env.remember(record);
}
