//! Unicast routes of all tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::{
    new_connection_with_strict_check,
    packet_route::{
        AddressFamily,
        route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType, RouteVia},
    },
};

use super::{Net, routes::ip};
use crate::host::prefix::Prefix;

/// Index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

/// Bits of the shortest prefix of a route that is no default route. OpenVPN, for one, splits the default route in two.
const MORE_SPECIFIC: u8 = 8;

/// Networks that say nothing of where a host is: loopback, link-local and multicast.
const APART: [IpNet; 5] = [
    v4(Ipv4Addr::new(127, 0, 0, 0), 8),
    v4(Ipv4Addr::new(224, 0, 0, 0), 4),
    v6(Ipv6Addr::LOCALHOST, 128),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// IPv6 network in which maps hold IPv4 addresses. A route that contains it would match them all.
const MAPPED: IpNet = v6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96);

const fn v4(addr: Ipv4Addr, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(addr, bits))
}

const fn v6(addr: Ipv6Addr, bits: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(addr, bits))
}

/// A route by which packets leave this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnicastRoute {
    /// Destination.
    pub net: IpNet,
    /// Next hops; several share the packets.
    pub hops: Vec<Hop>,
    /// Set if the kernel made it for an address of an interface.
    pub connected: bool,
    /// Set if it lies in the main table.
    pub main: bool,
}

impl UnicastRoute {
    /// Whether it is a default route, or part of one.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.net.prefix_len() < MORE_SPECIFIC
    }
}

/// Next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Index of the interface; 0 if a nexthop object has it.
    pub interface: u32,
    /// The gateway; none if the destination is on link.
    pub gateway: Option<IpAddr>,
    /// Number of the nexthop object, if there is no interface.
    pub object: u32,
}

impl Net {
    /// Lists the unicast routes of all tables but the local one.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub async fn unicast_routes(&self) -> Result<Vec<UnicastRoute>> {
        let (connection, handle, _) =
            new_connection_with_strict_check().context("cannot open a netlink socket")?;
        let connection = tokio::spawn(connection);
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.kind = RouteType::Unicast;
            let mut messages = Box::pin(handle.route().get(message).execute());
            while let Some(message) = messages
                .try_next()
                .await
                .context("cannot list the routes")?
            {
                routes.extend(unicast(&message));
            }
        }
        connection.abort();
        Ok(routes)
    }
}

/// Reads a unicast route that says where hosts are.
pub(super) fn unicast(message: &RouteMessage) -> Option<UnicastRoute> {
    const LOCAL: u8 = libc::RT_TABLE_LOCAL;
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.table == LOCAL {
        return None;
    }
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let destination = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(addr) => ip(addr),
            _ => None,
        });
    let Prefix::Net(net) =
        Prefix::of(destination.unwrap_or(any), header.destination_prefix_length)?
    else {
        return None;
    };
    let hops = hops(message);
    if APART.iter().any(|apart| apart.contains(&net))
        || hops.iter().all(|hop| hop.interface == LOOPBACK)
    {
        return None;
    }
    let route = UnicastRoute {
        net,
        hops,
        connected: header.protocol == RouteProtocol::Kernel,
        main: header.table == RouteHeader::RT_TABLE_MAIN,
    };
    let holds_ipv4 = net.contains(&MAPPED) || MAPPED.contains(&net);
    (route.is_default() || !holds_ipv4).then_some(route)
}

/// Reads the next hops of a route.
fn hops(message: &RouteMessage) -> Vec<Hop> {
    let several = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        });
    match several {
        Some(hops) => hops
            .iter()
            .map(|hop| Hop {
                interface: hop.interface_index,
                ..self::hop(&hop.attributes)
            })
            .collect(),
        None => vec![hop(&message.attributes)],
    }
}

