//! A real phone whose tone the PBX recognises, and that hears the PBX's.

use std::{net::SocketAddrV4, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, PBX, Plan, StrictPbx,
    audio::{self, Speaker},
    baresip::Baresip,
};

use super::{MEDIA, PBX_AUDIO};
use crate::scene::{SOON, Scene, With, play};

const PHONE_TONE: u32 = 440;
const PBX_TONE: u32 = 1000;

/// Length of the conversation.
const TALK: Duration = Duration::from_secs(2);

#[test]
fn baresip_and_pbx_hear_each_other() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let (pbx, phone) = talk(scene)?;
        ensure!(pbx > 0.9, "the PBX hears {pbx:.3} of the phone's tone");
        ensure!(phone > 0.9, "the phone hears {phone:.3} of the PBX's tone");
        Ok(())
    })?;
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = talk(scene)?;
        ensure!(pbx > 0.9, "the PBX hears {pbx:.3} of the phone's tone");
        ensure!(phone == 0.0, "the phone hears {phone:.3} without media");
        Ok(())
    })
}

/// Lets the phone call, and the PBX hang up. Returns how much of the other's tone is in what the PBX and the phone hear.
fn talk(scene: &Scene<'_>) -> Result<(f64, f64)> {
    let here = SocketAddrV4::new(*PBX.ip(), PBX_AUDIO);
    let speaker = Speaker::start(&scene.lab.pbx, here, PBX_TONE)?;
    let pbx = StrictPbx::start_with_audio(&scene.lab.pbx, Answers::ToSource, PBX_AUDIO)?;
    let phone = scene.lab.phone();
    let mut baresip = Baresip::start_speaking(phone, "1000", PHONE_TONE, "sip:2000@203.0.113.10")?;
    let call = pbx.call(SOON)?;
    speaker.speak_to(call.audio.context("the phone describes no audio")?);
    thread::sleep(TALK);
    let heard = speaker.heard();
    pbx.request(&call, "BYE")?;
    baresip.wait_for("terminated", SOON)?;
    let at_pbx = audio::share(&heard, audio::RATE, PHONE_TONE);
    let at_phone = baresip
        .heard()
        .map_or(0.0, |(sound, rate)| audio::share(&sound, rate, PBX_TONE));
    Ok((at_pbx, at_phone))
}
