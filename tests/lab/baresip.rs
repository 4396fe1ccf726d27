//! baresip as a phone.

use anyhow::Result;
use nat_test_support::{Answers, Plan, StrictPbx, baresip::Baresip};

use crate::scene::{Death, SOON, Scene, scenario};

scenario!(outgoing, Plan::default(), without sipnat "INVITE" dies Death::Port5060);

/// The phone calls. The PBX holds the call and hangs up.
fn outgoing(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let _phone = Baresip::start(scene.lab.phone(), "1000", Some("sip:2000@203.0.113.10"))?;
    let call = pbx.call(SOON)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    Ok(())
}

scenario!(incoming, Plan::default(), without sipnat "INVITE" dies Death::Port5060);

/// The phone registers and is called. The PBX holds the call and hangs up.
fn incoming(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let _phone = Baresip::start(scene.lab.phone(), "1000", None)?;
    let aor = "sip:1000@203.0.113.10";
    pbx.registered(aor, SOON)?;
    let call = pbx.answered(&pbx.invite(aor)?)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    Ok(())
}
