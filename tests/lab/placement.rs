//! sipnat on a Linux box in front of a PBX: routed, NATed, and as a bridge with and without an address of its own.
//!
//! ```text
//!  provider                     front                      PBX
//!  203.0.113.1 ─┬─ eth0 [sipnat]  eth1 ────────── eth0 203.0.113.10
//!  203.0.113.2 ─┘
//! ```

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Plan, ScriptedPbx, StrictPbx, Terminal,
    lab::{Lab, PBX},
    netns::{Netns, NetnsFamily, receive},
    sipnat::{self, Sipnat},
    sipp::{Scenario, Sipp},
};

use crate::scene::SOON;

const AOR: &str = "sip:1000@203.0.113.10";
/// The address of the front, where it is not the PBX's.
const FRONT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// The private address of the PBX behind a NAT.
const BEHIND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 2), 5060);

/// Kind of front.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It routes the PBX's public address.
    Routed,
    /// It forwards its own port 5060 to the PBX.
    Nated,
    /// It switches frames, and has no address.
    Bridge,
    /// It switches frames, and has an address.
    BridgeWithAddress,
}

/// A lab with a front.
struct Fronted {
    lab: Lab,
    front: Netns,
    place: Place,
}

impl Fronted {
    fn new(place: Place, plan: Plan) -> Result<Self> {
        let lab = Lab::new(plan)?;
        let front = NetnsFamily::next()?.make("front")?;
        let (pbx, name) = (&lab.pbx, front.name());
        pbx.ip(&format!("link set eth0 netns {name}"))?;
        front.ip(&format!(
            "link set eth0 up
             link add eth1 type veth peer name eth0 netns {}
             link set eth1 up",
            pbx.name()
        ))?;
        pbx.ip("link set eth0 up")?;
        match place {
            Place::Routed => {
                lab.isp.ip(&format!("route add {} via {FRONT}", PBX.ip()))?;
                front.sysctl("ipv4/ip_forward", "1")?;
                front.ip(&format!(
                    "addr add {FRONT}/24 dev eth0
                     route add default via 203.0.113.1
                     addr add 10.9.9.1/24 dev eth1
                     route add {} dev eth1",
                    PBX.ip()
                ))?;
                pbx.ip(&format!(
                    "addr add {}/32 dev eth0
                     route add 10.9.9.1 dev eth0
                     route add default via 10.9.9.1",
                    PBX.ip()
                ))?;
            }
            Place::Nated => {
                front.sysctl("ipv4/ip_forward", "1")?;
                front.ip(&format!(
                    "addr add {}/24 dev eth0
                     route add default via 203.0.113.1
                     addr add 10.9.9.1/24 dev eth1",
                    PBX.ip()
                ))?;
                pbx.ip(&format!(
                    "addr add {}/24 dev eth0
                     route add default via 10.9.9.1",
                    BEHIND.ip()
                ))?;
                let rules = format!(
                    "table ip front {{
                         chain prerouting {{
                             type nat hook prerouting priority dstnat
                             iifname eth0 udp dport 5060 dnat to {BEHIND}
                         }}
                         chain postrouting {{
                             type nat hook postrouting priority srcnat
                             oifname eth0 masquerade
                         }}
                     }}"
                );
                front.run(Command::new("nft").args(["-f", "-"]), &rules)?;
            }
            Place::Bridge | Place::BridgeWithAddress => {
                front.ip("link add br0 type bridge forward_delay 0
                     link set br0 up
                     link set eth0 master br0
                     link set eth1 master br0")?;
                if place == Place::BridgeWithAddress {
                    front.ip(&format!(
                        "addr add {FRONT}/24 dev br0
                         route add default via 203.0.113.1"
                    ))?;
                }
                pbx.ip(&format!(
                    "addr add {}/24 dev eth0
                     route add default via 203.0.113.1",
                    PBX.ip()
                ))?;
            }
        }
        Ok(Self { lab, front, place })
    }

    fn sipnat(&self, args: &[&str]) -> Result<Sipnat<'_>> {
        Sipnat::start(&self.front, args)
    }

    fn pbx(&self) -> Result<StrictPbx> {
        let local = if self.place == Place::Nated {
            BEHIND
        } else {
            PBX
        };
        StrictPbx::start_at(&self.lab.pbx, local, Answers::ToSource)
    }

    /// The phone registers, is called, and gets requests within that call.
    fn is_called(&self, pbx: &StrictPbx) -> Result<()> {
        self.registers(pbx)?;
        self.is_called_again(pbx)
    }

    fn registers(&self, pbx: &StrictPbx) -> Result<()> {
        Sipp::start(self.lab.phone(), "1000", Scenario::Register)?.finish(SOON)?;
        pbx.registered(AOR, SOON).map(drop)
    }

    fn is_called_again(&self, pbx: &StrictPbx) -> Result<()> {
        let mut sipp = Sipp::start(self.lab.phone(), "1000", Scenario::Answer)?;
        let call = pbx.answered(&pbx.invite(AOR)?)?;
        pbx.request(&call, "INVITE")?;
        pbx.request(&call, "BYE")?;
        sipp.finish(SOON)
    }

    /// The phone calls, and gets requests within that call.
    fn calls(&self, pbx: &StrictPbx) -> Result<()> {
        let mut sipp = Sipp::start(self.lab.phone(), "1000", Scenario::Call)?;
        let call = pbx.call(SOON)?;
        pbx.request(&call, "INVITE")?;
        pbx.request(&call, "BYE")?;
        sipp.finish(SOON)
    }
}

