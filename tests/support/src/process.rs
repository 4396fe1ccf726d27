//! Child processes that end when their guard is dropped.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::netns::Netns;

const POLL: Duration = Duration::from_millis(10);
/// Time for a process to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process inside a network namespace, with a directory of its own for its files and its output.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    dir: TempDir,
}

impl Process {
    /// Starts `command` in `netns`. Its standard output and standard error go to one file in `dir`, which
    /// is also its working directory.
    pub fn spawn(netns: &Netns, command: &mut Command, dir: TempDir) -> Result<Self> {
        Self::spawn_reading(netns, command, dir, Stdio::null())
    }

    /// Starts a program that reads commands from its standard input, and ends with it.
    pub fn spawn_told(
        netns: &Netns,
        command: &mut Command,
        dir: TempDir,
    ) -> Result<(Self, ChildStdin)> {
        let mut process = Self::spawn_reading(netns, command, dir, Stdio::piped())?;
        let stdin = process.child.stdin.take().context("stdin is not piped")?;
        Ok((process, stdin))
    }

    fn spawn_reading(
        netns: &Netns,
        command: &mut Command,
        dir: TempDir,
        stdin: Stdio,
    ) -> Result<Self> {
        let log = File::create(dir.path().join("output"))?;
        Self::spawn_with(
            netns,
            command,
            dir,
            [stdin, log.try_clone()?.into(), log.into()],
        )
    }

    /// Starts a program that writes its standard output and standard error to `output`.
    pub fn spawn_writing(netns: &Netns, command: &mut Command, output: OwnedFd) -> Result<Self> {
        let streams = [Stdio::null(), output.try_clone()?.into(), output.into()];
        Self::spawn_with(netns, command, tempfile::tempdir()?, streams)
    }

    fn spawn_with(
        netns: &Netns,
        command: &mut Command,
        dir: TempDir,
        [stdin, stdout, stderr]: [Stdio; 3],
    ) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .current_dir(dir.path())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        let child = netns
            .enter(|| command.spawn())?
            .with_context(|| format!("cannot run {name}: is it installed?"))?;
        Ok(Self { name, child, dir })
    }

    /// Returns its output so far.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.dir.path().join("output")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the path of a file in its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `done` returns true. Fails if the process ends first, or if `limit` passes.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !done(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended ({status}) before {what}:\n{}",
                    self.name,
                    self.output()
                );
            }
            ensure!(
                Instant::now() < deadline,
                "{}: no {what} within {limit:?}:\n{}",
                self.name,
                self.output()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until it has printed this text.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.wait_until(&format!("line `{text}`"), limit, |process| {
            process.output().contains(text)
        })
    }

    /// Waits until the process has a UDP socket bound to `port`.
    pub fn wait_bound(&mut self, port: u16, limit: Duration) -> Result<()> {
        let table = format!("/proc/{}/net/udp", self.pid());
        let needle = format!(":{port:04X} ");
        self.wait_until(&format!("UDP socket on port {port}"), limit, |_| {
            let table = fs::read_to_string(&table).unwrap_or_default();
            table
                .lines()
                .filter_map(|line| line.split_ascii_whitespace().nth(1))
                .any(|local| format!("{local} ").ends_with(&needle))
        })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end. Returns the exit status.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "{} still runs after {limit:?}:\n{}",
                self.name,
                self.output()
            );
            thread::sleep(POLL);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }
}

impl Drop for Process {
    /// Ends the process, first with SIGTERM: a Kamailio that is killed at once leaves its workers behind.
    fn drop(&mut self) {
        let asked = self.signal(Signal::SIGTERM);
        if asked.is_err() || self.wait(PATIENCE).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
