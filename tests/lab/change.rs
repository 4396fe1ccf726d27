//! Bindings that change, expire or are removed.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, PBX, Plan, ScriptedPbx, Terminal,
    sip::Message,
    ua::{Heard, Ua},
};

use crate::scene::{Death, SOON, Scene, With, play, scenario};

const NEW_PORT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 2), 51234);
const NEW_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 3), 51234);
const PRIVATE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10), 5060);

scenario!(another_port, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// The NAT gives the phone another port in mid-call.
fn another_port(scene: &Scene<'_>) -> Result<()> {
    mapping_changes(scene, NEW_PORT)
}

scenario!(another_address, Plan::PLAIN_NAT, without sipnat "INVITE" dies Death::PrivateAddress);

/// The provider gives the router another address in mid-call.
fn another_address(scene: &Scene<'_>) -> Result<()> {
    mapping_changes(scene, NEW_ADDRESS)
}

/// The new mapping is used after the phone's next message that the PBX accepts. A message that arrived before does not
/// bring the old one back, although the PBX answers it later. One that arrives later does if the PBX accepts it.
fn mapping_changes(scene: &Scene<'_>, new: SocketAddrV4) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let site = &scene.lab.sites[0];
    let old = site.phones[0].public;
    let call = Call::from(&phone, &pbx)?;
    call.reaches_phone("INVITE")?;

    phone.ua.send(&call.phone_request("INFO"), PBX)?;
    let late = pbx.hear("INFO")?;
    ensure!(late.source == old, "the late one came from {}", late.source);
    let [refused, accepted] = ["INFO"; 2].map(|method| call.phone_request(method));
    site.remap(0, new)?;
    call.reaches_pbx("UPDATE")?;
    call.reaches_phone("INVITE")?;
    pbx.respond(&late, "200 OK")?;
    call.reaches_phone("INVITE")?;
    ensure!(
        scene.count("dialog_stale")? == 1,
        "the late one was not noticed"
    );

    // The router still has the old address.
    let old_mapping = Ua::start(&site.router, old, SOON)?;
    let says = |request: &Message, answer: &str| {
        old_mapping.send(request, PBX)?;
        pbx.respond(&pbx.hear("INFO")?, answer)
    };
    says(&refused, "500 Server Internal Error")?;
    call.reaches_phone("INVITE")?;
    // Its CSeq is lower than that of the UPDATE: what the PBX accepts is followed, in whatever order it is numbered.
    says(&accepted, "200 OK")?;
    scene.went_to(&call.pbx_sends("INVITE")?, old)
}

scenario!(
    another_port_and_only_registered,
    Plan::PLAIN_NAT,
    without sipnat "INVITE" dies Death::PrivateAddress
);

/// The NAT gives the phone another port in mid-call, and the phone only registers again.
fn another_port_and_only_registered(scene: &Scene<'_>) -> Result<()> {
    registration_goes_on(scene, NEW_PORT)
}

scenario!(
    another_address_and_only_registered,
    Plan::PLAIN_NAT,
    without sipnat "INVITE" dies Death::PrivateAddress
);

/// The provider gives the router another address in mid-call, and the phone only registers again.
fn another_address_and_only_registered(scene: &Scene<'_>) -> Result<()> {
    registration_goes_on(scene, NEW_ADDRESS)
}

/// The phone registers from another address while calls are up. New calls go there, and those that are up follow.
fn registration_goes_on(scene: &Scene<'_>, new: SocketAddrV4) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let uri = phone.registers(&pbx)?;
    let calls = [Call::to(&phone, &pbx, &uri)?, Call::from(&phone, &pbx)?];
    scene.lab.sites[0].remap(0, new)?;
    phone.registers(&pbx)?;

    // Under the Call-ID of the registration before, which nobody else knows.
    Call::to(&phone, &pbx, &uri)?.reaches_phone("BYE")?;
    for call in calls {
        scene.went_to(&call.pbx_sends("MESSAGE")?, new)?;
        phone.ua.hear("MESSAGE")?;
        call.reaches_phone("INVITE")?;
        call.reaches_pbx("UPDATE")?;
        call.reaches_phone("BYE")?;
    }
    Ok(())
}

/// The phone calls, and while it rings its mapping changes and it only registers again. The PBX answers to the source of the
/// INVITE: its 200 goes there first, because that address may be alive, and half a second later to the new one.
#[test]
fn registered_while_it_rings() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let old = scene.lab.phone().public;
        phone.registers(&pbx)?;
        let request = phone.request("INVITE", "sip:2000@203.0.113.10");
        let ringing = |invite: &Heard| pbx.response(invite, "180 Ringing");
        let invite = phone.is_answered(&pbx, &request, 1, ringing)?;
        // Within a round trip, no phone does what comes now.
        thread::sleep(Duration::from_millis(600));
        scene.lab.sites[0].remap(0, NEW_PORT)?;
        phone.registers(&pbx)?;
        let ok = pbx.response(&invite, "200 OK");
        phone
            .ua
            .hears_at("SIP/2.0 200", 2, || pbx.answer(&invite, &ok))?;
        let went = scene.destinations(&ok);
        ensure!(went == [old, NEW_PORT], "it went to {went:?}");
        let call = Call::new(&pbx, &phone, &ok, ["To", "From"], &invite.message)?;
        call.phone_acknowledges()?;
        call.reaches_phone("BYE")
    })
}

