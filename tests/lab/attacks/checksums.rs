//! A packet with a wrong UDP checksum is not a message: the PBX's kernel drops it after sipnat has seen it.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan, ScriptedPbx, Terminal,
    forge::{Checksum, Forger},
    sip::{of_same_transaction, uri},
};

use super::{ATTACKER, REMAPPED, account, arrived, calls, field, hear_past, set};
use crate::scene::{Scene, With, play};

/// Plans in which the PBX leaves checksums to its network card, or computes them itself.
const PLANS: [Plan; 2] = [
    Plan::PLAIN_NAT,
    Plan {
        checksum_offload: false,
        ..Plan::PLAIN_NAT
    },
];

/// The victim's phone rings, and an answer comes from another mapping of its NAT. Fails unless the CANCEL follows it only
/// if the kernel takes it.
fn answer(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    victim: &Terminal,
    checksum: Checksum,
    counts: bool,
) -> Result<()> {
    let forger = Forger::open(&scene.lab.public_phone)?;
    let invite = pbx.request("INVITE", uri(&victim.contact), &victim.aor);
    pbx.send(&invite)?;
    let heard = hear_past(&victim.ua, "INVITE")?;
    let ringing = victim.response(&heard.message, "180 Ringing", "victim");
    forger.send(&ringing, REMAPPED, PBX, checksum)?;
    arrived(scene, &ringing)?;
    let follows = if counts {
        pbx.hear("SIP/2.0 180")?;
        REMAPPED
    } else {
        pbx.ua.heard_all()?;
        scene.lab.phone().public
    };
    let cancel = of_same_transaction(&invite, "CANCEL", &field(&invite, "To")?)?;
    pbx.send(&cancel)?;
    scene.went_to(&cancel, follows)
}

/// The PBX sends a NOTIFY ahead of its answer. Fails unless it follows the SUBSCRIBE only if the kernel takes that.
fn subscription(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    phone: &Terminal,
    checksum: Checksum,
    counts: bool,
) -> Result<()> {
    let forger = Forger::open(&scene.lab.public_phone)?;
    let mut phone_request = phone.request("SUBSCRIBE", "sip:2000@203.0.113.10");
    set(&mut phone_request, "Contact", "<sip:presence@192.168.1.10>")?;
    let subscribe = phone_request.with("Event", "presence");
    forger.send(&subscribe, REMAPPED, PBX, checksum)?;
    arrived(scene, &subscribe)?;
    if counts {
        pbx.hear("SUBSCRIBE")?;
    } else {
        pbx.ua.heard_all()?;
    }
    let mut accepted = nat_test_support::sip::Message::response(&subscribe, "202 Accepted");
    accepted
        .field_mut("To")
        .context("no To")?
        .push_str(";tag=pbx");
    let call = Call::new(pbx, phone, &accepted, ["To", "From"], &subscribe)?;
    let notify = call.pbx_sends("NOTIFY")?;
    let follows = if counts {
        REMAPPED
    } else {
        scene.lab.phone().private
    };
    scene.went_to(&notify, follows)
}

/// An account registers a gateway's address. Fails unless that counts only if the kernel takes it, whatever the PBX accepts under the
/// same name next.
fn registration(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    checksum: Checksum,
    counts: bool,
) -> Result<()> {
    const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 5060);
    let attacker = account(scene, &format!("<sip:6666@{GATEWAY}>"))?;
    let mut register = attacker.register().with("Expires", "60");
    let forger = Forger::open(&scene.lab.public_phone)?;
    forger.send(&register, ATTACKER, PBX, checksum)?;
    arrived(scene, &register)?;
    if !counts {
        pbx.ua.heard_all()?;
        set(&mut register, "Contact", format!("<sip:6666@{ATTACKER}>"))?;
        attacker.ua.send(&register, PBX)?;
    }
    let heard = pbx.hear("REGISTER")?;
    let contact = field(&register, "Contact")?;
    let ok = pbx.response(&heard, "200 OK");
    pbx.answer(&heard, &ok.with("Contact", format!("{contact};expires=60")))?;
    attacker.ua.hear("SIP/2.0 200")?;
    let call = calls(pbx, &attacker)?;
    scene.went_to(&call, if counts { ATTACKER } else { GATEWAY })
}

fn with_checksum(checksum: Checksum, counts: bool) -> Result<()> {
    for plan in PLANS {
        play(plan, With::Sipnat, |scene| {
            let (pbx, victim) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
            victim.registers(&pbx)?;
            answer(scene, &pbx, &victim, checksum, counts).context("a response")?;
            subscription(scene, &pbx, &victim, checksum, counts).context("a SUBSCRIBE")?;
            registration(scene, &pbx, checksum, counts).context("a REGISTER")?;
            let counted = [
                scene.count("in_checksum")?,
                scene.count("pending_checksum")?,
            ];
            let expected = if counts { [0, 0] } else { [2, 1] };
            ensure!(counted == expected, "counted {counted:?}");
            Ok(())
        })
        .with_context(|| format!("checksum offload: {}", plan.checksum_offload))?;
    }
    Ok(())
}

#[test]
fn wrong() -> Result<()> {
    with_checksum(Checksum::Wrong, false)
}

#[test]
fn right() -> Result<()> {
    with_checksum(Checksum::Right, true)
}

/// UDP over IPv4 needs none (RFC 768).
#[test]
fn absent() -> Result<()> {
    with_checksum(Checksum::Absent, true)
}
