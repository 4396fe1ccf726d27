//! Gives a packet of the PBX another destination.

use core::ffi::c_int;
use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup as FibLookup, bpf_redir_neigh as Neighbour,
    bpf_redir_neigh__bindgen_ty_1 as NextAddress,
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirected {
    /// It goes to the new destination, as it is.
    Done,
    /// It goes to the new destination; the kernel must send it on to another neighbour.
    ToNeighbour,
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
/// A function of its own in the kernel, whose stack is small.
#[inline(never)]
pub(crate) fn apply(ctx: &TcContext, datagram: &Datagram, to: &Endpoint) -> Redirected {
    let old = &datagram.destination;
    let (old_port, new_port) = ((old.port as u16).to_be(), (to.port as u16).to_be());
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
    match hop {
        NextHop::Same => {}
        NextHop::Link(mac) => ok &= ctx.store(0, &mac, 0).is_ok(),
        NextHop::Gateway(gateway) if ok => {
            count(Counter::NextHopChanged);
            through(gateway, ifindex);
            return Redirected::ToNeighbour;
        }
        NextHop::Gateway(_) => {}
    }
    if !ok {
        return Redirected::Broken;
    }
    if let NextHop::Link(_) = hop {
        count(Counter::NextHopChanged);
    }
    Redirected::Done
}

/// Asks the kernel's routes for the way to `to` through the packet's interface.
#[inline(always)]
fn next_hop(ctx: &TcContext, datagram: &Datagram, to: &Endpoint, ifindex: u32) -> Option<NextHop> {
    let mut fib = MaybeUninit::<FibLookup>::uninit();
    for word in 0..size_of::<FibLookup>() / 4 {
        // SAFETY: within the value, for whose plain numbers zero is a value. Word by word, since the
        // kernel has no `memset`.
        unsafe { fib.as_mut_ptr().cast::<u32>().add(word).write_volatile(0) };
    }
    // SAFETY: written above.
    let fib = unsafe { fib.assume_init_mut() };
    fib.family = AF_INET;
    fib.l4_protocol = UDP;
    fib.sport = (datagram.source.port as u16).to_be();
    fib.dport = (to.port as u16).to_be();
    fib.ifindex = ifindex;
    fib.__bindgen_anon_2.tos = datagram.tos as u8;
    fib.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(datagram.source.as_v4());
    fib.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(to.as_v4());
    // SAFETY: context and parameters are valid, and their size is given.
    let found = unsafe {
        bpf_fib_lookup(
            ctx.as_ptr(),
            fib,
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

/// Asks the kernel to send the packet on through a neighbour that it resolves, once the program has
/// returned `TC_ACT_REDIRECT`. It cannot fail: the flags are 0.
#[inline(always)]
fn through(gateway: u32, ifindex: u32) {
    let mut neighbour = Neighbour {
        nh_family: u32::from(AF_INET),
        __bindgen_anon_1: NextAddress {
            ipv6_nh: [gateway, 0, 0, 0],
        },
    };
    // SAFETY: the parameters are valid, and their size is given.
    unsafe {
        bpf_redirect_neigh(
            ifindex,
            &raw mut neighbour,
            size_of::<Neighbour>() as c_int,
            0,
        )
    };
}
