//! Network namespaces that clean up after themselves.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    net::{SocketAddr, UdpSocket},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
    },
    unistd::{Pid, geteuid},
};
use serde_json::Value;

const DIR: &str = "/run/netns";
const SYSCTL: &str = "/proc/sys/net";
const PREFIX: &str = "sipnat";

/// A named network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

/// Waits for a datagram until the socket's timeout. A stopped and continued process goes on waiting.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// Names of the namespaces of one lab, unique among the labs of this process and of all others.
#[derive(Debug)]
pub struct NetnsFamily(String);

impl NetnsFamily {
    /// Returns the next unused name. The first call removes namespaces of dead processes.
    pub fn next() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();

        ensure!(
            geteuid().is_root(),
            "the lab makes network namespaces, for which it must be root: try `sudo -E`"
        );
        SWEEP.call_once(sweep);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Ok(Self(format!("{PREFIX}-{}-{number}", std::process::id())))
    }

    /// Makes the namespace of the host that plays `role`.
    pub fn make(&self, role: &str) -> Result<Netns> {
        Netns::new(format!("{}-{role}", self.0))
    }
}

impl Netns {
    fn new(name: String) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", &name]), "")?;
        let netns = Self { name };
        netns.enter(|| {
            // Not every kernel has all of these; a new namespace may inherit them from the host.
            for (key, value) in [
                // Duplicate address detection and router solicitations only make noise.
                ("ipv6/conf/all/disable_ipv6", "1"),
                ("ipv6/conf/default/disable_ipv6", "1"),
                ("ipv4/ip_forward", "0"),
                // Packets that a bridge forwards must not pass the rules for routers.
                ("bridge/bridge-nf-call-iptables", "0"),
            ] {
                let _ = fs::write(Path::new(SYSCTL).join(key), value);
            }
        })?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, for `nsenter --net=...`.
    pub fn path(&self) -> PathBuf {
        Path::new(DIR).join(&self.name)
    }

    /// Calls `action` on a thread of its own inside this namespace. Sockets opened and processes spawned
    /// there belong to this namespace for good.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        let file =
            File::open(self.path()).with_context(|| format!("open {}", self.path().display()))?;
        thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                setns(file, CloneFlags::CLONE_NEWNET).context("setns")?;
                Ok(action())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Binds a UDP socket inside this namespace. It tries for a while: a socket that was closed here is still open in
    /// a process that another thread has just forked, until that process runs its program.
    pub fn udp(&self, address: impl Into<SocketAddr>) -> Result<UdpSocket> {
        let address = address.into();
        let until = Instant::now() + Duration::from_secs(2);
        let bind = || loop {
            match UdpSocket::bind(address) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(10));
                }
                bound => return bound,
            }
        };
        self.enter(bind)?
            .with_context(|| format!("bind {address} in {}", self.name))
    }

    /// The index of an interface of this namespace.
    pub fn ifindex(&self, interface: &str) -> Result<u32> {
        self.enter(|| if_nametoindex(interface))?
            .with_context(|| format!("interface {interface} in {}", self.name))
    }

    /// Returns the id of the XDP program on an interface of this namespace.
    pub fn xdp(&self, interface: &str) -> Result<Option<u64>> {
        let mut command = Command::new("ip");
        command.args(["-json", "link", "show", interface]);
        let links: Value = serde_json::from_str(&self.run(&mut command, "")?)?;
        Ok(links[0]["xdp"]["prog"]["id"].as_u64())
    }

    /// Runs `ip` with `lines` as its batch.
    pub fn ip(&self, lines: &str) -> Result<()> {
        run(
            Command::new("ip").args(["-n", &self.name, "-batch", "-"]),
            lines,
        )?;
        Ok(())
    }

    /// Runs `command` inside this namespace to its end. Returns its standard output.
    pub fn run(&self, command: &mut Command, stdin: &str) -> Result<String> {
        self.enter(|| run(command, stdin))?
    }

    /// Runs `command` inside this namespace to its end, with any exit status.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        self.enter(|| output(command, ""))?
    }

    /// Empties the connection tracking table, as `conntrack -F` does.
    pub fn forget_connections(&self) -> Result<()> {
        // struct nlmsghdr and struct nfgenmsg: IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK without attributes.
        const LENGTH: u32 = 20;
        const DELETE: u16 = 1 << 8 | 2;
        const REQUEST_WITH_ACK: u16 = 1 | 4;
        let mut message = Vec::new();
        message.extend(LENGTH.to_ne_bytes());
        message.extend(DELETE.to_ne_bytes());
        message.extend(REQUEST_WITH_ACK.to_ne_bytes());
        message.resize(LENGTH as usize, 0);
        self.enter(|| -> Result<()> {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkNetFilter,
            )?;
            send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
            let mut answer = [0; 64];
            let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            // struct nlmsgerr follows the header; its error is 0 for an acknowledgement.
            ensure!(
                length >= 20 && answer[16..20] == [0; 4],
                "conntrack: {answer:?}"
            );
            Ok(())
        })?
    }

    /// Writes a setting under `/proc/sys/net`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new(SYSCTL).join(key);
        self.enter(|| fs::write(&path, value))?
            .with_context(|| format!("write {} in {}", path.display(), self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

fn delete(name: &str) {
    // The kernel soon gives its inode to another namespace, which must not find the files of an agent that was
    // killed.
    if let Ok(file) = fs::metadata(Path::new(DIR).join(name)) {
        let _ = fs::remove_dir_all(format!("/sys/fs/bpf/sipnat/{}", file.ino()));
        let _ = fs::remove_file(format!("/run/sipnat/{}.json", file.ino()));
    }
    let deleted = run(Command::new("ip").args(["netns", "delete", name]), "");
    if let Err(error) = deleted {
        eprintln!("cannot delete the network namespace {name}: {error:#}");
    }
}

/// Deletes the namespaces of runs that were killed, with the processes still in them.
fn sweep() {
    let Ok(entries) = fs::read_dir(DIR) else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let mut parts = name.splitn(3, '-');
        let (Some(PREFIX), Some(Ok(owner))) = (parts.next(), parts.next().map(str::parse::<u32>))
        else {
            continue;
        };
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        let pids = run(Command::new("ip").args(["netns", "pids", &name]), "").unwrap_or_default();
        for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        delete(&name);
    }
}

/// Runs `command` to its end. Fails with its output unless it exits 0.
pub(crate) fn run(command: &mut Command, stdin: &str) -> Result<String> {
    let output = output(command, stdin)?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` to its end.
pub(crate) fn output(command: &mut Command, stdin: &str) -> Result<Output> {
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program:?}: is it installed? `cargo xtask test` installs what the lab needs"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin.as_bytes())?;
    }
    Ok(child.wait_with_output()?)
}
