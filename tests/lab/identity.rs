//! Phones with the same Contact URI are told apart.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Alg, Call, PBX, Plan, ScriptedPbx, Terminal,
    sip::{address, of_same_transaction},
};

use crate::scene::{Death, Scene, With, play, scenario};

const TWO_SITES: Plan = Plan {
    sites: 2,
    ..Plan::PLAIN_NAT
};

scenario!(
    one_contact_both_ways,
    Plan { phones: 3, ..Plan::default() },
    without sipnat "INVITE" dies Death::Port5060
);

/// Three phones behind one NAT have the same Contact URI. Each calls and is called. The port in the Contact is wrong: the
/// first call arrives at its second transmission, and all that follows at its first.
fn one_contact_both_ways(scene: &Scene<'_>) -> Result<()> {
    let phones = ["1000", "1001", "1002"].iter().enumerate();
    let phones: Vec<_> = phones
        .map(|(number, user)| {
            let phone = scene.terminal(0, number, user)?;
            let contact = format!("<sip:line@{}>", scene.lab.sites[0].phones[number].private);
            Ok(phone.with_contact(contact))
        })
        .collect::<Result<_>>()?;
    let uris = calls_both_ways(scene, &phones, 2)?;
    ensure!(
        uris.iter().all(|uri| uri == "sip:line@60.17.196.2"),
        "the Contacts differ: {uris:?}"
    );
    Ok(())
}

scenario!(two_sites_both_ways, TWO_SITES, without sipnat "INVITE" dies Death::PrivateAddress);

/// Two customers' phones are both `sip:1000@192.168.1.10:5060`. Each calls and is called at once.
fn two_sites_both_ways(scene: &Scene<'_>) -> Result<()> {
    let phones = [0, 1].map(|site| {
        let mut phone = scene.terminal(site, 0, "1000")?;
        // Hosted PBX: a domain for each customer.
        phone.aor = format!("sip:1000@customer{site}.example");
        Ok(phone)
    });
    let phones = phones.into_iter().collect::<Result<Vec<_>>>()?;
    let uris = calls_both_ways(scene, &phones, 1)?;
    ensure!(
        uris.iter().all(|uri| uri == "sip:1000@192.168.1.10:5060"),
        "the Contacts differ: {uris:?}"
    );
    Ok(())
}

/// Every phone calls and is called twice; the first INVITE arrives at transmission `first`. Then the PBX sends requests in
/// all calls, the last call first. Returns the Contacts as they were registered.
fn calls_both_ways(scene: &Scene<'_>, phones: &[Terminal], first: usize) -> Result<Vec<String>> {
    let pbx = scene.pbx()?;
    let mut uris = Vec::new();
    for phone in phones {
        uris.push(phone.registers(&pbx)?);
    }
    let mut calls = Vec::new();
    for (phone, uri) in phones.iter().zip(&uris) {
        calls.push(Call::to_at(phone, &pbx, uri, first)?);
        calls.push(Call::from(phone, &pbx)?);
        calls.push(Call::to(phone, &pbx, uri)?);
    }
    for method in ["INVITE", "BYE"] {
        for call in calls.iter().rev() {
            call.reaches_phone(method)?;
        }
    }
    phones.iter().try_for_each(|phone| phone.ua.heard_all())?;
    Ok(uris)
}

scenario!(contact_parameters, TWO_SITES, without sipnat "INVITE" dies Death::PrivateAddress);

/// The PBX calls with a To that names no phone. The URI of the Contact tells the phones apart: weak evidence, until the
/// first call was answered.
fn contact_parameters(scene: &Scene<'_>) -> Result<()> {
    let pbx = scene.pbx()?;
    for site in [0, 1] {
        let uri = format!("sip:1000@192.168.1.10:5060;line={site}");
        let mut phone = scene
            .terminal(site, 0, "1000")?
            .with_contact(format!("<{uri}>"));
        ensure!(phone.registers(&pbx)? == uri, "the Contact has changed");
        phone.aor = "sip:hotline@203.0.113.10".into();
        Call::to_at(&phone, &pbx, &uri, 2)?.reaches_phone("BYE")?;
        Call::to(&phone, &pbx, &uri)?.reaches_phone("BYE")?;
    }
    // The second phone has not replaced the first.
    let first = pbx.request(
        "OPTIONS",
        "sip:1000@192.168.1.10:5060;line=0",
        "sip:hotline@203.0.113.10",
    );
    pbx.send(&first)?;
    scene.went_to(&first, scene.lab.phone().public)
}

