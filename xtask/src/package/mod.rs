//! `cargo xtask package`: the Debian package. cargo-deb makes it of the files that `nat-userspace/Cargo.toml` lists.

mod completions;
mod manual;

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use nat_userspace::cli::Cli;

use crate::{build, command, packages::Install, tools, workspace::Workspace};

/// Builds sipnat, writes its man pages and completions, and packs all of it. Prints the path of the package.
pub(crate) fn package(workspace: &Workspace, install: Install) -> Result<ExitCode> {
    let cargo_deb = tools::cargo_deb(workspace)?;
    let object = build::kernel_programs(workspace, install)?;
    let agent = build::agent(workspace, &object)?;
    // cargo-deb finds files beside the program, wherever the target directory is.
    let generated = agent.with_file_name("package");
    // A page of a command that is gone must not stay.
    if generated.exists() {
        fs::remove_dir_all(&generated)?;
    }
    let [manual, completions] = ["man", "completions"].map(|name| generated.join(name));
    for directory in [&manual, &completions] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    manual::write(Cli::command(), &manual)?;
    completions::write(&mut Cli::command(), &completions)?;
    let mut deb = workspace.program(&cargo_deb);
    deb.args(["--package=nat-userspace", "--no-build", "--locked"]);
    command::run(&mut deb)?;
    Ok(ExitCode::SUCCESS)
}
