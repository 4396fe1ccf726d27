//! Kinds of streams: RTCP, video, fax.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, Plan};

use super::{
    DEAF, MEDIA, NEVER, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, call, in_a_call,
    needs_media, pbx_sdp, rtcp, rtp, sdp, udptl,
};
use crate::scene::{SOON, With, play};

#[test]
fn rtcp_on_the_next_port() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        let reports = stage.stream(PBX_AUDIO + 1, PHONE_AUDIO + 1)?;
        for number in 1..4 {
            reports.to_pbx(&rtcp(number, PHONE_SSRC))?;
            reports.to_phone(&rtcp(number, PBX_SSRC))?;
        }
        let known = stage.stream_at(PBX_AUDIO + 1)?;
        ensure!(known["kind"] == "rtcp", "{known}");
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()
    })
}

/// Each side names another port (RFC 3605).
#[test]
fn rtcp_on_a_port_of_its_own() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let offer = stage.phone_sdp(PHONE_AUDIO, "a=rtcp:4100\r\n");
        let answer = pbx_sdp(PBX_AUDIO, "a=rtcp:20100\r\n");
        Call::from_with(&phone, &pbx, [&offer, &answer, ""])?;
        let reports = stage.stream(20_100, 4100)?;
        reports.to_pbx(&rtcp(1, PHONE_SSRC))?;
        reports.to_phone(&rtcp(1, PBX_SSRC))?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()
    })
}

/// RTCP on the port of RTP (RFC 5761). The report comes first, and is no reason to believe it later.
#[test]
fn rtcp_muxed() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let mux = "a=rtcp-mux\r\n";
        let offer = stage.phone_sdp(PHONE_AUDIO, mux);
        Call::from_with(&phone, &pbx, [&offer, &pbx_sdp(PBX_AUDIO, mux), ""])?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.to_pbx(&rtcp(1, PHONE_SSRC))?;
        stream.to_phone(&rtcp(1, PBX_SSRC))?;
        stream.talks()?;
        stream.to_phone(&rtcp(2, PBX_SSRC))?;
        ensure!(stage.streams()?.len() == 1, "RTCP has a slot of its own");
        Ok(())
    })
}

#[test]
fn audio_and_video() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let video = |port: u16| format!("m=video {port} RTP/AVP 99\r\n");
        let offer = stage.phone_sdp(PHONE_AUDIO, &video(4002));
        let answer = pbx_sdp(PBX_AUDIO, &video(20_002));
        Call::from_with(&phone, &pbx, [&offer, &answer, ""])?;
        let audio = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        let video = stage.stream(20_002, 4002)?;
        video.talks()?;
        audio.talks()?;
        video.to_phone(&rtp(9, PBX_SSRC))
    })
}

/// Returns a description of fax alone.
fn fax(host: std::net::Ipv4Addr, port: u16) -> String {
    sdp(host, 9, "").replace("m=audio 9 RTP/AVP 0", &format!("m=image {port} udptl t38"))
}

/// A call changes from audio to fax at ports of its own, and back.
#[test]
fn fax_at_other_ports() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, audio| {
        let private = *stage.lab.phone().private.ip();
        let offer = fax(*nat_test_support::PBX.ip(), 20_004);
        call.pbx_changes("INVITE", [&offer, &fax(private, 4020)])?;
        let pages = stage.stream(20_004, 4020)?;
        for sequence in 0..3 {
            pages.to_pbx(&udptl(sequence))?;
            pages.to_phone(&udptl(sequence))?;
        }
        let known = stage.stream_at(20_004)?;
        ensure!(known["kind"] == "udptl", "{known}");
        let own = stage.phone_sdp(PHONE_AUDIO, "");
        call.pbx_changes("INVITE", [&pbx_sdp(PBX_AUDIO, ""), &own])?;
        audio.to_phone(&rtp(9, PBX_SSRC))?;
        audio.talks()
    })
}

/// The same at the ports of the audio, where packets of audio may still be under way.
#[test]
fn fax_at_the_ports_of_audio() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, stream| {
        let private = *stage.lab.phone().private.ip();
        let offer = fax(private, PHONE_AUDIO);
        let answer = fax(*nat_test_support::PBX.ip(), PBX_AUDIO);
        call.phone_changes("INVITE", [&offer, &answer])?;
        // The phone's socket is the same, so what was learned of it stays.
        stream.to_phone(&udptl(0))?;
        stream.to_pbx(&rtp(4, PHONE_SSRC))?;
        for sequence in 1..4 {
            stream.to_pbx(&udptl(sequence))?;
            stream.to_phone(&udptl(sequence))?;
        }
        let own = stage.phone_sdp(PHONE_AUDIO, "");
        call.phone_changes("INVITE", [&own, &pbx_sdp(PBX_AUDIO, "")])?;
        stream.to_phone(&rtp(9, PBX_SSRC))?;
        stream.talks()
    })
}

/// A port of the PBX has streams only if `--media-ports` holds it, whose default begins at 10000.
#[test]
fn ports_of_the_pbx() -> Result<()> {
    const LOW: u16 = 4000;
    let scenario = |stage: &Stage<'_>| {
        let (pbx, phone) = stage.parties()?;
        let offer = stage.phone_sdp(PHONE_AUDIO, "");
        Call::from_with(&phone, &pbx, [&offer, &pbx_sdp(LOW, ""), ""])?;
        stage.stream(LOW, PHONE_AUDIO)?.talks()
    };
    let named = With::Arguments(&["--media", "--media-ports", "4000-4999"]);
    play(Plan::PLAIN_NAT, named, |scene| {
        scenario(&Stage { scene, soon: SOON })
    })?;
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let played = scenario(&Stage { scene, soon: NEVER });
        let error = format!("{:#}", played.err().context("heard at another port")?);
        ensure!(error.contains(DEAF), "{error}");
        ensure!(scene.count("media_refused")? > 0, "not counted");
        Ok(())
    })
}
