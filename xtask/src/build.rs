//! Builds of the kernel programs, of the agent that embeds them, and of the benchmarks.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    architecture::Architecture,
    callbacks, command,
    packages::{self, Install},
    toolchain::{self, Toolchain},
    tools,
    workspace::Workspace,
};

/// Environment variable that tells the build script of nat-userspace which object to embed.
pub(crate) const OBJECT: &str = "SIPNAT_BPF_OBJECT";
/// Environment variable that tells tests and demo which agent to run.
pub(crate) const AGENT: &str = "SIPNAT_BIN";

/// BPF instruction set version 3, in every kernel since 5.12: 32-bit jumps, and atomics that return a value.
const CPU: &str = "v3";
/// Rust's name of the kernel programs' target: both architectures are little-endian.
const TARGET: &str = "bpfel-unknown-none";

/// A package of kernel programs and the name of its object.
#[derive(Clone, Copy)]
pub(crate) struct Programs {
    package: &'static str,
    binary: &'static str,
    object: &'static str,
    /// Whether `bpf_loop` calls back any of its functions.
    has_callbacks: bool,
}

/// Kernel programs of sipnat.
pub(crate) const SIPNAT: Programs = Programs {
    package: "nat-ebpf",
    binary: "sipnat-bpf",
    object: "sipnat.bpf.o",
    has_callbacks: true,
};

/// Kernel programs of the benchmarks.
pub(crate) const BENCH: Programs = Programs {
    package: "nat-bench-ebpf",
    binary: "bench-bpf",
    object: "bench.bpf.o",
    has_callbacks: false,
};

/// A build for one architecture.
#[derive(Clone, Copy)]
pub(crate) struct Build<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) install: Install,
    pub(crate) architecture: Architecture,
}

impl<'a> Build<'a> {
    /// A build for this machine.
    pub(crate) const fn here(workspace: &'a Workspace, install: Install) -> Self {
        Self::of(workspace, install, Architecture::HOST)
    }

    /// A build for an architecture.
    pub(crate) const fn of(
        workspace: &'a Workspace,
        install: Install,
        architecture: Architecture,
    ) -> Self {
        Self {
            workspace,
            install,
            architecture,
        }
    }

    /// Builds the kernel programs of sipnat and returns the path of their object.
    pub(crate) fn kernel_programs(self) -> Result<PathBuf> {
        self.programs(SIPNAT)
    }

    /// Builds kernel programs and returns the path of their object.
    pub(crate) fn programs(self, programs: Programs) -> Result<PathBuf> {
        let toolchain = toolchain::find_or_prepare(self.install)?;
        let linker = tools::bpf_linker(self.workspace)?;
        let mut cargo = self.kernel_cargo(&toolchain, "build", programs, &linker)?;
        command::run(&mut cargo)?;

        let built = self.kernel_target();
        let built = built.join(TARGET).join("release").join(programs.binary);
        let new = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        let found = callbacks::check(&new)
            .with_context(|| format!("{} must not be loaded", built.display()))?;
        // A wrong number means that the compiler encodes callbacks differently, so that the check misses them.
        ensure!(
            (found > 0) == programs.has_callbacks,
            "{}: found {found} functions that bpf_loop calls back",
            built.display()
        );
        let object = self.target().join(programs.object);
        replace_if_changed(&new, &object)?;
        Ok(object)
    }

    /// Builds the agent with the kernel programs inside, and returns its path.
    pub(crate) fn agent(self, object: &Path) -> Result<PathBuf> {
        self.program("nat-userspace", "sipnat", object)
    }

    /// Builds the benchmark program and returns its path.
    pub(crate) fn bench(self, object: &Path) -> Result<PathBuf> {
        self.program("nat-tests", "sipnat-bench", object)
    }

    /// Builds the program that counts the verifier's visits, and returns its path.
    pub(crate) fn verifier(self, object: &Path) -> Result<PathBuf> {
        self.program("nat-tests", "sipnat-verifier", object)
    }

    /// Builds a program of a package and returns its path.
    fn program(self, package: &str, name: &str, object: &Path) -> Result<PathBuf> {
        let mut cargo = self.cargo("build")?;
        cargo
            .args(["--release", "--package", package, "--bin", name])
            .env(OBJECT, object);
        command::run(&mut cargo)?;
        Ok(self.target().join("release").join(name))
    }

