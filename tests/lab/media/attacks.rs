//! Somebody wants the audio of a call, or to be heard in it. What becomes of a sprayer: `guard`.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan,
    capture::{Direction, Tap},
    forge::{Checksum, Forger},
    lab::PUBLIC_PHONE,
    sip::Message,
    unique::unique,
};

use super::{
    ATTACKER, DEAF, MEDIA, NEVER, PBX_AUDIO, PBX_SSRC, PHONE_AUDIO, PHONE_SSRC, Stage, Stream,
    call, comes, in_a_call_with, pbx_sdp, rtp, sdp,
};
use crate::scene::{SOON, With, play};

/// Sends RTP as if from a port of the first phone's NAT.
struct Spoofer {
    forger: Forger,
    source: SocketAddrV4,
}

impl Spoofer {
    fn new(stage: &Stage<'_>, port: u16) -> Result<Self> {
        Ok(Self {
            forger: Forger::open(&stage.lab.public_phone)?,
            source: SocketAddrV4::new(*stage.lab.phone().public.ip(), port),
        })
    }

    /// A packet reaches the PBX.
    fn sends(&self, stream: &Stream, number: u16) -> Result<()> {
        let packet = rtp(number, ATTACKER);
        let here = SocketAddrV4::new(*PBX.ip(), stream.here.port());
        self.forger
            .send_bytes(&packet, self.source, here, Checksum::Right)?;
        ensure!(
            comes(&stream.pbx, &packet, SOON)? == self.source.into(),
            "another source"
        );
        Ok(())
    }
}

/// None of the PBX's packets has reached a host but those of the phone's site.
fn nobody_else_has_heard(stage: &Stage<'_>) -> Result<()> {
    for tap in [Tap::Public, Tap::Neighbour, Tap::OtherGateway] {
        let mut heard = stage.capture.at(tap, Direction::In);
        heard.retain(|packet| packet.source.port() == PBX_AUDIO && packet.source.ip() == PBX.ip());
        ensure!(heard.is_empty(), "{tap:?} heard {} packets", heard.len());
    }
    Ok(())
}

/// Somebody forges the address of the phone's NAT, not its port, in mid-call.
#[test]
fn a_forged_source_in_a_call() -> Result<()> {
    in_a_call_with(Plan::PLAIN_NAT, MEDIA, |stage, _, stream| {
        let spoofer = Spoofer::new(stage, 6666)?;
        for number in 10..30 {
            spoofer.sends(&stream, number)?;
            stream.to_phone(&rtp(number, PBX_SSRC))?;
            stream.to_pbx(&rtp(number, PHONE_SSRC))?;
        }
        ensure!(stage.count("media_rival")? == 20, "not counted");
        nobody_else_has_heard(stage)
    })
}

/// The same before the phone's first packet, whose port the NAT changes. The audio goes to the phone's own NAT and nowhere else,
/// until he is silent for a second.
#[test]
fn a_forged_source_before_the_first_packet() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: NEVER };
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        let router = &scene.lab.sites[0].router;
        router.run(
            std::process::Command::new("nft").args(["-f", "-"]),
            "insert rule ip router postrouting oifname wan udp sport 4000 masquerade to :50123",
        )?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        let spoofer = Spoofer::new(stage, 6666)?;
        spoofer.sends(&stream, 1)?;
        stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        let error = stream
            .to_phone(&rtp(1, PBX_SSRC))
            .err()
            .context("the phone wins")?;
        ensure!(format!("{error:#}").contains(DEAF), "{error:#}");
        let went = stage.capture.at(Tap::Router(0), Direction::In);
        let there = went
            .iter()
            .filter(|packet| packet.destination == spoofer.source);
        ensure!(there.count() == 1, "not to the phone's NAT");
        nobody_else_has_heard(stage)?;
        thread::sleep(Duration::from_millis(1200));
        stream.to_pbx(&rtp(2, PHONE_SSRC))?;
        stream.to_phone(&rtp(2, PBX_SSRC))?;
        nobody_else_has_heard(stage)
    })
}

