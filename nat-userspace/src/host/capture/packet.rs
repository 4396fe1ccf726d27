//! IP packets of captured frames.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice, UdpSlice, ip_number};

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// Offset of its checksum.
const UDP_CHECKSUM: usize = 6;

/// IP packet in an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<'f> {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Ports and payload of UDP. Of a datagram in fragments, only the first has them; of the others they are meaningless.
    pub udp: Option<([u16; 2], &'f [u8])>,
    /// Whether it is a fragment.
    pub fragmented: bool,
}

impl<'f> Ip<'f> {
    /// Finds the packet in a frame.
    #[must_use]
    pub fn of(frame: &'f [u8]) -> Option<Self> {
        let sliced = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination): (IpAddr, IpAddr) = match sliced.net.as_ref()? {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                )
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                )
            }
            LaxNetSlice::Arp(_) => return None,
        };
        let payload = sliced.ip_payload()?;
        Some(Self {
            source,
            destination,
            udp: (payload.ip_number == ip_number::UDP)
                .then(|| udp(payload.payload))
                .flatten(),
            fragmented: payload.fragmented,
        })
    }

    /// Returns source and destination with their ports, or port 0 if it is not UDP.
    #[must_use]
    pub fn ends(&self) -> [SocketAddr; 2] {
        let [from, to] = self.udp.map_or([0; 2], |(ports, _)| ports);
        [
            SocketAddr::new(self.source, from),
            SocketAddr::new(self.destination, to),
        ]
    }
}

/// Reads ports and payload.
fn udp(datagram: &[u8]) -> Option<([u16; 2], &[u8])> {
    let header: &[u8; UDP_HEADER] = datagram.first_chunk()?;
    let [a, b, c, d, e, f, ..] = *header;
    let len = usize::from(u16::from_be_bytes([e, f])).min(datagram.len());
    let ports = [[a, b], [c, d]].map(u16::from_be_bytes);
    Some((ports, datagram.get(UDP_HEADER..len).unwrap_or_default()))
}

/// Completes the UDP checksum of a frame that was captured before its sender's network card did: the field then has the sum of the
/// pseudo-header only.
pub fn complete_checksum(frame: &mut [u8]) {
    if let Some((at, checksum)) = completed(frame) {
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Returns the offset of such a checksum, and the right one.
fn completed(frame: &[u8]) -> Option<(usize, u16)> {
    let sliced = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
        return None;
    };
    let (addresses, right) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            let right = udp.to_header().calc_checksum_ipv4(&ip, udp.payload());
            ([ip.source, ip.destination].concat(), right)
        }
        LaxNetSlice::Ipv6(ip) => {
            let ip = ip.header().to_header();
            let right = udp.to_header().calc_checksum_ipv6(&ip, udp.payload());
            ([ip.source, ip.destination].concat(), right)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    (udp.checksum() == pseudo_header(&addresses, udp)).then_some(())?;
    // The datagram is a part of the frame.
    let at = udp.slice().as_ptr() as usize - frame.as_ptr() as usize + UDP_CHECKSUM;
    Some((at, right.ok()?))
}

/// Returns the sum of the pseudo-header (RFC 768, RFC 8200 8.1), folded.
fn pseudo_header(addresses: &[u8], udp: &UdpSlice<'_>) -> u16 {
    let (pairs, _) = addresses.as_chunks::<2>();
    let sum: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    let sum = sum + u32::from(ip_number::UDP.0) + u32::from(udp.length());
    // Sixteen words carry once more at most.
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn frames() -> [Vec<u8>; 2] {
        let ethernet = || PacketBuilder::ethernet2([1; 6], [2; 6]);
        let v4 = ethernet().ipv4([203, 0, 113, 10], [60, 17, 196, 2], 64);
        let v6 = ethernet().ipv6([0x20; 16], [0x31; 16], 64);
        [v4, v6].map(|ip| {
            let mut frame = Vec::new();
            let builder = ip.udp(5060, 49163);
            builder.write(&mut frame, b"BYE sip:a SIP/2.0").unwrap();
            frame
        })
    }

    #[test]
    fn a_partial_checksum_is_completed_and_no_other_changed() {
        for frame in frames() {
            let sliced = LaxSlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
                panic!("no UDP");
            };
            let at = udp.slice().as_ptr() as usize - frame.as_ptr() as usize + UDP_CHECKSUM;
            let addresses = match sliced.net.as_ref().unwrap() {
                LaxNetSlice::Ipv4(_) => &frame[26..34],
                _ => &frame[22..54],
            };
            let partial = pseudo_header(addresses, udp);
            for (checksum, is_completed) in [(partial, true), (partial ^ 1, false), (0, false)] {
                let mut given = frame.clone();
                given[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
                let before = given.clone();
                complete_checksum(&mut given);
                assert_eq!(given == frame, is_completed, "{checksum:#x}");
                assert_eq!(given == before, !is_completed, "{checksum:#x}");
            }
        }
    }

    #[test]
    fn ends_and_payload_are_found() {
        let [v4, _] = frames();
        let tagged = {
            let mut tagged = v4.clone();
            tagged.splice(12..12, [0x81, 0, 0, 7]);
            tagged
        };
        for frame in [v4.clone(), tagged] {
            let ip = Ip::of(&frame).unwrap();
            let expected = ["203.0.113.10:5060", "60.17.196.2:49163"];
            assert_eq!(ip.ends().map(|end| end.to_string()), expected);
            assert_eq!(ip.udp.unwrap().1, b"BYE sip:a SIP/2.0");
            assert!(!ip.fragmented);
        }
        let mut fragment = v4.clone();
        fragment[20] = 0x20;
        let ip = Ip::of(&fragment).unwrap();
        assert!(ip.fragmented && ip.udp.is_some());
        let mut tcp = v4.clone();
        tcp[23] = 6;
        assert_eq!(Ip::of(&tcp).unwrap().udp, None);
        assert_eq!(Ip::of(&v4[..20]), None);
    }
}
