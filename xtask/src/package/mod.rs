//! `cargo xtask package`: the Debian package. cargo-deb makes it of the files that `nat-userspace/Cargo.toml` lists.

mod check;
mod completions;
mod manual;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use clap::CommandFactory as _;
use nat_userspace::cli::Cli;

use crate::{architecture::Architecture, build::Build, command, tools};

/// Makes the package, and checks it if wanted. Prints its path.
pub(crate) fn package(build: Build<'_>, check: bool) -> Result<ExitCode> {
    let is_foreign = build.architecture != Architecture::HOST;
    ensure!(
        !(check && is_foreign),
        "--check runs the package, so it needs a machine of its architecture"
    );
    let package = make(build)?;
    println!("{}", package.display());
    if check {
        check::check(build.workspace, build.install, &package)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds sipnat, writes its man pages and completions, and packs all of it.
fn make(build: Build<'_>) -> Result<PathBuf> {
    let cargo_deb = tools::cargo_deb(build.workspace)?;
    let object = build.kernel_programs()?;
    let agent = build.agent(&object)?;
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
    let mut deb = build.workspace.program(&cargo_deb);
    deb.args(["--package=nat-userspace", "--no-build", "--locked"]);
    if build.architecture != Architecture::HOST {
        deb.args(["--target", build.architecture.target()]);
    }
    // The last line that it prints is the path.
    let path = command::output(&mut deb)?;
    let path = path.lines().last().context("cargo-deb named no package")?;
    Ok(Path::new(path).into())
}