fn hop(attributes: &[RouteAttribute]) -> Hop {
    let mut hop = Hop {
        interface: 0,
        gateway: None,
        object: 0,
    };
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => hop.interface = *index,
            RouteAttribute::Gateway(gateway) => hop.gateway = ip(gateway),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => hop.gateway = Some((*gateway).into()),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => hop.gateway = Some((*gateway).into()),
            RouteAttribute::NhId(number) => hop.object = *number,
            _ => {}
        }
    }
    if hop.interface != 0 {
        // Another route may have the same next hop without an object.
        hop.object = 0;
    }
    hop
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::{RouteAddress, RouteNextHop};

    use super::*;

    /// A route of the main table by interface 2.
    fn message(dest: &str, kind: RouteType) -> RouteMessage {
        let net: IpNet = dest.parse().unwrap();
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.table = RouteHeader::RT_TABLE_MAIN;
        header.protocol = RouteProtocol::Boot;
        header.kind = kind;
        header.destination_prefix_length = net.prefix_len();
        let (family, dest) = match net.addr() {
            IpAddr::V4(v4) => (AddressFamily::Inet, RouteAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, RouteAddress::Inet6(v6)),
        };
        header.address_family = family;
        if net.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(dest));
        }
        message.attributes.push(RouteAttribute::Oif(2));
        message
    }

    #[test]
    fn routes_that_say_where_hosts_are_count() {
        use RouteType::{BlackHole, Broadcast, Local, Prohibit, Unicast, Unreachable};
        for (dest, kind, counts) in [
            ("0.0.0.0/0", Unicast, true),
            ("::/0", Unicast, true),
            ("0.0.0.0/1", Unicast, true),
            ("10.0.0.0/8", Unicast, true),
            ("198.51.100.1/32", Unicast, true),
            ("2001:db8::/32", Unicast, true),
            ("169.254.169.254/32", Unicast, true),
            ("10.0.0.0/8", Unreachable, false),
            ("10.0.0.0/8", BlackHole, false),
            ("10.0.0.0/8", Prohibit, false),
            ("10.0.0.0/8", Local, false),
            ("10.255.255.255/32", Broadcast, false),
            ("127.0.0.0/8", Unicast, false),
            ("224.0.0.0/4", Unicast, false),
            ("::1/128", Unicast, false),
            ("::/96", Unicast, true),
            ("::/64", Unicast, false),
            ("::ffff:10.0.0.0/104", Unicast, false),
            ("fe80::/64", Unicast, false),
            ("ff00::/8", Unicast, false),
        ] {
            let found = unicast(&message(dest, kind)).map(|route| route.net);
            let expected = counts.then(|| dest.parse().unwrap());
            assert_eq!(found, expected, "{dest} {kind:?}");
        }
        let mut local = message("10.0.0.0/8", Unicast);
        local.header.table = libc::RT_TABLE_LOCAL;
        assert_eq!(unicast(&local), None);
        let mut loopback = message("10.0.0.0/8", Unicast);
        loopback.attributes.push(RouteAttribute::Oif(LOOPBACK));
        assert_eq!(unicast(&loopback), None);
    }

    #[test]
    fn next_hops_are_read_in_each_form() {
        let hop = |interface, gateway: Option<&str>, object| Hop {
            interface,
            gateway: gateway.map(|text| text.parse().unwrap()),
            object,
        };
        let read = |attributes: &[RouteAttribute]| {
            let mut message = message("10.0.0.0/8", RouteType::Unicast);
            message.attributes.pop();
            message.attributes.extend_from_slice(attributes);
            unicast(&message).unwrap().hops
        };
        let gateway = || RouteAttribute::Gateway(RouteAddress::Inet([192, 0, 2, 1].into()));
        let via = RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap()));
        let (oif, object) = (RouteAttribute::Oif(2), RouteAttribute::NhId(7));
        assert_eq!(read(&[RouteAttribute::Oif(2)]), [hop(2, None, 0)]);
        let plain = [hop(2, Some("192.0.2.1"), 0)];
        assert_eq!(read(&[gateway(), oif.clone()]), plain);
        assert_eq!(read(&[object.clone(), gateway(), oif.clone()]), plain);
        assert_eq!(read(&[object]), [hop(0, None, 7)]);
        assert_eq!(read(&[via, oif]), [hop(2, Some("fe80::1"), 0)]);
        let several = [3, 4].map(|index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop.attributes = vec![gateway()];
            hop
        });
        assert_eq!(
            read(&[RouteAttribute::MultiPath(several.to_vec())]),
            [hop(3, Some("192.0.2.1"), 0), hop(4, Some("192.0.2.1"), 0)]
        );
    }
}
