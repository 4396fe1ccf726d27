//! Routes.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use rtnetlink::{
    Error, RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};

use super::Net;

/// The route of a packet that the kernel would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface.
    pub index: u32,
    /// The next hop; none if the destination is on link.
    pub gateway: Option<IpAddr>,
    /// Source address, if the sender has not bound one.
    pub source: Option<IpAddr>,
    /// Set if the destination is this host.
    pub local: bool,
}

impl Net {
    /// Returns the route to `destination`; none if the kernel has none.
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
}

/// Converts an address that may be of another protocol.
pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
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
