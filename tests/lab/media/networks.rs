//! Networks: IPv6, checksums that the host completes itself, another router, other addresses of the PBX.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use etherparse::{Ipv4Slice, UdpSlice};
use nat_test_support::{
    Call, PBX, Plan,
    capture::{Direction, Tap},
    lab::PBX_V6,
    netns::receive,
    sip::Message,
    unique::unique,
};

use super::{
    DEAF, MEDIA, NEVER, PBX_AUDIO, PHONE_AUDIO, Stage, Stream, call, needs_media, pbx_sdp, sdp,
};
use crate::scene::{SOON, With, play};

/// Address of the first phone, behind a NAT of IPv6.
const PHONE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x192, 0x168, 1, 0, 0, 0, 0x10);

/// The PBX completes checksums itself. Each packet arrives with a right one.
#[test]
fn complete_checksums() -> Result<()> {
    let plan = Plan {
        checksum_offload: false,
        ..Plan::PLAIN_NAT
    };
    needs_media(plan, |stage| {
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()?;
        let mut packets = stage.capture.at(Tap::Phone(0, 0), Direction::In);
        packets.retain(|packet| packet.source.port() == PBX_AUDIO);
        ensure!(packets.len() == 3, "{} packets", packets.len());
        for packet in packets {
            let ip = Ipv4Slice::from_slice(&packet.ip)?;
            let udp = UdpSlice::from_slice(ip.payload().payload)?;
            let sum = udp.to_header().calc_checksum_ipv4_raw(
                ip.header().source(),
                ip.header().destination(),
                udp.payload(),
            )?;
            ensure!(udp.checksum() == sum, "{:#x}, not {sum:#x}", udp.checksum());
        }
        Ok(())
    })
}

/// A route to private addresses by another gateway: frames for the phone need another next hop than those for its
/// advertised address. The PBX's host reaches that network, so packets are left unless the policy says `force`.
#[test]
fn another_gateway() -> Result<()> {
    let plan = Plan {
        private_route: true,
        ..Plan::PLAIN_NAT
    };
    needs_media(plan, |stage| {
        let sipnat = stage.sipnat()?;
        sipnat.command(&["policy", "set", "60.17.196.0/24", "force"])?;
        let (pbx, phone) = stage.parties()?;
        call(stage, &pbx, &phone)?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO)?.talks()
    })
}

#[test]
fn ipv6() -> Result<()> {
    let plan = Plan {
        ipv6: true,
        ..Plan::PLAIN_NAT
    };
    needs_media(plan, |stage| {
        let (here, there) = ends(5060, 5060);
        let pbx = stage.lab.pbx.udp(here)?;
        let phone = stage.lab.phone().netns.udp(there)?;
        let number = unique();
        let request = |method: &str, to_tag: &str, branch: &str| {
            Message::new(format!("{method} sip:2000@[{PBX_V6}] SIP/2.0"))
                .with(
                    "Via",
                    format!("SIP/2.0/UDP {there};branch=z9hG4bK{branch}{number}"),
                )
                .with("From", "<sip:1000@pbx>;tag=phone")
                .with("To", format!("<sip:2000@pbx>{to_tag}"))
                .with("Call-ID", format!("{number}@phone"))
                .with("CSeq", format!("1 {method}"))
                .with("Contact", format!("<sip:1000@{there}>"))
        };
        let invite = request("INVITE", "", "a").with_sdp(&sdp(PHONE_V6, PHONE_AUDIO, ""));
        phone.send_to(invite.to_string().as_bytes(), here)?;
        let source = hears(&pbx, "INVITE")?;
        let mut ok = Message::response(&invite, "200 OK")
            .with("Contact", format!("<sip:2000@{here}>"))
            .with_sdp(&sdp(PBX_V6, PBX_AUDIO, ""));
        ok.field_mut("To").context("no To")?.push_str(";tag=pbx");
        pbx.send_to(ok.to_string().as_bytes(), source)?;
        hears(&phone, "SIP/2.0 200")?;
        let ack = request("ACK", ";tag=pbx", "b");
        phone.send_to(ack.to_string().as_bytes(), here)?;
        hears(&pbx, "ACK")?;
        let (here, advertised) = ends(PBX_AUDIO, PHONE_AUDIO);
        let stream = Stream {
            pbx: stage.lab.pbx.udp(here)?,
            phone: stage.lab.phone().netns.udp(advertised)?,
            here,
            advertised,
            soon: stage.soon,
        };
        stream.talks()
    })
}

