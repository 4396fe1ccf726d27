//! Linphone, a phone, as `linphonec`.

use std::{
    fs,
    io::Write as _,
    process::{ChildStdin, Command},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    asterisk::PASSWORD,
    audio::{RATE, tone},
    lab::{PBX, Phone},
    process::Process,
};

const START: Duration = Duration::from_secs(10);

/// Packets of the tone that it speaks: ten seconds, over and over.
const PACKETS: usize = 500;

const PROMPT: &str = "linphonec> ";

/// A running Linphone.
#[derive(Debug)]
pub struct Linphone {
    process: Process,
    commands: ChildStdin,
}

impl Linphone {
    /// Starts it as `user` on `phone`. It registers, answers every call, sends a tone of `hertz` in its calls, and keeps what it
    /// hears.
    pub fn start_speaking(phone: &Phone, user: &str, hertz: u32) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let pbx = PBX.ip();
        fs::create_dir_all(dir.path().join(".local/share/linphone"))?;
        fs::write(
            dir.path().join("settings"),
            format!(
                "[sip]\nuse_ipv6=0\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\ndefault_proxy=0\n\
                 [net]\ndns_srv_enabled=0\n\
                 [proxy_0]\nreg_proxy=<sip:{pbx}>\nreg_identity=<sip:{user}@{pbx}>\n\
                 reg_expires=60\nreg_sendregister=1\n\
                 [auth_info_0]\nusername={user}\npasswd={PASSWORD}\n\
                 [sound]\nechocancellation=0\n",
                port = phone.private.port(),
            ),
        )?;
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = hound::WavWriter::create(dir.path().join("tone.wav"), spec)?;
        for sample in (0..PACKETS).flat_map(|packet| tone(packet, hertz)) {
            file.write_sample(sample)?;
        }
        file.finalize()?;
        // Without `--pipe` it does nothing while it waits for a command.
        let mut command = Command::new("linphonec");
        command
            .args(["--pipe", "-a", "-c", "settings"])
            .env("HOME", dir.path());
        let (process, commands) = Process::spawn_told(&phone.netns, &mut command, dir)?;
        let mut linphone = Self { process, commands };
        linphone.wait_for(PROMPT, START)?;
        for command in ["soundcard use files", "play tone.wav", "record heard.wav"] {
            linphone.tell(command)?;
        }
        Ok(linphone)
    }

    /// Waits until the PBX has accepted the registration.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.process.output().contains("registered, identity=") {
            ensure!(
                Instant::now() < deadline,
                "not registered:\n{}",
                self.process.output()
            );
            self.tell("status register")?;
        }
        Ok(())
    }

    /// Calls `uri`.
    pub fn call(&mut self, uri: &str) -> Result<()> {
        self.tell(&format!("call {uri}"))
    }

    /// Waits until it has printed this text.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.process.wait_for(text, limit)
    }

    /// Returns the sound that it heard in its call, and its samples a second. The call must be over.
    pub fn heard(&self) -> Result<(Vec<i16>, u32)> {
        let path = self.process.file("heard.wav");
        let mut sound = hound::WavReader::open(path).context("Linphone heard nothing")?;
        let rate = sound.spec().sample_rate;
        // The length that Linphone writes includes the header.
        Ok((sound.samples().map_while(Result::ok).collect(), rate))
    }

    /// Gives it a command, and waits for its next prompt: it keeps one command only.
    fn tell(&mut self, command: &str) -> Result<()> {
        let prompts = |process: &Process| process.output().matches(PROMPT).count();
        let before = prompts(&self.process);
        writeln!(self.commands, "{command}")?;
        self.process
            .wait_until(&format!("end of `{command}`"), START, |process| {
                prompts(process) > before
            })
    }
}
