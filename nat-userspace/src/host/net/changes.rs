//! Notifications of changed interfaces, addresses and routes.

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use rtnetlink::{
    MulticastGroup, new_multicast_connection, packet_core::NetlinkPayload,
    packet_route::RouteNetlinkMessage,
};
use tokio::sync::mpsc;
use tracing::warn;

use super::{Net, own::is_own, unicast::unicast};

/// A listener for things of this network namespace that come, change or go.
pub struct Changes(mpsc::Receiver<()>);

impl Changes {
    /// Waits for the next change, or several at once. Waits for ever if the kernel's notifications have ended.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Forgets changes so far: they are about to be read.
    pub fn forget(&mut self) {
        while self.0.try_recv().is_ok() {}
    }
}

impl Net {
    /// Listens for addresses and routes that come or go, from now on.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn address_changes(&self) -> Result<Changes> {
        const GROUPS: &[MulticastGroup] = &[
            // With an interface that goes down, IPv4 routes go without a word.
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        changes(GROUPS, "addresses", concerns_addresses)
    }

    /// Listens for interfaces, and for qdiscs and filters on them, that come, change or go, from now on.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn link_changes(&self) -> Result<Changes> {
        changes(
            &[MulticastGroup::Link, MulticastGroup::Tc],
            "interfaces",
            |_| true,
        )
    }
}

/// Listens to `groups`, for messages that count.
fn changes(
    groups: &'static [MulticastGroup],
    subject: &'static str,
    counts: fn(&NetlinkPayload<RouteNetlinkMessage>) -> bool,
) -> Result<Changes> {
    // One message is enough: the receiver reads all anew.
    let (sender, receiver) = mpsc::channel(1);
    let open = || {
        let (connection, _, messages) = new_multicast_connection(groups)?;
        tokio::spawn(connection);
        Ok::<_, std::io::Error>(messages)
    };
    let mut messages = open().with_context(|| format!("cannot listen for changes of {subject}"))?;
    tokio::spawn(async move {
        loop {
            while let Some((message, _)) = messages.next().await {
                if counts(&message.payload) {
                    let _already_pending = sender.try_send(());
                }
            }
            // The socket's buffer overflowed, and the connection ended.
            match open() {
                Ok(again) => messages = again,
                Err(error) => {
                    warn!(
                        subject,
                        "cannot listen for changes of {subject} any more: {error}"
                    );
                    return;
                }
            }
            let _already_pending = sender.try_send(());
        }
    });
    Ok(Changes(receiver))
}

/// Whether a message concerns an interface, an address, or a route that [`Net::own`] or [`Net::unicast_routes`] lists.
fn concerns_addresses(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    match payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
        ) => is_own(route).is_some() || unicast(route).is_some(),
        _ => true,
    }
}
