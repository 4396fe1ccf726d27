//! Lints that plain cargo cannot run: clippy on the kernel programs, and cargo-deny.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{
    build::{self, Build},
    command,
    packages::Install,
    toolchain, tools,
    workspace::Workspace,
};

/// Runs clippy on the kernel programs.
///
/// `cargo clippy` would run the clippy of rustup's toolchain on crates that another toolchain built. So this sets the same
/// variables as `cargo clippy`, with the clippy of the eBPF toolchain.
pub(crate) fn clippy_ebpf(workspace: &Workspace, install: Install) -> Result<ExitCode> {
    let toolchain = toolchain::find_or_prepare(install)?;
    let clippy = toolchain.clippy(install)?;
    let linker = tools::bpf_linker(workspace)?;
    for programs in [build::SIPNAT, build::BENCH] {
        let build = Build::here(workspace, install);
        let mut cargo = build.kernel_cargo(&toolchain, "check", programs, &linker)?;
        cargo
            .env("RUSTC_WORKSPACE_WRAPPER", &clippy)
            // `cargo clippy` separates its arguments with this word.
            .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
        command::run(&mut cargo)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs cargo-deny with deny.toml, except for advisories: their database is a remote git repository.
pub(crate) fn deny(workspace: &Workspace) -> Result<ExitCode> {
    let mut deny = Command::new(tools::cargo_deny(workspace)?);
    deny.current_dir(&workspace.root)
        .args(["--locked", "check", "--hide-inclusion-graph"])
        .args(["bans", "licenses", "sources"]);
    command::run(&mut deny)?;
    Ok(ExitCode::SUCCESS)
}
