//! The bpffs directory of one agent: its maps, programs and links, which live as long as they are
//! there, whatever becomes of the agent.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use log::info;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use crate::{
    agent::record::State,
    kernel::load::{DataPath, EGRESS, INGRESS},
};

/// Where the BPF filesystem belongs.
const BPFFS: &str = "/sys/fs/bpf";

/// The directory for the agent of network namespace `netns`.
#[must_use]
pub fn dir(netns: u64) -> PathBuf {
    Path::new(BPFFS).join("sipnat").join(netns.to_string())
}

/// The pin of the link that holds the XDP program on an interface. By index, since a bpffs does
/// not take the dots of names like `eth0.100`.
#[must_use]
pub fn xdp_link(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("xdp-{index}"))
}

/// The pin of the link that holds the egress program on an interface.
#[must_use]
pub fn tcx_link(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("tcx-{index}"))
}

/// Mounts a bpffs if there is none, as under `ip netns exec`, which hides the system's.
///
/// # Errors
/// If that is not permitted.
pub fn ensure_bpffs() -> Result<()> {
    let kind = statfs(BPFFS).with_context(|| format!("cannot inspect {BPFFS}"))?;
    if kind.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .with_context(|| {
        format!("{BPFFS} is no bpffs, and none can be mounted there (that needs CAP_SYS_ADMIN)")
    })?;
    info!("mounted a bpffs on {BPFFS}, which had none");
    Ok(())
}

/// Makes the directory.
///
/// # Errors
/// If that is not permitted.
pub fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Pins the maps and programs of `path` in `dir`.
///
/// # Errors
/// If the kernel refuses.
pub fn pin(path: &mut DataPath, dir: &Path) -> Result<()> {
    let target = |name: &str| {
        (
            dir.join(name),
            format!("cannot pin {name} in {}", dir.display()),
        )
    };
    for (name, map) in path.tables.maps() {
        let (at, context) = target(name);
        map.pin(at).context(context)?;
    }
    let (at, context) = target(INGRESS);
    path.ingress()?.pin(at).context(context)?;
    let (at, context) = target(EGRESS);
    path.egress()?.pin(at).context(context)
}

/// Removes `dir` with all pins in it, and so whatever only they kept alive.
///
/// # Errors
/// If something in it cannot be removed.
pub fn remove(dir: &Path) -> Result<bool> {
    let removed = match fs::remove_dir_all(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
        }
    };
    if let Some(parent) = dir.parent() {
        // Stays while agents of other namespaces use it.
        let _in_use = fs::remove_dir(parent);
    }
    Ok(removed)
}

/// Where this process sees the pins of `agent`, which may run in another mount namespace.
#[must_use]
pub fn seen_from_here(agent: &State) -> PathBuf {
    let mounts = |process: &str| {
        fs::metadata(format!("/proc/{process}/ns/mnt"))
            .ok()
            .map(|m| m.ino())
    };
    let pid = agent.pid.to_string();
    match (mounts(&pid), mounts("self")) {
        (Some(there), Some(here)) if there != here => {
            let inside = agent.pins.strip_prefix("/").unwrap_or(&agent.pins);
            Path::new("/proc").join(pid).join("root").join(inside)
        }
        _ => agent.pins.clone(),
    }
}
