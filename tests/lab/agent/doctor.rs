//! `sipnat doctor`: it finds what is wrong before `run` does, and says so by its exit status.

use std::process::Command;

use anyhow::{Context as _, Result};
use nat_test_support::{sipnat, xdp::Passing};
use nat_userspace::checks::preflight::Kernel;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, ON_ETH0, stop, tc};

const DOCTOR: [&str; 3] = ["doctor", "--iface", "eth0"];

#[test]
fn nothing_is_wrong() -> Result<()> {
    let host = Host::new()?;
    let text = host.ask(&DOCTOR)?;
    for words in [
        "ok       kernel",
        "eth0 is free (driver veth)",
        "no program here has UDP port 5060",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let _pbx = host
        .netns
        .udp("203.0.113.10:5060".parse::<std::net::SocketAddr>()?)?;
    let text = host.ask(&DOCTOR)?;
    assert!(text.contains("the PBX's own machine"), "{text}");
    let agent = host.run(&ON_ETH0)?;
    let text = host.ask(&DOCTOR)?;
    assert!(text.contains("sipnat is on eth0 (xdp native"), "{text}");
    assert!(
        text.contains("no other program sees what eth0 sends"),
        "{text}"
    );
    stop(agent, Signal::SIGTERM).map(drop)
}

/// Where the loopback interface was never up, it has no address.
#[test]
fn the_driver_is_known_without_a_loopback_address() -> Result<()> {
    let host = Host::new()?;
    host.netns.ip("address del 127.0.0.1/8 dev lo")?;
    let text = host.ask(&DOCTOR)?;
    assert!(text.contains("eth0 is free (driver veth)"), "{text}");
    assert!(!text.contains("offloads    eth0: not checked"), "{text}");
    Ok(())
}

#[test]
fn failures_end_with_another_status() -> Result<()> {
    let host = Host::new()?;
    host.refused(&["doctor", "--iface", "eth7"], 1, &["one failure"])?;
    host.refused(&["doctor"], 2, &["no interface is named"])?;
    // A warning is none.
    host.ask(&["doctor", "--iface", "eth7", "--wait"])?;
    let other = Passing::attach(&host.netns, "eth0")?;
    let output = host.sipnat(&["doctor", "--iface", "eth0", "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout)?;
    let findings = findings.as_array().context("findings")?;
    let failed: Vec<_> = findings
        .iter()
        .filter(|finding| finding["health"] == "failure")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["check"], "interface");
    for field in ["text", "why", "remedy"] {
        assert!(failed[0][field].is_string(), "{failed:#?}");
    }
    drop(other);
    if tc()? == "tcx" {
        let _before = Passing::attach_egress(&host.netns, "eth0")?;
        let text = host.ask(&DOCTOR)?;
        assert!(text.contains("warning  tc"), "{text}");
    }
    Ok(())
}

/// Rules that let phones come from port 5060 only, and the PBX send to no private address.
#[test]
fn rules_that_drop_what_sipnat_needs_are_named() -> Result<()> {
    let host = Host::new()?;
    let finding = || -> Result<Vec<Value>> {
        let findings = host.json(&["doctor", "--iface", "eth0", "--json"])?;
        let all = findings.as_array().context("findings")?.iter();
        let ours = all.filter(|finding| finding["check"] == "firewall");
        Ok(ours.cloned().collect())
    };
    let [none] = &finding()?[..] else {
        panic!("not one finding");
    };
    assert_eq!(none["health"], "ok", "{none:#}");
    let nft = |rules: &str| {
        let mut command = Command::new("nft");
        host.netns.run(command.args(["-f", "-"]), rules)
    };
    nft("table inet filter {
             chain input {
                 type filter hook input priority filter; policy drop
                 ct state established,related accept
                 udp sport 5060 udp dport 5060 accept
             }
             chain output {
                 type filter hook output priority filter
                 ip daddr { 10.0.0.0/8, 192.168.0.0/16 } reject
             }
         }")?;
    let wrong = finding()?;
    let texts: Vec<_> = wrong
        .iter()
        .filter_map(|finding| finding["text"].as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "chain inet filter input drops UDP from port 49163 to port 5060 by eth0",
            "chain inet filter output drops UDP from port 5060 to 192.168.1.10",
        ]
    );
    for finding in wrong {
        assert_eq!(finding["health"], "warning", "{finding:#}");
        assert!(finding["why"].is_string() && finding["remedy"].is_string());
    }
    nft("insert rule inet filter input udp dport 5060 accept
         flush chain inet filter output")?;
    assert_eq!(finding()?[0]["health"], "ok");

    let mut command = Command::new(sipnat::binary()?);
    command.args(DOCTOR).env("PATH", "/nonexistent");
    let output = host.netns.output(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("not checked: there is no `nft`"), "{text}");
    assert!(output.status.success(), "{text}");
    Ok(())
}

#[test]
fn the_driver_and_the_clock_are_looked_at() -> Result<()> {
    let host = Host::new()?;
    let text = host.ask(&DOCTOR)?;
    // The first kernel that says what drivers can do.
    let native = if Kernel::running()? < Kernel(6, 3) {
        "warning  xdp         eth0: not checked"
    } else {
        "ok       xdp         the driver of eth0 has native XDP"
    };
    for words in [
        native,
        "ok       offloads    eth0 gives packets to XDP as they come",
        "clock       the clock is ",
    ] {
        assert!(text.contains(words), "no `{words}`: {text}");
    }
    for (mode, words) in [
        ("native", "ok       xdp         eth0 is in native mode"),
        ("generic", "warning  xdp         eth0 is in generic mode"),
    ] {
        let agent = host.run(&[&ON_ETH0[..], &["--xdp", mode]].concat())?;
        let text = host.ask(&DOCTOR)?;
        assert!(
            text.contains(words) || Kernel::running()? < Kernel(6, 3),
            "{text}"
        );
        stop(agent, Signal::SIGTERM)?;
    }
    Ok(())
}
