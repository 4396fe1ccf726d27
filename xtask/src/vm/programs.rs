//! Programs for the virtual machine: the agent, the test binaries, the benchmarks, and programs of this machine.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    build, command,
    packages::{self, Install, Program},
    workspace::Workspace,
};

use super::machine::{self, Programs};

const IP: Program = Program::new("ip", "iproute2", "makes the network namespaces");

/// Programs of this machine that tests run, besides those of the benchmarks.
const INSTALLED: [&str; 4] = ["tc", "nft", "iptables", "sipp"];
/// Extensions that iptables loads for the lab's rules.
const EXTENSIONS: [&str; 2] = ["libxt_NFQUEUE.so", "libxt_udp.so"];
const EXTENSIONS_IN: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// Test binaries.
const TESTS: [&str; 2] = ["test_run", "lab"];
/// Path of sipnat's kernel programs.
pub(super) const OBJECT: &str = "/usr/lib/sipnat.bpf.o";
/// Path of the benchmarks' kernel programs. The init script sets it in their environment.
const BENCH_OBJECT: &str = "/usr/lib/bench.bpf.o";

/// Builds the agent, the test binaries and the benchmarks, and installs the emulator.
pub(super) fn for_tests(workspace: &Workspace, install: Install) -> Result<Programs> {
    packages::ensure(&packages::LAB, install)?;
    packages::ensure(&[machine::EMULATOR], install)?;
    let object = build::kernel_programs(workspace, install)?;
    let agent = build::agent(workspace, &object)?;
    let mut programs = benchmarks(workspace, install, &object)?;
    programs.push(("/usr/bin/sipnat".into(), agent));
    let mut cargo = workspace.cargo("test");
    cargo
        .args(["--no-run", "--release", "--package=nat-tests"])
        .args(["--test=test_run", "--test=lab", "--message-format=json"])
        .env(build::OBJECT, &object)
        .stderr(Stdio::inherit());
    eprintln!("$ {}", command::line(&cargo));
    let built = executables(&command::output(&mut cargo)?);
    for name in TESTS {
        let binary = built.iter().find(|(built, _)| built == name);
        let (_, binary) = binary.with_context(|| format!("cargo did not build {name}"))?;
        programs.push((Path::new("/usr/bin").join(name), binary.clone()));
    }
    for name in INSTALLED {
        programs.push(installed(name)?);
    }
    for name in EXTENSIONS {
        let extension = Path::new(EXTENSIONS_IN).join(name);
        programs.push((extension.clone(), extension));
    }
    Ok(programs)
}

/// Builds the program that counts the verifier's visits, and installs the emulator.
pub(super) fn for_verifier(workspace: &Workspace, install: Install) -> Result<Programs> {
    packages::ensure(&[machine::EMULATOR], install)?;
    let object = build::kernel_programs(workspace, install)?;
    let program = build::verifier(workspace, &object)?;
    Ok(vec![
        (OBJECT.into(), object),
        ("/usr/bin/sipnat-verifier".into(), program),
        // The init script wants it.
        installed("ip")?,
    ])
}

/// Builds the benchmarks, and installs the emulator.
pub(super) fn for_benchmarks(workspace: &Workspace, install: Install) -> Result<Programs> {
    packages::ensure(&[machine::EMULATOR, IP], install)?;
    let object = build::kernel_programs(workspace, install)?;
    benchmarks(workspace, install, &object)
}

/// Builds the benchmarks with their kernel programs.
fn benchmarks(workspace: &Workspace, install: Install, object: &Path) -> Result<Programs> {
    let bench_object = build::programs(workspace, install, build::BENCH)?;
    let program = build::bench(workspace, object)?;
    Ok(vec![
        (BENCH_OBJECT.into(), bench_object),
        ("/usr/bin/sipnat-bench".into(), program),
        installed("ip")?,
    ])
}

/// A program of this machine, with its path in the virtual machine.
fn installed(name: &str) -> Result<(PathBuf, PathBuf)> {
    let program = packages::find(name).with_context(|| format!("no {name}"))?;
    Ok((Path::new("/usr/bin").join(name), program))
}

/// Names and paths of the executables that cargo built, from its JSON messages.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let built = messages.lines().filter_map(|line| {
        let message: Message = serde_json::from_str(line).ok()?;
        Some((message.target?.name, message.executable?))
    });
    built.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"aya"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"lab"},"executable":"/t/release/deps/lab-1f"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executables(messages),
            [("lab".into(), "/t/release/deps/lab-1f".into())]
        );
    }
}
