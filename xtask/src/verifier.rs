//! `cargo xtask verifier`: where the verifier spends its visits.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    build::{self, Build},
    kernel,
    packages::Install,
    vm::{self, Series},
    workspace::Workspace,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask verifier                              one line for each program
  cargo xtask verifier --program ingress            its functions and source lines, most visits first
  cargo xtask verifier --program egress --top 50    more rows
  cargo xtask verifier --loop bpf_loop              the variants for kernels before 6.9
  cargo xtask verifier --media                      with the tail calls of `sipnat run --media`
  cargo xtask verifier --kernel 6.1 --program egress
                                                    the verifier of another kernel, in a virtual machine

docs/verifier.md says how to read the tables.";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Program to show by function and source line: ingress, egress, sdp_in, sdp_out, media_in or media_out
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Form of loops: an instruction of kernel 6.9 and later, or a helper of 5.17 and later; without it, the best that the kernel
    /// knows
    #[arg(long = "loop", value_name = "FORM", value_parser = ["may_goto", "bpf_loop"])]
    loops: Option<String>,
    /// Load the programs as `sipnat run --media` does
    #[arg(long)]
    media: bool,
    /// Load the programs as `sipnat replay` does
    #[arg(long)]
    replay: bool,
    /// Rows of each table
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print JSON, with all rows
    #[arg(long)]
    json: bool,
    /// Kernel whose verifier is asked, in a virtual machine; without it, this machine's, which needs root
    #[arg(long, value_name = "SERIES")]
    kernel: Option<Series>,
}

impl Arguments {
    /// Returns the arguments of the program that does the work.
    fn list(&self) -> Vec<String> {
        let mut list = vec![format!("--top={}", self.top)];
        list.extend(self.program.iter().map(|name| format!("--program={name}")));
        list.extend(self.loops.iter().map(|form| format!("--loop={form}")));
        list.extend(self.media.then(|| "--media".into()));
        list.extend(self.replay.then(|| "--replay".into()));
        list.extend(self.json.then(|| "--json".into()));
        list
    }
}

/// Builds everything, and shows the visits on this kernel or on another one.
pub(crate) fn verifier(
    workspace: &Workspace,
    install: Install,
    arguments: &Arguments,
) -> Result<ExitCode> {
    let list = arguments.list();
    if let Some(series) = arguments.kernel {
        let passed = vm::verifier(workspace, install, series, &list)?;
        return Ok(if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let gaps = kernel::gaps();
    if !gaps.is_empty() {
        bail!(
            "this kernel's verifier cannot be asked without {}; with --kernel 6.12, a virtual machine is asked",
            gaps.join("; ")
        );
    }
    let build = Build::here(workspace, install);
    let object = build.kernel_programs()?;
    let program = build.verifier(&object)?;
    let status = Command::new(&program)
        .args(list)
        .env(build::OBJECT, object)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
