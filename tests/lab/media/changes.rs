//! Calls that change: hold, other ports, another mapping of the NAT.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};
use nat_test_support::Plan;

use super::{
    MEDIA, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, call, in_a_call, pbx_sdp, rtp, sdp,
};
use crate::scene::{SOON, play};

const NOWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// The phone holds the call and comes back, by direction and by the address of RFC 2543. What was learned stays: the PBX's
/// music on hold is heard, and its audio at once afterwards.
#[test]
fn hold_by_the_phone() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, stream| {
        let own = |direction| stage.phone_sdp(PHONE_AUDIO, direction);
        let answer = |direction| pbx_sdp(PBX_AUDIO, direction);
        for [held, accepted] in [
            [own("a=sendonly\r\n"), answer("a=recvonly\r\n")],
            [own("a=inactive\r\n"), answer("a=inactive\r\n")],
            [sdp(NOWHERE, PHONE_AUDIO, ""), answer("a=recvonly\r\n")],
            [
                sdp(NOWHERE, PHONE_AUDIO, "a=inactive\r\n"),
                sdp(NOWHERE, PBX_AUDIO, "a=inactive\r\n"),
            ],
        ] {
            call.phone_changes("INVITE", [&held, &accepted])?;
            stream.to_phone(&rtp(8, PBX_SSRC))?;
            call.phone_changes(
                "INVITE",
                [&own("a=sendrecv\r\n"), &answer("a=sendrecv\r\n")],
            )?;
            stream.to_phone(&rtp(9, PBX_SSRC))?;
        }
        hold_changes_nothing(stage)
    })
}

/// Hold has made sipnat learn nothing, nor think that the two talk directly.
fn hold_changes_nothing(stage: &Stage<'_>) -> Result<()> {
    ensure!(stage.count("media_latched")? == 1, "learned again");
    ensure!(
        stage.count("media_direct")? == 0,
        "hold taken for direct media"
    );
    Ok(())
}

#[test]
fn hold_by_the_pbx() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, stream| {
        let own = |direction| stage.phone_sdp(PHONE_AUDIO, direction);
        let offer = |direction| pbx_sdp(PBX_AUDIO, direction);
        for [held, accepted] in [
            [offer("a=sendonly\r\n"), own("a=recvonly\r\n")],
            [offer("a=inactive\r\n"), own("a=inactive\r\n")],
            [
                sdp(NOWHERE, PBX_AUDIO, "a=inactive\r\n"),
                own("a=inactive\r\n"),
            ],
        ] {
            call.pbx_changes("INVITE", [&held, &accepted])?;
            stream.to_phone(&rtp(8, PBX_SSRC))?;
            call.pbx_changes("INVITE", [&offer(""), &own("")])?;
            stream.to_phone(&rtp(9, PBX_SSRC))?;
        }
        hold_changes_nothing(stage)
    })
}

/// The phone takes another port, by re-INVITE and by UPDATE. Packets from its old one do not win.
#[test]
fn another_port_of_the_phone() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, mut before| {
        for (method, port) in [("INVITE", 4010), ("UPDATE", 4020)] {
            let offer = stage.phone_sdp(port, "");
            call.phone_changes(method, [&offer, &pbx_sdp(PBX_AUDIO, "")])?;
            before.to_pbx(&rtp(4, PHONE_SSRC))?;
            let late = before.phone;
            drop(before.pbx);
            let stream = stage.stream(PBX_AUDIO, port)?;
            stream.to_pbx(&rtp(5, PHONE_SSRC))?;
            stream.to_phone(&rtp(5, PBX_SSRC))?;
            late.send_to(&rtp(6, 0xdead), stream.here)?;
            stream.talks()?;
            before = stream;
        }
        Ok(())
    })
}

/// The PBX takes another port. The phone's side of the stream is the same.
#[test]
fn another_port_of_the_pbx() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, mut stream| {
        let own = stage.phone_sdp(PHONE_AUDIO, "");
        call.pbx_changes("INVITE", [&pbx_sdp(30_000, ""), &own])?;
        stream.here.set_port(30_000);
        stream.pbx = stage.lab.pbx.udp(stream.here)?;
        stream.talks()?;
        call.phone_changes("INVITE", [&own, &pbx_sdp(PBX_AUDIO, "")])?;
        stream.here.set_port(PBX_AUDIO);
        stream.pbx = stage.lab.pbx.udp(stream.here)?;
        stream.talks()
    })
}

/// The phone's packets come from another port of the NAT in mid-call: with the same source of RTP they are believed at
/// once, with another not.
#[test]
fn rebinding() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        let mut stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        stream.to_phone(&rtp(1, PBX_SSRC))?;
        let private = *scene.lab.phone().private.ip();
        let other = SocketAddrV4::new(private, PHONE_AUDIO + 2);
        let before = std::mem::replace(&mut stream.phone, scene.lab.phone().netns.udp(other)?);
        stream.to_pbx(&rtp(2, 0xcccc))?;
        stream.misses_phone(&rtp(2, PBX_SSRC), "another source was believed")?;
        stream.to_pbx(&rtp(3, PHONE_SSRC))?;
        stream.to_phone(&rtp(3, PBX_SSRC))?;
        drop(before);
        Ok(())
    })
}

/// The phone moves to another address of the NAT with its signalling, and its audio follows.
#[test]
fn the_phone_moves() -> Result<()> {
    in_a_call(Plan::PLAIN_NAT, |stage, call, stream| {
        let moved = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 9), 5071);
        let site = &stage.lab.sites[0];
        site.remap(0, moved)?;
        // The NAT's other address serves the phone's audio, too.
        site.remap_port(PHONE_AUDIO, SocketAddrV4::new(*moved.ip(), 5072))?;
        call.reaches_pbx("INFO")?;
        stream.to_pbx(&rtp(5, PHONE_SSRC))?;
        stream.to_pbx(&rtp(6, PHONE_SSRC))?;
        stream.to_phone(&rtp(5, PBX_SSRC))
    })
}
