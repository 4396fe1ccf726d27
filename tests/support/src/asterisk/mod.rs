//! Asterisk, from a Debian of its own, with the configuration of an administrator who has not thought of NAT.
//!
//! `cargo xtask test interop` makes the folders in which it runs, and names them in environment variables.

mod config;
mod release;

use std::{
    cell::RefCell,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    lab::PBX,
    netns::{Netns, output, run},
    process::Process,
};

pub use config::{EARLY_TONE, ECHO, HERTZ, Options, PASSWORD, TONE, TRUNK};
pub use release::Release;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(10);

/// A running Asterisk.
#[derive(Debug)]
pub struct Asterisk<'a> {
    netns: &'a Netns,
    release: Release,
    root: PathBuf,
    /// The process; none between a stop and a start.
    process: RefCell<Option<Process>>,
    files: TempDir,
}

impl<'a> Asterisk<'a> {
    /// Starts it on [`PBX`] in `netns`. It knows the phones 1000 to 1009 and 2000 to 2009, and the trunk at [`TRUNK`].
    pub fn start(netns: &'a Netns, release: Release, options: Options) -> Result<Self> {
        let root = release.root()?;
        let version = run(
            Command::new("chroot").arg(&root).args(["asterisk", "-V"]),
            "",
        )?;
        ensure!(
            version.starts_with(release.version()),
            "{} has {version}: remove it, and another one is made",
            root.display()
        );
        let files = tempfile::tempdir()?;
        for directory in ["db", "run", "log", "spool", "keys"] {
            fs::create_dir(files.path().join(directory))?;
        }
        for (name, text) in config::files(release, options) {
            fs::write(files.path().join(name), text)?;
        }
        let asterisk = Self {
            netns,
            release,
            root,
            process: RefCell::default(),
            files,
        };
        asterisk.run()?;
        Ok(asterisk)
    }

    /// Starts it with the files of the last time, among them the registrations.
    fn run(&self) -> Result<()> {
        let mut process = Process::spawn(
            self.netns,
            // The mounts end with the process.
            Command::new("unshare")
                .args(["--mount", "--uts", "sh", "-c", MOUNT_AND_RUN, "asterisk"])
                .args([self.root.as_os_str(), self.files.path().as_os_str()]),
            tempfile::tempdir()?,
        )?;
        process.wait_bound(PBX.port(), START)?;
        self.process.replace(Some(process));
        self.wait_for("core waitfullybooted", "fully booted", START)
            .map(drop)
    }

    /// Returns which one it is.
    pub fn release(&self) -> Release {
        self.release
    }

    /// Kills it in the midst of its calls, and starts it again.
    pub fn restart(&self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        process.signal(Signal::SIGKILL)?;
        process.wait(STOP)?;
        self.run()
    }

    /// Runs a command of its command line interface. Returns what it prints.
    pub fn command(&self, command: &str) -> Result<String> {
        let pid = self.process.borrow().as_ref().map(Process::pid);
        let pid = pid.context("it does not run")?;
        let mut remote = Command::new("nsenter");
        remote
            .args(["--mount", "--target", &pid.to_string(), "chroot"])
            .arg(&self.root)
            .args(["asterisk", "-C", "/mnt/asterisk.conf", "-rx", command]);
        let output = output(&mut remote, "")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "asterisk -rx '{command}': {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// Calls a phone. If it answers, it hears nothing until one of both hangs up.
    pub fn call(&self, user: &str) -> Result<()> {
        self.connect(user, "600")
    }

    /// Calls a phone. If it answers, it is connected with an extension.
    pub fn connect(&self, user: &str, extension: &str) -> Result<()> {
        let technology = self.release.technology();
        self.command(&format!(
            "channel originate {technology}/{user} extension {extension}@phones"
        ))?;
        Ok(())
    }

    /// Dials an extension, for a caller who hears nothing.
    pub fn dial(&self, extension: &str) -> Result<()> {
        self.command(&format!(
            "channel originate Local/{extension}@phones application Wait 120"
        ))?;
        Ok(())
    }

    /// Waits until it takes a phone for reachable, as its OPTIONS show.
    pub fn sees_reachable(&self, user: &str) -> Result<()> {
        let (command, sign) = if self.release.is_chan_sip() {
            (format!("sip show peer {user}"), "Status       : OK")
        } else {
            (format!("pjsip show aor {user}"), " Avail ")
        };
        self.wait_for(&command, sign, START).map(drop)
    }

    /// Waits until it has joined the two ends of so many calls. Before that, it refuses to transfer them.
    pub fn has_joined(&self, calls: usize) -> Result<()> {
        let deadline = Instant::now() + STOP;
        loop {
            let bridges = self.command("bridge show all")?;
            let joined = bridges.lines().filter(|line| line.contains(" 2 basic"));
            if joined.count() >= calls {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not {calls} calls: {bridges}");
        }
    }

    /// Ends all calls.
    pub fn hang_up(&self) -> Result<()> {
        self.command("channel request hangup all").map(drop)
    }

    /// Waits until what `command` prints contains `text`. Returns it.
    pub fn wait_for(&self, command: &str, text: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            // Right after its start, Asterisk takes no command.
            let output = self.command(command);
            match output {
                Ok(output) if output.contains(text) => return Ok(output),
                _ if Instant::now() < deadline => {}
                Ok(output) => bail!("asterisk -rx '{command}' shows no {text}:\n{output}"),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns its log since it was ready for the first time.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.files.path().join("log/messages")).unwrap_or_default();
        match log.split_once("Asterisk Ready.") {
            Some((_, since)) => since.to_owned(),
            None => log,
        }
    }
}

/// Runs Asterisk in root `$1` with the files in `$2`, in a mount namespace of its own. It looks up the name of its host and
/// of a root name server for its own address; no name server answers here, and one that refuses is no delay.
const MOUNT_AND_RUN: &str = "mount --make-rprivate / \
    && mount --bind \"$2\" \"$1/mnt\" \
    && mount --rbind /dev \"$1/dev\" \
    && mount -t proc proc \"$1/proc\" \
    && for file in hosts resolv.conf; do \
        : >>\"$1/etc/$file\" && mount --bind \"$2/$file\" \"$1/etc/$file\" || exit; \
    done \
    && hostname pbx \
    && exec chroot \"$1\" asterisk -f -vvv -C /mnt/asterisk.conf";
