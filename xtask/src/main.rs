//! `cargo xtask`: one command for each task in this repository.

mod architecture;
mod bench;
mod build;
mod callbacks;
mod checks;
mod command;
mod debootstrap;
mod demo;
mod fuzz;
mod kernel;
mod lint;
mod mutants;
mod package;
mod packages;
mod pjsua2;
mod run;
mod summary;
mod test;
mod toolchain;
mod tools;
mod verifier;
mod vm;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    architecture::Architecture, build::Build, demo::Scenario, fuzz::Target, packages::Install,
    test::Layer, vm::Series, workspace::Workspace,
};

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                         a re-INVITE dies without sipnat, and arrives with it
  cargo xtask demo media                   a phone hears the PBX with --media, and nothing without
  cargo xtask demo stun                    a phone learns its address by STUN, and needs no redirect
  cargo xtask build                        target/release/sipnat, which contains the kernel programs
  cargo xtask build --target aarch64-unknown-linux-gnu    for a Raspberry Pi
  cargo xtask package                      target/debian/sipnat_*.deb
  cargo xtask package --check              also install, run and purge it in a fresh Debian
  cargo xtask run --iface eth0             build, then run the agent on a real interface
  cargo xtask test                         all tests, one summary
  cargo xtask test host                    only the tests that need neither root nor eBPF
  cargo xtask test lab -- three_phones     only the lab tests whose name contains three_phones
  cargo xtask test --kernel 6.1            the tests on kernel 6.1 (or 6.12, 6.12-arm64), in a virtual machine
  cargo xtask test interop                 real PBXs: Asterisk 22 and 16, Kamailio 5 and 6, in Debians that are made once
  cargo xtask test soak                    200 phones behind 10 NATs for a minute, with junk packets
  cargo xtask test soak -- --phones 2000 --nats 50 --minutes 10
  cargo xtask test soak -- --kills 50 --minutes 3
  cargo xtask bench                        all benchmarks, as tables
  cargo xtask bench program --json         only the kernel programs, as JSON
  cargo xtask bench pktgen                 the kernel's packet generator; see docs/benchmarks.md
  cargo xtask verifier --program ingress   where the kernel's verifier spends its visits
  cargo xtask fuzz decide --minutes 60     an hour of random messages through the decisions
  cargo xtask mutants                      each rule of the decisions taken out: does a test fail?
  cargo xtask check                        module order, ABI number, first words of comments
  cargo xtask --no-install demo            install nothing, name what is missing";

/// Builds, runs, demonstrates and tests sipnat.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    /// Install no system package and no Rust component, but name each missing one and its install command.
    #[arg(long, global = true)]
    no_install: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel programs and the agent: target/release/sipnat
    Build {
        /// Build for this machine, or for another architecture: target/aarch64-unknown-linux-gnu/release/sipnat
        #[arg(long, default_value = Architecture::HOST.target())]
        target: Architecture,
    },
    /// Build, then make the Debian package: program, unit, configuration, man pages, completions
    Package {
        /// Also install, run, upgrade and purge it in a fresh Debian; needs root
        #[arg(long)]
        check: bool,
        /// Make it for this machine, or for another architecture
        #[arg(long, default_value = Architecture::HOST.target())]
        target: Architecture,
    },
    /// Build, then exec `sipnat run` with these arguments
    Run {
        /// Arguments of `sipnat run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        args: Vec<OsString>,
    },
    /// Build, then show a re-INVITE that dies without sipnat and arrives with it
    Demo {
        /// Another scenario than the re-INVITE
        scenario: Option<Scenario>,
    },
    /// Run the tests and print one summary
    Test {
        /// Layers to run; without any, all except the soak
        layers: Vec<Layer>,
        /// Kernel to test on, in a virtual machine; repeatable; without a layer, no test runs on the host's own kernel
        #[arg(long = "kernel", value_name = "SERIES")]
        kernels: Vec<Series>,
        /// Arguments of the test binaries, such as part of a test's name; the soak takes --phones, --nats, --minutes, --kills
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Fuzz the parsers and decisions of nat-common with cargo-fuzz
    Fuzz {
        /// Targets to run, one after the other; without any, all
        targets: Vec<Target>,
        /// Minutes for each target; 0 replays only the stored inputs
        #[arg(long, value_name = "N", default_value_t = 10)]
        minutes: u64,
    },
    /// Measure the cost of sipnat; fails if a figure misses its requirement
    Bench {
        /// Arguments of the benchmarks: parts to run, --json, --no-check; see `cargo xtask bench -- --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Show where the kernel's verifier spends its visits, by function and source line
    #[command(after_help = verifier::EXAMPLES)]
    Verifier(verifier::Arguments),
    /// Check module order, the ABI number and the first words of comments
    #[command(after_help = checks::EXAMPLES)]
    Check(checks::Arguments),
    /// Change each rule of nat-common, one at a time: some test must fail
    #[command(after_help = mutants::EXAMPLES)]
    Mutants(mutants::Arguments),
    /// Lint the kernel programs, which plain `cargo clippy` cannot build
    ClippyEbpf,
    /// Check licences, duplicates and sources of the dependencies with cargo-deny
    Deny,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let install = if cli.no_install {
        Install::Never
    } else {
        Install::Missing
    };
    match perform(&cli.task, install) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task, install: Install) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Build { target } => {
            let build = Build::of(&workspace, install, *target);
            let object = build.kernel_programs()?;
            let agent = build.agent(&object)?;
            println!("{}", agent.display());
            Ok(ExitCode::SUCCESS)
        }
        Task::Run { args } => run::run(&workspace, install, args),
        Task::Demo { scenario } => demo::demo(&workspace, install, *scenario),
        Task::Test {
            layers,
            kernels,
            args,
        } => test::test(&workspace, install, layers, kernels, args),
        Task::Bench { args } => bench::bench(&workspace, install, args),
        Task::Fuzz { targets, minutes } => fuzz::fuzz(&workspace, install, targets, *minutes),
        Task::Verifier(arguments) => verifier::verifier(&workspace, install, arguments),
        Task::Check(arguments) => checks::check(&workspace, arguments),
        Task::Mutants(arguments) => mutants::mutants(&workspace, arguments),
        Task::ClippyEbpf => lint::clippy_ebpf(&workspace, install),
        Task::Deny => lint::deny(&workspace),
        Task::Package { check, target } => {
            package::package(Build::of(&workspace, install, *target), *check)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_passes_all_arguments_on() {
        let cli = Cli::try_parse_from(["xtask", "run", "--iface", "eth0", "--port", "5060"]);
        let Task::Run { args } = cli.unwrap().task else {
            panic!("not parsed as run");
        };
        assert_eq!(args, ["--iface", "eth0", "--port", "5060"]);
    }

    #[test]
    fn bench_passes_help_on() {
        let cli = Cli::try_parse_from(["xtask", "bench", "--", "--help"]);
        let Task::Bench { args } = cli.unwrap().task else {
            panic!("not parsed as bench");
        };
        assert_eq!(args, ["--help"]);
    }

    #[test]
    fn test_separates_layers_from_arguments() {
        let cli = Cli::try_parse_from(["xtask", "test", "host", "test-run", "--", "scan"]);
        let Task::Test { layers, args, .. } = cli.unwrap().task else {
            panic!("not parsed as test");
        };
        assert_eq!(layers, [Layer::Host, Layer::TestRun]);
        assert_eq!(args, ["scan"]);
    }
}
