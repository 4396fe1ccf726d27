//! From a frame to a datagram, and how its payload is read.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::{TcContext, XdpContext};
use nat_common::abi::Counter;
use nat_common::bytes::Source;
use nat_common::bytes::words::{self, Words};
use nat_common::endpoint::Endpoint;
use nat_common::stun::reply::checksum;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;
use network_types::vlan::VlanHdr;

use crate::way::Way;

/// What a datagram is of.
pub(crate) mod part {
    /// All of a datagram.
    pub(crate) const WHOLE: u32 = 0;
    /// Its first fragment, or so much of it as is in one piece in memory.
    pub(crate) const FIRST: u32 = 1;
    /// A fragment after the first. It has no ports.
    pub(crate) const LATER: u32 = 2;
}

/// A UDP datagram over IP and Ethernet, or a fragment of one.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    /// Where the IP header begins in the frame.
    pub(crate) ip: u32,
    /// Where the UDP header begins in the frame.
    pub(crate) udp: u32,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// One of [`part`].
    pub(crate) part: u32,
    /// Of a fragment, the identification that it shares with the others.
    pub(crate) id: u32,
    /// Not 0: there is a VLAN tag in the frame.
    pub(crate) tagged: u32,
}

// SAFETY: repr(C), of aligned words (asserted where used), integers only.
unsafe impl Words for Datagram {}

/// How many VLAN tags are looked behind.
const MAX_TAGS: usize = 2;
/// How many IPv6 extension headers are looked behind.
const MAX_EXTENSIONS: usize = 4;

/// Finds the datagram in a frame.
#[inline(always)]
pub(crate) fn parse<W: Way>(
    frame: Frame<W::Context>,
    datagram: &mut Datagram,
) -> Result<(), Counter> {
    // SAFETY: a valid reference.
    unsafe { words::zero(datagram) };
    let load = |at| frame.load(at).ok_or(W::MALFORMED);
    let mut at = EthHdr::LEN as u32 - 2;
    let mut kind = load(at)? as u16;
    for _ in 0..MAX_TAGS {
        if kind == EtherType::Ieee8021q as u16 || kind == EtherType::Ieee8021ad as u16 {
            datagram.tagged = 1;
            at += VlanHdr::LEN as u32;
            kind = load(at)? as u16;
        }
    }
    let ip = at + 2;
    datagram.ip = ip;
    let rest = if kind == EtherType::Ipv4 as u16 {
        ipv4::<W>(frame, ip, datagram)?
    } else if kind == EtherType::Ipv6 as u16 {
        ipv6::<W>(frame, ip, datagram)?
    } else {
        return Err(W::NOT_IP);
    };
    if datagram.part == part::LATER {
        return Ok(());
    }
    let udp = datagram.udp;
    let [s0, s1, d0, d1, l0, l1, _, _] = load(udp)?.to_le_bytes();
    datagram.source.port = u32::from(u16::from_be_bytes([s0, s1]));
    datagram.destination.port = u32::from(u16::from_be_bytes([d0, d1]));
    let mut length = u32::from(u16::from_be_bytes([l0, l1]));
    if datagram.part == part::FIRST && length > rest {
        length = rest;
    }
    // Not shorter than its header, not longer than IP says, not cut off; what follows is padding.
    if length < UdpHdr::LEN as u32 || length > rest {
        return Err(W::MALFORMED);
    }
    // A large frame may lie in several pieces of memory: what is needed must be in the first.
    let here = frame.len();
    if udp + length > here {
        if udp + length > frame.total() || here < udp + UdpHdr::LEN as u32 {
            return Err(W::MALFORMED);
        }
        length = here - udp;
    }
    datagram.len = length - UdpHdr::LEN as u32;
    // The last eight bytes are there, so all are.
    load(udp + length - 8)?;
    Ok(())
}

