//! Capture files (pcap and pcapng) and the UDP payloads of their packets.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use etherparse::{EtherType, LaxSlicedPacket};

/// UDP payloads of a capture file, and packets that have none.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// Payloads, in order.
    pub(crate) datagrams: Vec<Datagram>,
    /// Numbers of packets that are not read, by reason.
    pub(crate) skipped: BTreeMap<Skipped, usize>,
}

/// UDP datagram of a capture file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// Number of its packet in the file, from 1 on, as in Wireshark.
    pub(crate) number: usize,
    /// Source and destination port.
    pub(crate) ports: [u16; 2],
    /// Payload.
    pub(crate) payload: Vec<u8>,
}

/// Reason why a packet is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Skipped {
    /// A fragment of an IP packet that carries UDP.
    Fragment,
    /// A TCP segment that begins like SIP.
    Tcp,
    /// A UDP datagram of which the file holds a part.
    Cut,
    /// A link layer without a reader here.
    Link(u32),
}

/// Whether a file is a capture, by its first four bytes.
pub(crate) fn is_capture(file: &[u8]) -> bool {
    pcap(file).is_some() || file.starts_with(&SECTION)
}

/// Reads the packets of a file. `is_sip` says whether a TCP segment begins like SIP.
///
/// # Errors
///
/// If the file is not a capture, or ends within a header.
pub(crate) fn read(file: &[u8], is_sip: impl Fn(&[u8]) -> bool) -> Result<Capture> {
    let mut capture = Capture::default();
    let mut number = 0;
    let mut packet = |link: u32, frame: &[u8], whole: bool| {
        number += 1;
        capture.add(number, link, frame, whole, &is_sip);
    };
    if let Some(order) = pcap(file) {
        read_pcap(file, order, &mut packet)?;
    } else if file.starts_with(&SECTION) {
        read_pcapng(file, &mut packet)?;
    } else {
        bail!("neither pcap nor pcapng");
    }
    Ok(capture)
}

