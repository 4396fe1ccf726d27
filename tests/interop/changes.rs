//! What changes while phones are registered and in calls: mappings, the PBX, sipnat.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use nat_test_support::{
    Lab, Plan, Sipnat,
    asterisk::{Asterisk, Options, Release},
    handset::Handset,
    scene::SOON,
};
use nix::sys::signal::Signal;

use crate::frame::{Stage, at_each_pbx, with_each_pbx};

/// Another mapping of the first site's NAT.
const MOVED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 2), 55555);

at_each_pbx!(rebound, without sipnat "INVITE" dies);

/// The NAT gives the phone another mapping, and the phone registers again. Calls reach it there.
fn rebound(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.scene.lab.sites[0].remap(0, MOVED)?;
    phone.register()?;
    stage.asterisk.call("1000")?;
    phone.answers()?.hangs_up()
}

at_each_pbx!(rebound_in_a_call, without sipnat "BYE" dies);

/// The same in a call. The phone speaks in the call from its new address, and the PBX hangs up.
fn rebound_in_a_call(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.phone(0, 0, "1000")?;
    let call = phone.calls("600")?;
    stage.scene.lab.sites[0].remap(0, MOVED)?;
    call.reinvites("sendrecv")?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}

at_each_pbx!(rebound_in_a_call_and_registered, without sipnat "INVITE" dies);

/// The phone only registers again from its new address. The call follows it, since the dialog's own URI is the phone's.
fn rebound_in_a_call_and_registered(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    let call = phone.answers()?;
    stage.scene.lab.sites[0].remap(0, MOVED)?;
    phone.register()?;
    stage.asterisk.hang_up()?;
    call.hears("BYE").map(drop)
}

at_each_pbx!(restarted, without sipnat "INVITE" dies);

/// The PBX is killed in a call and starts again. It knows the registration, and calls the phone.
fn restarted(stage: &Stage<'_>) -> Result<()> {
    let phone = stage.registered(0, 0, "1000")?;
    stage.asterisk.call("1000")?;
    let call = phone.answers()?;
    stage.asterisk.restart()?;
    // The PBX knows nothing of the call.
    ensure!(call.hangs_up().is_err(), "the PBX still knows the call");
    if stage.scene.sipnat.is_some() {
        let dialog = stage.scene.binding("dialog")?;
        ensure!(dialog["notes"][0] == "ended", "{dialog}");
    }
    stage.asterisk.call("1000")?;
    phone.answers()?.hangs_up()
}

with_each_pbx!(agent_killed);

/// The agent is killed in a call. The kernel programs go on: the PBX hangs up, and calls again.
fn agent_killed(release: Release) -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    let asterisk = Asterisk::start(&lab.pbx, release, Options::default())?;
    let sipnat = Sipnat::start(&lab.pbx, &[])?;
    let phone = Handset::start(&lab.phone().netns, lab.phone().private, "1000", SOON)?;
    phone.register()?;
    asterisk.call("1000")?;
    let call = phone.answers()?;
    sipnat.end(Signal::SIGKILL)?;
    asterisk.hang_up()?;
    call.hears("BYE")?;
    asterisk.call("1000")?;
    phone.answers()?.hangs_up()
}

with_each_pbx!(started_after_the_agent);

/// The PBX starts after the agent, and a phone registers a second later. Calls reach the phone.
fn started_after_the_agent(release: Release) -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    let _sipnat = Sipnat::start(&lab.pbx, &[])?;
    let asterisk = Asterisk::start(&lab.pbx, release, Options::default())?;
    let phone = Handset::start(&lab.phone().netns, lab.phone().private, "1000", SOON)?;
    thread::sleep(Duration::from_secs(1));
    phone.register()?;
    // The agent looks at the sockets at least once more.
    thread::sleep(Duration::from_secs(6));
    asterisk.call("1000")?;
    phone.answers()?.hangs_up()
}

at_each_pbx!(
    two_users_of_one_contact_uri,
    Plan { sites: 2, ..Plan::PLAIN_NAT },
    without sipnat "INVITE" dies
);

/// Two phones at two sites register the very same Contact URI for two users. That nobody can tell apart from the PBX's
/// requests, which name no user: neither call may reach the wrong phone.
fn two_users_of_one_contact_uri(stage: &Stage<'_>) -> Result<()> {
    let mut phones = [stage.phone(0, 0, "1000")?, stage.phone(1, 0, "2000")?];
    for phone in &mut phones {
        "<sip:1000@192.168.1.10:5060>".clone_into(&mut phone.terminal.contact);
        phone.register()?;
    }
    let [owner, other] = &phones;
    stage.asterisk.call("1000")?;
    // The user of the URI is that of the owner's address-of-record.
    owner.answers()?.hangs_up()?;
    ensure!(
        other.hear_within("INVITE", SOON / 5)?.is_none(),
        "the call reached the wrong phone"
    );
    Ok(())
}
