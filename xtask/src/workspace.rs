//! Paths of the workspace, and the cargo that builds the host's crates.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command;

/// Workspace as `cargo metadata` reports it.
#[derive(Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo, which respects CARGO_TARGET_DIR and configuration files.
    pub(crate) fn find() -> Result<Self> {
        let mut metadata = Command::new(program());
        metadata.args(["metadata", "--no-deps", "--format-version=1", "--locked"]);
        metadata.current_dir(env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&command::output(&mut metadata)?)
            .context("cannot read the output of cargo metadata")
    }

    /// Returns a command of the cargo that runs this program.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = self.program(program().as_ref());
        cargo.args([subcommand, "--locked"]);
        cargo
    }

    /// Returns a command that runs a program at the root of the workspace.
    ///
    /// The variables that describe this program are removed. Otherwise build scripts that watch them would run again.
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

/// Path of the cargo that runs this program.
fn program() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Whether `cargo run` sets this variable to describe the program that it runs.
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
    fn only_the_description_of_this_program_is_removed() {
        assert!(describes_this_program("CARGO_PKG_VERSION"));
        assert!(describes_this_program("CARGO_MANIFEST_DIR"));
        assert!(!describes_this_program("CARGO_TARGET_DIR"));
        assert!(!describes_this_program("CARGO_HOME"));
        assert!(!describes_this_program("RUSTFLAGS"));
    }
}
