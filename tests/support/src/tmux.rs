//! A terminal in a network namespace, by tmux.

use std::{
    fs,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::netns::{Netns, output};

const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A terminal with a shell in it. Dropping it ends both.
#[derive(Debug)]
pub struct Tmux {
    dir: TempDir,
}

impl Tmux {
    /// Opens a terminal of this size.
    pub fn open(netns: &Netns, width: u16, height: u16) -> Result<Self> {
        let tmux = Self {
            dir: tempfile::tempdir()?,
        };
        let mut command = tmux.command();
        command
            .args(["new-session", "-d"])
            .args(["-x", &width.to_string(), "-y", &height.to_string()])
            .args(["env", "PS1=ready> ", "sh"]);
        let opened = netns.enter(|| output(&mut command, ""))??;
        ensure!(opened.status.success(), "{opened:?}");
        tmux.wait_for("ready>")?;
        Ok(tmux)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        let socket = self.dir.path().join("socket");
        command
            .arg("-S")
            .arg(socket)
            .args(["-u", "-f", "/dev/null"]);
        command
    }

    fn tmux(&self, args: &[&str]) -> Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = output(self.command().args(args), "")?;
        ensure!(
            status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Types a text.
    pub fn types(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", "--", text]).map(drop)
    }

    /// Presses a key, by tmux's name for it.
    pub fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// Has the shell run a command.
    pub fn run(&self, command: &str) -> Result<()> {
        self.types(command)?;
        self.press("Enter")
    }

    /// Changes the size.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        let [width, height] = [width, height].map(|size| size.to_string());
        self.tmux(&["resize-window", "-x", &width, "-y", &height])
            .map(drop)
    }

    /// Returns the text that the terminal shows.
    pub fn shown(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the terminal shows this. Returns all that it shows.
    pub fn wait_for(&self, text: &str) -> Result<String> {
        self.wait_until(&format!("`{text}`"), |shown| shown.contains(text))
    }

    /// Waits until the terminal shows such a text. Returns it.
    pub fn wait_until(&self, what: &str, is: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown()?;
            if is(&shown) {
                return Ok(shown);
            }
            ensure!(Instant::now() < deadline, "no {what} in:\n{shown}");
            thread::sleep(POLL);
        }
    }

    /// Whether a program shows its other screen.
    fn is_on_other_screen(&self) -> Result<bool> {
        let is = self.tmux(&["display-message", "-p", "#{alternate_on}"])?;
        Ok(is.trim() == "1")
    }

    /// Waits until a program shows its other screen.
    pub fn wait_for_other_screen(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_on_other_screen()? {
            ensure!(Instant::now() < deadline, "it has not taken the terminal");
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Sends a signal to the program that the shell runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
        let child = children.split_ascii_whitespace().next();
        let child = child.context("the shell runs nothing")?.parse()?;
        Ok(kill(Pid::from_raw(child), signal)?)
    }

    /// Fails unless the terminal is as the shell wants it: its first screen, a visible cursor, lines and echo.
    pub fn is_restored(&self) -> Result<()> {
        self.run("stty -a; echo over")?;
        // The echo of the command has the word, too.
        let shown = self.wait_until("end of stty", |shown| shown.lines().any(|l| l == "over"))?;
        ensure!(!self.is_on_other_screen()?, "it is on its other screen");
        let cursor = self.tmux(&["display-message", "-p", "#{cursor_flag}"])?;
        ensure!(cursor.trim() == "1", "it has no cursor");
        for mode in ["icanon", "echo", "isig", "opost"] {
            let mut words = shown.split_whitespace();
            ensure!(words.any(|word| word == mode), "no {mode} in:\n{shown}");
        }
        Ok(())
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ended = self.tmux(&["kill-server"]);
    }
}
