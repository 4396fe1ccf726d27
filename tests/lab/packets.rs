//! Packets other than one small IPv4 datagram, through the kernel's own stack.

use std::{
    io::IoSlice,
    net::{SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, Lab, PBX, Plan, ScriptedPbx, Sipnat, Terminal,
    lab::NEIGHBOUR,
    netns::{Netns, NetnsFamily, receive},
};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

use crate::scene::{SOON, Scene, With, play};

/// A body that needs several packets.
fn long_sdp(bytes: usize) -> String {
    let mut sdp = String::from("v=0\r\n");
    for line in 0.. {
        if sdp.len() >= bytes {
            break;
        }
        sdp += &format!("a=candidate:{line} 1 UDP 2130706431 192.168.1.10 4000 typ host\r\n");
    }
    sdp
}

#[test]
fn fragments_with_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        ensure!(fragments(scene)?, "the re-INVITE did not arrive");
        ensure!(
            scene.count("in_fragment")? > 0,
            "the INVITE was in one piece"
        );
        let followed = scene.count("out_fragment_redirected")?;
        ensure!(followed > 0, "the re-INVITE was in one piece");
        Ok(())
    })
}

#[test]
fn fragments_without_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Nothing, |scene| {
        ensure!(!fragments(scene)?, "the re-INVITE arrived");
        Ok(())
    })
}

/// The phone's INVITE comes in fragments, and the PBX's re-INVITE leaves in fragments, for a private address. Returns
/// whether it arrives as a whole.
fn fragments(scene: &Scene<'_>) -> Result<bool> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let invite = phone
        .request("INVITE", "sip:2000@203.0.113.10")
        .with_sdp(&long_sdp(4000));
    phone.ua.send(&invite, PBX)?;
    let heard = pbx.hear("INVITE")?;
    let ok = pbx.response(&heard, "200 OK");
    pbx.answer(&heard, &ok)?;
    phone.ua.hear("SIP/2.0 200")?;
    let call = Call::new(&pbx, &phone, &ok, ["To", "From"], &heard.message)?;
    for _ in 0..3 {
        let request = call.pbx_request("INVITE").with_sdp(&long_sdp(5000));
        pbx.send(&request)?;
        let Ok(heard) = phone.ua.hear("INVITE") else {
            return Ok(false);
        };
        ensure!(
            heard.message.to_string() == request.to_string(),
            "another text arrived"
        );
        phone.respond(&heard, "200 OK", "")?;
        pbx.hear("SIP/2.0 200")?;
    }
    Ok(true)
}

/// A PBX and a phone with IPv6 only, and a router between them.
struct Ipv6 {
    pbx: Netns,
    phone: Netns,
    _router: Netns,
}

const PBX6: &str = "[2001:db8::10]:5060";
const PHONE6: &str = "[2001:db8:1::2]:49163";

impl Ipv6 {
    fn new() -> Result<Self> {
        let family = NetnsFamily::next()?;
        let (router, pbx, phone) = (
            family.make("router6")?,
            family.make("pbx6")?,
            family.make("phone6")?,
        );
        for host in [&router, &pbx, &phone] {
            host.sysctl("ipv6/conf/all/disable_ipv6", "0")?;
            host.sysctl("ipv6/conf/default/disable_ipv6", "0")?;
        }
        router.sysctl("ipv6/conf/all/forwarding", "1")?;
        for (host, port, subnet, address) in [
            (&pbx, "pbx", "2001:db8::", "2001:db8::10"),
            (&phone, "phone", "2001:db8:1::", "2001:db8:1::2"),
        ] {
            router.ip(&format!(
                "link add {port} type veth peer name eth0 netns {name}
                 addr add {subnet}1/64 dev {port} nodad
                 link set {port} up",
                name = host.name(),
            ))?;
            host.ip(&format!(
                "addr add {address}/64 dev eth0 nodad
                 link set eth0 up
                 route add default via {subnet}1"
            ))?;
        }
        // A provider has no route to private addresses.
        router.ip("route add unreachable fd00::/8")?;
        Ok(Self {
            pbx,
            phone,
            _router: router,
        })
    }
}