/// Order of the bytes in a number.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Result<u16> {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
        let bytes = bytes.context("the file ends within a header")?;
        Ok(match self {
            Self::Little => u16::from_le_bytes(*bytes),
            Self::Big => u16::from_be_bytes(*bytes),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Result<u32> {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
        let bytes = bytes.context("the file ends within a header")?;
        Ok(match self {
            Self::Little => u32::from_le_bytes(*bytes),
            Self::Big => u32::from_be_bytes(*bytes),
        })
    }
}

/// Returns the byte order of a pcap file, with times in microseconds or nanoseconds.
fn pcap(file: &[u8]) -> Option<Order> {
    match file.first_chunk()? {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => Some(Order::Little),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => Some(Order::Big),
        _ => None,
    }
}

/// Reads a pcap file. A file that ends within a packet ends before it.
fn read_pcap(file: &[u8], order: Order, packet: &mut impl FnMut(u32, &[u8], bool)) -> Result<()> {
    const FILE_HEADER: usize = 24;
    const PACKET_HEADER: usize = 16;
    // The upper bits hold the length of a frame check sequence.
    let link = order.u32(file, 20)? & 0xffff;
    let mut at = FILE_HEADER;
    while let (Ok(captured), Ok(len)) = (order.u32(file, at + 8), order.u32(file, at + 12)) {
        at += PACKET_HEADER;
        let Some(frame) = file.get(at..at + captured as usize) else {
            break;
        };
        packet(link, frame, captured >= len);
        at += frame.len();
    }
    Ok(())
}

/// Block types of pcapng (draft-ietf-opsawg-pcapng 4).
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const INTERFACE: u32 = 1;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;

/// Reads a pcapng file. A file that ends within a block ends before it.
fn read_pcapng(file: &[u8], packet: &mut impl FnMut(u32, &[u8], bool)) -> Result<()> {
    let mut order = Order::Little;
    let mut links = Vec::new();
    let mut at = 0;
    while file.len() - at >= 12 {
        if file[at..].starts_with(&SECTION) {
            order = match file[at + 8..at + 12] {
                [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
                _ => Order::Little,
            };
            links.clear();
        }
        let (kind, len) = (order.u32(file, at)?, order.u32(file, at + 4)? as usize);
        if len < 12 {
            bail!("a block of {len} bytes");
        }
        let Some(body) = file.get(at + 8..at + len - 4) else {
            break;
        };
        at += len;
        let (interface, captured, len, data) = match kind {
            INTERFACE => {
                links.push(u32::from(order.u16(body, 0)?));
                continue;
            }
            ENHANCED => (
                order.u32(body, 0)?,
                order.u32(body, 12)?,
                order.u32(body, 16)?,
                body.get(20..).unwrap_or_default(),
            ),
            SIMPLE => {
                let len = order.u32(body, 0)?;
                let data = &body[4..];
                (0, len.min(data.len() as u32), len, data)
            }
            _ => continue,
        };
        let link = links.get(interface as usize).copied();
        let link = link.context("a packet of an interface that is not described")?;
        let frame = data.get(..captured as usize);
        let frame = frame.context("a packet is longer than its block")?;
        packet(link, frame, captured >= len);
    }
    Ok(())
}

impl Capture {
    /// Adds the payload of a frame. `whole` says whether the file holds all of it.
    fn add(
        &mut self,
        number: usize,
        link: u32,
        frame: &[u8],
        whole: bool,
        is_sip: &impl Fn(&[u8]) -> bool,
    ) {
        const UDP: u8 = 17;
        const TCP: u8 = 6;
        const IP_IN_IP: [u8; 2] = [4, 41];
        let Some(mut sliced) = slice(link, frame) else {
            return self.skip(Skipped::Link(link));
        };
        while let Some(ip) = sliced.ip_payload() {
            let payload = ip.payload;
            match ip.ip_number.0 {
                UDP if ip.fragmented => self.skip(Skipped::Fragment),
                UDP => {
                    let be = |at| Order::Big.u16(payload, at).unwrap_or_default();
                    let (ports, len) = ([be(0), be(2)], usize::from(be(4)));
                    match payload.get(8..len) {
                        Some(payload) => self.datagrams.push(Datagram {
                            number,
                            ports,
                            payload: payload.to_vec(),
                        }),
                        None if !whole => self.skip(Skipped::Cut),
                        None => {}
                    }
                }
                TCP => {
                    let offset = payload.get(12).map_or(0, |b| usize::from(b >> 4) * 4);
                    if payload.get(offset..).is_some_and(is_sip) {
                        self.skip(Skipped::Tcp);
                    }
                }
                next if IP_IN_IP.contains(&next) => {
                    let Ok(inner) = LaxSlicedPacket::from_ip(payload) else {
                        return;
                    };
                    sliced = inner;
                    continue;
                }
                _ => {}
            }
            return;
        }
    }

    fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }
}

/// Finds the IP packet in a frame of a link layer (<https://www.tcpdump.org/linktypes.html>). `None` if it has no reader here.
fn slice(link: u32, frame: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let by_type = |type_at: usize, payload_at: usize| {
        let ether_type = Order::Big.u16(frame, type_at).unwrap_or_default();
        let payload = frame.get(payload_at..).unwrap_or_default();
        LaxSlicedPacket::from_ether_type(EtherType(ether_type), payload)
    };
    let ip = |at: usize| {
        let payload = frame.get(at..).unwrap_or_default();
        let none = LaxSlicedPacket::from_ether_type(EtherType(0), &[]);
        LaxSlicedPacket::from_ip(payload).unwrap_or(none)
    };
    Some(match link {
        // BSD loopback.
        0 | 108 => ip(4),
        // Ethernet.
        1 => by_type(12, 14),
        // IP without a link layer.
        12 | 14 | 101 | 228 | 229 => ip(0),
        // Linux cooked capture, versions 1 and 2.
        113 => by_type(14, 16),
        276 => by_type(0, 20),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    const TEXT: &[u8] = b"OPTIONS sip:a SIP/2.0\r\n\r\n";

    fn is_sip(payload: &[u8]) -> bool {
        payload == TEXT
    }

    /// Returns an Ethernet frame with a UDP datagram from port 5060 to port 5062.
    fn udp() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(5060, 5062)
            .write(&mut frame, TEXT)
            .expect("a frame");
        frame
    }

    fn tcp() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6([1; 16], [2; 16], 64)
            .tcp(5060, 5062, 1, 1)
            .write(&mut frame, TEXT)
            .expect("a frame");
        frame
    }

    /// Writes a pcap file. Each frame has the number of its bytes that are missing.
    fn pcap_file(link: u32, frames: &[(Vec<u8>, u32)]) -> Vec<u8> {
        let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        file.extend([2, 0, 4, 0]);
        file.extend([0; 8]);
        file.extend(65535_u32.to_le_bytes());
        file.extend(link.to_le_bytes());
        for (frame, missing) in frames {
            let len = frame.len() as u32;
            file.extend([0; 8]);
            file.extend(len.to_le_bytes());
            file.extend((len + missing).to_le_bytes());
            file.extend(frame);
        }
        file
    }

    fn datagram(number: usize) -> Datagram {
        Datagram {
            number,
            ports: [5060, 5062],
            payload: TEXT.to_vec(),
        }
    }

    #[test]
    fn pcap_has_whole_udp_datagrams() {
        let mut fragment = udp();
        fragment[14 + 6] = 0x20;
        let mut short = udp();
        short.pop();
        // The upper bits tell of a frame check sequence.
        let file = pcap_file(
            0x5400_0001,
            &[(fragment, 0), (tcp(), 0), (short, 1), (udp(), 0)],
        );
        assert!(is_capture(&file));
        let capture = read(&file, is_sip).unwrap();
        assert_eq!(capture.datagrams, [datagram(4)]);
        let skipped = [Skipped::Fragment, Skipped::Tcp, Skipped::Cut];
        assert_eq!(capture.skipped, skipped.map(|why| (why, 1)).into());
    }

    #[test]
    fn other_link_layers() {
        let ip = udp().split_off(14);
        let mut cooked = vec![0; 14];
        cooked.extend([8, 0]);
        cooked.extend(&ip);
        let loopback = [&[2, 0, 0, 0], &*ip].concat();
        // In IPv4 of protocol 4.
        let mut outer = ip.clone();
        outer.truncate(20);
        outer[3] = 20 + ip.len() as u8;
        outer[9] = 4;
        outer.extend(&ip);
        for (link, frame) in [(101, ip), (113, cooked), (0, loopback), (101, outer)] {
            let capture = read(&pcap_file(link, &[(frame, 0)]), is_sip).unwrap();
            assert_eq!(capture.datagrams, [datagram(1)], "{link}");
        }
        let capture = read(&pcap_file(105, &[(udp(), 0)]), is_sip).unwrap();
        assert_eq!(capture.skipped, [(Skipped::Link(105), 1)].into());
    }

    #[test]
    fn pcapng_has_the_same() {
        for big in [false, true] {
            let number = |n: u32| {
                if big {
                    n.to_be_bytes()
                } else {
                    n.to_le_bytes()
                }
            };
            let block = |kind: u32, body: &[u8]| {
                let len = number(12 + body.len() as u32);
                [&number(kind), &len, body, &len].concat()
            };
            let frame = udp();
            let len = number(frame.len() as u32);
            let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
            let link = if big { [0, 1, 0, 0] } else { [1, 0, 0, 0] };
            let file = [
                block(0x0a0d_0d0a, &[&number(0x1a2b_3c4d)[..], &[0; 12]].concat()),
                block(INTERFACE, &[link, [0; 4]].concat()),
                // Statistics of an interface.
                block(5, &[0; 8]),
                block(
                    ENHANCED,
                    &[&number(0)[..], &[0; 8], &len, &len, &frame, &padding].concat(),
                ),
                block(SIMPLE, &[&len[..], &frame, &padding].concat()),
            ]
            .concat();
            assert!(is_capture(&file));
            let capture = read(&file, is_sip).unwrap();
            assert_eq!(capture.datagrams, [datagram(1), datagram(2)]);
        }
    }

    #[test]
    fn a_file_may_end_early() {
        let mut file = pcap_file(1, &[(udp(), 0), (udp(), 0)]);
        file.pop();
        let capture = read(&file, is_sip).unwrap();
        assert_eq!(capture.datagrams, [datagram(1)]);
        assert!(read(&file[..10], is_sip).is_err());
        assert!(!is_capture(TEXT));
    }
}
