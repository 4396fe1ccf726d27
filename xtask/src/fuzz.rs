//! Fuzzing of nat-common: the targets in fuzz/, which are a workspace of their own.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    command,
    packages::{self, Install, Program},
    tools,
    workspace::Workspace,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Any bytes through the SIP scanner
    Scan,
    /// The scanner against another SIP parser
    Differential,
    /// SIP, STUN and the rest, told apart
    Demux,
    /// Any messages through the decisions, checked against the rules
    Decide,
    /// Any bytes through the STUN codec
    Stun,
}

/// Runs the targets one after the other, for so many minutes each; for none, only over what is known. What is found lies in fuzz/artifacts; what is
/// new to the coverage is kept beside the build, so that fuzz/corpus stays small.
pub(crate) fn fuzz(
    workspace: &Workspace,
    install: Install,
    targets: &[Target],
    minutes: u64,
) -> Result<ExitCode> {
    packages::ensure(&[Program::new("c++", "g++", "compiles libFuzzer")], install)?;
    let cargo_fuzz = tools::cargo_fuzz(workspace)?;
    let targets = match targets {
        [] => Target::value_variants(),
        named => named,
    };
    for target in targets {
        let value = target.to_possible_value().expect("no target is hidden");
        let name = value.get_name();
        let corpus = workspace.target.join("fuzz-corpus").join(name);
        std::fs::create_dir_all(&corpus)?;
        let mut run = workspace.program(&cargo_fuzz);
        run.args(["fuzz", "run", "--fuzz-dir", "fuzz"])
            // A sanitizer needs a nightly toolchain, and would watch little: nearly all of the code is safe.
            .args(["--sanitizer", "none", "--target-dir"])
            .arg(workspace.target.join("fuzz"))
            .arg(name)
            .arg(&corpus)
            .arg(format!("fuzz/corpus/{name}"))
            .args(["--", "-max_len=4096", "-dict=fuzz/sip.dict", "-timeout=20"])
            .arg(match minutes {
                0 => "-runs=0".into(),
                minutes => format!("-max_total_time={}", minutes * 60),
            });
        command::run(&mut run)?;
    }
    Ok(ExitCode::SUCCESS)
}
