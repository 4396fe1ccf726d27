//! Gives a packet of the PBX another destination.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::bpf_redirect_neigh;
use aya_ebpf::programs::TcContext;
use nat_common::abi::Endpoint;
use nat_common::counter::Counter;
use network_types::eth::EthHdr;

use crate::maps::count;
use crate::packet::Datagram;

/// Offsets in the frame.
const IP_CHECK: usize = EthHdr::LEN + 10;
const IP_DESTINATION: usize = EthHdr::LEN + 16;
/// Offsets in the UDP header.
const UDP_DESTINATION: usize = 2;
const UDP_CHECK: usize = 6;

/// What came of it.
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

/// Left in a packet's control block when it is routed again, since it then comes by once more. Whatever the
/// kernel had in there before, it was not this.
const REROUTED: [u32; 2] = [0x7369_706e, 0x6174_0001];

/// Whether the packet comes by for the second time. Asking forgets it.
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

/// Rewrites the destination. If the address changed, the next hop is chosen again: TC egress comes after
/// routing. A function of its own in the kernel, whose stack is small.
#[inline(never)]
pub(crate) fn apply(ctx: &TcContext, datagram: &Datagram, to: &Endpoint) -> Redirected {
    let old = &datagram.destination;
    let (old_port, new_port) = ((old.port as u16).to_be(), (to.port as u16).to_be());
    let old_address = u32::from_ne_bytes(old.as_v4());
    let new_address = u32::from_ne_bytes(to.as_v4());
    // SAFETY: the kernel gives a valid context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };

    // After this the headers are linear and this packet's own, so what follows does not fail.
    let udp = datagram.udp as usize;
    if ctx.pull_data(datagram.udp + 8).is_err() {
        return Redirected::Refused;
    }
    let mut ok = true;
    if old_address != new_address {
        // The address is part of the UDP checksum's pseudo-header; the flag keeps a partial checksum,
        // which the NIC will complete, right as well.
        let flags = u64::from(BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) | 4;
        let (from, into) = (u64::from(old_address), u64::from(new_address));
        ok &= ctx
            .l4_csum_replace(udp + UDP_CHECK, from, into, flags)
            .is_ok();
        ok &= ctx.l3_csum_replace(IP_CHECK, from, into, 4).is_ok();
        ok &= ctx.store(IP_DESTINATION, &new_address, 0).is_ok();
    }
    if old_port != new_port {
        let flags = u64::from(BPF_F_MARK_MANGLED_0) | 2;
        let (from, into) = (u64::from(old_port), u64::from(new_port));
        ok &= ctx
            .l4_csum_replace(udp + UDP_CHECK, from, into, flags)
            .is_ok();
        ok &= ctx.store(udp + UDP_DESTINATION, &new_port, 0).is_ok();
    }
    if !ok {
        return Redirected::Broken;
    }
    if old_address == new_address {
        return Redirected::Done;
    }
    count(Counter::NextHopChanged);
    // SAFETY: the kernel gives a valid context, whose control block is for programs to write to.
    unsafe {
        (*ctx.skb.skb).cb[3] = REROUTED[0];
        (*ctx.skb.skb).cb[4] = REROUTED[1];
    }
    // Without a neighbour the kernel looks up route and neighbour of the packet as it now is, and sends it
    // through this interface; without a route it drops it. `bpf_fib_lookup` would tell that before, but not
    // on a host that does not forward, which a PBX seldom does.
    //
    // SAFETY: no parameters are given.
    unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) };
    Redirected::Rerouted
}
