//! A registered phone behind an ALG that forgets the port. The port in its Contact may be right, for all that the PBX's
//! host can know: it has the first transmission, until the phone is proven to be reached where its packets come from.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Answers, Call, Plan, ScriptedPbx, Terminal, lab::PBX, sip::address};

use crate::scene::{Death, Scene, scenario};

/// Time after which an answer is overdue: RFC 3261's T1, and a margin. Until then it may be on its way.
const OVERDUE: Duration = Duration::from_millis(600);

/// A PBX, and a phone that is registered there without a proof of where it is reached.
fn registered(scene: &Scene<'_>) -> Result<(ScriptedPbx, Terminal, String)> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let uri = phone.registers(&pbx)?;
    ensure!(uri == "sip:1000@60.17.196.2", "the ALG wrote {uri}");
    Ok((pbx, phone, uri))
}

scenario!(called, Plan::SLIDE, without sipnat "INVITE" dies Death::Port5060);

/// The first call arrives at its second transmission. Its answer is the proof: all that follows arrives at the first.
fn called(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone, uri) = registered(scene)?;
    let call = Call::to_at(&phone, &pbx, &uri, 2)?;
    call.reaches_phone("INVITE")?;
    call.reaches_phone("BYE")?;
    let call = Call::to(&phone, &pbx, &uri).context("the next call")?;
    call.reaches_phone("INVITE")?;
    call.reaches_phone("BYE")?;
    phone.registers(&pbx)?;
    Call::to(&phone, &pbx, &uri)
        .context("after the next REGISTER")?
        .reaches_phone("BYE")?;
    phone.ua.heard_all()
}

scenario!(refused, Plan::SLIDE, without sipnat "INVITE" dies Death::Port5060);

/// A phone that is busy proves as much.
fn refused(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone, uri) = registered(scene)?;
    for number in [2, 1] {
        let invite = pbx.request("INVITE", &uri, &phone.aor);
        let heard = pbx.reaches(&phone.ua, &invite, number)?;
        phone.respond(&heard, "486 Busy Here", "busy")?;
        pbx.hear("SIP/2.0 486")?;
    }
    Ok(())
}

scenario!(challenged, Plan::SLIDE, without sipnat "SIP/2.0 401" dies Death::Port5060);

/// The PBX responds by Via, and challenges the REGISTER. The phone gets the challenge at the second transmission of its
/// REGISTER. With the next one it shows that it did: the answer and the first call arrive at their first transmission.
fn challenged(scene: &Scene<'_>) -> Result<()> {
    let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, scene.patience())?;
    let phone = scene.terminal(0, 0, "1000")?;
    let register = phone.register().with("Expires", "60");
    phone.is_answered(&pbx, &register, 2, |register| {
        pbx.response(register, "401 Unauthorized")
    })?;
    let uri = phone
        .registers_with_credentials(&pbx)
        .context("with credentials")?;
    let call = Call::to(&phone, &pbx, &uri)?;
    call.reaches_phone("INVITE")?;
    call.reaches_pbx("INVITE")?;
    call.reaches_phone("BYE")
}

scenario!(qualified, Plan::SLIDE, without sipnat "OPTIONS" dies Death::Port5060);

/// The PBX gives up an OPTIONS after three transmissions, whether it writes the address-of-record into To or the Contact
/// URI.
fn qualified(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone, uri) = registered(scene)?;
    for to in [&uri, &phone.aor] {
        for number in [2, 1] {
            let options = pbx.request("OPTIONS", &uri, to);
            let heard = pbx
                .reaches(&phone.ua, &options, number)
                .with_context(|| format!("To: {to}"))?;
            phone.respond(&heard, "200 OK", "options")?;
            pbx.hear("SIP/2.0 200")?;
        }
    }
    Ok(())
}

scenario!(qualified_once, Plan::SLIDE, without sipnat "OPTIONS" dies Death::Port5060);

/// The PBX sends an OPTIONS once and gives up. Transmissions are counted for the phone: every second one arrives, until
/// one is answered in time.
fn qualified_once(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone, uri) = registered(scene)?;
    let meant = address(&uri)?;
    let public = scene.lab.phone().public;
    let options = || pbx.request("OPTIONS", &uri, &phone.aor);
    let pings: Vec<_> = (0..4).map(|_| options()).collect();
    for (ping, place) in pings.iter().zip([meant, public, meant, public]) {
        scene.transmits(&pbx, ping, &[place])?;
        thread::sleep(OVERDUE);
    }
    for ping in [&pings[1], &pings[3]] {
        let heard = phone.ua.hear("OPTIONS")?;
        ensure!(heard.source == PBX && heard.message.branch() == ping.branch());
        phone.respond(&heard, "200 OK", "options")?;
        pbx.hear("SIP/2.0 200")?;
    }
    scene.transmits(&pbx, &options(), &[public])
}