#[test]
fn ipv6_with_sipnat() -> Result<()> {
    let lab = Ipv6::new()?;
    let sipnat = Sipnat::start(&lab.pbx, &[])?;
    for contact in ["[2001:db8:1::2]:5060", "[fd00::10]:5060"] {
        for length in [0, 5000] {
            ensure!(ipv6(&lab, contact, length)?, "{contact} {length}: lost");
        }
    }
    let stats = sipnat.json(&["stats"])?;
    let count = |name: &str| stats[name].as_u64().unwrap_or(0);
    ensure!(count("out_redirected_dialog") == 4, "{stats:#}");
    ensure!(count("out_fragment_redirected") > 2, "{stats:#}");
    ensure!(count("next_hop_changed") > 4, "{stats:#}");
    sipnat.stop()
}

#[test]
fn ipv6_without_sipnat() -> Result<()> {
    let lab = Ipv6::new()?;
    for contact in ["[2001:db8:1::2]:5060", "[fd00::10]:5060"] {
        ensure!(!ipv6(&lab, contact, 0)?, "{contact}: it arrived");
    }
    Ok(())
}

/// The phone calls from another port than that of its Contact, and the PBX sends it a BYE with a filler of this size.
/// Returns whether the BYE arrives.
fn ipv6(lab: &Ipv6, contact: &str, length: usize) -> Result<bool> {
    let (pbx_address, phone_address): (SocketAddrV6, SocketAddrV6) =
        (PBX6.parse()?, PHONE6.parse()?);
    let pbx = lab.pbx.udp(pbx_address)?;
    let phone = lab.phone.udp(phone_address)?;
    pbx.set_read_timeout(Some(SOON))?;
    phone.set_read_timeout(Some(SOON))?;
    let call = format!("{length}@{contact}");
    let invite = format!(
        "INVITE sip:2000@[2001:db8::10] SIP/2.0\r\n\
         Via: SIP/2.0/UDP {contact};branch=z9hG4bK{length};received=2001:db8:1::2\r\n\
         From: <sip:1000@pbx>;tag=phone\r\nTo: <sip:2000@pbx>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:1000@{contact}>\r\nContent-Length: 0\r\n\r\n"
    );
    let mut buffer = [0; 8192];
    // A phone repeats its INVITE (RFC 3261 17.1.1.2): the kernel may not have set up the addresses yet.
    pbx.set_read_timeout(Some(SOON / 10))?;
    let received = (0..10).find_map(|_| {
        phone.send_to(invite.as_bytes(), pbx_address).ok()?;
        receive(&pbx, &mut buffer).ok()
    });
    let (_, source) = received.context("the INVITE does not arrive")?;
    pbx.set_read_timeout(Some(SOON))?;
    let ok = invite
        .replace("INVITE sip:2000@[2001:db8::10] SIP/2.0", "SIP/2.0 200 OK")
        .replace("To: <sip:2000@pbx>", "To: <sip:2000@pbx>;tag=pbx");
    pbx.send_to(ok.as_bytes(), source)?;
    receive(&phone, &mut buffer).context("200")?;
    // It proves that the phone got the response where its INVITE came from.
    let ack = invite
        .replace("INVITE", "ACK")
        .replace("branch=z9hG4bK", "branch=z9hG4bKack")
        .replace("To: <sip:2000@pbx>", "To: <sip:2000@pbx>;tag=pbx");
    phone.send_to(ack.as_bytes(), pbx_address)?;
    while !buffer.starts_with(b"ACK") {
        receive(&pbx, &mut buffer).context("ACK")?;
    }

    let bye = format!(
        "BYE sip:1000@{contact} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {PBX6};branch=z9hG4bK{length}bye\r\n\
         From: <sip:2000@pbx>;tag=pbx\r\nTo: <sip:1000@pbx>;tag=phone\r\nCall-ID: {call}\r\nCSeq: 2 BYE\r\n\
         Content-Length: {length}\r\n\r\n{}",
        "x".repeat(length)
    );
    phone.set_read_timeout(Some(SOON / 5))?;
    let target: SocketAddrV6 = contact.parse()?;
    // A host that got "no route" reports it at the next call.
    let _ = pbx.send_to(bye.as_bytes(), target);
    match receive(&phone, &mut buffer) {
        Ok((length, _)) => {
            ensure!(buffer[..length] == *bye.as_bytes(), "another text arrived");
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}

/// Interfaces whose frames do not fit into a page, on the PBX and on its neighbour.
#[test]
fn large_frames() -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    lab.isp
        .ip("link set pbx mtu 9000\nlink set neighbour mtu 9000\nlink set backbone mtu 9000")?;
    lab.neighbour.ip("link set eth0 mtu 9000")?;
    lab.pbx.ip("link set eth0 mtu 9000")?;
    let sipnat = Sipnat::start(&lab.pbx, &[])?;
    ensure!(sipnat.log().contains("xdp native"), "{}", sipnat.log());
    sipnat.command(&["policy", "set", &NEIGHBOUR.to_string(), "auto"])?;
    let (pbx, phone) = neighbours(&lab)?;
    let invite = phone
        .request("INVITE", "sip:2000@203.0.113.10")
        .with_sdp(&long_sdp(6000));
    phone.ua.send(&invite, PBX)?;
    let heard = pbx.hear("INVITE")?;
    let ok = pbx.response(&heard, "200 OK");
    pbx.answer(&heard, &ok)?;
    phone.ua.hear("SIP/2.0 200")?;
    let call = Call::new(&pbx, &phone, &ok, ["To", "From"], &heard.message)?;
    call.phone_acknowledges()?;
    let request = call.pbx_request("INVITE").with_sdp(&long_sdp(7000));
    pbx.send(&request)?;
    let arrived = phone.ua.hear("INVITE").context("the redirected one")?;
    ensure!(
        arrived.message.to_string() == request.to_string(),
        "another text arrived"
    );
    let stats = sipnat.json(&["stats"])?;
    ensure!(stats["in_fragment"] == 0, "it was in fragments");
    ensure!(stats["out_redirected_dialog"] == 1, "{stats:#}");
    sipnat.stop()
}

/// A scripted PBX, and a phone on its subnet that listens where it sends from, and advertises port 5060.
fn neighbours(lab: &Lab) -> Result<(ScriptedPbx, Terminal)> {
    let pbx = ScriptedPbx::start(&lab.pbx, nat_test_support::Answers::ToSource, SOON)?;
    let local = SocketAddrV4::new(NEIGHBOUR, 49163);
    let phone = Terminal::start(&lab.neighbour, local, "1000", SOON)?;
    Ok((
        pbx,
        phone.with_contact(format!("<sip:1000@{NEIGHBOUR}:5060>")),
    ))
}

/// Two messages in one packet that the network card cuts: both pass unchanged.
#[test]
fn segmented_by_the_network_card() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let sipnat = scene.sipnat()?;
        sipnat.command(&["policy", "set", &NEIGHBOUR.to_string(), "auto"])?;
        let (pbx, phone) = neighbours(scene.lab)?;
        let call = Call::from(&phone, &pbx)?;
        let request = call.pbx_request("INFO").to_string();
        drop(pbx);
        let meant = SocketAddrV4::new(NEIGHBOUR, 5060);
        let listening = scene.lab.neighbour.udp(meant)?;
        listening.set_read_timeout(Some(SOON))?;
        send_in_segments(
            &scene.lab.pbx.udp(PBX)?,
            &[request.repeat(2)],
            request.len(),
            meant,
        )?;
        for _ in 0..2 {
            let mut buffer = [0; 2048];
            let (length, _) = receive(&listening, &mut buffer).context("a segment")?;
            ensure!(buffer[..length] == *request.as_bytes(), "another text");
        }
        ensure!(scene.count("out_segmented")? == 1, "it was not segmented");
        Ok(())
    })
}

/// Sends the parts as one UDP GSO packet with segments of this size.
fn send_in_segments(
    socket: &UdpSocket,
    parts: &[String],
    size: usize,
    to: SocketAddrV4,
) -> Result<()> {
    let size = u16::try_from(size)?;
    let parts: Vec<_> = parts
        .iter()
        .map(|part| IoSlice::new(part.as_bytes()))
        .collect();
    sendmsg(
        socket.as_raw_fd(),
        &parts,
        &[ControlMessage::UdpGsoSegments(&size)],
        MsgFlags::empty(),
        Some(&SockaddrIn::from(to)),
    )?;
    Ok(())
}
