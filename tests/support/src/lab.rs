//! Topology of the lab.
//!
//! ```text
//!  phones             router             ISP                                PBX
//!  192.168.1.10 ─┐
//!  192.168.1.11 ─┼─ 192.168.1.1   60.17.196.2 ── 60.17.196.1 ┐
//!  192.168.1.12 ─┘                                            ├ 203.0.113.1 ─┬─ 203.0.113.10 eth0
//!  192.168.1.10 ─── 192.168.1.1   60.17.197.2 ── 60.17.197.1 ┤              ├─ 203.0.113.20 neighbour
//!  198.51.100.7 ──────────────────────────────── 198.51.100.1 ┘              └─ 203.0.113.2  another gateway
//! ```

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    alg::{Alg, RunningAlg},
    capture::{Capture, Tap},
    netns::{Netns, NetnsFamily},
    xdp::Passing,
};

/// The address of the PBX.
pub const PBX: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 5060);
/// The IPv6 address of the PBX, if the lab has IPv6.
pub const PBX_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10);
/// A host on the PBX's own subnet.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// A second gateway on the PBX's subnet. It forwards nothing.
pub const OTHER_GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The phone that has a public address and no NAT in front of it.
pub const PUBLIC_PHONE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 5060);

const PHONE_PORT: u16 = 5060;
const FIRST_MAPPED_PORT: u16 = 49163;
/// The IPv6 address of the provider on the PBX's subnet.
const PROVIDER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1);
const GATEWAY_MAC: &str = "02:00:00:00:00:01";

/// Plan of a lab.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The number of sites; each has its own router and uses the same private addresses.
    pub sites: u8,
    /// The number of phones at each site.
    pub phones: u8,
    /// The ALG in each router.
    pub alg: Alg,
    /// Whether the PBX leaves checksums to its network card, as it does by default.
    pub checksum_offload: bool,
    /// Whether the PBX routes the private addresses to [`OTHER_GATEWAY`], as to a VPN.
    pub private_route: bool,
    /// Whether the routers run the kernel's own SIP ALG (`nf_nat_sip`).
    pub kernel_alg: bool,
    /// Whether packets that XDP sends back are received. A veth receives them only if its other end has an XDP
    /// program, too.
    pub xdp_replies: bool,
    /// Whether there is also IPv6 between the phones and the PBX, with a NAT in each router.
    pub ipv6: bool,
}

impl Plan {
    /// The slide: one phone behind an ALG that removes the port.
    pub const SLIDE: Self = Self {
        sites: 1,
        phones: 1,
        alg: Alg::WITHOUT_PORT,
        checksum_offload: true,
        private_route: false,
        kernel_alg: false,
        xdp_replies: false,
        ipv6: false,
    };

    /// One phone behind a NAT without ALG.
    pub const PLAIN_NAT: Self = Self {
        alg: Alg::NONE,
        ..Self::SLIDE
    };
}

impl Default for Plan {
    fn default() -> Self {
        Self::SLIDE
    }
}

/// A lab, deleted when dropped.
#[derive(Debug)]
pub struct Lab {
    /// The sites behind NATs.
    pub sites: Vec<Site>,
    _passing: Option<Passing>,
    /// The provider between the sites and the PBX.
    pub isp: Netns,
    /// The host of the PBX, with its one interface `eth0`.
    pub pbx: Netns,
    /// The phone with the public address.
    pub public_phone: Netns,
    /// The host on the PBX's own subnet.
    pub neighbour: Netns,
    /// The second gateway on the PBX's subnet.
    pub other_gateway: Netns,
}

/// A home or an office: phones behind a router.
#[derive(Debug)]
pub struct Site {
    /// Its phones.
    pub phones: Vec<Phone>,
    // Before the router: the ALG's thread reads a queue of the router's namespace.
    _alg: Option<RunningAlg>,
    /// Its router.
    pub router: Netns,
}

