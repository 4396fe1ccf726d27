//! Building the kernel programs, and the agent that carries them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    callbacks, command,
    packages::Install,
    toolchain::{self, Toolchain},
    tools,
    workspace::Workspace,
};

/// Tells the build script of nat-userspace which object to embed.
pub(crate) const OBJECT: &str = "SIPNAT_BPF_OBJECT";
/// Tells tests and demo which binary to run.
pub(crate) const AGENT: &str = "SIPNAT_BIN";

/// Instruction set version 3: 32-bit jumps and atomics that return a value, in every kernel since 5.12.
const CPU: &str = "v3";

/// Kernel programs: a package, and what its object is called.
#[derive(Clone, Copy)]
pub(crate) struct Programs {
    package: &'static str,
    binary: &'static str,
    object: &'static str,
    /// Whether there is anything that `bpf_loop` calls back.
    calls_back: bool,
}

/// Those of sipnat.
pub(crate) const SIPNAT: Programs = Programs {
    package: "nat-ebpf",
    binary: "sipnat-bpf",
    object: "sipnat.bpf.o",
    calls_back: true,
};

/// Those of the benchmarks.
pub(crate) const BENCH: Programs = Programs {
    package: "nat-bench-ebpf",
    binary: "bench-bpf",
    object: "bench.bpf.o",
    calls_back: false,
};

/// Builds the kernel programs of sipnat and returns the object that holds them.
pub(crate) fn kernel_programs(workspace: &Workspace, install: Install) -> Result<PathBuf> {
    programs(workspace, install, SIPNAT)
}

/// Builds kernel programs and returns the object that holds them.
pub(crate) fn programs(
    workspace: &Workspace,
    install: Install,
    programs: Programs,
) -> Result<PathBuf> {
    let toolchain = toolchain::find_or_prepare(install)?;
    let linker = tools::bpf_linker(workspace)?;
    let mut cargo = cargo(workspace, &toolchain, "build", programs, &linker)?;
    command::run(&mut cargo)?;

    let built = directory(workspace)
        .join(target())
        .join("release")
        .join(programs.binary);
    let object = workspace.target.join(programs.object);
    let new = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let found = callbacks::check(&new)
        .with_context(|| format!("{} must not be loaded", built.display()))?;
    // Or what was looked for is not what the compiler makes of it any more.
    ensure!(
        (found > 0) == programs.calls_back,
        "{}: {found} functions that bpf_loop calls back",
        built.display()
    );
    replace_if_changed(&new, &object)?;
    Ok(object)
}

/// Builds the agent around the kernel programs and returns its path.
pub(crate) fn agent(workspace: &Workspace, object: &Path) -> Result<PathBuf> {
    let mut cargo = workspace.cargo("build");
    cargo
        .args(["--release", "--package=nat-userspace"])
        .env(OBJECT, object);
    command::run(&mut cargo)?;
    Ok(workspace.target.join("release/sipnat"))
}

/// Builds the program of the benchmarks and returns its path.
pub(crate) fn bench(workspace: &Workspace, object: &Path) -> Result<PathBuf> {
    let mut cargo = workspace.cargo("build");
    cargo
        .args(["--release", "--package=nat-tests", "--bin=sipnat-bench"])
        .env(OBJECT, object);
    command::run(&mut cargo)?;
    Ok(workspace.target.join("release/sipnat-bench"))
}

/// The eBPF toolchain's own cargo, set up for the kernel programs.
pub(crate) fn cargo(
    workspace: &Workspace,
    toolchain: &Toolchain,
    subcommand: &str,
    programs: Programs,
    linker: &Path,
) -> Result<Command> {
    let mut cargo = Command::new(toolchain.cargo());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(steers_the_host_build) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(&workspace.root)
        .args([subcommand, "--locked", "--package", programs.package])
        .args(["--bin", programs.binary, "--release", "-Zbuild-std=core"])
        .arg(format!("--target={}", target()))
        .arg("--target-dir")
        .arg(directory(workspace))
        .env("RUSTC", toolchain.rustc())
        // Overrules a wrapper named in a configuration file.
        .env("RUSTC_WRAPPER", "")
        // -Zbuild-std is unstable; everything else is not.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("LD_LIBRARY_PATH", lend_llvm(workspace, toolchain)?)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(linker)?);
    Ok(cargo)
}

fn rustflags(linker: &Path) -> Result<String> {
    let linker = linker
        .to_str()
        .with_context(|| format!("{} is not UTF-8", linker.display()))?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        format!("-Ctarget-cpu={CPU}"),
        // BTF is made from it.
        "-Cdebuginfo=2".into(),
        format!("-Clinker={linker}"),
        "-Clink-arg=--btf".into(),
    ];
    Ok(flags.join("\x1f"))
}

fn target() -> &'static str {
    if cfg!(target_endian = "big") {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    }
}

/// Away from the host's artifacts: another compiler locks and fills it.
fn directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join("ebpf")
}

/// bpf-linker opens the first file named libLLVM* on LD_LIBRARY_PATH. The system's library directory may hold
/// several versions, so there is a directory with nothing in it but the right one.
fn lend_llvm(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    let llvm = toolchain.llvm().context("no shared LLVM")?;
    let directory = directory(workspace).join("llvm");
    let link = directory.join("libLLVM.so");
    if fs::read_link(&link).ok().as_deref() != Some(llvm) {
        fs::create_dir_all(&directory)?;
        // Not there is as good as removed.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(llvm, &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(directory)
}

/// Variables that are meant for the host's cargo and rustc, and would lead another toolchain astray.
fn steers_the_host_build(name: &str) -> bool {
    const FOR_ALL: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_TERM_",
        "CARGO_REGISTR",
    ];
    let cargo = name == "CARGO" || name.starts_with("CARGO_");
    let rustc = name.starts_with("RUSTC") || name.starts_with("RUSTDOC");
    let named = matches!(name, "RUSTFLAGS" | "RUSTUP_TOOLCHAIN" | "OUT_DIR");
    (cargo || rustc || named) && !FOR_ALL.iter().any(|prefix| name.starts_with(prefix))
}

/// Keeps the old file when the new one is the same, so that nothing that embeds it is built again.
fn replace_if_changed(new: &[u8], to: &Path) -> Result<()> {
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_variables_stay_out_of_the_ebpf_build() {
        for name in [
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(steers_the_host_build(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "HOME",
            "PATH",
            "RUSTUP_HOME",
        ] {
            assert!(!steers_the_host_build(name), "{name}");
        }
    }
}
