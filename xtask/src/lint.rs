//! Checks of the code that plain cargo cannot do alone.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{build, command, packages::Install, toolchain, tools, workspace::Workspace};

/// Clippy on the kernel programs. `cargo clippy` would ask rustup's clippy for another toolchain's crates, so this does
/// what it does, with the eBPF toolchain's own.
pub(crate) fn clippy_ebpf(workspace: &Workspace, install: Install) -> Result<ExitCode> {
    let toolchain = toolchain::find_or_prepare(install)?;
    let clippy = toolchain.clippy(install)?;
    let linker = tools::bpf_linker(workspace)?;
    for programs in [build::SIPNAT, build::BENCH] {
        let mut cargo = build::cargo(workspace, &toolchain, "check", programs, &linker)?;
        cargo
            .env("RUSTC_WORKSPACE_WRAPPER", &clippy)
            // The separator of cargo clippy's own arguments.
            .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
        command::run(&mut cargo)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// cargo-deny by deny.toml, without the advisories, whose database is a git repository elsewhere.
pub(crate) fn deny(workspace: &Workspace) -> Result<ExitCode> {
    let mut deny = Command::new(tools::cargo_deny(workspace)?);
    deny.current_dir(&workspace.root)
        .args(["--locked", "check", "--hide-inclusion-graph"])
        .args(["bans", "licenses", "sources"]);
    command::run(&mut deny)?;
    Ok(ExitCode::SUCCESS)
}
