//! Tools from crates.io, built once and kept in sipnat's own cache.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, packages, workspace::Workspace};

/// A crate that installs a program of the same name.
struct Tool {
    name: &'static str,
    version: &'static str,
    why: &'static str,
}

const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.10.3",
    why: "links the kernel programs",
};

const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    why: "makes the Debian package",
};

const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    why: "checks the dependencies",
};

const CARGO_FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    why: "runs the fuzz targets",
};

/// Returns the cached bpf-linker. One on PATH may have been built with another LLVM.
pub(crate) fn bpf_linker(workspace: &Workspace) -> Result<PathBuf> {
    cached(workspace, &BPF_LINKER)
}

/// Returns the cargo-deb on PATH, or else the cached one.
pub(crate) fn cargo_deb(workspace: &Workspace) -> Result<PathBuf> {
    packages::find(CARGO_DEB.name).map_or_else(|| cached(workspace, &CARGO_DEB), Ok)
}

/// Returns the cargo-deny on PATH, or else the cached one.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    packages::find(CARGO_DENY.name).map_or_else(|| cached(workspace, &CARGO_DENY), Ok)
}

/// Returns the cargo-fuzz on PATH, or else the cached one.
pub(crate) fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    packages::find(CARGO_FUZZ.name).map_or_else(|| cached(workspace, &CARGO_FUZZ), Ok)
}

/// Returns the cached program of a tool. Builds it if the cache has none that runs.
fn cached(workspace: &Workspace, tool: &Tool) -> Result<PathBuf> {
    let Tool { name, version, why } = tool;
    let root = cache()?.join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if works(&program) {
        return Ok(program);
    }
    eprintln!(
        "building {name} {version}, which {why}, once, in a few minutes: {}",
        root.display()
    );
    let mut install = workspace.cargo("install");
    install
        .args(["--force", "--version", version, "--root"])
        .args([root.as_os_str(), name.as_ref()])
        // The workspace's target directory and flags are not for tools.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::run(&mut install)?;
    ensure!(
        works(&program),
        "{} was built but does not run",
        program.display()
    );
    Ok(program)
}

/// Whether the program runs here. A cache may come from a machine with a newer C library.
fn works(program: &Path) -> bool {
    command::output(Command::new(program).arg("--version")).is_ok()
}

/// Directory for tools and kernels, which are built or fetched once.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("sipnat"))
}

/// Path in an environment variable. The XDG specification says to ignore a relative one.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    path.is_absolute().then_some(path)
}
