//! pjsua2 for Python, from PyPI, kept in sipnat's own cache: Debian has no package of pjsip's phone.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{command, tools};

/// Package and version.
const PACKAGE: &str = "pjsua2-python==2.15.1.post1";

/// Returns the folder that has it. Installs it if the cache has none.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = tools::cache()?.join(PACKAGE.replace("==", "-"));
    if folder.exists() {
        return Ok(folder);
    }
    eprintln!(
        "installing {PACKAGE} from PyPI, which is one of the phones, once: {}",
        folder.display()
    );
    let draft = folder.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    let mut pip = Command::new("pip3");
    pip.args(["install", "--quiet", "--no-deps", "--only-binary", ":all:"])
        .arg("--target")
        .arg(&draft)
        .arg(PACKAGE);
    command::run(&mut pip)?;
    fs::rename(&draft, &folder)?;
    Ok(folder)
}
