//! Media: programs that `ingress` and `egress` enter by tail calls.
//!
//! Each has its own stack and its own bound of verified instructions. `sdp_in` and `sdp_out` read the description in a message
//! that the programs before have decided on, from the same scratch. `media_in` and `media_out` see the packets of streams.
//! Without media the agent loads none of them, and the verifier removes the calls.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::{
    BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_md,
};
use aya_ebpf::helpers::generated::{bpf_csum_update, bpf_redirect_neigh};
use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use nat_common::abi::{
    Config, DialogKey, Guard, MediaConfig, MediaCounter, MediaSlot, SECOND, ticks,
};
use nat_common::datagram::{Part, checksum_from, header_checksum};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Clock;
use nat_common::engine::media::{self as decide, Media, Pairing, may_carry};
use nat_common::engine::verdict::Heard;
use nat_common::media::{self, Arrival, Arrived, Departed, Packet, PacketKind};
use nat_common::sdp::Description;
use nat_common::sip::Direction;
use network_types::eth::EtherType;
use network_types::ip::IpProto;

use crate::clock;
use crate::env::{Hash, Kernel};
use crate::fast_reject::is_stun_port;
use crate::frame::{Context, Egress, Frame, Hook, Ingress};
use crate::maps::{self, config, count_media};
use crate::redirect;
use crate::scratch::Scratch;

/// Programs behind XDP `ingress`, by [`Entry`]. Empty slots mean that media are off.
#[map]
static XDP_CALLS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// Programs behind TC `egress`, by [`Entry`].
#[map]
static TC_CALLS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// Index of a program in its array.
#[repr(u32)]
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    /// For descriptions.
    Description = 0,
    /// For the packets of streams.
    Packet,
}

/// Goes on with a program of XDP. Returns if there is none.
#[inline(always)]
pub(crate) fn enter_xdp(ctx: &XdpContext, entry: Entry) {
    // SAFETY: nothing of the caller needs to be dropped.
    unsafe { XDP_CALLS.tail_call(ctx, entry as u32) };
}

/// Goes on with a program of TC. Returns if there is none.
#[inline(always)]
pub(crate) fn enter_tc(ctx: &TcContext, entry: Entry) {
    // SAFETY: as above.
    unsafe { TC_CALLS.tail_call(ctx, entry as u32) };
}

/// Hands a message over to the program for descriptions. False if it carries none that matters. A terminal's message was `heard`
/// as a [`Heard`] says; a message of the PBX has an `action`.
#[inline(always)]
fn hand_over(direction: Direction, heard: u32, action: i32) -> bool {
    let Some(scratch) = Scratch::at(direction as u32) else {
        return false;
    };
    let handover = scratch.handover();
    handover.heard = heard;
    handover.action = action;
    scratch.datagram().part != Part::Later && may_carry(scratch.message())
}

/// Goes on with the description in a message of a terminal.
#[inline(always)]
pub(crate) fn enter_heard(ctx: &XdpContext, heard: Heard) {
    if hand_over(Direction::In, heard as u32, 0) {
        enter_xdp(ctx, Entry::Description);
    }
}

/// Goes on with the description in a message of the PBX.
#[inline(always)]
pub(crate) fn enter_decided(ctx: &TcContext, action: i32) {
    if hand_over(Direction::Out, 0, action) {
        enter_tc(ctx, Entry::Description);
    }
}

/// Reads the description in a message of a terminal.
#[inline(always)]
pub(crate) fn description_in<L: Hash>() {
    let (Some(scratch), Some(config)) = (Scratch::of::<Ingress>(), config()) else {
        return;
    };
    if scratch.describe::<L>() {
        incoming::<L>(&scratch, config);
    }
}

/// Reads the description in a message of the PBX.
#[inline(always)]
pub(crate) fn description_out<L: Hash>() -> i32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Egress>(), config()) else {
        return TC_ACT_UNSPEC;
    };
    if scratch.describe::<L>() {
        outgoing::<L>(&scratch, config);
    }
    scratch.handover().action
}

