//! From a frame to a datagram, and how its payload is read.

use core::arch::asm;

use nat_common::abi::Endpoint;
use nat_common::source::Source;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr};
use network_types::udp::UdpHdr;

/// Why a frame is not for sipnat.
pub(crate) enum NotOurs {
    NotIpv4,
    NotUdp,
    Fragment,
    Malformed,
}

/// A UDP datagram over IPv4 and Ethernet.
pub(crate) struct Datagram {
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    /// Type of service, which routes may depend on.
    pub(crate) tos: u8,
    /// Where the UDP header begins in the frame.
    pub(crate) udp: u32,
    pub(crate) payload: Payload,
}

/// A header at the beginning of the frame, which the programs read where it lies.
#[inline(always)]
fn header<T>(data: usize, end: usize, offset: usize) -> Result<*const T, NotOurs> {
    if data + offset + size_of::<T>() > end {
        return Err(NotOurs::Malformed);
    }
    Ok((data + offset) as *const T)
}

/// Finds the datagram in a frame, whose bounds are `data` and `end`.
#[inline(always)]
pub(crate) fn parse(data: usize, end: usize) -> Result<Datagram, NotOurs> {
    let eth: *const EthHdr = header(data, end, 0)?;
    // SAFETY: `header` checked the bounds, and the type has no alignment to keep but that of its
    // ether_type, which lies at an even offset.
    if unsafe { (*eth).ether_type } != EtherType::Ipv4 as u16 {
        return Err(NotOurs::NotIpv4);
    }
    let ip: *const Ipv4Hdr = header(data, end, EthHdr::LEN)?;
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
    let frame = Frame { data, end };
    let [s0, s1, d0, d1, l0, l1, _, _] = frame.load(udp).ok_or(NotOurs::Malformed)?.to_le_bytes();
    let length = u32::from(u16::from_be_bytes([l0, l1]));
    // Not shorter than its header, not longer than IP says; what follows is padding.
    if length < UdpHdr::LEN as u32 || header_length + length > u32::from(u16::from_be_bytes(ip.tot_len)) {
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
    Ok(Datagram {
        source: Endpoint::v4(ip.src_addr, u16::from_be_bytes([s0, s1])),
        destination: Endpoint::v4(ip.dst_addr, u16::from_be_bytes([d0, d1])),
        tos: ip.tos,
        udp,
        payload,
    })
}

/// Bounds of a frame in memory.
struct Frame {
    data: usize,
    end: usize,
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
