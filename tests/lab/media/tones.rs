//! Real phones whose tone the PBX recognises, and that hear the PBX's.

use std::{net::SocketAddrV4, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, PBX, Plan, StrictPbx,
    audio::{self, Speaker},
    baresip::Baresip,
    lab::Phone,
    twinkle::Twinkle,
};

use super::{MEDIA, PBX_AUDIO};
use crate::scene::{SOON, Scene, With, play};

const PHONE_TONE: u32 = 440;
const PBX_TONE: u32 = 1000;

/// Length of the conversation.
const TALK: Duration = Duration::from_secs(2);

const CALLED: &str = "sip:2000@203.0.113.10";

/// A real phone that speaks.
trait Talker: Sized {
    /// Starts it, and has it call the PBX.
    fn call(phone: &Phone) -> Result<Self>;

    /// Waits until its call is over. Returns the sound that it heard, and its samples a second.
    fn heard(&mut self) -> Result<(Vec<i16>, u32)>;
}

impl Talker for Baresip {
    fn call(phone: &Phone) -> Result<Self> {
        Self::start_speaking(phone, "1000", PHONE_TONE, CALLED)
    }

    fn heard(&mut self) -> Result<(Vec<i16>, u32)> {
        self.wait_for("terminated", SOON)?;
        Self::heard(self)
    }
}

impl Talker for Twinkle {
    fn call(phone: &Phone) -> Result<Self> {
        let mut twinkle = Self::start_speaking(phone, "1000", PHONE_TONE)?;
        twinkle.wait_ready(SOON)?;
        Self::call(&mut twinkle, CALLED)?;
        Ok(twinkle)
    }

    fn heard(&mut self) -> Result<(Vec<i16>, u32)> {
        self.wait_for("far end ended call", SOON)?;
        Self::heard(self)
    }
}

#[test]
fn baresip_and_pbx_hear_each_other() -> Result<()> {
    hear_each_other::<Baresip>()
}

#[test]
fn twinkle_and_pbx_hear_each_other() -> Result<()> {
    hear_each_other::<Twinkle>()
}

fn hear_each_other<T: Talker>() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let (pbx, phone) = talk::<T>(scene)?;
        ensure!(pbx > 0.9, "the PBX hears {pbx:.3} of the phone's tone");
        ensure!(phone > 0.9, "the phone hears {phone:.3} of the PBX's tone");
        Ok(())
    })?;
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = talk::<T>(scene)?;
        ensure!(pbx > 0.9, "the PBX hears {pbx:.3} of the phone's tone");
        ensure!(phone == 0.0, "the phone hears {phone:.3} without media");
        Ok(())
    })
}

/// Lets the phone call, and the PBX hang up. Returns how much of the other's tone is in what the PBX and the phone hear.
fn talk<T: Talker>(scene: &Scene<'_>) -> Result<(f64, f64)> {
    let here = SocketAddrV4::new(*PBX.ip(), PBX_AUDIO);
    let speaker = Speaker::start(&scene.lab.pbx, here, PBX_TONE)?;
    let pbx = StrictPbx::start_with_audio(&scene.lab.pbx, Answers::ToSource, PBX_AUDIO)?;
    let mut phone = T::call(scene.lab.phone())?;
    // Twinkle opens its sound card before it sends ACK, which takes seconds on a busy machine.
    let call = pbx.call(4 * SOON)?;
    speaker.speak_to(call.audio.context("the phone describes no audio")?);
    thread::sleep(TALK);
    let heard = speaker.heard();
    pbx.request(&call, "BYE")?;
    let at_pbx = audio::share(&heard, audio::RATE, PHONE_TONE);
    let at_phone = phone
        .heard()
        .map_or(0.0, |(sound, rate)| audio::share(&sound, rate, PBX_TONE));
    Ok((at_pbx, at_phone))
}