/// Two phones of different owners have one Contact URI, whose user is neither's. A call that names neither goes to none.
#[test]
fn ambiguous() -> Result<()> {
    play(TWO_SITES, With::Arguments(&["--settle", "0"]), |scene| {
        let pbx = scene.pbx()?;
        let phones = [scene.terminal(0, 0, "1000")?, scene.terminal(1, 0, "1001")?]
            .map(|phone| phone.with_contact("<sip:line@192.168.1.10:5060>"));
        let options = |to: &str, places: &[SocketAddrV4]| {
            let request = pbx.request("OPTIONS", "sip:line@192.168.1.10:5060", to);
            scene
                .transmits(&pbx, &request, places)
                .context(to.to_owned())
        };
        let hotline = "sip:hotline@203.0.113.10";
        let publics = [0, 1].map(|site: usize| scene.lab.sites[site].phones[0].public);

        let meant = address(&phones[0].registers(&pbx)?)?;
        options(hotline, &[meant, publics[0]]).context("the only phone")?;
        phones[1].registers(&pbx)?;
        options(hotline, &[meant; 4]).context("a call for nobody")?;
        ensure!(scene.count("out_ambiguous")? == 4, "not counted");
        for (phone, public) in phones.iter().zip(publics) {
            options(&phone.aor, &[public])?;
        }
        let listing = scene.sipnat()?.command(&["bindings", "list"])?;
        ensure!(
            listing.contains("ambiguous"),
            "ambiguity is not shown:\n{listing}"
        );

        // One phone unregisters; the other stays reachable.
        unregisters(&phones[0], &pbx)?;
        options(&phones[0].aor, &[meant; 2]).context("gone")?;
        options(&phones[1].aor, &[publics[1]]).context("still there")
    })
}

fn unregisters(phone: &Terminal, pbx: &ScriptedPbx) -> Result<()> {
    phone.ua.send(&phone.register().with("Expires", "0"), PBX)?;
    let request = pbx.hear("REGISTER")?;
    pbx.respond(&request, "200 OK")
}

scenario!(
    two_phones_of_one_address_of_record,
    Plan { phones: 2, alg: Alg::NONE, ..Plan::default() },
    without sipnat "INVITE" dies Death::PrivateAddress
);

/// The PBX forks a call to both phones of a user, with one Call-ID and one From-tag. One phone answers, and the other
/// is cancelled.
fn two_phones_of_one_address_of_record(scene: &Scene<'_>) -> Result<()> {
    let pbx = scene.pbx()?;
    let phones = [scene.terminal(0, 0, "1000")?, scene.terminal(0, 1, "1000")?];
    let uris = [phones[0].registers(&pbx)?, phones[1].registers(&pbx)?];
    let first = pbx.request("INVITE", &uris[0], &phones[0].aor);
    let mut second = pbx.request("INVITE", &uris[1], &phones[1].aor);
    for name in ["From", "Call-ID", "CSeq"] {
        let value = first.field(name).unwrap_or_default().to_owned();
        second
            .field_mut(name)
            .expect("it has all of them")
            .clone_from(&value);
    }
    let mut invites = Vec::new();
    for (phone, invite) in phones.iter().zip([&first, &second]) {
        pbx.send(invite)?;
        invites.push(phone.ua.hear("INVITE")?);
    }
    let mut calls = Vec::new();
    for (phone, (invite, tag)) in phones.iter().zip(invites.iter().zip(["one", "two"])) {
        phone.respond(invite, "180 Ringing", tag)?;
        let ringing = pbx.hear("SIP/2.0 180")?.message;
        calls.push(Call::new(&pbx, phone, &ringing, ["From", "To"], &ringing)?);
    }
    for call in &calls {
        call.reaches_phone("UPDATE")?;
    }
    phones[0].respond(&invites[0], "200 OK", "one")?;
    pbx.hear("SIP/2.0 200")?;
    calls[0].pbx_acknowledges()?;

    let to = second.field("To").unwrap_or_default().to_owned();
    pbx.send(&of_same_transaction(&second, "CANCEL", &to)?)?;
    let cancel = phones[1].ua.hear("CANCEL")?;
    phones[1].respond(&cancel, "200 OK", "two")?;
    pbx.hear("SIP/2.0 200")?;
    phones[1].respond(&invites[1], "487 Request Terminated", "two")?;
    let terminated = pbx.hear("SIP/2.0 487")?.message;
    let to = terminated.field("To").unwrap_or_default().to_owned();
    pbx.send(&of_same_transaction(&second, "ACK", &to)?)?;
    phones[1].ua.hear("ACK")?;

    calls[0].reaches_phone("INVITE")?;
    calls[0].reaches_phone("BYE")?;
    phones.iter().try_for_each(|phone| phone.ua.heard_all())
}
