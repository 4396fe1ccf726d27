//! The kernel's own SIP ALG, `nf_nat_sip`, and a phone that sends from one port and listens on another.
//!
//! The ALG writes addresses with the phone's sending port, and the Contact of REGISTER. All other Vias and Contacts
//! name the listening port, and stay private. The router forwards packets for the mapping to the listening port.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Answers, Call, Plan, ScriptedPbx, Terminal, sip::address};

use crate::scene::{Death, Scene, With, play, scenario};

const PLAN: Plan = Plan {
    kernel_alg: true,
    ..Plan::PLAIN_NAT
};
const SENDING_PORT: u16 = 40000;

fn phone(scene: &Scene<'_>) -> Result<Terminal> {
    let phone = scene.lab.phone();
    let sending = SocketAddrV4::new(*phone.private.ip(), SENDING_PORT);
    let mut terminal = scene.terminal(0, 0, "1000")?;
    terminal.ua = terminal.ua.sending_from(&phone.netns, sending)?;
    Ok(terminal)
}

scenario!(outgoing, PLAN, without sipnat "INVITE" dies Death::PrivateAddress);

/// The phone calls. The PBX changes the session and hangs up.
fn outgoing(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, phone(scene)?);
    let call = Call::from(&phone, &pbx)?;
    ensure!(
        call.target == "sip:1000@192.168.1.10:5060",
        "{}",
        call.target
    );
    call.reaches_phone("INVITE")?;
    call.reaches_pbx("INVITE")?;
    call.reaches_phone("BYE")?;
    phone.ua.heard_all()
}

scenario!(outgoing_by_via, PLAN, without sipnat "SIP/2.0 180" dies Death::Port5060);

/// The PBX responds by Via, whose port is wrong: the phone gets the response to the second transmission of its INVITE.
fn outgoing_by_via(scene: &Scene<'_>) -> Result<()> {
    let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, scene.patience())?;
    let phone = phone(scene)?;
    let call = Call::from_at(&phone, &pbx, 2)?;
    call.reaches_phone("BYE")
}

scenario!(incoming, PLAN, without sipnat "ACK" dies Death::PrivateAddress);

/// The phone registers, under the right address because of the ALG. It is called, and never gets the ACK.
fn incoming(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, phone(scene)?);
    let uri = phone.registers(&pbx)?;
    ensure!(uri == "sip:1000@60.17.196.2:40000", "the ALG wrote {uri}");
    let call = Call::to(&phone, &pbx, &uri)?;
    call.reaches_phone("INVITE")?;
    call.reaches_pbx("INVITE")?;
    call.reaches_phone("BYE")?;
    phone.ua.heard_all()
}

#[test]
fn symmetric_phone_without_sipnat() -> Result<()> {
    play(PLAN, With::Nothing, symmetric_phone)
}

#[test]
fn symmetric_phone_with_sipnat() -> Result<()> {
    play(PLAN, With::Sipnat, symmetric_phone)
}

/// For a phone that listens on its sending port the ALG writes all addresses right.
fn symmetric_phone(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let uri = phone.registers(&pbx)?;
    for call in [Call::to(&phone, &pbx, &uri)?, Call::from(&phone, &pbx)?] {
        ensure!(
            address(&call.target)? == scene.lab.phone().public,
            "the ALG wrote {}",
            call.target
        );
        call.reaches_phone("INVITE")?;
        call.reaches_phone("BYE")?;
    }
    if scene.sipnat.is_some() {
        let redirected = scene.sipnat()?.json(&["stats"])?;
        let redirected = redirected.as_object().context("no object")?.iter();
        let redirected: Vec<_> = redirected
            .filter(|(name, count)| name.starts_with("out_redirected") && count.as_u64() != Some(0))
            .collect();
        ensure!(redirected.is_empty(), "{redirected:?}");
    }
    Ok(())
}
