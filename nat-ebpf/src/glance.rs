//! Most packets are none of ours, and plainly so: that is seen here, in less time than the call of a function takes.

use nat_common::abi::Config;
use nat_common::abi::Counter;
use nat_common::sip::Direction;
use network_types::eth::EtherType;
use network_types::ip::IpProto;

use crate::packet::Frame;
use crate::way::Way;

/// The type of an untagged Ethernet frame; after it begins the IP header.
const TYPE: u32 = 12;
/// IPv4's flags and fragment offset, time to live, and protocol. At the same place is IPv6's next header.
const PROTOCOL: u32 = 20;
/// The ports behind an IPv4 header without options.
const IPV4_PORTS: u32 = 34;
/// The ports behind an IPv6 header without extensions.
const IPV6_PORTS: u32 = 54;

/// IPv4, five words of header.
const PLAIN_IPV4: u8 = 0x45;
/// "More fragments", and the offset, as they lie in memory.
const FRAGMENT: u64 = 0x3fff_u16.to_be() as u64;

/// What to count a packet as that is not for us. None for one that takes a closer look: it may be SIP, or
/// it is not as plain as most are.
#[inline(always)]
pub(crate) fn glance<W: Way>(frame: Frame<W::Context>, config: &Config) -> Option<Counter> {
    let first = frame.load(TYPE)?;
    let kind = first as u16;
    let (protocol, ports) = if kind == EtherType::Ipv4 as u16 {
        let second = frame.load(PROTOCOL)?;
        if (first >> 16) as u8 != PLAIN_IPV4 || second & FRAGMENT != 0 {
            return None;
        }
        ((second >> 24) as u8, IPV4_PORTS)
    } else if kind == EtherType::Ipv6 as u16 {
        (frame.load(PROTOCOL)? as u8, IPV6_PORTS)
    } else {
        return None;
    };
    if protocol == IpProto::Tcp as u8 {
        return Some(W::NOT_UDP);
    }
    if protocol != IpProto::Udp as u8 {
        return None;
    }
    let [s0, s1, d0, d1, ..] = frame.load(ports)?.to_le_bytes();
    let ours = match W::DIRECTION {
        Direction::In => [d0, d1],
        Direction::Out => [s0, s1],
    };
    let port = u32::from(u16::from_be_bytes(ours));
    let other = !is_sip_port(config, port) && !is_stun_port::<W>(config, port);
    other.then_some(W::OTHER_PORT)
}

/// Whether it is one of the ports of the PBX.
#[inline(always)]
pub(crate) fn is_sip_port(config: &Config, port: u32) -> bool {
    // An unused entry is 0, which is no port.
    port != 0 && config.ports.contains(&(port as u16))
}

/// Whether STUN is answered on a port beside SIP's.
#[inline(always)]
pub(crate) fn is_stun_port<W: Way>(config: &Config, port: u32) -> bool {
    matches!(W::DIRECTION, Direction::In) && port != 0 && config.stun_port == port
}
