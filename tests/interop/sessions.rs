//! What happens within a call: session timers, provisional responses that are acknowledged, transfers.

use std::time::Duration;

use anyhow::{Result, ensure};
use nat_test_support::{PBX, Plan, asterisk::Options, sip::Message};

use crate::frame::{Stage, at_each_pbx, at_each_pjsip};

const THREE_PHONES: Plan = Plan {
    sites: 2,
    phones: 2,
    ..Plan::PLAIN_NAT
};

/// Shortest session interval (RFC 4028 4). It is refreshed when half of it is over.
const INTERVAL: Duration = Duration::from_secs(90);

at_each_pbx!(
    refreshed_by_the_pbx,
    Plan::PLAIN_NAT,
    // Without OPTIONS, the router has forgotten the phone when the session is refreshed.
    Options { timers: true, qualify: 15, ..Options::default() },
    without sipnat "UPDATE" dies
);

/// The phone leaves it to the PBX to refresh the session. It allows UPDATE.
fn refreshed_by_the_pbx(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    let invite = phone.invites_with("600", |invite| {
        invite
            .with("Supported", "timer")
            .with("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE")
            .with("Session-Expires", "90;refresher=uas")
            .with("Min-SE", "90")
    })?;
    let call = phone.is_answered(&invite)?;
    // chan_sip refreshes by re-INVITE.
    let method = if stage.asterisk.release().is_chan_sip() {
        "INVITE"
    } else {
        "UPDATE"
    };
    phone.waits(INTERVAL, || call.hears(method))?;
    call.hangs_up()
}

at_each_pjsip!(refreshed_by_the_phone, without sipnat "BYE" dies);

/// The phone refreshes the session by UPDATE. Then the PBX hangs up.
fn refreshed_by_the_phone(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.phone(0, 0, "1000")?;
    let timer = |message: Message| {
        message
            .with("Supported", "timer")
            .with("Session-Expires", "1800;refresher=uac")
    };
    let invite = phone.invites_with("600", timer)?;
    let call = phone.is_answered(&invite)?;
    call.asks("UPDATE", timer)?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}

at_each_pjsip!(acknowledged_provisionally, without sipnat "INVITE" dies);

/// The phone rings by a reliable provisional response, and the PBX sends PRACK.
fn acknowledged_provisionally(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    let invite = phone.hear("INVITE")?;
    let supported = invite.message.field("Supported").unwrap_or_default();
    ensure!(supported.contains("100rel"), "{}", invite.message);
    let ringing = phone
        .terminal
        .response(&invite.message, "180 Ringing", "rings")
        .with("Require", "100rel")
        .with("RSeq", "1");
    phone.terminal.ua.send(&ringing, PBX)?;
    let prack = phone.hear("PRACK")?;
    phone.respond(&prack, "200 OK", "rings")?;
    let call = phone.picks_up(&invite, "rings")?;
    call.hangs_up()
}

at_each_pbx!(transferred, THREE_PHONES, without sipnat "INVITE" dies);

/// A phone in a call sends the other end to a third phone, and hears what became of it.
fn transferred(stage: &Stage<'_>) -> Result<()> {
    let here = stage.registered(0, 0, "1000")?;
    let there = stage.registered(1, 0, "2000")?;
    let third = stage.registered(1, 1, "2001")?;
    let invite = here.invites("2000")?;
    let answering = there.answers()?;
    let calling = here.is_answered(&invite)?;
    stage.asterisk.has_joined(1)?;
    calling.refers_to("2001")?;
    let transferred = third.answers()?;
    here.has_transferred(&[&calling])?;
    transferred.hangs_up()?;
    answering.hears("BYE").map(drop)
}

at_each_pbx!(transferred_after_asking, THREE_PHONES, without sipnat "INVITE" dies);

/// A phone with two calls joins them.
fn transferred_after_asking(stage: &Stage<'_>) -> Result<()> {
    let here = stage.registered(0, 0, "1000")?;
    let there = stage.registered(1, 0, "2000")?;
    let third = stage.registered(1, 1, "2001")?;
    let invite = here.invites("2000")?;
    let answering = there.answers()?;
    let first = here.is_answered(&invite)?;
    first.reinvites("sendonly")?;
    let invite = here.invites("2001")?;
    let asked = third.answers()?;
    let second = here.is_answered(&invite)?;
    stage.asterisk.has_joined(2)?;
    first.refers_to_end_of("2001", &second)?;
    here.has_transferred(&[&first, &second])?;
    asked.hangs_up()?;
    answering.hears("BYE").map(drop)
}
