//! Media of a phone behind NAT whose session description has a private address, and a PBX that sends to that address only.

mod agents;
mod attacks;
mod calls;
mod changes;
mod ends;
mod forwarded;
mod guard;
mod kinds;
mod networks;
mod replayed;
mod restore;
mod told;
mod tones;
mod untouched;

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4, UdpSocket},
    ops::Deref,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, PBX, Plan, ScriptedPbx, Terminal, lab::Phone, netns::receive};
use serde_json::Value;

use crate::scene::{SOON, Scene, With, play};

/// Ports of audio: of the PBX, and of the phone.
const PBX_AUDIO: u16 = 20_000;
const PHONE_AUDIO: u16 = 4000;

/// Sources of RTP.
const PHONE_SSRC: u32 = 0xaaaa;
const PBX_SSRC: u32 = 0xbbbb;
const ATTACKER: u32 = 0xdead;

const MEDIA: With = With::Arguments(&["--media"]);

/// Time after which a packet does not come any more.
const NEVER: Duration = Duration::from_millis(500);

/// Error of a packet of the PBX that does not reach the phone.
const DEAF: &str = "the phone does not hear the PBX";

/// Returns a session description with an audio line, and more lines after it.
fn sdp(host: impl Into<IpAddr>, port: u16, more: &str) -> String {
    let host = host.into();
    let family = if host.is_ipv4() { 4 } else { 6 };
    format!(
        "v=0\r\no=- 1 1 IN IP{family} {host}\r\ns=-\r\nc=IN IP{family} {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\n{more}"
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

/// Returns a sender report (RFC 3550 6.4.1).
fn rtcp(number: u32, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet.resize(28, 0);
    packet
}

/// Returns a datagram of fax (ITU-T T.38, UDPTL).
fn udptl(sequence: u16) -> Vec<u8> {
    let mut packet = sequence.to_be_bytes().to_vec();
    packet.extend([1, 6, 0, 0, 0]);
    packet
}

/// A scene, and the time within which a packet must come.
struct Stage<'s> {
    scene: &'s Scene<'s>,
    soon: Duration,
}

impl<'s> Deref for Stage<'s> {
    type Target = Scene<'s>;

    fn deref(&self) -> &Scene<'s> {
        self.scene
    }
}

/// Plays a scenario with media, where it must succeed, and without, where the phone must hear nothing.
fn needs_media(plan: Plan, scenario: impl Fn(&Stage<'_>) -> Result<()>) -> Result<()> {
    play(plan, MEDIA, |scene| scenario(&Stage { scene, soon: SOON }))?;
    play(plan, With::Sipnat, |scene| {
        let played = scenario(&Stage { scene, soon: NEVER });
        let error = format!("{:#}", played.err().context("heard without media")?);
        ensure!(error.contains(DEAF), "without media: {error}");
        Ok(())
    })
}

/// Plays a scenario that begins with a call of the first phone, in which both have heard each other's audio.
fn in_a_call(
    plan: Plan,
    scenario: impl Fn(&Stage<'_>, &Call<'_>, Stream) -> Result<()>,
) -> Result<()> {
    needs_media(plan, |stage| stage.in_a_call(&scenario))
}

/// Plays such a scenario once, with an agent of one's choice.
fn in_a_call_with(
    plan: Plan,
    with: With,
    scenario: impl Fn(&Stage<'_>, &Call<'_>, Stream) -> Result<()>,
) -> Result<()> {
    play(plan, with, |scene| {
        Stage { scene, soon: SOON }.in_a_call(&scenario)
    })
}

impl Stage<'_> {
    /// Makes a call of the first phone, in which both hear each other's audio, and goes on with a scenario.
    fn in_a_call(
        &self,
        scenario: impl Fn(&Stage<'_>, &Call<'_>, Stream) -> Result<()>,
    ) -> Result<()> {
        let (pbx, phone) = self.parties()?;
        let call = call(self, &pbx, &phone)?;
        let stream = self.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.talks()?;
        scenario(self, &call, stream)
    }

    /// A PBX, and the first phone.
    fn parties(&self) -> Result<(ScriptedPbx, Terminal)> {
        Ok((self.pbx()?, self.terminal(0, 0, "1000")?))
    }

    /// Description of the first phone.
    fn phone_sdp(&self, port: u16, more: &str) -> String {
        sdp(*self.lab.phone().private.ip(), port, more)
    }

    /// Streams of the first phone.
    fn stream(&self, pbx_port: u16, phone_port: u16) -> Result<Stream> {
        self.stream_of(self.lab.phone(), pbx_port, phone_port)
    }

    /// Opens the sockets of a stream.
    fn stream_of(&self, phone: &Phone, pbx_port: u16, phone_port: u16) -> Result<Stream> {
        let here = SocketAddrV4::new(*PBX.ip(), pbx_port);
        let advertised = SocketAddrV4::new(*phone.private.ip(), phone_port);
        Ok(Stream {
            pbx: self.lab.pbx.udp(here)?,
            phone: phone.netns.udp(advertised)?,
            here: here.into(),
            advertised: advertised.into(),
            soon: self.soon,
        })
    }

    /// Returns the streams that sipnat knows.
    fn streams(&self) -> Result<Vec<Value>> {
        let streams = self.sipnat()?.json(&["media", "list"])?;
        Ok(streams.as_array().context("no list")?.clone())
    }

    /// Returns the stream of a port of the PBX.
    fn stream_at(&self, port: u16) -> Result<Value> {
        let all = self.streams()?;
        let pbx = format!("{}:{port}", PBX.ip());
        let found = all.iter().find(|stream| stream["pbx"] == pbx.as_str());
        found
            .cloned()
            .with_context(|| format!("no stream {port}: {all:#?}"))
    }
}

