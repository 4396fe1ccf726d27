//! Tools that are crates themselves, built once and kept in a cache of our own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, packages, workspace::Workspace};

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

/// Always ours: one on PATH may have been built with any LLVM.
pub(crate) fn bpf_linker(workspace: &Workspace) -> Result<PathBuf> {
    cached(workspace, &BPF_LINKER)
}

/// Whichever cargo-deny is on PATH, or else ours.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    packages::find(CARGO_DENY.name).map_or_else(|| cached(workspace, &CARGO_DENY), Ok)
}

/// Whichever cargo-fuzz is on PATH, or else ours.
pub(crate) fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    packages::find(CARGO_FUZZ.name).map_or_else(|| cached(workspace, &CARGO_FUZZ), Ok)
}

fn cached(workspace: &Workspace, tool: &Tool) -> Result<PathBuf> {
    let Tool { name, version, why } = tool;
    let root = cache()?.join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if works(&program) {
        return Ok(program);
    }
    eprintln!(
        "{name} {version} {why}; building it, which takes a few minutes, once: {}",
        root.display()
    );
    let mut install = workspace.cargo("install");
    install
        .args(["--force", "--version", version, "--root"])
        .args([root.as_os_str(), name.as_ref()])
        // Its intermediate files are of no use to this workspace, nor are our flags to it.
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

/// A cache may come from another machine, whose C library is newer.
fn works(program: &Path) -> bool {
    command::output(Command::new(program).arg("--version")).is_ok()
}

/// Where things are kept that are made or fetched once.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("sipnat"))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    path.is_absolute().then_some(path)
}
