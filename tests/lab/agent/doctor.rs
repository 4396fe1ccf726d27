//! `sipnat doctor`: it finds what is wrong before `run` does, and says so by its exit status.

use anyhow::{Context as _, Result};
use nat_test_support::xdp::Passing;
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