fn count(sipnat: &Sipnat<'_>, counter: &str) -> Result<u64> {
    let stats = sipnat.json(&["stats"])?;
    stats[counter].as_u64().with_context(|| counter.to_owned())
}

/// Plays calls out and in with sipnat, which must arrive, and without it, which must not. `kept`: each redirected frame keeps its
/// next hop.
fn serves(place: Place, args: &[&str], kept: bool) -> Result<()> {
    for plan in [Plan::PLAIN_NAT, Plan::SLIDE] {
        let fronted = Fronted::new(place, plan)?;
        let pbx = fronted.pbx()?;
        fronted.registers(&pbx)?;
        ensure!(
            fronted.is_called_again(&pbx).is_err(),
            "it is called without sipnat"
        );
        let sipnat = fronted.sipnat(args)?;
        let played = fronted
            .is_called(&pbx)
            .context("in")
            .and_then(|()| fronted.calls(&pbx).context("out"));
        played.with_context(|| sipnat.command(&["stats"]).unwrap_or_default())?;
        let other = if kept {
            "next_hop_changed"
        } else {
            "next_hop_kept"
        };
        ensure!(count(&sipnat, other)? == 0, "{other}");
        sipnat.stop()?;
        ensure!(fronted.calls(&pbx).is_err(), "it calls without sipnat");
    }
    Ok(())
}

#[test]
fn routed() -> Result<()> {
    serves(Place::Routed, &[], false)
}

#[test]
fn routed_to_a_named_pbx() -> Result<()> {
    serves(Place::Routed, &["--pbx", "203.0.113.10"], false)
}

#[test]
fn nated() -> Result<()> {
    serves(Place::Nated, &["--pbx", "203.0.113.10"], false)
}

#[test]
fn bridge() -> Result<()> {
    serves(Place::Bridge, &["--pbx", "203.0.113.10"], true)
}

#[test]
fn bridge_with_an_address() -> Result<()> {
    serves(Place::BridgeWithAddress, &["--pbx", "203.0.113.10"], true)
}

#[test]
fn the_doctor_tells_the_place() -> Result<()> {
    for (place, words) in [
        (Place::Routed, "a router in front of the PBX"),
        (Place::Nated, "a NAT in front of the PBX"),
        (Place::Bridge, "a bridge without an address"),
        (Place::BridgeWithAddress, "a bridge with an address"),
    ] {
        let fronted = Fronted::new(place, Plan::PLAIN_NAT)?;
        let doctor = ["doctor", "--iface", "eth0"];
        let named = [&doctor[..], &["--pbx", "203.0.113.10"]].concat();
        let text = sipnat::command(&fronted.front, &named)?;
        ensure!(
            text.contains(&format!("ok       place       {words}")),
            "{text}"
        );
        let text = sipnat::command(&fronted.front, &doctor)?;
        ensure!(text.contains("warning  place"), "{text}");
    }
    Ok(())
}

