//! Every method that a PBX and a phone exchange, in and outside of dialogs, and forked ones.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Call, PBX, Plan, ScriptedPbx, Terminal,
    sip::{Message, of_same_transaction},
};

use crate::scene::{Death, Scene, With, play, scenario};

const IN_DIALOG: [&str; 9] = [
    "INVITE",
    "UPDATE",
    "INFO",
    "REFER",
    "NOTIFY",
    "MESSAGE",
    "OPTIONS",
    "SUBSCRIBE",
    "BYE",
];
const OUT_OF_DIALOG: [&str; 5] = ["INVITE", "MESSAGE", "OPTIONS", "NOTIFY", "INFO"];
const BUSY: [&str; 4] = [
    "404 Not Found",
    "486 Busy Here",
    "500 Server Error",
    "603 Decline",
];

scenario!(phone_called, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// The phone calls; the PBX sends every kind of request in the dialog.
fn phone_called(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let call = Call::from(&phone, &pbx)?;
    IN_DIALOG
        .iter()
        .try_for_each(|method| call.reaches_phone(method))?;
    phone.ua.heard_all()
}

scenario!(pbx_called, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// The PBX calls; both sides send every kind of request in the dialog.
fn pbx_called(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let uri = phone.registers(&pbx)?;
    let call = Call::to(&phone, &pbx, &uri)?;
    for method in IN_DIALOG {
        if method != "BYE" {
            call.reaches_pbx(method)?;
        }
        call.reaches_phone(method)?;
    }
    phone.ua.heard_all()
}

/// Without sipnat each of these requests is lost, not only the first.
#[test]
fn each_is_lost_without_sipnat() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Nothing, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let uri = phone.registers(&pbx)?;
        let call = Call::from(&phone, &pbx)?;
        let mut requests = Vec::new();
        for method in IN_DIALOG {
            requests.push(call.pbx_request(method));
        }
        for method in OUT_OF_DIALOG {
            requests.push(pbx.request(method, &uri, &phone.aor));
        }
        for request in &requests {
            pbx.send(request)?;
            scene.went_to(request, scene.lab.phone().private)?;
        }
        let sent = u64::try_from(requests.len())?;
        ensure!(scene.lab.dropped()?.private == sent, "some arrived");
        phone.ua.heard_all()
    })
}

scenario!(out_of_dialog, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// Requests of the PBX to a registered phone.
fn out_of_dialog(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let uri = phone.registers(&pbx)?;
    for method in OUT_OF_DIALOG {
        let request = pbx.request(method, &uri, &phone.aor);
        pbx.send(&request)?;
        let heard = phone.ua.hear(method)?;
        phone.respond(&heard, "200 OK", method)?;
        pbx.hear("SIP/2.0 200")?;
    }
    Ok(())
}

scenario!(answers_by_via, Plan::PLAIN_NAT, without sipnat "SIP/2.0 200" dies Death::Port5060);

/// Requests of the phone, to a PBX that responds by Via, whose port is wrong. The phone gets the response to the second
/// transmission of each. Once it has registered after a challenge, it gets that to the first.
fn answers_by_via(scene: &Scene<'_>) -> Result<()> {
    let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, scene.patience())?;
    let phone = scene.terminal(0, 0, "1000")?;
    phone.registers_at(&pbx, 2)?;
    for transmission in [2, 1] {
        for method in [
            "PUBLISH",
            "SUBSCRIBE",
            "MESSAGE",
            "OPTIONS",
            "INFO",
            "NOTIFY",
            "REFER",
            "PING",
        ] {
            let request = phone.request(method, "sip:2000@203.0.113.10");
            phone.is_answered(&pbx, &request, transmission, |request| {
                pbx.response(request, "200 OK")
            })?;
        }
        if transmission == 2 {
            phone.is_answered(&pbx, &phone.register(), 2, |register| {
                pbx.response(register, "401 Unauthorized")
            })?;
            phone.registers_with_credentials(&pbx)?;
        }
    }
    Ok(())
}

