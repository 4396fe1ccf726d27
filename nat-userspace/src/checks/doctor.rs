//! Examination of this host: all that can keep sipnat from working here, each with its reason and remedy.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::Result;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use serde::Serialize;
use serde_json::Value;

use crate::{
    checks::{
        firewall::{self, Packet, Verdict},
        preflight::{self, Kernel},
    },
    host::{
        clock, ethtool,
        net::{Link, LinkKind, Net, Own, is_native},
        prefix::Prefix,
        sockets,
    },
    kernel::{
        attach::{Attached, XdpMode},
        hooks::Hooks,
        pins,
    },
    settings::Settings,
};

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is wrong.
    Ok,
    /// Something may be wrong, or works worse than it could.
    Warning,
    /// sipnat cannot work.
    Failure,
}

/// Finding of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// Outcome.
    pub health: Health,
    /// What was found.
    pub text: String,
    /// Reason why it matters, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self {
            check,
            health: Health::Ok,
            text: text.into(),
            why: None,
            remedy: None,
        }
    }

    fn warning(
        check: &'static str,
        text: impl Into<String>,
        why: &'static str,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check,
            health: Health::Warning,
            text: text.into(),
            why: Some(why),
            remedy: Some(remedy.into()),
        }
    }

    fn failure(
        check: &'static str,
        text: impl Into<String>,
        why: &'static str,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            health: Health::Failure,
            ..Self::warning(check, text, why, remedy)
        }
    }
}

/// Examines this host for an agent with these settings. `attached` are the interfaces that have the programs, and `ours` is the id of
/// the egress program.
///
/// # Errors
/// If the kernel does not describe its network.
pub async fn examine(
    settings: &Settings,
    attached: &[Attached],
    ours: Option<u32>,
) -> Result<Vec<Finding>> {
    let net = Net::open()?;
    let links = net.links().await?;
    let mut findings = vec![
        kernel(Kernel::running()),
        jit(read("/proc/sys/net/core/bpf_jit_enable").as_deref()),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists()),
        rights(preflight::capabilities()),
        bpffs(),
        helper(|module| Path::new("/sys/module").join(module).exists()),
        clock(clock::is_synchronised()),
    ];
    let mut picked = Vec::new();
    for name in &settings.interfaces {
        let link = links.iter().find(|link| link.name == *name);
        let Some(link) = link else {
            findings.push(absent(name, settings.wait));
            continue;
        };
        let known = attached.iter().find(|known| known.index == link.index);
        let hooks = Hooks::of(&net, link).await;
        findings.push(interface(link, known));
        findings.push(native(link, known, is_native(link.index)));
        findings.push(mtu(link));
        findings.push(offloads(name, ethtool::joins_packets(name)));
        findings.push(match hooks {
            Ok(hooks) => others(link, &hooks, ours.filter(|_| known.is_some())),
            Err(error) => Finding::warning(
                "tc",
                format!("{name}: {error:#}"),
                "another program may run before sipnat's",
                "run as root",
            ),
        });
        findings.extend(port(link, &links));
        picked.push(link);
    }
    findings.extend(merges(settings, &links));
    let mut subnets = Vec::new();
    for link in &links {
        for subnet in net.subnets(link.index).await? {
            subnets.push((link.name.clone(), subnet));
        }
    }
    findings.push(overlap(&subnets));
    findings.extend(firewall(settings));
    let sockets = sockets::udp().unwrap_or_default();
    let mut bridge = None;
    for link in &picked {
        if link.is_bridge_port(&links)
            && let Some(bridge_index) = link.controller
        {
            bridge = Some(!net.subnets(bridge_index).await?.is_empty());
        }
    }
    let own = net.own().await?;
    let own = own.iter().filter(|(_, own)| *own == Own::Local);
    let place = Place {
        bridge,
        pbxs: &settings.pbxs,
        ports: &settings.ports,
        own: &own.map(|(prefix, _)| *prefix).collect::<Vec<_>>(),
        listens: settings
            .ports
            .iter()
            .all(|port| sockets.iter().any(|socket| socket.port() == *port)),
        forwards: ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
            .iter()
            .any(|key| read(&format!("/proc/sys/net/{key}")).as_deref() == Some("1")),
    };
    findings.push(place.judge());
    Ok(findings)
}

