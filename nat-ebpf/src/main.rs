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

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action::XDP_PASS};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::debug;
use nat_common::abi::Config;
use nat_common::counter::Counter;
use nat_common::demux::{self, Kind};
use nat_common::engine;
use nat_common::message::Doubt;
use nat_common::source::Source as _;

use crate::env::Kernel;
use crate::maps::{Direction, Room, count};
use crate::packet::{Datagram, Frame, NotOurs};
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
    if redirect::was_rerouted(&ctx) {
        return TC_ACT_UNSPEC;
    }
    let (counter, action) = sent(&ctx);
    count(counter);
    action
}

/// Each stage is a function of its own, so that none has what another left on the kernel's small stack;
/// what one stage leaves to the next is in the room.
#[inline(always)]
fn arrived(ctx: &XdpContext) -> Counter {
    let Some(room) = Room::of(Direction::In) else {
        return Counter::InNoTables;
    };
    match read(ctx.into(), &room, Direction::In) {
        Read::Sip => learn(ctx, &room),
        Read::NotIp => Counter::InNotIp,
        Read::NotUdp => Counter::InNotUdp,
        Read::Fragment => Counter::InFragment,
        Read::Malformed => Counter::InMalformed,
        Read::OtherPort => Counter::InOtherPort,
        Read::Keepalive => Counter::InKeepalive,
        Read::Stun => Counter::InStun,
        Read::NotSip => Counter::InNotSip,
        Read::NoTables => Counter::InNoTables,
        Read::BadSource => Counter::InBadSource,
        Read::Truncated => Counter::InDoubtTruncated,
        Read::Syntax => Counter::InDoubtSyntax,
        Read::Missing => Counter::InDoubtMissing,
        Read::Duplicate => Counter::InDoubtDuplicate,
    }
}

#[inline(always)]
fn sent(ctx: &TcContext) -> (Counter, i32) {
    // What comes next is left to other programs.
    let leave = |counter| (counter, TC_ACT_UNSPEC);
    // SAFETY: the kernel gives a valid context.
    let skb = unsafe { &*ctx.skb.skb };
    let len = skb.len;
    if skb.gso_size != 0 {
        return leave(Counter::OutSegmented);
    }
    // A tag that the NIC is to insert is not in the frame.
    if skb.vlan_present != 0 {
        return leave(Counter::OutNotIp);
    }
    let Some(room) = Room::of(Direction::Out) else {
        return leave(Counter::OutNoTables);
    };
    // The payload may not lie in the linear part. Nothing is lost if this fails: it is then malformed.
    if ctx.data_end() - ctx.data() < len as usize {
        let _ = ctx.pull_data(len);
    }
    let counter = match read(ctx.into(), &room, Direction::Out) {
        Read::Sip => aim(ctx, &room),
        Read::NotIp => return leave(Counter::OutNotIp),
        Read::NotUdp => return leave(Counter::OutNotUdp),
        Read::Fragment => return leave(Counter::OutFragment),
        Read::Malformed => return leave(Counter::OutMalformed),
        Read::OtherPort => return leave(Counter::OutOtherPort),
        Read::Keepalive | Read::Stun => return leave(Counter::OutKeepalive),
        Read::NotSip | Read::BadSource => return leave(Counter::OutNotSip),
        Read::NoTables => return leave(Counter::OutNoTables),
        Read::Truncated => return leave(Counter::OutDoubtTruncated),
        Read::Syntax => return leave(Counter::OutDoubtSyntax),
        Read::Missing => return leave(Counter::OutDoubtMissing),
        Read::Duplicate => return leave(Counter::OutDoubtDuplicate),
    };
    let (datagram, to) = (room.datagram(), room.aim());
    if *to == datagram.destination {
        return leave(counter);
    }
    let action = match redirect::apply(ctx, datagram, to) {
        Redirected::Done => TC_ACT_UNSPEC,
        Redirected::Rerouted => TC_ACT_REDIRECT,
        Redirected::Refused => return leave(Counter::OutRewriteRefused),
        Redirected::Broken => return (Counter::OutRewriteFailed, TC_ACT_SHOT),
    };
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

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// A SIP message, which the room now holds.
    Sip,
    NotIp,
    NotUdp,
    Fragment,
    Malformed,
    OtherPort,
    Keepalive,
    Stun,
    NotSip,
    NoTables,
    BadSource,
    Truncated,
    Syntax,
    Missing,
    Duplicate,
}

/// First stage: from the frame to a scanned message in the room.
#[inline(never)]
fn read(frame: Frame, room: &Room, direction: Direction) -> Read {
    let (datagram, payload) = match packet::parse(frame) {
        Ok(found) => found,
        Err(NotOurs::NotIp) => return Read::NotIp,
        Err(NotOurs::NotUdp) => return Read::NotUdp,
        Err(NotOurs::Fragment) => return Read::Fragment,
        Err(NotOurs::Malformed) => return Read::Malformed,
    };
    let Some(config) = maps::config() else {
        return Read::NoTables;
    };
    let ours = match direction {
        Direction::In => &datagram.destination,
        Direction::Out => &datagram.source,
    };
    if !is_sip_port(config, ours.port) {
        return Read::OtherPort;
    }
    match demux::kind(payload.len(), payload.word(0)) {
        Kind::Sip => {}
        Kind::Keepalive => return Read::Keepalive,
        Kind::Stun => return Read::Stun,
        Kind::Other => return Read::NotSip,
    }
    if let Direction::In = direction
        && !is_terminal(&datagram)
    {
        return Read::BadSource;
    }
    room.keep(&datagram);
    match room.scan(&payload) {
        Ok(()) => Read::Sip,
        Err(Doubt::Truncated) => Read::Truncated,
        Err(Doubt::Syntax) => Read::Syntax,
        Err(Doubt::Missing) => Read::Missing,
        Err(Doubt::Duplicate) => Read::Duplicate,
    }
}

/// Second stage of what arrives: learn from the message.
#[inline(never)]
fn learn(ctx: &XdpContext, room: &Room) -> Counter {
    let payload = room.payload(ctx.into());
    let Some(config) = maps::config() else {
        return Counter::InNoTables;
    };
    let env = Kernel::new(&payload, config, room);
    engine::ingress(&env, room.message(), &room.datagram().source)
}

/// Second stage of what is sent: learn from the message, and say where it should go.
#[inline(never)]
fn aim(ctx: &TcContext, room: &Room) -> Counter {
    let payload = room.payload(ctx.into());
    let Some(config) = maps::config() else {
        return Counter::OutNoTables;
    };
    let env = Kernel::new(&payload, config, room);
    engine::egress(&env, room.message(), room.aim())
}

#[inline(always)]
fn is_sip_port(config: &Config, port: u32) -> bool {
    // An unused entry is 0, which is no port.
    port != 0 && config.ports.contains(&(port as u16))
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