/// Reads an IPv4 header (RFC 791 3.1). How many bytes follow it.
#[inline(always)]
fn ipv4<W: Way>(
    frame: Frame<W::Context>,
    ip: u32,
    datagram: &mut Datagram,
) -> Result<u32, Counter> {
    /// "More fragments", and the offset.
    const MORE: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;
    let load = |at| frame.load(at).ok_or(W::MALFORMED);
    let [version, _, t0, t1, id0, id1, f0, f1] = load(ip)?.to_le_bytes();
    let [_, proto, ..] = load(ip + 8)?.to_le_bytes();
    let [s0, s1, s2, s3, d0, d1, d2, d3] = load(ip + 12)?.to_le_bytes();
    let header = u32::from(version & 0xf) * 4;
    let total = u32::from(u16::from_be_bytes([t0, t1]));
    if version >> 4 != 4 || header < Ipv4Hdr::LEN as u32 || total < header {
        return Err(W::MALFORMED);
    }
    if proto != IpProto::Udp as u8 {
        return Err(W::NOT_UDP);
    }
    let (source, destination) = (
        Endpoint::v4([s0, s1, s2, s3], 0),
        Endpoint::v4([d0, d1, d2, d3], 0),
    );
    datagram.source.addr[1] = source.addr[1];
    datagram.destination.addr[1] = destination.addr[1];
    datagram.udp = ip + header;
    datagram.id = u32::from(u16::from_be_bytes([id0, id1]));
    let fragment = u16::from_be_bytes([f0, f1]);
    datagram.part = if fragment & OFFSET != 0 {
        part::LATER
    } else if fragment & MORE != 0 {
        part::FIRST
    } else {
        part::WHOLE
    };
    Ok(total - header)
}

/// Reads an IPv6 header and those between it and UDP (RFC 8200 4). How many bytes follow them.
#[inline(always)]
fn ipv6<W: Way>(
    frame: Frame<W::Context>,
    ip: u32,
    datagram: &mut Datagram,
) -> Result<u32, Counter> {
    let load = |at| frame.load(at).ok_or(W::MALFORMED);
    let [version, _, _, _, l0, l1, mut next, _] = load(ip)?.to_le_bytes();
    if version >> 4 != 6 {
        return Err(W::MALFORMED);
    }
    datagram.source.addr[0] = load(ip + 8)?;
    datagram.source.addr[1] = load(ip + 16)?;
    datagram.destination.addr[0] = load(ip + 24)?;
    datagram.destination.addr[1] = load(ip + 32)?;
    // An IPv4-mapped address has no place in a packet (RFC 4942 2.2), and would be taken for IPv4.
    if datagram.source.is_v4() || datagram.destination.is_v4() {
        return Err(W::BAD_SOURCE);
    }
    let mut rest = u32::from(u16::from_be_bytes([l0, l1]));
    let mut at = ip + Ipv6Hdr::LEN as u32;
    for _ in 0..MAX_EXTENSIONS {
        let length = if next == IpProto::HopOpt as u8 || next == IpProto::Ipv6Opts as u8 {
            let [following, length, ..] = load(at)?.to_le_bytes();
            next = following;
            u32::from(length) * 8 + 8
        } else if next == IpProto::Ipv6Frag as u8 {
            let [following, _, f0, f1, i0, i1, i2, i3] = load(at)?.to_le_bytes();
            let fragment = u16::from_be_bytes([f0, f1]);
            datagram.id = u32::from_be_bytes([i0, i1, i2, i3]);
            next = following;
            if fragment >> 3 != 0 {
                datagram.part = part::LATER;
                break;
            }
            if fragment & 1 != 0 {
                datagram.part = part::FIRST;
            }
            8
        } else {
            break;
        };
        if rest < length {
            return Err(W::MALFORMED);
        }
        rest -= length;
        at += length;
    }
    // Of a later fragment, this is what the first one starts with; that may be options before UDP.
    let options = datagram.part == part::LATER && next == IpProto::Ipv6Opts as u8;
    if next != IpProto::Udp as u8 && !options {
        return Err(W::NOT_UDP);
    }
    datagram.udp = at;
    Ok(rest)
}

