//! Audio of a phone behind NAT whose SDP has a private address, and a PBX that sends to that address only.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, PBX, Plan, ScriptedPbx, Terminal, netns::receive, ua::Heard};

use crate::scene::{Scene, With, play};

/// Port at which the PBX receives audio, and that of the phone.
const PBX_AUDIO: u16 = 20_000;
const PHONE_AUDIO: u16 = 4000;

/// Time within which a packet must come, and after which it does not come any more.
const SOON: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_millis(700);

fn sdp(host: Ipv4Addr, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=sendrecv\r\n"
    )
}

/// Returns an RTP packet (RFC 3550 5.1) with 20 ms of G.711.
fn rtp(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(172, 0xd5);
    packet
}

/// A call with media.
struct Audio {
    pbx_audio: UdpSocket,
    phone_audio: UdpSocket,
    /// Address to which the PBX sends: that in the phone's SDP.
    advertised: SocketAddrV4,
}

/// Lets the phone call, and opens the sockets of both sides.
fn call(scene: &Scene<'_>, pbx: &ScriptedPbx, phone: &Terminal) -> Result<(Audio, Heard)> {
    let private = *scene.lab.phone().private.ip();
    let advertised = SocketAddrV4::new(private, PHONE_AUDIO);
    let invite = phone
        .request("INVITE", "sip:2000@203.0.113.10")
        .with_sdp(&sdp(private, PHONE_AUDIO));
    phone.ua.send(&invite, PBX)?;
    let heard = pbx.hear("INVITE")?;
    let ok = pbx.response(&heard, "200 OK");
    let ok = ok.with_sdp(&sdp(*PBX.ip(), PBX_AUDIO));
    pbx.answer(&heard, &ok)?;
    phone.ua.hear("SIP/2.0 200")?;
    let audio = Audio {
        pbx_audio: scene.lab.pbx.udp(SocketAddrV4::new(*PBX.ip(), PBX_AUDIO))?,
        phone_audio: scene.lab.phone().netns.udp(advertised)?,
        advertised,
    };
    Ok((audio, heard))
}

impl Audio {
    /// A packet of the phone reaches the PBX.
    fn phone_is_heard(&self, sequence: u16, ssrc: u32) -> Result<()> {
        let to = SocketAddrV4::new(*PBX.ip(), PBX_AUDIO);
        let packet = rtp(sequence, ssrc);
        self.phone_audio.send_to(&packet, to)?;
        comes(&self.pbx_audio, &packet, SOON).context("the PBX does not hear the phone")
    }

    /// A packet that the PBX sends to the phone's advertised address reaches the phone, or not.
    fn pbx_is_heard(&self, sequence: u16, limit: Duration) -> Result<()> {
        let packet = rtp(sequence, 0xbbbb);
        self.pbx_audio.send_to(&packet, self.advertised)?;
        comes(&self.phone_audio, &packet, limit).context("the phone does not hear the PBX")
    }
}

/// Waits for a packet.
fn comes(socket: &UdpSocket, packet: &[u8], limit: Duration) -> Result<()> {
    socket.set_read_timeout(Some(limit))?;
    let mut buffer = [0; 2000];
    loop {
        let (length, _) = receive(socket, &mut buffer)?;
        if &buffer[..length] == packet {
            return Ok(());
        }
    }
}

/// The phone calls, and both hear each other.
#[test]
fn both_are_heard_with_media() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Arguments(&["--media"]), |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let (audio, _) = call(scene, &pbx, &phone)?;
        audio.phone_is_heard(1, 0xaaaa)?;
        for sequence in 1..20 {
            audio.pbx_is_heard(sequence, SOON)?;
            audio.phone_is_heard(sequence + 1, 0xaaaa)?;
        }
        ensure!(scene.count("media_rewritten")? >= 19, "not by sipnat");
        let streams = scene.sipnat()?.json(&["media", "list"])?;
        let stream = streams
            .as_array()
            .and_then(|all| all.iter().find(|s| s["kind"] == "rtp"))
            .context("no stream")?;
        ensure!(stream["pbx"] == "203.0.113.10:20000", "{stream}");
        ensure!(stream["advertised"] == "192.168.1.10:4000", "{stream}");
        ensure!(stream["received"] == 20, "{stream}");
        Ok(())
    })
}

/// Without media, sipnat or not, the phone hears nothing.
#[test]
fn the_pbx_is_not_heard_without_media() -> Result<()> {
    for with in [With::Sipnat, With::Nothing] {
        play(Plan::PLAIN_NAT, with, |scene| {
            let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
            let (audio, _) = call(scene, &pbx, &phone)?;
            audio.phone_is_heard(1, 0xaaaa)?;
            ensure!(audio.pbx_is_heard(1, NEVER).is_err(), "heard with {with:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The phone's packets come from another port of the NAT in mid-call: with the same source of RTP they are believed at
/// once, with another not.
#[test]
fn rebinding() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Arguments(&["--media"]), |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let (mut audio, _) = call(scene, &pbx, &phone)?;
        audio.phone_is_heard(1, 0xaaaa)?;
        audio.pbx_is_heard(1, SOON)?;
        let private = *scene.lab.phone().private.ip();
        let other = SocketAddrV4::new(private, PHONE_AUDIO + 2);
        let before = std::mem::replace(&mut audio.phone_audio, scene.lab.phone().netns.udp(other)?);
        audio.phone_is_heard(2, 0xcccc)?;
        ensure!(
            audio.pbx_is_heard(2, NEVER).is_err(),
            "another source was believed"
        );
        audio.phone_is_heard(3, 0xaaaa)?;
        audio.pbx_is_heard(3, SOON)?;
        drop(before);
        Ok(())
    })
}

/// After BYE the slot ends, and packets go where the PBX sends them.
#[test]
fn the_end_of_a_call_ends_its_streams() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Arguments(&["--media"]), |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let (audio, heard) = call(scene, &pbx, &phone)?;
        audio.phone_is_heard(1, 0xaaaa)?;
        audio.pbx_is_heard(1, SOON)?;
        let ok = pbx.response(&heard, "200 OK");
        let call = Call::new(&pbx, &phone, &ok, ["To", "From"], &heard.message)?;
        call.reaches_phone("BYE")?;
        // The programs look at the owner of a slot once a second, when a packet comes.
        let until = Instant::now() + 4 * SOON;
        while scene.count("media_removed")? == 0 {
            ensure!(Instant::now() < until, "no slot has ended");
            audio.pbx_audio.send_to(&rtp(2, 0xbbbb), audio.advertised)?;
        }
        ensure!(
            audio.pbx_is_heard(3, NEVER).is_err(),
            "packets still go to the phone"
        );
        Ok(())
    })
}
