//! The UDP datagram in a frame, and its payload.

use nat_common::bytes::{Source, words};
use nat_common::datagram::{Datagram, Part};
use nat_common::endpoint::Endpoint;
use nat_common::engine::verdict::Skip;
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;
use network_types::vlan::VlanHdr;

use crate::frame::{Context, Frame};

/// Number of VLAN tags that are skipped.
const MAX_TAGS: usize = 2;
/// Number of IPv6 extension headers that are skipped.
const MAX_EXTENSIONS: usize = 4;

/// Finds the datagram in a frame.
#[inline(always)]
pub(crate) fn parse<C: Context>(frame: Frame<C>, datagram: &mut Datagram) -> Result<(), Skip> {
    if plain_ipv4(frame, datagram).is_none() {
        network(frame, datagram)?;
    }
    let load = |at| frame.load(at).ok_or(Skip::Malformed);
    let rest = datagram.len;
    if datagram.part == Part::Later {
        return Ok(());
    }
    let udp = datagram.udp;
    let [s0, s1, d0, d1, l0, l1, c0, c1] = load(udp)?.to_le_bytes();
    datagram.source.port = u32::from(u16::from_be_bytes([s0, s1]));
    datagram.destination.port = u32::from(u16::from_be_bytes([d0, d1]));
    datagram.checksum = u32::from(u16::from_ne_bytes([c0, c1]));
    let mut length = u32::from(u16::from_be_bytes([l0, l1]));
    if datagram.part == Part::First && length > rest {
        length = rest;
    }
    // Not shorter than its header, not longer than IP says, not cut off; what follows is padding.
    if length < UdpHdr::LEN as u32 || length > rest {
        return Err(Skip::Malformed);
    }
    // A large frame may lie in several pieces of memory: only the first is read.
    let here = frame.len();
    if udp + length > here {
        if udp + length > frame.total() || here < udp + UdpHdr::LEN as u32 {
            return Err(Skip::Malformed);
        }
        length = here - udp;
        datagram.cut = 1;
    }
    datagram.len = length - UdpHdr::LEN as u32;
    // The last eight bytes are there, so all are.
    load(udp + length - 8)?;
    Ok(())
}

/// Reads the headers up to that of UDP, if those are an untagged Ethernet header and one of IPv4 without options, as of most
/// datagrams: without a call.
#[inline(always)]
fn plain_ipv4<C: Context>(frame: Frame<C>, datagram: &mut Datagram) -> Option<()> {
    let start = frame.start::<{ plain::PAYLOAD }>()?;
    let (first, second) = (
        start.load::<{ plain::TYPE }>(),
        start.load::<{ plain::FRAGMENT }>(),
    );
    let expected = EtherType::Ipv4 as u64 | u64::from(plain::VERSION) << 16;
    let differs = (first ^ expected) & 0xff_ffff | second & plain::FRAGMENTED;
    let [_, _, _, _, t0, t1, id0, id1] = first.to_le_bytes();
    let total = u32::from(u16::from_be_bytes([t0, t1]));
    if differs != 0 || (second >> 24) as u8 != IpProto::Udp as u8 || total < Ipv4Hdr::LEN as u32 {
        return None;
    }
    let [s0, s1, s2, s3, d0, d1, d2, d3] = start.load::<{ plain::ADDRESSES }>().to_le_bytes();
    words::clear(datagram);
    datagram.source.addr[1] = Endpoint::v4([s0, s1, s2, s3], 0).addr[1];
    datagram.destination.addr[1] = Endpoint::v4([d0, d1, d2, d3], 0).addr[1];
    datagram.ip = EthHdr::LEN as u32;
    datagram.udp = (EthHdr::LEN + Ipv4Hdr::LEN) as u32;
    datagram.id = u32::from(u16::from_be_bytes([id0, id1]));
    datagram.part = Part::Whole;
    datagram.len = total - Ipv4Hdr::LEN as u32;
    Some(())
}

/// An untagged Ethernet header and one of IPv4 without options: offsets in the frame, and values there.
pub(crate) mod plain {
    /// Offset of the type of the frame. IPv4's version, length and identification follow.
    pub(crate) const TYPE: usize = 12;
    /// Offset of IPv4's flags and fragment offset, time to live, and protocol.
    pub(crate) const FRAGMENT: usize = 20;
    /// Offset of IPv4's addresses.
    pub(crate) const ADDRESSES: usize = 26;
    /// Offset of UDP's ports.
    pub(crate) const PORTS: usize = 34;
    /// Offset of UDP's payload.
    pub(crate) const PAYLOAD: usize = 42;
    /// First byte of the header of IPv4.
    pub(crate) const VERSION: u8 = 0x45;
    /// Mask of "more fragments" and the offset, in network byte order.
    pub(crate) const FRAGMENTED: u64 = 0x3fff_u16.to_be() as u64;
}

