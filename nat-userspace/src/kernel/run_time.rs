//! Run time of BPF programs, which the kernel measures on request.

use std::os::fd::OwnedFd;

use anyhow::{Result, anyhow, bail};
use aya::sys::{Stats, enable_stats};

/// Has the kernel measure the runs of all BPF programs of this host, until the descriptor is closed.
///
/// # Errors
/// If the kernel refuses: it wants CAP_SYS_ADMIN.
pub fn measure() -> Result<OwnedFd> {
    match enable_stats(Stats::RunTime) {
        Ok(measuring) => Ok(measuring),
        Err(error) if error.io_error.kind() == std::io::ErrorKind::PermissionDenied => bail!(
            "not permitted to have the kernel measure run times, which takes CAP_SYS_ADMIN: leave out --metrics-run-time, and as \
             root, `sysctl -w kernel.bpf_stats_enabled=1`"
        ),
        Err(error) => Err(anyhow!(error).context("cannot have the kernel measure run times")),
    }
}
