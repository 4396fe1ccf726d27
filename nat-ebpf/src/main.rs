//! The kernel programs of sipnat. They read packets and maps, let `nat-common` decide, and apply what
//! it decided; nothing is decided here.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod answer;
mod env;
mod glance;
mod maps;
mod packet;
mod redirect;
mod repeat;
mod text;
mod way;

use core::hint::black_box;

use aya_ebpf::bindings::{
    TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC,
    xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::debug;
use nat_common::abi::Counter;
use nat_common::abi::{self, Config};
use nat_common::bpf::Repeat;
use nat_common::bytes::Source as _;
use nat_common::datagram::{self, DatagramKind};
use nat_common::endpoint::Endpoint;
use nat_common::sip::Direction;
use nat_common::{
    engine::{self, fragments},
    stun,
};

use crate::answer::Written;
use crate::env::{Kernel, Read};
use crate::glance::{glance, is_sip_port, is_stun_port};
use crate::maps::{Room, count};
use crate::packet::{Frame, Payload, part};
use crate::redirect::Redirected;
use crate::repeat::{Callback, MayGoto};
use crate::way::{In, Out, Way};

/// Looks at what arrives, and lets it pass, but for STUN requests that are answered here.
#[xdp(frags)]
pub(crate) fn ingress(ctx: XdpContext) -> u32 {
    of_xdp::<MayGoto>(&ctx)
}

/// The same for kernels before 6.9.
#[xdp(frags)]
pub(crate) fn ingress_loop(ctx: XdpContext) -> u32 {
    of_xdp::<Callback>(&ctx)
}

/// Looks at what the PBX sends, and redirects it where that was learned.
#[classifier]
pub(crate) fn egress(ctx: TcContext) -> i32 {
    of_tc::<MayGoto>(&ctx)
}

/// The same for kernels before 6.9.
#[classifier]
pub(crate) fn egress_loop(ctx: TcContext) -> i32 {
    of_tc::<Callback>(&ctx)
}

/// Does nothing; the kernel takes it if it has `may_goto`.
#[xdp]
pub(crate) fn may_goto(_: XdpContext) -> u32 {
    // A loop of which the compiler knows that nothing comes of it is none.
    MayGoto::repeat(1, || black_box(false));
    XDP_PASS
}

#[inline(always)]
fn of_xdp<L: Repeat>(ctx: &XdpContext) -> u32 {
    let (counter, action) = arrived::<L>(ctx);
    count(counter);
    action
}

#[inline(always)]
fn of_tc<L: Repeat>(ctx: &TcContext) -> i32 {
    if redirect::was_rerouted(ctx) {
        return TC_ACT_UNSPEC;
    }
    let (counter, action) = sent::<L>(ctx);
    count(counter);
    action
}

/// Each stage is a function of its own, so that none has what another left on the kernel's small stack;
/// what one stage leaves to the next is in the room.
#[inline(always)]
fn arrived<L: Repeat>(ctx: &XdpContext) -> (Counter, u32) {
    let Some(config) = maps::config() else {
        return (Counter::InNoTables, XDP_PASS);
    };
    if let Some(counter) = glance::<In>(ctx.into(), config) {
        return (counter, XDP_PASS);
    }
    let Some(room) = Room::of(Direction::In) else {
        return (Counter::InNoTables, XDP_PASS);
    };
    match find::<In>(ctx.into(), &room, config).and_then(|()| read::<In, L>(ctx.into(), &room)) {
        Ok(()) => (learn::<L>(&room, config), XDP_PASS),
        Err(Counter::InStun) => answer::<L>(ctx, &room, config),
        Err(counter) => (counter, XDP_PASS),
    }
}

/// STUN is answered at once, or passes.
#[inline(always)]
fn answer<L: Repeat>(ctx: &XdpContext, room: &Room, config: &'static Config) -> (Counter, u32) {
    let counter = weigh::<L>(ctx, room, config);
    match counter {
        Counter::StunAnswered | Counter::StunRefused => {
            match answer::write(ctx, room.datagram(), room.reply()) {
                Written::Done => (counter, XDP_TX),
                Written::Refused => (Counter::StunNotWritten, XDP_PASS),
                Written::Broken => (Counter::StunFailed, XDP_DROP),
            }
        }
        Counter::StunLimited => (counter, XDP_DROP),
        counter => (counter, XDP_PASS),
    }
}

#[inline(always)]
fn sent<L: Repeat>(ctx: &TcContext) -> (Counter, i32) {
    // What comes next is left to other programs.
    let leave = |counter| (counter, TC_ACT_UNSPEC);
    let Some(config) = maps::config() else {
        return leave(Counter::OutNoTables);
    };
    if let Some(counter) = glance::<Out>(ctx.into(), config) {
        return leave(counter);
    }
    // SAFETY: the kernel gives a valid context.
    let skb = unsafe { &*ctx.skb.skb };
    let len = skb.len;
    if skb.gso_size != 0 {
        return leave(Counter::OutSegmented);
    }
    let Some(room) = Room::of(Direction::Out) else {
        return leave(Counter::OutNoTables);
    };
    // The payload may not lie in the linear part. Nothing is lost if this fails: only less is seen.
    if ctx.data_end() - ctx.data() < len as usize {
        let _ = ctx.pull_data(len);
    }
    let counter = match find::<Out>(ctx.into(), &room, config)
        .and_then(|()| read::<Out, L>(ctx.into(), &room))
    {
        Ok(()) => aim::<L>(&room, config),
        Err(Counter::OutFragment) => follow(&room, config),
        Err(counter) => return leave(counter),
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
    say(ctx, &datagram.destination, to);
    (counter, action)
}

/// Logs a redirect. A function of its own, or its room on the stack would be missing further down (6.1).
#[inline(never)]
fn say(ctx: &TcContext, from: &Endpoint, to: &Endpoint) {
    debug!(
        ctx,
        "{:i}:{} -> {:i}:{}",
        address(from),
        from.port,
        address(to),
        to.port
    );
}

/// An address for the log, which shows IPv4 as IPv4-mapped.
#[inline(always)]
fn address(endpoint: &Endpoint) -> [u8; 16] {
    let [high, low] = endpoint.addr.map(u64::to_ne_bytes);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high);
    bytes[8..].copy_from_slice(&low);
    bytes
}

/// First stage: finds the datagram in the frame. A fragment after the first is in the room too.
#[inline(never)]
fn find<W: Way>(frame: Frame<W::Context>, room: &Room, config: &Config) -> Result<(), Counter> {
    packet::parse::<W>(frame, room.new_datagram())?;
    room.aim_as_meant();
    let datagram = room.datagram();
    if datagram.part == part::LATER {
        return Err(W::FRAGMENT);
    }
    let ours = match W::DIRECTION {
        Direction::In => &datagram.destination,
        Direction::Out => &datagram.source,
    };
    let sip = is_sip_port(config, ours.port);
    if !sip && !is_stun_port::<W>(config, ours.port) {
        return Err(W::OTHER_PORT);
    }
    let payload = Payload::of(datagram, frame);
    match datagram::classify(payload.len(), payload.word(0)) {
        DatagramKind::Stun => return Err(W::STUN),
        _ if !sip => return Err(W::OTHER_PORT),
        DatagramKind::Sip => {}
        DatagramKind::Keepalive => return Err(W::KEEPALIVE),
        DatagramKind::Other => return Err(W::NOT_SIP),
    }
    if let Direction::In = W::DIRECTION
        && !is_terminal(&datagram.source)
    {
        return Err(W::BAD_SOURCE);
    }
    Ok(())
}

/// Second stage: copies the message, and scans it.
#[inline(never)]
fn read<W: Way, L: Repeat>(frame: Frame<W::Context>, room: &Room) -> Result<(), Counter> {
    let payload = Payload::of(room.datagram(), frame);
    room.new_text().copy::<_, L>(&payload);
    room.scan::<L>(W::DIRECTION).map_err(W::doubt)
}

/// Third stage of what arrives: learn from the message.
#[inline(never)]
fn learn<L: Repeat>(room: &Room, config: &'static Config) -> Counter {
    let env = Kernel::<Read<L>>::reading(room.text(), config, room);
    engine::ingress(&env, room.message(), &room.datagram().source)
}

/// Second stage of STUN: whether it is answered, and the answer.
#[inline(never)]
fn weigh<L: Repeat>(ctx: &XdpContext, room: &Room, config: &'static Config) -> Counter {
    if config.stun & abi::stun::ANSWER == 0 {
        return Counter::InStun;
    }
    let frame = Frame::from(ctx);
    let datagram = room.datagram();
    let source = &datagram.source;
    if !frame.is_plain(datagram) {
        return Counter::StunUnusual;
    }
    if !is_terminal(source) {
        return Counter::StunBadSource;
    }
    let payload = Payload::of(datagram, frame);
    let request = room.request();
    let counter = match request.read::<_, L>(&payload) {
        Ok(counter) | Err(counter) => counter,
    };
    if counter != Counter::StunAnswered && counter != Counter::StunRefused {
        return counter;
    }
    let (of_source, of_destination) = (maps::address(source), maps::address(&datagram.destination));
    // SAFETY: the kernel gives a valid context.
    let interface = unsafe { (*ctx.ctx).ingress_ifindex };
    if let Err(counter) = stun::may_answer(source, of_source, of_destination, interface) {
        return counter;
    }
    let env = Kernel::new(config, room);
    if !maps::allows(&env, source, config) {
        return Counter::StunLimited;
    }
    stun::note(&env, source, is_sip_port(config, datagram.destination.port));
    let software = config.stun & abi::stun::SOFTWARE != 0;
    room.reply()
        .make::<_, L>(request, &payload, source, software);
    counter
}

/// Third stage of what is sent: learn from the message, and say where it should go.
#[inline(never)]
fn aim<L: Repeat>(room: &Room, config: &'static Config) -> Counter {
    let env = Kernel::<Read<L>>::reading(room.text(), config, room);
    let (datagram, to) = (room.datagram(), room.aim());
    let verdict = engine::egress(&env, room.message(), to);
    if datagram.part == part::FIRST
        && !fragments::first(
            &env,
            &datagram.source,
            &datagram.destination,
            datagram.id,
            to,
        )
    {
        return Counter::OutFragmentRefused;
    }
    verdict
}

/// The same of a fragment after the first, which goes where that went.
#[inline(never)]
fn follow(room: &Room, config: &'static Config) -> Counter {
    let env = Kernel::new(config, room);
    let datagram = room.datagram();
    fragments::later(&env, &datagram.source, datagram.id, room.aim())
}

/// Whether a terminal may have that source: not unspecified, loopback or multicast (RFC 1122 3.2.1.3, 4291 2.4).
#[inline(always)]
fn is_terminal(source: &Endpoint) -> bool {
    if source.port == 0 {
        return false;
    }
    if source.is_v4() {
        let first = source.as_v4()[0];
        return first != 0 && first != 127 && first < 224;
    }
    let multicast = source.addr[0] as u8 == 0xff;
    // `::`, `::1` and the like.
    let reserved = source.addr[0] == 0;
    !multicast && !reserved
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
