//! Play of a mutant: the tests that reach it, the fastest first, until one fails.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::Tests;
use crate::{command, workspace::Workspace};

/// Kilobytes of memory that a mutant may take.
const MEMORY: u32 = 4 << 20;

/// Status of `timeout -s KILL`.
const TIMED_OUT: i32 = 137;

/// A binary of tests.
pub(super) struct Test {
    name: String,
    path: PathBuf,
    time: Duration,
    reached: HashSet<usize>,
}

/// End of a mutant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A test failed.
    Noticed,
    /// A test took too long.
    TimedOut,
    /// All tests passed.
    Survived,
    /// No test runs the code.
    NotReached,
}

/// A line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Artifact {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the tests of a copy, and runs each without a mutant. The fastest comes first.
pub(super) fn prepare(workspace: &Workspace, copy: &Path, tests: Tests) -> Result<Vec<Test>> {
    let mut build = workspace.cargo("test");
    build
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .args([
            "--release",
            "--no-run",
            "--package=nat-common",
            "--lib",
            "--tests",
        ])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    eprintln!("$ {}", command::line(&build));
    let mut prepared = Vec::new();
    for line in command::output(&mut build)?.lines() {
        let artifact: Artifact = serde_json::from_str(line).context("no message of cargo")?;
        if let (Some(target), Some(path)) = (artifact.target, artifact.executable)
            && tests.include(&target.name)
        {
            prepared.push(measure(copy, target.name, path)?);
        }
    }
    ensure!(!prepared.is_empty(), "no tests");
    prepared.sort_by_key(|test| test.time);
    Ok(prepared)
}

/// Runs a binary without a mutant, and reads which ones it reaches.
fn measure(copy: &Path, name: String, path: PathBuf) -> Result<Test> {
    let list = copy.join(format!("reached.{}", std::process::id()));
    let mut run = Command::new(&path);
    run.current_dir(copy.join("nat-common"));
    run.env("SIPNAT_MUTANTS_REACHED", &list);
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let status = run.status().with_context(|| format!("cannot run {name}"))?;
    let time = begin.elapsed();
    if !status.success() {
        bail!("{name} fails without a mutant: {status}");
    }
    let mut reached = HashSet::new();
    if list.exists() {
        for line in fs::read_to_string(&list)?.lines() {
            reached.insert(line.parse()?);
        }
        fs::remove_file(&list)?;
    }
    eprintln!(
        "{name}: {:.1} s, reaches {} mutants",
        time.as_secs_f32(),
        reached.len()
    );
    Ok(Test {
        name,
        path,
        time,
        reached,
    })
}

/// Plays a mutant.
pub(super) fn play(copy: &Path, tests: &[Test], mutant: usize) -> Result<End> {
    let mut end = End::NotReached;
    for test in tests.iter().filter(|test| test.reached.contains(&mutant)) {
        end = End::Survived;
        let limit = (test.time * 10).as_secs() + 10;
        let script = format!("ulimit -v {MEMORY} && exec timeout -s KILL {limit} \"$0\"");
        let status = Command::new("sh")
            .args(["-c", &script])
            .arg(&test.path)
            .current_dir(copy.join("nat-common"))
            .env("SIPNAT_MUTANT", mutant.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {}", test.name))?;
        if status.code() == Some(TIMED_OUT) {
            return Ok(End::TimedOut);
        }
        if !status.success() {
            return Ok(End::Noticed);
        }
    }
    Ok(end)
}