/// A host with a phone on it.
#[derive(Debug)]
pub struct Phone {
    /// Its namespace, with the interface `eth0`.
    pub netns: Netns,
    /// The address of its interface.
    pub private: SocketAddrV4,
    /// The address to which its router maps the private one.
    pub public: SocketAddrV4,
    /// The IPv6 address to which its router maps the private one, if the lab has IPv6.
    pub public_v6: SocketAddrV6,
}

/// Packets that the ISP has dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Towards a customer's UDP port 5060.
    pub port_5060: u64,
    /// Towards private addresses.
    pub private: u64,
}

impl Lab {
    /// Builds it.
    pub fn new(plan: Plan) -> Result<Self> {
        let family = NetnsFamily::next()?;
        let isp = family.make("isp")?;
        let pbx = family.make("pbx")?;
        let neighbour = family.make("neighbour")?;
        let other_gateway = family.make("gateway")?;
        let public_phone = family.make("public")?;

        isp.sysctl("ipv4/ip_forward", "1")?;
        isp.ip(&format!(
            "link add backbone address {GATEWAY_MAC} type bridge forward_delay 0
             addr add 203.0.113.1/24 dev backbone
             link set backbone up
             link add public type veth peer name eth0 netns {public}
             addr add 198.51.100.1/24 dev public
             link set public up",
            public = public_phone.name(),
        ))?;
        host(
            &public_phone,
            *PUBLIC_PHONE.ip(),
            Ipv4Addr::new(198, 51, 100, 1),
        )?;
        for (netns, port, address) in [
            (&pbx, "pbx", *PBX.ip()),
            (&neighbour, "neighbour", NEIGHBOUR),
            (&other_gateway, "gateway", OTHER_GATEWAY),
        ] {
            isp.ip(&format!(
                "link add {port} type veth peer name eth0 netns {name}
                 link set {port} master backbone up",
                name = netns.name(),
            ))?;
            host(netns, address, Ipv4Addr::new(203, 0, 113, 1))?;
        }
        let passing = plan.xdp_replies.then(|| Passing::attach(&isp, "pbx"));
        if plan.ipv6 {
            ipv6(&isp, "backbone", &format!("{PROVIDER_V6}/64"), None)?;
            ipv6(&pbx, "eth0", &format!("{PBX_V6}/64"), Some(PROVIDER_V6))?;
            isp.sysctl("ipv6/conf/all/forwarding", "1")?;
        }
        if plan.private_route {
            pbx.ip(&format!("route add 192.168.0.0/16 via {OTHER_GATEWAY}"))?;
        }
        if !plan.checksum_offload {
            pbx.run(
                Command::new("ethtool").args(["-K", "eth0", "tx", "off"]),
                "",
            )?;
        }
        let sites = (0..plan.sites).map(|number| site(&family, &isp, plan, number));
        let sites = sites.collect::<Result<_>>()?;
        isp.run(
            Command::new("nft").args(["-f", "-"]),
            "table ip isp {
                 counter port_5060 {}
                 counter private {}
                 chain prerouting {
                     type filter hook prerouting priority filter
                     ip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } counter name private drop
                 }
                 chain forward {
                     type filter hook forward priority filter
                     oifname \"site*\" udp dport 5060 counter name port_5060 drop
                 }
             }",
        )?;
        Ok(Self {
            sites,
            _passing: passing.transpose()?,
            isp,
            pbx,
            public_phone,
            neighbour,
            other_gateway,
        })
    }

    /// The first phone of the first site.
    pub fn phone(&self) -> &Phone {
        &self.sites[0].phones[0]
    }

    /// Gives a host of the provider a private address, to which its network leads.
    pub fn add_private_host(&self, address: Ipv4Addr) -> Result<()> {
        self.isp.ip(&format!("addr add {address}/32 dev lo"))?;
        let accept = format!("insert rule ip isp prerouting ip daddr {address} accept");
        self.isp
            .run(Command::new("nft").args(["-f", "-"]), &accept)?;
        Ok(())
    }

    /// Returns the number of packets that the ISP has dropped so far.
    pub fn dropped(&self) -> Result<Dropped> {
        let json = self
            .isp
            .run(Command::new("nft").args(["-j", "list", "counters"]), "")?;
        let json: serde_json::Value = serde_json::from_str(&json).context("nft -j")?;
        let packets = |name: &str| {
            json["nftables"]
                .as_array()?
                .iter()
                .find(|object| object["counter"]["name"] == name)?["counter"]["packets"]
                .as_u64()
        };
        Ok(Dropped {
            port_5060: packets("port_5060").context("no counter port_5060")?,
            private: packets("private").context("no counter private")?,
        })
    }

    /// Captures at every phone, on the outside of every router, and at the PBX.
    pub fn capture(&self) -> Result<Capture> {
        let mut taps = vec![
            (Tap::Pbx, &self.pbx, "eth0"),
            (Tap::Public, &self.public_phone, "eth0"),
        ];
        for (number, site) in self.sites.iter().enumerate() {
            taps.push((Tap::Router(number), &site.router, "wan"));
            for (phone_number, phone) in site.phones.iter().enumerate() {
                taps.push((Tap::Phone(number, phone_number), &phone.netns, "eth0"));
            }
        }
        taps.push((Tap::Neighbour, &self.neighbour, "eth0"));
        taps.push((Tap::OtherGateway, &self.other_gateway, "eth0"));
        Capture::start(&taps)
    }
}

