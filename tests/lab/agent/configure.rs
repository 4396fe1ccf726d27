//! The configuration file: run from it, override it, change it, break it.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use nat_test_support::{process::Process, sipnat};
use nat_userspace::kernel::tables::Tables;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Host, STOP, stderr, stop};

/// A configuration file.
struct File {
    _dir: TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("sipnat.toml");
        let file = Self { _dir: dir, path };
        file.write(text)?;
        Ok(file)
    }

    fn write(&self, text: &str) -> Result<()> {
        Ok(fs::write(&self.path, text)?)
    }

    /// Returns the arguments of `run` with this file.
    fn args<'a>(&'a self, more: &[&'a str]) -> Result<Vec<&'a str>> {
        Ok([&["--config", self.text()?], more].concat())
    }

    fn text(&self) -> Result<&str> {
        self.path.to_str().context("not UTF-8")
    }
}

/// Returns the default policy.
fn policy(host: &Host) -> Result<String> {
    let list = host.json(&["policy", "list", "--json"])?;
    Ok(list[0]["policy"].as_str().context("no policy")?.into())
}

#[test]
fn it_runs_from_a_file_which_flags_override() -> Result<()> {
    let host = Host::new()?;
    let file =
        File::new("iface = ['eth0', 'eth1']\nport = [5060, 5080]\npolicy = 'off'\nkeep = true\n")?;
    let agent = host.run(&file.args(&[])?)?;
    assert!(agent.output().contains(", eth1 ("), "{}", agent.output());
    assert_eq!(policy(&host)?, "off");
    let ports = &host.json(&["status", "--json"])?["ports"];
    assert_eq!(*ports, serde_json::json!([5060, 5080]));
    assert!(stop(agent, Signal::SIGTERM)?.contains("left in place on eth0, eth1"));

    let flags = ["--iface", "eth1", "--policy", "force", "--keep=false"];
    let agent = host.run(&file.args(&flags)?)?;
    assert!(!agent.output().contains("eth0"), "{}", agent.output());
    assert_eq!(policy(&host)?, "force");
    let programs = host.programs()?;
    stop(agent, Signal::SIGTERM)?;
    host.is_clean(&programs)
}

