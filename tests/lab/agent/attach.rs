//! Attaching to interfaces: modes of XDP and TC, several interfaces, several namespaces, signals.

use std::process::Command;

use anyhow::Result;
use nat_test_support::sipnat;
use nix::sys::signal::Signal;

use super::{Host, ON_ETH0, loops, stop, tc};

#[test]
fn ready_line_then_nothing_is_left() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let host = Host::new()?;
        let agent = host.run(&ON_ETH0)?;
        let programs = host.programs()?;
        let output = stop(agent, signal)?;
        let tc = tc()?;
        assert_eq!(
            output,
            format!("sipnat: ready on eth0 (xdp native, {tc})\n")
        );
        host.is_clean(&programs)?;
    }
    Ok(())
}

#[test]
fn one_agent_serves_several_interfaces() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&["--iface", "eth0", "--iface", "eth1", "--port", "5080"])?;
    let programs = host.programs()?;
    let status = host.ask(&["status"])?;
    let tc = tc()?;
    assert!(
        status.contains(&format!("eth0 (xdp native, {tc}), eth1 (xdp native, {tc})")),
        "{status}"
    );
    let both = |loops: &&str| status.matches(loops).count() == 2;
    assert!(loops()?.iter().any(both), "{status}");
    assert!(status.contains("5080"), "{status}");
    stop(agent, Signal::SIGTERM)?;
    host.is_clean(&programs)
}

#[test]
fn a_driver_without_native_xdp_gets_generic() -> Result<()> {
    let host = Host::new()?;
    host.netns
        .ip("link add br0 type bridge\nlink set br0 up\n")?;
    let agent = host.run(&["--iface", "br0"])?;
    let programs = host.programs()?;
    let output = stop(agent, Signal::SIGTERM)?;
    assert!(
        output.contains("br0 has no native XDP: using generic mode, slower"),
        "{output}"
    );
    let ready = format!("ready on br0 (xdp generic, {})", tc()?);
    assert!(output.contains(&ready), "{output}");
    host.is_clean(&programs)
}

#[test]
fn the_clsact_qdisc_goes_if_it_was_made() -> Result<()> {
    let host = Host::new()?;
    let args = ["--iface", "eth0", "--clsact"];
    let agent = host.run(&args)?;
    let programs = host.programs()?;
    assert!(host.qdiscs()?.contains("clsact"));
    let output = stop(agent, Signal::SIGTERM)?;
    assert!(output.contains("(xdp native, clsact)"), "{output}");
    host.is_clean(&programs)?;

    let tc = |args: &[&str]| host.netns.run(Command::new("tc").args(args), "");
    tc(&["qdisc", "add", "dev", "eth0", "clsact"])?;
    let agent = host.run(&args)?;
    assert!(tc(&["filter", "show", "dev", "eth0", "egress"])?.contains("egress"));
    stop(agent, Signal::SIGTERM)?;
    assert!(
        host.qdiscs()?.contains("clsact"),
        "another's qdisc was removed"
    );
    assert_eq!(tc(&["filter", "show", "dev", "eth0", "egress"])?, "");
    Ok(())
}

#[test]
fn the_clsact_qdisc_stays_for_others_filters() -> Result<()> {
    for hook in ["ingress", "egress"] {
        let host = Host::new()?;
        let agent = host.run(&["--iface", "eth0", "--clsact"])?;
        let tc = |args: &str| host.netns.run(Command::new("tc").args(args.split(' ')), "");
        // In a batch, because the bytecode (classic BPF that matches nothing) contains blanks.
        let add =
            format!("filter add dev eth0 {hook} prio 7 bpf bytecode '1,6 0 0 0' flowid 1:1\n");
        host.netns
            .run(Command::new("tc").args(["-batch", "-"]), &add)?;
        stop(agent, Signal::SIGTERM)?;
        let left = tc(&format!("filter show dev eth0 {hook}"))?;
        assert!(left.contains("pref 7 bpf"), "{hook}: {left}");
        let ours = tc("filter show dev eth0 egress")?;
        assert!(!ours.contains("direct-action"), "{ours}");
    }
    Ok(())
}

#[test]
fn a_hidden_bpffs_is_no_obstacle() -> Result<()> {
    let host = Host::new()?;
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", host.netns.name()])
        .arg(sipnat::binary()?)
        .args(["run", "--iface", "eth0"])
        .env("RUST_LOG", "nat_userspace=info");
    let agent = host.start(&mut command)?;
    let programs = host.programs()?;
    assert!(
        !host.pins()?.exists(),
        "the pins are in its own mount namespace"
    );
    let output = stop(agent, Signal::SIGTERM)?;
    assert!(output.contains("mounted a bpffs"), "{output}");
    host.is_clean(&programs)
}

#[test]
fn two_agents_in_two_namespaces_do_not_meet() -> Result<()> {
    let (one, two) = (Host::new()?, Host::new()?);
    let first = one.run(&ON_ETH0)?;
    let second = two.run(&ON_ETH0)?;
    one.ask(&["policy", "set", "192.0.2.1", "off"])?;
    assert!(!two.ask(&["policy", "list"])?.contains("192.0.2.1"));
    stop(first, Signal::SIGTERM)?;
    two.ask(&["status"])?;
    let programs = two.programs()?;
    stop(second, Signal::SIGTERM)?;
    two.is_clean(&programs)
}
