//! Attacks, a file for each kind. The attacker gains nothing: what is meant for the victim goes where it would go
//! without sipnat, or to the victim's own address.
//!
//! Each attack has a counterpart in which the change is the victim's own, and is followed.

mod checksums;
mod claimed;
mod contact_uri;
mod credentials;
mod followed;
mod forged_call;
mod forked;
mod local_socket;
mod neighbour;
mod pending;
mod proxy;
mod registration;
mod relayed_answer;
mod sibling;
mod trunk;

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, ScriptedPbx, Terminal,
    capture::{Direction, Packet, Tap},
    lab::PUBLIC_PHONE,
    sip::Message,
    ua::{Heard, Ua},
    unique::unique,
};

use crate::scene::{SOON, Scene};

/// Address of the attacker: a host with a public address.
const ATTACKER: SocketAddrV4 = PUBLIC_PHONE;
/// Address of the attacker's friend, on another host.
const FRIEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 8), 5060);
/// Another mapping of the first phone by its NAT.
const REMAPPED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 2), 51234);

/// Starts the attacker's user agent.
fn attacker(scene: &Scene<'_>) -> Result<Ua> {
    Ua::start(&scene.lab.public_phone, ATTACKER, SOON)
}

/// Starts the user agent of the attacker's friend.
fn friend(scene: &Scene<'_>) -> Result<Ua> {
    Ua::start(&scene.lab.public_phone, public_host(scene, FRIEND)?, SOON)
}

/// Starts the phone of the attacker, who has an account, with this Contact.
fn account(scene: &Scene<'_>, contact: &str) -> Result<Terminal> {
    let netns = &scene.lab.public_phone;
    let phone = Terminal::start(netns, ATTACKER, "6666", SOON)?;
    Ok(phone.with_contact(contact))
}

/// Gives the public phone's network another host.
fn public_host(scene: &Scene<'_>, address: SocketAddrV4) -> Result<SocketAddrV4> {
    let netns = &scene.lab.public_phone;
    netns.ip(&format!("addr replace {}/24 dev eth0", address.ip()))?;
    Ok(address)
}

/// Address from which the [`phone_of_two_ports`] sends.
const SENDING: SocketAddrV4 = SocketAddrV4::new(*PUBLIC_PHONE.ip(), 40000);

/// Starts a public phone that sends from another port than it listens on, and registers it.
fn phone_of_two_ports(scene: &Scene<'_>, pbx: &ScriptedPbx) -> Result<Terminal> {
    let netns = &scene.lab.public_phone;
    let mut phone = Terminal::start(netns, PUBLIC_PHONE, "1000", SOON)?;
    phone.ua = phone.ua.sending_from(netns, SENDING)?;
    phone.registers(pbx)?;
    Ok(phone)
}

/// Returns a Via of a user agent's own, with a branch of its own.
fn via(local: SocketAddrV4) -> String {
    format!("SIP/2.0/UDP {local};branch=z9hG4bK-attack-{}", unique())
}

/// Returns a header field that must be there.
fn field(message: &Message, name: &str) -> Result<String> {
    let value = message.field(name).map(str::to_owned);
    value.with_context(|| format!("no {name} in {}", message.start))
}

/// Replaces a header field that is there.
fn set(message: &mut Message, name: &str, value: impl Into<String>) -> Result<()> {
    let field = message.field_mut(name);
    *field.with_context(|| format!("no {name}"))? = value.into();
    Ok(())
}

/// Returns a 200 to a request, with a To-tag and the request's Contact.
fn acceptance(request: &Heard) -> Message {
    let request = &request.message;
    let mut response = Message::response(request, "200 OK");
    if let Some(to) = response.field_mut("To").filter(|_| !request.is_in_dialog()) {
        to.push_str(";tag=friend");
    }
    match request.field("Contact") {
        Some(contact) => response.with("Contact", format!("{contact};expires=3600")),
        None => response,
    }
}

/// Returns the first message that begins with `start`, and drops those before it.
fn hear_past(ua: &Ua, start: &str) -> Result<Heard> {
    const MESSAGES: usize = 20;
    for _ in 0..MESSAGES {
        let heard = ua.hear("")?;
        if heard.message.start.starts_with(start) {
            return Ok(heard);
        }
    }
    ua.hear(start)
}

/// Waits for the PBX to send on a request. Returns the destination of the first transmission.
fn sent_on(scene: &Scene<'_>, request: &Message) -> Result<SocketAddrV4> {
    let packet = scene
        .capture
        .wait_for(SOON, |packet| is_sent_on(packet, request));
    let packet = packet.with_context(|| format!("the PBX did not send on {}", request.start))?;
    Ok(packet.destination)
}

/// Returns the destinations of all transmissions so far of a request that the PBX sends on.
fn all_sent_on(scene: &Scene<'_>, request: &Message) -> Vec<SocketAddrV4> {
    let packets = scene.capture.packets();
    let sent = packets.iter().filter(|packet| is_sent_on(packet, request));
    sent.map(|packet| packet.destination).collect()
}

/// Whether the PBX sends on a request in this packet.
fn is_sent_on(packet: &Packet, request: &Message) -> bool {
    packet.tap == Tap::Pbx
        && packet.direction == Direction::Out
        && packet.sip().is_some_and(|message| {
            message.is_request()
                && message.call_id() == request.call_id()
                && message.cseq() == request.cseq()
        })
}

/// The PBX transmits a request this many times. Returns the destinations.
fn transmissions(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    request: &Message,
    number: usize,
) -> Result<Vec<SocketAddrV4>> {
    let text = request.to_string();
    let sent = || {
        let mut packets = scene.sent_by_pbx(&request.start);
        packets.retain(|packet| packet.payload == text.as_bytes());
        packets
    };
    for transmission in 1..=number {
        pbx.send(request)?;
        let deadline = Instant::now() + SOON;
        while sent().len() < transmission {
            ensure!(Instant::now() < deadline, "{} was not sent", request.start);
            thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(sent().iter().map(|packet| packet.destination).collect())
}

/// Fails unless requests of the PBX within a call, and one outside of it, go to this address at once.
fn reaches(scene: &Scene<'_>, call: &Call<'_>, address: SocketAddrV4) -> Result<()> {
    for method in ["INVITE", "UPDATE", "BYE"] {
        scene.went_to(&call.pbx_sends(method)?, address)?;
    }
    scene.went_to(&calls(call.pbx, call.terminal)?, address)
}

/// The PBX calls a phone: its Contact, with its address-of-record in To.
fn calls(pbx: &ScriptedPbx, phone: &Terminal) -> Result<Message> {
    let uri = nat_test_support::sip::uri(&phone.contact);
    let invite = pbx.request("INVITE", uri, &phone.aor);
    pbx.send(&invite)?;
    Ok(invite)
}

/// Waits until a message has arrived at the PBX's interface, where sipnat sees it before the kernel does.
fn arrived(scene: &Scene<'_>, message: &Message) -> Result<()> {
    let text = message.to_string();
    let packet = scene.capture.wait_for(SOON, |packet| {
        packet.tap == Tap::Pbx
            && packet.direction == Direction::In
            && packet.payload == text.as_bytes()
    });
    packet.map(drop).context("it did not arrive")
}
