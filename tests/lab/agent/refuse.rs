//! Refusals: `sipnat run` says why it does not start, and changes nothing.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    loops::{HAS_MAY_GOTO, REASON, refused},
    sipnat,
};
use nat_userspace::{checks::preflight::Kernel, kernel::object};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, ON_ETH0, stderr, stop};

#[test]
fn a_second_agent_is_refused() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    let pid = format!("pid {}", agent.pid());
    host.refused(
        &["run", "--iface", "eth0"],
        1,
        &["eth0 already has a sipnat agent", &pid],
    )?;
    let words = [
        "already has a sipnat agent, on eth0",
        "--iface eth0 --iface eth1",
        &pid,
    ];
    host.refused(&["run", "--iface", "eth1"], 1, &words)?;
    // The first agent is not disturbed.
    host.ask(&["status"])?;
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn another_xdp_program_is_named_and_left_alone() -> Result<()> {
    let host = Host::new()?;
    stop(host.run(&["--iface", "eth0", "--keep"])?, Signal::SIGTERM)?;
    // Without its state file and its pins, the program on eth0 belongs to somebody else.
    let ids = {
        let status = host.sipnat(&["status", "--json"])?;
        let status: Value = serde_json::from_slice(&status.stdout)?;
        format!("id {}", status["programs"][0]["id"])
    };
    let elsewhere = PathBuf::from(format!("/sys/fs/bpf/{}", host.netns.name()));
    fs::rename(host.pins()?, &elsewhere)?;
    fs::remove_file(host.state_file()?)?;
    let words = [
        "eth0 already has another XDP program",
        &ids,
        "`ingress",
        "ip link set dev eth0",
    ];
    let result = host.refused(&["run", "--iface", "eth0"], 1, &words);
    let link = host
        .netns
        .run(Command::new("ip").args(["link", "show", "eth0"]), "")?;
    fs::remove_dir_all(elsewhere)?;
    result?;
    assert!(link.contains("xdp"), "{link}");
    assert!(!host.pins()?.exists() && !host.state_file()?.exists());
    Ok(())
}

#[test]
fn wrong_interfaces_are_explained() -> Result<()> {
    let host = Host::new()?;
    let words = [
        "there is no interface eht0 (did you mean eth0?)",
        "there are lo, ",
        "eth1",
    ];
    host.refused(&["run", "--iface", "eht0"], 1, &words)?;
    host.netns.ip("tuntap add tun0 mode tun")?;
    host.refused(
        &["run", "--iface", "tun0"],
        1,
        &["not an Ethernet interface"],
    )
}

#[test]
fn wrong_ports_are_explained() -> Result<()> {
    let host = Host::new()?;
    for port in ["0", "65536", "sip"] {
        let args = ["run", "--iface", "eth0", "--port", port];
        host.refused(&args, 2, &["a port is a number from 1 to 65535"])?;
    }
    Ok(())
}

#[test]
fn missing_capabilities_are_named() -> Result<()> {
    let host = Host::new()?;
    let run = |caps: &str| {
        let mut command = Command::new("setpriv");
        command
            .args(["--inh-caps", caps, "--bounding-set", caps])
            .arg(sipnat::binary()?)
            .args(["run", "--iface", "eth0"]);
        let output = host.netns.enter(|| command.output())??;
        assert_eq!(output.status.code(), Some(1));
        Ok::<_, anyhow::Error>(stderr(&output))
    };
    let none = run("-all")?;
    for name in ["run as root", "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(none.contains(name), "{none}");
    }
    let one = run("-net_admin")?;
    assert!(
        one.contains("CAP_NET_ADMIN") && !one.contains("CAP_BPF"),
        "{one}"
    );
    Ok(())
}

#[test]
fn an_old_kernel_is_refused() -> Result<()> {
    let host = Host::new()?;
    // The kernel can pretend to be an old one.
    let mut command = Command::new("setarch");
    command
        .arg("--uname-2.6")
        .arg(sipnat::binary()?)
        .args(["run", "--iface", "eth0"]);
    let output = host.netns.enter(|| command.output())??;
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("this kernel is Linux 2.6; sipnat needs 6.1 or later"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_wrong_object_is_refused_and_nothing_is_left() -> Result<()> {
    let host = Host::new()?;
    let args = ["run", "--iface", "eth0", "--bpf-object", "/proc/version"];
    host.refused(&args, 1, &["/proc/version is not an ELF object"])?;
    let endless = ["run", "--iface", "eth0", "--bpf-object", "/dev/zero"];
    host.refused(&endless, 1, &["/dev/zero is not a regular file"])?;
    assert!(!host.pins()?.exists() && !host.state_file()?.exists());
    Ok(())
}

/// Where the verifier refuses the faster loops, the agent and `status` say so, with its reason.
#[test]
fn the_slower_loops_are_said_with_their_reason() -> Result<()> {
    let host = Host::new()?;
    let object = host.netns.name().to_owned() + ".o";
    let object = std::env::temp_dir().join(object);
    fs::write(&object, refused(&object::read(None)?)?)?;
    let file = object.to_str().context("a path of UTF-8")?;
    let agent = host.run(&["--iface", "eth0", "--bpf-object", file]);
    fs::remove_file(&object)?;
    let agent = agent?;
    let status = host.ask(&["status"])?;
    ensure!(status.contains("loops by bpf_loop"), "{status}");
    let output = stop(agent, Signal::SIGTERM)?;
    let words = ["loop by bpf_loop, which is slower: ", REASON];
    for text in [&output, &status] {
        let said = words.iter().all(|word| text.contains(word));
        ensure!(said == (Kernel::running()? >= HAS_MAY_GOTO), "{text}");
    }
    Ok(())
}