/// The phone's NAT keeps the port that the phone names, as most do: the phone is believed at once.
#[test]
fn the_advertised_port_wins() -> Result<()> {
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        let spoofer = Spoofer::new(stage, 6666)?;
        spoofer.sends(&stream, 1)?;
        stream.to_pbx(&rtp(1, PHONE_SSRC))?;
        stream.to_phone(&rtp(1, PBX_SSRC))?;
        for number in 2..10 {
            spoofer.sends(&stream, number)?;
            stream.to_phone(&rtp(number, PBX_SSRC))?;
            stream.to_pbx(&rtp(number, PHONE_SSRC))?;
        }
        nobody_else_has_heard(stage)
    })
}

/// A neighbour behind the same NAT sends to the port of the phone's call.
#[test]
fn a_neighbour() -> Result<()> {
    let plan = Plan {
        phones: 2,
        ..Plan::PLAIN_NAT
    };
    in_a_call_with(plan, MEDIA, |stage, _, stream| {
        let other = &stage.lab.sites[0].phones[1];
        let neighbour = other
            .netns
            .udp(SocketAddrV4::new(*other.private.ip(), 6000))?;
        for number in 10..30 {
            neighbour.send_to(&rtp(number, ATTACKER), stream.here)?;
            comes(&stream.pbx, &rtp(number, ATTACKER), SOON)?;
            stream.to_phone(&rtp(number, PBX_SSRC))?;
            stream.to_pbx(&rtp(number, PHONE_SSRC))?;
        }
        neighbour.set_nonblocking(true)?;
        ensure!(neighbour.recv(&mut [0; 200]).is_err(), "he hears the PBX");
        Ok(())
    })
}

/// Somebody knows Call-ID, tags, CSeq and branch of a call, and sends descriptions of his own in its name. The PBX answers none.
#[test]
fn descriptions_in_the_name_of_a_call() -> Result<()> {
    in_a_call_with(Plan::PLAIN_NAT, MEDIA, |stage, call, stream| {
        let before = stage.streams()?;
        let attacker = stage.lab.public_phone.udp(PUBLIC_PHONE)?;
        let own = sdp(*PUBLIC_PHONE.ip(), 6666, "");
        for method in ["INVITE", "UPDATE", "ACK"] {
            let request = call.phone_request(method).with_sdp(&own);
            attacker.send_to(request.to_string().as_bytes(), PBX)?;
            call.pbx.hear(method)?;
        }
        // A response to nothing that the PBX has sent him.
        let asked = call.pbx_request("INVITE");
        let answer = Message::response(&asked, "200 OK").with_sdp(&own);
        attacker.send_to(answer.to_string().as_bytes(), PBX)?;
        call.pbx.hear("SIP/2.0 200")?;
        let same = |stream: &serde_json::Value| {
            (
                stream["pbx"].clone(),
                stream["advertised"].clone(),
                stream["learned"].clone(),
            )
        };
        let now: Vec<_> = stage.streams()?.iter().map(same).collect();
        ensure!(
            now == before.iter().map(same).collect::<Vec<_>>(),
            "{now:?}"
        );
        stream.talks()?;
        nobody_else_has_heard(stage)
    })
}

/// A terminal names the public address of somebody else: the PBX's packets go there as without sipnat, and nowhere else.
#[test]
fn somebody_else_s_address() -> Result<()> {
    for with in [MEDIA, With::Nothing] {
        play(Plan::PLAIN_NAT, with, |scene| {
            let stage = &Stage { scene, soon: SOON };
            let (pbx, phone) = (stage.pbx()?, stage.terminal(0, 0, "1000")?);
            let offer = sdp(*PUBLIC_PHONE.ip(), PHONE_AUDIO, "");
            let request = phone
                .request("INVITE", "sip:2000@203.0.113.10")
                .with_sdp(&offer);
            phone.ua.send(&request, PBX)?;
            let invite = pbx.hear("INVITE")?;
            let ok = pbx
                .response(&invite, "200 OK")
                .with_sdp(&pbx_sdp(PBX_AUDIO, ""));
            pbx.answer(&invite, &ok)?;
            let stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
            let victim = scene
                .lab
                .public_phone
                .udp(SocketAddrV4::new(*PUBLIC_PHONE.ip(), PHONE_AUDIO))?;
            for number in 1..4 {
                stream.to_pbx(&rtp(number, PHONE_SSRC))?;
                stream
                    .pbx
                    .send_to(&rtp(number, PBX_SSRC), victim.local_addr()?)?;
                comes(&victim, &rtp(number, PBX_SSRC), SOON)?;
            }
            Ok(())
        })
        .with_context(|| format!("{with:?}"))?;
    }
    Ok(())
}