/// Returns the PBX's description.
fn pbx_sdp(port: u16, more: &str) -> String {
    sdp(*PBX.ip(), port, more)
}

/// Sockets of a stream at both ends.
struct Stream {
    pbx: UdpSocket,
    phone: UdpSocket,
    /// Address of the PBX's socket.
    here: SocketAddr,
    /// Address to which the PBX sends: that in the phone's description.
    advertised: SocketAddr,
    soon: Duration,
}

impl Stream {
    /// A packet of the phone reaches the PBX. Returns its source.
    fn to_pbx(&self, packet: &[u8]) -> Result<SocketAddr> {
        self.phone.send_to(packet, self.here)?;
        comes(&self.pbx, packet, SOON).context("the PBX does not hear the phone")
    }

    /// A packet that the PBX sends to the phone's advertised address reaches the phone.
    fn to_phone(&self, packet: &[u8]) -> Result<()> {
        self.pbx.send_to(packet, self.advertised)?;
        comes(&self.phone, packet, self.soon).context(DEAF)?;
        Ok(())
    }

    /// A packet that the PBX sends to the phone's advertised address is lost.
    fn misses_phone(&self, packet: &[u8], why: &str) -> Result<()> {
        self.pbx.send_to(packet, self.advertised)?;
        ensure!(comes(&self.phone, packet, NEVER).is_err(), "{why}");
        Ok(())
    }

    /// Both hear each other's audio.
    fn talks(&self) -> Result<()> {
        for sequence in 1..4 {
            self.to_pbx(&rtp(sequence, PHONE_SSRC))?;
            self.to_phone(&rtp(sequence, PBX_SSRC))?;
        }
        Ok(())
    }
}

/// Waits for a packet. Returns its source.
fn comes(socket: &UdpSocket, packet: &[u8], limit: Duration) -> Result<SocketAddr> {
    socket.set_read_timeout(Some(limit))?;
    let mut buffer = [0; 2000];
    loop {
        let (length, source) = receive(socket, &mut buffer)?;
        if &buffer[..length] == packet {
            return Ok(source);
        }
    }
}

/// Lets the phone call, with usual descriptions.
fn call<'a>(stage: &Stage<'_>, pbx: &'a ScriptedPbx, phone: &'a Terminal) -> Result<Call<'a>> {
    let offer = stage.phone_sdp(PHONE_AUDIO, "");
    Call::from_with(phone, pbx, [&offer, &pbx_sdp(PBX_AUDIO, ""), ""])
}
