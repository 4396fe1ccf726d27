//! What rtnetlink knows of interfaces and what it does to them.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, new_connection,
    packet_route::{
        address::AddressAttribute,
        link::{LinkAttribute, LinkLayerType, LinkMessage, LinkXdp},
        tc::{TcHandle, TcMessage},
    },
};

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

    /// Deletes the clsact qdisc of an interface, and with it every filter there.
    ///
    /// # Errors
    /// If there is none, or the kernel refuses.
    pub async fn delete_clsact(&self, index: u32) -> Result<()> {
        let mut request = self.0.qdisc().del(i32::try_from(index)?);
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
