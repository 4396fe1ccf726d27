//! `cargo xtask fuzz`: fuzzing of nat-common. The targets are a separate workspace in fuzz/.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    command,
    packages::{self, Install, Program},
    tools,
    workspace::Workspace,
};

/// A fuzz target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Random bytes through the SIP scanner
    Scan,
    /// Random bytes through both paths of the SIP scanner
    Usual,
    /// The scanner against another SIP parser
    Differential,
    /// Classification of SIP, STUN and other packets
    Demux,
    /// Random messages through the decisions, checked against the rules
    Decide,
    /// Random bytes through the STUN codec
    Stun,
    /// The scanner of session descriptions against another parser
    Sdp,
}

/// Runs each target for some minutes. With 0 minutes, it only replays the stored inputs.
///
/// Failing inputs go to fuzz/artifacts. Inputs with new coverage go to the target directory: fuzz/corpus stays small.
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
            // No sanitizer: it needs a nightly toolchain, and nearly all of the code is safe.
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
