//! `cargo xtask check`: rules for the source code that neither the compiler nor clippy checks.
//!
//! A check is a function over the texts of files, so that its tests feed it small trees. It parses Rust with `syn` and
//! `proc-macro2`. This file reads the tree and prints the reports.

mod abi;
mod attacks;
mod floors;
mod layout;
pub(crate) mod syntax;
mod words;

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::workspace::Workspace;

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask check                all checks, as .ci/run does
  cargo xtask check floors         only the order of modules
  cargo xtask check words --list   every doc comment that begins with an avoided word
  cargo xtask check abi --write    lock the layout anew, after a new ABI number or a new counter";

/// A rule of the source code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// A module uses only the floors below it, and no circle of modules or files exists
    Floors,
    /// The layout of the maps changes only together with its number, and counters are only appended
    Abi,
    /// Doc comments begin with a noun or a verb
    Words,
    /// Each test exists that the table of attacks in ARCHITECTURE.md names
    Attacks,
}

/// Arguments of `cargo xtask check`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Checks to run; without any, all
    checks: Vec<Check>,
    /// Write nat-common/abi.lock anew; only with `abi`
    #[arg(long)]
    write: bool,
    /// List every doc comment that `words` counts; only with `words`
    #[arg(long)]
    list: bool,
}

/// A file of the tree: its path from the root, with slashes, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Result of one check.
#[derive(Default)]
struct Report {
    /// Errors. Without any, the check passes.
    errors: Vec<String>,
    /// Figures for people, printed beside `ok`.
    summary: String,
    /// Lines printed below the result.
    details: Vec<String>,
}

/// Runs the checks and fails if one of them does.
pub(crate) fn check(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let named = |check| arguments.checks.contains(&check);
    ensure!(
        !arguments.write || named(Check::Abi),
        "--write belongs to abi: `cargo xtask check abi --write`"
    );
    ensure!(
        !arguments.list || named(Check::Words),
        "--list belongs to words: `cargo xtask check words --list`"
    );
    let mut passed = true;
    for check in Check::value_variants() {
        if !arguments.checks.is_empty() && !named(*check) {
            continue;
        }
        let report = match check {
            Check::Floors => floors::check(layout::CRATES, &read(workspace, &floors::folders())?),
            Check::Abi => abi_of_tree(workspace, arguments.write)?,
            Check::Words => words::check(&read(workspace, words::FOLDERS)?, arguments.list),
            Check::Attacks => attacks_of_tree(workspace)?,
        };
        passed &= report.errors.is_empty();
        print(*check, &report);
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints one line for a check that passes, and a line for each error of one that fails.
fn print(check: Check, report: &Report) {
    let value = check.to_possible_value().expect("no check is hidden");
    let name = value.get_name();
    let result = match report.errors.len() {
        0 => "ok".into(),
        1 => "1 error".into(),
        count => format!("{count} errors"),
    };
    match report.summary.as_str() {
        "" => println!("{name}: {result}"),
        summary => println!("{name}: {result} ({summary})"),
    }
    for line in report.errors.iter().chain(&report.details) {
        println!("  {line}");
    }
}

/// Looks for the tests that the table of attacks names.
fn attacks_of_tree(workspace: &Workspace) -> Result<Report> {
    let document = fs::read_to_string(workspace.root.join(attacks::DOCUMENT))
        .with_context(|| format!("cannot read {}", attacks::DOCUMENT))?;
    let sources = read(workspace, attacks::FOLDERS)?;
    Ok(attacks::check(&document, &sources, |path| {
        workspace.root.join(path).is_file()
    }))
}

/// Compares the ABI with its lock file, or writes that file.
fn abi_of_tree(workspace: &Workspace, write: bool) -> Result<Report> {
    let sources = read(workspace, abi::SOURCES)?;
    let lock = workspace.root.join(abi::LOCK);
    if write {
        return match abi::rewrite(&sources, committed(workspace, abi::LOCK)?.as_deref()) {
            Ok(text) => {
                fs::write(&lock, text).with_context(|| format!("cannot write {}", abi::LOCK))?;
                Ok(Report {
                    summary: format!("wrote {}", abi::LOCK),
                    ..Report::default()
                })
            }
            Err(errors) => Ok(Report {
                errors,
                ..Report::default()
            }),
        };
    }
    let locked = if lock.exists() {
        let text = fs::read_to_string(&lock);
        Some(text.with_context(|| format!("cannot read {}", abi::LOCK))?)
    } else {
        None
    };
    Ok(abi::check(&sources, locked.as_deref()))
}

/// Returns a file as the last commit has it.
fn committed(workspace: &Workspace, path: &str) -> Result<Option<String>> {
    let mut git = workspace.program("git".as_ref());
    let output = git
        .args(["show", &format!("HEAD:./{path}")])
        .output()
        .context("cannot run git, which has the last lock file")?;
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8(output.stdout);
    Ok(Some(text.with_context(|| {
        format!("{path} of the last commit is no text")
    })?))
}

/// Reads the Rust files below some paths, in order; a path that does not exist has none.
pub(crate) fn read(workspace: &Workspace, paths: &[&str]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        read_below(&workspace.root, path, &mut sources)
            .with_context(|| format!("cannot read {path}"))?;
    }
    Ok(sources)
}

fn read_below(root: &Path, path: &str, sources: &mut Vec<Source>) -> Result<()> {
    let full = root.join(path);
    if full.is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(&full)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        for name in names {
            read_below(root, &format!("{path}/{name}"), sources)?;
        }
    } else if full.is_file() && path.ends_with(".rs") {
        sources.push(Source {
            path: path.into(),
            text: fs::read_to_string(&full)?,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a tree with these paths and texts.
    pub(super) fn tree(files: &[(&str, &str)]) -> Vec<Source> {
        files
            .iter()
            .map(|&(path, text)| Source {
                path: path.into(),
                text: text.into(),
            })
            .collect()
    }
}
