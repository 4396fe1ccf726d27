//! Interfaces.

use std::ffi::CStr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};

use super::Net;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Set if its packets start with an Ethernet header.
    pub ethernet: bool,
    /// Id of the XDP program on it.
    pub xdp: Option<u32>,
    /// Its kind, where that matters here.
    pub kind: LinkKind,
    /// Index of the interface below it, or of the other end of a veth, in this network namespace.
    pub lower: Option<u32>,
    /// Index of the interface of which it is a port: a bond, a team, a bridge.
    pub controller: Option<u32>,
    /// Its MTU.
    pub mtu: u32,
    /// Its MAC address, if it has one.
    pub mac: Option<[u8; 6]>,
}

#[cfg(test)]
impl Link {
    /// Ethernet interface of which nothing else is known.
    pub(crate) fn ethernet(index: u32, name: &str, kind: LinkKind) -> Self {
        Self {
            index,
            name: name.into(),
            ethernet: true,
            xdp: None,
            kind,
            lower: None,
            controller: None,
            mtu: 1500,
            mac: None,
        }
    }
}

impl Link {
    /// Whether it is a port of a bridge: frames pass it that this host has not routed.
    #[must_use]
    pub fn is_bridge_port(&self, all: &[Self]) -> bool {
        self.controller_in(all)
            .is_some_and(|controller| controller.kind == LinkKind::Bridge)
    }

    /// Returns the interface of which it is a port, among all.
    #[must_use]
    pub fn controller_in<'l>(&self, all: &'l [Self]) -> Option<&'l Self> {
        all.iter().find(|link| Some(link.index) == self.controller)
    }
}

/// Kinds of interfaces that need care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a pair.
    Veth,
    /// The frames of another interface that carry one VLAN tag.
    Vlan,
    /// Several interfaces as one.
    Bond,
    /// A switch, whose ports are interfaces: of the kernel or of Open vSwitch.
    Bridge,
    /// Another one that has packets of this host, whose UDP checksum is partial: loopback, a macvlan, a tap.
    Software,
    /// Any other.
    Other,
}

impl From<&InfoKind> for LinkKind {
    fn from(kind: &InfoKind) -> Self {
        match kind {
            InfoKind::Veth => Self::Veth,
            InfoKind::Vlan => Self::Vlan,
            InfoKind::Bond | InfoKind::Team => Self::Bond,
            InfoKind::Bridge => Self::Bridge,
            InfoKind::Other(name) if name == "openvswitch" => Self::Bridge,
            InfoKind::Dummy
            | InfoKind::IpVlan
            | InfoKind::IpVtap
            | InfoKind::MacVlan
            | InfoKind::MacVtap
            | InfoKind::Netkit
            | InfoKind::Tun => Self::Software,
            _ => Self::Other,
        }
    }
}

/// Returns the present name of an interface of this thread's network namespace.
#[must_use]
pub fn name_of(index: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the kernel's names, with the 0 at their end, are no longer than the buffer.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    Some(name.to_string_lossy().into_owned())
}

impl Net {
    /// Lists all interfaces.
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
    let (mut kind, mut lower, mut controller, mut elsewhere) = (LinkKind::Other, None, None, false);
    let (mut mac, mut mtu) = (None, 0);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::LinkInfo(info) => {
                let named = info.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.into()),
                    _ => None,
                });
                kind = named.unwrap_or(kind);
            }
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::Controller(index) => controller = Some(*index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    if message.header.link_layer_type == LinkLayerType::Loopback {
        kind = LinkKind::Software;
    }
    Some(Link {
        index: message.header.index,
        name,
        kind,
        lower: lower.filter(|_| !elsewhere),
        controller,
        mtu,
        mac,
        ethernet: matches!(
            message.header.link_layer_type,
            LinkLayerType::Ether | LinkLayerType::Loopback
        ),
        xdp,
    })
}
