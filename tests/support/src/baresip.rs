//! baresip, a phone.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    asterisk::PASSWORD,
    lab::{PBX, Phone},
    process::Process,
};

const START: Duration = Duration::from_secs(5);

/// Configuration without sound and without help for NAT.
const CONFIG: &str = "\
sip_listen LISTEN
audio_player aubridge,none
audio_source aubridge,none
audio_alert aubridge,none
module_path /usr/lib/baresip/modules
module g711.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
";

/// What a phone that speaks has beside it: a tone, and a file of what it hears.
const SPEAKING: &str = "\
audio_source ausine,HERTZ
ausrc_srate 48000
ausrc_channels 2
module ausine.so
module sndfile.so
snd_path .
";

/// A running baresip.
#[derive(Debug)]
pub struct Baresip(Process);

impl Baresip {
    /// Starts it as `user` on `phone`. It registers, answers every call, and calls `dial` if there is one.
    pub fn start(phone: &Phone, user: &str, dial: Option<&str>) -> Result<Self> {
        Self::start_with(phone, user, "", dial, CONFIG)
    }

    /// Starts it as one that sends a tone of `hertz` in its calls, and keeps what it hears.
    pub fn start_speaking(phone: &Phone, user: &str, hertz: u32, dial: &str) -> Result<Self> {
        let speaking = SPEAKING.replace("HERTZ", &hertz.to_string());
        let config = CONFIG.replace("audio_source aubridge,none\n", &speaking);
        Self::start_with(phone, user, "", Some(dial), &config)
    }

    /// Starts it as `user` on `phone`, with SIP outbound (RFC 5626). If the registrar agrees, it keeps its flow alive
    /// by STUN requests from its SIP port to that of the PBX.
    pub fn start_outbound(phone: &Phone, user: &str) -> Result<Self> {
        let parameters = format!(";sipnat=outbound;outbound=\"sip:{}\"", PBX.ip());
        Self::start_with(phone, user, &parameters, None, CONFIG)
    }

    fn start_with(
        phone: &Phone,
        user: &str,
        parameters: &str,
        dial: Option<&str>,
        config: &str,
    ) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::write(
            dir.path().join("config"),
            config.replace("LISTEN", &phone.private.to_string()),
        )?;
        fs::write(
            dir.path().join("accounts"),
            format!(
                "<sip:{user}@{}>;auth_pass={PASSWORD};regint=60;answermode=auto{parameters}\n",
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

    /// Waits until it has printed this text.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.0.wait_for(text, limit)
    }

    /// Returns the sound that it heard in its call, and its samples a second. The call must be over.
    pub fn heard(&self) -> Result<(Vec<i16>, u32)> {
        let files = fs::read_dir(self.0.file(""))?;
        let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
        let path = paths.find(|path| path.to_string_lossy().ends_with("-dec.wav"));
        let mut sound = hound::WavReader::open(path.context("baresip heard nothing")?)?;
        let rate = sound.spec().sample_rate;
        Ok((sound.samples().collect::<Result<_, _>>()?, rate))
    }

    /// Returns its output so far.
    pub fn output(&self) -> String {
        self.0.output()
    }
}
