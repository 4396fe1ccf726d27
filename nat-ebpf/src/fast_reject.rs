//! Fast rejection of packets that are plainly not SIP, in less time than the call of a function takes.

use nat_common::abi::Config;
use nat_common::engine::verdict::Skip;
use nat_common::sip::Direction;
use network_types::eth::EtherType;
use network_types::ip::IpProto;

use crate::datagram::plain;
use crate::frame::{Frame, Hook};

/// Offset of the ports after an IPv6 header without extensions.
const IPV6_PORTS: usize = 54;
/// Bytes up to the end of a UDP header. No shorter frame has one.
const IPV4_BYTES: usize = plain::PAYLOAD;
const IPV6_BYTES: usize = IPV6_PORTS + 8;

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
    // IPv6 has its next header where IPv4 has its flags.
    let (first, second) = (
        start.load::<{ plain::TYPE }>(),
        start.load::<{ plain::FRAGMENT }>(),
    );
    let kind = first as u16;
    let (protocol, ports) = if kind == EtherType::Ipv4 as u16 {
        if (first >> 16) as u8 != plain::VERSION || second & plain::FRAGMENTED != 0 {
            return None;
        }
        ((second >> 24) as u8, start.load::<{ plain::PORTS }>())
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
