//! Processes of this host.

use std::{fs, os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// Returns when a process started, in clock ticks after boot; none if it does not run.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    read(pid).map(|(_, start)| start)
}

/// Whether a process was stopped, as by SIGSTOP.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    read(pid).is_some_and(|(state, _)| matches!(state, 'T' | 't'))
}

/// Returns the name of a process.
#[must_use]
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

fn read(pid: u32) -> Option<(char, u64)> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses state and start in /proc/PID/stat (proc_pid_stat(5)). The second field is a name in parentheses that may hold any
/// character.
fn parse(stat: &str) -> Option<(char, u64)> {
    const STATE: usize = 3;
    const STARTTIME: usize = 22;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(STARTTIME - STATE - 1)?.parse().ok()?;
    // A zombie has ended.
    (state != 'Z' && state != 'X').then_some((state, start))
}

/// A process by a descriptor (pidfd_open(2)), which never means a later process of that pid.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Opens the process `pid` that started at `started`; none if it has ended.
    ///
    /// # Errors
    /// If the kernel does not open it.
    pub fn open(pid: u32, started: u64) -> Result<Option<Self>> {
        let failed = || format!("cannot open process {pid}");
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = match pidfd_open(number.with_context(failed)?, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            opened => opened.with_context(failed)?,
        };
        // Asked after it was opened: the pid may have been another's by then.
        Ok((start_time(pid) == Some(started)).then_some(Self(opened)))
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// If that is not permitted.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends it, even if it is stopped (SIGKILL).
    ///
    /// # Errors
    /// If that is not permitted.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Err(Errno::SRCH) => Ok(()),
            sent => sent.context("cannot send a signal"),
        }
    }

    /// Waits until it has ended, or for `limit`. Returns whether it has ended.
    ///
    /// # Errors
    /// If the kernel does not say so.
    pub fn ends_within(&self, limit: Duration) -> Result<bool> {
        // The descriptor becomes readable at the end.
        let mut end = [PollFd::new(&self.0, PollFlags::IN)];
        let limit = Timespec::try_from(limit)?;
        let ready = poll(&mut end, Some(&limit)).context("cannot wait for a process")?;
        Ok(ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, id},
        thread,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn stat_survives_odd_names() {
        let tail = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(parse(&format!("7 (a) b) S {tail}")), Some(('S', 4242)));
        assert_eq!(parse(&format!("7 (sipnat) Z {tail}")), None);
        assert_eq!(parse("7 (sipnat"), None);
    }

    #[test]
    fn a_process_is_told_from_a_later_one() {
        let started = start_time(id()).unwrap();
        assert!(Process::open(id(), started).unwrap().is_some());
        assert!(Process::open(id(), started + 1).unwrap().is_none());
    }

    #[test]
    fn a_stopped_process_is_killed() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::open(child.id(), start_time(child.id()).unwrap());
        let process = process.unwrap().unwrap();
        process.signal(Signal::STOP).unwrap();
        // Of signals that arrive together, the one with the lower number comes first.
        while !is_stopped(child.id()) {
            thread::sleep(SHORT);
        }
        process.terminate().unwrap();
        assert!(!process.ends_within(SHORT).unwrap());
        process.kill().unwrap();
        assert!(process.ends_within(LONG).unwrap());
        // Not waited for: it still has its pid.
        assert!(Process::open(child.id(), 0).unwrap().is_none());
        process.kill().unwrap();
        child.wait().unwrap();
        process.kill().unwrap();
    }
}
