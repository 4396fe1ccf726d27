//! Kamailio between two phones behind NATs: a proxy, so one Call-ID names both of them.

use std::time::Duration;

use anyhow::Result;
use nat_test_support::{
    Alg, Plan,
    alg::Rewrite,
    kamailio::{Kamailio, RecordRoute},
    sipp::{Scenario, Sipp},
};

use crate::scene::{Death, SOON, Scene, scenario};

/// Without an ACK the callee gives up only after a long time: the test does not wait for that.
const PATIENCE: Duration = Duration::from_secs(3);

/// The Vias are right, so the call is set up. The Contacts of the dialog are wrong.
const PLAN: Plan = Plan {
    sites: 2,
    alg: Alg::REGISTER_ONLY,
    ..Plan::SLIDE
};

scenario!(caller_hangs_up, PLAN, without sipnat "ACK" dies Death::Port5060);

/// The caller changes the session and hangs up.
fn caller_hangs_up(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx, RecordRoute::Yes)?;
    calls(scene, Scenario::CallAndHangUp, Scenario::Answer)
}

scenario!(callee_hangs_up, PLAN, without sipnat "ACK" dies Death::Port5060);

/// The callee changes the session and hangs up.
fn callee_hangs_up(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx, RecordRoute::Yes)?;
    calls(scene, Scenario::Call, Scenario::AnswerAndHangUp)
}

scenario!(caller_hangs_up_without_record_route, PLAN, without sipnat "ACK" dies Death::Port5060);

/// The caller changes the session and hangs up. No Route leads to the proxy or beyond.
fn caller_hangs_up_without_record_route(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx, RecordRoute::No)?;
    calls(scene, Scenario::CallAndHangUp, Scenario::Answer)
}

scenario!(callee_hangs_up_without_record_route, PLAN, without sipnat "ACK" dies Death::Port5060);

/// The callee changes the session and hangs up. No Route leads to the proxy or beyond.
fn callee_hangs_up_without_record_route(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx, RecordRoute::No)?;
    calls(scene, Scenario::Call, Scenario::AnswerAndHangUp)
}

scenario!(
    one_site,
    Plan { sites: 1, phones: 2, ..PLAN },
    without sipnat "ACK" dies Death::Port5060
);

/// Both phones are behind one NAT: one Call-ID, one host and port.
fn one_site(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx, RecordRoute::Yes)?;
    calls(scene, Scenario::CallAndHangUp, Scenario::Answer)
}

scenario!(
    broken_vias,
    Plan { alg: Alg::WITHOUT_PORT, ..PLAN },
    without sipnat "SIP/2.0 200" dies Death::Port5060
);

/// No address of the ALG is right: even the answer to REGISTER does not arrive.
fn broken_vias(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx, RecordRoute::Yes)?;
    calls(scene, Scenario::CallAndHangUp, Scenario::Answer)
}

scenario!(
    cancelled,
    Plan { alg: Alg { via: Rewrite::HostPort, ..Alg::WITHOUT_PORT }, ..PLAN },
    without sipnat "INVITE" dies Death::Port5060
);

/// The caller gives up: CANCEL and the ACK to 487, hop by hop.
fn cancelled(scene: &Scene<'_>) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx, RecordRoute::Yes)?;
    calls(scene, Scenario::CallAndCancel, Scenario::Ring)
}

/// Each of two phones calls the other.
fn calls(scene: &Scene<'_>, calling: Scenario, answering: Scenario) -> Result<()> {
    let phones = scene.lab.sites.iter().flat_map(|site| &site.phones);
    let phones: Vec<_> = phones.collect();
    for (caller, callee) in [(phones[0], phones[1]), (phones[1], phones[0])] {
        Sipp::start(callee, "2000", Scenario::Register)?.finish(PATIENCE)?;
        let mut answering = Sipp::start(callee, "2000", answering)?;
        let mut calling = Sipp::start(caller, "1000", calling)?;
        answering.finish(PATIENCE)?;
        calling.finish(SOON)?;
        // The next one is the only 2000.
        Sipp::start(callee, "2000", Scenario::Unregister)?.finish(PATIENCE)?;
    }
    Ok(())
}