/// Reads a file of one line.
fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn kernel(running: Result<Kernel>) -> Finding {
    const WHY: &str = "the programs need helpers of Linux 6.1";
    match running.and_then(|kernel| kernel.check().map(|()| kernel)) {
        Ok(kernel) => Finding::ok("kernel", format!("Linux {kernel}")),
        Err(error) => Finding::failure("kernel", format!("{error:#}"), WHY, "a newer kernel"),
    }
}

fn jit(value: Option<&str>) -> Finding {
    match value {
        Some("0") => Finding::warning(
            "jit",
            "the kernel interprets BPF programs",
            "each packet takes many times as long",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        // A kernel that always compiles may have no such file.
        _ => Finding::ok("jit", "the kernel compiles BPF programs"),
    }
}

fn btf(there: bool) -> Finding {
    if there {
        return Finding::ok("btf", "the kernel has type information");
    }
    Finding::warning(
        "btf",
        "the kernel has no type information (/sys/kernel/btf/vmlinux)",
        "sipnat was tested on kernels that have it only; `sipnat run` says whether this one takes the programs",
        "a kernel with CONFIG_DEBUG_INFO_BTF, as distributions have",
    )
}

fn rights(checked: Result<()>) -> Finding {
    match checked {
        Ok(()) => Finding::ok("rights", "this process may load and attach programs"),
        Err(error) => Finding::failure(
            "rights",
            format!("{error:#}"),
            "loading and attaching programs needs them",
            "run as root, or see docs/operations.md#without-root",
        ),
    }
}

fn bpffs() -> Finding {
    match statfs(pins::BPFFS) {
        Ok(kind) if kind.filesystem_type() == BPF_FS_MAGIC => {
            Finding::ok("bpffs", format!("{} is a bpffs", pins::BPFFS))
        }
        _ => Finding::warning(
            "bpffs",
            format!("{} is no bpffs", pins::BPFFS),
            "the programs and tables are pinned there; the agent mounts one, which only its own mount namespace may see",
            format!("mount -t bpf bpf {}", pins::BPFFS),
        ),
    }
}

fn helper(loaded: impl Fn(&str) -> bool) -> Finding {
    let modules = ["nf_nat_sip", "nf_conntrack_sip"];
    let Some(module) = modules.into_iter().find(|module| loaded(module)) else {
        return Finding::ok("sip helper", "the kernel's own SIP ALG is not loaded");
    };
    Finding::warning(
        "sip helper",
        format!("the kernel's own SIP ALG is loaded ({module})"),
        "where a rule assigns it (`ct helper`), it changes addresses in SIP messages, and sipnat learns from what it wrote",
        format!(
            "remove rules with `ct helper`, then modprobe -r {}",
            modules.join(" ")
        ),
    )
}

fn absent(name: &str, wait: bool) -> Finding {
    const WHY: &str = "there is nothing to attach to";
    let text = format!("there is no interface {name}");
    if wait {
        return Finding::warning("interface", text, WHY, "the agent attaches when it comes");
    }
    Finding::failure(
        "interface",
        text,
        WHY,
        "name another by --iface, or --wait for it",
    )
}

fn interface(link: &Link, known: Option<&Attached>) -> Finding {
    let name = &link.name;
    if let Err(error) = preflight::is_ethernet(link) {
        return Finding::failure(
            "interface",
            format!("{error:#}"),
            "the programs read Ethernet frames",
            "name another interface by --iface",
        );
    }
    if let Some(known) = known.filter(|_| link.xdp.is_some()) {
        return Finding::ok("interface", format!("sipnat is on {known}"));
    }
    if let Err(error) = preflight::xdp_is_free(link) {
        return Finding::failure(
            "interface",
            format!("{error:#}"),
            "an interface takes one XDP program",
            format!("ip link set dev {name} xdp off, or stop what attached it"),
        );
    }
    let driver = ethtool::driver(name).unwrap_or_else(|_| "unknown".into());
    Finding::ok("interface", format!("{name} is free (driver {driver})"))
}

fn mtu(link: &Link) -> Finding {
    /// Greatest MTU with which drivers take native XDP without fragments.
    const NATIVE: u32 = 3498;
    let (name, mtu) = (&link.name, link.mtu);
    if mtu <= NATIVE {
        return Finding::ok("mtu", format!("{name} has {mtu}"));
    }
    Finding::warning(
        "mtu",
        format!("{name} has {mtu}"),
        "many drivers have no native XDP with so large an MTU; generic mode is slower",
        format!("ip link set dev {name} mtu 1500, if nothing else needs more"),
    )
}

fn native(link: &Link, known: Option<&Attached>, native: io::Result<Option<bool>>) -> Finding {
    const CHECK: &str = "xdp";
    const WHY: &str = "generic mode takes more time for each packet that arrives";
    let name = &link.name;
    let mode = known.map(|known| known.xdp);
    match (mode, native) {
        (Some(XdpMode::Native), _) => Finding::ok(CHECK, format!("{name} is in native mode")),
        (Some(XdpMode::Generic), Ok(Some(true))) => Finding::warning(
            CHECK,
            format!("{name} is in generic mode, and its driver has native XDP"),
            WHY,
            "the log says why, when the agent attaches; `sipnat run --xdp native` insists on it",
        ),
        (_, Ok(Some(true))) => Finding::ok(CHECK, format!("the driver of {name} has native XDP")),
        (_, Ok(Some(false))) => Finding::warning(
            CHECK,
            format!("the driver of {name} has no native XDP"),
            WHY,
            "use a NIC whose driver has native XDP, if a CPU is at its limit; else do nothing",
        ),
        (_, Ok(None)) => Finding::warning(
            CHECK,
            format!("{name}: not checked, this kernel does not say what drivers can do"),
            WHY,
            "see what `sipnat run` says when it attaches",
        ),
        (_, Err(error)) => Finding::warning(
            CHECK,
            format!("{name}: not checked: {error}"),
            WHY,
            "see what `sipnat run` says when it attaches",
        ),
    }
}

const OFFLOADS: &str = "offloads";

fn offloads(name: &str, joins: io::Result<bool>) -> Finding {
    match joins {
        Ok(false) => Finding::ok(
            OFFLOADS,
            format!("{name} gives packets to XDP as they come"),
        ),
        Ok(true) => Finding::warning(
            OFFLOADS,
            format!("{name} joins packets that it receives (large-receive-offload)"),
            "most drivers refuse native XDP meanwhile",
            format!("ethtool -K {name} lro off"),
        ),
        Err(error) => Finding::warning(
            OFFLOADS,
            format!("{name}: not checked: {error}"),
            "a driver that joins packets may refuse native XDP",
            format!("see `ethtool -k {name}`, large-receive-offload"),
        ),
    }
}

/// Finds interfaces that join the UDP datagrams of a PBX behind this host before it forwards them.
fn merges(settings: &Settings, links: &[Link]) -> Vec<Finding> {
    if settings.pbxs.is_empty() {
        return Vec::new();
    }
    // Names in the kernel of what `ethtool -k` shows under the same ones.
    const JOIN: [&str; 2] = ["rx-udp-gro-forwarding", "rx-gro-list"];
    // One that has gone since joins nothing.
    let joins = |link: &Link| ethtool::features_on(&link.name, &JOIN).unwrap_or_default();
    let joining = links.iter().map(|link| (&link.name, joins(link)));
    let found =
        joining.flat_map(|(name, on)| on.into_iter().map(move |feature| merging(name, feature)));
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return vec![Finding::ok(
            OFFLOADS,
            "no interface joins the UDP datagrams that this host forwards",
        )];
    }
    found
}

