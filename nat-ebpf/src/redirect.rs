//! Gives a packet of the PBX another destination.

use core::ffi::c_int;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LOOKUP_OUTPUT, TC_ACT_UNSPEC, bpf_fib_lookup as FibLookup, bpf_redir_neigh as Neighbour,
};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh};
use aya_ebpf::programs::TcContext;
use nat_common::abi::Endpoint;
use nat_common::counter::Counter;
use network_types::eth::EthHdr;

use crate::maps::count;
use crate::packet::Datagram;

/// Address family of IPv4, in the kernel's numbers.
const AF_INET: u8 = 2;
const UDP: u8 = 17;

/// Offsets in the frame.
const IP_CHECK: usize = EthHdr::LEN + 10;
const IP_DESTINATION: usize = EthHdr::LEN + 16;
/// Offsets in the UDP header.
const UDP_DESTINATION: usize = 2;
const UDP_CHECK: usize = 6;

/// What came of it.
pub(crate) enum Redirected {
    /// It goes to the new destination; the action to return.
    Done(i32),
    /// There is no way to the new destination through this interface. The packet is as it was.
    NoNextHop,
    /// The packet cannot be written to. It is as it was.
    Refused,
    /// The packet is half changed.
    Broken,
}

/// How the new destination is reached.
enum NextHop {
    /// As the old one.
    Same,
    /// Over this Ethernet address.
    Link([u8; 6]),
    /// Over this IPv4 address (network byte order), whose Ethernet address the kernel must find out.
    Gateway(u32),
}

/// Rewrites the destination, and chooses the next hop again if the address changed: TC egress comes
/// after routing.
#[inline(always)]
pub(crate) fn apply(ctx: &TcContext, datagram: &Datagram, to: &Endpoint) -> Redirected {
    let old = datagram.destination;
    let old_address = u32::from_ne_bytes(old.as_v4());
    let new_address = u32::from_ne_bytes(to.as_v4());
    // SAFETY: the kernel gives a valid context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };

    let hop = if old_address == new_address {
        NextHop::Same
    } else {
        match next_hop(ctx, datagram, to, ifindex) {
            Some(hop) => hop,
            None => return Redirected::NoNextHop,
        }
    };

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
        ok &= ctx.l4_csum_replace(udp + UDP_CHECK, from, into, flags).is_ok();
        ok &= ctx.l3_csum_replace(IP_CHECK, from, into, 4).is_ok();
        ok &= ctx.store(IP_DESTINATION, &new_address, 0).is_ok();
    }
    if old.port != to.port {
        let flags = u64::from(BPF_F_MARK_MANGLED_0) | 2;
        let (from, into) = (u64::from(old.port.to_be()), u64::from(to.port.to_be()));
        ok &= ctx.l4_csum_replace(udp + UDP_CHECK, from, into, flags).is_ok();
        ok &= ctx.store(udp + UDP_DESTINATION, &to.port.to_be(), 0).is_ok();
    }
    match hop {
        NextHop::Same => {}
        NextHop::Link(mac) => ok &= ctx.store(0, &mac, 0).is_ok(),
        NextHop::Gateway(gateway) if ok => {
            count(Counter::NextHopChanged);
            return Redirected::Done(through(gateway, ifindex));
        }
        NextHop::Gateway(_) => {}
    }
    if !ok {
        return Redirected::Broken;
    }
    if let NextHop::Link(_) = hop {
        count(Counter::NextHopChanged);
    }
    Redirected::Done(TC_ACT_UNSPEC)
}

/// Asks the kernel's routes for the way to `to` through the packet's interface.
#[inline(always)]
fn next_hop(ctx: &TcContext, datagram: &Datagram, to: &Endpoint, ifindex: u32) -> Option<NextHop> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut fib: FibLookup = unsafe { core::mem::zeroed() };
    fib.family = AF_INET;
    fib.l4_protocol = UDP;
    fib.sport = datagram.source.port.to_be();
    fib.dport = to.port.to_be();
    fib.ifindex = ifindex;
    fib.__bindgen_anon_2.tos = datagram.tos;
    fib.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(datagram.source.as_v4());
    fib.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(to.as_v4());
    // SAFETY: context and parameters are valid, and their size is given.
    let found = unsafe {
        bpf_fib_lookup(
            ctx.as_ptr(),
            &raw mut fib,
            size_of::<FibLookup>() as c_int,
            BPF_FIB_LOOKUP_OUTPUT,
        )
    };
    if found == i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return Some(NextHop::Link(fib.dmac));
    }
    if found == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) {
        // SAFETY: a lookup in IPv4 leaves the next hop there.
        return Some(NextHop::Gateway(unsafe { fib.__bindgen_anon_4.ipv4_dst }));
    }
    None
}

/// Sends the packet on through a neighbour that the kernel resolves. The action to return.
#[inline(always)]
fn through(gateway: u32, ifindex: u32) -> i32 {
    // SAFETY: plain numbers, for which zero is a value.
    let mut neighbour: Neighbour = unsafe { core::mem::zeroed() };
    neighbour.nh_family = u32::from(AF_INET);
    neighbour.__bindgen_anon_1.ipv4_nh = gateway;
    // SAFETY: the parameters are valid, and their size is given.
    (unsafe { bpf_redirect_neigh(ifindex, &raw mut neighbour, size_of::<Neighbour>() as c_int, 0) }) as i32
}