scenario!(reliable_provisional, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// The phone rings reliably (RFC 3262): PRACK and UPDATE in the early dialog, then the 2xx and its ACK.
fn reliable_provisional(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let uri = phone.registers(&pbx)?;
    let request = pbx
        .request("INVITE", &uri, &phone.aor)
        .with("Supported", "100rel");
    pbx.send(&request)?;
    let invite = phone.ua.hear("INVITE")?;
    let call = rings(&pbx, &phone, &invite.message, "phone")?;
    call.reaches_phone("PRACK")?;
    call.reaches_phone("UPDATE")?;
    phone.respond(&invite, "200 OK", "phone")?;
    pbx.hear("SIP/2.0 200")?;
    call.pbx_acknowledges()?;
    call.reaches_phone("BYE")
}

scenario!(early_media, Plan::PLAIN_NAT, without sipnat "UPDATE" dies Death::PrivateAddress);

/// The PBX answers with several tags, as after a fork of the phone's INVITE, and updates each early dialog.
fn early_media(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    phone
        .ua
        .send(&phone.request("INVITE", "sip:2000@203.0.113.10"), PBX)?;
    let invite = pbx.hear("INVITE")?;
    let mut calls = Vec::new();
    for tag in ["one", "two", "three"] {
        let mut response = pbx.response(&invite, "183 Session Progress");
        *response.field_mut("To").context("no To")? = format!("<sip:2000@203.0.113.10>;tag={tag}");
        pbx.answer(&invite, &response)?;
        phone.ua.hear("SIP/2.0 183")?;
        calls.push(Call::new(
            &pbx,
            &phone,
            &response,
            ["To", "From"],
            &invite.message,
        )?);
    }
    for call in calls.iter().rev() {
        call.reaches_phone("UPDATE")?;
        call.reaches_pbx("PRACK")?;
    }
    let mut ok = pbx.response(&invite, "200 OK");
    ok.field_mut("To")
        .context("no To")?
        .clone_from(&calls[1].pbx_party);
    pbx.answer(&invite, &ok)?;
    phone.ua.hear("SIP/2.0 200")?;
    calls[1].reaches_phone("INVITE")?;
    calls[1].reaches_phone("BYE")
}

scenario!(forking_phone, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// A PBX behind the NAT forks a call: two tags ring, and both answer.
fn forking_phone(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let uri = phone.registers(&pbx)?;
    pbx.send(&pbx.request("INVITE", &uri, &phone.aor))?;
    let invite = phone.ua.hear("INVITE")?;
    let calls = [
        rings(&pbx, &phone, &invite.message, "one")?,
        rings(&pbx, &phone, &invite.message, "two")?,
    ];
    for call in &calls {
        call.reaches_phone("UPDATE")?;
    }
    for (call, tag) in calls.iter().zip(["one", "two"]) {
        phone.respond(&invite, "200 OK", tag)?;
        pbx.hear("SIP/2.0 200")?;
        call.pbx_acknowledges()?;
    }
    for call in calls.iter().rev() {
        call.reaches_phone("BYE")?;
    }
    phone.ua.heard_all()
}

/// The phone answers an INVITE with 183 and this tag: an early dialog.
fn rings<'a>(
    pbx: &'a ScriptedPbx,
    phone: &'a Terminal,
    invite: &Message,
    tag: &str,
) -> Result<Call<'a>> {
    let progress = phone
        .response(invite, "183 Session Progress", tag)
        .with("Require", "100rel")
        .with("RSeq", "1");
    phone.ua.send(&progress, PBX)?;
    let progress = pbx.hear("SIP/2.0 183")?.message;
    Call::new(pbx, phone, &progress, ["From", "To"], &progress)
}