/// Reads the headers up to that of UDP. The length is then that of what follows IP's headers.
///
/// Its own function: the verifier would follow each way through the headers to the end of the program.
#[inline(never)]
fn network<C: Context>(frame: Frame<C>, datagram: &mut Datagram) -> Result<(), Skip> {
    words::clear(datagram);
    let load = |at| frame.load(at).ok_or(Skip::Malformed);
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
    datagram.len = if kind == EtherType::Ipv4 as u16 {
        ipv4(frame, ip, datagram)?
    } else if kind == EtherType::Ipv6 as u16 {
        ipv6(frame, ip, datagram)?
    } else {
        return Err(Skip::NotIp);
    };
    Ok(())
}

/// Reads an IPv4 header (RFC 791 3.1). Returns the number of bytes after it.
#[inline(always)]
fn ipv4<C: Context>(frame: Frame<C>, ip: u32, datagram: &mut Datagram) -> Result<u32, Skip> {
    /// "More fragments", and the offset.
    const MORE: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;
    let load = |at| frame.load(at).ok_or(Skip::Malformed);
    let [version, _, t0, t1, id0, id1, f0, f1] = load(ip)?.to_le_bytes();
    let [_, proto, ..] = load(ip + 8)?.to_le_bytes();
    let [s0, s1, s2, s3, d0, d1, d2, d3] = load(ip + 12)?.to_le_bytes();
    let header = u32::from(version & 0xf) * 4;
    let total = u32::from(u16::from_be_bytes([t0, t1]));
    if version >> 4 != 4 || header < Ipv4Hdr::LEN as u32 || total < header {
        return Err(Skip::Malformed);
    }
    if proto != IpProto::Udp as u8 {
        return Err(Skip::NotUdp);
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
        Part::Later
    } else if fragment & MORE != 0 {
        Part::First
    } else {
        Part::Whole
    };
    Ok(total - header)
}

/// Reads an IPv6 header and those between it and UDP (RFC 8200 4). Returns the number of bytes after them.
#[inline(always)]
fn ipv6<C: Context>(frame: Frame<C>, ip: u32, datagram: &mut Datagram) -> Result<u32, Skip> {
    let load = |at| frame.load(at).ok_or(Skip::Malformed);
    let [version, _, _, _, l0, l1, mut next, _] = load(ip)?.to_le_bytes();
    if version >> 4 != 6 {
        return Err(Skip::Malformed);
    }
    datagram.source.addr[0] = load(ip + 8)?;
    datagram.source.addr[1] = load(ip + 16)?;
    datagram.destination.addr[0] = load(ip + 24)?;
    datagram.destination.addr[1] = load(ip + 32)?;
    // A packet must not carry an IPv4-mapped address (RFC 4942 2.2), which would be taken for IPv4.
    if datagram.source.is_v4() || datagram.destination.is_v4() {
        return Err(Skip::BadSource);
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
                datagram.part = Part::Later;
                break;
            }
            if fragment & 1 != 0 {
                datagram.part = Part::First;
            }
            8
        } else {
            break;
        };
        if rest < length {
            return Err(Skip::Malformed);
        }
        rest -= length;
        at += length;
    }
    // In a later fragment, this is the first header of the first fragment, which may be options before UDP.
    let options = datagram.part == Part::Later && next == IpProto::Ipv6Opts as u8;
    if next != IpProto::Udp as u8 && !options {
        return Err(Skip::NotUdp);
    }
    datagram.udp = at;
    Ok(rest)
}

/// Payload of a datagram.
pub(crate) struct Payload<'d, C> {
    frame: Frame<C>,
    datagram: &'d Datagram,
}

impl<'d, C> Payload<'d, C> {
    /// Payload of a datagram that was found in the frame.
    #[inline(always)]
    pub(crate) fn of(datagram: &'d Datagram, frame: Frame<C>) -> Self {
        Self { frame, datagram }
    }

    /// Offsets in the frame of its first byte and of its last eight bytes. A shorter payload has those within the headers.
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
    /// Returns a pointer to `BYTES` bytes from `at`, if they are all there.
    #[inline(always)]
    pub(crate) fn pointer<const BYTES: usize>(&self, at: u32) -> Option<usize> {
        let (start, last) = self.bounds();
        let offset = start + at;
        if offset + BYTES as u32 - 8 > last {
            return None;
        }
        self.frame.pointer::<BYTES>(offset)
    }
}

impl<C: Context> Source for Payload<'_, C> {
    /// Near the end it reads the last eight bytes, and shifts out those before `at`: so it never sees a byte past the end,
    /// and every read is a whole word.
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

    #[inline(always)]
    fn is_whole(&self) -> bool {
        self.datagram.part == Part::Whole && self.datagram.cut == 0
    }
}
