//! Tests of the agent by itself: it attaches, says what it did, refuses what it must, and leaves nothing.
//!
//! A new test goes into the module of its topic; [`Host`] is the machine on which it runs.

mod attach;
mod commands;
mod configure;
mod doctor;
mod interfaces;
mod keepalives;
mod leftovers;
mod log;
mod metrics;
mod notify;
mod refuse;
mod user;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramInfo, loaded_programs};
use nat_test_support::{
    loops::{HAS_MAY_GOTO, TAKES_MAY_GOTO},
    netns::{Netns, NetnsFamily},
    process::Process,
    sipnat,
};
use nat_userspace::checks::preflight::Kernel;
use nix::sys::signal::Signal;
use serde_json::Value;

const START: Duration = Duration::from_secs(120);

const STOP: Duration = Duration::from_secs(15);

/// A host with the interfaces `eth0` and `eth1`.
struct Host {
    netns: Netns,
    /// Host at the other end of both.
    peer: Netns,
}

impl Host {
    fn new() -> Result<Self> {
        let family = NetnsFamily::next()?;
        let host = family.make("host")?;
        let peer = family.make("peer")?;
        for (interface, net) in [("eth0", "203.0.113"), ("eth1", "198.51.100")] {
            let lines = format!(
                "link add {interface} type veth peer name {interface} netns {}\n\
                 address add {net}.10/24 dev {interface}\n\
                 link set {interface} up\n",
                peer.name()
            );
            host.ip(&lines)?;
            peer.ip(&format!("link set {interface} up"))?;
        }
        Ok(Self { netns: host, peer })
    }

    /// Starts the agent and waits until it is ready.
    fn run(&self, args: &[&str]) -> Result<Process> {
        let mut command = Command::new(sipnat::binary()?);
        command.arg("run").args(args);
        self.start(&mut command)
    }

    fn start(&self, command: &mut Command) -> Result<Process> {
        let mut process = Process::spawn(&self.netns, command, tempfile::tempdir()?)?;
        process.wait_until("ready line", START, |process| {
            process.output().contains("sipnat: ready on ")
        })?;
        Ok(process)
    }

    /// Runs a command of sipnat to its end.
    fn sipnat(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(sipnat::binary()?);
        Ok(self.netns.enter(|| command.args(args).output())??)
    }

    /// Runs a command that must succeed. Returns its output.
    fn ask(&self, args: &[&str]) -> Result<String> {
        let output = self.sipnat(args)?;
        ensure!(output.status.success(), "{args:?}: {}", stderr(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(args)?)?)
    }

    /// Runs a command that must fail with `code` and print all of `words`.
    fn refused(&self, args: &[&str], code: i32, words: &[&str]) -> Result<()> {
        let output = self.sipnat(args)?;
        let text = stderr(&output);
        ensure!(
            output.status.code() == Some(code),
            "{args:?}: {}: {text}",
            output.status
        );
        for word in words {
            ensure!(text.contains(word), "{args:?}: no `{word}` in: {text}");
        }
        ensure!(!text.contains("backtrace"), "{text}");
        Ok(())
    }

    fn inode(&self) -> Result<u64> {
        Ok(fs::metadata(self.netns.path())?.ino())
    }

    fn pins(&self) -> Result<PathBuf> {
        Ok(format!("/sys/fs/bpf/sipnat/{}", self.inode()?).into())
    }

    fn state_file(&self) -> Result<PathBuf> {
        Ok(format!("/run/sipnat/{}.json", self.inode()?).into())
    }

    /// Returns the ids of the attached programs.
    fn programs(&self) -> Result<Vec<u64>> {
        let status = self.json(&["status", "--json"])?;
        let programs = status["programs"].as_array().context("programs")?;
        Ok(programs
            .iter()
            .filter_map(|program| program["id"].as_u64())
            .collect())
    }

    /// Returns the ids of the pinned programs, `ingress` first.
    fn pinned_programs(&self) -> Result<Vec<u64>> {
        let pins = self.pins()?;
        ["ingress", "egress"]
            .map(|name| Ok(ProgramInfo::from_pin(pins.join(name))?.id().into()))
            .into_iter()
            .collect()
    }

    /// Returns the ids of the XDP programs of the interfaces.
    fn xdp(&self) -> Result<[Option<u64>; 2]> {
        Ok([self.netns.xdp("eth0")?, self.netns.xdp("eth1")?])
    }

    /// Fails unless everything is removed: pins, state file, qdisc, and `programs`.
    fn is_clean(&self, programs: &[u64]) -> Result<()> {
        ensure!(!self.pins()?.exists(), "pins are left");
        ensure!(!self.state_file()?.exists(), "a state file is left");
        for interface in ["eth0", "eth1"] {
            let link = self
                .netns
                .run(Command::new("ip").args(["link", "show", interface]), "")?;
            ensure!(!link.contains("xdp"), "{link}");
        }
        ensure!(!self.qdiscs()?.contains("clsact"), "a qdisc is left");
        ensure!(programs.len() == 2, "{programs:?}");
        // The kernel frees programs a little after their last user has gone.
        let deadline = Instant::now() + STOP;
        loop {
            let left: Vec<u64> = loaded_programs()
                .filter_map(Result::ok)
                .map(|program| program.id().into())
                .filter(|id| programs.contains(id))
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "programs {left:?} are left");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn qdiscs(&self) -> Result<String> {
        self.netns
            .run(Command::new("tc").args(["qdisc", "show"]), "")
    }
}

/// Returns the attachment of the egress program on this kernel.
fn tc() -> Result<&'static str> {
    /// First kernel with tcx.
    const TCX: Kernel = Kernel(6, 6);
    Ok(if Kernel::running()? < TCX {
        "clsact"
    } else {
        "tcx"
    })
}

/// Returns the loops of the programs on this kernel.
fn loops() -> Result<&'static [&'static str]> {
    let kernel = Kernel::running()?;
    Ok(if kernel < HAS_MAY_GOTO {
        &["loops by bpf_loop"]
    } else if kernel < TAKES_MAY_GOTO {
        &["loops by bpf_loop", "loops by may_goto"]
    } else {
        &["loops by may_goto"]
    })
}

/// Ends an agent, which must exit with success.
fn stop(mut agent: Process, signal: Signal) -> Result<String> {
    agent.signal(signal)?;
    let status = agent.wait(STOP)?;
    ensure!(status.success(), "{status}: {}", agent.output());
    Ok(agent.output())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ON_ETH0: [&str; 2] = ["--iface", "eth0"];