#[inline(always)]
fn incoming<L: Hash>(scratch: &Scratch, config: &'static Config) {
    let env = Kernel::reading::<L>(config, scratch);
    let heard = scratch.handover().heard;
    // Not matched by the compiler's own enum: a value in memory may be any.
    let heard = if heard == Heard::Request as u32 || heard == Heard::Repeat as u32 {
        Heard::Request
    } else if heard == Heard::Response as u32 {
        Heard::Response
    } else if heard == Heard::Ack as u32 {
        Heard::Ack
    } else {
        return;
    };
    decide::incoming(&env, scratch.message(), heard, scratch.datagram());
}

#[inline(always)]
fn outgoing<L: Hash>(scratch: &Scratch, config: &'static Config) {
    let env = Kernel::reading::<L>(config, scratch);
    decide::outgoing(&env, scratch.message(), scratch.datagram());
}

/// Binds a line of the pairing in the scratch of a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bind_media_line(direction: u32, index: u32) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), config()) else {
        return 0;
    };
    let env = Kernel::new(config, &scratch);
    decide::bind_line(&env, index);
    1
}

/// Opens the slots of a line of the PBX's description, in the scratch of a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn open_media_line(direction: u32, index: u32) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), config()) else {
        return 0;
    };
    let env = Kernel::new(config, &scratch);
    decide::open_line(&env, index);
    1
}

/// Binds the slot of a port to the stream in the scratch of a direction.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bind_media(direction: u32, number: u32, port: u32) -> u32 {
    let (Some(scratch), Some(slot)) = (Scratch::at(direction), maps::media_slot(number, port))
    else {
        return 0;
    };
    // SAFETY: the value of an array map is valid and aligned; these programs use it by the functions of `media` only.
    let bound = unsafe { media::bind(slot, &scratch.pairing().binding) };
    maps::mark_media(number, port, true);
    let event = decide::event_of(bound);
    scratch.pairing().add(event);
    count_media(event);
    1
}

/// Empties the slot of a port.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn clear_media(number: u32, port: u32) -> u32 {
    let Some(slot) = maps::media_slot(number, port) else {
        return 0;
    };
    // SAFETY: as above.
    if unsafe { media::clear(slot) } {
        maps::mark_media(number, port, false);
        // SAFETY: as above.
        if unsafe { media::is_used(slot) } {
            // Another CPU has bound and marked it meanwhile.
            maps::mark_media(number, port, true);
        }
        count_media(MediaCounter::Removed);
    }
    1
}

impl<L> decide::MediaSlots for Kernel<'_, L> {
    #[inline(always)]
    fn media_config(&self) -> &MediaConfig {
        maps::media_config()
    }

    #[inline(always)]
    fn pairing(&self) -> &mut Pairing {
        self.scratch().pairing()
    }

    #[inline(always)]
    fn bind(&self, number: u32, port: u16) {
        bind_media(self.scratch().direction(), number, port.into());
    }

    #[inline(always)]
    fn owner(&self, number: u32, port: u16) -> Option<DialogKey> {
        // SAFETY: as in `bind_media`.
        unsafe { media::owner(maps::media_slot(number, port.into())?) }
    }

    #[inline(always)]
    fn describe(&self, number: u32, port: u16) {
        if let Some(slot) = maps::media_slot(number, port.into()) {
            // SAFETY: as in `bind_media`.
            unsafe { media::describe(slot, &mut self.pairing().binding) };
        }
    }

    #[inline(always)]
    fn extend(&self, number: u32, port: u16, expires: u64) {
        if let Some(slot) = maps::media_slot(number, port.into()) {
            // SAFETY: as in `bind_media`.
            unsafe { media::extend(slot, expires) };
        }
    }

    #[inline(always)]
    fn clear(&self, number: u32, port: u16) {
        clear_media(number, port.into());
    }

    #[inline(always)]
    fn open(&self, number: u32, port: u16) {
        let port = port.into();
        if maps::is_media_marked(number, port)
            && let Some(slot) = maps::media_slot(number, port)
        {
            // SAFETY: as in `bind_media`.
            unsafe { media::open(slot) };
        }
    }

    #[inline(always)]
    fn guard(&self, number: u32, port: u16, source: &Endpoint) -> Guard {
        let Some(slot) = maps::media_slot(number, port.into()) else {
            return Guard::Off;
        };
        // SAFETY: as in `bind_media`.
        if !unsafe { media::is_intruder(slot, source, ticks(self.now())) } {
            return Guard::Off;
        }
        // SAFETY: as above.
        maps::guard_of(&unsafe { media::peer(slot) })
    }

    #[inline(always)]
    fn count_media(&self, event: MediaCounter) {
        count_media(event);
    }

    #[inline(always)]
    fn is_signalling(&self, port: u16) -> bool {
        let config = self.config();
        config.has_port(port.into()) || is_stun_port::<Ingress>(config, port.into())
    }
}

