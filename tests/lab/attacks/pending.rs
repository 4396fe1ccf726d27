//! A SUBSCRIBE that the PBX never sees, and so never refuses.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan, ScriptedPbx, Terminal,
    forge::{Checksum, Forger},
    sip::Message,
    unique::unique,
};

use super::{ATTACKER, arrived, attacker, set, via};
use crate::scene::{Scene, With, play};

/// A call of the victim that began before sipnat did. No registration leads there.
fn unseen<'a>(pbx: &'a ScriptedPbx, victim: &'a Terminal) -> Result<Call<'a>> {
    let number = unique();
    let began = Message::new("")
        .with("From", format!("<{}>;tag=victim{number}", victim.aor))
        .with("To", format!("<sip:2000@203.0.113.10>;tag=pbx{number}"))
        .with("Call-ID", format!("{number}@phone"))
        .with("Contact", "<sip:call@192.168.1.10:5060>");
    Call::new(pbx, victim, &began, ["To", "From"], &began)
}

/// Returns a request of the attacker that names the victim's dialog end, as if the dialog were yet to begin.
fn claim(call: &Call<'_>, method: &str) -> Result<Message> {
    let mut request = call.phone_request(method).with("Event", "presence");
    set(&mut request, "Via", via(ATTACKER))?;
    set(&mut request, "To", "<sip:2000@203.0.113.10>")?;
    Ok(request)
}

/// Fails unless requests of these methods go where the PBX sends them.
fn stay(scene: &Scene<'_>, call: &Call<'_>, methods: &[&str]) -> Result<()> {
    for method in methods {
        scene.went_to(&call.pbx_sends(method)?, scene.lab.phone().private)?;
    }
    Ok(())
}

const METHODS: [&str; 5] = ["INVITE", "UPDATE", "INFO", "BYE", "NOTIFY"];

#[test]
fn with_a_wrong_checksum() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let forger = Forger::open(&scene.lab.public_phone)?;
        let mut forged = 0;
        for method in ["SUBSCRIBE", "REFER"] {
            for request in METHODS {
                let call = unseen(&pbx, &victim)?;
                let claim = claim(&call, method)?;
                forger.send(&claim, ATTACKER, PBX, Checksum::Wrong)?;
                forged += 1;
                arrived(scene, &claim)?;
                stay(scene, &call, &[request]).context(method)?;
            }
        }
        ensure!(scene.count("pending_checksum")? == forged, "not noticed");
        pbx.ua.heard_all()
    })
}

/// The host's firewall drops what comes from the attacker, after sipnat has seen it.
#[test]
fn dropped_by_the_firewall() -> Result<()> {
    behind_a_firewall(&["INVITE", "UPDATE", "INFO", "BYE"])
}

fn behind_a_firewall(requests: &[&str]) -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        scene.lab.pbx.run(
            Command::new("nft").args(["-f", "-"]),
            &format!(
                "table ip firewall {{
                     chain input {{
                         type filter hook input priority filter
                         ip saddr {} drop
                     }}
                 }}",
                ATTACKER.ip()
            ),
        )?;
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let attacker = attacker(scene)?;
        for method in ["SUBSCRIBE", "REFER"] {
            for request in requests {
                let call = unseen(&pbx, &victim)?;
                let claim = claim(&call, method)?;
                attacker.send(&claim, PBX)?;
                arrived(scene, &claim)?;
                stay(scene, &call, &[request]).context(method)?;
            }
        }
        pbx.ua.heard_all()
    })
}

/// The counterpart: the PBX sends the first NOTIFY ahead of its 202.
#[test]
fn of_a_subscriber() -> Result<()> {
    for offload in [true, false] {
        let plan = Plan {
            checksum_offload: offload,
            ..Plan::PLAIN_NAT
        };
        play(plan, With::Sipnat, |scene| {
            let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
            for method in ["SUBSCRIBE", "REFER"] {
                let request = phone
                    .request(method, "sip:2000@203.0.113.10")
                    .with("Event", "presence");
                phone.ua.send(&request, PBX)?;
                let heard = pbx.hear(method)?;
                let ok = pbx.response(&heard, "202 Accepted");
                let call = Call::new(&pbx, &phone, &ok, ["To", "From"], &heard.message)?;
                scene.went_to(&call.pbx_sends("NOTIFY")?, scene.lab.phone().public)?;
                phone.ua.hear("NOTIFY")?;
                pbx.answer(&heard, &ok)?;
                phone.ua.hear("SIP/2.0 202")?;
                call.reaches_phone("NOTIFY")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
