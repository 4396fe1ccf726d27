//! Trouble with interfaces: they go down, get another name, are deleted and made again, or lose the programs.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    process::Process,
    xdp::{self, Passing},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, ON_ETH0, STOP, stop, tc};

/// Time in which the agent follows a change.
const FOLLOW: Duration = Duration::from_secs(20);

impl Host {
    /// Returns what `status` says of an interface.
    fn interface(&self, name: &str) -> Result<Value> {
        let status = self.json(&["status", "--json"])?;
        let interfaces = status["interfaces"].as_array().context("interfaces")?;
        let found = interfaces
            .iter()
            .find(|interface| interface["name"] == name);
        found
            .cloned()
            .with_context(|| format!("no {name}: {status:#}"))
    }

    /// Waits until `status` says that an interface has the programs, or has not.
    fn wait_attached(&self, name: &str, attached: bool) -> Result<()> {
        let deadline = Instant::now() + FOLLOW;
        loop {
            let last = self.interface(name);
            if last
                .as_ref()
                .is_ok_and(|interface| interface["attached"] == attached)
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not {attached}: {last:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails unless the kernel has the programs of `status` on an interface, and the status says so.
    fn has_programs(&self, name: &str) -> Result<()> {
        let programs = self.programs()?;
        let xdp = self.netns.xdp(name)?;
        ensure!(xdp == Some(programs[0]), "{xdp:?} of {programs:?}");
        let interface = self.interface(name)?;
        ensure!(interface["attached"] == true, "{interface:#}");
        let status = self.ask(&["status"])?;
        ensure!(status.contains(&format!("{name} (xdp ")), "{status}");
        Ok(())
    }

    pub(super) fn make_eth0_again(&self) -> Result<()> {
        let peer = self.peer.name();
        self.netns.ip(&format!(
            "link add eth0 type veth peer name again0 netns {peer}\n\
             address add 203.0.113.10/24 dev eth0\n\
             link set eth0 up\n"
        ))
    }

    fn tc(&self, args: &str) -> Result<String> {
        self.netns.run(Command::new("tc").args(args.split(' ')), "")
    }
}

/// Waits until the agent has said something.
pub(super) fn says(agent: &mut Process, text: &str) -> Result<()> {
    agent.wait_until(text, FOLLOW, |agent| agent.output().contains(text))
}

#[test]
fn down_and_up_changes_nothing() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    for state in ["down", "up"] {
        host.netns.ip(&format!("link set eth0 {state}"))?;
        host.has_programs("eth0")?;
    }
    host.netns.ip("address del 203.0.113.10/24 dev eth0")?;
    host.netns.ip("address add 203.0.113.11/24 dev eth0")?;
    host.netns.ip("link set eth0 mtu 1400")?;
    host.has_programs("eth0")?;
    let output = stop(agent, Signal::SIGTERM)?;
    assert_eq!(output.lines().count(), 1, "{output}");
    Ok(())
}

#[test]
fn another_name_is_followed() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    host.netns
        .ip("link set eth0 down\nlink set eth0 name wan0\nlink set wan0 up")?;
    host.has_programs("wan0")?;
    // Another one takes the name.
    host.make_eth0_again()?;
    host.has_programs("wan0")?;
    assert_eq!(host.netns.xdp("eth0")?, None);
    stop(agent, Signal::SIGTERM)?;
    assert_eq!(host.netns.xdp("wan0")?, None);
    Ok(())
}

#[test]
fn deleted_and_made_again_is_attached_again() -> Result<()> {
    for args in [&[][..], &["--clsact"]] {
        let host = Host::new()?;
        let mut agent = host.run(&[&ON_ETH0, args].concat())?;
        let programs = host.programs()?;
        host.netns.ip("link del eth0")?;
        // Also before the agent has noticed.
        let status = host.ask(&["status"])?;
        assert!(!status.contains("eth0 (xdp"), "{status}");
        assert!(status.contains("sipnat is not on eth0"), "{status}");
        says(
            &mut agent,
            "not on eth0: there is no interface eth0; waiting",
        )?;
        assert_eq!(host.interface("eth0")?["attached"], false);
        host.make_eth0_again()?;
        host.wait_attached("eth0", true)?;
        host.has_programs("eth0")?;
        assert_eq!(host.programs()?, programs);
        stop(agent, Signal::SIGTERM)?;
        host.is_clean(&programs)?;
    }
    Ok(())
}

/// It goes while no agent runs.
#[test]
fn made_again_between_two_agents() -> Result<()> {
    let host = Host::new()?;
    let keeping = ["--iface", "eth0", "--keep"];
    stop(host.run(&keeping)?, Signal::SIGTERM)?;
    host.netns.ip("link del eth0")?;
    let left = host.sipnat(&["status"])?;
    let status = String::from_utf8(left.stdout)?;
    assert!(status.contains("on         no interface"), "{status}");
    assert!(status.contains("the interface has gone"), "{status}");
    let mut agent = host.run(&["--iface", "eth0", "--wait"])?;
    host.make_eth0_again()?;
    says(&mut agent, "attached to eth0")?;
    host.has_programs("eth0")?;
    stop(agent, Signal::SIGTERM).map(drop)
}

/// The other interface has its programs all the time.
#[test]
fn one_of_two_comes_back() -> Result<()> {
    let host = Host::new()?;
    let mut agent = host.run(&["--iface", "eth0", "--iface", "eth1"])?;
    host.netns.ip("link del eth0")?;
    says(&mut agent, "not on eth0")?;
    host.has_programs("eth1")?;
    host.make_eth0_again()?;
    host.wait_attached("eth0", true)?;
    host.has_programs("eth1")?;
    stop(agent, Signal::SIGTERM).map(drop)
}

#[test]
fn moved_to_another_namespace_it_loses_the_programs() -> Result<()> {
    let host = Host::new()?;
    let mut agent = host.run(&ON_ETH0)?;
    let there = host.peer.name();
    host.netns
        .ip(&format!("link set eth0 netns {there} name moved"))?;
    says(&mut agent, "not on eth0")?;
    let mut show = Command::new("ip");
    show.args(["link", "show", "moved"]);
    let deadline = Instant::now() + STOP;
    while host.peer.run(&mut show, "")?.contains("xdp") {
        ensure!(Instant::now() < deadline, "it still has an XDP program");
        thread::sleep(Duration::from_millis(20));
    }
    let status = host.ask(&["status"])?;
    assert!(status.contains("on         no interface"), "{status}");
    stop(agent, Signal::SIGTERM).map(drop)
}

#[test]
fn what_somebody_detaches_is_attached_again() -> Result<()> {
    let host = Host::new()?;
    let mut agent = host.run(&["--iface", "eth0", "--iface", "eth1", "--clsact"])?;
    let programs = host.programs()?;
    // The status does not depend on the agent.
    agent.signal(Signal::SIGSTOP)?;
    host.tc("qdisc del dev eth0 clsact")?;
    let status = host.ask(&["status"])?;
    agent.signal(Signal::SIGCONT)?;
    assert!(status.contains("egress program was detached"), "{status}");
    says(&mut agent, "attached to eth0 again")?;
    host.has_programs("eth0")?;
    assert!(host.tc("filter show dev eth0 egress")?.contains("egress"));
    // Nothing else holds the program of XDP.
    let index = host.netns.ifindex("eth1")?;
    std::fs::remove_file(host.pins()?.join(format!("xdp-{index}")))?;
    says(&mut agent, "attached to eth1 again")?;
    host.has_programs("eth1")?;
    stop(agent, Signal::SIGTERM)?;
    host.is_clean(&programs)
}

/// The pins are there, and what they hold is no more on the interface.
#[test]
fn detached_links_are_attached_again() -> Result<()> {
    let host = Host::new()?;
    let mut agent = host.run(&["--iface", "eth0", "--iface", "eth1"])?;
    let programs = host.programs()?;
    let kinds = if tc()? == "tcx" {
        ["xdp", "tcx"]
    } else {
        ["xdp", "xdp"]
    };
    for (interface, kind) in ["eth0", "eth1"].into_iter().zip(kinds) {
        let index = host.netns.ifindex(interface)?;
        xdp::detach(&host.pins()?.join(format!("{kind}-{index}")))?;
        says(&mut agent, &format!("attached to {interface} again"))?;
        host.has_programs(interface)?;
    }
    stop(agent, Signal::SIGTERM)?;
    host.is_clean(&programs)
}

#[test]
fn an_interface_is_waited_for() -> Result<()> {
    let host = Host::new()?;
    host.refused(
        &["run", "--iface", "eth2"],
        1,
        &["there is no interface eth2", "--wait waits for it"],
    )?;
    let mut agent = host.run(&["--iface", "eth2", "--wait"])?;
    host.refused(&["run", "--iface", "eth0"], 1, &["which waits for eth2"])?;
    let output = agent.output();
    assert!(
        output.contains("ready on no interface yet; waiting for eth2"),
        "{output}"
    );
    let status = host.ask(&["status"])?;
    assert!(
        status.contains("sipnat is not on eth2: there is no such interface"),
        "{status}"
    );
    host.netns.ip("link add eth2 type veth peer name far2")?;
    says(&mut agent, "attached to eth2 (xdp native")?;
    host.has_programs("eth2")?;
    stop(agent, Signal::SIGTERM)?;
    assert_eq!(host.netns.xdp("eth2")?, None);
    // With another one that is there.
    let agent = host.run(&["--iface", "eth0", "--iface", "eth3", "--wait"])?;
    let output = agent.output();
    assert!(output.contains("; waiting for eth3"), "{output}");
    host.has_programs("eth0")?;
    stop(agent, Signal::SIGTERM).map(drop)
}

/// The interface comes back with another's XDP program on it.
#[test]
fn another_xdp_program_is_not_replaced() -> Result<()> {
    let host = Host::new()?;
    let mut agent = host.run(&ON_ETH0)?;
    host.netns.ip("link del eth0")?;
    says(&mut agent, "not on eth0")?;
    host.netns.ip("link add late0 type veth peer name far0")?;
    let other = Passing::attach(&host.netns, "late0")?;
    host.netns.ip("link set late0 name eth0")?;
    says(
        &mut agent,
        "not on eth0: eth0 already has another XDP program",
    )?;
    let status = host.ask(&["status"])?;
    assert!(
        status.contains("already has another XDP program"),
        "{status}"
    );
    drop(other);
    host.wait_attached("eth0", true)?;
    stop(agent, Signal::SIGTERM).map(drop)
}

/// Programs of tcx that were there before sipnat's run before it.
#[test]
fn others_programs_are_named() -> Result<()> {
    if tc()? != "tcx" {
        return Ok(());
    }
    let host = Host::new()?;
    let before = Passing::attach_egress(&host.netns, "eth0")?;
    let agent = host.run(&ON_ETH0)?;
    let after = Passing::attach_egress(&host.netns, "eth0")?;
    let others = host.interface("eth0")?["others"].clone();
    let order = |index: usize| others[index]["before"].as_bool();
    assert_eq!(
        [order(0), order(1), order(2)],
        [Some(true), Some(false), None]
    );
    let status = host.ask(&["status"])?;
    let named = status.matches("runs before sipnat's").count();
    assert_eq!(named, 1, "{status}");
    drop((before, after));
    assert_eq!(host.interface("eth0")?["others"], Value::Null);
    stop(agent, Signal::SIGTERM).map(drop)
}

/// Kinds of interfaces that lie on others.
#[test]
fn interfaces_on_others_take_the_programs() -> Result<()> {
    let tc = tc()?;
    for (name, add, mode) in [
        (
            "br0",
            "link add br0 type bridge\nlink set eth1 master br0",
            "generic",
        ),
        (
            "eth1.7",
            "link add link eth1 name eth1.7 type vlan id 7",
            "generic",
        ),
        (
            "mac0",
            "link add link eth1 name mac0 type macvlan mode bridge",
            "generic",
        ),
        (
            "bond0",
            "link add bond0 type bond mode active-backup\nlink set eth1 down\nlink set eth1 master bond0",
            "native",
        ),
    ] {
        let host = Host::new()?;
        if host.netns.ip(add).is_err() {
            // This kernel has no such interfaces.
            continue;
        }
        host.netns.ip(&format!("link set {name} up"))?;
        let agent = host.run(&["--iface", name])?;
        host.has_programs(name)?;
        let ready = format!("{name} (xdp {mode}, {tc})");
        let output = stop(agent, Signal::SIGTERM)?;
        assert!(output.contains(&ready), "{output}");
    }
    Ok(())
}

#[test]
fn a_port_of_a_bond_or_bridge_is_named() -> Result<()> {
    for (add, words) in [
        (
            "link add bond0 type bond\nlink set eth0 down\nlink set eth0 master bond0",
            "eth0 is a port of bond0",
        ),
        (
            "link add br0 type bridge\nlink set eth0 master br0",
            "eth0 is a port of the bridge br0",
        ),
    ] {
        let host = Host::new()?;
        let agent = host.run(&ON_ETH0)?;
        assert!(!host.ask(&["status"])?.contains("is a port of"));
        if host.netns.ip(add).is_err() {
            continue;
        }
        let status = host.ask(&["status"])?;
        assert!(status.contains(words), "{status}");
        host.has_programs("eth0")?;
        stop(agent, Signal::SIGTERM)?;
    }
    Ok(())
}
