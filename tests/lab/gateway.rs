//! Numbers behind a gateway that registers: the PBX calls them with host and port of its Contact, and another user, as Asterisk
//! does for `Dial(PJSIP/0401234567@gateway)`.

use anyhow::{Context as _, Result};
use nat_test_support::{
    Plan, ScriptedPbx, Terminal,
    sip::{Message, uri},
};

use crate::scene::{Scene, With, play};

/// An hour after the start.
const SETTLED: With = With::Arguments(&["--settle", "0"]);

/// INVITE for a number behind the gateway: its Contact with another user, also in To.
fn number(pbx: &ScriptedPbx, gateway: &Terminal) -> Message {
    let called = uri(&gateway.contact).replace("1000@", "0401234567@");
    pbx.request("INVITE", &called, &called)
}

/// The gateway answers the transmission that it hears.
fn answers(pbx: &ScriptedPbx, gateway: &Terminal) -> Result<()> {
    let heard = gateway.ua.hear("INVITE")?;
    gateway.respond(&heard, "486 Busy Here", "gateway")?;
    pbx.hear("SIP/2.0 486").map(drop)
}

#[test]
fn with_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, SETTLED, |scene| {
        let (pbx, gateway) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        gateway.registers(&pbx)?;
        let phone = scene.lab.phone();
        let first = number(&pbx, &gateway);
        pbx.send(&first)?;
        scene.went_to(&first, phone.private)?;
        pbx.send(&first)?;
        answers(&pbx, &gateway)?;
        let next = number(&pbx, &gateway);
        pbx.send(&next)?;
        scene.went_to(&next, phone.public)?;
        answers(&pbx, &gateway)?;
        let id = scene.binding("contact")?["id"].clone();
        let id = id.as_str().context("an id")?;
        scene.sipnat()?.command(&["bindings", "remove", id])?;
        let last = number(&pbx, &gateway);
        scene.transmits(&pbx, &last, &[phone.private; 2])
    })
}

#[test]
fn without_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Nothing, |scene| {
        left_alone(scene, &scene.pbx()?)
    })
}

/// In the first hour another terminal at that address may not have registered yet.
#[test]
fn in_the_first_hour() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        left_alone(scene, &scene.pbx()?)
    })
}

/// A phone at another site has the same private address: nobody can tell whose number it is.
#[test]
fn beside_another_site() -> Result<()> {
    let plan = Plan {
        sites: 2,
        ..Plan::PLAIN_NAT
    };
    play(plan, SETTLED, |scene| {
        let (pbx, other) = (scene.pbx()?, scene.terminal(1, 0, "2000")?);
        other.registers(&pbx)?;
        left_alone(scene, &pbx)
    })
}

fn left_alone(scene: &Scene<'_>, pbx: &ScriptedPbx) -> Result<()> {
    let gateway = scene.terminal(0, 0, "1000")?;
    gateway.registers(pbx)?;
    let invite = number(pbx, &gateway);
    scene.transmits(pbx, &invite, &[scene.lab.phone().private; 3])
}
