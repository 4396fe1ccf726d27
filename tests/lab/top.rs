//! `sipnat top`, in a terminal.

use std::{env, process::Command, thread, time::Duration};

use anyhow::{Result, ensure};
use nat_test_support::{
    Answers, Lab, Plan, Sipnat, StrictPbx, sipnat,
    sipp::{Scenario, Sipp},
    tmux::Tmux,
};
use nat_userspace::commands::top::Screen;
use nix::sys::signal::Signal;

use crate::scene::SOON;

/// Returns the command line of `sipnat top`.
fn command() -> Result<String> {
    Ok(format!("{} top", sipnat::binary()?.display()))
}

/// A call with a re-INVITE is shown and found, in a small and in a large terminal.
#[test]
fn a_call_is_shown_and_found() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let tmux = Tmux::open(&lab.pbx, 80, 24)?;
    tmux.run(&command()?)?;
    let shown = tmux.wait_for("none among the messages that are kept")?;
    ensure!(shown.contains("on eth0 (xdp"), "{shown}");

    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let _sipp = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.call(SOON)?;
    pbx.request(&call, "INVITE")?;
    for (width, height) in [(80, 24), (200, 50)] {
        tmux.resize(width, height)?;
        // The re-INVITE and its ACK.
        let is_there = |shown: &str| {
            let figure = |name: &str| {
                let mut lines = shown.lines();
                let line = lines.find(|line| line.trim_start().starts_with(name))?;
                line.split_whitespace().nth(2)?.parse::<u32>().ok()
            };
            figure("redirected") == Some(2) && shown.contains("CSEQ") == (width == 200)
        };
        let shown = tmux.wait_until("redirects", is_there)?;
        let [title, figures @ ..] = &shown.lines().collect::<Vec<_>>()[..] else {
            anyhow::bail!("nothing is shown");
        };
        ensure!(
            title.starts_with("sipnat ") && title.contains("up "),
            "{shown}"
        );
        let bindings = figures.iter().find(|line| line.contains("active"));
        let bindings = bindings.map(|line| line.split_whitespace().rev().collect::<Vec<_>>());
        ensure!(
            bindings.is_some_and(|words| words[..3] == ["0", "1", "active"]),
            "{shown}"
        );
        for words in [
            "recent redirects",
            "INVITE",
            "60.17.196.2:5060",
            "60.17.196.2:49163",
            "in-dialog r",
            "DIALOGS 1 of 81920",
            "q ends",
        ] {
            ensure!(shown.contains(words), "no `{words}` in:\n{shown}");
        }
        let has_all = shown.contains("redirected by dialog end") && shown.contains("BINDING");
        ensure!(has_all == (width == 200), "{shown}");
    }

    // By user, address and Call-ID: the terminal's binding, and the answers that were not redirected.
    for search in ["1000", "60.17.196.2", &call.call_id] {
        tmux.types("/")?;
        tmux.wait_for("search for user, address or Call-ID: _")?;
        tmux.run(search)?;
        let shown = tmux.wait_for(&format!("found for {search}"))?;
        for words in ["200 (INVITE)", "1000@203.0.113.10", "dialog   active"] {
            let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(flat.contains(&words), "{search}: no `{words}` in:\n{shown}");
        }
    }
    tmux.types("/")?;
    tmux.run("nobody")?;
    tmux.wait_for("nothing is known of a call `nobody`")?;
    tmux.press("Escape")?;
    tmux.wait_for("recent redirects")?;

    tmux.types("q")?;
    tmux.wait_for("ready>")?;
    tmux.is_restored()?;
    agent.stop()
}

#[test]
fn the_terminal_is_restored_after_signals_and_the_end_of_the_agent() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let tmux = Tmux::open(&lab.pbx, 80, 24)?;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        tmux.run(&command()?)?;
        tmux.wait_for("recent redirects")?;
        tmux.wait_for_other_screen()?;
        tmux.signal(signal)?;
        tmux.wait_until("the shell", |shown| shown.contains("ready>"))?;
        tmux.is_restored()?;
        tmux.run("clear")?;
    }
    tmux.run(&command()?)?;
    tmux.wait_for("recent redirects")?;
    tmux.press("C-c")?;
    tmux.wait_for("ready>")?;
    tmux.is_restored()?;
    tmux.run("clear")?;

    tmux.run(&command()?)?;
    tmux.wait_for("recent redirects")?;
    agent.stop()?;
    tmux.wait_for("no agent is running in this network namespace")?;
    tmux.is_restored()
}

/// Program of the test below.
#[test]
#[ignore = "it panics"]
fn a_screen_that_panics() {
    let _screen = Screen::open().expect("a terminal");
    thread::sleep(Duration::from_secs(1));
    panic!("on purpose")
}

#[test]
fn the_terminal_is_restored_after_a_panic() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let tmux = Tmux::open(&lab.pbx, 80, 24)?;
    let program = env::current_exe()?;
    tmux.run(&format!(
        "{} --exact top::a_screen_that_panics --ignored --nocapture",
        program.display()
    ))?;
    tmux.wait_for_other_screen()?;
    tmux.wait_for("on purpose")?;
    tmux.wait_for("test result: FAILED")?;
    tmux.is_restored()
}

#[test]
fn without_a_terminal_it_says_so() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let mut command = Command::new(sipnat::binary()?);
    let output = lab.pbx.output(command.arg("top"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("`sipnat top` needs a terminal"), "{text}");
    assert!(output.stdout.is_empty(), "it has written to no terminal");
    agent.stop()
}
