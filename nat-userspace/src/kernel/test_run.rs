//! Runs the loaded programs on frames, without an interface (`BPF_PROG_TEST_RUN`).

use std::io;

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, MapData},
    programs::{ProgramError, TestRun as _, TestRunOptions},
    sys::SyscallError,
};
use nat_common::sip::Direction;
use nix::errno::Errno;

use crate::kernel::load::{DataPath, Programs as _};

/// Clock of programs that were loaded to replay packets ([`Loader::replaying`](crate::kernel::load::Loader::replaying)).
pub struct ReplayClock(Array<MapData, u64>);

impl ReplayClock {
    /// Sets the time, in nanoseconds.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn set(&mut self, now: u64) -> Result<()> {
        let set = self.0.set(0, now, 0);
        set.context("cannot write the time of a packet")
    }
}

/// Map of the object's variables. The only one is the time of a captured packet.
const VARIABLES: &str = ".bss";

/// Outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned.
    pub action: u32,
    /// The frame after it.
    pub frame: Vec<u8>,
}

impl DataPath {
    /// Takes the clock.
    ///
    /// # Errors
    /// If the object has none, or it was taken.
    pub fn take_replay_clock(&mut self) -> Result<ReplayClock> {
        let map = self.ebpf.take_map(VARIABLES);
        let map = map.with_context(|| format!("the eBPF object has no map {VARIABLES}"))?;
        Ok(ReplayClock(map.try_into()?))
    }

    /// Runs the program of a direction on a frame. None if the kernel cannot take the frame: it is too short or too long.
    ///
    /// # Errors
    /// If the kernel refuses for another reason.
    pub fn test_run(&mut self, direction: Direction, frame: &[u8]) -> Result<Option<Outcome>> {
        /// More than a program adds to a frame.
        const MORE: usize = 256;
        let mut out = vec![0; frame.len() + MORE];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let run = match direction {
            Direction::In => self.ingress()?.test_run(options),
            Direction::Out => self.egress()?.test_run(options),
        };
        match run {
            Ok(run) => {
                let len = run.data_size_out as usize;
                out.truncate(len);
                Ok(Some(Outcome {
                    action: run.return_value,
                    frame: out,
                }))
            }
            Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
                if is_length(&io_error) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("the kernel cannot run a program on a packet"),
        }
    }
}

/// Whether the kernel refuses the length of a frame.
fn is_length(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EINVAL | Errno::ENOMEM))
}
