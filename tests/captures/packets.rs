//! Capture files (pcap and pcapng) and the UDP payloads of their packets.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use etherparse::{EtherType, LaxSlicedPacket};
use pcap_parser::traits::PcapNGPacketBlock as _;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

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
    // pcap in both byte orders, with times in microseconds and in nanoseconds; pcapng.
    matches!(
        file,
        [0xd4, 0xc3, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0xc3, 0xd4, ..]
            | [0x4d, 0x3c, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..]
            | [0x0a, 0x0d, 0x0d, 0x0a, ..]
    )
}

/// Reads the packets of a file, which ends before a packet that it does not hold whole. `is_sip` says whether a TCP
/// segment begins like SIP.
///
/// # Errors
///
/// If the file is not a capture, or is malformed.
pub(crate) fn read(file: &[u8], is_sip: impl Fn(&[u8]) -> bool) -> Result<Capture> {
    let mut capture = Capture::default();
    let mut number = 0;
    let mut links = Vec::new();
    // The buffer holds the file, so a block that is incomplete is the file's end.
    let mut blocks = create_reader(file.len().max(1), file)
        .map_err(|_| anyhow!("not a capture, or cut in its header"))?;
    loop {
        let (len, block) = match blocks.next() {
            Ok(next) => next,
            Err(PcapError::Eof | PcapError::Incomplete(_) | PcapError::UnexpectedEof) => break,
            Err(_) => bail!("malformed after packet {number}"),
        };
        let packet = match &block {
            PcapBlockOwned::LegacyHeader(header) => {
                links = vec![header.network];
                None
            }
            PcapBlockOwned::Legacy(packet) => Some((0, packet.data, packet.origlen)),
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                links.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                links.push(interface.linktype);
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                Some((packet.if_id, packet.packet_data(), packet.origlen))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                Some((0, packet.packet_data(), packet.origlen))
            }
            PcapBlockOwned::NG(_) => None,
        };
        if let Some((interface, frame, sent)) = packet {
            number += 1;
            let Some(link) = links.get(interface as usize) else {
                bail!("packet {number}: interface {interface} is not described");
            };
            // The upper bits hold the length of a frame check sequence.
            let link = link.0 as u32 & 0xffff;
            capture.add(number, link, frame, frame.len() >= sent as usize, &is_sip);
        }
        blocks.consume(len);
    }
    Ok(capture)
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
                    let be = |at| be16(payload, at);
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

/// Returns the number at an offset, or 0 if the bytes end before it.
fn be16(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// Finds the IP packet in a frame of a link layer (<https://www.tcpdump.org/linktypes.html>). `None` if it has no reader here.
fn slice(link: u32, frame: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let by_type = |type_at: usize, payload_at: usize| {
        let ether_type = be16(frame, type_at);
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
                block(1, &[link, [0; 4]].concat()),
                // Statistics of an interface.
                block(5, &[0; 12]),
                block(
                    6,
                    &[&number(0)[..], &[0; 8], &len, &len, &frame, &padding].concat(),
                ),
                block(3, &[&len[..], &frame, &padding].concat()),
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
