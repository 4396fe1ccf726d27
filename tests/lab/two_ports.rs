//! A phone with a public address that sends from one port and listens on another: RFC 3261 allows it, and from
//! the outside it looks like a phone behind a NAT.

use std::{net::SocketAddrV4, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Call, PBX, Plan, ScriptedPbx, Terminal,
    lab::PUBLIC_PHONE,
    sip::Message,
    ua::{Heard, Ua},
};

use crate::scene::{SOON, Scene, With, play};

const SENDING: SocketAddrV4 = SocketAddrV4::new(*PUBLIC_PHONE.ip(), 40000);
/// Time to wait for a message that may have gone to the other port.
const MOMENT: Duration = Duration::from_millis(500);
/// Highest number of transmissions of an unanswered request (RFC 3261 17.1).
const TRANSMISSIONS: usize = 7;

#[test]
fn without_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Nothing, |scene| {
        ensure!(slowest(scene, SOON)? == 1, "it needs no help");
        Ok(())
    })
}

#[test]
fn policy_off() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let address = PUBLIC_PHONE.ip().to_string();
        scene
            .sipnat()?
            .command(&["policy", "set", &address, "off"])?;
        ensure!(slowest(scene, SOON)? == 1, "it was redirected");
        Ok(())
    })
}

/// Under `auto` the phone is redirected to a port on which it does not listen, and found in spite of that.
#[test]
fn policy_auto() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let needed = slowest(scene, MOMENT)?;
        ensure!(needed > 1, "this shows nothing");
        ensure!(needed <= 5, "a message had to be sent {needed} times");
        Ok(())
    })
}

/// Registers, is called and calls. Returns the highest number of transmissions of a message. The result must last: a
/// second round needs one transmission for each message.
fn slowest(scene: &Scene<'_>, patience: Duration) -> Result<usize> {
    let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, scene.patience())?;
    let mut phone = Terminal::start(&scene.lab.public_phone, PUBLIC_PHONE, "1000", patience)?;
    phone.ua = phone.ua.sending_from(&scene.lab.public_phone, SENDING)?;

    let register = phone.register().with("Expires", "60");
    let (_, registering) = answered(&phone, &pbx, &register)?;
    let uri = phone.contact.trim_matches(['<', '>']);
    let invite = pbx.request("INVITE", uri, &phone.aor);
    let (request, inviting) = heard(&phone.ua, || pbx.send(&invite)).context("INVITE")?;
    phone.respond(&request, "200 OK", "phone")?;
    let ok = pbx.hear("SIP/2.0 200")?.message;
    let call = Call::new(&pbx, &phone, &ok, ["From", "To"], &ok)?;
    let ack = call.pbx_request("ACK");
    let (_, acknowledging) = heard(&phone.ua, || pbx.send(&ack)).context("ACK")?;

    call.reaches_phone("INVITE").context("in the same call")?;
    call.reaches_phone("BYE").context("in the same call")?;
    let again = Call::to(&phone, &pbx, uri).context("the next call")?;
    again.reaches_phone("BYE").context("the next call")?;
    let (_, registering_again) = answered(&phone, &pbx, &phone.register().with("Expires", "60"))?;
    ensure!(registering_again <= registering, "it did not get faster");
    Ok(registering.max(inviting).max(acknowledging))
}

/// Sends a message again until the phone gets one.
fn heard(phone: &Ua, mut send: impl FnMut() -> Result<()>) -> Result<(Heard, usize)> {
    for number in 1..=TRANSMISSIONS {
        send()?;
        if let Ok(heard) = phone.hear("") {
            return Ok((heard, number));
        }
    }
    phone.hear("anything").map(|heard| (heard, 0))
}

/// The phone repeats a REGISTER until it gets an answer.
fn answered(phone: &Terminal, pbx: &ScriptedPbx, register: &Message) -> Result<(Heard, usize)> {
    heard(&phone.ua, || {
        phone.ua.send(register, PBX)?;
        let request = pbx.hear("REGISTER")?;
        let granted = format!("{};expires=60", phone.contact);
        pbx.answer(
            &request,
            &pbx.response(&request, "200 OK").with("Contact", granted),
        )
    })
    .context("REGISTER")
}
