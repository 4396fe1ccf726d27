//! `cargo xtask test`: the layers, one after the other, and one summary.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{ExitCode, Stdio},
    time::Instant,
};

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    build, command,
    image::Series,
    kernel,
    packages::{self, Install},
    summary::{Outcome, Summary},
    vm,
    workspace::Workspace,
};

/// Lab tests wait for timers more than they compute, but each brings several processes.
const LAB_THREADS: &str = "2";

/// Where a test runs.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Layer {
    /// Everything that needs neither root nor an eBPF toolchain
    Host,
    /// The kernel programs on crafted frames; needs root
    TestRun,
    /// Network namespaces with real SIP software; needs root
    Lab,
    /// Many phones for a minute, or as long as its arguments say; only when it is named; needs root
    Soak,
}

/// What runs when no layer is named.
const DEFAULT: [Layer; 3] = [Layer::Host, Layer::TestRun, Layer::Lab];

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::TestRun => "test-run",
            Self::Lab => "lab",
            Self::Soak => "soak",
        }
    }

    /// Cargo's subcommand that runs it: the soak is a program.
    fn subcommand(self) -> &'static str {
        if self == Self::Soak { "run" } else { "test" }
    }

    /// The arguments of each run of cargo that makes up this layer.
    fn commands(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Host => &[
                &[
                    "--no-fail-fast",
                    "--package=nat-common",
                    "--package=nat-test-oracle",
                    "--package=nat-test-support",
                    "--package=nat-userspace",
                    "--package=xtask",
                ],
                &["--no-fail-fast", "--package=nat-tests", "--bins"],
                // Its binary is for the kernel.
                &["--no-fail-fast", "--package=nat-bench-ebpf", "--lib"],
            ],
            Self::TestRun => &[&["--no-fail-fast", "--package=nat-tests", "--test=test_run"]],
            Self::Lab => &[&["--no-fail-fast", "--package=nat-tests", "--test=lab"]],
            Self::Soak => &[&["--release", "--package=nat-tests", "--bin=sipnat-soak"]],
        }
    }
}

/// Runs the layers, the usual ones if neither layer nor kernel is named, and fails if one test failed.
pub(crate) fn test(
    workspace: &Workspace,
    install: Install,
    layers: &[Layer],
    kernels: &[Series],
    args: &[OsString],
) -> Result<ExitCode> {
    let layers = if layers.is_empty() && kernels.is_empty() {
        &DEFAULT
    } else {
        layers
    };
    let mut summary = Summary::default();
    for &layer in layers {
        let start = Instant::now();
        let mut outcome = match prepare(workspace, install, layer) {
            Ok(Ready::Run(environment)) => run(workspace, layer, &environment, args),
            Ok(Ready::Gaps(gaps)) => {
                let reason = format!("this machine lacks {}", gaps.join("; "));
                if is_ci() {
                    Outcome::failed(&format!("{reason} (a skip is a failure when CI is set)"))
                } else {
                    Outcome::skipped(&reason)
                }
            }
            Err(error) => Outcome::failed(&format!("{error:#}")),
        };
        outcome.time = start.elapsed();
        summary.0.push((layer.name(), outcome));
    }
    if !kernels.is_empty() {
        summary.0.extend(vm::test(workspace, install, kernels));
    }
    println!("\n{summary}");
    Ok(if summary.total().failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Can a layer run?
enum Ready {
    /// Yes, in this environment.
    Run(Vec<(&'static str, PathBuf)>),
    /// No: this is missing.
    Gaps(Vec<String>),
}

fn prepare(workspace: &Workspace, install: Install, layer: Layer) -> Result<Ready> {
    if layer == Layer::Host {
        return Ok(Ready::Run(Vec::new()));
    }
    let gaps = kernel::gaps();
    if !gaps.is_empty() {
        return Ok(Ready::Gaps(gaps));
    }
    if matches!(layer, Layer::Lab | Layer::Soak) {
        packages::ensure(&packages::LAB, install)?;
    }
    let object = build::kernel_programs(workspace, install)?;
    let agent = build::agent(workspace, &object)?;
    Ok(Ready::Run(vec![
        (build::OBJECT, object),
        (build::AGENT, agent),
    ]))
}

/// Runs the layer's tests, shows what they print, and counts.
fn run(
    workspace: &Workspace,
    layer: Layer,
    environment: &[(&str, PathBuf)],
    args: &[OsString],
) -> Outcome {
    let mut outcome = Outcome::default();
    for arguments in layer.commands() {
        let mut cargo = workspace.cargo(layer.subcommand());
        cargo
            .args(*arguments)
            .arg("--")
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        if layer == Layer::Lab && env::var_os("RUST_TEST_THREADS").is_none() {
            cargo.env("RUST_TEST_THREADS", LAB_THREADS);
        }
        let failed_before = outcome.counts.failed;
        if let Err(error) = command::follow(&mut cargo, |line| {
            println!("{line}");
            outcome.read(line);
        }) {
            // It may be a build that failed, or a test binary that crashed: both without a result line.
            if outcome.counts.failed == failed_before {
                outcome.fail(&format!("{error:#}"));
            }
        }
    }
    outcome
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
