//! A Call-ID, a tag, a branch and a CSeq that the attacker guessed, and used before the victim.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, PBX, Plan, ScriptedPbx, Terminal, sip::Message, ua::Ua};

use super::{ATTACKER, attacker, calls, field, hear_past, reaches, set, via};
use crate::scene::{Scene, With, play};

/// Answers of the PBX to the attacker.
const ANSWERS: [Option<&str>; 4] = [
    None,
    Some("180 Ringing"),
    Some("200 OK"),
    Some("403 Forbidden"),
];

/// The attacker sends this request first, from its own address. The PBX gives this answer.
fn claim(pbx: &ScriptedPbx, attacker: &Ua, claim: &Message, answer: Option<&str>) -> Result<()> {
    while attacker.heard_all().is_err() {}
    attacker.send(claim, PBX)?;
    let heard = pbx.hear(claim.method())?;
    ensure!(heard.source == ATTACKER, "not the attacker's");
    if let Some(answer) = answer {
        let mut response = pbx.response(&heard, answer);
        // The PBX tells two callers apart, even by one branch.
        let to = field(&response, "To")?.replace("tag=pbx", "tag=first");
        set(&mut response, "To", to)?;
        pbx.answer(&heard, &response)?;
        attacker.hear("SIP/2.0")?;
    }
    Ok(())
}

/// The victim calls. Returns the call, and where the PBX's answer went.
fn called<'a>(
    scene: &Scene<'_>,
    pbx: &'a ScriptedPbx,
    victim: &'a Terminal,
    invite: &Message,
) -> Result<Call<'a>> {
    victim.ua.send(invite, PBX)?;
    let heard = pbx.hear("INVITE")?;
    let ok = pbx.response(&heard, "200 OK");
    pbx.answer(&heard, &ok)?;
    hear_past(&victim.ua, "SIP/2.0 200")?;
    scene.went_to(&ok, scene.lab.phone().public)?;
    Call::new(pbx, victim, &ok, ["To", "From"], &heard.message)
}

/// A dialog: all but the branch is guessed.
#[test]
fn as_a_dialog() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let attacker = attacker(scene)?;
        victim.registers(&pbx)?;
        for answer in ANSWERS {
            let invite = victim.request("INVITE", "sip:2000@203.0.113.10");
            let mut own = invite.clone();
            set(&mut own, "Via", via(ATTACKER))?;
            claim(&pbx, &attacker, &own, answer)?;
            let call = called(scene, &pbx, &victim, &invite)?;
            reaches(scene, &call, scene.lab.phone().public)
                .with_context(|| format!("{answer:?}"))?;
            // And afterwards.
            set(&mut own, "Via", via(ATTACKER))?;
            claim(&pbx, &attacker, &own, answer)?;
            reaches(scene, &call, scene.lab.phone().public)
                .with_context(|| format!("{answer:?}"))?;
        }
        Ok(())
    })
}

/// A transaction: the branch is guessed as well. sipnat learns nothing from it, until the victim's next request.
#[test]
fn as_a_transaction() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let (attacker, host) = (attacker(scene)?, scene.lab.phone());
        for answer in ANSWERS {
            let mut invite = victim.request("INVITE", "sip:2000@203.0.113.10");
            // No contact leads there.
            set(&mut invite, "Contact", "<sip:call@192.168.1.10:5060>")?;
            claim(&pbx, &attacker, &invite, answer)?;
            let call = called(scene, &pbx, &victim, &invite)?;
            for method in ["INVITE", "UPDATE", "BYE"] {
                scene
                    .went_to(&call.pbx_sends(method)?, host.private)
                    .with_context(|| format!("{answer:?}"))?;
            }
            // The counterpart: the victim's own request that nobody guessed.
            let update = call.phone_request("UPDATE");
            victim.ua.send(&update, PBX)?;
            pbx.respond(&pbx.hear("UPDATE")?, "200 OK")?;
            for method in ["INVITE", "UPDATE", "BYE"] {
                scene.went_to(&call.pbx_sends(method)?, host.public)?;
            }
        }
        ensure!(scene.count("out_disputed")? > 0, "not noticed");
        Ok(())
    })
}

/// A registration: the attacker knows what the next one of the victim will be, and has no password.
#[test]
fn as_a_registration() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let (attacker, public) = (attacker(scene)?, scene.lab.phone().public);
        victim.registers(&pbx)?;
        for answer in [None, Some("401 Unauthorized"), Some("403 Forbidden")] {
            for same_branch in [false, true] {
                let next = victim.register().with("Expires", "60");
                let mut own = next.clone();
                if !same_branch {
                    set(&mut own, "Via", via(ATTACKER))?;
                }
                claim(&pbx, &attacker, &own, answer)?;
                victim.ua.send(&next, PBX)?;
                let heard = pbx.hear("REGISTER")?;
                let granted = format!("{};expires=60", victim.contact);
                let ok = pbx.response(&heard, "200 OK").with("Contact", granted);
                pbx.answer(&heard, &ok)?;
                victim.ua.hear("SIP/2.0 200")?;
                scene
                    .went_to(&calls(&pbx, &victim)?, public)
                    .with_context(|| format!("{answer:?}, {same_branch}"))?;
                victim.ua.hear("INVITE")?;
            }
        }
        Ok(())
    })
}
