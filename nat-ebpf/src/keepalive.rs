//! Keepalives of the agent: its OPTIONS as they leave, and the answers to them. Without `--keepalive` this is one test for each
//! message.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use nat_common::abi::{Config, Keepalive};
use nat_common::engine::keepalive::{self, Ping};
use nat_common::engine::stun;
use nat_common::engine::verdict::Answer;

use crate::env::Kernel;
use crate::frame::{Egress, Ingress};
use crate::maps::{self, config};
use crate::scratch::Scratch;

/// Whether the agent sends OPTIONS.
#[inline(always)]
fn is_on(config: &Config) -> bool {
    config.keepalive[0] != 0
}

/// Returns the verdict on the message that arrived, if it answers an OPTIONS of the agent.
#[inline(always)]
pub(crate) fn answer(config: &Config) -> Option<Answer> {
    const ANSWERED: u32 = Answer::Answered as u32;
    const STRAY: u32 = Answer::Stray as u32;
    if !is_on(config) {
        return None;
    }
    match take_answer() {
        ANSWERED => Some(Answer::Answered),
        STRAY => Some(Answer::Stray),
        _ => None,
    }
}

/// Notes that the source of the datagram in scratch keeps itself alive, if it is a terminal's: it gets no keepalives.
#[inline(always)]
pub(crate) fn note_sender(config: &Config) {
    if is_on(config) {
        note_sender_in();
    }
}

/// Notes the source of the datagram that arrived. Verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_sender_in() -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Ingress>(), config()) else {
        return 0;
    };
    let env = Kernel::new(config, &scratch);
    stun::note_keepalive(&env, &scratch.datagram().source);
    1
}

/// Whether the message that leaves is an OPTIONS of the agent.
#[inline(always)]
pub(crate) fn is_ping(config: &Config) -> bool {
    is_on(config) && is_ping_out() != 0
}

/// Notes the time of the message that arrived, if it answers an OPTIONS of the agent. Returns an [`Answer`], or 0. Verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_answer() -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Ingress>(), config()) else {
        return 0;
    };
    let Some(ping) = keepalive::answered(scratch.message(), scratch.text(), config.keepalive)
    else {
        return 0;
    };
    match maps::keepalive(ping.index) {
        Some(record) if note(record, &ping, &scratch) => Answer::Answered as u32,
        _ => Answer::Stray as u32,
    }
}

/// Notes the time of an answer. False if it does not count.
#[inline(always)]
fn note(record: *mut Keepalive, ping: &Ping, scratch: &Scratch) -> bool {
    // SAFETY: the map gives a valid value. The agent may write it meanwhile: an answer then counts for a ping that it does not
    // answer, or for none, as if it were lost.
    let known = unsafe { &*record };
    if !keepalive::accepts(known, ping, &scratch.datagram().source) {
        return false;
    }
    // Reading a clock takes longer than the time of the last tick, which is too coarse for a round trip.
    // SAFETY: a helper without arguments; the value is valid, and only these programs write this word.
    unsafe { (&raw mut (*record).answered).write_volatile(bpf_ktime_get_ns()) };
    true
}

/// Whether the message that leaves is an OPTIONS of the agent. Not 0: it is. Verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_ping_out() -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Egress>(), config()) else {
        return 0;
    };
    keepalive::is_ping(scratch.message(), scratch.text(), config.keepalive).into()
}
