//! Packets that arrive: the stages of XDP `ingress`, in order.
//!
//! Each stage is its own function, so that their stack frames do not add up (512 bytes). Stages pass data through the
//! scratch map.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::programs::XdpContext;
use nat_common::abi::{Config, stun::ANSWER};
use nat_common::engine::stun::Arrival;
use nat_common::engine::verdict::{Heard, Received, Skip, Stun};
use nat_common::engine::{self, stun};

use crate::answer::{self, Written};
use crate::datagram::Payload;
use crate::env::{Hash, Kernel};
use crate::fast_reject::fast_reject;
use crate::frame::{Frame, Ingress};
use crate::keepalive;
use crate::maps::{self, config, count};
use crate::media::{self, Entry};
use crate::scratch::Scratch;
use crate::stages::{Found, find, read};

/// Runs the program: one verdict, one counter, one action.
#[inline(always)]
pub(crate) fn run<L: Hash>(ctx: &XdpContext) -> u32 {
    let Some(config) = config() else {
        count(Received::Skipped(Skip::NoTables).counter());
        return XDP_PASS;
    };
    if let Some(rejected) = fast_reject::<Ingress>(ctx.into(), config) {
        count(Received::Skipped(rejected.skip).counter());
        if maps::is_media_on() && maps::has_stream(rejected.port) {
            media::enter_xdp(ctx, Entry::Packet);
        }
        return XDP_PASS;
    }
    let verdict = receive::<L>(ctx, config);
    count(verdict.counter());
    if maps::is_media_on()
        && let Received::Heard(heard) = verdict
    {
        media::enter_heard(ctx, heard);
    }
    action(verdict)
}

/// XDP action that carries a verdict out.
#[inline(always)]
const fn action(verdict: Received) -> u32 {
    match verdict {
        Received::Stun(Stun::Answered | Stun::Refused) => XDP_TX,
        Received::Stun(Stun::Limited | Stun::TotalLimited | Stun::Failed) | Received::Answer(_) => {
            XDP_DROP
        }
        _ => XDP_PASS,
    }
}

#[inline(always)]
fn receive<L: Hash>(ctx: &XdpContext, config: &'static Config) -> Received {
    let Some(scratch) = Scratch::of::<Ingress>() else {
        return Received::Skipped(Skip::NoTables);
    };
    match find::<Ingress>(ctx.into(), &scratch, config) {
        Found::Sip => match read::<Ingress, L>(ctx.into(), &scratch) {
            Ok(()) => match keepalive::answer(config) {
                Some(answer) => Received::Answer(answer),
                None => Received::Heard(learn::<L>(&scratch, config)),
            },
            Err(doubt) => Received::Skipped(doubt.into()),
        },
        Found::Stun => Received::Stun(answer::<L>(ctx, &scratch, config)),
        Found::LaterFragment => Received::Fragment,
        Found::Skipped(skip) => {
            if skip == Skip::Keepalive {
                keepalive::note_sender(config);
            }
            Received::Skipped(skip)
        }
    }
}

/// Third stage of SIP: learns from the message.
#[inline(always)]
fn learn<L: Hash>(scratch: &Scratch, config: &'static Config) -> Heard {
    let env = Kernel::reading::<L>(config, scratch);
    engine::ingress(&env, scratch.message(), &scratch.datagram().source)
}

/// Second and third stage of STUN: decides, and turns the request's frame into the answer.
#[inline(always)]
fn answer<L: Hash>(ctx: &XdpContext, scratch: &Scratch, config: &'static Config) -> Stun {
    let verdict = serve::<L>(ctx, scratch, config);
    if !matches!(verdict, Stun::Answered | Stun::Refused) {
        return verdict;
    }
    match answer::write(ctx, scratch.datagram(), scratch.reply()) {
        Written::Done => verdict,
        Written::Refused => Stun::NotWritten,
        Written::Broken => Stun::Failed,
    }
}

/// Second stage of STUN: decides whether the request is answered, and makes the answer.
#[inline(never)]
fn serve<L: Hash>(ctx: &XdpContext, scratch: &Scratch, config: &'static Config) -> Stun {
    if config.stun & ANSWER == 0 {
        if config.has_port(scratch.datagram().destination.port) {
            keepalive::note_sender(config);
        }
        return Stun::Disabled;
    }
    let frame = Frame::from(ctx);
    let datagram = scratch.datagram();
    if !frame.is_plain(datagram) {
        return Stun::Unusual;
    }
    stun::serve::<_, _, L>(
        &Kernel::new(config, scratch),
        &Arrival {
            datagram,
            // SAFETY: the kernel gives a valid context.
            interface: unsafe { (*ctx.ctx).ingress_ifindex },
            sip_port: config.has_port(datagram.destination.port),
        },
        &Payload::of(datagram, frame),
        config.stun,
        scratch.request(),
        scratch.reply(),
    )
}