impl Site {
    /// The router forwards this port of its own address to that port of a phone.
    pub fn forward(&self, phone: usize, port: u16) -> Result<()> {
        let private = self.phones[phone].private.ip();
        self.router.run(
            Command::new("nft").args(["-f", "-"]),
            &format!(
                "table ip forwarded {{
                     chain prerouting {{
                         type nat hook prerouting priority dstnat
                         iifname wan udp dport {port} dnat to {private}:{port}
                     }}
                 }}
                 insert rule ip router forward ct status dnat accept"
            ),
        )?;
        Ok(())
    }

    /// The NAT gives another mapping to what its phones send from `port`.
    pub fn remap_port(&self, port: u16, public: SocketAddrV4) -> Result<()> {
        self.router.run(
            Command::new("nft").args(["-f", "-"]),
            &format!(
                "insert rule ip router postrouting oifname wan udp sport {port} snat to {public}"
            ),
        )?;
        self.router.forget_connections()
    }

    /// The NAT gives a phone another mapping, as routers do after a pause, a restart or a call to the provider. The
    /// phone's next packets come from `public`. An ALG would not know the new mapping, so the lab must have none.
    pub fn remap(&self, phone: usize, public: SocketAddrV4) -> Result<()> {
        let private = self.phones[phone].private;
        // The router may already have the address: then nothing changes.
        self.router
            .ip(&format!("addr replace {}/24 dev wan", public.ip()))?;
        self.router.run(
            Command::new("nft").args(["-f", "-"]),
            &format!(
                "insert rule ip router postrouting \
                 oifname wan ip saddr {} udp sport {} snat to {public}",
                private.ip(),
                private.port(),
            ),
        )?;
        self.router.forget_connections()
    }
}