/// A box that joins the PBX's datagrams before it forwards them: sipnat leaves the joined packet alone, and the doctor says why.
#[test]
fn a_box_that_joins_datagrams() -> Result<()> {
    let fronted = Fronted::new(Place::Routed, Plan::PLAIN_NAT)?;
    let (front, phone) = (&fronted.front, fronted.lab.phone());
    let sipnat = fronted.sipnat(&["--pbx", "203.0.113.10"])?;
    let pbx = ScriptedPbx::start(&fronted.lab.pbx, Answers::ToSource, SOON)?;
    let phone = Terminal::start(&phone.netns, phone.private, "1000", SOON)?;
    let contact = phone.registers(&pbx)?;
    // A veth has each packet alone, unless the kernel waits for more.
    let wait =
        "cd /sys/class/net/eth1; echo 100000000 >gro_flush_timeout; echo 9 >napi_defer_hard_irqs";
    let mut command = Command::new("ip");
    front.run(
        command.args(["netns", "exec", front.name(), "sh", "-c", wait]),
        "",
    )?;
    for (state, heard, words) in [
        ("off", 2, "ok       offloads    no interface joins"),
        ("on", 0, "warning  offloads    eth1 joins UDP datagrams"),
    ] {
        let mut command = Command::new("ethtool");
        let set = ["-K", "eth1", "gro", state, "rx-udp-gro-forwarding", state];
        front.run(command.args(set), "")?;
        let doctor = ["doctor", "--iface", "eth0", "--pbx", "203.0.113.10"];
        let text = sipnat::command(front, &doctor)?;
        ensure!(text.contains(words), "{text}");
        let segmented = count(&sipnat, "out_segmented")?;
        let request = pbx.request("OPTIONS", &contact, &phone.aor);
        pbx.send(&request)?;
        pbx.send(&request)?;
        let mut arrived = 0;
        while phone.ua.listen(Duration::from_secs(1))?.is_some() {
            arrived += 1;
        }
        let segmented = count(&sipnat, "out_segmented")? - segmented;
        ensure!(arrived == heard, "{state}: {arrived} arrived");
        ensure!(
            (segmented > 0) == (heard == 0),
            "{state}: {segmented} joined"
        );
    }
    sipnat.stop()
}

/// The interface becomes a port of a bridge while sipnat works on it.
#[test]
fn becomes_a_bridge() -> Result<()> {
    let fronted = Fronted::new(Place::Bridge, Plan::PLAIN_NAT)?;
    fronted.front.ip("link set eth0 nomaster")?;
    let sipnat = fronted.sipnat(&["--pbx", "203.0.113.10"])?;
    fronted.front.ip("link set eth0 master br0")?;
    // The agent learns it from the kernel.
    thread::sleep(Duration::from_secs(2));
    let pbx = fronted.pbx()?;
    fronted.is_called(&pbx)?;
    ensure!(count(&sipnat, "next_hop_changed")? == 0, "not kept");
    sipnat.stop()
}

/// The subnet of the bridge's own address is on the link of its port.
#[test]
fn the_subnet_of_a_bridge_is_on_link() -> Result<()> {
    let fronted = Fronted::new(Place::BridgeWithAddress, Plan::PLAIN_NAT)?;
    let sipnat = fronted.sipnat(&["--pbx", "203.0.113.10"])?;
    let policy = sipnat.command(&["policy", "list"])?;
    ensure!(policy.contains("203.0.113.0/24"), "{policy}");
    sipnat.stop()
}

/// The PBX is on the bridge's own host, and sipnat on a port: its frames have the MAC address of both.
#[test]
fn a_port_of_the_pbx_s_own_bridge() -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    lab.pbx.ip(&format!(
        "addr flush dev eth0
         link add br0 type bridge forward_delay 0
         link set eth0 master br0
         link set br0 up
         addr add {}/24 dev br0
         route add default via 203.0.113.1",
        PBX.ip()
    ))?;
    let sipnat = Sipnat::start(&lab.pbx, &[])?;
    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    Sipp::start(lab.phone(), "1000", Scenario::Register)?.finish(SOON)?;
    pbx.registered(AOR, SOON)?;
    let mut sipp = Sipp::start(lab.phone(), "1000", Scenario::Answer)?;
    let call = pbx.answered(&pbx.invite(AOR)?)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)?;
    ensure!(count(&sipnat, "next_hop_kept")? > 0, "not kept");
    sipnat.stop()
}

