//! `cargo xtask bench`: what sipnat costs.

use std::{
    ffi::OsString,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build, command, kernel,
    packages::{self, Install},
    workspace::Workspace,
};

/// The kernel programs of the benchmarks.
const OBJECT: &str = "SIPNAT_BENCH_OBJECT";

/// Builds everything and runs the benchmarks, whose exit code is ours.
pub(crate) fn bench(
    workspace: &Workspace,
    install: Install,
    arguments: &[OsString],
) -> Result<ExitCode> {
    let gaps = kernel::gaps();
    if !gaps.is_empty() {
        bail!("the benchmarks need {}", gaps.join("; "));
    }
    packages::ensure(&packages::BENCH, install)?;
    let object = build::kernel_programs(workspace, install)?;
    let programs = build::programs(workspace, install, build::BENCH)?;
    let agent = build::agent(workspace, &object)?;
    let mut cargo = workspace.cargo("build");
    cargo
        .args(["--release", "--package=nat-tests", "--bin=sipnat-bench"])
        .env(build::OBJECT, &object);
    command::run(&mut cargo)?;

    let bench = workspace.target.join("release/sipnat-bench");
    let status = Command::new(&bench)
        .args(arguments)
        .env(build::OBJECT, object)
        .env(build::AGENT, agent)
        .env(OBJECT, programs)
        .status()
        .with_context(|| format!("cannot run {}", bench.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