scenario!(refused_calls, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// CANCEL and the ACK to 4xx-6xx go to the destination of their INVITE, even after the phone has unregistered.
fn refused_calls(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    for status in BUSY.into_iter().chain(["487 Request Terminated"]) {
        let uri = phone.registers(&pbx)?;
        let request = pbx.request("INVITE", &uri, &phone.aor);
        pbx.send(&request)?;
        let invite = phone.ua.hear("INVITE")?;
        phone.ua.send(&phone.register().with("Expires", "0"), PBX)?;
        pbx.respond(&pbx.hear("REGISTER")?, "200 OK")?;
        phone.ua.hear("SIP/2.0 200")?;
        if status.starts_with("487") {
            let to = request.field("To").context("no To")?;
            pbx.send(&of_same_transaction(&request, "CANCEL", to)?)?;
            let cancel = phone.ua.hear("CANCEL")?;
            phone.respond(&cancel, "200 OK", "phone")?;
            pbx.hear("SIP/2.0 200")?;
        }
        phone.respond(&invite, status, "phone")?;
        let refusal = pbx.hear("SIP/2.0")?.message;
        let to = refusal.field("To").context("no To")?;
        pbx.send(&of_same_transaction(&request, "ACK", to)?)?;
        phone.ua.hear("ACK")?;
    }
    phone.ua.heard_all()
}

scenario!(refused_by_the_pbx, Plan::PLAIN_NAT, without sipnat "SIP/2.0 404" dies Death::Port5060);

/// The PBX refuses the phone's calls by Via, whose port is wrong, and gets the ACKs.
fn refused_by_the_pbx(scene: &Scene<'_>) -> Result<()> {
    let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, scene.patience())?;
    let phone = scene.terminal(0, 0, "1000")?;
    for status in BUSY {
        let request = phone.request("INVITE", "sip:2000@203.0.113.10");
        let refused =
            phone.is_answered(&pbx, &request, 2, |invite| pbx.response(invite, status))?;
        let refusal = pbx.response(&refused, status);
        let to = refusal.field("To").context("no To")?;
        phone
            .ua
            .send(&of_same_transaction(&request, "ACK", to)?, PBX)?;
        pbx.hear("ACK")?;
    }
    Ok(())
}

scenario!(notify_ahead, Plan::PLAIN_NAT, without sipnat "NOTIFY" dies Death::PrivateAddress);

/// The NOTIFY that starts the dialog of a SUBSCRIBE overtakes the 2xx (RFC 6665 4.4.1).
fn notify_ahead(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let subscribe = phone.request("SUBSCRIBE", "sip:2000@203.0.113.10");
    phone.ua.send(&subscribe.with("Event", "dialog"), PBX)?;
    let subscribe = pbx.hear("SUBSCRIBE")?;
    let accepted = pbx.response(&subscribe, "202 Accepted");
    let subscription = Call::new(&pbx, &phone, &accepted, ["To", "From"], &subscribe.message)?;
    subscription.reaches_phone("NOTIFY")?;
    pbx.answer(&subscribe, &accepted)?;
    phone.ua.hear("SIP/2.0 202")?;
    subscription.reaches_phone("NOTIFY")?;
    subscription.reaches_pbx("SUBSCRIBE")?;
    subscription.reaches_phone("NOTIFY")
}

scenario!(refer, Plan::PLAIN_NAT, without sipnat "NOTIFY" dies Death::PrivateAddress);

/// A REFER outside of a dialog starts one, too: its NOTIFYs report the progress.
fn refer(scene: &Scene<'_>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let refer = phone.request("REFER", "sip:2000@203.0.113.10");
    phone
        .ua
        .send(&refer.with("Refer-To", "<sip:3000@203.0.113.10>"), PBX)?;
    let refer = pbx.hear("REFER")?;
    let accepted = pbx.response(&refer, "202 Accepted");
    pbx.answer(&refer, &accepted)?;
    phone.ua.hear("SIP/2.0 202")?;
    let reports = Call::new(&pbx, &phone, &accepted, ["To", "From"], &refer.message)?;
    reports.reaches_phone("NOTIFY")?;
    reports.reaches_phone("NOTIFY")
}
