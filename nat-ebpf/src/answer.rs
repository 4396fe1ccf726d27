//! Turns the frame of a Binding request into its answer.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::stun::reply::{Reply, checksum};
use network_types::ip::IpProto;
use network_types::udp::UdpHdr;

use crate::frame::Frame;

/// Hop limit of answers.
const TTL: u8 = 64;
/// Version and length of an IPv4 header without options.
const IPV4: u32 = 0x45 << 24;
/// "Don't fragment": an answer therefore needs no identification (RFC 6864 4.1).
const DONT_FRAGMENT: u32 = 0x4000;
/// Version of an IPv6 header.
const IPV6: u32 = 6 << 28;

/// Outcome of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// The frame is the answer.
    Done,
    /// The frame cannot have the length of the answer. It is as it was.
    Refused,
    /// The frame is half an answer.
    Broken,
}

/// Writes the answer, from the request's destination to its source. VLAN tags stay.
#[inline(never)]
pub(crate) fn write(ctx: &XdpContext, datagram: &Datagram, reply: &Reply) -> Written {
    let udp_len = UdpHdr::LEN as u32 + reply.len();
    let longer = (datagram.udp + udp_len).wrapping_sub(Frame::from(ctx).total()) as i32;
    // The frame grows at its head, where drivers leave headroom: a veth may have no tailroom.
    //
    // SAFETY: the kernel gives a valid context.
    let refused = unsafe {
        match longer {
            0 => false,
            1.. => bpf_xdp_adjust_head(ctx.ctx, -longer) != 0,
            _ => bpf_xdp_adjust_tail(ctx.ctx, longer) != 0,
        }
    };
    if refused {
        return Written::Refused;
    }
    let frame = Frame::from(ctx);
    let was = longer.max(0) as u32;
    if ethernet(frame, was) && ip(frame, datagram, udp_len) && udp(frame, datagram, udp_len, reply)
    {
        Written::Done
    } else {
        Written::Broken
    }
}

/// Swaps the addresses of the Ethernet header at offset `was`, and moves it with its tags to the beginning.
#[inline(always)]
fn ethernet(frame: Frame<xdp_md>, was: u32) -> bool {
    let (Some(first), Some(second)) = (frame.load(was), frame.load(was + 4)) else {
        return false;
    };
    // The type, and two tags at most. The next writes overwrite the rest.
    let (Some(third), Some(fourth)) = (frame.load(was + 12), frame.load(was + 16)) else {
        return false;
    };
    // Six bytes of each, in words of four.
    frame.store(0, (second >> 16) as u32)
        && frame.store(4, (second >> 48) as u32 | (first as u32) << 16)
        && frame.store(8, (first >> 16) as u32)
        && frame.store(12, third as u32)
        && frame.store(16, fourth as u32)
        && frame.store(20, (fourth >> 32) as u32)
}

#[inline(always)]
fn ip(frame: Frame<xdp_md>, datagram: &Datagram, udp_len: u32) -> bool {
    let (from, to, at) = (&datagram.destination, &datagram.source, datagram.ip);
    if from.is_v4() {
        let total = datagram.udp - at + udp_len;
        let first = (IPV4 | total).to_be();
        let second = DONT_FRAGMENT.to_be();
        let third = |check: u16| {
            let [a, b] = check.to_ne_bytes();
            u32::from_ne_bytes([TTL, IpProto::Udp as u8, a, b])
        };
        let (from, to) = (
            u32::from_ne_bytes(from.as_v4()),
            u32::from_ne_bytes(to.as_v4()),
        );
        let sum = [first, second, third(0), from, to]
            .into_iter()
            .fold(0, |sum, word| sum + u64::from(word));
        frame.store(at, first)
            && frame.store(at + 4, second)
            && frame.store(at + 8, third(checksum(sum)))
            && frame.store(at + 12, from)
            && frame.store(at + 16, to)
    } else {
        frame.store(at, IPV6.to_be())
            && frame.store(
                at + 4,
                (udp_len << 16 | (IpProto::Udp as u32) << 8 | u32::from(TTL)).to_be(),
            )
            && address(frame, at + 8, from)
            && address(frame, at + 24, to)
    }
}

#[inline(always)]
fn address(frame: Frame<xdp_md>, at: u32, endpoint: &Endpoint) -> bool {
    let [high, low] = endpoint.addr;
    frame.store(at, high as u32)
        && frame.store(at + 4, (high >> 32) as u32)
        && frame.store(at + 8, low as u32)
        && frame.store(at + 12, (low >> 32) as u32)
}

#[inline(always)]
fn udp(frame: Frame<xdp_md>, datagram: &Datagram, udp_len: u32, reply: &Reply) -> bool {
    let (from, to, at) = (&datagram.destination, &datagram.source, datagram.udp);
    let ports = (from.port << 16 | to.port).to_be();
    // The prefix of IPv4-mapped addresses adds zero to this sum.
    let mut sum = u64::from(ports)
        + u64::from((IpProto::Udp as u32).to_be())
        // In the pseudo-header, and in the header.
        + 2 * u64::from(udp_len.to_be());
    for word in [from.addr[0], from.addr[1], to.addr[0], to.addr[1]] {
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    for word in reply.words() {
        sum += u64::from(*word);
    }
    let check = match checksum(sum) {
        // 0 says that there is none (RFC 768).
        0 => u16::MAX,
        check => check,
    };
    let length = (udp_len << 16).to_be()
        | u32::from_ne_bytes({
            let [a, b] = check.to_ne_bytes();
            [0, 0, a, b]
        });
    let start = at + UdpHdr::LEN as u32;
    if !frame.store(at, ports) || !frame.store(at + 4, length) {
        return false;
    }
    for (index, word) in reply.words().iter().enumerate() {
        let offset = index as u32 * 4;
        if offset >= reply.len() {
            break;
        }
        // Return at once: kernel 6.1 would follow every failed store past all later ones.
        if !frame.store(start + offset, *word) {
            return false;
        }
    }
    true
}
