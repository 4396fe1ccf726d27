//! `cargo xtask package`: the Debian package. cargo-deb makes it of the files that `nat-userspace/Cargo.toml` lists.

mod check;
mod completions;
mod manual;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use nat_userspace::cli::Cli;

use crate::{build, command, packages::Install, tools, workspace::Workspace};

/// Makes the package, and checks it if wanted. Prints its path.
pub(crate) fn package(workspace: &Workspace, install: Install, check: bool) -> Result<ExitCode> {
    let package = make(workspace, install)?;
    println!("{}", package.display());
    if check {
        check::check(workspace, install, &package)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds sipnat, writes its man pages and completions, and packs all of it.
fn make(workspace: &Workspace, install: Install) -> Result<PathBuf> {
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
    // The last line that it prints is the path.
    let path = command::output(&mut deb)?;
    let path = path.lines().last().context("cargo-deb named no package")?;
    Ok(Path::new(path).into())
}
