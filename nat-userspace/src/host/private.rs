//! Directories that only their owner can use.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::{Context as _, Result};

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
