//! Rewrites the destination of a packet that the PBX sends.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM};
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_redirect_neigh};
use aya_ebpf::programs::TcContext;
use nat_common::abi::Counter;
use nat_common::datagram::{Datagram, Part};
use nat_common::endpoint::Endpoint;

use crate::frame::Frame;
use crate::maps::{config, count};

/// Offsets in the IPv4 header.
const V4_CHECK: u32 = 10;
const V4_DESTINATION: u32 = 16;
/// Offset in the IPv6 header.
const V6_DESTINATION: u32 = 24;
/// Offsets in the UDP header.
const UDP_DESTINATION: usize = 2;
const UDP_CHECK: usize = 6;

/// Outcome of a redirect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirected {
    /// It goes to the new destination, as it is.
    Done,
    /// It goes to the new destination, once the kernel has looked up the route to it.
    Rerouted,
    /// The packet cannot be written to. It is as it was.
    Refused,
    /// The packet is half changed.
    Broken,
}

/// Mark in the control block of a packet that the kernel routes again, since it then passes the program once more. The
/// kernel itself never writes this there.
const REROUTED: [u32; 2] = [0x7369_706e, 0x6174_0001];

/// Whether the packet passes for the second time. The call clears the mark.
#[inline(always)]
pub(crate) fn was_rerouted(ctx: &TcContext) -> bool {
    // SAFETY: as in `apply`.
    let cb = unsafe { &mut (*ctx.skb.skb).cb };
    if cb[3] != REROUTED[0] || cb[4] != REROUTED[1] {
        return false;
    }
    cb[3] = 0;
    true
}

/// Marks a packet that passes once more.
#[inline(always)]
pub(crate) fn mark_rerouted(ctx: &TcContext) {
    // SAFETY: the kernel gives a valid context.
    let cb = unsafe { &mut (*ctx.skb.skb).cb };
    cb[3] = REROUTED[0];
    cb[4] = REROUTED[1];
}

/// Whether the frame keeps its next hop: this host has not routed it.
#[inline(always)]
pub(crate) fn keeps_next_hop(ctx: &TcContext) -> bool {
    /// Offset of the source address in an Ethernet frame.
    const SOURCE: u32 = 6;
    let source = Frame::from(ctx).load(SOURCE).unwrap_or(0);
    // SAFETY: the kernel gives a valid context.
    let interface = unsafe { (*ctx.skb.skb).ifindex };
    has_other_hop(interface, source) != 0
}

/// Whether the frames of an interface from this MAC address keep their next hop. Not 0: they do. Verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn has_other_hop(interface: u32, source: u64) -> u32 {
    let Some(config) = config() else { return 0 };
    config.keeps_next_hop(interface, source).into()
}

/// Rewrites the destination. If the address changed, the kernel chooses the next hop again, since TC egress comes after
/// routing. Its own function, since the stack is small.
#[inline(never)]
pub(crate) fn apply(ctx: &TcContext, datagram: &Datagram, to: &Endpoint) -> Redirected {
    let old = &datagram.destination;
    let moved = old.addr[1] != to.addr[1] || old.addr[0] != to.addr[0];
    let later = datagram.part == Part::Later;
    let other_port = !later && old.port != to.port;
    let difference = if moved { difference(old, to) } else { 0 };

    // The first write makes the packet linear and private up to its offset. The UDP checksum has the highest offset: once it
    // is written, no other write fails.
    let mut failure = Redirected::Refused;
    if later {
        // It has no UDP header.
        if ctx.pull_data(datagram.udp).is_err() {
            return failure;
        }
    } else {
        let check = datagram.udp as usize + UDP_CHECK;
        if other_port {
            let flags = u64::from(BPF_F_MARK_MANGLED_0) | size_of::<u16>() as u64;
            let ports = [old, to].map(|endpoint| u64::from((endpoint.port as u16).to_be()));
            if ctx
                .l4_csum_replace(check, ports[0], ports[1], flags)
                .is_err()
            {
                return failure;
            }
            failure = Redirected::Broken;
        }
        // The address is part of the checksum's pseudo-header; the flag keeps a partial checksum, which the NIC will complete,
        // right as well.
        let flags = u64::from(BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
        if moved && ctx.l4_csum_replace(check, 0, difference, flags).is_err() {
            return failure;
        }
    }
    if moved && !store_address(ctx, datagram, to, difference) {
        return Redirected::Broken;
    }
    let port = (to.port as u16).to_be();
    let offset = datagram.udp as usize + UDP_DESTINATION;
    if other_port && ctx.store(offset, &port, 0).is_err() {
        return Redirected::Broken;
    }
    if !moved {
        return Redirected::Done;
    }
    // SAFETY: the kernel gives a valid context.
    let skb = unsafe { &*ctx.skb.skb };
    // The addresses of a VLAN belong to another interface: none of its routes leads through this one.
    if datagram.tagged != 0 || skb.vlan_present != 0 || keeps_next_hop(ctx) {
        count(Counter::NextHopKept);
        return Redirected::Done;
    }
    count(Counter::NextHopChanged);
    mark_rerouted(ctx);
    // Without a neighbour the kernel looks up route and neighbour of the changed packet, and sends it through this
    // interface; without a route it drops it. `bpf_fib_lookup` would tell that before, but refuses on a host that does not
    // forward, as most PBXs do not.
    //
    // SAFETY: no parameters are given.
    unsafe { bpf_redirect_neigh(skb.ifindex, core::ptr::null_mut(), 0, 0) };
    Redirected::Rerouted
}

/// Returns the difference that a change of address makes to a checksum. IPv4-mapped addresses differ by as much as the
/// IPv4 addresses themselves.
#[inline(always)]
pub(crate) fn difference(old: &Endpoint, to: &Endpoint) -> u64 {
    const BYTES: u32 = size_of::<[u64; 2]>() as u32;
    let [old, to] = [old, to].map(|endpoint| endpoint.addr.as_ptr().cast_mut().cast());
    // SAFETY: two valid arrays of that size.
    unsafe { bpf_csum_diff(old, BYTES, to, BYTES, 0) as u64 }
}

/// Writes the address, and the checksum of the IPv4 header.
///
/// The sum of a packet that the kernel knows (`CHECKSUM_COMPLETE`) covers the header. IPv4's has a checksum, which takes the
/// address out of that sum. IPv6's has none, so the sum changes with the address.
#[inline(always)]
fn store_address(ctx: &TcContext, datagram: &Datagram, to: &Endpoint, difference: u64) -> bool {
    if !to.is_v4() {
        let offset = (datagram.ip + V6_DESTINATION) as usize;
        return ctx
            .store(offset, &to.addr, BPF_F_RECOMPUTE_CSUM.into())
            .is_ok();
    }
    let check = (datagram.ip + V4_CHECK) as usize;
    let offset = (datagram.ip + V4_DESTINATION) as usize;
    let address = u32::from_ne_bytes(to.as_v4());
    ctx.l3_csum_replace(check, 0, difference, 0).is_ok() && ctx.store(offset, &address, 0).is_ok()
}
