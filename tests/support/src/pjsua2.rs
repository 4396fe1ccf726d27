//! A phone on pjsua2, pjsip's library for phones.

use std::{env, io::Write as _, process::ChildStdin, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    asterisk::PASSWORD,
    lab::{PBX, Phone},
    process::Process,
};

// Busy machines take long to start Python.
const START: Duration = Duration::from_secs(60);

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
        Self::start_with(phone, user, 0, dial)
    }

    /// Starts it as one that sends a tone of `hertz` in its calls, and keeps what it hears.
    pub fn start_speaking(phone: &Phone, user: &str, hertz: u32) -> Result<Self> {
        Self::start_with(phone, user, hertz, None)
    }

    fn start_with(phone: &Phone, user: &str, hertz: u32, dial: Option<&str>) -> Result<Self> {
        let folder = env::var_os(FOLDER).with_context(|| {
            format!("{FOLDER} names no folder with pjsua2: run `cargo xtask test interop`")
        })?;
        let mut command = Command::new("python3");
        command
            .args(["-c", include_str!("pjsua2.py"), user, PASSWORD])
            .args([PBX.ip().to_string(), phone.private.ip().to_string()])
            .args([phone.private.port().to_string(), hertz.to_string()])
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
        self.process.wait_for(text, limit)
    }

    /// Returns the sound that it heard in its call, and its samples a second. The call must be over.
    pub fn heard(&self) -> Result<(Vec<i16>, u32)> {
        let mut sound = hound::WavReader::open(self.process.file("heard.wav"))?;
        let rate = sound.spec().sample_rate;
        Ok((sound.samples().collect::<Result<_, _>>()?, rate))
    }
}
