//! The bpffs directory of one agent. Its pins keep maps, programs and links alive when the agent has ended.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::programs::{
    ProgramInfo, SchedClassifier, Xdp,
    links::{FdLink, PinnedLink},
};
use aya_obj::programs::XdpAttachType;
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, RenameFlags, renameat2},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
    unistd::{AccessFlags, faccessat},
};
use tracing::info;

use crate::{
    host::private::{self, Readers},
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
    let names = [INGRESS, EGRESS].iter().chain(of_media(dir));
    let info = |name: &'static &str| {
        ProgramInfo::from_pin(dir.join(name))
            .map(|info| (*name, info))
            .with_context(|| format!("cannot read program `{name}`"))
    };
    names.map(info).collect()
}

/// Whether this user may open the programs. A reader may open the maps only.
#[must_use]
pub fn may_open_programs(dir: &Path) -> bool {
    let access = AccessFlags::R_OK | AccessFlags::W_OK;
    let ingress = dir.join(INGRESS);
    faccessat(AT_FDCWD, &ingress, access, AtFlags::AT_EACCESS) != Err(Errno::EACCES)
}

/// Whether the programs of media are pinned in `dir`.
#[must_use]
pub fn has_media(dir: &Path) -> bool {
    of_media(dir).next().is_some()
}

/// Returns the names of the programs of media that are pinned in `dir`.
fn of_media(dir: &Path) -> impl Iterator<Item = &'static &'static str> {
    let names = media::PROGRAMS.as_flattened().iter();
    names.filter(|name| dir.join(name).exists())
}

/// Pins the maps and programs of `path`, and the links that are in `dir`, in place of those of an earlier data path. All
/// change in one step: whoever is killed leaves the pins of one data path. The `readers` may read the maps.
///
/// # Errors
/// If the kernel refuses.
pub fn pin(path: &mut DataPath, dir: &Path, readers: Option<Readers>) -> Result<()> {
    prepare(path, dir, readers)?;
    publish(dir)
}

/// Pins the maps and programs of `path` beside those of an earlier data path in `dir`. If this process is killed when an
/// interface has the programs, the next agent goes on with these pins ([`finish`]). The `readers` may read the maps.
///
/// # Errors
/// If the kernel refuses.
pub fn prepare(path: &mut DataPath, dir: &Path, readers: Option<Readers>) -> Result<()> {
    let draft = draft(dir);
    remove_tree(&draft)?;
    private::make(&draft)?;
    let filled = fill(path, &draft)
        .and_then(|()| readers.map_or(Ok(()), |readers| admit(readers, path, &draft)));
    if filled.is_err() {
        remove_tree(&draft)?;
    }
    filled
}

/// Puts what was prepared, and the links that are in `dir`, in place of the pins in `dir`.
///
/// # Errors
/// If the kernel refuses.
pub fn publish(dir: &Path) -> Result<()> {
    let draft = draft(dir);
    let published = pin_links(dir, &draft).and_then(|()| exchange(&draft, dir));
    // What was there before, or what is not complete.
    let removed = remove_tree(&draft);
    published.and(removed.map(drop))
}

/// Publishes what an agent had prepared when it was killed, if an interface has its programs. Else removes it.
///
/// # Errors
/// If the kernel refuses.
pub fn finish(dir: &Path) -> Result<()> {
    if is_attached(&draft(dir), dir)? {
        publish(dir)
    } else {
        remove_draft(dir)
    }
}

