//! Kamailio between two phones behind two NATs: a proxy, so one Call-ID names both of them.

use std::time::Duration;

use anyhow::Result;
use nat_tests::{
    Alg, Plan,
    kamailio::Kamailio,
    sipp::{Scenario, Sipp},
};

use crate::scene::{Death, SOON, Scene, scenario};

/// Without an ACK the callee gives up only after a long time: do not wait for that.
const PATIENCE: Duration = Duration::from_secs(3);

/// The Vias are right, so that the call is set up; the Contacts of the dialog are not.
const PLAN: Plan = Plan {
    sites: 2,
    alg: Alg::REGISTER_ONLY,
    ..Plan::SLIDE
};

scenario!(caller_hangs_up, PLAN, without sipnat "ACK" dies Death::Port5060);

/// The caller changes the session and hangs up.
fn caller_hangs_up(scene: &Scene<'_>) -> Result<()> {
    call(scene, Scenario::CallAndHangUp, Scenario::Answer)
}

scenario!(callee_hangs_up, PLAN, without sipnat "ACK" dies Death::Port5060);

/// The callee changes the session and hangs up.
fn callee_hangs_up(scene: &Scene<'_>) -> Result<()> {
    call(scene, Scenario::Call, Scenario::AnswerAndHangUp)
}

scenario!(
    broken_vias,
    Plan { alg: Alg::WITHOUT_PORT, ..PLAN },
    without sipnat "SIP/2.0 200" dies Death::Port5060
);

/// Nothing that the ALG wrote is right: not even the answer to REGISTER arrives.
fn broken_vias(scene: &Scene<'_>) -> Result<()> {
    call(scene, Scenario::CallAndHangUp, Scenario::Answer)
}

fn call(scene: &Scene<'_>, calling: Scenario, answering: Scenario) -> Result<()> {
    let _kamailio = Kamailio::start(&scene.lab.pbx)?;
    let [caller, callee] = [0, 1].map(|site: usize| &scene.lab.sites[site].phones[0]);
    Sipp::start(callee, "2000", Scenario::Register)?.finish(PATIENCE)?;
    let mut answering = Sipp::start(callee, "2000", answering)?;
    let mut calling = Sipp::start(caller, "1000", calling)?;
    answering.finish(PATIENCE)?;
    calling.finish(SOON)
}
