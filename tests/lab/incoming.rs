//! Requests of the PBX to a registered phone, outside of any dialog.

use anyhow::{Result, ensure};
use nat_test_support::{
    Answers, Plan, StrictPbx,
    sipp::{Scenario, Sipp},
};

use crate::scene::{Death, SOON, Scene, scenario};

const AOR: &str = "sip:1000@203.0.113.10";

scenario!(call, Plan::default(), without sipnat "INVITE" dies Death::Port5060);

/// The PBX calls the phone.
fn call(scene: &Scene<'_>) -> Result<()> {
    let pbx = registered(scene)?;
    let mut sipp = Sipp::start(scene.lab.phone(), "1000", Scenario::Answer)?;
    let call = pbx.answered(&pbx.invite(AOR)?)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)
}

scenario!(cancelled_call, Plan::default(), without sipnat "INVITE" dies Death::Port5060);

/// The phone rings, and the caller gives up: CANCEL, and the ACK to the 487.
fn cancelled_call(scene: &Scene<'_>) -> Result<()> {
    let pbx = registered(scene)?;
    let mut sipp = Sipp::start(scene.lab.phone(), "1000", Scenario::Ring)?;
    let invitation = pbx.invite(AOR)?;
    pbx.provisional(&invitation, 180)?;
    let (cancelled, invited) = pbx.cancel(&invitation)?;
    ensure!(
        cancelled.status() == Some(200),
        "CANCEL: {}",
        cancelled.start
    );
    ensure!(invited.status() == Some(487), "INVITE: {}", invited.start);
    sipp.finish(SOON)
}

scenario!(options, Plan::default(), without sipnat "OPTIONS" dies Death::Port5060);

/// The PBX checks with OPTIONS that the phone is reachable.
fn options(scene: &Scene<'_>) -> Result<()> {
    let pbx = registered(scene)?;
    let mut sipp = Sipp::start(scene.lab.phone(), "1000", Scenario::Options)?;
    pbx.request_to(AOR, "OPTIONS")?;
    sipp.finish(SOON)
}

fn registered(scene: &Scene<'_>) -> Result<StrictPbx> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    Sipp::start(scene.lab.phone(), "1000", Scenario::Register)?.finish(SOON)?;
    pbx.registered(AOR, SOON)?;
    Ok(pbx)
}