/// A REGISTER that arrived before another does not bring the old mapping back, although the PBX accepts it later.
#[test]
fn late_register() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let site = &scene.lab.sites[0];
        let old = site.phones[0].public;
        phone.registers(&pbx)?;
        phone
            .ua
            .send(&phone.register().with("Expires", "60"), PBX)?;
        let late = pbx.hear("REGISTER")?;
        ensure!(late.source == old, "the late one came from {}", late.source);
        let lower = phone.register().with("Expires", "60");
        site.remap(0, NEW_PORT)?;
        phone.registers(&pbx)?;
        scene.went_to(&options(&pbx, &phone)?, NEW_PORT)?;

        let accept = |register: &Heard| {
            let granted = format!("{};expires=60", phone.contact);
            let ok = pbx.response(register, "200 OK").with("Contact", granted);
            pbx.answer(register, &ok)
        };
        accept(&late)?;
        scene
            .went_to(&options(&pbx, &phone)?, NEW_PORT)
            .context("the late one moved the contact")?;
        // One that arrives later does, in whatever order it is numbered: a phone counts from 1 again after a reboot.
        let old_mapping = Ua::start(&site.router, old, SOON)?;
        old_mapping.send(&lower, PBX)?;
        accept(&pbx.hear("REGISTER")?)?;
        scene
            .went_to(&options(&pbx, &phone)?, old)
            .context("the new one did not move it")
    })
}

/// An expired registration is not used any more by the kernel programs, and is removed soon by the agent.
#[test]
fn expiry() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        register(&phone, &pbx, 1)?;
        scene.went_to(&options(&pbx, &phone)?, scene.lab.phone().public)?;
        let deadline = Instant::now() + SOON;
        while !scene.bindings("contact")?.is_empty() {
            ensure!(Instant::now() < deadline, "the contact is still there");
            thread::sleep(Duration::from_millis(50));
        }
        scene.went_to(&options(&pbx, &phone)?, PRIVATE)
    })
}

#[test]
fn bye_of_the_pbx() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        ended_by(scene, |call| call.reaches_phone("BYE"))
    })
}

#[test]
fn bye_of_the_phone() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        ended_by(scene, |call| call.reaches_pbx("BYE"))
    })
}

/// After BYE the dialog end is kept for retransmissions, and only for a while.
fn ended_by(scene: &Scene<'_>, bye: impl FnOnce(&Call<'_>) -> Result<()>) -> Result<()> {
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let call = Call::from(&phone, &pbx)?;
    let seconds = || -> Result<_> { Ok(scene.binding("dialog")?["expires_in_seconds"].as_u64()) };
    let before = seconds()?;
    ensure!(
        before > Some(3600),
        "{before:?} seconds while the call is up"
    );
    bye(&call)?;
    let after = seconds()?;
    ensure!(after <= Some(32), "{after:?} seconds after BYE");
    scene.went_to(&call.pbx_sends("BYE")?, scene.lab.phone().public)
}

/// A binding that the operator removes is gone.
#[test]
fn by_hand() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let uri = phone.registers(&pbx)?;
        let call = Call::to(&phone, &pbx, &uri)?;
        removed(scene, "contact", || options(&pbx, &phone))?;
        removed(scene, "dialog", || call.pbx_sends("UPDATE"))
    })
}

/// The phone's own INVITE of a moment ago is not a new one.
#[test]
fn by_hand_soon_after_the_phone_called() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let call = Call::from(&phone, &pbx)?;
        removed(scene, "dialog", || call.pbx_sends("UPDATE"))
    })
}

/// The only binding of a kind is used until it is removed.
fn removed(scene: &Scene<'_>, kind: &str, send: impl Fn() -> Result<Message>) -> Result<()> {
    scene.went_to(&send()?, scene.lab.phone().public)?;
    let row = scene.binding(kind)?;
    let id = row["id"].as_str().unwrap_or_default();
    scene.sipnat()?.command(&["bindings", "remove", id])?;
    ensure!(
        scene.bindings(kind)?.is_empty(),
        "the {kind} is still there"
    );
    scene.went_to(&send()?, PRIVATE)
}

fn options(pbx: &ScriptedPbx, phone: &Terminal) -> Result<Message> {
    let request = pbx.request("OPTIONS", "sip:1000@192.168.1.10:5060", &phone.aor);
    pbx.send(&request)?;
    Ok(request)
}

/// Registers for this number of seconds.
fn register(phone: &Terminal, pbx: &ScriptedPbx, seconds: u32) -> Result<()> {
    let request = phone.register().with("Expires", seconds.to_string());
    phone.ua.send(&request, PBX)?;
    let request = pbx.hear("REGISTER")?;
    let response = pbx
        .response(&request, "200 OK")
        .with("Contact", format!("{};expires={seconds}", phone.contact));
    pbx.answer(&request, &response)?;
    phone.ua.hear("SIP/2.0 200").map(drop)
}
