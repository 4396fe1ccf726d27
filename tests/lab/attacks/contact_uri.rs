//! An account registers the Contact URI of a victim, and the PBX writes that URI into To, as Asterisk does.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Lab, Plan, ScriptedPbx, Terminal, sip::uri};

use super::{REMAPPED, account, transmissions};
use crate::scene::{Scene, With, play, play_in};

/// Transmissions of an INVITE (RFC 3261 17.1.1.2).
const ALL: usize = 7;

/// The PBX calls the victim by its Contact URI alone. Nobody answers. Returns where each transmission goes.
fn called(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    victim: &Terminal,
    number: usize,
) -> Result<Vec<SocketAddrV4>> {
    let uri = uri(&victim.contact);
    transmissions(scene, pbx, &pbx.request("INVITE", uri, uri), number)
}

/// The victim answers a call by its Contact URI alone: the second transmission, or later ones the first.
fn answers(pbx: &ScriptedPbx, victim: &Terminal, transmission: usize) -> Result<()> {
    let uri = uri(&victim.contact);
    let invite = pbx.request("INVITE", uri, uri);
    for _ in 0..transmission {
        pbx.send(&invite)?;
    }
    let heard = victim.ua.hear("INVITE")?;
    victim.respond(&heard, "486 Busy Here", "victim")?;
    pbx.hear("SIP/2.0 486").map(drop)
}

/// Fails if a transmission goes to neither of the two addresses of the victim.
fn theirs(scene: &Scene<'_>, went: &[SocketAddrV4]) -> Result<()> {
    let host = scene.lab.phone();
    let own = [host.private, host.public];
    let other = went.iter().find(|address| !own.contains(address));
    ensure!(other.is_none(), "a transmission went to {other:?}");
    Ok(())
}

/// Before a call has shown where the victim answers, and afterwards.
#[test]
fn of_a_registered_victim() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let (attacker, public) = (account(scene, &victim.contact)?, scene.lab.phone().public);
        victim.registers(&pbx)?;
        attacker.registers(&pbx)?;
        theirs(scene, &called(scene, &pbx, &victim, ALL)?)?;
        while victim.ua.heard_all().is_err() {}
        answers(&pbx, &victim, 2)?;
        for _ in 0..2 {
            attacker.registers(&pbx)?;
            let went = called(scene, &pbx, &victim, 1)?;
            ensure!(went == [public], "the first transmission went to {went:?}");
            victim.ua.hear("INVITE")?;
            victim.registers(&pbx)?;
        }
        ensure!(scene.count("contact_outranked")? == 3, "not noticed");
        ensure!(scene.count("contact_ambiguous")? == 0, "ambiguous");
        attacker.ua.heard_all()
    })
}

/// The agent starts anew, and the attacker registers before the victim does.
#[test]
fn after_a_restart() -> Result<()> {
    after_a_restart_of("sip:6666@203.0.113.10")
}

/// The same, and the attacker's account has the victim's number in another domain.
#[test]
#[ignore = "what remains: a Contact URI has no domain, so nothing tells the two accounts apart"]
fn after_a_restart_in_another_domain() -> Result<()> {
    after_a_restart_of("sip:1000@attacker.example")
}

fn after_a_restart_of(account_record: &str) -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    play_in(&lab, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        victim.registers(&pbx)?;
        answers(&pbx, &victim, 2)
    })?;
    play_in(&lab, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let mut attacker = account(scene, &victim.contact)?;
        account_record.clone_into(&mut attacker.aor);
        attacker.registers(&pbx)?;
        let went = called(scene, &pbx, &victim, ALL)?;
        theirs(scene, &went).context("before the victim registers again")?;
        victim.registers(&pbx)?;
        let went = called(scene, &pbx, &victim, ALL)?;
        theirs(scene, &went).context("after the victim has registered again")
    })
}

/// An account registers a number behind the victim, which is a gateway, with the victim's private address. The PBX calls the
/// number at that address. Without the account, the victim gets the second transmission.
#[test]
fn of_a_number_behind_the_victim() -> Result<()> {
    play(
        Plan::PLAIN_NAT,
        With::Arguments(&["--settle", "0"]),
        |scene| {
            let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
            let host = scene.lab.phone();
            victim.registers(&pbx)?;
            let calls = |number: &str, times| {
                let uri = format!("sip:{number}@{}", host.private);
                transmissions(scene, &pbx, &pbx.request("INVITE", &uri, &uri), times)
            };
            let went = calls("0401234567", 2)?;
            ensure!(went == [host.private, host.public], "a number: {went:?}");
            let attacker = account(scene, &format!("<sip:0407654321@{}>", host.private))?;
            attacker.registers(&pbx)?;
            theirs(scene, &calls("0407654321", ALL)?)?;
            ensure!(scene.count("out_ambiguous")? == ALL as u64, "not noticed");
            attacker.ua.heard_all()
        },
    )
}

/// The counterpart: the victim's mapping changes. What is proven moves with it.
#[test]
fn of_the_victim_itself() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        victim.registers(&pbx)?;
        answers(&pbx, &victim, 2)?;
        scene.lab.sites[0].remap(0, REMAPPED)?;
        victim.registers(&pbx)?;
        let went = called(scene, &pbx, &victim, 1)?;
        ensure!(
            went == [REMAPPED],
            "the first transmission went to {went:?}"
        );
        victim.ua.hear("INVITE").map(drop)
    })
}
