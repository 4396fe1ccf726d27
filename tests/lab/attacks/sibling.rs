//! Branches of a forking proxy differ in the last digit, so somebody who is rung knows those of the others.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan, ScriptedPbx, Terminal,
    forge::{Checksum, Forger},
    sip::{Message, of_same_transaction},
    ua::Heard,
    unique::unique,
};

use super::{ATTACKER, REMAPPED, account, arrived, calls, field, set};
use crate::scene::{Scene, With, play};

/// Answers to the INVITE of somebody else.
const ANSWERS: [&str; 4] = ["100 Trying", "180 Ringing", "200 OK", "486 Busy Here"];

/// A call that the PBX forks to the victim and to the attacker.
struct Fork<'a> {
    scene: &'a Scene<'a>,
    pbx: &'a ScriptedPbx,
    victim: &'a Terminal,
    invite: Message,
    heard: Heard,
}

impl<'a> Fork<'a> {
    /// The PBX rings the victim's phone.
    fn ring(scene: &'a Scene<'a>, pbx: &'a ScriptedPbx, victim: &'a Terminal) -> Result<Self> {
        let uri = nat_test_support::sip::uri(&victim.contact);
        let mut invite = pbx.request("INVITE", uri, &victim.aor);
        let branch = format!("SIP/2.0/UDP {PBX};branch=z9hG4bK-{}.0", unique());
        set(&mut invite, "Via", branch)?;
        pbx.send(&invite)?;
        scene.went_to(&invite, scene.lab.phone().public)?;
        Ok(Self {
            scene,
            pbx,
            victim,
            heard: victim.ua.hear("INVITE")?,
            invite,
        })
    }

    /// The PBX rings the attacker's phone, too. Returns what the attacker answers for the victim.
    fn rings(&self, attacker: &Terminal, status: &str) -> Result<Message> {
        let mut invite = self.invite.clone();
        invite.start = format!("INVITE sip:6666@{ATTACKER} SIP/2.0");
        let own = field(&invite, "Via")?.replace(".0", ".1");
        set(&mut invite, "Via", own)?;
        self.pbx.send(&invite)?;
        let mut heard = attacker.ua.hear("INVITE")?.message;
        let of_sibling = field(&heard, "Via")?.replace(".1", ".0");
        set(&mut heard, "Via", of_sibling)?;
        Ok(attacker.response(&heard, status, "attacker"))
    }

    /// Fails unless the requests of this transaction, and those of the dialog that it makes, go to this address.
    fn follows(self, address: SocketAddrV4) -> Result<()> {
        let to = field(&self.invite, "To")?;
        for method in ["CANCEL", "ACK"] {
            let request = of_same_transaction(&self.invite, method, &to)?;
            self.pbx.send(&request)?;
            self.scene.went_to(&request, address)?;
            self.victim.ua.hear(method)?;
        }
        // The phone has answered before the CANCEL came.
        self.victim.respond(&self.heard, "200 OK", "victim")?;
        let ok = self.pbx.hear("SIP/2.0 200")?.message;
        let call = Call::new(self.pbx, self.victim, &ok, ["From", "To"], &ok)?;
        for method in ["ACK", "INVITE", "BYE"] {
            self.scene.went_to(&call.pbx_sends(method)?, address)?;
            self.victim.ua.hear(method)?;
        }
        Ok(())
    }
}

#[test]
fn answered_from_another_host() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let attacker = account(scene, "<sip:6666@198.51.100.7>")?;
        let public = scene.lab.phone().public;
        victim.registers(&pbx)?;
        for status in ANSWERS {
            let fork = Fork::ring(scene, &pbx, &victim)?;
            let answer = fork.rings(&attacker, status)?;
            attacker.ua.send(&answer, PBX)?;
            pbx.hear("SIP/2.0")?;
            fork.follows(public).context(status)?;
            scene.went_to(&calls(&pbx, &victim)?, public)?;
            victim.ua.hear("INVITE")?;
        }
        let noticed = scene.count("in_response_elsewhere")?;
        ensure!(noticed == 4, "{noticed} noticed");
        Ok(())
    })
}

/// Packets with a wrong checksum, which the PBX never sees, as if from the victim's address.
#[test]
fn answered_with_a_wrong_checksum() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let attacker = account(scene, "<sip:6666@198.51.100.7>")?;
        let forger = Forger::open(&scene.lab.public_phone)?;
        let public = scene.lab.phone().public;
        victim.registers(&pbx)?;
        let mut forged = 0;
        for source in [ATTACKER, REMAPPED, public] {
            for status in ANSWERS {
                let fork = Fork::ring(scene, &pbx, &victim)?;
                let answer = fork.rings(&attacker, status)?;
                forger.send(&answer, source, PBX, Checksum::Wrong)?;
                forged += 1;
                arrived(scene, &answer)?;
                fork.follows(public)
                    .with_context(|| format!("{status} from {source}"))?;
                scene.went_to(&calls(&pbx, &victim)?, public)?;
                victim.ua.hear("INVITE")?;
            }
        }
        let noticed = scene.count("in_checksum")? + scene.count("in_response_elsewhere")?;
        ensure!(noticed == forged, "{noticed} of {forged} noticed");
        pbx.ua.heard_all()
    })
}

/// The counterpart: the victim's mapping changes while the phone rings.
#[test]
fn answered_from_another_mapping() -> Result<()> {
    for status in ["180 Ringing", "183 Session Progress"] {
        play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
            let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
            victim.registers(&pbx)?;
            let fork = Fork::ring(scene, &pbx, &victim)?;
            scene.lab.sites[0].remap(0, REMAPPED)?;
            victim.respond(&fork.heard, status, "victim")?;
            let heard = pbx.hear("SIP/2.0")?;
            ensure!(heard.source == REMAPPED, "it came from {}", heard.source);
            fork.follows(REMAPPED)
        })?;
    }
    Ok(())
}
