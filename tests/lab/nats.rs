//! Other faults of NATs and their ALGs than the slide.

use anyhow::Result;
use nat_test_support::{
    Alg, Answers, Plan, StrictPbx,
    sipp::{Account, Scenario, Sipp},
};

use crate::scene::{Death, SOON, Scene, scenario};

const AOR: &str = "sip:1000@203.0.113.10";

scenario!(
    register_only_outgoing,
    Plan { alg: Alg::REGISTER_ONLY, ..Plan::default() },
    without sipnat "INVITE" dies Death::Port5060
);

/// The phone is registered under the right address, and its own call is still lost.
fn register_only_outgoing(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    register(scene, &pbx)?;
    outgoing(scene, &pbx)
}

scenario!(
    register_only_incoming,
    Plan { alg: Alg::REGISTER_ONLY, ..Plan::default() },
    without sipnat "ACK" dies Death::Port5060
);

/// The phone rings and answers, and never gets the ACK.
fn register_only_incoming(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    register(scene, &pbx)?;
    incoming(scene, &pbx)
}

scenario!(
    private_contact_outgoing,
    Plan { alg: Alg::NONE, ..Plan::default() },
    without sipnat "INVITE" dies Death::PrivateAddress
);

/// No ALG at all: the Contact is 192.168.1.10:5060.
fn private_contact_outgoing(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    outgoing(scene, &pbx)
}

scenario!(
    private_contact_incoming,
    Plan { alg: Alg::NONE, ..Plan::default() },
    without sipnat "INVITE" dies Death::PrivateAddress
);

/// The registered phone never rings.
fn private_contact_incoming(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    register(scene, &pbx)?;
    incoming(scene, &pbx)
}

scenario!(
    three_phones_outgoing,
    Plan { phones: 3, ..Plan::default() },
    without sipnat "INVITE" dies Death::Port5060
);

/// Three phones behind one NAT call, all with the same Contact URI.
fn three_phones_outgoing(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    same_contact_calls(scene, &pbx)
}

scenario!(
    three_phones_incoming,
    Plan { phones: 3, ..Plan::default() },
    without sipnat "INVITE" dies Death::Port5060
);

/// Three phones behind one NAT are registered with the same host and port, and each is called.
fn three_phones_incoming(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let phones = &scene.lab.sites[0].phones;
    let users = ["1000", "1001", "1002"];
    for (phone, user) in phones.iter().zip(users) {
        Sipp::start(phone, user, Scenario::Register)?.finish(SOON)?;
    }
    // All of them wait, and each must get its own call.
    let mut waiting = Vec::new();
    for (phone, user) in phones.iter().zip(users) {
        waiting.push(Sipp::start(phone, user, Scenario::Answer)?);
    }
    for (sipp, user) in waiting.iter_mut().zip(users) {
        let call = pbx.answered(&pbx.invite(&format!("sip:{user}@203.0.113.10"))?)?;
        pbx.request(&call, "INVITE")?;
        pbx.request(&call, "BYE")?;
        sipp.finish(SOON)?;
    }
    Ok(())
}

scenario!(
    two_sites_outgoing,
    Plan { sites: 2, alg: Alg::NONE, ..Plan::default() },
    without sipnat "INVITE" dies Death::PrivateAddress
);

/// Two customers' phones are both `sip:1000@192.168.1.10:5060`.
fn two_sites_outgoing(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    same_contact_calls(scene, &pbx)
}

scenario!(
    two_sites_incoming,
    Plan { sites: 2, alg: Alg::NONE, ..Plan::default() },
    without sipnat "INVITE" dies Death::PrivateAddress
);

/// Two customers' phones have registered the same Contact URI, for different addresses-of-record.
fn two_sites_incoming(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let accounts = ["1000", "1001"].map(|user| Account {
        user,
        contact: "line",
    });
    for (site, account) in scene.lab.sites.iter().zip(accounts) {
        Sipp::start(&site.phones[0], account, Scenario::Register)?.finish(SOON)?;
    }
    for (site, account) in scene.lab.sites.iter().zip(accounts) {
        let mut sipp = Sipp::start(&site.phones[0], account, Scenario::Answer)?;
        let call = pbx.answered(&pbx.invite(&format!("sip:{}@203.0.113.10", account.user))?)?;
        pbx.request(&call, "INVITE")?;
        pbx.request(&call, "BYE")?;
        sipp.finish(SOON)?;
    }
    Ok(())
}

/// All phones of the lab call as the same user. The PBX changes all sessions and hangs up.
fn same_contact_calls(scene: &Scene<'_>, pbx: &StrictPbx) -> Result<()> {
    let phones: Vec<_> = scene
        .lab
        .sites
        .iter()
        .flat_map(|site| &site.phones)
        .collect();
    let mut calling = Vec::new();
    for phone in &phones {
        calling.push(Sipp::start(phone, "1000", Scenario::Call)?);
    }
    for call in pbx.calls(phones.len(), SOON)? {
        pbx.request(&call, "INVITE")?;
        pbx.request(&call, "BYE")?;
    }
    calling.iter_mut().try_for_each(|sipp| sipp.finish(SOON))
}

fn register(scene: &Scene<'_>, pbx: &StrictPbx) -> Result<()> {
    Sipp::start(scene.lab.phone(), "1000", Scenario::Register)?.finish(SOON)?;
    pbx.registered(AOR, SOON)?;
    Ok(())
}

fn outgoing(scene: &Scene<'_>, pbx: &StrictPbx) -> Result<()> {
    let mut sipp = Sipp::start(scene.lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.call(SOON)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)
}

fn incoming(scene: &Scene<'_>, pbx: &StrictPbx) -> Result<()> {
    let mut sipp = Sipp::start(scene.lab.phone(), "1000", Scenario::Answer)?;
    let call = pbx.answered(&pbx.invite(AOR)?)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)
}
