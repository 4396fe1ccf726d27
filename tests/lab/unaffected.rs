//! Phones that do not need sipnat are not affected by it.

use std::{
    net::{SocketAddrV4, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, PBX, Plan, StrictPbx,
    capture::{Direction, Packet, Tap},
    lab::{NEIGHBOUR, PUBLIC_PHONE},
    netns::receive,
    sip::Message,
    sipp::{Scenario, Sipp},
};

use crate::scene::{SOON, Scene, With, play};

#[test]
fn public_phone_without_sipnat() -> Result<()> {
    play(Plan::default(), With::Nothing, public_phone)
}

#[test]
fn public_phone_with_sipnat() -> Result<()> {
    play(Plan::default(), With::Sipnat, public_phone)
}

#[test]
fn public_phone_with_sipnat_and_complete_checksums() -> Result<()> {
    play(
        Plan {
            checksum_offload: false,
            ..Plan::default()
        },
        With::Sipnat,
        public_phone,
    )
}

/// A phone without a NAT gets and sends every packet byte for byte, except for the hop count.
fn public_phone(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ByVia)?;
    let netns = &scene.lab.public_phone;
    let aor = "sip:1000@203.0.113.10";
    Sipp::start_at(netns, PUBLIC_PHONE, "1000", Scenario::Register)?.finish(SOON)?;
    let mut sipp = Sipp::start_at(netns, PUBLIC_PHONE, "1000", Scenario::Answer)?;
    let call = pbx.answered(&pbx.invite(aor)?)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)?;
    let mut sipp = Sipp::start_at(netns, PUBLIC_PHONE, "1000", Scenario::Call)?;
    let call = pbx.calls(1, SOON)?.swap_remove(0);
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)?;

    let sip = |tap, direction| {
        let mut packets = scene.capture.at(tap, direction);
        packets.retain(|packet| packet.sip().is_some());
        packets.iter().map(Packet::without_hop).collect::<Vec<_>>()
    };
    let [sent, received] = [
        sip(Tap::Pbx, Direction::Out),
        sip(Tap::Public, Direction::In),
    ];
    ensure!(sent.len() >= 10, "the PBX sent only {} packets", sent.len());
    ensure!(
        sent == received,
        "what the PBX sent is not what the phone got"
    );
    let [sent, received] = [
        sip(Tap::Public, Direction::Out),
        sip(Tap::Pbx, Direction::In),
    ];
    ensure!(
        sent == received,
        "what the phone sent is not what the PBX got"
    );
    for packet in scene.sent_by_pbx("") {
        ensure!(
            packet.destination == PUBLIC_PHONE,
            "a packet went to {}",
            packet.destination
        );
    }
    Ok(())
}

/// A host on the PBX's own subnet that sends from one port and listens on another looks like a phone behind a NAT. It
/// is left alone unless a policy says otherwise.
#[test]
fn on_link_subnet() -> Result<()> {
    play(Plan::default(), With::Sipnat, |scene| {
        let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
        let sipnat = scene.sipnat.as_ref().context("sipnat runs")?;
        let sending = scene
            .lab
            .neighbour
            .udp(SocketAddrV4::new(NEIGHBOUR, 40000))?;
        let listening = scene
            .lab
            .neighbour
            .udp(SocketAddrV4::new(NEIGHBOUR, 5060))?;

        register(&sending, &pbx, 1)?;
        pbx.request_to("sip:1000@203.0.113.10", "OPTIONS")
            .unwrap_err();
        ensure!(
            receives_options(&listening)?,
            "OPTIONS did not go where Contact says"
        );
        ensure!(
            !receives_options(&sending)?,
            "OPTIONS went where REGISTER came from"
        );

        sipnat.command(&["policy", "set", &format!("{NEIGHBOUR}/32"), "force"])?;
        register(&sending, &pbx, 2)?;
        pbx.request_to("sip:1000@203.0.113.10", "OPTIONS")
            .unwrap_err();
        ensure!(
            receives_options(&sending)?,
            "OPTIONS did not go where REGISTER came from"
        );
        Ok(())
    })
}

fn register(socket: &UdpSocket, pbx: &StrictPbx, number: u32) -> Result<()> {
    let register = Message::new("REGISTER sip:203.0.113.10 SIP/2.0")
        .with(
            "Via",
            format!("SIP/2.0/UDP {NEIGHBOUR}:5060;branch=z9hG4bK-{number}"),
        )
        .with("From", "<sip:1000@203.0.113.10>;tag=1")
        .with("To", "<sip:1000@203.0.113.10>")
        .with("Call-ID", "register-on-link")
        .with("CSeq", format!("{number} REGISTER"))
        .with("Contact", format!("<sip:1000@{NEIGHBOUR}:5060>"))
        .with("Expires", "60");
    socket.send_to(register.to_string().as_bytes(), PBX)?;
    pbx.registered("sip:1000@203.0.113.10", SOON)?;
    // The host answers, so that its answer is not taken for a later one.
    socket.set_read_timeout(Some(SOON))?;
    let mut buffer = [0; 2048];
    let (length, _) = receive(socket, &mut buffer)?;
    ensure!(
        buffer[..length].starts_with(b"SIP/2.0 200"),
        "REGISTER was not answered"
    );
    Ok(())
}

fn receives_options(socket: &UdpSocket) -> Result<bool> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buffer = [0; 2048];
    Ok(receive(socket, &mut buffer)
        .is_ok_and(|(length, _)| buffer[..length].starts_with(b"OPTIONS")))
}
