//! A neighbour behind the same NAT: both have one public address.

use std::{net::SocketAddrV4, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, Lab, PBX, Plan, ScriptedPbx, Terminal,
    sip::{Message, address, of_same_transaction, uri},
    unique::unique,
};

use super::{REMAPPED, calls, field, hear_past, set, transmissions};
use crate::scene::{Scene, With, play, play_in};

const PLAN: Plan = Plan {
    phones: 2,
    ..Plan::PLAIN_NAT
};
/// Contact of the victim, from which an ALG has removed the port: it means port 5060 of the NAT.
const WITHOUT_PORT: &str = "<sip:1000@60.17.196.2>";
/// Transmissions until the original destination has its turn: the proven address has two.
const TURN: usize = 3;

/// Makes the NAT's port 5060 the port of one of its phones, and the provider let packets to it pass.
fn forward_port_5060(lab: &Lab, phone: usize) -> Result<()> {
    let private = lab.sites[0].phones[phone].private;
    lab.isp.run(
        Command::new("nft").args(["flush", "chain", "ip", "isp", "forward"]),
        "",
    )?;
    lab.sites[0].router.run(
        Command::new("nft").args(["-f", "-"]),
        &format!(
            "table ip port_forward {{
                 chain prerouting {{
                     type nat hook prerouting priority dstnat
                     iifname wan udp dport 5060 dnat to {private}
                 }}
             }}
             insert rule ip router forward iifname wan ct status dnat accept"
        ),
    )?;
    Ok(())
}

/// The address that the victim's Contact means.
fn original() -> Result<SocketAddrV4> {
    address(uri(WITHOUT_PORT))
}

/// The PBX calls the victim, who answers this transmission.
fn answers(scene: &Scene<'_>, pbx: &ScriptedPbx, victim: &Terminal, number: usize) -> Result<()> {
    let invite = pbx.request("INVITE", uri(&victim.contact), &victim.aor);
    let went = transmissions(scene, pbx, &invite, number)?;
    let public = scene.lab.phone().public;
    ensure!(
        went.iter().position(|address| *address == public) == Some(number - 1),
        "the transmissions went to {went:?}"
    );
    let heard = hear_past(&victim.ua, "INVITE")?;
    victim.respond(&heard, "486 Busy Here", "victim")?;
    pbx.hear("SIP/2.0 486").map(drop)
}

/// The neighbour answers one call while the victim is silent.
#[test]
fn owns_the_nats_port_5060() -> Result<()> {
    for status in ["180 Ringing", "200 OK", "404 Not Found"] {
        let lab = Lab::new(PLAN)?;
        forward_port_5060(&lab, 1)?;
        play_in(&lab, With::Sipnat, |scene| {
            let pbx = scene.pbx()?;
            let victim = scene.terminal(0, 0, "1000")?.with_contact(WITHOUT_PORT);
            let neighbour = scene.terminal(0, 1, "1000")?;
            victim.registers(&pbx)?;
            answers(scene, &pbx, &victim, 2)?;
            answers(scene, &pbx, &victim, 1)?;
            while neighbour.ua.heard_all().is_err() {}

            let invite = pbx.request("INVITE", uri(&victim.contact), &victim.aor);
            let went = transmissions(scene, &pbx, &invite, TURN)?;
            ensure!(went[TURN - 1] == original()?, "it went to {went:?}");
            let heard = neighbour.ua.hear("INVITE")?;
            neighbour.respond(&heard, status, "neighbour")?;
            let answer = pbx.hear("SIP/2.0")?;
            ensure!(answer.source == original()?, "from {}", answer.source);
            while victim.ua.heard_all().is_err() {}

            answers(scene, &pbx, &victim, 1)?;
            let call = Call::to(&victim, &pbx, uri(&victim.contact))?;
            call.reaches_phone("BYE")?;
            neighbour.ua.heard_all()
        })
        .context(status)?;
    }
    Ok(())
}

/// The counterpart: the port becomes the victim's own, and its mapping is gone.
#[test]
fn the_victim_gets_the_nats_port_5060() -> Result<()> {
    play(PLAN, With::Sipnat, |scene| {
        let pbx = scene.pbx()?;
        let victim = scene.terminal(0, 0, "1000")?.with_contact(WITHOUT_PORT);
        victim.registers(&pbx)?;
        answers(scene, &pbx, &victim, 2)?;
        // The second one alone proves that it was not slow.
        answers(scene, &pbx, &victim, 1)?;
        forward_port_5060(scene.lab, 0)?;
        scene.lab.sites[0].router.forget_connections()?;
        let original = original()?;
        // Two calls that the victim gets only there.
        for _ in 0..2 {
            let invite = pbx.request("INVITE", uri(&victim.contact), &victim.aor);
            let went = transmissions(scene, &pbx, &invite, TURN)?;
            ensure!(went[TURN - 1] == original, "it went to {went:?}");
            let heard = victim.ua.hear("INVITE")?;
            victim.respond(&heard, "200 OK", "victim")?;
            pbx.hear("SIP/2.0 200")?;
        }
        let call = calls(&pbx, &victim)?;
        scene.went_to(&call, original)?;
        victim.ua.hear("INVITE").map(drop)
    })
}

/// Time for which a NAT keeps the port of a silent phone for it, and a little more.
const NEVER_TAKEN: Duration = Duration::from_secs(21);

