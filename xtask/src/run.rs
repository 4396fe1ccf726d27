//! `cargo xtask run`: the agent on a real interface.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Result, anyhow};

use crate::{build::Build, packages::Install, workspace::Workspace};

/// Builds the agent, then replaces this process with `sipnat run`. So signals and exit code are the agent's own.
pub(crate) fn run(workspace: &Workspace, install: Install, args: &[OsString]) -> Result<ExitCode> {
    let build = Build::here(workspace, install);
    let object = build.kernel_programs()?;
    let agent = build.agent(&object)?;
    let error = Command::new(&agent).arg("run").args(args).exec();
    Err(anyhow!("cannot run {}: {error}", agent.display()))
}