impl<L: Hash> Media for Kernel<'_, L> {
    #[inline(always)]
    fn description(&self) -> &Description {
        self.scratch().description()
    }

    #[inline(always)]
    fn bind_line(&self, index: u32) {
        bind_media_line(self.scratch().direction(), index);
    }

    #[inline(always)]
    fn open_line(&self, index: u32) {
        open_media_line(self.scratch().direction(), index);
    }
}

/// Datagram of a stream, in a frame without VLAN tags, IP options, extensions and fragments.
struct Plain {
    source: Endpoint,
    destination: Endpoint,
    /// Offset of the UDP header.
    udp: u32,
    /// Bytes of the payload.
    len: u32,
    /// MAC address from which the frame comes, and to which it goes.
    from: u64,
    to: u64,
}

/// Offset of the type of an Ethernet frame.
const TYPE: usize = 12;
const IP: u32 = 14;
/// Bytes of headers.
const IPV4: u32 = 20;
const IPV6: u32 = 40;
const UDP: u32 = 8;
/// Bytes up to the payload.
const BEFORE_V4: usize = (IP + IPV4 + UDP) as usize;
const BEFORE_V6: usize = (IP + IPV6 + UDP) as usize;
/// "More fragments" and the offset, in network byte order.
const FRAGMENT: u64 = 0x3fff_u16.to_be() as u64;

/// Reads the headers of a frame.
#[inline(always)]
fn plain<C: Context>(frame: Frame<C>) -> Option<Plain> {
    const AT: usize = IP as usize;
    const PORTS_V4: usize = BEFORE_V4 - UDP as usize;
    const PORTS_V6: usize = BEFORE_V6 - UDP as usize;
    let start = frame.start::<BEFORE_V4>()?;
    let first = start.load::<TYPE>();
    let kind = first as u16;
    let mut plain = Plain {
        source: Endpoint::UNKNOWN,
        destination: Endpoint::UNKNOWN,
        udp: 0,
        len: 0,
        from: start.load::<4>() >> 16,
        to: start.load::<0>() << 16 >> 16,
    };
    let udp = if kind == EtherType::Ipv4 as u16 {
        let second = start.load::<{ AT + 6 }>();
        let proto = (second >> 24) as u8;
        if (first >> 16) as u8 != 0x45 || second & FRAGMENT != 0 || proto != IpProto::Udp as u8 {
            return None;
        }
        let [s0, s1, s2, s3, d0, d1, d2, d3] = start.load::<{ AT + 12 }>().to_le_bytes();
        plain.source.addr[1] = Endpoint::v4([s0, s1, s2, s3], 0).addr[1];
        plain.destination.addr[1] = Endpoint::v4([d0, d1, d2, d3], 0).addr[1];
        plain.udp = IP + IPV4;
        start.load::<PORTS_V4>()
    } else if kind == EtherType::Ipv6 as u16 {
        let start = frame.start::<BEFORE_V6>()?;
        if (start.load::<AT>() >> 48) as u8 != IpProto::Udp as u8 {
            return None;
        }
        plain.source.addr[0] = start.load::<{ AT + 8 }>();
        plain.source.addr[1] = start.load::<{ AT + 16 }>();
        plain.destination.addr[0] = start.load::<{ AT + 24 }>();
        plain.destination.addr[1] = start.load::<{ AT + 32 }>();
        if plain.source.is_v4() || plain.destination.is_v4() {
            return None;
        }
        plain.udp = IP + IPV6;
        start.load::<PORTS_V6>()
    } else {
        return None;
    };
    let [s0, s1, d0, d1, l0, l1, ..] = udp.to_le_bytes();
    plain.source.port = u32::from(u16::from_be_bytes([s0, s1]));
    plain.destination.port = u32::from(u16::from_be_bytes([d0, d1]));
    plain.len = u32::from(u16::from_be_bytes([l0, l1])).saturating_sub(UDP);
    Some(plain)
}

