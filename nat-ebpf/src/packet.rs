//! From a frame to a datagram, and how its payload is read.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::programs::{TcContext, XdpContext};
use nat_common::abi::Endpoint;
use nat_common::source::Source;
use nat_common::words::Words;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr};
use network_types::udp::UdpHdr;

/// Why a frame is not for sipnat.
pub(crate) enum NotOurs {
    NotIp,
    NotUdp,
    Fragment,
    Malformed,
}

/// A UDP datagram over IPv4 and Ethernet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    /// Where the UDP header begins in the frame.
    pub(crate) udp: u32,
    /// Bytes of payload.
    pub(crate) len: u32,
}

// SAFETY: repr(C), of aligned words (asserted where used), integers only.
unsafe impl Words for Datagram {}

/// A header at the beginning of the frame, which the programs read where it lies.
#[inline(always)]
fn header<T>(frame: Frame, offset: usize) -> Result<*const T, NotOurs> {
    if frame.data + offset + size_of::<T>() > frame.end {
        return Err(NotOurs::Malformed);
    }
    Ok((frame.data + offset) as *const T)
}

/// Finds the datagram in a frame.
#[inline(always)]
pub(crate) fn parse(frame: Frame) -> Result<(Datagram, Payload), NotOurs> {
    let eth: *const EthHdr = header(frame, 0)?;
    // SAFETY: `header` checked the bounds, and the type has no alignment to keep but that of its
    // ether_type, which lies at an even offset.
    if unsafe { (*eth).ether_type } != EtherType::Ipv4 as u16 {
        return Err(NotOurs::NotIp);
    }
    let ip: *const Ipv4Hdr = header(frame, EthHdr::LEN)?;
    // SAFETY: as above; all fields are bytes.
    let ip = unsafe { &*ip };
    let header_length = u32::from(ip.ihl());
    if ip.version() != 4 || header_length < Ipv4Hdr::LEN as u32 {
        return Err(NotOurs::Malformed);
    }
    if ip.proto != IpProto::Udp as u8 {
        return Err(NotOurs::NotUdp);
    }
    // Neither "more fragments" nor an offset (RFC 791 3.1).
    if u16::from_be_bytes(ip.frags) & 0x3fff != 0 {
        return Err(NotOurs::Fragment);
    }
    let udp = EthHdr::LEN as u32 + header_length;
    let [s0, s1, d0, d1, l0, l1, _, _] = frame.load(udp).ok_or(NotOurs::Malformed)?.to_le_bytes();
    let length = u32::from(u16::from_be_bytes([l0, l1]));
    // Not shorter than its header, not longer than IP says; what follows is padding.
    if length < UdpHdr::LEN as u32
        || header_length + length > u32::from(u16::from_be_bytes(ip.tot_len))
    {
        return Err(NotOurs::Malformed);
    }
    let start = udp + UdpHdr::LEN as u32;
    let payload = Payload {
        frame,
        start,
        len: length - UdpHdr::LEN as u32,
    };
    // The last eight bytes are there, so all are.
    if payload.frame.load(payload.last()).is_none() {
        return Err(NotOurs::Malformed);
    }
    let datagram = Datagram {
        source: Endpoint::v4(ip.src_addr, u16::from_be_bytes([s0, s1])),
        destination: Endpoint::v4(ip.dst_addr, u16::from_be_bytes([d0, d1])),
        udp,
        len: payload.len,
    };
    Ok((datagram, payload))
}

/// Bounds of a frame in memory.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    data: usize,
    end: usize,
}

/// Reads a packet pointer from a field of a context. The field has 32 bits, which the verifier turns
/// into a pointer; a compiler that sees the load may cut the pointer off to 32 bits again.
macro_rules! pointer {
    ($context:expr, $type:ty, $field:ident) => {{
        let pointer: usize;
        // SAFETY: the kernel gives a valid context, of which this only reads.
        unsafe {
            asm!(
                "{pointer} = *(u32 *)({context} + {offset})",
                context = in(reg) $context,
                offset = const offset_of!($type, $field),
                pointer = out(reg) pointer,
                options(readonly, nostack),
            );
        }
        pointer
    }};
}

impl From<&XdpContext> for Frame {
    #[inline(always)]
    fn from(ctx: &XdpContext) -> Self {
        Self {
            data: pointer!(ctx.ctx, xdp_md, data),
            end: pointer!(ctx.ctx, xdp_md, data_end),
        }
    }
}

impl From<&TcContext> for Frame {
    #[inline(always)]
    fn from(ctx: &TcContext) -> Self {
        Self {
            data: pointer!(ctx.skb.skb, __sk_buff, data),
            end: pointer!(ctx.skb.skb, __sk_buff, data_end),
        }
    }
}

impl Frame {
    /// Eight bytes at an offset, if they are all there.
    #[inline(always)]
    fn load(&self, offset: u32) -> Option<u64> {
        let mut at = self.data;
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
        if at + 8 > self.end {
            return None;
        }
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
}

/// The payload of a datagram.
pub(crate) struct Payload {
    frame: Frame,
    /// Where it begins in the frame; at least eight, since headers come before it.
    start: u32,
    len: u32,
}

impl Payload {
    /// The payload of a datagram that was found in a frame before.
    #[inline(always)]
    pub(crate) fn of(datagram: &Datagram, frame: Frame) -> Self {
        Self {
            frame,
            start: datagram.udp + UdpHdr::LEN as u32,
            len: datagram.len,
        }
    }

    /// Where the last eight bytes begin. Of a shorter payload, that is within the headers.
    #[inline(always)]
    fn last(&self) -> u32 {
        self.start + self.len - 8
    }
}

impl Source for Payload {
    /// Near the end the last eight bytes are read and those before `at` shifted out, so that no byte
    /// past the end is ever seen and no second way of reading is needed.
    #[inline(always)]
    fn word(&self, at: u32) -> u64 {
        let wanted = self.start + at;
        let last = self.last();
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
        self.len
    }
}
