//! A phone on pjsua2, pjsip's library for phones.

use std::{env, io::Write as _, process::ChildStdin, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    asterisk::PASSWORD,
    lab::{PBX, Phone},
    process::Process,
};

const START: Duration = Duration::from_secs(10);

/// Variable that names the folder with pjsua2 for Python.
const FOLDER: &str = "SIPNAT_PJSUA2";

/// A running phone.
#[derive(Debug)]
pub struct Pjsua2 {
    process: Process,
    // Kept open: the phone reads one line.
    _commands: ChildStdin,
}

impl Pjsua2 {
    /// Starts it as `user` on `phone`. It registers, answers every call, and calls `dial` if there is one.
    pub fn start(phone: &Phone, user: &str, dial: Option<&str>) -> Result<Self> {
        let folder = env::var_os(FOLDER).with_context(|| {
            format!("{FOLDER} names no folder with pjsua2: run `cargo xtask test interop`")
        })?;
        let mut command = Command::new("python3");
        command
            .args(["-c", include_str!("pjsua2.py"), user, PASSWORD])
            .args([PBX.ip().to_string(), phone.private.ip().to_string()])
            .arg(phone.private.port().to_string())
            .env("PYTHONPATH", folder);
        let dir = tempfile::tempdir()?;
        let (mut process, mut commands) = Process::spawn_told(&phone.netns, &mut command, dir)?;
        process.wait_bound(phone.private.port(), START)?;
        writeln!(commands, "{}", dial.unwrap_or_default())?;
        Ok(Self {
            process,
            _commands: commands,
        })
    }

    /// Waits until it has printed this text.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.process
            .wait_until(&format!("line `{text}`"), limit, |process| {
                process.output().contains(text)
            })
    }
}
