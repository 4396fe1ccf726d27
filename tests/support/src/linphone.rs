//! Linphone, a phone that takes its Contact from the `rport` of the first answer.

use std::{fs, io::Write as _, process::ChildStdin, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    asterisk::PASSWORD,
    lab::{PBX, Phone},
    process::Process,
};

const START: Duration = Duration::from_secs(5);

/// A running Linphone.
#[derive(Debug)]
pub struct Linphone {
    process: Process,
    // Linphone ends when this is closed.
    commands: ChildStdin,
}

impl Linphone {
    /// Starts it as `user` on `phone`: it registers, and answers every call.
    pub fn start(phone: &Phone, user: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let settings = dir.path().join("linphonerc");
        fs::write(
            &settings,
            format!(
                "[sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\ndefault_proxy=0\n\
                 [auth_info_0]\nusername={user}\npasswd={PASSWORD}\n\
                 [proxy_0]\nreg_proxy=<sip:{pbx}>\nreg_identity=sip:{user}@{pbx}\nreg_expires=60\nreg_sendregister=1\n",
                port = phone.private.port(),
                pbx = PBX.ip(),
            ),
        )?;
        let mut command = Command::new("linphonec");
        command.args(["-a", "-S", "-c"]).arg(&settings);
        command.env("HOME", dir.path());
        let (process, commands) = Process::spawn_told(&phone.netns, &mut command, dir)?;
        let mut phone_process = Self { process, commands };
        phone_process
            .process
            .wait_bound(phone.private.port(), START)?;
        // There is no sound card.
        phone_process.tell("soundcard use files")?;
        Ok(phone_process)
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
