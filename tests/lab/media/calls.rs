//! Which side calls, and in which messages the descriptions are.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, PBX, Plan, unique::unique};

use super::{
    MEDIA, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, call, needs_media, pbx_sdp, rtp,
};
use crate::scene::{SOON, play};

#[test]
fn the_phone_calls() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()
    })
}

#[test]
fn the_pbx_calls() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let uri = phone.registers(&pbx)?;
        let answer = stage.phone_sdp(PHONE_AUDIO, "");
        Call::to_with(&phone, &pbx, &uri, [&pbx_sdp(PBX_AUDIO, ""), &answer, ""])?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()
    })
}

/// The PBX's offer is in its 200, and the phone's answer in the ACK.
#[test]
fn offer_of_the_pbx_in_its_answer() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let answer = stage.phone_sdp(PHONE_AUDIO, "");
        Call::from_with(&phone, &pbx, ["", &pbx_sdp(PBX_AUDIO, ""), &answer])?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()
    })
}

/// The phone's offer is in its 200, and the PBX's answer in the ACK.
#[test]
fn offer_of_the_phone_in_its_answer() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let uri = phone.registers(&pbx)?;
        let offer = stage.phone_sdp(PHONE_AUDIO, "");
        Call::to_with(&phone, &pbx, &uri, ["", &offer, &pbx_sdp(PBX_AUDIO, "")])?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()
    })
}

/// An announcement before the PBX accepts the phone's call. The stream goes on when it does.
#[test]
fn early_media_of_the_pbx() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let invite = phone
            .request("INVITE", "sip:2000@203.0.113.10")
            .with_sdp(&stage.phone_sdp(PHONE_AUDIO, ""));
        phone.ua.send(&invite, PBX)?;
        let heard = pbx.hear("INVITE")?;
        let progress = pbx.response(&heard, "183 Session Progress");
        pbx.answer(&heard, &progress.with_sdp(&pbx_sdp(PBX_AUDIO, "")))?;
        phone.ua.hear("SIP/2.0 183")?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        stream.to_phone(&rtp(1, PBX_SSRC))?;
        ensure!(stage.stream_at(PBX_AUDIO)?["early"] == true, "not early");
        let ok = pbx.response(&heard, "200 OK");
        pbx.answer(&heard, &ok.with_sdp(&pbx_sdp(PBX_AUDIO, "")))?;
        phone.ua.hear("SIP/2.0 200")?;
        stream.to_phone(&rtp(2, PBX_SSRC))?;
        let known = stage.stream_at(PBX_AUDIO)?;
        ensure!(known["early"] == false && known["received"] == 1, "{known}");
        Ok(())
    })
}

/// The phone sends before it accepts the PBX's call.
#[test]
fn early_media_of_the_phone() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let (pbx, phone) = stage.parties()?;
        let uri = phone.registers(&pbx)?;
        let invite = pbx
            .request("INVITE", &uri, &phone.aor)
            .with_sdp(&pbx_sdp(PBX_AUDIO, ""));
        let heard = pbx.reaches(&phone.ua, &invite, 1)?.message;
        let tag = format!("phone{}", unique());
        let own = stage.phone_sdp(PHONE_AUDIO, "");
        let progress = phone.response(&heard, "183 Session Progress", &tag);
        phone.ua.send(&progress.with_sdp(&own), PBX)?;
        pbx.hear("SIP/2.0 183")?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.talks()?;
        let ok = phone.response(&heard, "200 OK", &tag);
        phone.ua.send(&ok.with_sdp(&own), PBX)?;
        pbx.hear("SIP/2.0 200")?;
        stream.to_phone(&rtp(9, PBX_SSRC))
    })
}

/// Until the phone has sent something, nothing is guessed.
#[test]
fn the_phone_sends_first() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.misses_phone(&rtp(1, PBX_SSRC), "guessed")?;
        ensure!(stage.count("media_waiting")? == 1, "not counted");
        stream.talks()?;
        let known = stage.stream_at(PBX_AUDIO)?;
        ensure!(known["advertised"] == "192.168.1.10:4000", "{known}");
        ensure!(known["received"] == 3 && known["rewritten"] == 3, "{known}");
        let learned = known["learned"].as_str().context("not learned")?;
        ensure!(learned.starts_with("60.17.196.2:"), "{known}");
        Ok(())
    })
}

/// Two phones behind one NAT, and a third behind another NAT with the same private address, talk at once.
#[test]
fn several_phones() -> Result<()> {
    let plan = Plan {
        sites: 2,
        phones: 2,
        ..Plan::PLAIN_NAT
    };
    needs_media(plan, |stage| {
        let pbx = stage.pbx()?;
        let mut streams = Vec::new();
        for (number, (site, phone)) in [(0, 0), (0, 1), (1, 0)].into_iter().enumerate() {
            let terminal = stage.terminal(site, phone, &format!("100{number}"))?;
            let phone = &stage.lab.sites[site].phones[phone];
            let port = PBX_AUDIO + 2 * u16::try_from(number)?;
            let offer = super::sdp(*phone.private.ip(), PHONE_AUDIO, "");
            Call::from_with(&terminal, &pbx, [&offer, &pbx_sdp(port, ""), ""])?;
            streams.push(stage.stream_of(phone, port, PHONE_AUDIO)?);
        }
        for stream in &streams {
            stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        }
        // The PBX relays from each to the others. Each hears its own packet, which differs.
        for sequence in 1..4 {
            for (number, stream) in (0..).zip(&streams) {
                stream.to_phone(&rtp(sequence, PBX_SSRC + number))?;
            }
        }
        Ok(())
    })
}
