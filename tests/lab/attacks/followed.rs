//! An account registers from the victim's address, which it forges, and then from its own: it has moved a contact from where
//! the victim is. Calls of the victim do not follow.

use anyhow::{Result, ensure};
use nat_test_support::{Call, PBX, Plan, ScriptedPbx, Terminal, sip::uri, ua::Ua};

use super::{ATTACKER, REMAPPED, account, reaches, transmissions};
use crate::scene::{SOON, Scene, With, play};

/// The attacker's phone registers from the victim's address. The answer goes to the victim.
fn forges(scene: &Scene<'_>, pbx: &ScriptedPbx, attacker: &Terminal) -> Result<()> {
    let netns = &scene.lab.public_phone;
    let address = scene.lab.phone().public;
    netns.ip(&format!("addr replace {}/32 dev eth0", address.ip()))?;
    let forged = Ua::start(netns, address, SOON)?;
    forged.send(&attacker.register().with("Expires", "60"), PBX)?;
    let register = pbx.hear("REGISTER")?;
    ensure!(register.source == address, "from {}", register.source);
    let ok = pbx
        .response(&register, "200 OK")
        .with("Contact", format!("{};expires=60", attacker.contact));
    pbx.answer(&register, &ok)?;
    netns.ip(&format!("addr del {}/32 dev eth0", address.ip()))
}

/// Contacts that the attacker names: the victim's, and his own.
fn contacts(victim: &Terminal) -> [String; 2] {
    [victim.contact.clone(), format!("<sip:6666@{ATTACKER}>")]
}

#[test]
fn calls_of_the_victim() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let uri = victim.registers(&pbx)?;
        for contact in contacts(&victim) {
            let calls = [Call::to(&victim, &pbx, &uri)?, Call::from(&victim, &pbx)?];
            let attacker = account(scene, &contact)?;
            forges(scene, &pbx, &attacker)?;
            victim.ua.hear("SIP/2.0 200")?;
            attacker.registers(&pbx)?;
            for call in &calls {
                reaches(scene, call, scene.lab.phone().public)?;
            }
            while victim.ua.heard_all().is_err() {}
            attacker.ua.heard_all()?;
        }
        ensure!(scene.count("dialog_followed")? == 0, "it followed");
        Ok(())
    })
}

/// A PBX writes the Contact URI into To, as Asterisk does.
#[test]
fn calls_that_only_the_contact_uri_names() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, mut victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let public = scene.lab.phone().public;
        victim.registers(&pbx)?;
        let aor = std::mem::replace(&mut victim.aor, uri(&victim.contact).to_owned());
        let call = Call::to_at(&victim, &pbx, uri(&victim.contact), 2)?;
        let attacker = account(scene, &victim.contact)?;
        forges(scene, &pbx, &attacker)?;
        victim.ua.hear("SIP/2.0 200")?;
        attacker.registers(&pbx)?;
        let request = call.pbx_request("INVITE");
        let went = transmissions(scene, &pbx, &request, 4)?;
        ensure!(!went.contains(&ATTACKER), "they went to {went:?}");
        ensure!(went[0] == public, "the first went to {}", went[0]);
        // A new call by the URI: the claim is the victim's still.
        let invite = pbx.request("INVITE", uri(&victim.contact), &victim.aor);
        let went = transmissions(scene, &pbx, &invite, 4)?;
        ensure!(went[0] == public, "the first went to {}", went[0]);
        ensure!(!went.contains(&ATTACKER), "they went to {went:?}");
        attacker.ua.heard_all()?;
        // The counterpart: the victim itself moves.
        while victim.ua.heard_all().is_err() {}
        scene.lab.sites[0].remap(0, REMAPPED)?;
        let bye = call.pbx_request("BYE");
        victim.aor = aor;
        victim.registers(&pbx)?;
        pbx.send(&bye)?;
        scene.went_to(&bye, REMAPPED)?;
        victim.ua.hear("BYE").map(drop)
    })
}
