//! baresip, a phone that people use.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    lab::{PBX, Phone},
    process::Process,
};

const START: Duration = Duration::from_secs(5);

/// Without sound, and without `stun`, `outbound` and whatever else would help it through a NAT.
const CONFIG: &str = "\
sip_listen LISTEN
audio_player aubridge,none
audio_source aubridge,none
audio_alert aubridge,none
module_path /usr/lib/baresip/modules
module g711.so
module aubridge.so
module_tmp account.so
module_app menu.so
";

/// A running baresip.
#[derive(Debug)]
pub struct Baresip(Process);

impl Baresip {
    /// Starts it as `user` on `phone`: it registers, answers every call, and calls `dial` when there is one.
    pub fn start(phone: &Phone, user: &str, dial: Option<&str>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::write(
            dir.path().join("config"),
            CONFIG.replace("LISTEN", &phone.private.to_string()),
        )?;
        fs::write(
            dir.path().join("accounts"),
            format!(
                "<sip:{user}@{}>;auth_pass=none;regint=60;answermode=auto\n",
                PBX.ip()
            ),
        )?;
        let mut command = Command::new("baresip");
        command.arg("-f").arg(dir.path());
        if let Some(uri) = dial {
            command.args(["-e", &format!("/dial {uri}")]);
        }
        let mut process = Process::spawn(&phone.netns, &mut command, dir)?;
        process.wait_bound(phone.private.port(), START)?;
        Ok(Self(process))
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.0.output()
    }
}
