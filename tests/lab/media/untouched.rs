//! Phones that need nothing.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan, Terminal,
    capture::{Direction, Packet, Tap},
    lab::PUBLIC_PHONE,
};

use super::{
    MEDIA, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, Stream, pbx_sdp, rtcp, rtp, sdp,
};
use crate::scene::{SOON, With, play};

/// A phone without NAT gets and sends every packet byte for byte, except for the hop count, where the packets of a stream
/// come from its advertised port and where they do not.
#[test]
fn a_phone_without_nat() -> Result<()> {
    for checksum_offload in [true, false] {
        let plan = Plan {
            checksum_offload,
            ..Plan::PLAIN_NAT
        };
        for (with, sending) in [(MEDIA, PHONE_AUDIO), (MEDIA, 4444), (With::Sipnat, 4444)] {
            play(plan, with, |scene| {
                let stage = &Stage { scene, soon: SOON };
                public_phone(stage, sending)?;
                if with == MEDIA {
                    ensure!(stage.count("media_rewritten")? == 0, "rewritten");
                    let known = stage.stream_at(PBX_AUDIO)?;
                    ensure!(known["rewrite"] == false, "{known}");
                }
                Ok(())
            })
            .with_context(|| format!("{with:?}, from {sending}, offload {checksum_offload}"))?;
        }
    }
    Ok(())
}

fn public_phone(stage: &Stage<'_>, sending: u16) -> Result<()> {
    let netns = &stage.lab.public_phone;
    let ip = *PUBLIC_PHONE.ip();
    let pbx = stage.pbx()?;
    let phone = Terminal::start(netns, PUBLIC_PHONE, "1000", SOON)?;
    let offer = sdp(ip, PHONE_AUDIO, "");
    Call::from_with(&phone, &pbx, [&offer, &pbx_sdp(PBX_AUDIO, ""), ""])?;
    let from = netns.udp((ip, sending))?;
    let stream = |pbx_port: u16, port: u16| -> Result<Stream> {
        Ok(Stream {
            pbx: stage.lab.pbx.udp((*PBX.ip(), pbx_port))?,
            phone: if port == sending {
                from.try_clone()?
            } else {
                netns.udp((ip, port))?
            },
            here: (*PBX.ip(), pbx_port).into(),
            advertised: (ip, port).into(),
            soon: SOON,
        })
    };
    let audio = stream(PBX_AUDIO, PHONE_AUDIO)?;
    let reports = stream(PBX_AUDIO + 1, PHONE_AUDIO + 1)?;
    for sequence in 1..6 {
        audio.to_phone(&rtp(sequence, PBX_SSRC))?;
        reports.to_phone(&rtcp(sequence.into(), PBX_SSRC))?;
        from.send_to(&rtp(sequence, PHONE_SSRC), audio.here)?;
        reports.to_pbx(&rtcp(sequence.into(), PHONE_SSRC))?;
    }
    super::comes(&audio.pbx, &rtp(5, PHONE_SSRC), SOON)?;
    for [from, to] in [[Tap::Pbx, Tap::Public], [Tap::Public, Tap::Pbx]] {
        let packets = |tap, direction| {
            let packets = stage.capture.at(tap, direction);
            packets.iter().map(Packet::without_hop).collect::<Vec<_>>()
        };
        let sent = packets(from, Direction::Out);
        let received = packets(to, Direction::In);
        ensure!(sent.len() > 10, "only {} packets", sent.len());
        ensure!(sent == received, "{from:?}: what was sent did not arrive");
    }
    Ok(())
}

/// A phone behind NAT whose description was made right by itself or by its router.
#[test]
fn a_phone_that_advertises_its_mapping() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        // It sends from one port of its own, so its router keeps that port.
        let mut stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        let public = stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        let offer = sdp(public.ip(), public.port(), "");
        Call::from_with(&phone, &pbx, [&offer, &pbx_sdp(PBX_AUDIO, ""), ""])?;
        stream.advertised = public;
        stream.talks()?;
        ensure!(stage.count("media_rewritten")? == 0, "rewritten");
        Ok(())
    })
}
