//! The bpffs directory of one agent. Its pins keep maps, programs and links alive when the agent has ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, SchedClassifier, Xdp},
};
use aya_obj::programs::XdpAttachType;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use tracing::info;

use crate::{
    host::private,
    kernel::{
        load::{DataPath, Programs},
        loops::{EGRESS, INGRESS},
        media::{self, Loaded},
    },
};

/// Mount point of the BPF filesystem.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Returns the directory of the agent of network namespace `netns`.
#[must_use]
pub fn dir(netns: u64) -> PathBuf {
    parent().join(netns.to_string())
}

/// Returns the directory of all agents of this host.
#[must_use]
pub fn parent() -> PathBuf {
    Path::new(BPFFS).join("sipnat")
}

/// Returns the pin of the link that holds the XDP program on an interface. It has the interface's index, since bpffs
/// refuses the dots of names like `eth0.100`.
#[must_use]
pub fn xdp_link(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("xdp-{index}"))
}

/// Returns the pin of the link that holds the egress program on an interface.
#[must_use]
pub fn tcx_link(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("tcx-{index}"))
}

/// Mounts a bpffs if there is none: `ip netns exec` hides the system's.
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
        format!("{BPFFS} is no bpffs, and none can be mounted there: as root, `mount -t bpf bpf {BPFFS}`, or CAP_SYS_ADMIN for sipnat")
    })?;
    info!("mounted a bpffs on {BPFFS}, which had none");
    Ok(())
}

/// Returns what the kernel says of the programs that are pinned in `dir`, by their names: `ingress` and `egress` first, then
/// those of media, if they are there.
///
/// # Errors
/// If the kernel does not describe one.
pub fn programs(dir: &Path) -> Result<Vec<(&'static str, ProgramInfo)>> {
    let media = media::PROGRAMS.as_flattened().iter();
    let media = media.filter(|name| dir.join(name).exists());
    let names = [INGRESS, EGRESS].iter().chain(media);
    let info = |name: &'static &str| {
        ProgramInfo::from_pin(dir.join(name))
            .map(|info| (*name, info))
            .with_context(|| format!("cannot read program `{name}`"))
    };
    names.map(info).collect()
}

/// Pins the maps and programs of `path` in `dir`, in place of those of an earlier data path. Maps that it goes on using
/// are pinned already.
///
/// # Errors
/// If the kernel refuses.
pub fn pin(path: &mut DataPath, dir: &Path) -> Result<()> {
    for table in path.tables.maps() {
        let id = table.map.info()?.id();
        let pinned = MapInfo::from_pin(dir.join(table.name));
        if pinned.is_err() || pinned.is_ok_and(|pinned| pinned.id() != id) {
            replace(dir, table.name, |at| Ok(table.map.pin(at)?))?;
        }
    }
    for name in media::ARRAYS {
        if path.media {
            let array = path.ebpf.map(name).context("no array of programs")?;
            replace(dir, name, |at| Ok(array.pin(at)?))?;
        } else {
            // Of an earlier agent: its programs are not entered any more.
            let _absent = fs::remove_file(dir.join(name));
        }
    }
    if path.media {
        media::each(&mut path.ebpf, path.loops, |program| match program {
            Loaded::Xdp(name, program) => replace(dir, name, |at| Ok(program.pin(at)?)),
            Loaded::Tc(name, program) => replace(dir, name, |at| Ok(program.pin(at)?)),
        })?;
    } else {
        for name in media::PROGRAMS.as_flattened() {
            remove_one(&dir.join(name))?;
        }
    }
    let ingress = path.ingress()?;
    replace(dir, INGRESS, |at| Ok(ingress.pin(at)?))?;
    let egress = path.egress()?;
    replace(dir, EGRESS, |at| Ok(egress.pin(at)?))
}

/// Pins the maps and programs of `path` again, if somebody has removed the directory or its filesystem. Returns whether that was
/// so.
///
/// # Errors
/// If the kernel refuses.
pub fn restore(path: &mut DataPath, dir: &Path) -> Result<bool> {
    // The last pin that is made.
    if dir.join(EGRESS).exists() {
        return Ok(false);
    }
    ensure_bpffs()?;
    private::make(dir)?;
    pin(path, dir)?;
    Ok(true)
}

/// Both programs, as they are pinned.
pub struct Pinned {
    ingress: Xdp,
    egress: SchedClassifier,
}

impl Pinned {
    /// Opens the programs that are pinned in `dir`.
    ///
    /// # Errors
    /// If one is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let failed = || format!("cannot open the programs in {}", dir.display());
        Ok(Self {
            ingress: Xdp::from_pin(dir.join(INGRESS), XdpAttachType::Interface)
                .with_context(failed)?,
            egress: SchedClassifier::from_pin(dir.join(EGRESS)).with_context(failed)?,
        })
    }
}

impl Programs for Pinned {
    fn ingress(&mut self) -> Result<&mut Xdp> {
        Ok(&mut self.ingress)
    }

    fn egress(&mut self) -> Result<&mut SchedClassifier> {
        Ok(&mut self.egress)
    }
}

/// Makes a pin, in one step in place of that of the same name.
fn replace(dir: &Path, name: &str, pin: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let draft = dir.join(format!("new-{name}"));
    // An agent that was killed here may have left one.
    remove_one(&draft)?;
    pin(&draft)
        .and_then(|()| Ok(fs::rename(&draft, dir.join(name))?))
        .with_context(|| format!("cannot pin {name} in {}", dir.display()))
}

/// Removes the links of interfaces whose index is `unwanted`.
///
/// # Errors
/// If they cannot be removed.
pub fn remove_links(dir: &Path, unwanted: impl Fn(u32) -> bool) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let name = entry?.file_name();
        let index = name.to_str().and_then(|name| {
            let index = name.strip_prefix("xdp-").or(name.strip_prefix("tcx-"))?;
            index.parse().ok()
        });
        if index.is_some_and(&unwanted) {
            remove_one(&dir.join(name))?;
        }
    }
    Ok(())
}

/// Removes a pin, if it is there.
///
/// # Errors
/// If it cannot be removed.
pub fn remove_one(at: &Path) -> Result<()> {
    match fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", at.display()))
        }
        _ => Ok(()),
    }
}

/// Removes `dir` with all pins in it. What only they kept alive ends.
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
