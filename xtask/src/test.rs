//! `cargo xtask test`: runs the layers one after the other, and prints one summary.

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
    build::{self, Build},
    command,
    debootstrap::Root,
    kernel,
    packages::{self, Install},
    pjsua2,
    summary::{Outcome, Summary},
    vm::{self, Series},
    workspace::Workspace,
};

/// Number of lab tests at a time. They mostly wait for timers, but each runs several processes.
const LAB_THREADS: &str = "2";

/// Debians with the PBXs of the layer interop, and the variables that name their folders.
const DEBIANS: [(&str, Root); 3] = [
    (
        "SIPNAT_ASTERISK_22",
        Root {
            name: "asterisk-sid",
            suite: "sid",
            packages: "asterisk",
            why: "is a PBX of the interop tests",
            megabytes: 410,
        },
    ),
    (
        "SIPNAT_ASTERISK_16",
        Root {
            name: "asterisk-bullseye",
            suite: "bullseye",
            packages: "asterisk",
            why: "is a PBX of the interop tests",
            megabytes: 350,
        },
    ),
    (
        "SIPNAT_KAMAILIO_6",
        Root {
            name: "kamailio-sid",
            suite: "sid",
            packages: "kamailio",
            why: "is a PBX of the interop tests",
            megabytes: 330,
        },
    ),
];

/// A group of tests with the same requirements.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Layer {
    /// Tests that need neither root nor an eBPF toolchain
    Host,
    /// Kernel programs on crafted frames; needs root
    TestRun,
    /// Network namespaces with real SIP software; needs root
    Lab,
    /// Real PBXs, each in a Debian of its own; runs only if it is named; needs root
    Interop,
    /// Many phones for a minute or for --minutes; runs only if it is named; needs root
    Soak,
}

/// Layers that run if none is named.
const DEFAULT: [Layer; 3] = [Layer::Host, Layer::TestRun, Layer::Lab];

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::TestRun => "test-run",
            Self::Lab => "lab",
            Self::Interop => "interop",
            Self::Soak => "soak",
        }
    }

    /// Cargo subcommand that runs this layer. The soak is a program, the others are test binaries.
    fn subcommand(self) -> &'static str {
        if self == Self::Soak { "run" } else { "test" }
    }

    /// Arguments of each cargo run of this layer.
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
                // The binary of this package is for the kernel.
                &["--no-fail-fast", "--package=nat-bench-ebpf", "--lib"],
            ],
            Self::TestRun => &[&["--no-fail-fast", "--package=nat-tests", "--test=test_run"]],
            Self::Lab => &[&["--no-fail-fast", "--package=nat-tests", "--test=lab"]],
            Self::Interop => &[&["--no-fail-fast", "--package=nat-tests", "--test=interop"]],
            Self::Soak => &[&["--release", "--package=nat-tests", "--bin=sipnat-soak"]],
        }
    }
}

/// Runs the layers and the tests on other kernels. Fails if a test failed.
///
/// Without a layer and a kernel, it runs the default layers.
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

/// Readiness of a layer.
enum Ready {
    /// The layer can run with these environment variables.
    Run(Vec<(&'static str, PathBuf)>),
    /// The layer cannot run: these requirements are missing.
    Gaps(Vec<String>),
}

/// Installs and builds what a layer needs, if this machine can run it.
fn prepare(workspace: &Workspace, install: Install, layer: Layer) -> Result<Ready> {
    if layer == Layer::Host {
        return Ok(Ready::Run(Vec::new()));
    }
    let gaps = kernel::gaps();
    if !gaps.is_empty() {
        return Ok(Ready::Gaps(gaps));
    }
    if matches!(layer, Layer::Lab | Layer::Interop | Layer::Soak) {
        packages::ensure(&packages::LAB, install)?;
    }
    let mut environment = Vec::new();
    if layer == Layer::Interop {
        packages::ensure(&packages::INTEROP, install)?;
        environment.push(("SIPNAT_PJSUA2", pjsua2::folder()?));
        for (variable, root) in DEBIANS {
            environment.push((variable, root.folder(install)?));
        }
    }
    let build = Build::here(workspace, install);
    let object = build.kernel_programs()?;
    let agent = build.agent(&object)?;
    environment.extend([(build::OBJECT, object), (build::AGENT, agent)]);
    Ok(Ready::Run(environment))
}

/// Runs the tests of a layer, prints their output, and counts their results.
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
        if matches!(layer, Layer::Lab | Layer::Interop)
            && env::var_os("RUST_TEST_THREADS").is_none()
        {
            cargo.env("RUST_TEST_THREADS", LAB_THREADS);
        }
        let failed_before = outcome.counts.failed;
        if let Err(error) = command::follow(&mut cargo, |line| {
            println!("{line}");
            outcome.read(line);
        }) {
            // A failed build and a crashed test binary print no result line.
            if outcome.counts.failed == failed_before {
                outcome.fail(&format!("{error:#}"));
            }
        }
    }
    outcome
}

/// Whether this is a CI run. Many CI systems set the variable CI.
fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
