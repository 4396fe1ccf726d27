//! `cargo xtask`: everything that is done with this repository, by one command each.

mod bench;
mod build;
mod callbacks;
mod checks;
mod command;
mod debian;
mod demo;
mod fuzz;
mod image;
mod initramfs;
mod kernel;
mod lint;
mod packages;
mod run;
mod summary;
mod test;
mod toolchain;
mod tools;
mod vm;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    demo::What, fuzz::Target, image::Series, packages::Install, test::Layer, workspace::Workspace,
};

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                         a dead re-INVITE, and the same one alive with sipnat
  cargo xtask demo stun                    a phone that learns its address by STUN, and needs no redirect
  cargo xtask build                        target/release/sipnat, with the kernel programs inside
  cargo xtask run --iface eth0             build, then run the agent on a real interface
  cargo xtask test                         all tests, one summary
  cargo xtask test host                    only the tests that need neither root nor eBPF
  cargo xtask test lab -- three_phones     only the lab tests with that in their name
  cargo xtask test --kernel 6.1            the tests on another kernel, in a virtual machine; or 6.12, or both
  cargo xtask test soak                    200 phones behind 10 NATs for a minute, and junk beside them
  cargo xtask test soak -- --phones 2000 --nats 50 --minutes 10
  cargo xtask bench                        what it costs, as tables
  cargo xtask bench program --json         only the kernel programs, for machines to read
  cargo xtask bench pktgen                 packets of the kernel's generator; see docs/benchmarks.md for two machines
  cargo xtask fuzz decide --minutes 60     an hour of any messages through the decisions
  cargo xtask check                        arrows between modules, the ABI's number, words of comments
  cargo xtask --no-install demo            install nothing, say what is missing";

/// Builds, runs, demonstrates and tests sipnat.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    /// Install no system package and no Rust component: say what is missing, and how to get it.
    #[arg(long, global = true)]
    no_install: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel programs and the agent: target/release/sipnat
    Build,
    /// Build, then become `sipnat run` with these arguments
    Run {
        /// Arguments of `sipnat run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        args: Vec<OsString>,
    },
    /// Build, then show the re-INVITE that dies without sipnat and arrives with it
    Demo {
        /// Something else than the re-INVITE
        what: Option<What>,
    },
    /// Run the tests and print one summary
    Test {
        /// The layers to run; when none is named, all but the soak
        layers: Vec<Layer>,
        /// A kernel to test on, in a virtual machine; only those when no layer is named
        #[arg(long = "kernel", value_name = "SERIES")]
        kernels: Vec<Series>,
        /// Arguments of the test binaries, such as part of a test's name; for the soak --phones, --nats, --minutes
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Fuzz what nat-common decides and reads, with cargo-fuzz
    Fuzz {
        /// The targets to run, one after the other; all of them when none is named
        targets: Vec<Target>,
        /// How long each is run; 0 tries only what was found before
        #[arg(long, value_name = "N", default_value_t = 10)]
        minutes: u64,
    },
    /// Measure what sipnat costs; fails when a figure misses what it must reach
    Bench {
        /// Arguments of the benchmarks: the parts to run, --json, --no-check; see --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check what compilers do not: the order of modules, the ABI's number, the words of comments
    #[command(after_help = checks::EXAMPLES)]
    Check(checks::Arguments),
    /// Lint the kernel programs, which the workspace's own `cargo clippy` cannot build
    ClippyEbpf,
    /// Check licences, duplicates and origins of the dependencies with cargo-deny
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
        Task::Build => {
            let object = build::kernel_programs(&workspace, install)?;
            let agent = build::agent(&workspace, &object)?;
            println!("{}", agent.display());
            Ok(ExitCode::SUCCESS)
        }
        Task::Run { args } => run::run(&workspace, install, args),
        Task::Demo { what } => demo::demo(&workspace, install, *what),
        Task::Test {
            layers,
            kernels,
            args,
        } => test::test(&workspace, install, layers, kernels, args),
        Task::Bench { args } => bench::bench(&workspace, install, args),
        Task::Fuzz { targets, minutes } => fuzz::fuzz(&workspace, install, targets, *minutes),
        Task::Check(arguments) => checks::check(&workspace, arguments),
        Task::ClippyEbpf => lint::clippy_ebpf(&workspace, install),
        Task::Deny => lint::deny(&workspace),
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
    fn run_passes_everything_on() {
        let cli = Cli::try_parse_from(["xtask", "run", "--iface", "eth0", "--port", "5060"]);
        let Task::Run { args } = cli.unwrap().task else {
            panic!("not parsed as run");
        };
        assert_eq!(args, ["--iface", "eth0", "--port", "5060"]);
    }

    #[test]
    fn test_takes_layers_and_arguments_apart() {
        let cli = Cli::try_parse_from(["xtask", "test", "host", "test-run", "--", "scan"]);
        let Task::Test { layers, args, .. } = cli.unwrap().task else {
            panic!("not parsed as test");
        };
        assert_eq!(layers, [Layer::Host, Layer::TestRun]);
        assert_eq!(args, ["scan"]);
    }
}
