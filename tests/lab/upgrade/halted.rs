//! An agent that halts in the middle of its start: nobody reads what it says.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{netns::Netns, process::Process, sipnat};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::pipe2,
};

use super::STARTS;

/// More than the agent writes at once.
const MOST: usize = 4096;

/// An agent that halts.
pub(super) struct Halted {
    process: Process,
    output: File,
}

impl Halted {
    /// Starts an agent on `eth0` that keeps all in place. It halts after `words`, at the next thing that it says.
    pub(super) fn at(netns: &Netns, words: &str) -> Result<Self> {
        let (output, input) = packets()?;
        // The kernel makes a page of it, which takes one packet.
        fcntl(&input, FcntlArg::F_SETPIPE_SZ(1))?;
        let mut command = Command::new(sipnat::binary()?);
        command.args(["run", "--iface", "eth0", "--keep"]);
        let mut halted = Self {
            process: Process::spawn_writing(netns, &mut command, input)?,
            output: output.into(),
        };
        drop(command);
        let mut said = String::new();
        loop {
            let packet = halted.peek().context(said.clone())?;
            ensure!(!packet.is_empty(), "it has ended: {said}");
            if packet.contains(words) {
                return Ok(halted);
            }
            said.push_str(&packet);
            halted.read()?;
        }
    }

    /// Has the agent go on until it is ready, and read from then on.
    pub(super) fn goes_on(mut self) -> Result<Process> {
        let mut said = String::new();
        while !said.contains("sipnat: ready on ") {
            let packet = self.read().context(said.clone())?;
            ensure!(!packet.is_empty(), "it has ended: {said}");
            said.push_str(&packet);
        }
        thread::spawn(move || io::copy(&mut self.output, &mut io::sink()));
        Ok(self.process)
    }

    /// Takes what it said next out of the pipe, so that it may say more.
    fn read(&mut self) -> Result<String> {
        self.wait()?;
        packet(&mut self.output)
    }

    /// Returns what it said next, and leaves it in the pipe.
    fn peek(&self) -> Result<String> {
        self.wait()?;
        let (copy, to) = packets()?;
        // SAFETY: the call has no pointers, and both are pipes.
        let done = unsafe { libc::tee(self.output.as_raw_fd(), to.as_raw_fd(), MOST, 0) };
        Errno::result(done).context("tee")?;
        drop(to);
        packet(&mut copy.into())
    }

    fn wait(&self) -> Result<()> {
        let mut polled = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut polled, PollTimeout::try_from(STARTS)?)?;
        ensure!(ready > 0, "it says nothing");
        Ok(())
    }
}

/// Reads a packet: all of it, since the kernel drops the rest. An empty one is the end.
fn packet(from: &mut File) -> Result<String> {
    let mut packet = [0; MOST];
    let len = from.read(&mut packet)?;
    Ok(String::from_utf8_lossy(&packet[..len]).into_owned())
}

/// Makes a pipe that keeps writes apart: the end to read, and the one to write.
fn packets() -> Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC | OFlag::O_DIRECT)?)
}
