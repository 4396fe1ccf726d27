//! `sipnat bindings watch`: a call comes, changes and goes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Lab, Plan, Sipnat, StrictPbx, sipnat,
    sipp::{Scenario, Sipp},
    tmux::Tmux,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::scene::SOON;

/// A watch that runs.
struct Watch {
    child: Child,
    out: BufReader<ChildStdout>,
    err: BufReader<ChildStderr>,
}

impl Watch {
    /// Starts it, and waits until it watches.
    fn start(lab: &Lab, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(sipnat::binary()?);
        command
            .args(["bindings", "watch"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = lab.pbx.enter(|| command.spawn())??;
        let out = BufReader::new(child.stdout.take().context("no pipe")?);
        let err = BufReader::new(child.stderr.take().context("no pipe")?);
        let mut watch = Self { child, out, err };
        watch.says("watching 0 bindings")?;
        Ok(watch)
    }

    /// Reads the next note for people, which must contain `words`.
    fn says(&mut self, words: &str) -> Result<()> {
        let mut said = String::new();
        self.err.read_line(&mut said)?;
        ensure!(said.contains(words), "{said}");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "it has ended");
        Ok(line)
    }

    /// Reads lines of JSON until one has this change. Fails at a line with another.
    fn until(&mut self, change: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let line = self.line()?;
            let told: Value = serde_json::from_str(&line)?;
            ensure!(told["change"] == change, "{told:#}");
            if is_it(&told) {
                return Ok(told);
            }
        }
    }

    /// Waits for its end. Returns its exit status.
    fn ended(&mut self) -> Result<Option<i32>> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(Instant::now() < deadline, "it goes on");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn a_call_is_told_as_it_comes_changes_and_goes() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let mut json = Watch::start(&lab, &["--json"])?;
    let mut people = Watch::start(&lab, &[])?;
    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let mut sipp = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.call(SOON)?;
    let is_active = |told: &Value| told["binding"]["state"] == "active";
    let added = json.until("added", is_active)?;
    let binding = &added["binding"];
    assert_eq!(binding["learned"], "60.17.196.2:49163");
    assert_eq!(binding["terminal"], "1000@203.0.113.10");
    let text = people.line()?;
    for words in [
        "  added    ",
        "1000@203.0.113.10",
        "learned 60.17.196.2:49163",
    ] {
        assert!(text.contains(words), "no `{words}` in: {text}");
    }

    pbx.request(&call, "INVITE")?;
    let redirected = |told: &Value| told["binding"]["redirected"] == 2;
    let changed = json.until("changed", redirected)?;
    assert_eq!(changed["binding"]["id"], binding["id"]);
    assert!(changed["before"]["redirected"].is_u64(), "{changed:#}");
    let text = people.line()?;
    assert!(
        text.contains("  changed  ") && text.contains("redirected 0 -> "),
        "{text}"
    );

    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)?;
    let ended = |told: &Value| told["binding"]["notes"] == serde_json::json!(["ended"]);
    json.until("changed", ended)?;
    agent.command(&["bindings", "remove", "1000"])?;
    let gone = json.until("gone", |_| true)?;
    assert_eq!(gone["binding"]["redirected"], 3, "{gone:#}");

    kill(
        Pid::from_raw(i32::try_from(json.child.id())?),
        Signal::SIGINT,
    )?;
    assert_eq!(json.ended()?, Some(0));
    agent.stop()?;
    // No agent is left to be watched.
    assert_eq!(people.ended()?, Some(3));
    Ok(())
}

/// Nothing changes, so nothing is written: it must notice all the same.
#[test]
fn a_watch_ends_with_its_reader() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &["--keep"])?;
    let mut command = Command::new("sh");
    let line = format!("{} bindings watch | true", sipnat::binary()?.display());
    let begun = Instant::now();
    lab.pbx.run(command.args(["-c", &line]), "")?;
    ensure!(
        begun.elapsed() < SOON,
        "it waited for {:?}",
        begun.elapsed()
    );

    // It watches on where another agent takes over.
    let mut watch = Watch::start(&lab, &["--json"])?;
    agent.stop()?;
    let agent = Sipnat::start(&lab.pbx, &["--size-bindings", "200000"])?;
    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let _sipp = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    pbx.call(SOON)?;
    watch.until("added", |told| told["binding"]["state"] == "active")?;
    agent.stop()
}

/// An agent that hangs has removed the tables, or not made its own yet. What was read before stays on the screen.
#[test]
fn an_agent_that_hangs_is_said() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let mut watch = Watch::start(&lab, &[])?;
    let tmux = Tmux::open(&lab.pbx, 80, 24)?;
    tmux.run(&format!("{} top", sipnat::binary()?.display()))?;
    tmux.wait_for("up ")?;
    agent.signal(Signal::SIGSTOP)?;
    fs::remove_dir_all(agent.pins()?)?;
    tmux.wait_for("starting or ending for ")?;
    watch.says("an agent is starting or ending")?;
    // It puts them back.
    agent.signal(Signal::SIGCONT)?;
    tmux.wait_for(", up ")?;
    watch.says("the agent is done")?;
    agent.stop()
}
