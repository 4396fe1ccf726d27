//! Shows where the verifier spends its visits. `cargo xtask verifier` builds and runs it.

mod kernel;
mod log;
mod object;
mod report;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use nat_userspace::{kernel::loops::Loops, view::output};
use serde_json::json;

use crate::{object::Programs, report::Report};

/// Shows where the verifier spends its visits. `cargo xtask verifier --help` explains the arguments.
#[derive(Debug, Parser)]
#[command(name = "sipnat-verifier")]
struct Arguments {
    /// Object with the kernel programs
    #[arg(long, value_name = "FILE", env = "SIPNAT_BPF_OBJECT")]
    object: PathBuf,
    /// Program to show by function and source line
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Form of loops
    #[arg(long = "loop", value_name = "FORM")]
    loops: Option<Form>,
    /// Programs as with `sipnat run --media`
    #[arg(long)]
    media: bool,
    /// Programs as with `sipnat replay`
    #[arg(long)]
    replay: bool,
    /// Rows of each table
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print JSON, with all rows
    #[arg(long)]
    json: bool,
}

/// A form of loops.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Instruction of kernel 6.9 and later
    #[value(name = "may_goto")]
    MayGoto,
    /// Helper of kernel 5.17 and later
    #[value(name = "bpf_loop")]
    BpfLoop,
}

impl From<Form> for Loops {
    fn from(form: Form) -> Self {
        match form {
            Form::MayGoto => Self::MayGoto,
            Form::BpfLoop => Self::BpfLoop,
        }
    }
}

fn main() -> ExitCode {
    match show(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the report. Fails if the verifier refuses a program.
fn show(arguments: &Arguments) -> Result<ExitCode> {
    let path = arguments.object.display();
    let bytes = fs::read(&arguments.object)
        .with_context(|| format!("cannot read {path}: `cargo xtask build` makes it"))?;
    let programs = Programs::open(&bytes, arguments.media, arguments.replay)
        .with_context(|| path.to_string())?;
    let (loops, why) = match arguments.loops {
        Some(form) => (form.into(), "as told"),
        None => (programs.probe()?, "the best that this kernel knows"),
    };
    let all = programs.names(loops);
    let names = match &arguments.program {
        None => all,
        Some(wanted) => vec![find(&all, wanted)?],
    };
    let reports = names
        .into_iter()
        .map(|name| Report::make(&programs, name))
        .collect::<Result<Vec<_>>>()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if arguments.json {
        let report = json!({ "kernel": release, "loops": loops.name(), "programs": reports });
        output::json(&report)?;
    } else {
        let mut lines = vec![format!(
            "kernel {release}, loops by {}: {why}; the kernel gives up after {}",
            loops.name(),
            report::kernels_limit()
        )];
        lines.extend(reports.iter().map(Report::summary));
        if arguments.program.is_some() {
            let tables = reports.iter().map(|report| report.tables(arguments.top));
            lines.extend(tables.map(|tables| format!("\n{tables}")));
        }
        output::print(&lines.join("\n"))?;
    }
    let refused = reports.iter().any(|report| report.refused.is_some());
    Ok(if refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Finds a program by its name, with or without the ending of its variant.
fn find<'a>(all: &[&'a str], wanted: &str) -> Result<&'a str> {
    let names = |name: &&&str| **name == wanted || name.strip_suffix("_loop") == Some(wanted);
    match all.iter().find(names) {
        Some(name) => Ok(name),
        None => bail!(
            "no program {wanted} with these loops; there are {}",
            all.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_program_is_found_by_the_name_of_either_variant() {
        let all = ["ingress_loop", "egress_loop", "media_in"];
        assert_eq!(find(&all, "ingress").unwrap(), "ingress_loop");
        assert_eq!(find(&all, "egress_loop").unwrap(), "egress_loop");
        assert_eq!(find(&all, "media_in").unwrap(), "media_in");
        let error = find(&all, "ingres").unwrap_err().to_string();
        assert!(error.ends_with("there are ingress_loop, egress_loop, media_in"));
    }
}