/// Whether all is pinned in `draft`, and links in `dir` hold its programs on an interface.
fn is_attached(draft: &Path, dir: &Path) -> Result<bool> {
    // The last pin that is made.
    if !dir.exists() || !draft.join(EGRESS).exists() {
        return Ok(false);
    }
    let program = |name| Ok::<_, anyhow::Error>(ProgramInfo::from_pin(draft.join(name))?.id());
    let (ingress, egress) = (program(INGRESS)?, program(EGRESS)?);
    let is_held = |at: PathBuf, program| {
        let link = FdLink::from(PinnedLink::from_pin(at)?);
        Ok::<_, anyhow::Error>(link.info()?.program_id() == program)
    };
    for name in links(dir)? {
        let Some(index) = index_of(&name) else {
            continue;
        };
        // The egress program is attached last. A filter of clsact has no link.
        let tcx = tcx_link(dir, index);
        let held = if tcx.exists() {
            is_held(tcx, egress)?
        } else {
            is_held(xdp_link(dir, index), ingress)?
        };
        if held {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Pins the links that are in `dir` in another directory.
fn pin_links(dir: &Path, draft: &Path) -> Result<()> {
    for name in links(dir)? {
        let link = FdLink::from(PinnedLink::from_pin(dir.join(&name))?);
        let at = draft.join(&name);
        // Of an agent that was killed.
        remove_one(&at)?;
        link.pin(&at)
            .with_context(|| format!("cannot pin {}", at.display()))?;
    }
    Ok(())
}

/// Pins maps and programs in an empty directory.
fn fill(path: &mut DataPath, draft: &Path) -> Result<()> {
    let failed = |name: &str| format!("cannot pin {name} in {}", draft.display());
    for table in path.tables.maps() {
        let pinned = table.map.pin(draft.join(table.name));
        pinned.with_context(|| failed(table.name))?;
    }
    if path.media {
        for name in media::ARRAYS {
            let array = path.ebpf.map(name).context("no array of programs")?;
            array.pin(draft.join(name)).with_context(|| failed(name))?;
        }
        media::each(&mut path.ebpf, path.loops, |program| match program {
            Loaded::Xdp(name, program) => {
                program.pin(draft.join(name)).with_context(|| failed(name))
            }
            Loaded::Tc(name, program) => {
                program.pin(draft.join(name)).with_context(|| failed(name))
            }
        })?;
    }
    let ingress = path.ingress()?.pin(draft.join(INGRESS));
    ingress.with_context(|| failed(INGRESS))?;
    let egress = path.egress()?.pin(draft.join(EGRESS));
    egress.with_context(|| failed(EGRESS))
}

/// Lets readers use the commands that only read. The programs stay their owner's: who has one can run it on packets of his own
/// (BPF_PROG_TEST_RUN), and it writes to the maps.
fn admit(readers: Readers, path: &DataPath, draft: &Path) -> Result<()> {
    for table in path.tables.maps() {
        readers.may_read(&draft.join(table.name))?;
    }
    readers.may_list(draft)?;
    readers.may_list(&parent())
}

/// Returns the directory in which pins are made before they are those of `dir`.
fn draft(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push("-new");
    name.into()
}

/// Gives each of two directories the name of the other (Linux 5.16 on a bpffs).
fn exchange(draft: &Path, dir: &Path) -> Result<()> {
    let exchanged = renameat2(AT_FDCWD, draft, AT_FDCWD, dir, RenameFlags::RENAME_EXCHANGE);
    exchanged.with_context(|| format!("cannot put the pins in place in {}", dir.display()))
}

/// Removes the pins that an agent was making when it was killed. They may hold links.
///
/// # Errors
/// If they cannot be removed.
pub fn remove_draft(dir: &Path) -> Result<()> {
    remove_tree(&draft(dir)).map(drop)
}

/// Pins the maps and programs of `path` again, if somebody has removed the directory or its filesystem. Returns whether that was
/// so.
///
/// # Errors
/// If the kernel refuses.
pub fn restore(path: &mut DataPath, dir: &Path, readers: Option<Readers>) -> Result<bool> {
    // The last pin that is made.
    if dir.join(EGRESS).exists() {
        return Ok(false);
    }
    ensure_bpffs()?;
    private::make(dir)?;
    pin(path, dir, readers)?;
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

/// Removes the links of interfaces whose index is `unwanted`.
///
/// # Errors
/// If they cannot be removed.
pub fn remove_links(dir: &Path, unwanted: impl Fn(u32) -> bool) -> Result<()> {
    for name in links(dir)? {
        if index_of(&name).is_some_and(&unwanted) {
            remove_one(&dir.join(name))?;
        }
    }
    Ok(())
}

/// Lists the names of the links in `dir`.
fn links(dir: &Path) -> Result<Vec<OsString>> {
    let failed = || format!("cannot read {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(failed)? {
        let name = entry.with_context(failed)?.file_name();
        if index_of(&name).is_some() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Returns the index of the interface whose link has that name.
fn index_of(name: &OsStr) -> Option<u32> {
    let name = name.to_str()?;
    let index = name.strip_prefix("xdp-").or(name.strip_prefix("tcx-"))?;
    index.parse().ok()
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
    let removed = remove_tree(dir)?;
    remove_draft(dir)?;
    if let Some(parent) = dir.parent() {
        // Stays while agents of other namespaces use it.
        let _in_use = fs::remove_dir(parent);
    }
    Ok(removed)
}

/// Removes a directory, if it is there.
fn remove_tree(dir: &Path) -> Result<bool> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", dir.display())),
    }
}
