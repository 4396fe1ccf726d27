//! `cargo xtask bench`: what sipnat costs.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build, kernel,
    packages::{self, Install},
    vm,
    workspace::Workspace,
};

/// The kernel programs of the benchmarks.
const OBJECT: &str = "SIPNAT_BENCH_OBJECT";
/// The part that takes a kernel of its own where this one has no pktgen.
const PKTGEN: &str = "pktgen";

/// Builds everything and runs the benchmarks, whose exit code is ours.
pub(crate) fn bench(
    workspace: &Workspace,
    install: Install,
    arguments: &[OsString],
) -> Result<ExitCode> {
    let elsewhere = is_wanted(arguments) && !has_pktgen();
    let mut here = arguments.to_vec();
    if elsewhere {
        here.retain(|argument| argument != PKTGEN);
    }
    let mut code = ExitCode::SUCCESS;
    // Nothing named is all.
    if names(&here).next().is_some() || names(arguments).next().is_none() {
        code = measure(workspace, install, &here)?;
    }
    if elsewhere {
        eprintln!("this kernel has no pktgen: on one that has, in a virtual machine");
        let json = arguments.iter().any(|argument| argument == "--json");
        if !vm::bench_pktgen(workspace, install, json)? {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The parts that are named.
fn names(arguments: &[OsString]) -> impl Iterator<Item = &OsString> {
    let mut is_value = false;
    arguments.iter().filter(move |argument| {
        let was_value = is_value;
        // The others that take one come with --iface, and are not looked at.
        is_value = *argument == "--chart";
        !was_value && !argument.to_string_lossy().starts_with('-')
    })
}

/// Whether packets of pktgen are to stay on this machine.
fn is_wanted(arguments: &[OsString]) -> bool {
    const OTHERWISE: [&str; 3] = ["--iface", "--help", "-h"];
    let otherwise = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        OTHERWISE.iter().any(|other| argument.starts_with(other))
    };
    let mut named = names(arguments).peekable();
    !arguments.iter().any(otherwise) && (named.peek().is_none() || named.any(|name| name == PKTGEN))
}

fn has_pktgen() -> bool {
    let there = || Path::new("/proc/net/pktgen").exists();
    // A module, if not a part of the kernel.
    let load = || Command::new("modprobe").args(["--quiet", PKTGEN]).status();
    there() || (load().is_ok() && there())
}

fn measure(workspace: &Workspace, install: Install, arguments: &[OsString]) -> Result<ExitCode> {
    let gaps = kernel::gaps();
    if !gaps.is_empty() {
        bail!("the benchmarks need {}", gaps.join("; "));
    }
    packages::ensure(&packages::BENCH, install)?;
    let object = build::kernel_programs(workspace, install)?;
    let programs = build::programs(workspace, install, build::BENCH)?;
    let agent = build::agent(workspace, &object)?;
    let bench = build::bench(workspace, &object)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pktgen_is_wanted_when_named_or_nothing_is() {
        for (arguments, wanted) in [
            (&[][..], true),
            (&["--json", "--no-check"], true),
            (&["pktgen", "--json"], true),
            (&["program", "pktgen"], true),
            (&["program", "wire"], false),
            (&["--chart", "docs"], true),
            (&["--chart", "docs", "program"], false),
            (&["--help"], false),
            (&["pktgen", "--iface", "eth1"], false),
            (&["--iface=eth1"], false),
        ] {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(is_wanted(&arguments), wanted, "{arguments:?}");
        }
    }
}
