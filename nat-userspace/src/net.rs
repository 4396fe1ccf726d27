//! What rtnetlink knows of interfaces and what it does to them.

use std::{collections::HashSet, net::IpAddr};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use log::{info, warn};
use nix::errno::Errno;
use rtnetlink::{
    Error, Handle, MulticastGroup, RouteMessageBuilder, new_connection, new_multicast_connection,
    packet_route::{
        address::AddressAttribute,
        link::{LinkAttribute, LinkLayerType, LinkMessage, LinkXdp},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
        tc::{TcHandle, TcMessage},
    },
};
use tokio::sync::mpsc;

use crate::prefix::Prefix;

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

    /// Listens for addresses that come or go, from now on.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn address_changes(&self) -> Result<AddressChanges> {
        // One is enough: whoever hears it reads all addresses anew.
        let (said, heard) = mpsc::channel(1);
        let open = || {
            let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
            let (connection, _, messages) = new_multicast_connection(&groups)?;
            tokio::spawn(connection);
            Ok::<_, std::io::Error>(messages)
        };
        let mut messages = open().context("cannot listen for changes of addresses")?;
        tokio::spawn(async move {
            loop {
                while messages.next().await.is_some() {
                    let _one_waits = said.try_send(());
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
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::from(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::from(*v6)),
        _ => None,
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
    Some(Link {
        index: message.header.index,
        name,
        ethernet: matches!(
            message.header.link_layer_type,
            LinkLayerType::Ether | LinkLayerType::Loopback
        ),
        xdp,
    })
}