fn ends(pbx_port: u16, phone_port: u16) -> (SocketAddr, SocketAddr) {
    let at = |ip, port| SocketAddrV6::new(ip, port, 0, 0).into();
    (at(PBX_V6, pbx_port), at(PHONE_V6, phone_port))
}

/// Waits for a message. Returns its source.
fn hears(socket: &UdpSocket, start: &str) -> Result<SocketAddr> {
    socket.set_read_timeout(Some(SOON))?;
    let mut buffer = [0; 4096];
    let (length, source) = receive(socket, &mut buffer).with_context(|| format!("no {start}"))?;
    ensure!(
        buffer[..length].starts_with(start.as_bytes()),
        "not {start}"
    );
    Ok(source)
}

/// The host has two addresses, and the call is at the second one.
#[test]
fn a_second_address() -> Result<()> {
    needs_media(Plan::PLAIN_NAT, |stage| {
        let second = Ipv4Addr::new(203, 0, 113, 11);
        stage.lab.pbx.run(
            Command::new("ip").args(["addr", "add", &format!("{second}/24"), "dev", "eth0"]),
            "",
        )?;
        // The agent reads addresses at most once a second.
        thread::sleep(SOON / 2);
        let (pbx, phone) = stage.parties()?;
        let offer = stage.phone_sdp(PHONE_AUDIO, "");
        Call::from_with(&phone, &pbx, [&offer, &sdp(second, PBX_AUDIO, ""), ""])?;
        let mut stream = stage.stream(PBX_AUDIO + 8, PHONE_AUDIO)?;
        stream.here = (second, PBX_AUDIO).into();
        stream.pbx = stage.lab.pbx.udp(stream.here)?;
        stream.talks()?;
        // The first one, which is as before.
        let offer = stage.phone_sdp(PHONE_AUDIO + 10, "");
        Call::from_with(&phone, &pbx, [&offer, &pbx_sdp(PBX_AUDIO, ""), ""])?;
        stage.stream(PBX_AUDIO, PHONE_AUDIO + 10)?.talks()
    })
}

/// A router translates a public address to the PBX's, one to one, and the PBX names the public one.
#[test]
fn a_public_address_of_the_pbx() -> Result<()> {
    const EXTERNAL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);
    let scenario = |stage: &Stage<'_>| {
        stage.lab.isp.run(
            Command::new("nft").args(["-f", "-"]),
            &format!(
                "table ip one_to_one {{ chain in {{ type nat hook prerouting priority dstnat; \
                 ip daddr {EXTERNAL} dnat to {}; }}; }}",
                PBX.ip()
            ),
        )?;
        let (pbx, phone) = stage.parties()?;
        let offer = stage.phone_sdp(PHONE_AUDIO, "");
        Call::from_with(&phone, &pbx, [&offer, &sdp(EXTERNAL, PBX_AUDIO, ""), ""])?;
        let mut stream = stage.stream(PBX_AUDIO, PHONE_AUDIO)?;
        stream.here = (EXTERNAL, PBX_AUDIO).into();
        stream.talks()
    };
    let named = With::Arguments(&["--media", "--external", "198.51.100.99"]);
    play(Plan::PLAIN_NAT, named, |scene| {
        scenario(&Stage { scene, soon: SOON })
    })?;
    play(Plan::PLAIN_NAT, MEDIA, |scene| {
        let played = scenario(&Stage { scene, soon: NEVER });
        let error = format!("{:#}", played.err().context("heard without --external")?);
        ensure!(error.contains(DEAF), "{error}");
        let status = scene.sipnat()?.command(&["status"])?;
        ensure!(status.contains("the PBX names 198.51.100.99"), "{status}");
        ensure!(status.contains("--external ADDRESS"), "{status}");
        Ok(())
    })
}
