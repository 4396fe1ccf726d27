//! What rtnetlink knows of interfaces and what it does to them.

use std::{collections::HashSet, net::IpAddr};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use log::{info, warn};
use nix::errno::Errno;
use rtnetlink::{
    Error, Handle, MulticastGroup, RouteMessageBuilder, new_connection,
    new_connection_with_strict_check, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::AddressAttribute,
        link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType, RouteVia},
        tc::{TcHandle, TcMessage},
    },
};
use tokio::sync::mpsc;

use crate::host::prefix::Prefix;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether its packets start with an Ethernet header.
    pub ethernet: bool,
    /// The id of the XDP program on it.
    pub xdp: Option<u32>,
    /// What makes its packets, where that is another interface's driver.
    pub kind: Kind,
    /// The interface that it lies on, or is connected with, in this network namespace.
    pub lower: Option<u32>,
}

/// Interfaces about which there is something to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One end of a pair.
    Veth,
    /// The frames of another interface that have a certain tag.
    Vlan,
    /// Any other.
    Other,
}

/// How the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub index: u32,
    /// Through whom; none if the destination itself is asked for.
    pub gateway: Option<IpAddr>,
    /// From which address, if the sender has not bound one.
    pub source: Option<IpAddr>,
    /// Whether the destination is this host.
    pub local: bool,
}

/// What [`Net::own`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// This host's own.
    Local,
    /// Of all hosts of a subnet.
    Broadcast,
}

/// Says when addresses of this network namespace come or go.
pub struct AddressChanges(mpsc::Receiver<()>);

impl AddressChanges {
    /// Waits for the next change, or a few at once. Where the kernel stops telling, this waits for ever.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// A netlink connection to the network namespace of the thread that opened it.
pub struct Net(Handle);

impl Net {
    /// Connects. Must be called within a tokio runtime, which then serves the connection.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// All interfaces.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let links = self.0.link().get().execute();
        links
            .try_filter_map(async |message| Ok(link(&message)))
            .try_collect()
            .await
            .context("cannot list the network interfaces")
    }

    /// The subnets on an interface's own link. Loopback and single addresses are no subnets.
    ///
    /// # Errors
    /// If the kernel does not list its addresses.
    pub async fn subnets(&self, index: u32) -> Result<Vec<Prefix>> {
        let addresses = self.0.address().get().set_link_index_filter(index);
        let mut messages = addresses.execute();
        let mut subnets = Vec::new();
        while let Some(message) = messages
            .try_next()
            .await
            .context("cannot list the interface's addresses")?
        {
            let addr = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Address(addr) => Some(*addr),
                    _ => None,
                });
            let Some(addr) = addr.filter(|addr| !addr.is_loopback()) else {
                continue;
            };
            let bits = message.header.prefix_len;
            let host = if addr.is_ipv4() { 32 } else { 128 };
            if bits < host {
                subnets.extend(Prefix::of(addr, bits));
            }
        }
        subnets.sort_unstable();
        subnets.dedup();
        Ok(subnets)
    }

    /// What this host takes for its own (`local`), or for all hosts of a subnet (`broadcast`), by the routes that
    /// the kernel keeps for itself.
    ///
    /// Routes, not addresses: they have what `ip route add local` makes one's own (AnyIP), and the broadcast
    /// addresses.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub async fn own(&self) -> Result<Vec<(Prefix, Own)>> {
        // Only such a socket has the kernel leave out what was not asked for; there may be a million routes.
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

    /// Listens for addresses and own routes that come or go, from now on.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn address_changes(&self) -> Result<AddressChanges> {
        // One is enough: whoever hears it reads all addresses anew.
        let (said, heard) = mpsc::channel(1);
        let open = || {
            let groups = [
                MulticastGroup::Ipv4Ifaddr,
                MulticastGroup::Ipv6Ifaddr,
                MulticastGroup::Ipv4Route,
                MulticastGroup::Ipv6Route,
            ];
            let (connection, _, messages) = new_multicast_connection(&groups)?;
            tokio::spawn(connection);
            Ok::<_, std::io::Error>(messages)
        };
        let mut messages = open().context("cannot listen for changes of addresses")?;
        tokio::spawn(async move {
            loop {
                while let Some((message, _)) = messages.next().await {
                    if concerns_addresses(&message.payload) {
                        let _one_waits = said.try_send(());
                    }
                }
                // So many came that the kernel lost some, and the connection ended.
                match open() {
                    Ok(again) => messages = again,
                    Err(error) => {
                        warn!("cannot listen for changes of addresses any more: {error}");
                        return;
                    }
                }
                let _one_waits = said.try_send(());
            }
        });
        Ok(AddressChanges(heard))
    }

    /// How the kernel would send to `destination`; none if it would not.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub async fn route(&self, destination: IpAddr) -> Result<Option<Route>> {
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(destination, if destination.is_ipv4() { 32 } else { 128 })?
            .build();
        let mut messages = Box::pin(self.0.route().get(message).execute());
        match messages.try_next().await {
            Ok(message) => Ok(message.and_then(|message| route(&message))),
            Err(Error::NetlinkError(error))
                if matches!(
                    Errno::from_raw(-error.raw_code()),
                    Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL
                ) =>
            {
                Ok(None)
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot ask for the route to {destination}"))
            }
        }
    }

    /// The hosts on each interface's own link whose MAC addresses are known.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub async fn neighbours(&self) -> Result<HashSet<(u32, IpAddr)>> {
        let messages = self.0.neighbours().get().execute();
        let known = messages.try_filter_map(async |message| {
            let known = matches!(
                message.header.state,
                NeighbourState::Reachable
                    | NeighbourState::Stale
                    | NeighbourState::Delay
                    | NeighbourState::Probe
                    | NeighbourState::Noarp
                    | NeighbourState::Permanent
            );
            let address = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                        Some((*v4).into())
                    }
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                        Some((*v6).into())
                    }
                    _ => None,
                });
            Ok(address
                .filter(|_| known)
                .map(|addr| (message.header.ifindex, addr)))
        });
        known
            .try_collect()
            .await
            .context("cannot list the neighbours")
    }

    /// Deletes the clsact qdisc of an interface, unless somebody's filter is still there.
    ///
    /// # Errors
    /// If there is none, or the kernel refuses.
    pub async fn delete_clsact(&self, index: u32) -> Result<()> {
        let index = i32::try_from(index)?;
        let filters = || self.0.traffic_filter(index).get();
        for request in [filters().ingress(), filters().egress()] {
            let left: Vec<TcMessage> = request
                .execute()
                .try_collect()
                .await
                .context("cannot list the filters")?;
            if !left.is_empty() {
                info!("left the clsact qdisc in place for others' filters");
                return Ok(());
            }
        }
        let mut request = self.0.qdisc().del(index);
        clsact(request.message_mut());
        request
            .execute()
            .await
            .context("cannot delete the clsact qdisc")
    }
}