/// A frame in memory, by the context of the program that looks at it.
///
/// Where it begins and ends is read from the context each time. That costs little, and what is not kept need not be
/// moved out of registers and back, and does not tell one round of a loop from another (see [`crate::repeat`]).
pub(crate) struct Frame<C> {
    context: *const C,
}

impl<C> Clone for Frame<C> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Frame<C> {}

/// The pointer in a field of a context. The field has 32 bits, which the verifier turns into a pointer; a compiler that sees
/// the load may cut the pointer off to 32 bits again.
macro_rules! pointer {
    ($context:expr, $field:expr) => {{
        let pointer: usize;
        // SAFETY: the kernel gives a valid context, of which this only reads. It may be taken to touch memory, so it is
        // done where it stands.
        unsafe {
            asm!(
                "{pointer} = *(u32 *)({context} + {field})",
                context = in(reg) $context,
                field = const $field,
                pointer = out(reg) pointer,
                options(nostack),
            );
        }
        pointer
    }};
}

/// What the kernel tells a program of a frame.
pub(crate) trait Context: Sized {
    /// The field that says where it begins.
    const DATA: usize;
    /// The field that says where that of it ends that is in one piece.
    const END: usize;

    /// Where it begins.
    #[inline(always)]
    fn data(context: *const Self) -> usize {
        pointer!(context, Self::DATA)
    }

    /// Where that of it ends that is in one piece.
    #[inline(always)]
    fn end(context: *const Self) -> usize {
        pointer!(context, Self::END)
    }

    /// Bytes in all.
    fn total(context: *const Self) -> u32;
}

impl Context for xdp_md {
    const DATA: usize = offset_of!(Self, data);
    const END: usize = offset_of!(Self, data_end);

    #[inline(always)]
    fn total(context: *const Self) -> u32 {
        // SAFETY: the kernel gives a valid context.
        unsafe { bpf_xdp_get_buff_len(context.cast_mut()) as u32 }
    }
}

impl Context for __sk_buff {
    const DATA: usize = offset_of!(Self, data);
    const END: usize = offset_of!(Self, data_end);

    #[inline(always)]
    fn total(context: *const Self) -> u32 {
        // SAFETY: the kernel gives a valid context.
        unsafe { (*context).len }
    }
}

impl From<&XdpContext> for Frame<xdp_md> {
    #[inline(always)]
    fn from(ctx: &XdpContext) -> Self {
        Self { context: ctx.ctx }
    }
}

impl From<&TcContext> for Frame<__sk_buff> {
    #[inline(always)]
    fn from(ctx: &TcContext) -> Self {
        Self {
            context: ctx.skb.skb,
        }
    }
}

impl<C: Context> Frame<C> {
    /// Bytes in all.
    #[inline(always)]
    pub(crate) fn total(&self) -> u32 {
        C::total(self.context)
    }

    /// Bytes that are in one piece.
    #[inline(always)]
    fn len(&self) -> u32 {
        (C::end(self.context) - C::data(self.context)) as u32
    }

    /// Eight bytes at an offset, if they are all there.
    #[inline(always)]
    pub(crate) fn load(&self, offset: u32) -> Option<u64> {
        let at = self.at::<8>(offset)?;
        let word: u64;
        // SAFETY: the bounds were checked. In assembly, since BPF may read at any alignment and the
        // compiler would read byte by byte.
        unsafe {
            asm!(
                "{word} = *(u64 *)({at} + 0)",
                at = in(reg) at,
                word = out(reg) word,
                options(readonly, pure, nostack),
            );
        }
        Some(word)
    }

