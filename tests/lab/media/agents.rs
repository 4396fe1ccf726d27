//! The agent ends, dies, or changes in the middle of a call.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Lab, Plan, Sipnat};
use nix::sys::signal::Signal;

use super::{PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, Stage, call, rtp};
use crate::scene::{SOON, Scene, With, play_in};

/// Starts an agent that leaves all in place when it ends.
fn start<'a>(scene: &Scene<'a>, args: &[&str]) -> Result<Sipnat<'a>> {
    Sipnat::start(&scene.lab.pbx, &[&["--keep", "--media"], args].concat())
}

/// A stream outlives its agents. The second one has other settings, and the third one finds an address that the host did
/// not have before.
#[test]
fn streams_outlive_agents() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let lab = Lab::new(Plan::PLAIN_NAT)?;
        play_in(&lab, With::Nothing, |scene| {
            let stage = &Stage { scene, soon: SOON };
            let agent = start(scene, &[])?;
            let (pbx, phone) = stage.parties()?;
            let call = call(stage, &pbx, &phone)?;
            let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
            stream.talks()?;
            agent.end(signal)?;
            stream.to_phone(&rtp(8, PBX_SSRC)).context("no agent")?;
            stream.talks().context("without an agent")?;

            let agent = start(scene, &["--stun", "--xdp", "native"])?;
            stream.to_phone(&rtp(9, PBX_SSRC)).context("the second")?;
            stream.talks()?;
            agent.end(signal)?;

            lab.pbx.ip("addr add 192.0.2.9/32 dev eth0")?;
            let agent = start(scene, &[])?;
            stream.to_phone(&rtp(10, PBX_SSRC)).context("the third")?;
            stream.talks()?;
            let streams = agent.json(&["media", "list"])?;
            let ours = streams.as_array().context("no list")?.iter();
            let mut ours = ours.filter(|s| s["pbx"] == "203.0.113.10:20000");
            ensure!(ours.next().is_some(), "{streams:#}");
            agent.end(signal)?;

            let agent = start(scene, &["--size-media", "131072"])?;
            let log = agent.log();
            ensure!(
                log.contains("MEDIA changes its size: 2 streams go on"),
                "{log}"
            );
            stream.to_phone(&rtp(12, PBX_SSRC)).context("smaller")?;
            stream.talks()?;
            agent.end(signal)?;

            // Media off and on again.
            let agent = Sipnat::start(&lab.pbx, &["--keep"])?;
            let listed = agent.command(&["media", "list"])?;
            ensure!(listed.contains("no streams"), "{listed}");
            stream.misses_phone(&rtp(11, PBX_SSRC), "with media off")?;
            agent.end(signal)?;
            let agent = start(scene, &[])?;
            let listed = agent.command(&["media", "list"])?;
            ensure!(listed.contains("no streams"), "{listed}");
            call.phone_changes(
                "INVITE",
                [
                    &stage.phone_sdp(PHONE_AUDIO, ""),
                    &super::pbx_sdp(PBX_AUDIO, ""),
                ],
            )?;
            stream.talks().context("media on again")?;
            agent.stop()
        })
        .with_context(|| signal.as_str())?;
    }
    Ok(())
}
