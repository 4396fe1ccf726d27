//! Directories and files that only their owner can use, and the group that may read them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::unistd::Group;
use serde::{Deserialize, Serialize};

/// Makes a directory and its parents, whatever the umask. One that is there stays as it is.
///
/// # Errors
/// If that is not permitted.
pub fn make(dir: &Path) -> Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.with_context(|| format!("cannot make {}", dir.display()))
}

/// Group whose members may read. Nobody but the owner may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Readers(pub u32);

/// Returns the number of a group.
///
/// # Errors
/// If there is none of that name, or the groups cannot be read.
pub fn group(name: &str) -> Result<u32, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!(
            "there is no group {name}; as root, `groupadd --system {name}`"
        )),
        Err(error) => Err(format!("cannot read the groups: {}", error.desc())),
    }
}

impl Readers {
    /// Lets them list a directory.
    ///
    /// # Errors
    /// If that is not permitted.
    pub fn may_list(self, dir: &Path) -> Result<()> {
        self.admit(dir, 0o750)
    }

    /// Lets them read a file, or a map that is pinned.
    ///
    /// # Errors
    /// If that is not permitted.
    pub fn may_read(self, file: &Path) -> Result<()> {
        self.admit(file, 0o640)
    }

    fn admit(self, path: &Path, mode: u32) -> Result<()> {
        let admitted = fs::metadata(path).and_then(|known| {
            // The group first: that of before must not see it. A unit's filter of system calls may have no chown.
            if known.gid() != self.0 {
                chown(path, None, Some(self.0))?;
            }
            fs::set_permissions(path, Permissions::from_mode(mode))
        });
        admitted.with_context(|| {
            format!(
                "cannot let group {} read {}: CAP_CHOWN, or membership of that group, permits it",
                self.0,
                path.display()
            )
        })
    }
}

/// Takes a directory from all others, but for a group that may list it.
///
/// # Errors
/// If others may write to it, and that cannot be changed.
pub fn keep(dir: &Path) -> Result<()> {
    const OTHERS: u32 = 0o027;
    let mode = fs::metadata(dir)?.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(dir, Permissions::from_mode(mode & !OTHERS)) {
        // Of another user, as with CAP_DAC_OVERRIDE. Who can only read it changes nothing.
        Err(_) if mode & 0o022 == 0 => Ok(()),
        set => set.with_context(|| {
            format!(
                "others can write to {}: as root, `chmod 700` it",
                dir.display()
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn only_a_group_that_may_list_a_directory_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        for (before, after) in [
            (0o700, 0o700),
            (0o750, 0o750),
            (0o755, 0o750),
            (0o777, 0o750),
            (0o770, 0o750),
            (0o705, 0o700),
        ] {
            fs::set_permissions(dir.path(), Permissions::from_mode(before)).unwrap();
            keep(dir.path()).unwrap();
            assert_eq!(mode(dir.path()), after, "{before:o}");
        }
    }

    #[test]
    fn readers_can_read_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let own = nix::unistd::getegid().as_raw();
        Readers(own).may_list(dir.path()).unwrap();
        Readers(own).may_read(&file).unwrap();
        assert_eq!(mode(dir.path()), 0o750);
        assert_eq!(mode(&file), 0o640);
        assert_eq!(fs::metadata(&file).unwrap().gid(), own);
    }

    #[test]
    fn a_group_that_is_not_there_is_named() {
        assert_eq!(group("root"), Ok(0));
        let error = group("no-such-group").unwrap_err();
        assert!(
            error.starts_with("there is no group no-such-group"),
            "{error}"
        );
    }
}
