//! Programs for the virtual machine: the agent, the test binaries, the benchmarks, and programs of this machine.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    architecture::Architecture,
    build::{self, Build},
    command,
    packages::{self, Program},
};

use super::{
    machine::{self, Programs},
    root::Root,
};

const IP: Program = Program::new("ip", "iproute2", "makes the network namespaces");

/// Programs that tests run, besides those of the benchmarks: name, and name of the file. The file of iptables is behind links that
/// only an installation makes.
const INSTALLED: [(&str, &str); 4] = [
    ("tc", "tc"),
    ("nft", "nft"),
    ("iptables", "xtables-nft-multi"),
    ("sipp", "sipp"),
];
/// The same for the steps of the oldest kernel: busybox lacks them, or has them with fewer options. Its shell runs its own ones even so.
const BESIDE_BUSYBOX: [(&str, &str); 5] = [
    ("install", "install"),
    ("nsenter", "nsenter"),
    ("setpriv", "setpriv"),
    ("sh", "dash"),
    ("unshare", "unshare"),
];
/// Extensions that iptables loads for the lab's rules.
const EXTENSIONS: [&str; 2] = ["libxt_NFQUEUE.so", "libxt_udp.so"];

/// Test binaries.
const TESTS: [&str; 2] = ["test_run", "lab"];
/// Path of sipnat's kernel programs.
pub(super) const OBJECT: &str = "/usr/lib/sipnat.bpf.o";
/// Path of the benchmarks' kernel programs. The init script sets it in their environment.
const BENCH_OBJECT: &str = "/usr/lib/bench.bpf.o";

/// Builds the agent, the test binaries and the benchmarks, and installs the emulator.
pub(super) fn for_tests(build: Build<'_>) -> Result<Programs> {
    let architecture = build.architecture;
    if architecture == Architecture::HOST {
        packages::ensure(&packages::LAB, build.install)?;
    }
    packages::ensure(&[machine::emulator(architecture)], build.install)?;
    let root = Root::of(architecture)?;
    let object = build.kernel_programs()?;
    let agent = build.agent(&object)?;
    let mut programs = if architecture == Architecture::HOST {
        benchmarks(build, &root, &object)?
    } else {
        vec![ip(&root)?]
    };
    programs.push(("/usr/bin/sipnat".into(), agent));
    let mut cargo = build.cargo("test")?;
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
    let mut installed = INSTALLED.to_vec();
    if architecture == Architecture::HOST {
        installed.extend(BESIDE_BUSYBOX);
    }
    for (name, file) in installed {
        programs.push((Path::new("/usr/bin").join(name), root.program(file)?));
    }
    for name in EXTENSIONS {
        let folder = architecture.libraries();
        programs.push(root.file(&format!("/usr/lib/{folder}/xtables/{name}")));
    }
    Ok(programs)
}

/// Builds the program that counts the verifier's visits, and installs the emulator.
pub(super) fn for_verifier(build: Build<'_>) -> Result<Programs> {
    let architecture = build.architecture;
    packages::ensure(&[machine::emulator(architecture)], build.install)?;
    let object = build.kernel_programs()?;
    let program = build.verifier(&object)?;
    Ok(vec![
        (OBJECT.into(), object),
        ("/usr/bin/sipnat-verifier".into(), program),
        // The init script wants it.
        ip(&Root::of(architecture)?)?,
    ])
}

/// Builds the benchmarks, and installs the emulator.
pub(super) fn for_benchmarks(build: Build<'_>) -> Result<Programs> {
    let architecture = build.architecture;
    packages::ensure(&[machine::emulator(architecture), IP], build.install)?;
    let object = build.kernel_programs()?;
    benchmarks(build, &Root::of(architecture)?, &object)
}

/// Builds the benchmarks with their kernel programs.
fn benchmarks(build: Build<'_>, root: &Root, object: &Path) -> Result<Programs> {
    let bench_object = build.programs(build::BENCH)?;
    let program = build.bench(object)?;
    Ok(vec![
        (BENCH_OBJECT.into(), bench_object),
        ("/usr/bin/sipnat-bench".into(), program),
        ip(root)?,
    ])
}

/// The program that makes network namespaces, with its path in the virtual machine.
fn ip(root: &Root) -> Result<(PathBuf, PathBuf)> {
    Ok(("/usr/bin/ip".into(), root.program("ip")?))
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
