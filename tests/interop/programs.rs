//! Real phones.

use anyhow::Result;
use nat_test_support::{
    Plan,
    asterisk::Options,
    baresip::Baresip,
    pjsua2::Pjsua2,
    scene::SOON,
    sipp::{Scenario, Sipp},
    twinkle::Twinkle,
};

use crate::frame::{Stage, at_each_pbx, at_each_pjsip};

// baresip and Twinkle ask for `rport`, with which chan_sip calls the source of a REGISTER.
at_each_pjsip!(baresip_called, crate::frame::WITHOUT_FIRST_HOUR, without sipnat "INVITE" dies);

/// The phone registers, is called, and answers. The PBX hangs up. The phone's Contact has a user of its own.
fn baresip_called(stage: &Stage<'_>) -> Result<()> {
    let mut phone = Baresip::start(stage.scene.lab.phone(), "1000", None)?;
    phone.wait_for("200 OK", SOON)?;
    stage.asterisk.call("1000")?;
    phone.wait_for("Call established", SOON)?;
    stage.asterisk.hang_up()?;
    phone.wait_for("session closed", SOON)
}

at_each_pjsip!(baresip_calls, without sipnat "BYE" dies);

/// The phone calls. The PBX hangs up.
fn baresip_calls(stage: &Stage<'_>) -> Result<()> {
    let uri = "sip:600@203.0.113.10";
    let mut phone = Baresip::start(stage.scene.lab.phone(), "1000", Some(uri))?;
    phone.wait_for("Call established", SOON)?;
    stage.asterisk.hang_up()?;
    phone.wait_for("session closed", SOON)
}

at_each_pjsip!(twinkle_called, without sipnat "INVITE" dies);

/// The phone registers, is called, and answers. The PBX hangs up.
fn twinkle_called(stage: &Stage<'_>) -> Result<()> {
    let mut phone = Twinkle::start(stage.scene.lab.phone(), "1000", None)?;
    phone.wait_ready(SOON)?;
    stage.asterisk.call("1000")?;
    phone.wait_for("call established", SOON)?;
    stage.asterisk.hang_up()?;
    phone.wait_for("far end ended call", SOON)
}

at_each_pbx!(sipp_called, without sipnat "INVITE" dies);

/// The phone registers, is called, and answers. The PBX hangs up.
fn sipp_called(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.scene.lab.phone();
    let patience = SOON;
    Sipp::start(phone, "2000", Scenario::RegisterWithPassword)?.finish(patience)?;
    let mut answering = Sipp::start(phone, "2000", Scenario::AnswerWithMedia)?;
    stage.asterisk.call("2000")?;
    stage
        .asterisk
        .wait_for("core show channels", " Up ", patience)?;
    stage.asterisk.hang_up()?;
    answering.finish(patience)
}

at_each_pjsip!(pjsua2_called, without sipnat "INVITE" dies);

/// The phone registers, is called, and answers. The PBX hangs up.
fn pjsua2_called(stage: &Stage<'_>) -> Result<()> {
    let mut phone = Pjsua2::start(stage.scene.lab.phone(), "1000", None)?;
    phone.wait_for("registration 200", SOON)?;
    stage.asterisk.call("1000")?;
    phone.wait_for("call CONFIRMED", SOON)?;
    stage.asterisk.hang_up()?;
    phone.wait_for("call DISCONN", SOON)
}

at_each_pjsip!(pjsua2_calls, without sipnat "BYE" dies);

/// The phone calls. The PBX hangs up.
fn pjsua2_calls(stage: &Stage<'_>) -> Result<()> {
    let uri = "sip:600@203.0.113.10";
    let mut phone = Pjsua2::start(stage.scene.lab.phone(), "1000", Some(uri))?;
    phone.wait_for("call CONFIRMED", SOON)?;
    stage.asterisk.hang_up()?;
    phone.wait_for("call DISCONN", SOON)
}
