//! Folders with a Debian of their own, made once and kept in sipnat's own cache.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    command, kernel,
    packages::{self, Install, Program},
    tools,
};

/// A folder that debootstrap makes.
pub(crate) struct Root {
    /// Name of the folder in the cache.
    pub(crate) name: &'static str,
    /// Suite of Debian.
    pub(crate) suite: &'static str,
    /// Packages beside the essential ones, with commas between them.
    pub(crate) packages: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
    /// Its size on the disk.
    pub(crate) megabytes: u32,
}

const DEBOOTSTRAP: Program = Program::new("debootstrap", "debootstrap", "makes a fresh Debian");

impl Root {
    /// Returns its folder. Makes it if the cache has none.
    pub(crate) fn folder(&self, install: Install) -> Result<PathBuf> {
        let Self {
            name,
            suite,
            packages,
            why,
            megabytes,
        } = self;
        let root = tools::cache()?.join(name);
        if root.exists() {
            return Ok(root);
        }
        ensure!(
            kernel::is_root(),
            "only root can make a folder with a Debian of its own"
        );
        packages::ensure(&[DEBOOTSTRAP], install)?;
        eprintln!(
            "making a Debian {suite} with {packages}, which {why}, once, in a few minutes, of {megabytes} MB: {}",
            root.display()
        );
        let draft = root.with_extension("new");
        if draft.exists() {
            fs::remove_dir_all(&draft)?;
        }
        fs::create_dir_all(&draft)?;
        let mut debootstrap = Command::new("debootstrap");
        debootstrap
            .args(["--variant=minbase", "--include", packages, suite])
            .arg(&draft);
        command::run(&mut debootstrap)?;
        // Downloaded packages are no longer needed.
        let downloaded = draft.join("var/cache/apt/archives");
        if downloaded.exists() {
            fs::remove_dir_all(downloaded)?;
        }
        fs::rename(&draft, &root)?;
        Ok(root)
    }
}