/// Whether a message tells of an address, or of a route that [`Net::own`] lists: others may change all the time.
fn concerns_addresses(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    match payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
        ) => is_own(route).is_some(),
        _ => true,
    }
}

fn is_own(route: &RouteMessage) -> Option<(Prefix, Own)> {
    const LOCAL: u8 = libc::RT_TABLE_LOCAL;
    // In a VRF's table are those that the kernel has put there for its addresses. In others may be a transparent
    // proxy's, which make all the world this host's own.
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

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// Aims a message at the clsact qdisc: it has a fixed place and a fixed handle.
fn clsact(message: &mut TcMessage) {
    const MAJOR: u16 = 0xffff;
    message.header.parent = TcHandle {
        major: MAJOR,
        minor: 0xfff1,
    };
    message.header.handle = TcHandle {
        major: MAJOR,
        minor: 0,
    };
}

fn route(message: &RouteMessage) -> Option<Route> {
    let mut route = Route {
        index: 0,
        gateway: None,
        source: None,
        local: match message.header.kind {
            RouteType::Unicast => false,
            RouteType::Local => true,
            _ => return None,
        },
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.index = *index,
            RouteAttribute::Gateway(gateway) => route.gateway = ip(gateway),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => {
                route.gateway = Some((*gateway).into());
            }
            RouteAttribute::PrefSource(source) => route.source = ip(source),
            _ => {}
        }
    }
    Some(route)
}

fn link(message: &LinkMessage) -> Option<Link> {
    let name = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
    let xdp = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        })
        .flatten()
        .find_map(|xdp| match xdp {
            LinkXdp::ProgId(id)
            | LinkXdp::DrvProgId(id)
            | LinkXdp::SkbProgId(id)
            | LinkXdp::HwProgId(id) => Some(*id),
            _ => None,
        });
    let (mut kind, mut lower, mut elsewhere) = (Kind::Other, None, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::LinkInfo(info) if info.contains(&LinkInfo::Kind(InfoKind::Veth)) => {
                kind = Kind::Veth;
            }
            LinkAttribute::LinkInfo(info) if info.contains(&LinkInfo::Kind(InfoKind::Vlan)) => {
                kind = Kind::Vlan;
            }
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            _ => {}
        }
    }
    Some(Link {
        index: message.header.index,
        name,
        kind,
        lower: lower.filter(|_| !elsewhere),
        ethernet: matches!(
            message.header.link_layer_type,
            LinkLayerType::Ether | LinkLayerType::Loopback
        ),
        xdp,
    })
}

#[cfg(test)]
mod tests {
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
