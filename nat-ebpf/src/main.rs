//! The kernel programs of sipnat. They read packets and maps, let `nat-common` decide, and apply what
//! it decided; nothing is decided here.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod env;
mod maps;
mod packet;
mod redirect;
mod repeat;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action::XDP_PASS};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::debug;
use nat_common::abi::Config;
use nat_common::counter::Counter;
use nat_common::demux::{self, Kind};
use nat_common::engine::{self, Verdict};
use nat_common::message::Doubt;
use nat_common::source::Source as _;

use crate::env::Kernel;
use crate::maps::{Direction, count};
use crate::packet::{Datagram, NotOurs};
use crate::redirect::Redirected;

/// Looks at what arrives, and lets it pass.
#[xdp]
pub(crate) fn ingress(ctx: XdpContext) -> u32 {
    count(arrived(&ctx));
    XDP_PASS
}

/// Looks at what the PBX sends, and redirects it where that was learned.
#[classifier]
pub(crate) fn egress(ctx: TcContext) -> i32 {
    let (counter, action) = sent(&ctx);
    count(counter);
    action
}

#[inline(always)]
fn arrived(ctx: &XdpContext) -> Counter {
    let datagram = match packet::parse(ctx.data(), ctx.data_end()) {
        Ok(datagram) => datagram,
        Err(NotOurs::NotIpv4) => return Counter::InNotIpv4,
        Err(NotOurs::NotUdp) => return Counter::InNotUdp,
        Err(NotOurs::Fragment) => return Counter::InFragment,
        Err(NotOurs::Malformed) => return Counter::InMalformed,
    };
    let Some(config) = maps::config() else {
        return Counter::InNoTables;
    };
    if !is_sip_port(config, datagram.destination.port) {
        return Counter::InOtherPort;
    }
    let payload = &datagram.payload;
    match demux::kind(payload.len(), payload.word(0)) {
        Kind::Sip => {}
        Kind::Keepalive => return Counter::InKeepalive,
        Kind::Stun => return Counter::InStun,
        Kind::Other => return Counter::InNotSip,
    }
    if !is_terminal(&datagram) {
        return Counter::InBadSource;
    }
    let Some(scratch) = maps::scratch(Direction::In) else {
        return Counter::InNoTables;
    };
    match scratch.scan(payload) {
        Ok(()) => {}
        Err(Doubt::Truncated) => return Counter::InDoubtTruncated,
        Err(Doubt::Syntax) => return Counter::InDoubtSyntax,
        Err(Doubt::Missing) => return Counter::InDoubtMissing,
        Err(Doubt::Duplicate) => return Counter::InDoubtDuplicate,
    }
    let env = Kernel::new(payload, config, &scratch);
    engine::ingress(&env, scratch.message(), &datagram.source)
}

#[inline(always)]
fn sent(ctx: &TcContext) -> (Counter, i32) {
    // Leave what comes next to other programs.
    let leave = |counter| (counter, TC_ACT_UNSPEC);
    // SAFETY: the kernel gives a valid context.
    let skb = unsafe { &*ctx.skb.skb };
    if skb.gso_size != 0 {
        return leave(Counter::OutSegmented);
    }
    let mut parsed = packet::parse(ctx.data(), ctx.data_end());
    if let Err(NotOurs::Malformed) = parsed {
        // The payload may not lie in the linear part.
        if ctx.pull_data(skb.len).is_err() {
            return leave(Counter::OutMalformed);
        }
        parsed = packet::parse(ctx.data(), ctx.data_end());
    }
    let datagram = match parsed {
        Ok(datagram) => datagram,
        Err(NotOurs::NotIpv4) => return leave(Counter::OutNotIpv4),
        Err(NotOurs::NotUdp) => return leave(Counter::OutNotUdp),
        Err(NotOurs::Fragment) => return leave(Counter::OutFragment),
        Err(NotOurs::Malformed) => return leave(Counter::OutMalformed),
    };
    let Some(config) = maps::config() else {
        return leave(Counter::OutNoTables);
    };
    if !is_sip_port(config, datagram.source.port) {
        return leave(Counter::OutOtherPort);
    }
    let payload = &datagram.payload;
    match demux::kind(payload.len(), payload.word(0)) {
        Kind::Sip => {}
        Kind::Keepalive | Kind::Stun => return leave(Counter::OutKeepalive),
        Kind::Other => return leave(Counter::OutNotSip),
    }
    let Some(scratch) = maps::scratch(Direction::Out) else {
        return leave(Counter::OutNoTables);
    };
    match scratch.scan(payload) {
        Ok(()) => {}
        Err(Doubt::Truncated) => return leave(Counter::OutDoubtTruncated),
        Err(Doubt::Syntax) => return leave(Counter::OutDoubtSyntax),
        Err(Doubt::Missing) => return leave(Counter::OutDoubtMissing),
        Err(Doubt::Duplicate) => return leave(Counter::OutDoubtDuplicate),
    }
    let env = Kernel::new(payload, config, &scratch);
    let (to, counter) = match engine::egress(&env, scratch.message(), &datagram.destination) {
        Verdict::Leave(counter) => return leave(counter),
        Verdict::Redirect(to, counter) => (to, counter),
    };
    match redirect::apply(ctx, &datagram, &to) {
        Redirected::Done(action) => {
            debug!(
                ctx,
                "{:i}:{} -> {:i}:{}",
                datagram.destination.as_v4(),
                datagram.destination.port,
                to.as_v4(),
                to.port
            );
            (counter, action)
        }
        Redirected::NoNextHop => leave(Counter::OutNoNextHop),
        Redirected::Refused => leave(Counter::OutRewriteRefused),
        Redirected::Broken => (Counter::OutRewriteFailed, TC_ACT_SHOT),
    }
}

#[inline(always)]
fn is_sip_port(config: &Config, port: u16) -> bool {
    // An unused entry is 0, which is no port.
    port != 0 && config.ports.contains(&port)
}

/// Whether a terminal may have that source: not zero, loopback or multicast.
#[inline(always)]
fn is_terminal(datagram: &Datagram) -> bool {
    let first = datagram.source.as_v4()[0];
    first != 0 && first != 127 && first < 224 && datagram.source.port != 0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the programs panics; the verifier would refuse this loop if it were reachable.
    loop {}
}

/// The helpers that choose the next hop are for GPL-compatible programs.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
