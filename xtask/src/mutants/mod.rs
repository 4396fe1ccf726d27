//! `cargo xtask mutants`: whether the tests notice each rule of `nat-common` that is missing or another.
//!
//! All mutants are in one build of the tests; a variable chooses which one a process plays. [`find`] has the kinds of mutants.

mod accepted;
mod changed;
mod constants;
mod copy;
mod find;
mod mutation;
mod play;
mod rewrite;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fs,
    process::ExitCode,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::{changed::Lines, mutation::Mutation, play::End};
use crate::workspace::Workspace;

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask mutants                                  all decisions and tables
  cargo xtask mutants nat-common/src/engine/reach.rs   only those of a file
  cargo xtask mutants --list                           print the mutants, and play none
  cargo xtask mutants --shard 2/8                      the second eighth of them
  cargo xtask mutants --since HEAD~5                   those of lines that changed in the last five commits
  cargo xtask mutants --host --minutes 30              without the seeds of the model, for half an hour

A mutant that survives needs a test, or a reason in nat-common/mutants.accepted.";

/// Sources whose mutants are played if none are named.
const DEFAULT: [&str; 2] = ["nat-common/src/engine", "nat-common/src/tables"];

/// Arguments of `cargo xtask mutants`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Files and folders below nat-common/src; without any, engine and tables
    paths: Vec<String>,
    /// Print the mutants, and play none
    #[arg(long)]
    list: bool,
    /// Part of the mutants, such as 2/8: every eighth, from the second on
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Only mutants of lines that changed since a commit
    #[arg(long, value_name = "COMMIT")]
    since: Option<String>,
    /// Run only tests that know what they expect, without the seeds of the model
    #[arg(long, conflicts_with = "seeds")]
    host: bool,
    /// Run only the seeds of the model
    #[arg(long)]
    seeds: bool,
    /// Begin no mutant after some minutes
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
}

/// Tests that are run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    All,
    Host,
    Seeds,
}

impl Tests {
    fn include(self, binary: &str) -> bool {
        match self {
            Self::All => true,
            Self::Host => binary != "model",
            Self::Seeds => binary == "model",
        }
    }
}

/// Part of the mutants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    index: usize,
    count: usize,
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('/');
        match numbers.map(|(index, count)| (index.parse(), count.parse())) {
            Some((Ok(index), Ok(count))) if (1..=count).contains(&index) => {
                Ok(Self { index, count })
            }
            _ => Err("such as 2/8"),
        }
    }
}

/// Plays the mutants. Fails if one survives that may not, or if the list of those that may has one that does not exist.
pub(crate) fn mutants(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folders = DEFAULT.map(Into::into).to_vec();
    let paths: Vec<String> = match arguments.paths.as_slice() {
        [] => folders.clone(),
        named => named
            .iter()
            .map(|path| path.trim_end_matches('/').into())
            .collect(),
    };
    // One build serves all files: it takes longer than to play those of a file.
    let (mutations, sources) = copy::mutate(workspace, &[folders, paths.clone()].concat())?;
    let is_named = |mutation: &Mutation| {
        let path = format!("{}/{}", copy::SOURCES, mutation.file);
        paths
            .iter()
            .any(|named| path == *named || path.starts_with(&format!("{named}/")))
    };
    let changed = match &arguments.since {
        Some(commit) => Some(changed::since(workspace, commit)?),
        None => None,
    };
    let has_changed = |mutation: &Mutation| {
        let is_changed = |lines: &Lines| lines.contains(&(mutation.file.clone(), mutation.line));
        changed.as_ref().is_none_or(is_changed)
    };
    let shard = arguments.shard.unwrap_or(Shard { index: 1, count: 1 });
    let chosen: Vec<_> = mutations
        .iter()
        .enumerate()
        .filter(|(_, mutation)| is_named(mutation) && has_changed(mutation))
        .skip(shard.index - 1)
        .step_by(shard.count)
        .collect();
    ensure!(
        !chosen.is_empty(),
        "no mutant in {}: a path is one below {}",
        paths.join(", "),
        copy::SOURCES
    );
    if arguments.list {
        for (_, mutation) in chosen {
            print("", mutation);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let list = fs::read_to_string(workspace.root.join(accepted::LIST));
    let accepted =
        accepted::read(&list.with_context(|| format!("cannot read {}", accepted::LIST))?)?;
    let gone = gone(&mutations, &accepted);
    for name in &gone {
        println!("{}: no such mutant: {name}", accepted::LIST);
    }
    let tests = match (arguments.host, arguments.seeds) {
        (true, _) => Tests::Host,
        (_, true) => Tests::Seeds,
        _ => Tests::All,
    };
    let copy = workspace.target.join("mutants");
    copy::make(workspace, &sources, &copy)?;
    let tests = play::prepare(workspace, &copy, tests)?;
    let begin = Instant::now();
    let mut summary = Summary::default();
    for (number, mutation) in chosen {
        let limit = arguments
            .minutes
            .map(|minutes| Duration::from_secs(minutes * 60));
        if limit.is_some_and(|limit| begin.elapsed() >= limit) {
            summary.not_played += 1;
            continue;
        }
        let end = play::play(&copy, &tests, number)?;
        summary.note(end, mutation, accepted.contains(&mutation.to_string()));
    }
    println!("{summary}");
    Ok(if gone.is_empty() && summary.survived == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns accepted mutants of the files at hand that do not exist.
fn gone<'a>(mutations: &[Mutation], accepted: &'a HashSet<String>) -> Vec<&'a String> {
    let files: HashSet<_> = mutations
        .iter()
        .map(|mutation| mutation.file.as_str())
        .collect();
    let names: HashSet<_> = mutations.iter().map(ToString::to_string).collect();
    let is_gone = |name: &&String| {
        name.split(' ')
            .next()
            .is_some_and(|file| files.contains(file))
            && !names.contains(*name)
    };
    let mut gone: Vec<_> = accepted.iter().filter(is_gone).collect();
    gone.sort();
    gone
}

/// Counts of the ends of mutants.
#[derive(Default)]
struct Summary {
    noticed: usize,
    timed_out: usize,
    accepted: usize,
    survived: usize,
    not_played: usize,
}

impl Summary {
    /// Counts a mutant, and prints one that is not as the list has it.
    fn note(&mut self, end: End, mutation: &Mutation, accepted: bool) {
        let is_noticed = matches!(end, End::Noticed | End::TimedOut);
        match end {
            End::Noticed => self.noticed += 1,
            End::TimedOut => self.timed_out += 1,
            _ if accepted => self.accepted += 1,
            _ => self.survived += 1,
        }
        let remark = match (is_noticed, accepted) {
            (true, true) => ": noticed, though accepted",
            (false, false) if end == End::NotReached => ": not reached by any test",
            (false, false) => ": survived",
            _ => return,
        };
        print(remark, mutation);
    }
}

/// Prints where a mutation is, and its name as the list of accepted ones has it.
fn print(remark: &str, mutation: &Mutation) {
    let Mutation { file, line, .. } = mutation;
    println!("{}/{file}:{line}{remark}\n    {mutation}", copy::SOURCES);
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            noticed,
            timed_out,
            accepted,
            survived,
            not_played,
        } = self;
        write!(
            f,
            "{noticed} noticed, {timed_out} timed out, {accepted} accepted, {survived} survived, {not_played} not played"
        )
    }
}
