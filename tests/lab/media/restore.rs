//! `--media-restore`: a PBX that hears a stream only from the address in its description.

use std::{net::SocketAddrV4, process::Command};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::Plan;

use super::{
    MEDIA, NEVER, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, Stream, call, comes, rtcp,
    rtp, told::warnings,
};
use crate::scene::{SOON, With, play};

const RESTORE: With = With::Arguments(&["--media", "--media-restore"]);
const GENERIC: With = With::Arguments(&["--media", "--media-restore", "--xdp", "generic"]);

/// Makes the PBX's socket one that the kernel gives packets from the advertised address only.
fn is_strict(stream: &Stream) -> Result<()> {
    stream.pbx.connect(stream.advertised)?;
    Ok(())
}

/// A packet of the PBX reaches the phone, by the socket that knows no other address.
fn answers(stream: &Stream, packet: &[u8]) -> Result<()> {
    stream.pbx.send(packet)?;
    comes(&stream.phone, packet, SOON)?;
    Ok(())
}

/// A PBX that takes media from the address in the description only, as Asterisk does, hears the phone from its first packet, and
/// without the option never. The host filters sources as routers do (RFC 3704). So it is with generic XDP, too.
#[test]
fn a_strict_pbx() -> Result<()> {
    for checksum_offload in [true, false] {
        for with in [RESTORE, GENERIC, MEDIA] {
            play(Plan::PLAIN_NAT, with, |scene| {
                let stage = &Stage { scene, soon: SOON };
                scene.lab.pbx.sysctl("ipv4/conf/all/rp_filter", "1")?;
                if !checksum_offload {
                    // The kernel then checks what XDP has written.
                    scene.lab.phone().netns.run(
                        Command::new("ethtool").args(["-K", "eth0", "tx", "off"]),
                        "",
                    )?;
                }
                let (pbx, phone) = stage.parties()?;
                call(stage, &pbx, &phone)?;
                let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
                is_strict(&stream)?;
                for number in 1..4 {
                    stream
                        .phone
                        .send_to(&rtp(number, PHONE_SSRC), stream.here)?;
                    let heard = comes(
                        &stream.pbx,
                        &rtp(number, PHONE_SSRC),
                        if with == MEDIA { NEVER } else { SOON },
                    );
                    ensure!(heard.is_ok() == (with != MEDIA), "{with:?}: {heard:?}");
                }
                if with == MEDIA {
                    return Ok(());
                }
                answers(&stream, &rtp(9, PBX_SSRC))?;
                // RTCP has a port and a source of its own.
                let reports = stage.stream(PBX_AUDIO + 1, PHONE_AUDIO + 1)?;
                is_strict(&reports)?;
                ensure!(
                    reports.to_pbx(&rtcp(1, PHONE_SSRC))? == reports.advertised,
                    "RTCP"
                );
                ensure!(scene.count("media_restored")? == 4, "not counted");
                ensure!(warnings(stage)?.is_empty(), "{:#?}", warnings(stage)?);
                Ok(())
            })
            .with_context(|| format!("offload: {checksum_offload}"))?;
        }
    }
    Ok(())
}

/// The NAT's mapping changes: the PBX sees one source all the time. STUN and strangers keep theirs.
#[test]
fn one_source_all_the_time() -> Result<()> {
    play(Plan::PLAIN_NAT, RESTORE, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        let mut stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        ensure!(
            stream.to_pbx(&rtp(1, PHONE_SSRC))? == stream.advertised,
            "the first one"
        );
        let private = *scene.lab.phone().private.ip();
        let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        stun.resize(20, 7);
        let asked = stream.to_pbx(&stun)?;
        ensure!(
            asked.ip() == *scene.lab.phone().public.ip(),
            "STUN from {asked}"
        );
        let other = SocketAddrV4::new(private, PHONE_AUDIO + 2);
        let before = std::mem::replace(&mut stream.phone, scene.lab.phone().netns.udp(other)?);
        // Not believed, so not restored.
        let rival = stream.to_pbx(&rtp(2, 0xcccc))?;
        ensure!(
            rival.ip() == *scene.lab.phone().public.ip(),
            "a rival from {rival}"
        );
        ensure!(
            stream.to_pbx(&rtp(3, PHONE_SSRC))? == stream.advertised,
            "another mapping"
        );
        stream.to_phone(&rtp(3, PBX_SSRC))?;
        drop(before);
        let stranger = scene.lab.public_phone.udp(SocketAddrV4::new(
            *nat_test_support::lab::PUBLIC_PHONE.ip(),
            4000,
        ))?;
        stranger.send_to(&rtp(4, 7), stream.here)?;
        let from = comes(&stream.pbx, &rtp(4, 7), SOON)?;
        ensure!(from == stranger.local_addr()?, "a stranger from {from}");
        Ok(())
    })
}

/// Another network of this host has the phone's private addresses: nothing is restored. Where only the default route leads
/// elsewhere, the kernel drops restored packets, and `status` says so.
#[test]
fn sources_that_this_host_would_drop() -> Result<()> {
    let plan = Plan {
        private_route: true,
        ..Plan::PLAIN_NAT
    };
    play(plan, RESTORE, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        let from = stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        ensure!(from.ip() == *scene.lab.phone().public.ip(), "{from}");
        Ok(())
    })?;
    play(Plan::PLAIN_NAT, RESTORE, |scene| {
        let stage = &Stage { scene, soon: SOON };
        scene.lab.pbx.sysctl("ipv4/conf/all/rp_filter", "1")?;
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        // Nothing but the terminal's network lies behind this interface.
        scene
            .lab
            .pbx
            .ip("link add uplink type veth peer name downlink
             addr add 198.18.0.1/24 dev uplink
             link set uplink up
             link set downlink up
             route add 60.0.0.0/8 via 203.0.113.1
             route add 192.168.0.0/16 dev uplink metric 7")?;
        // The route is not the default one, and the stream was bound before it came.
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        ensure!(
            stream.to_pbx(&rtp(1, PHONE_SSRC)).is_err(),
            "strict filters drop it"
        );
        let found = warnings(stage)?;
        ensure!(
            found.iter().any(|[text, remedy]| text
                .contains("192.168.1.10, which the kernel drops on eth0")
                && remedy.contains("rp_filter=2")),
            "{found:#?}"
        );
        scene.lab.pbx.sysctl("ipv4/conf/eth0/rp_filter", "2")?;
        ensure!(
            stream.to_pbx(&rtp(2, PHONE_SSRC))? == stream.advertised,
            "loose filters pass it"
        );
        Ok(())
    })
}
