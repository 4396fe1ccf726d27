//! A lock file that one process of this host holds at a time.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::host::process;

/// Time after which whoever holds the lock is named.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time after which nobody waits any longer. An agent holds the lock for a second while it starts on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Takes the lock of a file. Makes the file if there is none. Dropping the result releases it.
///
/// # Errors
/// If the file cannot be made, or another process does not release the lock.
pub async fn take(path: &Path) -> Result<impl Drop + use<>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    if file.metadata()?.mode() & 0o077 != 0 {
        // Of an earlier version. Another user's stays as it is.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
    let start = Instant::now();
    let mut said = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        };
        let waited = start.elapsed();
        if waited >= PATIENCE && !said || waited >= LIMIT {
            let holder = holder(&file.metadata()?).unwrap_or_else(|| "another process".into());
            let path = path.display();
            if waited >= LIMIT {
                bail!(
                    "{holder} holds the lock {path} and does not release it: end it, then try again"
                );
            }
            warn!(%holder, %path, "waiting for {holder}, which holds the lock {path}");
            said = true;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Name and pid of the process that holds the lock of a file.
fn holder(file: &fs::Metadata) -> Option<String> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let (major, minor) = (libc::major(file.dev()), libc::minor(file.dev()));
    let pid = parse(&locks, &format!("{major:02x}:{minor:02x}:{}", file.ino()))?;
    let name = process::name(pid).unwrap_or_else(|| "a process".into());
    Some(format!("{name} (pid {pid})"))
}

/// Finds the process that holds a lock by flock(2), in /proc/locks (proc_locks(5)): those that wait have an arrow.
fn parse(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, pid, of, ..] if of == file => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_the_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 fe:00:78 0 EOF\n";
        assert_eq!(parse(locks, "fe:00:77"), Some(12));
        assert_eq!(parse(locks, "fe:00:78"), Some(14));
        assert_eq!(parse(locks, "fe:00:79"), None);
    }

    #[tokio::test]
    async fn one_holds_the_lock_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let first = take(&path).await.unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
        let own = format!("(pid {})", std::process::id());
        assert!(holder(&metadata).unwrap().ends_with(&own));
        let short = Duration::from_millis(200);
        let second = tokio::time::timeout(short, take(&path)).await;
        assert!(second.is_err(), "it is held");
        drop(first);
        drop(take(&path).await.unwrap());
        assert_eq!(holder(&metadata), None);
    }
}
