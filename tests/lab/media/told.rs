//! What `explain` and `status` tell of media.

use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, PBX, Plan, lab::NEIGHBOUR};
use serde_json::{Value, json};

use super::{MEDIA, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, call, pbx_sdp, rtp, sdp};
use crate::scene::{SOON, With, play};

/// Returns the texts of the warnings, each with its remedy.
pub(super) fn warnings(stage: &Stage<'_>) -> Result<Vec<[String; 2]>> {
    let status = stage.sipnat()?.json(&["status"])?;
    let all = status["warnings"].as_array().context("no warnings")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(all
        .iter()
        .map(|w| [text(&w["text"]), text(&w["remedy"])])
        .collect())
}

/// Returns the only warning, which must contain these words.
fn warning(stage: &Stage<'_>, words: &str) -> Result<String> {
    let all = warnings(stage)?;
    ensure!(all.len() == 1 && all[0][0].contains(words), "{all:#?}");
    Ok(all[0][1].clone())
}

#[test]
fn a_call_and_the_programs() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        let call = call(stage, &pbx, &phone)?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()?;
        let sipnat = stage.sipnat()?;
        let story = sipnat.json(&["explain", &call.call_id])?;
        let told = |index: usize, field: &str| story["descriptions"][index][field].clone();
        ensure!(
            told(0, "from") == "terminal" && told(0, "terminal") == "192.168.1.10:4000",
            "{story:#}"
        );
        ensure!(
            told(1, "from") == "pbx" && told(1, "pbx") == "203.0.113.10:20000",
            "{story:#}"
        );
        for (index, event) in [(0, "media_noted"), (1, "media_bound")] {
            ensure!(told(index, "events")[0]["name"] == event, "{story:#}");
        }
        ensure!(story["streams"][0]["received"] == 3, "{story:#}");
        let text = sipnat.command(&["explain", &call.call_id])?;
        for words in ["\nmedia\n", "\nstreams\n", "Slot bound to a stream"] {
            ensure!(text.contains(words), "{text}");
        }
        ensure!(warnings(stage)?.is_empty(), "{:#?}", warnings(stage)?);
        let status = sipnat.json(&["status"])?;
        let programs = status["programs"].as_array().context("no programs")?;
        let names: Vec<&Value> = programs.iter().map(|program| &program["name"]).collect();
        let expected = [
            "ingress",
            "egress",
            "sdp_in",
            "media_in",
            "sdp_out",
            "media_out",
        ];
        ensure!(names == expected, "{status:#}");
        ensure!(status["media"] == json!(["203.0.113.10"]), "{status:#}");
        let tables = status["tables"].as_array().context("no tables")?;
        let slots = tables.iter().find(|table| table["name"] == "MEDIA");
        let slots = slots.context("no MEDIA")?;
        ensure!(slots["used"] == 2 && slots["size"] == 262_144, "{status:#}");
        Ok(())
    })?;
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let status = scene.sipnat()?.json(&["status"])?;
        let programs = status["programs"].as_array().context("no programs")?;
        ensure!(
            programs.len() == 2 && status["media"].is_null(),
            "{status:#}"
        );
        Ok(())
    })
}

/// The PBX names another host for its media: two phones send to each other, or a proxy relays nothing.
#[test]
fn direct_media() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        let offer = stage.phone_sdp(PHONE_AUDIO, "");
        let elsewhere = sdp(NEIGHBOUR, PBX_AUDIO, "");
        let call = Call::from_with(&phone, &pbx, [&offer, &elsewhere, ""])?;
        ensure!(stage.streams()?.is_empty(), "a slot");
        let remedy = warning(stage, "the PBX names 203.0.113.20 for its media")?;
        ensure!(remedy.contains("direct_media = no"), "{remedy}");
        let story = stage.sipnat()?.json(&["explain", &call.call_id])?;
        let told = &story["descriptions"][1];
        ensure!(told["events"][0]["name"] == "media_direct", "{story:#}");
        ensure!(told["pbx"] == "203.0.113.20:20000", "{story:#}");
        Ok(())
    })
}

#[test]
fn sip_over_tcp() -> Result<()> {
    for with in [MEDIA, With::Sipnat] {
        play(Plan::PLAIN_NAT, with, |scene| {
            let stage = &Stage { scene, soon: SOON };
            let listener = scene.lab.pbx.enter(|| TcpListener::bind(PBX))??;
            ensure!(warnings(stage)?.is_empty(), "it only listens");
            let _phone = scene.lab.public_phone.enter(|| TcpStream::connect(PBX))??;
            let _pbx = listener.accept()?;
            if with == MEDIA {
                warning(stage, "198.51.100.7 is connected to the PBX by TCP or TLS")?;
            } else {
                ensure!(warnings(stage)?.is_empty(), "with media off");
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The host has a route of its own to the phone's private address. The remedy helps.
#[test]
fn a_private_network_of_the_host() -> Result<()> {
    let plan = Plan {
        private_route: true,
        ..Plan::PLAIN_NAT
    };
    play(plan, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        let call = call(stage, &pbx, &phone)?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        stream.misses_phone(&rtp(1, PBX_SSRC), "rewritten")?;
        let remedy = warning(stage, "192.168.1.10 for its media, to which this host has")?;
        ensure!(
            remedy.contains("sipnat policy set 60.17.196.2 force"),
            "{remedy}"
        );
        stage
            .sipnat()?
            .command(&["policy", "set", "60.17.196.2", "force"])?;
        let own = stage.phone_sdp(PHONE_AUDIO, "");
        call.phone_changes("INVITE", [&own, &pbx_sdp(PBX_AUDIO, "")])?;
        stream.to_phone(&rtp(2, PBX_SSRC))?;
        ensure!(warnings(stage)?.is_empty(), "{:#?}", warnings(stage)?);
        Ok(())
    })
}
