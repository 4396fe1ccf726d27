//! sipnat, the program under test.

use std::{
    collections::BTreeSet, env, ffi::OsString, fs, os::unix::fs::MetadataExt as _, path::PathBuf,
    process::Command, time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_userspace::kernel::pins;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    netns::{Netns, output},
    process::Process,
};

const READY: &str = "sipnat: ready on ";
// Busy machines are slow at verifying programs and at freeing them.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(15);

/// A running `sipnat run`.
#[derive(Debug)]
pub struct Sipnat<'a> {
    netns: &'a Netns,
    process: Process,
}

impl<'a> Sipnat<'a> {
    /// Starts it on `eth0` of `netns`, with more arguments, and waits until it says that it is ready.
    pub fn start(netns: &'a Netns, args: &[&str]) -> Result<Self> {
        let mut agent = Self::spawn(netns, args)?;
        agent.is_ready()?;
        Ok(agent)
    }

    /// Starts it, and does not wait.
    pub fn spawn(netns: &'a Netns, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(["run", "--iface", "eth0"]).args(args);
        Self::spawn_by(netns, &mut command)
    }

    /// Starts it by a line of shell, in which `"$@"` is its command, and does not wait.
    pub fn spawn_by_shell(netns: &'a Netns, line: &str, args: &[&str]) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", line, "sh"]).arg(binary()?);
        command.args(["run", "--iface", "eth0"]).args(args);
        Self::spawn_by(netns, &mut command)
    }

    /// Starts it by a command that becomes it, and does not wait.
    pub fn spawn_by(netns: &'a Netns, command: &mut Command) -> Result<Self> {
        let process = Process::spawn(netns, command, tempfile::tempdir()?)?;
        Ok(Self { netns, process })
    }

    /// Waits until it says that it is ready.
    pub fn is_ready(&mut self) -> Result<()> {
        let what = format!("line `{READY}...`");
        self.process.wait_until(&what, START, |process| {
            process.output().lines().any(|line| line.starts_with(READY))
        })
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the memory that is its own, in kilobytes: not that of maps and files.
    pub fn memory_kb(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.context("no RssAnon")?.parse().context("RssAnon")
    }

    /// Returns the number of its open files.
    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }

    /// Returns the namespaces of its threads, and the mounts of bpffs that it sees.
    pub fn surroundings(&self) -> Result<BTreeSet<String>> {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()));
        let mut found = BTreeSet::new();
        for thread in fs::read_dir(proc.join("task"))? {
            for namespace in fs::read_dir(thread?.path().join("ns"))? {
                let name = fs::read_link(namespace?.path())?;
                found.insert(name.to_string_lossy().into_owned());
            }
        }
        let mounts = fs::read_to_string(proc.join("mountinfo"))?;
        let of_bpffs = mounts.lines().filter(|mount| mount.contains(" - bpf "));
        found.extend(of_bpffs.map(str::to_owned));
        Ok(found)
    }

    /// Returns the directory of its pins.
    pub fn pins(&self) -> Result<PathBuf> {
        pins(self.netns)
    }

    /// Runs another command in the same network namespace. Returns its standard output.
    pub fn command(&self, args: &[&str]) -> Result<String> {
        command(self.netns, args)
    }

    /// Runs a command with `--json`. Returns its output.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.command(&[args, &["--json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("sipnat {args:?} --json printed {text}"))
    }

    /// Returns the agent's output so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits until the agent has printed this text.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.process.wait_for(text, limit)
    }

    /// Kills the agent.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(STOP).map(drop)
    }

    /// Whether the agent has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.has_ended()?)
    }

    /// Ends the agent by a signal.
    pub fn end(mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)?;
        self.process.wait(STOP).map(drop)
    }

    /// Stops the agent, which must exit with success.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(STOP)?;
        ensure!(
            status.success(),
            "sipnat ended with {status}:\n{}",
            self.log()
        );
        Ok(())
    }
}

/// Returns the directory of the pins of an agent in `netns`.
pub fn pins(netns: &Netns) -> Result<PathBuf> {
    Ok(pins::dir(fs::metadata(netns.path())?.ino()))
}

/// Runs a command of sipnat to its end. Returns its standard output.
pub fn command(netns: &Netns, args: &[&str]) -> Result<String> {
    let mut command = Command::new(binary()?);
    let output = netns.enter(|| output(command.args(args), ""))??;
    ensure!(
        output.status.success(),
        "sipnat {args:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the path of the `sipnat` to test.
pub fn binary() -> Result<PathBuf> {
    let path = env::var_os("SIPNAT_BIN").unwrap_or_else(|| {
        OsString::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../target/release/sipnat"
        ))
    });
    let path = PathBuf::from(path);
    ensure!(
        path.is_file(),
        "no sipnat at {}: `cargo xtask build` makes it, or name it in SIPNAT_BIN",
        path.display()
    );
    Ok(path)
}
