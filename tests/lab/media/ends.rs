//! Streams that end.

use std::{thread, time::Instant};

use anyhow::{Result, ensure};
use nat_test_support::{Call, Plan};

use super::{
    MEDIA, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, call, in_a_call, pbx_sdp, rtp,
};
use crate::scene::{SOON, play};

/// After BYE the slot ends, and packets go where the PBX sends them.
#[test]
fn the_end_of_a_call_ends_its_streams() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        let call = call(stage, &pbx, &phone)?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        stream.to_phone(&rtp(1, PBX_SSRC))?;
        call.reaches_phone("BYE")?;
        // The programs look at the owner of a slot once a second, when a packet comes.
        let until = Instant::now() + 4 * SOON;
        while scene.count("media_removed")? == 0 {
            ensure!(Instant::now() < until, "no slot has ended");
            stream.pbx.send_to(&rtp(2, PBX_SSRC), stream.advertised)?;
        }
        stream.misses_phone(&rtp(3, PBX_SSRC), "packets still go to the phone")
    })
}

/// A refused line ends its stream.
#[test]
fn a_refused_line_ends_its_stream() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, stream| {
        let refused = stage.phone_sdp(0, "");
        call.pbx_changes("INVITE", [&pbx_sdp(PBX_AUDIO, ""), &refused])?;
        stream.misses_phone(&rtp(8, PBX_SSRC), "packets still go to the phone")
    })
}

/// A call ends in silence, as on a phone that nobody hears any more: the agent removes its streams. Those of a call that goes
/// on stay, however long they are silent.
#[test]
fn the_agent_ends_streams_of_a_call_that_is_over() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        let over = call(stage, &pbx, &phone)?;
        let offer = stage.phone_sdp(PHONE_AUDIO + 10, "");
        let silent = pbx_sdp(PBX_AUDIO + 10, "");
        Call::from_with(&phone, &pbx, [&offer, &silent, ""])?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()?;
        ensure!(stage.streams()?.len() == 4, "{:?}", stage.streams());
        over.reaches_phone("BYE")?;
        let until = Instant::now() + 6 * SOON;
        while stage.streams()?.len() > 2 {
            ensure!(Instant::now() < until, "{:?}", stage.streams());
            thread::sleep(SOON / 10);
        }
        thread::sleep(3 * SOON);
        ensure!(stage.streams()?.len() == 2, "{:?}", stage.streams());
        stage.stream_at(PBX_AUDIO + 10).map(drop)
    })
}
