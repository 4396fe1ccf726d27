//! `--media-guess`: a terminal that never sends first, behind a NAT that forwards the ports of its media.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, Plan};

use super::{
    DEAF, MEDIA, NEVER, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, call, comes, pbx_sdp,
    rtp, sdp,
};
use crate::scene::{SOON, With, play};

const GUESS: With = With::Arguments(&["--media", "--media-guess", "60.17.196.0/24"]);

/// A loudspeaker, which sends nothing. It hears the PBX only if its NAT is named, and an address that is not named does not count.
#[test]
fn a_loudspeaker() -> Result<()> {
    const OTHER: With = With::Arguments(&["--media", "--media-guess", "60.17.197.0/24"]);
    for with in [GUESS, MEDIA, OTHER] {
        play(Plan::PLAIN_NAT, with, |scene| {
            let guess = with == GUESS;
            let soon = if guess { SOON } else { NEVER };
            let stage = &Stage { scene, soon };
            scene.lab.sites[0].forward(0, PHONE_AUDIO)?;
            let (pbx, phone) = stage.parties()?;
            call(stage, &pbx, &phone)?;
            let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
            for number in 1..4 {
                let heard = stream.to_phone(&rtp(number, PBX_SSRC));
                if guess {
                    heard?;
                } else {
                    let error = format!("{:#}", heard.err().context("heard without a guess")?);
                    ensure!(error.contains(DEAF), "{error}");
                }
            }
            ensure!(
                scene.count("media_forwarded")? == if guess { 3 } else { 0 },
                "not counted"
            );
            // It speaks, from another port: that one counts from now on.
            stream.to_pbx(&rtp(9, PHONE_SSRC))?;
            stream.pbx.send_to(&rtp(9, PBX_SSRC), stream.advertised)?;
            comes(&stream.phone, &rtp(9, PBX_SSRC), SOON).map(drop)
        })
        .with_context(|| format!("{with:?}"))?;
    }
    Ok(())
}

/// Two phones behind one NAT name the same port. A guess leads to the one that has it, which the NAT's owner alone can know: so
/// it is made only for NATs that are named, and without, a neighbour hears nothing of the other's call.
#[test]
fn a_neighbour() -> Result<()> {
    let plan = Plan {
        phones: 2,
        ..Plan::PLAIN_NAT
    };
    for with in [GUESS, MEDIA] {
        play(plan, with, |scene| {
            let stage = &Stage { scene, soon: SOON };
            scene.lab.sites[0].forward(0, PHONE_AUDIO)?;
            let pbx = scene.pbx()?;
            let second = scene.terminal(0, 1, "1001")?;
            let [first, other] = [0, 1].map(|n| &scene.lab.sites[0].phones[n]);
            let offer = sdp(*other.private.ip(), PHONE_AUDIO, "");
            Call::from_with(&second, &pbx, [&offer, &pbx_sdp(PBX_AUDIO, ""), ""])?;
            let neighbour = first.netns.udp((*first.private.ip(), PHONE_AUDIO))?;
            let stream = stage.stream_of(other, PBX_AUDIO, PHONE_AUDIO)?;
            stream.pbx.send_to(&rtp(1, PBX_SSRC), stream.advertised)?;
            let limit = if with == GUESS { SOON } else { NEVER };
            let overheard = comes(&neighbour, &rtp(1, PBX_SSRC), limit).is_ok();
            ensure!(overheard == (with == GUESS), "{with:?}: {overheard}");
            Ok(())
        })?;
    }
    Ok(())
}