/// Returns the number of a local address, if the slot of its port is used.
#[inline(always)]
fn used(ours: &Endpoint) -> Option<u32> {
    let config = maps::media_config();
    // Most hosts have one address.
    let [high, low] = config.addresses[0];
    let number = if low == ours.addr[1] && high == ours.addr[0] {
        0
    } else {
        config.number(&ours.addr)
    };
    maps::is_media_marked(number, ours.port).then_some(number)
}

/// Learns from a packet that arrived. It passes, unless the guard drops it.
#[inline(always)]
pub(crate) fn packet_in(ctx: &XdpContext) -> u32 {
    learn(ctx).unwrap_or(XDP_PASS)
}

/// Learns from a packet. None if it is no packet for a stream.
#[inline(always)]
fn learn(ctx: &XdpContext) -> Option<u32> {
    let frame = Frame::from(ctx);
    let plain = plain(frame)?;
    let number = used(&plain.destination)?;
    let slot = maps::media_slot(number, plain.destination.port)?;
    let payload = plain.udp + UDP;
    let first = if plain.len >= 8 {
        frame.load(payload)?
    } else {
        0
    };
    let second = if plain.len >= 16 {
        frame.load(payload + 8)?
    } else {
        0
    };
    let packet = Packet::read(plain.len, first, second);
    let now = clock::now();
    let arrival = Arrival {
        source: plain.source,
        router: plain.from,
        packet,
        tick: ticks(now),
    };
    // SAFETY: as in `bind_media`.
    let arrived = unsafe { media::arrive(slot, &arrival) };
    let due = match arrived {
        Arrived::Unused => return None,
        Arrived::Stranger => {
            count_media(MediaCounter::Stranger);
            1
        }
        Arrived::Rival => {
            count_media(MediaCounter::Rival);
            CHECK
        }
        Arrived::Latched => {
            count_media(MediaCounter::Latched);
            CHECK
        }
        Arrived::Relatched => {
            count_media(MediaCounter::Relatched);
            CHECK
        }
        Arrived::Known => CHECK,
    };
    check::<Ingress>(slot, number, plain.destination.port, now, due);
    // STUN passes: it is no part of a stream.
    if arrived == Arrived::Stranger && packet.kind != PacketKind::Stun {
        let [high, low] = plain.source.addr;
        let guard = guard_media(number, plain.destination.port, high, low);
        if guard == Guard::Drop as u32 {
            // SAFETY: as in `bind_media`.
            unsafe { media::note_dropped(slot) };
            return Some(XDP_DROP);
        }
    }
    // A terminal that asks by STUN for its address must not be told another.
    if maps::media_config().restore != 0 && packet.kind != PacketKind::Stun {
        return Some(restore_media(ctx.ctx, number));
    }
    Some(XDP_PASS)
}

/// Gives a packet of a terminal the advertised address as its source. Reads the headers again, so that it is verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn restore_media(ctx: *mut xdp_md, number: u32) -> u32 {
    let frame = Frame::from(&XdpContext::new(ctx));
    if let Some(plain) = plain(frame)
        && let Some(slot) = maps::media_slot(number, plain.destination.port)
    {
        return restore(frame, &plain, slot);
    }
    XDP_PASS
}

