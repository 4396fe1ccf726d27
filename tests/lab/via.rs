//! A PBX that responds by Via, and so to the wrong port.

use anyhow::Result;
use nat_test_support::{
    Alg, Answers, Plan, StrictPbx,
    sipp::{Scenario, Sipp},
};

use crate::scene::{Death, SOON, Scene, scenario};

scenario!(broken_via, Plan::default(), without sipnat "SIP/2.0 180" dies Death::Port5060);

/// The ALG wrote a Via without the port.
fn broken_via(scene: &Scene<'_>) -> Result<()> {
    call(scene)
}

scenario!(
    private_via,
    Plan { alg: Alg::NONE, ..Plan::default() },
    without sipnat "SIP/2.0 180" dies Death::Port5060
);

/// The Via is private. `received` corrects its address; nothing corrects its port.
fn private_via(scene: &Scene<'_>) -> Result<()> {
    call(scene)
}

scenario!(register, Plan::default(), without sipnat "SIP/2.0 200" dies Death::Port5060);

/// The answer to REGISTER does not reach the phone either.
fn register(scene: &Scene<'_>) -> Result<()> {
    let _pbx = StrictPbx::start(&scene.lab.pbx, Answers::ByVia)?;
    Sipp::start(scene.lab.phone(), "1000", Scenario::Register)?.finish(SOON / 3)
}

fn call(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ByVia)?;
    let mut sipp = Sipp::start(scene.lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.call(SOON / 3)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)
}
