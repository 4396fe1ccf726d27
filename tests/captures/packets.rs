//! UDP payloads of the packets of capture files.

use std::collections::BTreeMap;

use anyhow::Result;
use etherparse::{EtherType, LaxSlicedPacket};
use nat_userspace::host::capture::{self, Link, Packet};

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

/// Reads the packets of a file, as far as it holds them whole. `is_sip` says whether a TCP segment begins like SIP.
///
/// # Errors
///
/// If the file is not a capture, or is malformed.
pub(crate) fn read(file: &[u8], is_sip: impl Fn(&[u8]) -> bool) -> Result<Capture> {
    let mut found = Capture::default();
    capture::read(file, |packet| {
        found.add(packet, &is_sip);
        Ok(())
    })?;
    Ok(found)
}

impl Capture {
    /// Adds the payload of a packet.
    fn add(&mut self, packet: &Packet<'_>, is_sip: &impl Fn(&[u8]) -> bool) {
        const UDP: u8 = 17;
        const TCP: u8 = 6;
        const IP_IN_IP: [u8; 2] = [4, 41];
        if let Link::Other(link) = packet.link {
            return self.skip(Skipped::Link(link));
        }
        let Some((ether_type, at)) = packet.link.payload(packet.frame) else {
            return;
        };
        let mut sliced =
            LaxSlicedPacket::from_ether_type(EtherType(ether_type), &packet.frame[at..]);
        while let Some(ip) = sliced.ip_payload() {
            let payload = ip.payload;
            match ip.ip_number.0 {
                UDP if ip.fragmented => self.skip(Skipped::Fragment),
                UDP => {
                    let be = |at| be16(payload, at);
                    let (ports, len) = ([be(0), be(2)], usize::from(be(4)));
                    match payload.get(8..len) {
                        Some(payload) => self.datagrams.push(Datagram {
                            number: packet.number,
                            ports,
                            payload: payload.to_vec(),
                        }),
                        None if !packet.is_whole() => self.skip(Skipped::Cut),
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

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use nat_userspace::host::capture::Writer;

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
    fn pcap_file(raw: bool, frames: &[(Vec<u8>, usize)]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, raw).expect("a header");
        for (frame, missing) in frames {
            writer.write(0, frame, *missing).expect("a packet");
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
        let file = pcap_file(false, &[(fragment, 0), (tcp(), 0), (short, 1), (udp(), 0)]);
        let capture = read(&file, is_sip).unwrap();
        assert_eq!(capture.datagrams, [datagram(4)]);
        let skipped = [Skipped::Fragment, Skipped::Tcp, Skipped::Cut];
        assert_eq!(capture.skipped, skipped.map(|why| (why, 1)).into());
    }

    #[test]
    fn ip_in_ip_has_them_too() {
        let frame = udp();
        // In IPv4 of protocol 4.
        let mut outer = frame[..14 + 20].to_vec();
        outer[14 + 3] = 20 + (frame.len() - 14) as u8;
        outer[14 + 9] = 4;
        outer.extend(&frame[14..]);
        for (raw, frame) in [
            (false, &frame),
            (true, &frame),
            (false, &outer),
            (true, &outer),
        ] {
            let capture = read(&pcap_file(raw, &[(frame.clone(), 0)]), is_sip).unwrap();
            assert_eq!(capture.datagrams, [datagram(1)], "{raw}");
        }
        let mut file = pcap_file(false, &[(frame, 0)]);
        // A link layer that nobody reads here.
        file[20] = 105;
        let capture = read(&file, is_sip).unwrap();
        assert_eq!(capture.skipped, [(Skipped::Link(105), 1)].into());
    }
}
