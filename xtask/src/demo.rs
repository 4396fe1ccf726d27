//! `cargo xtask demo`: a re-INVITE that dies without sipnat and arrives with it. `demo media` shows audio, `demo stun` STUN.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{
    build::{self, Build},
    command, kernel,
    packages::{self, Install},
    workspace::Workspace,
};

/// A scenario other than the re-INVITE.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Scenario {
    /// A phone that hears the PBX with `--media`, and nothing without
    Media,
    /// A phone that learns its address from sipnat by STUN, and needs no redirect
    Stun,
}

/// Builds everything, runs the demo and returns its exit code.
pub(crate) fn demo(
    workspace: &Workspace,
    install: Install,
    scenario: Option<Scenario>,
) -> Result<ExitCode> {
    let gaps = kernel::gaps();
    if !gaps.is_empty() {
        bail!("the demo needs {}", gaps.join("; "));
    }
    packages::ensure(&packages::LAB, install)?;
    let build = Build::here(workspace, install);
    let object = build.kernel_programs()?;
    let agent = build.agent(&object)?;
    let mut cargo = workspace.cargo("build");
    // A release build shares the dependencies that were built for the agent.
    cargo
        .args(["--release", "--package=nat-tests", "--bin=sipnat-demo"])
        .env(build::OBJECT, &object);
    command::run(&mut cargo)?;

    let demo = workspace.target.join("release/sipnat-demo");
    let status = Command::new(&demo)
        .args(scenario.map(|scenario| match scenario {
            Scenario::Media => "media",
            Scenario::Stun => "stun",
        }))
        .env(build::OBJECT, object)
        .env(build::AGENT, agent)
        .status()
        .with_context(|| format!("cannot run {}", demo.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