/// The victim is silent until their NAT gives its port to the neighbour, who registers from there.
#[test]
fn gets_the_victim_s_port() -> Result<()> {
    play(PLAN, With::Sipnat, |scene| {
        let pbx = scene.pbx()?;
        let victim = scene.terminal(0, 0, "1000")?;
        let neighbour = scene.terminal(0, 1, "2222")?;
        let public = scene.lab.phone().public;
        victim.registers(&pbx)?;
        scene.went_to(&calls(&pbx, &victim)?, public)?;
        victim.ua.hear("INVITE")?;
        thread::sleep(NEVER_TAKEN);

        scene.lab.sites[0].remap(1, public)?;
        neighbour.registers(&pbx)?;
        scene.went_to(&calls(&pbx, &neighbour)?, public)?;
        neighbour.ua.hear("INVITE")?;
        let invite = pbx.request("INVITE", uri(&victim.contact), &victim.aor);
        let went = transmissions(scene, &pbx, &invite, TURN)?;
        let without = address(uri(&victim.contact))?;
        ensure!(went == [without; TURN], "they went to {went:?}");
        neighbour.ua.heard_all()?;

        // The counterpart: the victim registers again, from another port.
        scene.lab.sites[0].remap(0, REMAPPED)?;
        victim.registers(&pbx)?;
        scene.went_to(&calls(&pbx, &victim)?, REMAPPED)?;
        victim.ua.hear("INVITE")?;
        scene.went_to(&calls(&pbx, &neighbour)?, public)
    })
}

/// Destinations of what belongs to a call that the PBX forked to the victim and to the neighbour, and that the neighbour
/// answered for the victim.
#[derive(Debug, PartialEq)]
struct Taken {
    ack: SocketAddrV4,
    bye: SocketAddrV4,
    cancel: SocketAddrV4,
}

/// The PBX forks a call to the victim and to the neighbour, who knows the victim's branch and answers for the victim.
fn takes_a_call(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    victim: &Terminal,
    neighbour: &Terminal,
) -> Result<Taken> {
    let mut invite = pbx.request("INVITE", uri(&victim.contact), &victim.aor);
    let branch = format!("SIP/2.0/UDP {PBX};branch=z9hG4bK-{}.0", unique());
    set(&mut invite, "Via", branch)?;
    pbx.send(&invite)?;
    let mut theirs = invite.clone();
    theirs.start = format!("INVITE {} SIP/2.0", uri(&neighbour.contact));
    let branch = field(&invite, "Via")?.replace(".0", ".1");
    set(&mut theirs, "Via", branch)?;
    pbx.send(&theirs)?;
    let mut heard = hear_past(&neighbour.ua, "INVITE")?.message;
    let via = field(&invite, "Via")?;
    set(&mut heard, "Via", via)?;
    let answer = neighbour.response(&heard, "200 OK", "neighbour");
    neighbour.ua.send(&answer, PBX)?;
    let ok = pbx.hear("SIP/2.0 200")?.message;

    // For the PBX this is the answer to its INVITE: it goes by what the answer says.
    let call = Call::new(pbx, neighbour, &ok, ["From", "To"], &ok)?;
    let cancel = of_same_transaction(&invite, "CANCEL", &field(&invite, "To")?)?;
    let sent = |request: Message| -> Result<SocketAddrV4> {
        pbx.send(&request)?;
        scene.destination(&request)
    };
    Ok(Taken {
        ack: sent(call.pbx_request("ACK"))?,
        bye: sent(call.pbx_request("BYE"))?,
        cancel: sent(cancel)?,
    })
}

/// Somebody with the victim's public address who knows a branch can answer for the victim. That is so without sipnat, from
/// any address. With sipnat it is no more: one call, of which the victim gets nothing. All other calls stay.
#[test]
fn answers_for_the_victim() -> Result<()> {
    let theirs = "<sip:2222@60.17.196.2:49164>";
    let played = |with: With, contact: &str| -> Result<Taken> {
        let mut taken = None;
        play(PLAN, with, |scene| {
            let pbx = scene.pbx()?;
            let victim = scene.terminal(0, 0, "1000")?.with_contact(contact);
            let neighbour = scene.terminal(0, 1, "2222")?.with_contact(theirs);
            victim.registers(&pbx)?;
            neighbour.registers(&pbx)?;
            let call = Call::from(&victim, &pbx)?;
            taken = Some(takes_a_call(scene, &pbx, &victim, &neighbour)?);
            if with != With::Nothing {
                let public = scene.lab.phone().public;
                for method in ["INVITE", "UPDATE", "BYE"] {
                    scene.went_to(&call.pbx_sends(method)?, public)?;
                }
                scene.went_to(&calls(&pbx, &victim)?, public)?;
            }
            Ok(())
        })?;
        taken.context("not played")
    };
    // The victim is reachable without sipnat. With it, the neighbour gets less: the PBX's requests reach the victim.
    let right = "<sip:1000@60.17.196.2:49163>";
    let without = played(With::Nothing, right)?;
    let with = played(With::Sipnat, right)?;
    let public = without.cancel;
    let same_or_victims = [
        (with.ack, without.ack),
        (with.bye, without.bye),
        (with.cancel, without.cancel),
    ]
    .iter()
    .all(|(with, without)| with == without || *with == public);
    ensure!(same_or_victims, "{with:?} instead of {without:?}");
    // The victim is not: the CANCEL, which nobody gets without sipnat, goes to the one who answered.
    let private = "<sip:1000@192.168.1.10:5060>";
    let neighbour = address(uri(theirs))?;
    let without = played(With::Nothing, private)?;
    let with = played(With::Sipnat, private)?;
    ensure!(
        (with.ack, with.bye) == (without.ack, without.bye),
        "{with:?} instead of {without:?}"
    );
    ensure!(with.cancel == neighbour, "CANCEL went to {}", with.cancel);
    Ok(())
}