fn site(family: &NetnsFamily, isp: &Netns, plan: Plan, number: u8) -> Result<Site> {
    let router = family.make(&format!("router{number}"))?;
    let wan = Ipv4Addr::new(60, 17, 196 + number, 2);
    let provider = Ipv4Addr::new(60, 17, 196 + number, 1);
    router.sysctl("ipv4/ip_forward", "1")?;
    isp.ip(&format!(
        "link add site{number} type veth peer name wan netns {name}
         addr add {provider}/24 dev site{number}
         link set site{number} up",
        name = router.name(),
    ))?;
    router.ip(&format!(
        "addr add {wan}/24 dev wan
         link set wan up
         route add default via {provider}
         link add lan type bridge forward_delay 0
         addr add 192.168.1.1/24 dev lan
         link set lan up"
    ))?;

    let [wan_v6, provider_v6] = [2, 1]
        .map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0x196 + u16::from(number), 0, 0, 0, 0, host));
    let lan_v6 = |host| Ipv6Addr::new(0xfd00, 0x192, 0x168, 1, 0, 0, 0, host);
    if plan.ipv6 {
        ipv6(
            isp,
            &format!("site{number}"),
            &format!("{provider_v6}/64"),
            None,
        )?;
        ipv6(&router, "wan", &format!("{wan_v6}/64"), Some(provider_v6))?;
        ipv6(&router, "lan", &format!("{}/64", lan_v6(1)), None)?;
        router.sysctl("ipv6/conf/all/forwarding", "1")?;
    }

    let mut phones = Vec::new();
    let mut masquerade_v6 = String::new();
    let mut masquerade = String::new();
    for index in 0..plan.phones {
        let netns = family.make(&format!("phone{number}{index}"))?;
        let private = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10 + index), PHONE_PORT);
        let public = SocketAddrV4::new(wan, FIRST_MAPPED_PORT + u16::from(index));
        router.ip(&format!(
            "link add lan{index} type veth peer name eth0 netns {name}
             link set lan{index} master lan up",
            name = netns.name(),
        ))?;
        host(&netns, *private.ip(), Ipv4Addr::new(192, 168, 1, 1))?;
        let private_v6 = lan_v6(0x10 + u16::from(index));
        let public_v6 = SocketAddrV6::new(wan_v6, public.port(), 0, 0);
        if plan.ipv6 {
            ipv6(&netns, "eth0", &format!("{private_v6}/64"), Some(lan_v6(1)))?;
        }
        writeln!(
            masquerade_v6,
            "oifname wan ip6 saddr {private_v6} meta l4proto udp masquerade to :{}",
            public_v6.port(),
        )?;
        writeln!(
            masquerade,
            "oifname wan ip saddr {} udp sport {} masquerade to :{}",
            private.ip(),
            private.port(),
            public.port(),
        )?;
        phones.push(Phone {
            netns,
            private,
            public,
            public_v6,
        });
    }
    // The router drops packets that no host behind it has asked for: it filters by address and port.
    router.run(
        Command::new("nft").args(["-f", "-"]),
        &format!(
            "table ip router {{
                 chain postrouting {{
                     type nat hook postrouting priority srcnat
                     {masquerade}
                     oifname wan masquerade
                 }}
                 chain forward {{
                     type filter hook forward priority filter; policy drop
                     iifname lan accept
                     ct state established,related accept
                 }}
                 chain input {{
                     type filter hook input priority filter
                     iifname wan udp dport 1-65535 drop
                 }}
             }}"
        ),
    )?;
    if plan.ipv6 {
        router.run(
            Command::new("nft").args(["-f", "-"]),
            &format!(
                "table ip6 router {{
                     chain postrouting {{
                         type nat hook postrouting priority srcnat
                         {masquerade_v6}
                     }}
                 }}"
            ),
        )?;
    }
    if plan.kernel_alg {
        router.run(
            Command::new("nft").args(["-f", "-"]),
            "table ip alg {
                 ct helper sip { type \"sip\" protocol udp; }
                 chain prerouting {
                     type filter hook prerouting priority filter
                     iifname lan udp dport 5060 ct helper set \"sip\"
                 }
             }",
        )?;
    }
    let mapping: HashMap<_, _> = phones
        .iter()
        .map(|phone| (*phone.private.ip(), phone.public))
        .collect();
    let alg = RunningAlg::start(plan.alg, &router, mapping)?;
    Ok(Site {
        phones,
        _alg: alg,
        router,
    })
}

fn host(netns: &Netns, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<()> {
    netns.ip(&format!(
        "addr add {address}/24 dev eth0
         link set eth0 up
         route add default via {gateway}"
    ))
}

/// Enables IPv6 on an interface, with this address, prefix length and gateway.
fn ipv6(netns: &Netns, interface: &str, address: &str, gateway: Option<Ipv6Addr>) -> Result<()> {
    netns.sysctl(&format!("ipv6/conf/{interface}/disable_ipv6"), "0")?;
    netns.ip(&format!("addr add {address} dev {interface} nodad"))?;
    match gateway {
        Some(gateway) => netns.ip(&format!("route add default via {gateway}")),
        None => Ok(()),
    }
}
