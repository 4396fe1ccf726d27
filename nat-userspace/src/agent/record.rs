//! The record of an agent: a file by which the command line finds it, and from which a later agent cleans up after a
//! crash. The kernel programs do not need it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    agent::outcome::Outcome,
    host::{
        lock,
        namespaces::{network_cookie, network_inode},
        private::{self, Readers},
        process::start_time,
    },
    kernel::attach::Attached,
};

/// Directory of the records.
pub const DIR: &str = "/run/sipnat";

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Version of sipnat.
    pub version: String,
    /// Process of the agent.
    pub pid: u32,
    /// Start of that process, in clock ticks after boot: tells it from a later process of that pid.
    pub pid_started: u64,
    /// Start of the agent, in seconds since 1970.
    pub since: u64,
    /// Inode of its network namespace, which a later namespace may have, too.
    pub netns: u64,
    /// Cookie of its network namespace, which no other ever has. A record without it is of another namespace.
    #[serde(default)]
    pub netns_cookie: u64,
    /// Directory of its pins.
    pub pins: PathBuf,
    /// The SIP ports.
    pub ports: Vec<u16>,
    /// Interfaces with its programs.
    pub interfaces: Vec<Attached>,
    /// Names of interfaces that have no programs: they are not there, or cannot take them.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Group that may read the record and the maps.
    #[serde(default)]
    pub readers: Option<Readers>,
    /// Set if the agent ended and left its programs in place.
    pub kept: bool,
    /// Reason for which the verifier refused the faster loops (see [`DataPath::refused`](crate::kernel::load::DataPath)).
    #[serde(default)]
    pub refused_loops: Option<String>,
    /// What was taken over from another version.
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
    /// Outcome of the last reload.
    #[serde(default)]
    pub reload: Outcome,
}

/// What an agent has taken over from another version, whose tables had another layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Version from which it was taken over.
    pub from: String,
    /// Number of the layout of its tables.
    pub layout: u32,
    /// Number of bindings that were converted; none if they had the same layout, and all go on in place.
    pub converted: Option<usize>,
    /// Number of bindings for which there was no room.
    pub refused: usize,
    /// Tables that began empty.
    pub emptied: Vec<String>,
}

impl AgentRecord {
    /// Makes the record of this process, which is about to start an agent in its network namespace.
    ///
    /// # Errors
    /// If /proc does not say what is needed.
    pub fn new(pins: PathBuf, ports: &[u16], readers: Option<Readers>) -> Result<Self> {
        let pid = process::id();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            pid,
            pid_started: start_time(pid).context("cannot read /proc/self/stat")?,
            since: unix_time(),
            netns: network_inode()?,
            netns_cookie: network_cookie()?,
            pins,
            ports: ports.to_vec(),
            interfaces: Vec::new(),
            missing: Vec::new(),
            readers,
            kept: false,
            refused_loops: None,
            upgrade: None,
            reload: Outcome::default(),
        })
    }

    /// Finds the record of the agent of this network namespace, alive or not, with the present names of its interfaces.
    /// The record of a dead namespace with the same inode does not count.
    ///
    /// # Errors
    /// If there is a record that cannot be read.
    pub fn find() -> Result<Option<Self>> {
        let cookie = network_cookie()?;
        let found = Self::read(&file(Path::new(DIR), network_inode()?))?;
        let mut found = found.filter(|record| record.netns_cookie == cookie);
        if let Some(record) = &mut found {
            record.refresh_names();
        }
        Ok(found)
    }

    fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        serde_json::from_slice(&text).map(Some).with_context(|| {
            format!(
                "{} is no state file of sipnat; `sipnat detach` removes it",
                path.display()
            )
        })
    }

    /// Whether the agent runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.pid_started)
    }

    /// Returns the time since the agent became ready.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        Duration::from_secs(unix_time().saturating_sub(self.since))
    }

    /// Reads the names of the interfaces again.
    pub fn refresh_names(&mut self) {
        self.interfaces.iter_mut().for_each(Attached::refresh_name);
    }

    /// Returns the names of the interfaces, joined by commas.
    #[must_use]
    pub fn interface_names(&self) -> String {
        if self.interfaces.is_empty() {
            return "no interface".into();
        }
        let names: Vec<&str> = self.interfaces.iter().map(|i| i.name.as_str()).collect();
        names.join(", ")
    }

    /// Writes the record, completely or not at all.
    ///
    /// # Errors
    /// If that fails.
    pub fn write(&self) -> Result<()> {
        self.write_in(Path::new(DIR))
    }

    fn write_in(&self, dir: &Path) -> Result<()> {
        let path = file(dir, self.netns);
        make(dir)?;
        if let Some(readers) = self.readers {
            readers.may_list(dir)?;
        }
        let draft = path.with_extension("new");
        // One that a dead agent left. An error means that there is none.
        let _ = fs::remove_file(&draft);
        let written = self.write_to(&draft, &path);
        if written.is_err() {
            // The disk may be full.
            let _ = fs::remove_file(&draft);
        }
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_to(&self, draft: &Path, path: &Path) -> Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(draft)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        if let Some(readers) = self.readers {
            readers.may_read(draft)?;
        }
        Ok(fs::rename(draft, path)?)
    }
}

