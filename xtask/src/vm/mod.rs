//! Tests, benchmarks and the verifier on another kernel, in a virtual machine.
//!
//! qemu emulates every instruction, so that neither hardware support nor access to /dev/kvm is needed.

mod debian;
mod image;
mod initramfs;
mod machine;
mod programs;
mod root;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

pub(crate) use self::image::Series;

use self::machine::Programs;
use crate::{
    architecture::Architecture, build::Build, packages::Install, summary::Outcome,
    workspace::Workspace,
};

/// Steps of the tests on every kernel: names and commands.
const STEPS: &str = "\
test-run /usr/bin/test_run --show-output
agent /usr/bin/lab agent::attach::ready agent::attach::one_agent agent::attach::a_driver agent::attach::the_clsact
slide /usr/bin/lab slide::
";
/// Step that counts what the kernel's generator sends. It says nothing about another architecture that the tests do not.
const PKTGEN_STEP: &str = "\
pktgen /usr/bin/sipnat-bench pktgen --emulated
";
/// Steps of the oldest kernel. It has no tcx: with tcx, an agent takes over links as on this machine, whose lab tests that. And it is the
/// nearest to the kernels that let nobody without capabilities read maps.
const OLDEST_STEPS: &str = "\
leftovers /usr/bin/lab agent::leftovers::what_was_kept agent::leftovers::a_new agent::leftovers::detach
user /usr/bin/lab agent::user::a_group agent::user::what_only
";
/// Name of the benchmark step. It is no test binary, so it prints no number of passed tests.
const PKTGEN: &str = "pktgen";
/// Line of the init script after that step succeeded.
const PKTGEN_PASSED: &str = "vm: passed pktgen";

/// Builds everything, and runs the tests on each kernel.
pub(crate) fn test(
    workspace: &Workspace,
    install: Install,
    kernels: &[Series],
) -> Vec<(&'static str, Outcome)> {
    let mut built: Vec<(Architecture, Result<Programs>, Duration)> = Vec::new();
    for architecture in kernels.iter().map(|series| series.architecture()) {
        if built.iter().all(|(known, ..)| *known != architecture) {
            let start = Instant::now();
            let programs = programs::for_tests(Build::of(workspace, install, architecture));
            built.push((architecture, programs, start.elapsed()));
        }
    }
    let test = &|series: Series| {
        let mut built = built.iter();
        let (_, programs, build_time) = built
            .find(|(architecture, ..)| *architecture == series.architecture())
            .expect("built above");
        let start = Instant::now();
        let mut outcome = match programs {
            Ok(programs) => test_on(workspace, series, programs),
            Err(error) => Outcome::failed(&format!("{error:#}")),
        };
        outcome.time = *build_time + start.elapsed();
        (series.name(), outcome)
    };
    // The kernels run at the same time, since their tests wait as much as they compute.
    thread::scope(|scope| {
        let threads: Vec<_> = kernels
            .iter()
            .map(|&series| scope.spawn(move || test(series)))
            .collect();
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect()
    })
}

/// Runs the tests on one kernel, and counts their results.
fn test_on(workspace: &Workspace, series: Series, programs: &Programs) -> Outcome {
    let mut outcome = Outcome::default();
    let mut steps = STEPS.to_owned();
    if !series.has_tcx() {
        steps.push_str(OLDEST_STEPS);
    }
    if series.architecture() == Architecture::HOST {
        steps.push_str(PKTGEN_STEP);
    }
    let done = machine::run(workspace, series, programs, &steps, |line| {
        println!("{}: {line}", series.name());
        outcome.read(line);
        if let Some(name) = line.strip_prefix("vm: failed ") {
            outcome.fail(name);
        }
        outcome.counts.passed += u64::from(line == PKTGEN_PASSED);
    });
    match done {
        Ok(true) => {}
        Ok(false) => outcome.fail("the kernel did not run all steps"),
        Err(error) => outcome.fail(&format!("{error:#}")),
    }
    outcome
}

/// Name of the verifier's step.
const VERIFIER: &str = "verifier";

/// Shows where the verifier of a kernel spends its visits. Returns whether it takes the programs.
pub(crate) fn verifier(
    workspace: &Workspace,
    install: Install,
    series: Series,
    arguments: &[String],
) -> Result<bool> {
    let build = Build::of(workspace, install, series.architecture());
    let programs = programs::for_verifier(build)?;
    let object = programs::OBJECT;
    let arguments = arguments.join(" ");
    let steps = format!("{VERIFIER} /usr/bin/sipnat-verifier --object={object} {arguments}\n");
    let (mut passed, mut within) = (false, false);
    let done = machine::run(workspace, series, &programs, &steps, |line| {
        // Lines of the init script, and of the kernel before it.
        let own = line.starts_with("vm: ");
        passed |= line == format!("vm: passed {VERIFIER}");
        if within && !own {
            println!("{line}");
        } else {
            eprintln!("{line}");
        }
        within |= line.starts_with("vm: kernel ");
    })?;
    Ok(done && passed)
}

/// Runs the pktgen benchmark on a kernel that has pktgen. Returns whether it passed.
pub(crate) fn bench_pktgen(workspace: &Workspace, install: Install, json: bool) -> Result<bool> {
    let programs = programs::for_benchmarks(Build::here(workspace, install))?;
    let json = if json { " --json" } else { "" };
    let steps = format!("{PKTGEN} /usr/bin/sipnat-bench pktgen --emulated{json}\n");
    // With --json, only the JSON object goes to standard output.
    let (mut passed, mut within) = (false, json.is_empty());
    let done = machine::run(workspace, Series::V6_12, &programs, &steps, |line| {
        passed |= line == PKTGEN_PASSED;
        within |= line == "{";
        if within && !line.starts_with("vm: ") {
            println!("{line}");
        } else {
            eprintln!("{line}");
        }
        within &= json.is_empty() || line != "}";
    })?;
    Ok(done && passed)
}
