//! Network and mount namespaces.

use std::{
    fs,
    os::{
        fd::AsRawFd as _,
        unix::{fs::MetadataExt as _, net::UnixDatagram},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

/// Returns the inode of this thread's network namespace: its number as `lsns` and `ip netns` show it.
///
/// # Errors
/// If /proc is not there.
pub fn network_inode() -> Result<u64> {
    let namespace =
        fs::metadata("/proc/thread-self/ns/net").context("cannot find the network namespace")?;
    Ok(namespace.ino())
}

/// Returns the kernel's cookie of this thread's network namespace. The kernel reuses inodes, but never cookies.
///
/// # Errors
/// If the kernel refuses a socket.
pub fn network_cookie() -> Result<u64> {
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

/// Returns where this process finds `path` of process `pid`, which may run in another mount namespace.
#[must_use]
pub fn path_of_process(pid: u32, path: &Path) -> PathBuf {
    let mounts = |process: &str| {
        fs::metadata(format!("/proc/{process}/ns/mnt"))
            .ok()
            .map(|m| m.ino())
    };
    let pid = pid.to_string();
    match (mounts(&pid), mounts("self")) {
        (Some(there), Some(here)) if there != here => {
            let inside = path.strip_prefix("/").unwrap_or(path);
            Path::new("/proc").join(pid).join("root").join(inside)
        }
        _ => path.to_owned(),
    }
}
