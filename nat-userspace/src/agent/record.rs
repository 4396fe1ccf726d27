//! What an agent writes down about itself, so that the command line finds it, and so that whoever
//! comes after a crash can clean up. The kernel programs need none of it.

use std::{
    fmt, fs, io,
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};

/// Where state files are.
const DIR: &str = "/run/sipnat";

/// An agent, as its state file describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of the agent.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When that process started, in clock ticks after boot: tells it from a later one of its pid.
    pub pid_started: u64,
    /// When it became ready, in seconds since 1970.
    pub since: u64,
    /// Inode of its network namespace, which a later namespace may have, too.
    pub netns: u64,
    /// The kernel's own number of that namespace, which none other ever has. A file without it is not of this
    /// namespace.
    #[serde(default)]
    pub netns_cookie: u64,
    /// Where maps, programs and links are pinned.
    pub pins: PathBuf,
    /// The SIP ports.
    pub ports: Vec<u16>,
    /// Where the programs are attached.
    pub interfaces: Vec<Attached>,
    /// Whether it ended and left the programs in place.
    pub kept: bool,
}

/// An interface with the programs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its name when attached.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// How XDP is attached.
    pub xdp: XdpMode,
    /// How the egress program is attached.
    pub tc: Tc,
}

/// How the XDP program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// By the driver.
    Native,
    /// By the network stack, on drivers that cannot.
    Generic,
}

/// How the egress program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tc {
    /// By a tcx link.
    Tcx,
    /// As a filter of the clsact qdisc, before Linux 6.6.
    Clsact {
        /// Names the filter.
        priority: u16,
        /// Names the filter.
        handle: u32,
        /// Whether the qdisc is there only because of it.
        made: bool,
    },
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl fmt::Display for Attached {
    /// As in the ready line: `eth0 (xdp native, tcx)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let xdp = self.xdp;
        let tc = match self.tc {
            Tc::Tcx => "tcx",
            Tc::Clsact { .. } => "clsact",
        };
        write!(f, "{} (xdp {xdp}, {tc})", self.name)
    }
}

impl State {
    /// Of this process, about to start an agent in its network namespace.
    ///
    /// # Errors
    /// If /proc does not say what is needed.
    pub fn new(pins: PathBuf, ports: &[u16]) -> Result<Self> {
        let pid = process::id();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            pid,
            pid_started: start_of(pid).context("cannot read /proc/self/stat")?,
            since: unix_time(),
            netns: netns()?,
            netns_cookie: netns_cookie()?,
            pins,
            ports: ports.to_vec(),
            interfaces: Vec::new(),
            kept: false,
        })
    }

    /// The state of the agent of this network namespace, alive or not. What an agent of a dead namespace with the
    /// same inode left does not count.
    ///
    /// # Errors
    /// If there is a state file that cannot be read.
    pub fn find() -> Result<Option<Self>> {
        let cookie = netns_cookie()?;
        let found = Self::read(&file(Path::new(DIR), netns()?))?;
        Ok(found.filter(|state| state.netns_cookie == cookie))
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

    /// Whether its agent still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.pid_started)
    }

    /// How long ago it became ready.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        Duration::from_secs(unix_time().saturating_sub(self.since))
    }

    /// The names of its interfaces.
    #[must_use]
    pub fn interface_names(&self) -> String {
        let names: Vec<&str> = self.interfaces.iter().map(|i| i.name.as_str()).collect();
        names.join(", ")
    }

    /// Writes the state file, at once or not at all.
    ///
    /// # Errors
    /// If that fails.
    pub fn write(&self) -> Result<()> {
        self.write_in(Path::new(DIR))
    }

    fn write_in(&self, dir: &Path) -> Result<()> {
        let path = file(dir, self.netns);
        let draft = path.with_extension("new");
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&draft, serde_json::to_vec_pretty(self)?))
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Removes the state file of this network namespace, if there is one.
///
/// # Errors
/// If it cannot be removed.
pub fn remove() -> Result<bool> {
    let path = file(Path::new(DIR), netns()?);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Keeps other agents of this host from starting or ending at this moment, until dropped.
///
/// # Errors
/// If the lock file cannot be made.
pub fn lock() -> Result<impl Drop> {
    let path = Path::new(DIR).join("lock");
    let file = fs::create_dir_all(DIR)
        .and_then(|()| fs::File::create(&path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("cannot take sipnat's start lock")
}

/// The inode of this thread's network namespace: its number as `lsns` and `ip netns` show it.
///
/// # Errors
/// If /proc is not there.
pub fn netns() -> Result<u64> {
    let namespace =
        fs::metadata("/proc/thread-self/ns/net").context("cannot find the network namespace")?;
    Ok(namespace.ino())
}

/// The kernel's number of this thread's network namespace.
fn netns_cookie() -> Result<u64> {
    let socket = UnixDatagram::unbound().context("cannot make a socket")?;
    let mut cookie = 0_u64;
    let mut len = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: an open socket; the kernel writes at most `len` bytes to `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    Errno::result(result).context("cannot tell this network namespace from others")?;
    Ok(cookie)
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

/// When a process started, in clock ticks after boot; none if it does not live.
fn start_of(pid: u32) -> Option<u64> {
    start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// See proc_pid_stat(5). The second field is a name in parentheses that may hold anything.
fn start_in(stat: &str) -> Option<u64> {
    const STATE: usize = 3;
    const STARTTIME: usize = 22;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(STARTTIME - STATE - 1)?.parse().ok();
    // A zombie does no work any more.
    start.filter(|_| state != "Z" && state != "X")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::new("/sys/fs/bpf/sipnat/1".into(), &[5060]).unwrap();
        state.interfaces = vec![
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
        state
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let state = state();
        let path = file(dir.path(), state.netns);
        assert_eq!(State::read(&path).unwrap(), None);
        state.write_in(dir.path()).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(state));
        let text = fs::read_to_string(&path).unwrap();
        let without = text.replace("netns_cookie", "other");
        fs::write(&path, without).unwrap();
        assert_eq!(State::read(&path).unwrap().unwrap().netns_cookie, 0);
        fs::write(&path, "{").unwrap();
        assert!(State::read(&path).is_err());
    }

    #[test]
    fn interfaces_show_how_they_are_attached() {
        let shown: Vec<String> = state().interfaces.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["eth0 (xdp native, tcx)", "eth1 (xdp generic, clsact)"]
        );
    }

    #[test]
    fn a_process_is_told_from_a_later_one() {
        let mut state = state();
        assert!(state.is_alive());
        state.pid_started += 1;
        assert!(!state.is_alive());
    }

    #[test]
    fn stat_survives_odd_names() {
        let tail = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(start_in(&format!("7 (a) b) S {tail}")), Some(4242));
        assert_eq!(start_in(&format!("7 (sipnat) Z {tail}")), None);
        assert_eq!(start_in("7 (sipnat"), None);
    }
}
