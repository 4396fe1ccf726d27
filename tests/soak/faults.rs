//! Faults that befall the agent at random moments, and pass: it is stopped, its pins are removed, it may open no file, the disk of
//! its log is full.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nat_test_support::Sipnat;
use nix::sys::signal::Signal;

use crate::{
    crashes::{AS_IT_IS, Crashes},
    moments::Moments,
};

/// Time for which the agent is stopped, or may open no file: longer than it waits between two looks at anything.
const TIME: Duration = Duration::from_secs(6);
/// Time within which it must have mended what was removed.
const MENDED: Duration = Duration::from_secs(60);

/// A fault, which is over when it returns.
type Fault = for<'a> fn(&mut Sipnat<'a>, &mut Crashes<'a>) -> Result<()>;

/// Faults, in turn.
const FAULTS: [Fault; 5] = [
    |agent, _| is_stopped(agent),
    |agent, _| loses_its_pins(agent),
    |agent, _| has_no_files(agent),
    |agent, _| reloads(agent),
    has_no_disk_for_its_log,
];

/// Faults that are still to come.
pub(crate) struct Faults {
    moments: Moments,
    done: usize,
}

impl Faults {
    /// Spreads so many faults over the duration of the load.
    pub(crate) fn new(count: u32, duration: Duration) -> Self {
        Self {
            moments: Moments::new(count, duration),
            done: 0,
        }
    }

    /// Has a fault befall the agent, if it is time. Returns whether it was the last one.
    pub(crate) fn strike<'a>(
        &mut self,
        elapsed: Duration,
        agent: &mut Sipnat<'a>,
        crashes: &mut Crashes<'a>,
    ) -> Result<bool> {
        if self.moments.come(elapsed) {
            // One that has just been started has no pins of its own yet.
            agent.is_ready()?;
            FAULTS[self.done % FAULTS.len()](agent, crashes)?;
            self.done += 1;
        }
        Ok(self.moments.are_over())
    }

    /// Returns the number of faults so far.
    pub(crate) fn done(&self) -> usize {
        self.done
    }
}

fn is_stopped(agent: &Sipnat<'_>) -> Result<()> {
    agent.signal(Signal::SIGSTOP)?;
    thread::sleep(TIME);
    agent.signal(Signal::SIGCONT)
}

fn loses_its_pins(agent: &Sipnat<'_>) -> Result<()> {
    let pins = agent.pins()?;
    fs::remove_dir_all(&pins)?;
    let deadline = Instant::now() + MENDED;
    // The command opens all maps, and asks the kernel for both programs.
    while agent.command(&["status"]).is_err() {
        ensure!(Instant::now() < deadline, "{} is not back", pins.display());
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn has_no_files(agent: &Sipnat<'_>) -> Result<()> {
    let limit = |files: &str| -> Result<()> {
        let mut command = Command::new("prlimit");
        command.args([
            "--pid",
            &agent.pid().to_string(),
            &format!("--nofile={files}:"),
        ]);
        ensure!(command.status()?.success(), "prlimit {files}");
        Ok(())
    };
    limit("4")?;
    agent.signal(Signal::SIGHUP)?;
    thread::sleep(TIME);
    limit("1024")
}

fn reloads(agent: &Sipnat<'_>) -> Result<()> {
    agent.command(&["reload"]).map(drop)
}

/// Each redirect is a message for which there is no disk. The agent goes on without it, and says what it is asked.
fn has_no_disk_for_its_log<'a>(agent: &mut Sipnat<'a>, crashes: &mut Crashes<'a>) -> Result<()> {
    crashes.replace(agent, "RUST_LOG=debug exec \"$@\" 2>/dev/full")?;
    agent.is_ready()?;
    thread::sleep(TIME);
    reloads(agent)?;
    crashes.replace(agent, AS_IT_IS)
}