    /// Returns a cargo command for programs of user space.
    ///
    /// For another architecture, the standard library is built from the sources that the kernel programs need anyway.
    pub(crate) fn cargo(self, subcommand: &str) -> Result<Command> {
        if self.architecture == Architecture::HOST {
            return Ok(self.workspace.cargo(subcommand));
        }
        let [compiler, library] = self.architecture.linker();
        packages::ensure(&[compiler, library], self.install)?;
        let toolchain = toolchain::find_or_prepare(self.install)?;
        let target = self.architecture.target();
        let linker = format!(
            "CARGO_TARGET_{}_LINKER",
            target.to_uppercase().replace('-', "_")
        );
        let mut cargo = Command::new(toolchain.cargo());
        from_source(&mut cargo, &toolchain);
        cargo
            .current_dir(&self.workspace.root)
            .args([subcommand, "--locked", "-Zbuild-std", "--target", target])
            .arg("--target-dir")
            .arg(&self.workspace.target)
            .env(linker, compiler.name());
        Ok(cargo)
    }

    /// Target directory of this architecture.
    fn target(self) -> PathBuf {
        if self.architecture == Architecture::HOST {
            self.workspace.target.clone()
        } else {
            self.workspace.target.join(self.architecture.target())
        }
    }

    /// Returns a cargo command of the eBPF toolchain for a package of kernel programs.
    pub(crate) fn kernel_cargo(
        self,
        toolchain: &Toolchain,
        subcommand: &str,
        programs: Programs,
        linker: &Path,
    ) -> Result<Command> {
        let directory = self.kernel_target();
        let mut cargo = Command::new(toolchain.cargo());
        from_source(&mut cargo, toolchain);
        cargo
            .current_dir(&self.workspace.root)
            .args([subcommand, "--locked", "--package", programs.package])
            .args(["--bin", programs.binary, "--release", "-Zbuild-std=core"])
            .args(["--target", TARGET])
            .arg("--target-dir")
            .arg(&directory)
            .env("LD_LIBRARY_PATH", llvm_directory(&directory, toolchain)?)
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                rustflags(self.architecture, linker)?,
            );
        Ok(cargo)
    }

    /// Target directory of the kernel programs, apart from the others, because another compiler locks and fills it.
    fn kernel_target(self) -> PathBuf {
        self.target().join("ebpf")
    }
}

/// Makes a cargo command use a toolchain, and nothing of the host's cargo, so that it can build `core` or `std` from source.
fn from_source(cargo: &mut Command, toolchain: &Toolchain) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_for_host_build) {
            cargo.env_remove(name);
        }
    }
    cargo
        .env("RUSTC", toolchain.rustc())
        // Overrides a wrapper from a configuration file.
        .env("RUSTC_WRAPPER", "")
        // -Zbuild-std is unstable. It is the only unstable feature.
        .env("RUSTC_BOOTSTRAP", "1");
}

fn rustflags(architecture: Architecture, linker: &Path) -> Result<String> {
    let linker = linker
        .to_str()
        .with_context(|| format!("{} is not UTF-8", linker.display()))?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", architecture.name()),
        format!("-Ctarget-cpu={CPU}"),
        // bpf-linker makes BTF from debug info.
        "-Cdebuginfo=2".into(),
        format!("-Clinker={linker}"),
        "-Clink-arg=--btf".into(),
    ];
    Ok(flags.join("\x1f"))
}

/// Returns a directory that holds only a link to the toolchain's LLVM.
///
/// bpf-linker opens the first file named libLLVM* on LD_LIBRARY_PATH, and the system's library directory may hold several
/// versions.
fn llvm_directory(target: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let llvm = toolchain.llvm().context("no shared LLVM")?;
    let directory = target.join("llvm");
    let link = directory.join("libLLVM.so");
    if fs::read_link(&link).ok().as_deref() != Some(llvm) {
        fs::create_dir_all(&directory)?;
        // An error means that there is nothing to remove.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(llvm, &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(directory)
}

/// Whether an environment variable is for the host's cargo and rustc. It could change the eBPF toolchain's build.
fn is_for_host_build(name: &str) -> bool {
    const FOR_BOTH: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_TERM_",
        "CARGO_REGISTR",
    ];
    let cargo = name == "CARGO" || name.starts_with("CARGO_");
    let rustc = name.starts_with("RUSTC") || name.starts_with("RUSTDOC");
    let named = matches!(name, "RUSTFLAGS" | "RUSTUP_TOOLCHAIN" | "OUT_DIR");
    (cargo || rustc || named) && !FOR_BOTH.iter().any(|prefix| name.starts_with(prefix))
}

/// Writes a file only if its contents change. Otherwise cargo would rebuild the crate that embeds it.
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
            assert!(is_for_host_build(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "HOME",
            "PATH",
            "RUSTUP_HOME",
        ] {
            assert!(!is_for_host_build(name), "{name}");
        }
    }
}
