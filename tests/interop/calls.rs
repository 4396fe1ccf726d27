//! Calls of one phone and calls to it.

use anyhow::{Result, ensure};
use nat_test_support::{Plan, asterisk::Options, scene::SOON};

use crate::frame::{Stage, at_each_pbx};

at_each_pbx!(incoming, without sipnat "INVITE" dies);

/// The PBX calls the phone, which answers. The PBX hangs up.
fn incoming(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    let call = phone.answers()?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}

at_each_pbx!(incoming_ended_by_the_phone, without sipnat "INVITE" dies);

/// The PBX calls the phone, which answers and hangs up.
fn incoming_ended_by_the_phone(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    phone.answers()?.hangs_up()
}

at_each_pbx!(outgoing, without sipnat "BYE" dies);

/// A phone that has not registered calls. The PBX hangs up.
fn outgoing(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.phone(0, 0, "1000")?;
    let call = phone.calls("600")?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}

at_each_pbx!(held, without sipnat "BYE" dies);

/// The phone calls, holds the call and takes it back. The PBX hangs up.
fn held(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.phone(0, 0, "1000")?;
    let call = phone.calls("600")?;
    call.reinvites("sendonly")?;
    call.reinvites("sendrecv")?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}

at_each_pbx!(cancelled_by_the_pbx, without sipnat "INVITE" dies);

/// The PBX gives up while the phone rings.
fn cancelled_by_the_pbx(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    let invite = phone.hear("INVITE")?;
    phone.respond(&invite, "180 Ringing", "rings")?;
    stage
        .asterisk
        .wait_for("core show channels", "Ringing", SOON)?;
    stage.asterisk.hang_up()?;
    let cancel = phone.hear("CANCEL")?;
    phone.respond(&cancel, "200 OK", "rings")?;
    phone.respond(&invite, "487 Request Terminated", "rings")?;
    phone.hear("ACK").map(drop)
}

at_each_pbx!(refused, without sipnat "INVITE" dies);

/// The phone refuses the call, and hears the ACK to that.
fn refused(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    let invite = phone.hear("INVITE")?;
    phone.respond(&invite, "486 Busy Here", "busy")?;
    phone.hear("ACK").map(drop)
}

const TWO_SITES: Plan = Plan {
    sites: 2,
    ..Plan::PLAIN_NAT
};

at_each_pbx!(between_two_sites, TWO_SITES, without sipnat "INVITE" dies);

/// Two phones with the same private address at two sites: each calls the other, and is called back.
fn between_two_sites(stage: &Stage<'_>) -> Result<()> {
    let here = stage.registered(0, 0, "1000")?;
    let there = stage.registered(1, 0, "2000")?;
    for (caller, callee, number) in [(&here, &there, "2000"), (&there, &here, "1000")] {
        let invite = caller.invites(number)?;
        let answering = callee.answers()?;
        let calling = caller.is_answered(&invite)?;
        answering.hangs_up()?;
        calling.hears("BYE")?;
    }
    Ok(())
}

at_each_pbx!(cancelled_by_the_caller, TWO_SITES, without sipnat "INVITE" dies);

/// The caller gives up while the other phone rings.
fn cancelled_by_the_caller(stage: &Stage<'_>) -> Result<()> {
    let here = stage.phone(0, 0, "1000")?;
    let there = stage.registered(1, 0, "2000")?;
    let invite = here.invites("2000")?;
    let heard = there.hear("INVITE")?;
    there.respond(&heard, "180 Ringing", "rings")?;
    here.hear("SIP/2.0 180")?;
    here.cancels(&invite)?;
    let cancel = there.hear("CANCEL")?;
    there.respond(&cancel, "200 OK", "rings")?;
    there.respond(&heard, "487 Request Terminated", "rings")?;
    there.hear("ACK").map(drop)
}

at_each_pbx!(
    without_media_at_the_pbx,
    TWO_SITES,
    Options { direct_media: true, ..Options::default() },
    without sipnat "INVITE" dies
);

/// The PBX leaves media to the two phones of a call, and tells each the address of the other by re-INVITE.
fn without_media_at_the_pbx(stage: &Stage<'_>) -> Result<()> {
    let here = stage.registered(0, 0, "1000")?;
    let there = stage.registered(1, 0, "2000")?;
    let invite = here.invites("2000")?;
    let answering = there.answers()?;
    let calling = here.is_answered(&invite)?;
    for call in [&answering, &calling] {
        let reinvite = call.hears("INVITE")?;
        ensure!(
            reinvite.body().contains("c=IN IP4 192.168.1.10"),
            "media go by the PBX: {reinvite}"
        );
    }
    Ok(())
}

const TWO_PHONES: Plan = Plan {
    phones: 2,
    ..Plan::PLAIN_NAT
};

at_each_pbx!(forked, TWO_PHONES, without sipnat "INVITE" dies);

/// Two phones of one site ring. One answers, and the other hears that.
fn forked(stage: &Stage<'_>) -> Result<()> {
    let caller_asks_for = "500";
    let (one, other) = (
        stage.registered(0, 0, "1000")?,
        stage.registered(0, 1, "1001")?,
    );
    stage.asterisk.dial(caller_asks_for)?;
    let heard = other.hear("INVITE")?;
    other.respond(&heard, "180 Ringing", "rings")?;
    let call = one.answers()?;
    let cancel = other.hear("CANCEL")?;
    other.respond(&cancel, "200 OK", "rings")?;
    other.respond(&heard, "487 Request Terminated", "rings")?;
    other.hear("ACK")?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}