/// A macvlan on the interface sends by it: this host has no route for its frames.
#[test]
fn frames_of_a_macvlan_keep_their_next_hop() -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    let front = NetnsFamily::next()?.make("front")?;
    lab.pbx
        .ip(&format!("link set eth0 netns {}", front.name()))?;
    front.ip("link set eth0 up")?;
    front.ip(&format!(
        "link add link eth0 name eth1 type macvlan mode bridge
         link set eth1 netns {} name eth0",
        lab.pbx.name()
    ))?;
    lab.pbx.ip(&format!(
        "addr add {}/24 dev eth0
         link set eth0 up
         route add default via 203.0.113.1",
        PBX.ip()
    ))?;
    let fronted = Fronted {
        lab,
        front,
        place: Place::Bridge,
    };
    let sipnat = fronted.sipnat(&[])?;
    let pbx = fronted.pbx()?;
    fronted.is_called(&pbx)?;
    ensure!(count(&sipnat, "next_hop_kept")? > 0, "not kept");
    sipnat.stop()
}

/// Another PBX behind the same front.
#[test]
fn only_the_named_pbx_is_learned_for() -> Result<()> {
    let fronted = Fronted::new(Place::Bridge, Plan::PLAIN_NAT)?;
    let sipnat = fronted.sipnat(&["--pbx", "203.0.113.11"])?;
    let status = sipnat.command(&["status"])?;
    ensure!(status.contains("pbx        203.0.113.11"), "{status}");
    let pbx = fronted.pbx()?;
    fronted.registers(&pbx)?;
    ensure!(fronted.is_called_again(&pbx).is_err(), "it is called");
    for counter in ["in_other_host", "out_other_host"] {
        ensure!(count(&sipnat, counter)? > 0, "{counter}");
    }
    ensure!(count(&sipnat, "in_request")? == 0, "a request was read");
    sipnat.stop()
}

/// A user of the front binds the SIP port of every address. How the PBX's socket is bound is part of every key.
#[test]
fn a_socket_of_the_front_changes_nothing() -> Result<()> {
    let fronted = Fronted::new(Place::Routed, Plan::PLAIN_NAT)?;
    let sipnat = fronted.sipnat(&["--pbx", "203.0.113.10"])?;
    let pbx = fronted.pbx()?;
    fronted.registers(&pbx)?;
    let _socket: UdpSocket = fronted
        .front
        .udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5060))?;
    // The agent looks at sockets each five seconds.
    thread::sleep(Duration::from_secs(7));
    fronted.is_called_again(&pbx)?;
    sipnat.stop()
}

/// Keepalives come from the PBX's address and port, or sipnat says why it sends none.
#[test]
fn keepalives() -> Result<()> {
    const ARGS: [&str; 4] = [
        "--pbx",
        "203.0.113.10",
        "--keepalive=options",
        "--keepalive-interval=5",
    ];
    for (place, refused) in [
        (Place::Routed, None),
        (Place::BridgeWithAddress, None),
        (Place::Nated, Some("keepalives would get another port")),
        (
            Place::Bridge,
            Some("cannot send a keepalive from 203.0.113.10:5060"),
        ),
    ] {
        let fronted = Fronted::new(place, Plan::PLAIN_NAT)?;
        let pbx = fronted.pbx()?;
        let sipnat = fronted.sipnat(&ARGS)?;
        fronted.registers(&pbx)?;
        let phone = fronted.lab.phone();
        let socket = phone.netns.udp(phone.private)?;
        socket.set_read_timeout(Some(3 * SOON))?;
        let mut buffer = [0; 2000];
        let heard = receive(&socket, &mut buffer);
        let Some(why) = refused else {
            let (length, source) = heard.context("no keepalive")?;
            ensure!(
                buffer.starts_with(b"OPTIONS sip:1000@192.168.1.10"),
                "{length} bytes"
            );
            ensure!(source == PBX.into(), "from {source}");
            ensure!(count(&sipnat, "keepalive_sent")? > 0);
            sipnat.stop()?;
            continue;
        };
        ensure!(heard.is_err(), "it was sent");
        let log = sipnat.log();
        ensure!(log.contains(why), "{log}");
        sipnat.stop()?;
    }
    Ok(())
}
