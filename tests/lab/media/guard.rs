//! The guard: packets of strangers to the ports of streams.

use std::{
    net::{SocketAddrV4, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, PBX, Plan, Terminal, lab::PUBLIC_PHONE};

use super::{
    ATTACKER, MEDIA, NEVER, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, Stream, comes,
    in_a_call_with, pbx_sdp, rtcp, rtp, sdp,
};
use crate::scene::{SOON, With, play};

const DROP: With = With::Arguments(&["--media", "--media-guard", "drop"]);

/// A socket on a host of the Internet, which sends no SIP.
fn stranger(stage: &Stage<'_>, port: u16) -> Result<UdpSocket> {
    let host = SocketAddrV4::new(*PUBLIC_PHONE.ip(), port);
    stage.lab.public_phone.udp(host)
}

/// Whether a packet of a stranger reaches the PBX's port of a stream.
fn is_heard(stream: &Stream, stranger: &UdpSocket, packet: &[u8], limit: Duration) -> Result<bool> {
    stranger.send_to(packet, stream.here)?;
    Ok(comes(&stream.pbx, packet, limit).is_ok())
}

/// Somebody sprays RTP over the ports of the PBX, as ES2025-01 has it. With the guard the PBX hears nothing of it on the ports of
/// a call, and all of it elsewhere; without it the PBX hears it all.
#[test]
fn a_sprayer() -> Result<()> {
    for with in [DROP, MEDIA] {
        in_a_call_with(Plan::PLAIN_NAT, with, |stage, _, stream| {
            let attacker = stranger(stage, 30_000)?;
            // Ports of no call, and one that is none of media.
            let others = [PBX_AUDIO - 2, PBX_AUDIO + 2, 5061, 9999];
            for port in others {
                let other = stage.lab.pbx.udp(SocketAddrV4::new(*PBX.ip(), port))?;
                attacker.send_to(&rtp(1, ATTACKER), (*PBX.ip(), port))?;
                comes(&other, &rtp(1, ATTACKER), SOON).with_context(|| format!("port {port}"))?;
            }
            for number in 0..50 {
                attacker.send_to(&rtp(number, ATTACKER), stream.here)?;
            }
            stream.to_pbx(&rtp(9, PHONE_SSRC))?;
            stream.to_phone(&rtp(9, PBX_SSRC))?;
            let heard = is_heard(&stream, &attacker, &rtp(60, ATTACKER), NEVER)?;
            ensure!(heard == (with == MEDIA), "{with:?}: heard {heard}");
            let dropped = stage.count("media_dropped")?;
            ensure!(dropped == if heard { 0 } else { 51 }, "{dropped} dropped");
            ensure!(stage.count("media_stranger")? == 51, "strangers");
            let told = stage.stream_at(PBX_AUDIO)?;
            ensure!(
                told["strangers"] == 51 && told["dropped"] == dropped,
                "{told:#}"
            );
            ensure!(
                told["stranger"] == PUBLIC_PHONE.ip().to_string().as_str(),
                "{told:#}"
            );
            ensure!(told["learned"] != serde_json::Value::Null, "{told:#}");
            stream.talks()
        })?;
    }
    Ok(())
}

/// Rules by prefix, of the terminal's address, change at once what happens in a call.
#[test]
fn rules_change_in_a_call() -> Result<()> {
    in_a_call_with(Plan::PLAIN_NAT, MEDIA, |stage, _, stream| {
        let attacker = stranger(stage, 30_000)?;
        let mut number = 100;
        for (rule, heard, counted) in [
            (&["list"][..], true, 0),
            (&["set", "default", "count"], true, 1),
            (&["set", "default", "drop"], false, 0),
            (&["set", "60.17.196.0/24", "off"], true, 0),
            (&["set", "60.17.196.2", "drop"], false, 0),
            (&["remove", "60.17.196.2"], true, 0),
            // The stranger's own address means nothing.
            (&["set", "198.51.100.0/24", "drop"], true, 0),
            (&["remove", "60.17.196.0/24"], false, 0),
            (&["set", "default", "off"], true, 0),
        ] {
            stage.sipnat()?.command(&[&["guard"], rule].concat())?;
            let before = stage.count("media_would_drop")?;
            number += 1;
            let limit = if heard { SOON } else { NEVER };
            let is = is_heard(&stream, &attacker, &rtp(number, ATTACKER), limit)?;
            ensure!(is == heard, "{rule:?}: {is}");
            let counted_now = stage.count("media_would_drop")? - before;
            ensure!(counted_now == counted, "{rule:?}: {counted_now} counted");
            stream.to_pbx(&rtp(number, PHONE_SSRC))?;
        }
        let listed = stage.sipnat()?.json(&["guard", "list"])?;
        ensure!(
            listed[0]["prefix"] == "default" && listed[0]["guard"] == "off",
            "{listed:#}"
        );
        Ok(())
    })
}

/// The packets of a stream that is being set up come before its description is answered: at a new port, and at one of a call that
/// has just ended, or whose BYE was lost.
#[test]
fn first_packets_are_heard() -> Result<()> {
    in_a_call_with(Plan::PLAIN_NAT, DROP, |stage, call, stream| {
        let second = stranger(stage, 4000)?;
        let heard = is_heard(&stream, &second, &rtp(1, ATTACKER), NEVER)?;
        ensure!(!heard, "the guard is off");

        // The PBX gives the port to another call at once. Nobody has heard a BYE.
        let other = Terminal::start(&stage.lab.public_phone, PUBLIC_PHONE, "2000", SOON)?;
        let offer = pbx_sdp(PBX_AUDIO, "");
        let request = call
            .pbx
            .request("INVITE", "sip:2000@198.51.100.7", &other.aor)
            .with_sdp(&offer);
        let invite = call.pbx.reaches(&other.ua, &request, 1)?;
        let heard = is_heard(&stream, &second, &rtp(2, ATTACKER), SOON)?;
        ensure!(heard, "the first packet before the answer");
        let ok = other
            .response(&invite.message, "200 OK", "other")
            .with_sdp(&sdp(*PUBLIC_PHONE.ip(), 4000, ""));
        other.ua.send(&ok, PBX)?;
        call.pbx.hear("SIP/2.0 200")?;
        let heard = is_heard(&stream, &second, &rtp(3, ATTACKER), SOON)?;
        ensure!(heard, "after the answer");
        call.reaches_phone("BYE")?;
        let heard = is_heard(&stream, &second, &rtp(4, ATTACKER), SOON)?;
        ensure!(heard, "after the BYE of the call before");
        ensure!(stage.count("media_dropped")? == 1, "dropped");
        Ok(())
    })
}

/// After a call has ended, its port is nobody's.
#[test]
fn a_port_of_no_call_is_not_guarded() -> Result<()> {
    in_a_call_with(Plan::PLAIN_NAT, DROP, |stage, call, stream| {
        let attacker = stranger(stage, 30_000)?;
        ensure!(
            !is_heard(&stream, &attacker, &rtp(1, ATTACKER), NEVER)?,
            "the guard is off"
        );
        call.reaches_phone("BYE")?;
        ensure!(
            is_heard(&stream, &attacker, &rtp(2, ATTACKER), SOON)?,
            "after BYE"
        );
        Ok(())
    })
}

/// STUN, other protocols and RTCP: the guard drops what is for a port of a stream, and no STUN.
#[test]
fn stun_passes() -> Result<()> {
    in_a_call_with(Plan::PLAIN_NAT, DROP, |stage, _, stream| {
        let attacker = stranger(stage, 30_000)?;
        let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        stun.resize(20, 7);
        ensure!(is_heard(&stream, &attacker, &stun, SOON)?, "STUN");
        for packet in [
            rtp(1, ATTACKER),
            rtcp(1, ATTACKER),
            vec![0x16, 0xfe, 0xff],
            vec![],
        ] {
            ensure!(
                !is_heard(&stream, &attacker, &packet, NEVER)?,
                "{packet:02x?}"
            );
        }
        // The port of RTCP has a stream of its own, from which nothing has come yet.
        let reports = SocketAddrV4::new(*PBX.ip(), PBX_AUDIO + 1);
        let socket = stage.lab.pbx.udp(reports)?;
        attacker.send_to(&rtcp(2, ATTACKER), reports)?;
        comes(&socket, &rtcp(2, ATTACKER), SOON).context("RTCP before the phone's first")?;
        let own = stage.lab.phone().netns.udp(SocketAddrV4::new(
            *stage.lab.phone().private.ip(),
            PHONE_AUDIO + 1,
        ))?;
        own.send_to(&rtcp(3, PHONE_SSRC), reports)?;
        comes(&socket, &rtcp(3, PHONE_SSRC), SOON).context("the phone's RTCP")?;
        attacker.send_to(&rtcp(4, ATTACKER), reports)?;
        ensure!(comes(&socket, &rtcp(4, ATTACKER), NEVER).is_err(), "RTCP");
        Ok(())
    })
}

/// A carrier's audio comes from another host than its SIP, which its description names. It is heard, whatever the guard.
#[test]
fn a_carrier_with_a_host_for_media() -> Result<()> {
    play(Plan::PLAIN_NAT, DROP, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        let offer = sdp(*PUBLIC_PHONE.ip(), 4000, "");
        Call::from_with(&phone, &pbx, [&offer, &pbx_sdp(PBX_AUDIO, ""), ""])?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        let media = stranger(stage, 4000)?;
        for number in 0..3 {
            ensure!(
                is_heard(&stream, &media, &rtp(number, 7), SOON)?,
                "{number}"
            );
            stream.to_pbx(&rtp(number, PHONE_SSRC))?;
        }
        ensure!(scene.count("media_dropped")? == 0, "dropped");
        Ok(())
    })
}