#[test]
fn it_reads_the_file_of_the_host() -> Result<()> {
    let host = Host::new()?;
    let script = "set -e
        mount -t tmpfs none /etc
        mkdir /etc/sipnat
        echo 'iface = \"eth1\"' >/etc/sipnat/sipnat.toml
        exec \"$0\" run";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(sipnat::binary()?);
    let agent = host.start(&mut command)?;
    assert!(agent.output().contains("ready on eth1 ("));
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn a_wrong_file_is_refused_with_its_line() -> Result<()> {
    let host = Host::new()?;
    let file = File::new("iface = 'eth0'\n\nprot = 5080\n")?;
    let run = ["run", "--config", file.text()?];
    let at = |line| format!("{}:{line}: ", file.path.display());
    let refused = |line, word| host.refused(&run, 1, &[&at(line), word]);
    refused(3, "there is no key prot; did you mean port?")?;
    file.write("iface = 'eth0'\nport = [\n  5060,\n  'sip' ]\n")?;
    refused(4, "`sip` is no value of port: a port is a number from 1 to")?;
    file.write("iface = 'eth0'\npolicy = \"never\"\n")?;
    refused(2, "a policy is auto, force or off")?;
    file.write("iface = 'eth0'\nsize-bindings = 100\n")?;
    refused(
        2,
        "a size is a whole number of entries, from 1024 to 16777216",
    )?;
    file.write("iface = \n")?;
    refused(1, "")?;
    file.write("port = 5060\n")?;
    host.refused(&run, 2, &["no interface is named"])?;
    host.refused(
        &["run", "--config", "/nowhere"],
        1,
        &["cannot read /nowhere"],
    )?;
    assert!(!host.state_file()?.exists());
    Ok(())
}

#[test]
fn a_reload_applies_what_needs_no_restart() -> Result<()> {
    let host = Host::new()?;
    let file = File::new("iface = 'eth0'\npolicy = 'off'\n")?;
    let agent = host.run(&file.args(&["--settle", "0"])?)?;
    let programs = host.programs()?;
    assert!(host.ask(&["reload"])?.contains("no setting has changed"));

    host.ask(&["policy", "set", "198.51.100.7", "force"])?;
    file.write(
        "iface = ['eth0', 'eth1']\nport = 5080\npolicy = 'auto'\nshadow = true\nkeep = true\npeer = '10.9.8.0/24'\nsettle = 60\nsize-history = 2048\n",
    )?;
    let told = host.ask(&["reload"])?;
    assert!(
        told.contains("reloaded: policy, peer, shadow, keep changed"),
        "{told}"
    );
    assert!(
        told.contains("a restart of the agent is needed for iface, port, size-history;"),
        "{told}"
    );
    assert!(agent.output().contains(&told), "{}", agent.output());
    assert_eq!(policy(&host)?, "auto");
    let rules = host.ask(&["policy", "list"])?;
    assert!(rules.contains("198.51.100.7/32"), "{rules}");
    let tables = Tables::open(&host.pins()?)?;
    let config = tables.config()?;
    assert_ne!(config.shadow, 0);
    assert_eq!(config.ports[..2], [5060, 0]);
    let is_peer = |tables: &Tables| -> Result<bool> {
        let key = "10.9.8.0/24".parse::<nat_userspace::host::prefix::Prefix>()?;
        Ok(tables.addresses.get(&key.key(), 0).is_ok())
    };
    assert!(is_peer(&tables)?);
    assert_eq!(host.programs()?, programs);
    assert_eq!(host.xdp()?, [Some(programs[0]), None]);

    file.write("iface = 'eth0'\npolicy = 'auto'\nkeep = true\n")?;
    assert!(
        host.ask(&["reload"])?
            .contains("reloaded: peer, shadow changed")
    );
    assert!(!is_peer(&tables)?);
    assert_eq!(tables.config()?.shadow, 0);
    assert!(stop(agent, Signal::SIGTERM)?.contains("left in place"));
    host.ask(&["detach"])?;
    host.is_clean(&programs)
}

#[test]
fn a_wrong_file_leaves_the_settings_in_force() -> Result<()> {
    let host = Host::new()?;
    let file = File::new("iface = 'eth0'\npolicy = 'off'\n")?;
    let mut agent = host.run(&file.args(&[])?)?;
    for (text, words) in [
        (
            "iface = 'eth0'\npolcy = 'force'\n",
            ":2: there is no key polcy; did you mean policy?",
        ),
        (
            "iface = 'eth0'\npolicy = 'force'\nport = 0\n",
            ":3: `0` is no value of port",
        ),
        (
            "iface = 'eth0'\npolicy = 'force'\nshadow = true\nstun = true\n",
            "exclude each other",
        ),
        ("policy = 'force'\n", "no interface is named"),
    ] {
        file.write(text)?;
        let not = "not reloaded, the earlier settings stay in force: ";
        host.refused(&["reload"], 1, &[not, words])?;
        let log = agent.output();
        assert!(log.contains(not) && log.contains(words), "{log}");
        assert_eq!(policy(&host)?, "off");
    }
    fs::remove_file(&file.path)?;
    host.refused(&["reload"], 1, &["cannot read ", "No such file"])?;

    // The signal alone does the same, and the agent lives on.
    file.write("iface = 'eth0'\npolicy = 'force'\n")?;
    agent.signal(Signal::SIGHUP)?;
    agent.wait_until("reload", Duration::from_secs(15), |agent| {
        agent.output().contains("reloaded: policy changed")
    })?;
    assert_eq!(policy(&host)?, "force");
    stop(agent, Signal::SIGTERM)?;
    host.refused(&["reload"], 3, &["no agent is running"])
}

#[test]
fn stun_is_switched_off_and_on_if_it_was_at_the_start() -> Result<()> {
    let host = Host::new()?;
    let file = File::new("iface = 'eth0'\nxdp = 'generic'\nstun = true\n")?;
    let agent = host.run(&file.args(&[])?)?;
    let tables = Tables::open(&host.pins()?)?;
    file.write(
        "iface = 'eth0'\nxdp = 'generic'\nstun = true\nstun-rate = 7\nstun-software = true\n",
    )?;
    assert!(
        host.ask(&["reload"])?
            .contains("reloaded: stun-rate, stun-software changed")
    );
    let before = tables.config()?;
    assert_eq!(before.stun, 3);
    file.write("iface = 'eth0'\nxdp = 'generic'\n")?;
    assert!(host.ask(&["reload"])?.contains("reloaded: stun, "));
    assert_eq!(tables.config()?.stun, 0);
    assert_eq!(tables.config()?.secret, before.secret);
    let with = "iface = 'eth0'\nxdp = 'generic'\nstun = true\n";
    file.write(with)?;
    assert!(host.ask(&["reload"])?.contains("reloaded: stun changed"));
    assert_eq!(tables.config()?.stun, 1);
    stop(agent, Signal::SIGTERM)?;

    file.write("iface = 'eth0'\nxdp = 'generic'\n")?;
    let agent = host.run(&file.args(&[])?)?;
    file.write(with)?;
    assert!(
        host.ask(&["reload"])?
            .contains("restart of the agent is needed for stun;")
    );
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

/// A hang-up of the terminal is SIGHUP, too: the agent goes on, even without anywhere to print to.
#[test]
fn a_hang_up_ends_nothing() -> Result<()> {
    let host = Host::new()?;
    for launcher in [&["env", "--default-signal=HUP"][..], &["nohup"]] {
        let mut command = Command::new(launcher[0]);
        command
            .args(&launcher[1..])
            .arg(sipnat::binary()?)
            .args(["run", "--iface", "eth0"]);
        let mut agent: Process = host.start(&mut command)?;
        agent.signal(Signal::SIGHUP)?;
        assert!(host.ask(&["reload"])?.contains("no setting has changed"));
        agent.signal(Signal::SIGTERM)?;
        assert!(agent.wait(STOP)?.success());
    }
    let output = host.sipnat(&["reload", "now"])?;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    Ok(())
}
