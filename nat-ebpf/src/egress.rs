//! Packets that the PBX sends: the stages of TC `egress`, in order.
//!
//! Each stage is its own function, so that their stack frames do not add up (512 bytes). Stages pass data through the
//! scratch map.

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use aya_log_ebpf::macro_support::{Level, level_enabled};
use nat_common::abi::Config;
use nat_common::endpoint::Endpoint;
use nat_common::engine::verdict::{Decision, Sent, Skip};
use nat_common::engine::{self, fragments};

use crate::env::{Hash, Kernel};
use crate::fast_reject::fast_reject;
use crate::frame::Egress;
use crate::keepalive;
use crate::maps::{self, config, count};
use crate::media::{self, Entry};
use crate::redirect::{self, Redirected};
use crate::scratch::Scratch;
use crate::stages::{Found, find, read};

/// Action that leaves the packet to the programs that come after this one.
const NEXT: i32 = TC_ACT_UNSPEC;

/// Runs the program: one verdict, one counter, one action. A packet that was routed again passes here twice; the second
/// time does not count.
#[inline(always)]
pub(crate) fn run<L: Hash>(ctx: &TcContext) -> i32 {
    if redirect::was_rerouted(ctx) {
        return NEXT;
    }
    let Some(config) = config() else {
        count(Sent::Skipped(Skip::NoTables).counter());
        return NEXT;
    };
    if let Some(rejected) = fast_reject::<Egress>(ctx.into(), config) {
        count(Sent::Skipped(rejected.skip).counter());
        if maps::is_media_on() && maps::has_stream(rejected.port) {
            media::enter_tc(ctx, Entry::Packet);
        }
        return NEXT;
    }
    let (verdict, action) = send::<L>(ctx);
    count(verdict.counter());
    if maps::is_media_on() {
        enter_media(ctx, verdict, action);
    }
    action
}

/// Goes on with a program of media, if the packet may be one of a stream or describe one.
#[inline(always)]
fn enter_media(ctx: &TcContext, verdict: Sent, action: i32) {
    match verdict {
        Sent::Skipped(Skip::OtherPort) => media::enter_tc(ctx, Entry::Packet),
        Sent::Decided(_) => media::enter_decided(ctx, action),
        _ => {}
    }
}

#[inline(always)]
fn send<L: Hash>(ctx: &TcContext) -> (Sent, i32) {
    // Again, since it would take the stack that 6.1 does not have to keep it.
    let Some(config) = config() else {
        return (Sent::Skipped(Skip::NoTables), NEXT);
    };
    // SAFETY: the kernel gives a valid context.
    let skb = unsafe { &*ctx.skb.skb };
    let len = skb.len;
    if skb.gso_size != 0 {
        return (Sent::Segmented, NEXT);
    }
    let Some(scratch) = Scratch::of::<Egress>() else {
        return (Sent::Skipped(Skip::NoTables), NEXT);
    };
    // The payload may lie outside the linear part. If this fails, less is seen, and nothing is lost.
    if ctx.data_end() - ctx.data() < len as usize {
        let _ = ctx.pull_data(len);
    }
    let decision = match find::<Egress>(ctx.into(), &scratch, config) {
        Found::Sip => match read::<Egress, L>(ctx.into(), &scratch) {
            Ok(()) if keepalive::is_ping(config) => return (Sent::Ping, NEXT),
            Ok(()) => decide::<L>(&scratch, config),
            Err(doubt) => return (Sent::Skipped(doubt.into()), NEXT),
        },
        Found::LaterFragment => follow(&scratch, config),
        Found::Stun => return (Sent::Stun, NEXT),
        Found::Skipped(skip) => return (Sent::Skipped(skip), NEXT),
    };
    let (datagram, to) = (scratch.datagram(), scratch.destination());
    if *to == datagram.destination {
        return (Sent::Decided(decision), NEXT);
    }
    let action = match redirect::apply(ctx, datagram, to) {
        Redirected::Done => NEXT,
        Redirected::Rerouted => TC_ACT_REDIRECT,
        Redirected::Refused => return (Sent::Refused, NEXT),
        Redirected::Broken => return (Sent::Failed, TC_ACT_SHOT),
    };
    // The verifier knows the level. Mostly it removes the call.
    if level_enabled(Level::Debug) {
        log();
    }
    (Sent::Decided(decision), action)
}

/// Third stage: learns from the message, and decides where it goes.
#[inline(never)]
fn decide<L: Hash>(scratch: &Scratch, config: &'static Config) -> Decision {
    let env = Kernel::reading::<L>(config, scratch);
    engine::egress(
        &env,
        scratch.message(),
        scratch.datagram(),
        scratch.destination(),
    )
}

/// Third stage of a fragment after the first, which goes where that went.
#[inline(never)]
fn follow(scratch: &Scratch, config: &'static Config) -> Decision {
    let env = Kernel::new(config, scratch);
    fragments::later(&env, scratch.datagram(), scratch.destination())
}

/// Logs the redirect of the packet in scratch. Verified once. Its own function, since the stack has no space for it further
/// down (6.1).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn log() -> u32 {
    let Some(scratch) = Scratch::of::<Egress>() else {
        return 0;
    };
    let (from, to) = (&scratch.datagram().destination, scratch.destination());
    // No context: the macro does not use it.
    debug!(
        (),
        "{:i}:{} -> {:i}:{}",
        address(from),
        from.port,
        address(to),
        to.port
    );
    1
}

/// Address for the log, which shows IPv4 as IPv4-mapped.
#[inline(always)]
fn address(endpoint: &Endpoint) -> [u8; 16] {
    let [high, low] = endpoint.addr.map(u64::to_ne_bytes);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high);
    bytes[8..].copy_from_slice(&low);
    bytes
}