#[inline(always)]
fn restore(frame: Frame<xdp_md>, plain: &Plain, slot: *mut MediaSlot) -> u32 {
    let Some(config) = config().filter(|config| config.shadow == 0) else {
        return XDP_PASS;
    };
    // SAFETY: as in `bind_media`.
    let Some(to) = (unsafe { media::advertised_source(slot, &plain.source) }) else {
        return XDP_PASS;
    };
    let at = plain.udp + UDP_CHECK;
    let Some(before) = frame.load_half(at) else {
        return XDP_PASS;
    };
    let (old, here) = (&plain.source, &plain.destination);
    let partial = config.partial_checksums != 0;
    let checksum = checksum_from(&to, old, here, plain.len, before, partial);
    let stored = frame.store_half(plain.udp, (to.port as u16).to_be())
        && frame.store_half(at, checksum)
        && store_address(frame, SOURCE, old, &to);
    if !stored {
        count_media(MediaCounter::WriteFailed);
        return XDP_DROP;
    }
    count_media(MediaCounter::Restored);
    XDP_PASS
}

/// Decides on a packet from an address that is not the terminal's. Returns a [`Guard`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_media(number: u32, port: u32, high: u64, low: u64) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::of::<Ingress>(), config()) else {
        return Guard::Off as u32;
    };
    let env = Kernel::new(config, &scratch);
    let source = Endpoint {
        addr: [high, low],
        port: 0,
        reserved: 0,
    };
    decide::guard(&env, number, port as u16, &source) as u32
}

/// Ticks between two looks at the owner of a slot.
const CHECK: u64 = ticks(SECOND);

/// Looks at the owner of a slot, if that is due.
#[inline(always)]
fn check<H: Hook>(slot: *mut MediaSlot, number: u32, port: u32, now: u64, due: u64) {
    // SAFETY: as in `bind_media`.
    if unsafe { media::is_due(slot, ticks(now), due) } {
        check_owner(H::DIRECTION as u32, number, port);
    }
}

/// Follows the owner of a slot.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn check_owner(direction: u32, number: u32, port: u32) -> u32 {
    let (Some(scratch), Some(config)) = (Scratch::at(direction), config()) else {
        return 0;
    };
    let env = Kernel::new(config, &scratch);
    decide::follow_owner(&env, number, port as u16).into()
}

/// Sends a packet of the PBX to where its stream comes from.
#[inline(always)]
pub(crate) fn packet_out(ctx: &TcContext) -> i32 {
    // SAFETY: the kernel gives a valid context.
    let skb = unsafe { &*ctx.skb.skb };
    if skb.gso_size != 0 || skb.vlan_present != 0 {
        return TC_ACT_UNSPEC;
    }
    let frame = Frame::from(ctx);
    let Some(plain) = plain(frame) else {
        return TC_ACT_UNSPEC;
    };
    let Some(number) = used(&plain.source) else {
        return TC_ACT_UNSPEC;
    };
    let Some(slot) = maps::media_slot(number, plain.source.port) else {
        return TC_ACT_UNSPEC;
    };
    let now = clock::now();
    check::<Egress>(slot, number, plain.source.port, now, CHECK);
    // SAFETY: as in `bind_media`.
    let (to, router, event) = match unsafe { media::depart(slot, &plain.destination) } {
        Departed::Rewritten { to, router } => (to, router, MediaCounter::Rewritten),
        // No router is known yet.
        Departed::Forwarded { to } => (to, 0, MediaCounter::Forwarded),
        Departed::Unused => return TC_ACT_UNSPEC,
        Departed::Elsewhere => return leave(MediaCounter::Elsewhere),
        Departed::Waiting => return leave(MediaCounter::Waiting),
        Departed::Left => return leave(MediaCounter::Left),
    };
    if config().is_none_or(|config| config.shadow != 0) {
        return leave(MediaCounter::Shadowed);
    }
    rewrite(ctx, &plain, &to, plain.to == router, event)
}

