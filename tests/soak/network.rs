//! Many sites behind NATs of their own, all with the same private addresses; one ISP; one PBX.
//!
//! ```text
//!  phones                  router, one a site                 ISP                 PBX
//!  192.168.1.10 ─┐
//!  192.168.1.11 ─┼─ 192.168.1.1 (NAT) 60.100.n.2 ── 60.100.n.1  203.0.113.1 ── 203.0.113.10 eth0
//!  ...           ┘
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    PBX,
    netns::{Netns, NetnsFamily},
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::os::fd::AsRawFd as _;

/// Network of spoofed sources: a net for benchmarks (RFC 2544), without hosts.
pub(crate) const NOBODY: [u8; 2] = [198, 18];

/// Size of the range of ports of a router. Each new mapping takes the next range, so that no phone gets the port that
/// another phone had just before.
const RANGE: u16 = 1000;
const RANGES: u32 = 40;
const FIRST_PORT: u16 = 20_000;

/// The host at each site that has the addresses of all phones. The router knows only this host by ARP, because the
/// kernel keeps no more than about a thousand neighbours for all namespaces together (`gc_thresh3`).
const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

/// The network, deleted when dropped.
pub(crate) struct Network {
    pub(crate) sites: Vec<Site>,
    pub(crate) isp: Netns,
    pub(crate) pbx: Arc<Netns>,
}

/// A router, and the phones behind it in one namespace.
pub(crate) struct Site {
    number: usize,
    router: Netns,
    pub(crate) phones: Netns,
    /// Number of changes of its mapping.
    changes: u32,
}

impl Network {
    pub(crate) fn new(sites: usize, phones: usize) -> Result<Self> {
        let family = NetnsFamily::next()?;
        let isp = family.make("isp")?;
        let pbx = Arc::new(family.make("pbx")?);
        isp.sysctl("ipv4/ip_forward", "1")?;
        isp.ip(&format!(
            "link add pbx type veth peer name eth0 netns {name}
             addr add 203.0.113.1/24 dev pbx
             link set pbx up
             route add blackhole {}.{}.0.0/15",
            NOBODY[0],
            NOBODY[1],
            name = pbx.name(),
        ))?;
        pbx.ip(&format!(
            "addr add {}/24 dev eth0
             link set eth0 up
             route add default via 203.0.113.1",
            PBX.ip()
        ))?;
        let sites = (0..sites).map(|number| Site::new(&family, &isp, number, phones));
        let sites = sites.collect::<Result<_>>()?;
        isp.run(
            Command::new("nft").args(["-f", "-"]),
            "table ip isp {
                 chain prerouting {
                     type filter hook prerouting priority filter
                     ip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } drop
                 }
                 chain forward {
                     type filter hook forward priority filter
                     oifname \"site*\" udp dport 5060 drop
                 }
             }",
        )?;
        Ok(Self { sites, isp, pbx })
    }
}

impl Site {
    fn new(family: &NetnsFamily, isp: &Netns, number: usize, phones: usize) -> Result<Self> {
        let router = family.make(&format!("router{number}"))?;
        let lan = family.make(&format!("phones{number}"))?;
        let site = Self {
            number,
            router,
            phones: lan,
            changes: 0,
        };
        let (router, lan) = (&site.router, &site.phones);
        router.sysctl("ipv4/ip_forward", "1")?;
        isp.ip(&format!(
            "link add site{number} type veth peer name wan netns {}
             addr add {}/24 dev site{number}
             link set site{number} up",
            router.name(),
            site.outside(1),
        ))?;
        router.ip(&format!(
            "link set wan up
             link add lan type veth peer name eth0 netns {}
             addr add 192.168.1.1 peer {LAN} dev lan
             link set lan up
             route add 192.168.1.0/24 via {LAN}",
            lan.name(),
        ))?;
        let addresses =
            (0..phones).map(|phone| format!("addr add {} dev lo\n", private(phone).ip()));
        lan.ip(&format!(
            "addr add {LAN} peer 192.168.1.1 dev eth0
             link set eth0 up
             route add default via 192.168.1.1
             {}",
            addresses.collect::<String>()
        ))?;
        router.run(
            Command::new("nft").args(["-f", "-"]),
            "table ip router {
                 chain postrouting { type nat hook postrouting priority srcnat; }
                 chain forward {
                     type filter hook forward priority filter; policy drop
                     iifname lan accept
                     ct state established,related accept
                 }
                 chain input {
                     type filter hook input priority filter
                     iifname wan udp dport 1-65535 drop
                 }
             }",
        )?;
        site.dial_in()?;
        site.map()?;
        Ok(site)
    }

    /// Returns the router's address on the outside.
    pub(crate) fn wan(&self) -> Ipv4Addr {
        // Every second change brings another address, as a dial-up line does.
        self.outside(2 + (self.changes / 2 % 250) as u8)
    }

    fn outside(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(60, 100, self.number as u8, host)
    }

    /// The router restarts: it loses all its mappings, and makes new ones.
    pub(crate) fn change(&mut self) -> Result<()> {
        let old = self.wan();
        // Otherwise a phone that sends meanwhile would get a mapping and lose it, and another phone might get it.
        self.postrouting("drop")?;
        self.changes += 1;
        if self.wan() != old {
            self.dial_in()?;
        }
        self.router.enter(forget_connections)??;
        self.map()
    }

    /// Replaces the address on the outside.
    fn dial_in(&self) -> Result<()> {
        self.router.ip(&format!(
            "addr flush dev wan
             addr add {}/24 dev wan
             route replace default via {}",
            self.wan(),
            self.outside(1),
        ))
    }

    fn map(&self) -> Result<()> {
        let first = FIRST_PORT + (self.changes % RANGES) as u16 * RANGE;
        let last = first + RANGE - 1;
        self.postrouting(&format!(
            "meta l4proto udp masquerade to :{first}-{last} random"
        ))
    }

    /// Sets the action for new flows to the outside.
    fn postrouting(&self, rule: &str) -> Result<()> {
        self.router.run(
            Command::new("nft").args(["-f", "-"]),
            &format!(
                "flush chain ip router postrouting
                 add rule ip router postrouting oifname wan {rule}"
            ),
        )?;
        Ok(())
    }
}

/// Returns the address of the phone with this index, at any site.
pub(crate) fn private(phone: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10 + phone as u8), 5060)
}

/// Flushes connection tracking of the namespace, as `conntrack -F` does.
fn forget_connections() -> Result<()> {
    const IPCTNL_MSG_CT_DELETE: u16 = 1 << 8 | 2;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )
    .context("a netlink socket")?;
    let mut message = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port; struct nfgenmsg: family, version, resource.
    message.extend(20_u32.to_ne_bytes());
    message.extend(IPCTNL_MSG_CT_DELETE.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([2, 0, 0, 0]);
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    ensure!(length >= 20, "a short answer of {length} bytes");
    let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    ensure!(
        error == 0,
        "cannot flush connection tracking: {}",
        io::Error::from_raw_os_error(-error)
    );
    Ok(())
}