fn merging(name: &str, feature: &str) -> Finding {
    Finding::warning(
        OFFLOADS,
        format!("{name} joins UDP datagrams that this host forwards ({feature})"),
        "messages that the PBX sends in a row to one address pass as one packet, which sipnat leaves alone (out_segmented)",
        format!("ethtool -K {name} {feature} off"),
    )
}

fn clock(synchronised: io::Result<bool>) -> Finding {
    const CHECK: &str = "clock";
    const WHY: &str = "times in `explain` and in logs cannot be compared with those of other hosts";
    match synchronised {
        Ok(true) => Finding::ok(CHECK, "the clock is synchronised"),
        Ok(false) => Finding::warning(
            CHECK,
            "the clock is not synchronised",
            WHY,
            "chrony or systemd-timesyncd",
        ),
        Err(error) => Finding::warning(
            CHECK,
            format!("not checked: {error}"),
            WHY,
            "see `timedatectl`",
        ),
    }
}

/// Finds rules that drop packets of a phone to the PBX of this host, or of that PBX to a private address.
fn firewall(settings: &Settings) -> Vec<Finding> {
    let not_checked = |text: &str| {
        vec![Finding::warning(
            FIREWALL,
            format!("not checked: {text}"),
            LEARNS_BEFORE,
            "accept UDP to the SIP ports from any port",
        )]
    };
    if !settings.pbxs.is_empty() {
        return not_checked("the PBX is another host");
    }
    if read("/proc/net/ip_tables_names").is_some_and(|names| !names.is_empty()) {
        return not_checked("there are rules of the legacy iptables");
    }
    let rules = match firewall::rules() {
        Ok(Some(rules)) => rules,
        Ok(None) => return not_checked("there is no `nft`"),
        Err(error) => return not_checked(&error.to_string()),
    };
    let mut findings = Vec::new();
    for (port, interface) in settings
        .ports
        .iter()
        .flat_map(|port| settings.interfaces.iter().map(move |name| (port, name)))
    {
        let arrives = Packet {
            hooks: &["prerouting", "input"],
            from: Some(interface),
            sport: LEARNED_PORT,
            dport: *port,
            daddr: None,
        };
        let to_pbx = format!("UDP from port {LEARNED_PORT} to port {port} by {interface}");
        let remedy = format!("accept UDP to port {port} from any port");
        findings.extend(dropped(&rules, arrives, &to_pbx, LEARNS_BEFORE, &remedy));
    }
    for port in &settings.ports {
        let leaves = Packet {
            hooks: &["output", "postrouting"],
            from: None,
            sport: *port,
            dport: 5060,
            daddr: Some(PRIVATE),
        };
        findings.extend(dropped(
            &rules,
            leaves,
            &format!("UDP from port {port} to {PRIVATE}"),
            "sipnat redirects after the firewall: it never sees a packet that a rule drops for its private destination",
            &format!("accept UDP from port {port} to any address"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            FIREWALL,
            "no nftables rule drops SIP to or from the PBX",
        ));
    }
    findings
}

const FIREWALL: &str = "firewall";
const LEARNS_BEFORE: &str =
    "sipnat learns before the firewall, so it may learn a port from which the PBX gets nothing";
/// A port such as NATs give to phones.
const LEARNED_PORT: u16 = 49163;
/// An address such as phones without ALG advertise.
const PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

/// Finds out whether rules drop a packet.
fn dropped(
    rules: &Value,
    packet: Packet<'_>,
    what: &str,
    why: &'static str,
    remedy: &str,
) -> Option<Finding> {
    match firewall::play(rules, packet) {
        Verdict::Passes => None,
        Verdict::Dropped { chain, perhaps } => {
            let drops = if perhaps { "may drop" } else { "drops" };
            Some(Finding::warning(
                FIREWALL,
                format!("chain {chain} {drops} {what}"),
                why,
                remedy,
            ))
        }
    }
}

fn others(link: &Link, hooks: &Hooks, ours: Option<u32>) -> Finding {
    let before = hooks.before(ours);
    if before.is_empty() {
        return Finding::ok(
            "tc",
            format!(
                "no other program sees what {} sends before sipnat",
                link.name
            ),
        );
    }
    let names: Vec<String> = before.iter().map(ToString::to_string).collect();
    Finding::warning(
        "tc",
        format!(
            "{} has other programs for what it sends: {}",
            link.name,
            names.join("; ")
        ),
        "a packet that one of them sends on or drops itself never comes to sipnat",
        "see `bpftool net show`, and the documentation of what attached them",
    )
}

fn port(link: &Link, links: &[Link]) -> Option<Finding> {
    let bond = link.controller_in(links)?;
    (bond.kind == LinkKind::Bond).then(|| {
        Finding::warning(
            "interface",
            format!("{} is a port of {}", link.name, bond.name),
            "what goes by its other ports is not seen",
            format!("--iface {}", bond.name),
        )
    })
}

fn overlap(subnets: &[(String, Prefix)]) -> Finding {
    let is_private = |prefix: &Prefix| match prefix {
        Prefix::Net(net) => match net.addr() {
            IpAddr::V4(v4) => v4.is_private(),
            IpAddr::V6(_) => false,
        },
        Prefix::Default => false,
    };
    let private = subnets.iter().filter(|(_, subnet)| is_private(subnet));
    let private: Vec<String> = private
        .map(|(name, net)| format!("{net} on {name}"))
        .collect();
    if private.is_empty() {
        return Finding::ok("overlap", "this host has no private subnet on link");
    }
    Finding::warning(
        "overlap",
        format!("private subnets on link: {}", private.join(", ")),
        "a phone at home may have an address in one of them; packets for it then stay in that subnet, and never come to sipnat",
        "nothing, until `sipnat status` names such a phone, with the route that helps",
    )
}

/// Facts that tell in which of the four places sipnat is.
struct Place<'f> {
    /// An interface is a port of a bridge, which has an address or has none.
    bridge: Option<bool>,
    pbxs: &'f [IpAddr],
    ports: &'f [u16],
    own: &'f [Prefix],
    /// Each SIP port has a socket here.
    listens: bool,
    /// This host forwards packets.
    forwards: bool,
}

