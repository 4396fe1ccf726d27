//! Twinkle, a phone with STUN: it asks for its address from its SIP port, and writes the answer into Via and Contact.
//! (baresip asks for the addresses of media only.)

use std::{
    fs, io::Write as _, net::SocketAddrV4, process::ChildStdin, process::Command, time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    asterisk::PASSWORD,
    lab::{PBX, Phone},
    process::Process,
    sound_card::{LOUDSPEAKER, MICROPHONE, SoundCard},
};

const START: Duration = Duration::from_secs(5);

/// A running Twinkle.
#[derive(Debug)]
pub struct Twinkle {
    process: Process,
    // Twinkle ends when this is closed.
    commands: ChildStdin,
    card: Option<SoundCard>,
}

/// Profile of a phone that speaks. Its codec has the rate of the card. Twinkle takes a lasting tone for noise or silence.
const SPEAKING: &str = "\
codecs=g711u
speex_dsp_vad=no
speex_dsp_nrd=no
speex_dsp_agc=no
";

impl Twinkle {
    /// Starts it as `user` on `phone`, with a STUN server or none: it registers, and answers every call.
    pub fn start(phone: &Phone, user: &str, stun: Option<SocketAddrV4>) -> Result<Self> {
        let server = stun.map(|server| format!("stun_server={server}\n"));
        Self::start_with(phone, user, &server.unwrap_or_default(), None)
    }

    /// Starts it as one that sends a tone of `hertz` in its calls, and keeps what it hears.
    pub fn start_speaking(phone: &Phone, user: &str, hertz: u32) -> Result<Self> {
        Self::start_with(phone, user, SPEAKING, Some(hertz))
    }

    fn start_with(phone: &Phone, user: &str, profile: &str, hertz: Option<u32>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let card = hertz.map(|hertz| SoundCard::start(dir.path(), hertz));
        let card = card.transpose()?;
        let [loudspeaker, microphone] = if card.is_some() {
            [LOUDSPEAKER, MICROPHONE]
        } else {
            ["null"; 2]
        };
        let settings = dir.path().join(".twinkle");
        fs::create_dir(&settings)?;
        fs::write(
            settings.join("twinkle.sys"),
            format!(
                "sip_port={}\nvalidate_audio_dev=no\nplay_ringtone=no\nplay_ringback=no\n\
                 dev_speaker=alsa:{loudspeaker}\ndev_mic=alsa:{microphone}\n",
                phone.private.port()
            ),
        )?;
        fs::write(
            settings.join("phone.cfg"),
            format!(
                "user_name={user}\nauth_name={user}\nauth_pass={PASSWORD}\nuser_domain={pbx}\nregistrar={pbx}\nregistration_time=60\n\
                 sip_transport=udp\npres_publish_startup=no\n{profile}",
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
        let mut twinkle = Self {
            process,
            commands,
            card,
        };
        twinkle.process.wait_bound(phone.private.port(), START)?;
        twinkle.tell("auto_answer -a on")?;
        Ok(twinkle)
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
        self.process.wait_for(text, limit)
    }

    /// Returns the sound that it heard so far, and its samples a second.
    pub fn heard(&self) -> Result<(Vec<i16>, u32)> {
        self.card.as_ref().context("it has no sound card")?.heard()
    }

    /// Returns its output so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        Ok(writeln!(self.commands, "{command}")?)
    }
}
