//! The kernel programs of sipnat. They read packets and maps, let `nat-common` decide, and carry out the decision.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod answer;
mod bindings;
mod clock;
mod datagram;
mod egress;
mod env;
mod fast_reject;
mod frame;
mod ingress;
mod keepalive;
mod maps;
mod media;
mod redirect;
mod repeat;
mod scratch;
mod stages;
mod text;

use core::hint::black_box;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use nat_common::bpf::Repeat;

use crate::repeat::{Callback, MayGoto};

/// Learns from what arrives, and passes it; answers STUN requests, if that is on.
#[xdp(frags)]
pub(crate) fn ingress(ctx: XdpContext) -> u32 {
    ingress::run::<MayGoto>(&ctx)
}

/// Same program for kernels before 6.9.
#[xdp(frags)]
pub(crate) fn ingress_loop(ctx: XdpContext) -> u32 {
    ingress::run::<Callback>(&ctx)
}

/// Learns from what the PBX sends, and redirects it to the learned address.
#[classifier]
pub(crate) fn egress(ctx: TcContext) -> i32 {
    egress::run::<MayGoto>(&ctx)
}

/// Same program for kernels before 6.9.
#[classifier]
pub(crate) fn egress_loop(ctx: TcContext) -> i32 {
    egress::run::<Callback>(&ctx)
}

/// Reads the description in a message that arrived; entered from `ingress`.
#[xdp(frags)]
pub(crate) fn sdp_in(_: XdpContext) -> u32 {
    media::description_in::<MayGoto>();
    XDP_PASS
}

/// Same program for kernels before 6.9.
#[xdp(frags)]
pub(crate) fn sdp_in_loop(_: XdpContext) -> u32 {
    media::description_in::<Callback>();
    XDP_PASS
}

/// Reads the description in a message that the PBX sends; entered from `egress`.
#[classifier]
pub(crate) fn sdp_out(_: TcContext) -> i32 {
    media::description_out::<MayGoto>()
}

/// Same program for kernels before 6.9.
#[classifier]
pub(crate) fn sdp_out_loop(_: TcContext) -> i32 {
    media::description_out::<Callback>()
}

/// Learns from the packets of streams that arrive, and guards them; entered from `ingress`.
#[xdp(frags)]
pub(crate) fn media_in(ctx: XdpContext) -> u32 {
    media::packet_in(&ctx)
}

/// Sends the packets of streams to the learned address; entered from `egress`.
#[classifier]
pub(crate) fn media_out(ctx: TcContext) -> i32 {
    media::packet_out(&ctx)
}

/// Does nothing: a kernel that loads it has `may_goto`.
#[xdp]
pub(crate) fn may_goto(_: XdpContext) -> u32 {
    // The compiler drops a loop that it knows to have no effect.
    MayGoto::repeat(1, || black_box(false));
    XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the programs panics; the verifier would refuse this loop if it were reachable.
    loop {}
}

/// Licence of the programs: the helpers that choose the next hop are for GPL-compatible programs.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Section of an object that relies on the order of reads and writes of x86-64. Others keep it by atomics, on any machine.
#[cfg(bpf_target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "for_x86_64")]
static FOR_X86_64: u32 = 1;