/// Removes the record of this network namespace, if there is one.
///
/// # Errors
/// If it cannot be removed.
pub fn remove() -> Result<bool> {
    let path = file(Path::new(DIR), network_inode()?);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Takes the lock under which agents of this host start and end. Dropping it releases it.
///
/// # Errors
/// If the lock file cannot be made, or another process does not release the lock.
pub async fn lock() -> Result<impl Drop> {
    let dir = Path::new(DIR);
    make(dir)?;
    lock::take(&dir.join("lock")).await
}

/// Makes the directory, or takes it from all others. Agents of other network namespaces may have readers of theirs.
fn make(dir: &Path) -> Result<()> {
    private::make(dir)?;
    private::keep(dir)
}

fn file(dir: &Path, netns: u64) -> PathBuf {
    dir.join(format!("{netns}.json"))
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attach::{Tc, XdpMode};

    fn record() -> AgentRecord {
        let mut record = AgentRecord::new("/sys/fs/bpf/sipnat/1".into(), &[5060], None).unwrap();
        record.interfaces = vec![
            Attached {
                name: "eth0".into(),
                index: 2,
                xdp: XdpMode::Native,
                tc: Tc::Tcx,
            },
            Attached {
                name: "eth1".into(),
                index: 3,
                xdp: XdpMode::Generic,
                tc: Tc::Clsact {
                    priority: 49152,
                    handle: 1,
                    made: true,
                },
            },
        ];
        record
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let record = record();
        let path = file(dir.path(), record.netns);
        assert_eq!(AgentRecord::read(&path).unwrap(), None);
        record.write_in(dir.path()).unwrap();
        assert_eq!(AgentRecord::read(&path).unwrap(), Some(record));
        let text = fs::read_to_string(&path).unwrap();
        let without = text.replace("netns_cookie", "other");
        fs::write(&path, without).unwrap();
        assert_eq!(AgentRecord::read(&path).unwrap().unwrap().netns_cookie, 0);
        fs::write(&path, "{").unwrap();
        assert!(AgentRecord::read(&path).is_err());
    }

    #[test]
    fn interfaces_show_how_they_are_attached() {
        let shown: Vec<String> = record()
            .interfaces
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            ["eth0 (xdp native, tcx)", "eth1 (xdp generic, clsact)"]
        );
    }

    #[test]
    fn an_interface_has_its_present_name() {
        let mut record = record();
        record.interfaces[0].name = "renamed-since".into();
        record.interfaces[0].index = 1;
        record.interfaces[1].index = u32::MAX >> 1;
        record.refresh_names();
        // One that is gone keeps the name that it had.
        assert_eq!(record.interface_names(), "lo, eth1");
    }

    #[test]
    fn a_process_is_told_from_a_later_one() {
        let mut record = record();
        assert!(record.is_alive());
        record.pid_started += 1;
        assert!(!record.is_alive());
    }
}
