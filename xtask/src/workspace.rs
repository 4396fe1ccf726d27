//! Where things are, and the cargo that builds the host's crates.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command;

/// The workspace as cargo sees it.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo, so that CARGO_TARGET_DIR and configuration files count.
    pub(crate) fn find() -> Result<Self> {
        let mut metadata = Command::new(program());
        metadata.args(["metadata", "--no-deps", "--format-version=1", "--locked"]);
        metadata.current_dir(env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&command::output(&mut metadata)?)
            .context("cargo metadata is not what it was")
    }

    /// The cargo that runs this program, without what it told this program about itself:
    /// build scripts that watch such a variable would run again.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = self.program(program().as_ref());
        cargo.args([subcommand, "--locked"]);
        cargo
    }

    /// A program run at the root, without what cargo told this one about itself.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(describes_this_program) {
                command.env_remove(name);
            }
        }
        command
    }
}

fn program() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Is this a variable that `cargo run` sets for the program that it runs?
fn describes_this_program(name: &str) -> bool {
    [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
        || matches!(name, "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_description_is_dropped() {
        assert!(describes_this_program("CARGO_PKG_VERSION"));
        assert!(describes_this_program("CARGO_MANIFEST_DIR"));
        assert!(!describes_this_program("CARGO_TARGET_DIR"));
        assert!(!describes_this_program("CARGO_HOME"));
        assert!(!describes_this_program("RUSTFLAGS"));
    }
}