impl Place<'_> {
    fn judge(&self) -> Finding {
        const CHECK: &str = "place";
        const NAME_IT: &str = "name the PBX by --pbx ADDRESS (docs/placement.md)";
        let is_own = |addr: &IpAddr| {
            let host = Prefix::of(*addr, if addr.is_ipv4() { 32 } else { 128 });
            host.is_some_and(|host| self.own.iter().any(|own| own.contains(host)))
        };
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        let ports = ports.join(", ");
        if let Some(with_address) = self.bridge {
            let address = if with_address { "with" } else { "without" };
            let text = format!("a bridge {address} an address of its own, in front of the PBX");
            if self.pbxs.is_empty() && !self.listens {
                return Finding::warning(
                    CHECK,
                    text,
                    "sipnat learns for any host behind it",
                    NAME_IT,
                );
            }
            return Finding::ok(CHECK, text);
        }
        if self.pbxs.is_empty() {
            if self.listens {
                return Finding::ok(CHECK, "the PBX's own machine");
            }
            return if self.forwards {
                Finding::warning(
                    CHECK,
                    format!(
                        "perhaps a router or a NAT in front of the PBX: no program here has UDP port {ports}"
                    ),
                    "sipnat learns for any host behind this one, and a program here that binds the port disturbs it",
                    NAME_IT,
                )
            } else {
                Finding::warning(
                    CHECK,
                    format!("no program here has UDP port {ports}, and this host forwards nothing"),
                    "there is no PBX to serve",
                    "start the PBX, or name its port by --port",
                )
            };
        }
        let nat = self.pbxs.iter().all(is_own);
        if nat && self.listens {
            return Finding::warning(
                CHECK,
                "the PBX's own machine, with --pbx",
                "with --pbx, sipnat does not look at how the PBX's socket is bound: answers from another address are not matched",
                "leave --pbx out",
            );
        }
        let (text, why) = if nat {
            ("a NAT in front of the PBX", "packets do not reach the PBX")
        } else {
            (
                "a router in front of the PBX",
                "packets do not reach the PBX",
            )
        };
        if self.forwards {
            return Finding::ok(CHECK, text);
        }
        Finding::failure(
            CHECK,
            format!("{text}, but this host forwards nothing"),
            why,
            "sysctl net.ipv4.ip_forward=1",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attach::Tc;

    #[test]
    fn what_is_wrong_has_reason_and_remedy() {
        let eth0 = Link::ethernet(2, "eth0", LinkKind::Other);
        let attached = |xdp| Attached {
            name: "eth0".into(),
            index: 2,
            xdp,
            tc: Tc::Tcx,
        };
        let (on, generic) = (attached(XdpMode::Native), attached(XdpMode::Generic));
        let warnings = [
            jit(Some("0")),
            btf(false),
            helper(|module| module == "nf_conntrack_sip"),
            absent("eth9", true),
            overlap(&[("eth1".into(), "192.168.1.0/24".parse().unwrap())]),
            clock(Ok(false)),
            clock(Err(io::ErrorKind::PermissionDenied.into())),
            offloads("eth0", Ok(true)),
            merging("eth1", "rx-gro-list"),
            offloads("eth0", Err(io::ErrorKind::Unsupported.into())),
            native(&eth0, None, Ok(Some(false))),
            native(&eth0, None, Ok(None)),
            native(&eth0, Some(&generic), Ok(Some(true))),
        ];
        let failures = [
            kernel(Ok(Kernel(5, 15))),
            rights(Err(anyhow::anyhow!("no"))),
            absent("eth9", false),
        ];
        for (findings, health) in [
            (warnings.as_slice(), Health::Warning),
            (&failures, Health::Failure),
        ] {
            for finding in findings {
                assert_eq!(finding.health, health, "{finding:?}");
                assert!(finding.why.is_some() && finding.remedy.is_some());
            }
        }
        for finding in [
            kernel(Ok(Kernel(6, 1))),
            jit(None),
            jit(Some("1")),
            btf(true),
            helper(|_| false),
            overlap(&[("eth1".into(), "203.0.113.0/24".parse().unwrap())]),
            clock(Ok(true)),
            offloads("eth0", Ok(false)),
            native(&eth0, None, Ok(Some(true))),
            native(&eth0, Some(&on), Ok(None)),
        ] {
            assert_eq!(finding.health, Health::Ok, "{finding:?}");
        }
    }

    #[test]
    fn the_place_is_told() {
        let own: [Prefix; 1] = ["203.0.113.10".parse().unwrap()];
        let judge = |bridge, pbx: &str, listens, forwards| {
            let pbxs: Vec<IpAddr> = pbx.parse().into_iter().collect();
            let place = Place {
                bridge,
                pbxs: &pbxs,
                ports: &[5060],
                own: &own,
                listens,
                forwards,
            };
            let finding = place.judge();
            (finding.health, finding.text)
        };
        let (outer, behind) = ("203.0.113.10", "203.0.113.11");
        for (facts, health, words) in [
            ((None, "", true, false), Health::Ok, "own machine"),
            ((None, "", true, true), Health::Ok, "own machine"),
            (
                (None, outer, true, true),
                Health::Warning,
                "own machine, with --pbx",
            ),
            ((None, "", false, true), Health::Warning, "perhaps a router"),
            (
                (None, "", false, false),
                Health::Warning,
                "forwards nothing",
            ),
            ((None, outer, false, true), Health::Ok, "a NAT in front"),
            ((None, behind, false, true), Health::Ok, "a router in front"),
            (
                (None, behind, false, false),
                Health::Failure,
                "but this host forwards nothing",
            ),
            (
                (Some(true), behind, false, false),
                Health::Ok,
                "a bridge with an address",
            ),
            (
                (Some(false), behind, false, false),
                Health::Ok,
                "a bridge without",
            ),
            (
                (Some(false), "", false, false),
                Health::Warning,
                "a bridge without",
            ),
        ] {
            let (bridge, pbx, listens, forwards) = facts;
            let (found, text) = judge(bridge, pbx, listens, forwards);
            assert_eq!(found, health, "{text}");
            assert!(text.contains(words), "{text}");
        }
    }
}