#[inline(always)]
fn leave(why: MediaCounter) -> i32 {
    count_media(why);
    TC_ACT_UNSPEC
}

/// Offsets of an address in headers of IPv4 and IPv6.
#[derive(Clone, Copy)]
struct Field {
    v4: u32,
    v6: u32,
}

const SOURCE: Field = Field { v4: 12, v6: 8 };
const DESTINATION: Field = Field { v4: 16, v6: 24 };

/// Offsets in headers.
const V4_CHECK: u32 = 10;
const UDP_DESTINATION: u32 = 2;
const UDP_CHECK: u32 = 6;

/// Writes the destination, and counts an event. `same_hop`: the frame goes to the router from which the stream comes.
///
/// Only the kernel knows whether the UDP checksum is partial, so its helper changes it. All else is stored directly: five
/// helpers take 80 ns more.
#[inline(always)]
fn rewrite(
    ctx: &TcContext,
    plain: &Plain,
    to: &Endpoint,
    same_hop: bool,
    event: MediaCounter,
) -> i32 {
    let old = &plain.destination;
    let check = (plain.udp + UDP_CHECK) as usize;
    let moved = old.addr[1] != to.addr[1] || old.addr[0] != to.addr[0];
    let mut changed = false;
    if old.port != to.port {
        let flags = u64::from(BPF_F_MARK_MANGLED_0) | size_of::<u16>() as u64;
        let ports = [old, to].map(|endpoint| u64::from((endpoint.port as u16).to_be()));
        if ctx
            .l4_csum_replace(check, ports[0], ports[1], flags)
            .is_err()
        {
            return leave(MediaCounter::WriteFailed);
        }
        changed = true;
    }
    if moved {
        let flags = u64::from(BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
        let difference = redirect::difference(old, to);
        if ctx.l4_csum_replace(check, 0, difference, flags).is_err() {
            count_media(MediaCounter::WriteFailed);
            return if changed { TC_ACT_SHOT } else { TC_ACT_UNSPEC };
        }
        if !to.is_v4() {
            // Does nothing if the kernel knows no sum of the packet (see `redirect::store_address`).
            //
            // SAFETY: the kernel gives a valid context.
            unsafe { bpf_csum_update(ctx.skb.skb, difference as u32) };
        }
    }
    let frame = Frame::from(ctx);
    let stored = store_port(frame, plain.udp, to.port)
        && (!moved || store_address(frame, DESTINATION, old, to));
    if !stored {
        count_media(MediaCounter::WriteFailed);
        return TC_ACT_SHOT;
    }
    count_media(event);
    if same_hop || !moved || redirect::keeps_next_hop(ctx) {
        return TC_ACT_UNSPEC;
    }
    redirect::mark_rerouted(ctx);
    // SAFETY: the kernel gives a valid context; no parameters are given.
    unsafe { bpf_redirect_neigh((*ctx.skb.skb).ifindex, core::ptr::null_mut(), 0, 0) };
    TC_ACT_REDIRECT
}

#[inline(always)]
fn store_port<C: Context>(frame: Frame<C>, udp: u32, port: u32) -> bool {
    frame.store_half(udp + UDP_DESTINATION, (port as u16).to_be())
}

/// Writes an address, and the checksum of an IPv4 header.
#[inline(always)]
fn store_address<C: Context>(frame: Frame<C>, field: Field, old: &Endpoint, to: &Endpoint) -> bool {
    if !to.is_v4() {
        let [high, low] = to.addr;
        let at = IP + field.v6;
        return frame.store(at, high as u32)
            && frame.store(at + 4, (high >> 32) as u32)
            && frame.store(at + 8, low as u32)
            && frame.store(at + 12, (low >> 32) as u32);
    }
    let Some(before) = frame.load_half(IP + V4_CHECK) else {
        return false;
    };
    let address = (to.addr[1] >> 32) as u32;
    frame.store(IP + field.v4, address)
        && frame.store_half(IP + V4_CHECK, header_checksum(old, to, before))
}
