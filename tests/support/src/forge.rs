//! UDP datagrams that no socket sends: with another source, or with a wrong checksum.

use std::{
    net::SocketAddrV4,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use etherparse::{Ipv4Header, UdpHeader, ip_number};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::{netns::Netns, sip::Message};

/// Hops that a datagram may take.
const TTL: u8 = 64;

/// UDP checksum of a forged datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// As RFC 768 says.
    Right,
    /// The receiver drops the datagram.
    Wrong,
    /// 0: the sender computed none (RFC 768).
    Absent,
    /// The sum of the pseudo-header, as a sender leaves it to its network card. On the wire it is wrong.
    Partial,
}

/// A raw IP socket.
#[derive(Debug)]
pub struct Forger(OwnedFd);

impl Forger {
    /// Opens it in `netns`.
    pub fn open(netns: &Netns) -> Result<Self> {
        let open = || {
            socket(
                AddressFamily::Inet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::Raw,
            )
        };
        Ok(Self(netns.enter(open)?.context("open a raw socket")?))
    }

    /// Sends a message as if from `source`.
    pub fn send(
        &self,
        message: &Message,
        source: SocketAddrV4,
        destination: SocketAddrV4,
        checksum: Checksum,
    ) -> Result<()> {
        self.send_bytes(
            message.to_string().as_bytes(),
            source,
            destination,
            checksum,
        )
    }

    /// Sends a payload as if from `source`.
    pub fn send_bytes(
        &self,
        payload: &[u8],
        source: SocketAddrV4,
        destination: SocketAddrV4,
        checksum: Checksum,
    ) -> Result<()> {
        let packet = packet(payload, source, destination, checksum)?;
        sendto(
            self.0.as_raw_fd(),
            &packet,
            &SockaddrIn::from(destination),
            MsgFlags::empty(),
        )?;
        Ok(())
    }
}

fn packet(
    payload: &[u8],
    source: SocketAddrV4,
    destination: SocketAddrV4,
    checksum: Checksum,
) -> Result<Vec<u8>> {
    let mut udp =
        UdpHeader::without_ipv4_checksum(source.port(), destination.port(), payload.len())?;
    let ip = Ipv4Header::new(
        udp.length,
        TTL,
        ip_number::UDP,
        source.ip().octets(),
        destination.ip().octets(),
    )?;
    let right = udp.calc_checksum_ipv4(&ip, payload)?;
    let partial = pseudo_header_sum(&ip, udp.length);
    udp.checksum = match checksum {
        Checksum::Right => right,
        Checksum::Absent => 0,
        Checksum::Partial => partial,
        Checksum::Wrong => [1, 2, 4]
            .map(|bit| right ^ bit)
            .into_iter()
            .find(|wrong| ![0, partial].contains(wrong))
            .context("a wrong checksum")?,
    };
    let mut packet = Vec::new();
    ip.write(&mut packet)?;
    udp.write(&mut packet)?;
    packet.extend(payload);
    Ok(packet)
}

/// Returns the sum of the words of the pseudo-header (RFC 768), folded.
fn pseudo_header_sum(ip: &Ipv4Header, udp_length: u16) -> u16 {
    let words = [ip.source, ip.destination].concat();
    let addresses: u32 = words
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = addresses + u32::from(ip.protocol.0) + u32::from(udp_length);
    let folded = (sum & 0xffff) + (sum >> 16);
    // The sum of so few words carries once at most.
    folded as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_is_neither_right_nor_partial() {
        let [source, destination] = ["198.51.100.7:5060", "203.0.113.10:5060"]
            .map(|text| text.parse().expect("an address"));
        for number in 0..1000 {
            let payload = format!("SIP/2.0 {number}");
            let of = |checksum| {
                let packet = packet(payload.as_bytes(), source, destination, checksum);
                let packet = packet.expect("it fits");
                u16::from_be_bytes([packet[26], packet[27]])
            };
            let wrong = of(Checksum::Wrong);
            assert_ne!(wrong, 0);
            assert_ne!(wrong, of(Checksum::Right));
            assert_ne!(wrong, of(Checksum::Partial));
            assert_eq!(of(Checksum::Absent), 0);
        }
    }
}
