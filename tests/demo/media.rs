//! A call in which the phone hears nothing without sipnat, and the PBX's tone with it.

use std::{
    net::SocketAddrV4,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nat_test_support::{
    Answers, Lab, PBX, Plan, Sipnat, StrictPbx,
    audio::{self, Speaker},
    baresip::Baresip,
    capture::{Capture, Direction, Tap},
    ladder::{Ladder, Style},
};

use crate::{SOON, TRANSIT, heading};

const INTRODUCTION: &str = "\
The lab, in network namespaces of this machine:
  phone   192.168.1.10:5060, baresip. It speaks a tone of 440 Hz. Its SDP names its private address.
  router  maps it to ports of 60.17.196.2 (nftables masquerade). It has no SIP ALG.
  ISP     drops what is for private addresses.
  PBX     203.0.113.10 on eth0. It speaks a tone of 1000 Hz, from port 20000 to where the phone's SDP says.
";

/// The PBX's port for audio.
const AUDIO: SocketAddrV4 = SocketAddrV4::new(*PBX.ip(), 20_000);

const PHONE_TONE: u32 = 440;
const PBX_TONE: u32 = 1000;

/// Length of the conversation.
const TALK: Duration = Duration::from_secs(3);

/// What was heard.
struct Outcome {
    /// Packets of the PBX's audio that reached the phone.
    packets: usize,
    /// How much of what the phone heard was the PBX's tone: 0 none, 1 all.
    tone: f64,
}

/// Makes the same call twice: without sipnat and with it.
pub(crate) fn demo(style: Style) -> Result<()> {
    let begin = Instant::now();
    println!("{INTRODUCTION}");

    heading(style, "Without sipnat");
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    let without = call(&lab, None, style)?;
    drop(lab);

    heading(style, "With sipnat and --media");
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    let sipnat = Sipnat::start(&lab.pbx, &["--media"])?;
    println!(
        "$ sipnat run --iface eth0 --media\n{}\n",
        sipnat.log().trim_end()
    );
    let with = call(&lab, Some(&sipnat), style)?;
    sipnat.stop()?;

    println!("All of this took {:.1} s.", begin.elapsed().as_secs_f32());
    if without.packets > 0 {
        bail!("the phone should have got no audio at its private address");
    }
    if with.tone < 0.9 {
        bail!("the phone should have heard the PBX's tone");
    }
    Ok(())
}

/// The phone calls, both speak, and the PBX hangs up.
fn call(lab: &Lab, sipnat: Option<&Sipnat<'_>>, style: Style) -> Result<Outcome> {
    let capture = lab.capture()?;
    let speaker = Speaker::start(&lab.pbx, AUDIO, PBX_TONE)?;
    let pbx = StrictPbx::start_with_audio(&lab.pbx, Answers::ToSource, AUDIO.port())?;
    let called = "sip:2000@203.0.113.10";
    let mut phone = Baresip::start_speaking(lab.phone(), "1000", PHONE_TONE, called)?;
    let dialog = pbx.call(SOON)?;
    let advertised = dialog.audio.context("the phone describes no audio")?;
    speaker.speak_to(advertised);
    thread::sleep(TALK);
    let heard = speaker.heard();
    let streams = sipnat
        .map(|sipnat| sipnat.command(&["media"]))
        .transpose()?;
    let tone = if pbx.request(&dialog, "BYE").is_ok() {
        phone.wait_for("terminated", SOON)?;
        let (sound, rate) = phone.heard()?;
        audio::share(&sound, rate, PBX_TONE)
    } else {
        0.0
    };
    thread::sleep(TRANSIT);

    let mut sip = capture.packets();
    sip.retain(|packet| packet.sip().is_some());
    println!("{}", Ladder::new(&sip, style));
    let from_phone = count(&capture, Tap::Phone(0, 0), Direction::Out);
    let at_pbx = count(&capture, Tap::Pbx, Direction::In);
    let from_pbx = count(&capture, Tap::Pbx, Direction::Out);
    let packets = count(&capture, Tap::Phone(0, 0), Direction::In);
    println!(
        "phone speaks   {from_phone:>4} packets to {AUDIO}, {at_pbx:>4} arrive. {}",
        verdict(
            "PBX",
            audio::share(&heard, audio::RATE, PHONE_TONE),
            PHONE_TONE
        ),
    );
    println!(
        "PBX speaks     {from_pbx:>4} packets to {advertised}, {packets:>4} arrive. {}\n",
        verdict("phone", tone, PBX_TONE),
    );
    if let Some(streams) = streams {
        println!("$ sipnat media        (before the BYE)\n{streams}");
    }
    Ok(Outcome { packets, tone })
}

/// Counts packets of the PBX's audio.
fn count(capture: &Capture, tap: Tap, direction: Direction) -> usize {
    let packets = capture.at(tap, direction);
    let audio = packets.iter().filter(|packet| {
        [packet.source, packet.destination]
            .map(|end| end.port())
            .contains(&AUDIO.port())
    });
    audio.count()
}

/// Says what somebody hears.
fn verdict(who: &str, share: f64, hertz: u32) -> String {
    if share > 0.9 {
        format!("The {who} hears {hertz} Hz.")
    } else {
        format!("The {who} hears nothing.")
    }
}
