//! Fast rejection of packets that are plainly not SIP, in less time than the call of a function takes.

use nat_common::abi::Config;
use nat_common::engine::verdict::Skip;
use nat_common::sip::Direction;
use network_types::eth::EtherType;
use network_types::ip::IpProto;

use crate::frame::{Frame, Hook};

/// Offset of the type of an untagged Ethernet frame; the IP header follows.
const TYPE: usize = 12;
/// Offset of IPv4's flags and fragment offset, time to live, and protocol; IPv6 has its next header there.
const PROTOCOL: usize = 20;
/// Offset of the ports after an IPv4 header without options.
const IPV4_PORTS: usize = 34;
/// Offset of the ports after an IPv6 header without extensions.
const IPV6_PORTS: usize = 54;
/// Bytes up to the end of a UDP header. No shorter frame has one.
const IPV4_BYTES: usize = IPV4_PORTS + 8;
const IPV6_BYTES: usize = IPV6_PORTS + 8;

/// First byte of an IPv4 header without options.
const PLAIN_IPV4: u8 = 0x45;
/// Mask of "more fragments" and the offset, in network byte order.
const FRAGMENT: u64 = 0x3fff_u16.to_be() as u64;

/// Packet that is plainly not SIP.
pub(crate) struct Rejected {
    /// Why.
    pub(crate) skip: Skip,
    /// The local UDP port; 0 if it is no UDP.
    pub(crate) port: u32,
}

/// Rejects a packet. None for one that takes the full path: it may be SIP, or has an uncommon header.
#[inline(always)]
pub(crate) fn fast_reject<H: Hook>(frame: Frame<H::Context>, config: &Config) -> Option<Rejected> {
    let start = frame.start::<IPV4_BYTES>()?;
    let (first, second) = (start.load::<TYPE>(), start.load::<PROTOCOL>());
    let kind = first as u16;
    let (protocol, ports) = if kind == EtherType::Ipv4 as u16 {
        if (first >> 16) as u8 != PLAIN_IPV4 || second & FRAGMENT != 0 {
            return None;
        }
        ((second >> 24) as u8, start.load::<IPV4_PORTS>())
    } else if kind == EtherType::Ipv6 as u16 {
        let start = frame.start::<IPV6_BYTES>()?;
        (second as u8, start.load::<IPV6_PORTS>())
    } else {
        return None;
    };
    if protocol == IpProto::Tcp as u8 {
        return Some(Rejected {
            skip: Skip::NotUdp,
            port: 0,
        });
    }
    if protocol != IpProto::Udp as u8 {
        return None;
    }
    let [s0, s1, d0, d1, ..] = ports.to_le_bytes();
    let ours = match H::DIRECTION {
        Direction::In => [d0, d1],
        Direction::Out => [s0, s1],
    };
    let port = u32::from(u16::from_be_bytes(ours));
    let other = !config.has_port(port) && !is_stun_port::<H>(config, port);
    other.then_some(Rejected {
        skip: Skip::OtherPort,
        port,
    })
}

/// Whether a port is the STUN port beside the SIP ports.
#[inline(always)]
pub(crate) fn is_stun_port<H: Hook>(config: &Config, port: u32) -> bool {
    matches!(H::DIRECTION, Direction::In) && port != 0 && config.stun_port == port
}