/// Two accounts have a PBX that relays descriptions, as a proxy does, name a port of this host, and a host that only this host's
/// network has. What its socket at that port sends to that host goes there. Nor does a port below 1024 belong to audio, wherever
/// the host is.
#[test]
fn a_host_of_the_pbx_s_network() -> Result<()> {
    const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 53);
    const FAR_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 53);
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let stage = &Stage { scene, soon: SOON };
        scene.lab.pbx.ip("addr add 10.9.0.1/24 dev eth0")?;
        scene.lab.neighbour.ip("addr add 10.9.0.53/24 dev eth0")?;
        scene.lab.add_private_host(FAR_RESOLVER)?;
        // The agent reads addresses at most once a second.
        thread::sleep(SOON / 2);
        let (pbx, phone) = stage.parties()?;
        for (index, resolver, port, host) in [
            (0, RESOLVER, 5353, &scene.lab.neighbour),
            (1, FAR_RESOLVER, 53, &scene.lab.isp),
        ] {
            let here = PBX_AUDIO + 10 * index;
            Call::from_with(
                &phone,
                &pbx,
                [&sdp(resolver, port, ""), &pbx_sdp(here, ""), ""],
            )?;
            let attacker = stage.stream(here, PHONE_AUDIO + index)?;
            attacker.to_pbx(&rtp(1, PHONE_SSRC))?;
            let server = host.udp(SocketAddrV4::new(resolver, port))?;
            let question = format!("question {}", unique()).into_bytes();
            // Unlike a packet for the Internet, it leaves by its own address here.
            attacker.pbx.send_to(&question, (resolver, port))?;
            comes(&server, &question, SOON).with_context(|| resolver.to_string())?;
            ensure!(
                misses(&attacker.phone, &question)?,
                "{resolver}: the attacker has it"
            );
        }
        Ok(())
    })
}

/// Whether a packet does not come.
fn misses(socket: &UdpSocket, packet: &[u8]) -> Result<bool> {
    Ok(comes(socket, packet, NEVER).is_err())
}

/// Strangers flood the PBX with descriptions. Streams stay, and the next call has its own.
#[test]
fn a_flood_of_offers() -> Result<()> {
    in_a_call_with(Plan::PLAIN_NAT, MEDIA, |stage, call, stream| {
        let forger = Forger::open(&stage.lab.public_phone)?;
        let flood = |count: u16| -> Result<()> {
            for number in 0..count {
                let [high, low] = number.to_be_bytes();
                let source = SocketAddrV4::new(Ipv4Addr::new(198, 51, high, low), 5060);
                let offer = Message::new("INVITE sip:2000@203.0.113.10 SIP/2.0")
                    .with(
                        "Via",
                        format!("SIP/2.0/UDP {source};branch=z9hG4bK{}", unique()),
                    )
                    .with("From", "<sip:x@x>;tag=x")
                    .with("To", "<sip:2000@203.0.113.10>")
                    .with("Call-ID", format!("{}@x", unique()))
                    .with("CSeq", "1 INVITE")
                    .with("Contact", format!("<sip:x@{source}>"))
                    .with_sdp(&sdp(Ipv4Addr::new(192, 168, 1, 10), PHONE_AUDIO, ""));
                forger.send(&offer, source, PBX, Checksum::Right)?;
                // One that waits in a queue would be lost there.
                if number % 32 == 0 {
                    stream.to_pbx(&rtp(number, PHONE_SSRC))?;
                }
            }
            Ok(())
        };
        flood(4000)?;
        stream.talks()?;
        ensure!(stage.streams()?.len() == 2, "{:#?}", stage.streams()?);
        ensure!(
            stage.count("media_noted")? > 3000,
            "the offers were not noted"
        );
        while call.pbx.ua.hear("INVITE").is_ok() {}
        let offer = stage.phone_sdp(PHONE_AUDIO + 10, "");
        let answer = pbx_sdp(PBX_AUDIO + 10, "");
        Call::from_with(call.terminal, call.pbx, [&offer, &answer, ""])?;
        stage.stream(PBX_AUDIO + 10, PHONE_AUDIO + 10)?.talks()
    })
}
