//! Addresses of this host, and broadcast addresses.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    new_connection_with_strict_check,
    packet_route::{
        AddressFamily,
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    },
};

use super::{Net, routes::ip};
use crate::host::prefix::Prefix;

/// Kinds of addresses that the kernel receives packets for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// An address of this host.
    Local,
    /// The address of all hosts of a subnet.
    Broadcast,
}

impl Net {
    /// Lists this host's addresses and its subnets' broadcast addresses, from the routes of types `local` and
    /// `broadcast`. Addresses alone would lack AnyIP (`ip route add local`) and broadcasts.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub async fn own(&self) -> Result<Vec<(Prefix, Own)>> {
        // A router may have a million routes. The kernel filters them only for a strictly checked socket (4.20).
        let (connection, handle, _) =
            new_connection_with_strict_check().context("cannot open a netlink socket")?;
        let connection = tokio::spawn(connection);
        let mut own = Vec::new();
        for (family, kind) in [
            (AddressFamily::Inet, RouteType::Local),
            (AddressFamily::Inet, RouteType::Broadcast),
            (AddressFamily::Inet6, RouteType::Local),
        ] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.kind = kind;
            let mut messages = Box::pin(handle.route().get(message).execute());
            while let Some(message) = messages
                .try_next()
                .await
                .context("cannot list this host's own routes")?
            {
                own.extend(is_own(&message));
            }
        }
        connection.abort();
        Ok(own)
    }
}

/// Returns what a route says of this host's addresses.
pub(super) fn is_own(route: &RouteMessage) -> Option<(Prefix, Own)> {
    const LOCAL: u8 = libc::RT_TABLE_LOCAL;
    // The kernel adds local routes to a VRF's table. Other tables may hold a transparent proxy's local route, which
    // covers every address.
    if route.header.table != LOCAL && route.header.protocol != RouteProtocol::Kernel {
        return None;
    }
    let own = match route.header.kind {
        RouteType::Local => Own::Local,
        RouteType::Broadcast => Own::Broadcast,
        _ => return None,
    };
    let addr = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(addr) => ip(addr),
            _ => None,
        })?;
    Prefix::of(addr, route.header.destination_prefix_length)
        .filter(|_| !addr.is_loopback())
        .map(|prefix| (prefix, own))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use rtnetlink::packet_route::route::RouteAddress;

    use super::*;

    fn route_to(
        dest: &str,
        bits: u8,
        table: u8,
        protocol: RouteProtocol,
        kind: RouteType,
    ) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.table = table;
        message.header.protocol = protocol;
        message.header.kind = kind;
        message.header.destination_prefix_length = bits;
        if bits > 0 {
            let dest = match dest.parse().unwrap() {
                IpAddr::V4(v4) => RouteAddress::Inet(v4),
                IpAddr::V6(v6) => RouteAddress::Inet6(v6),
            };
            message.attributes.push(RouteAttribute::Destination(dest));
        }
        message
    }

    #[test]
    fn own_routes_are_told_from_others() {
        const LOCAL: u8 = libc::RT_TABLE_LOCAL;
        use RouteProtocol::{Boot, Kernel};
        use RouteType::{Broadcast, Local, Unicast};
        for (dest, bits, table, protocol, kind, own) in [
            ("10.9.0.1", 32, LOCAL, Kernel, Local, Some(Own::Local)),
            ("fe80::1", 128, LOCAL, Kernel, Local, Some(Own::Local)),
            (
                "10.9.255.255",
                32,
                LOCAL,
                Kernel,
                Broadcast,
                Some(Own::Broadcast),
            ),
            // AnyIP, a VRF, and a transparent proxy.
            ("192.0.2.0", 24, LOCAL, Boot, Local, Some(Own::Local)),
            ("10.9.0.1", 32, 10, Kernel, Local, Some(Own::Local)),
            ("10.0.0.0", 8, 100, Boot, Local, None),
            ("0.0.0.0", 0, 100, Boot, Local, None),
            ("10.9.0.0", 16, 254, Kernel, Unicast, None),
            ("127.0.0.0", 8, LOCAL, Kernel, Local, None),
            ("::1", 128, LOCAL, Kernel, Local, None),
        ] {
            let found = is_own(&route_to(dest, bits, table, protocol, kind));
            let expected = own.map(|own| (format!("{dest}/{bits}").parse().unwrap(), own));
            assert_eq!(found, expected, "{dest}/{bits} in {table}");
        }
    }
}