    /// Whether an answer can be made of it: one datagram in one piece, from one station to one, without IP options,
    /// and with an IPv4 header that the kernel would take (RFC 1122 3.2.1.2).
    #[inline(always)]
    pub(crate) fn is_plain(&self, datagram: &Datagram) -> bool {
        /// The bit of each Ethernet address that says it is one of a group. As a source, switches drop it.
        const GROUP: u64 = 1 | 1 << 48;
        let v4 = datagram.source.is_v4();
        let header = if v4 { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
        datagram.part == part::WHOLE
            && datagram.udp - datagram.ip == header as u32
            && self.total() == self.len()
            && self.load(0).is_some_and(|word| word & GROUP == 0)
            && (!v4 || self.ipv4_checksum_is_right(datagram.ip))
    }

    /// Of a header without options.
    #[inline(always)]
    fn ipv4_checksum_is_right(&self, ip: u32) -> bool {
        let (Some(first), Some(second), Some(third)) =
            (self.load(ip), self.load(ip + 8), self.load(ip + 12))
        else {
            return false;
        };
        let mut sum = third >> 32;
        for word in [first, second] {
            sum += (word >> 32) + (word & 0xffff_ffff);
        }
        checksum(sum) == 0
    }

    /// Writes four bytes at an offset, as they lie in memory. False if there are none.
    #[inline(always)]
    pub(crate) fn store(&self, offset: u32, word: u32) -> bool {
        let Some(at) = self.at::<4>(offset) else {
            return false;
        };
        // SAFETY: the bounds were checked. In assembly, as in `load`.
        unsafe {
            asm!(
                "*(u32 *)({at} + 0) = {word}",
                at = in(reg) at,
                word = in(reg) u64::from(word),
                options(nostack),
            );
        }
        true
    }

    /// A pointer to so many bytes at an offset, if they are all there.
    #[inline(always)]
    fn at<const BYTES: usize>(&self, offset: u32) -> Option<usize> {
        let mut at = C::data(self.context);
        // The verifier wants to see the bound of what is added to a packet pointer on the very register
        // that is added, and the check against the end on the very pointer that is read.
        //
        // SAFETY: adds a number below 32768 to a pointer.
        unsafe {
            asm!(
                "{offset} &= 0x7fff",
                "{at} += {offset}",
                offset = inout(reg) u64::from(offset) => _,
                at = inout(reg) at,
                options(nomem, pure, nostack),
            );
        }
        if at + BYTES > C::end(self.context) {
            return None;
        }
        Some(at)
    }
}

/// The payload of a datagram.
pub(crate) struct Payload<'d, C> {
    frame: Frame<C>,
    datagram: &'d Datagram,
}

impl<'d, C> Payload<'d, C> {
    /// The payload of a datagram that was found in a frame before.
    #[inline(always)]
    pub(crate) fn of(datagram: &'d Datagram, frame: Frame<C>) -> Self {
        Self { frame, datagram }
    }

    /// Where it begins in the frame, and where its last eight bytes do. Of a shorter payload, that is within the headers.
    #[inline(always)]
    fn bounds(&self) -> (u32, u32) {
        // SAFETY: a valid reference. Volatile, so that it stays in memory, as the frame's bounds do.
        let (udp, len) = unsafe {
            (
                (&raw const self.datagram.udp).read_volatile(),
                (&raw const self.datagram.len).read_volatile(),
            )
        };
        let start = udp + UdpHdr::LEN as u32;
        (start, start + len - 8)
    }
}

impl<C: Context> Payload<'_, C> {
    /// A pointer to so many bytes from `at`, if they are all there.
    #[inline(always)]
    pub(crate) fn piece<const BYTES: usize>(&self, at: u32) -> Option<usize> {
        let (start, last) = self.bounds();
        let place = start + at;
        if place + BYTES as u32 - 8 > last {
            return None;
        }
        self.frame.at::<BYTES>(place)
    }
}

impl<C: Context> Source for Payload<'_, C> {
    /// Near the end the last eight bytes are read and those before `at` shifted out, so that no byte
    /// past the end is ever seen and no second way of reading is needed.
    #[inline(always)]
    fn word(&self, at: u32) -> u64 {
        let (start, last) = self.bounds();
        let wanted = start + at;
        if wanted <= last {
            return self.frame.load(wanted).unwrap_or(0);
        }
        let gone = (wanted - last) * 8;
        if gone > 63 {
            return 0;
        }
        self.frame.load(last).unwrap_or(0) >> gone
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.datagram.len
    }
}
