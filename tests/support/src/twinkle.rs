//! Twinkle, a phone with STUN: it asks for its address from its SIP port, and writes the answer into Via and Contact.
//! (baresip asks for the addresses of media only.)

use std::{
    fs, io::Write as _, net::SocketAddrV4, process::ChildStdin, process::Command, time::Duration,
};

use anyhow::Result;

use crate::{
    asterisk::PASSWORD,
    lab::{PBX, Phone},
    process::Process,
};

const START: Duration = Duration::from_secs(5);

/// A running Twinkle.
#[derive(Debug)]
pub struct Twinkle {
    process: Process,
    // Twinkle ends when this is closed.
    commands: ChildStdin,
}

impl Twinkle {
    /// Starts it as `user` on `phone`, with a STUN server or none: it registers, and answers every call.
    pub fn start(phone: &Phone, user: &str, stun: Option<SocketAddrV4>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let settings = dir.path().join(".twinkle");
        fs::create_dir(&settings)?;
        fs::write(
            settings.join("twinkle.sys"),
            format!(
                "sip_port={}\nvalidate_audio_dev=no\nplay_ringtone=no\nplay_ringback=no\n\
                 dev_speaker=alsa:null\ndev_mic=alsa:null\n",
                phone.private.port()
            ),
        )?;
        let server = stun.map(|server| format!("stun_server={server}\n"));
        fs::write(
            settings.join("phone.cfg"),
            format!(
                "user_name={user}\nauth_name={user}\nauth_pass={PASSWORD}\nuser_domain={pbx}\nregistrar={pbx}\nregistration_time=60\n\
                 sip_transport=udp\npres_publish_startup=no\n{}",
                server.unwrap_or_default(),
                pbx = PBX.ip(),
            ),
        )?;
        let (process, commands) = Process::spawn_told(
            &phone.netns,
            Command::new("twinkle-console")
                .arg("phone.cfg")
                .env("HOME", dir.path()),
            dir,
        )?;
        let mut phone_process = Self { process, commands };
        phone_process
            .process
            .wait_bound(phone.private.port(), START)?;
        phone_process.tell("auto_answer -a on")?;
        Ok(phone_process)
    }

    /// Waits until the PBX has accepted the registration and Twinkle answers calls. Before, it refuses a call or lets
    /// it ring.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let signs = ["registration succeeded", "Auto answer enabled."];
        self.process
            .wait_until(&format!("lines {signs:?}"), limit, |process| {
                let output = process.output();
                signs.iter().all(|sign| output.contains(sign))
            })
    }

    /// Calls `uri`.
    pub fn call(&mut self, uri: &str) -> Result<()> {
        self.tell(&format!("call {uri}"))
    }

    /// Waits until it has printed this text.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.process
            .wait_until(&format!("line `{text}`"), limit, |process| {
                process.output().contains(text)
            })
    }

    /// Returns its output so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        Ok(writeln!(self.commands, "{command}")?)
    }
}
