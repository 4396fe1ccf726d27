//! `cargo xtask bench`: the cost of sipnat.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Build},
    kernel,
    packages::{self, Install},
    vm,
    workspace::Workspace,
};

/// Environment variable with the path of the benchmarks' kernel programs.
const OBJECT: &str = "SIPNAT_BENCH_OBJECT";
/// Part of the benchmarks that runs in a virtual machine if this kernel has no pktgen.
const PKTGEN: &str = "pktgen";

/// Builds everything, runs the benchmarks and returns their exit code.
pub(crate) fn bench(
    workspace: &Workspace,
    install: Install,
    arguments: &[OsString],
) -> Result<ExitCode> {
    let in_vm = is_pktgen_selected(arguments) && !has_pktgen();
    let mut here = arguments.to_vec();
    if in_vm {
        here.retain(|argument| argument != PKTGEN);
    }
    let mut code = ExitCode::SUCCESS;
    // Without a name, all parts run.
    if names(&here).next().is_some() || names(arguments).next().is_none() {
        code = measure(workspace, install, &here)?;
    }
    if in_vm {
        eprintln!("this kernel has no pktgen: running it on another kernel, in a virtual machine");
        let json = arguments.iter().any(|argument| argument == "--json");
        if !vm::bench_pktgen(workspace, install, json)? {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Names of parts among the arguments.
fn names(arguments: &[OsString]) -> impl Iterator<Item = &OsString> {
    let mut is_value = false;
    arguments.iter().filter(move |argument| {
        let was_value = is_value;
        // The other options with a value need --iface, and then no part runs in a virtual machine.
        is_value = *argument == "--chart";
        !was_value && !argument.to_string_lossy().starts_with('-')
    })
}

/// Whether the arguments select the pktgen part without a real interface.
fn is_pktgen_selected(arguments: &[OsString]) -> bool {
    const EXCLUDING: [&str; 3] = ["--iface", "--help", "-h"];
    let excludes = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        EXCLUDING.iter().any(|option| argument.starts_with(option))
    };
    let mut named = names(arguments).peekable();
    !arguments.iter().any(excludes) && (named.peek().is_none() || named.any(|name| name == PKTGEN))
}

fn has_pktgen() -> bool {
    let is_loaded = || Path::new("/proc/net/pktgen").exists();
    // pktgen is a module, or built into the kernel.
    let load = || Command::new("modprobe").args(["--quiet", PKTGEN]).status();
    is_loaded() || (load().is_ok() && is_loaded())
}

fn measure(workspace: &Workspace, install: Install, arguments: &[OsString]) -> Result<ExitCode> {
    let gaps = kernel::gaps();
    if !gaps.is_empty() {
        bail!("the benchmarks need {}", gaps.join("; "));
    }
    packages::ensure(&packages::BENCH, install)?;
    let build = Build::here(workspace, install);
    let object = build.kernel_programs()?;
    let programs = build.programs(build::BENCH)?;
    let agent = build.agent(&object)?;
    let bench = build.bench(&object)?;
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
    fn pktgen_is_selected_by_name_or_when_no_part_is_named() {
        for (arguments, selected) in [
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
            assert_eq!(is_pktgen_selected(&arguments), selected, "{arguments:?}");
        }
    }
}
