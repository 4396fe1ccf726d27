//! Another socket of the PBX's host, of another user: it accepts what the attacker sends in the victim's name.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use anyhow::{Context as _, Result};
use nat_test_support::{
    Answers, Call, Lab, PBX, Plan, ScriptedPbx,
    sip::{Message, address, uri},
    ua::{Heard, Ua},
};

use super::{ATTACKER, acceptance, attacker, reaches, set, via};
use crate::scene::{SOON, Scene, With, play_in};

/// A second address of the host.
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);

const PORTS: With = With::Arguments(&["--port", "5060", "--port", "5080"]);

/// Plays a scenario in which the PBX's host has two addresses.
fn with_two_addresses(with: With, scenario: impl FnOnce(&Scene<'_>) -> Result<()>) -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    lab.pbx.ip(&format!("addr add {SECOND}/24 dev eth0"))?;
    play_in(&lab, with, scenario)
}

/// A socket of another user accepts requests of the attacker. Fails if that moves the victim.
fn accepted_by(scene: &Scene<'_>, socket: SocketAddrV4) -> Result<()> {
    accepted_beside(&scene.pbx()?, scene, socket)
}

fn accepted_beside(pbx: &ScriptedPbx, scene: &Scene<'_>, socket: SocketAddrV4) -> Result<()> {
    let victim = scene.terminal(0, 0, "1000")?;
    let nobody = Ua::start(&scene.lab.pbx, socket, SOON)?;
    let attacker = attacker(scene)?;
    victim.registers(pbx)?;
    let call = Call::from(&victim, pbx)?;
    let mut invite = call.phone_request("INVITE");
    set(&mut invite, "To", "<sip:2000@203.0.113.10>")?;
    for mut request in [
        victim.register().with("Expires", "3600"),
        victim.register().with("Expires", "0"),
        invite,
        call.phone_request("INVITE"),
        call.phone_request("UPDATE"),
        call.phone_request("BYE"),
    ] {
        set(&mut request, "Via", via(ATTACKER))?;
        attacker.send(&request, socket)?;
        let heard = nobody.hear(request.method())?;
        nobody.send(&answer(&call, &heard)?, ATTACKER)?;
        attacker.hear("SIP/2.0 200")?;
        reaches(scene, &call, scene.lab.phone().public).with_context(|| request.start.clone())?;
    }
    Ok(())
}

/// Returns a 200 to a request, with the tags of the call.
fn answer(call: &Call<'_>, request: &Heard) -> Result<Message> {
    let mut response = acceptance(request);
    if request.message.method() == "INVITE" {
        set(&mut response, "To", &call.pbx_party)?;
    }
    Ok(response)
}

#[test]
fn of_another_address() -> Result<()> {
    with_two_addresses(With::Sipnat, |scene| {
        accepted_by(scene, SocketAddrV4::new(SECOND, 5060))
    })
}

#[test]
fn of_another_port() -> Result<()> {
    with_two_addresses(PORTS, |scene| {
        accepted_by(scene, SocketAddrV4::new(*PBX.ip(), 5080))
    })
}

/// The other user also holds the port of all IPv6 addresses: the PBX's socket does not become one of all addresses.
#[test]
fn of_another_address_and_all_ipv6() -> Result<()> {
    let lab = with_ipv6()?;
    let pbx = ScriptedPbx::start(&lab.pbx, Answers::ToSource, SOON)?;
    let _all = lab.pbx.udp(ALL_IPV6)?;
    play_in(&lab, With::Sipnat, |scene| {
        accepted_beside(&pbx, scene, SocketAddrV4::new(SECOND, 5060))
    })
}

const ALL_IPV6: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 5060, 0, 0);

/// Returns a lab in which sockets of all IPv6 addresses are none of all IPv4 addresses.
fn with_ipv6() -> Result<Lab> {
    let lab = Lab::new(Plan {
        ipv6: true,
        ..Plan::PLAIN_NAT
    })?;
    lab.pbx.ip(&format!("addr add {SECOND}/24 dev eth0"))?;
    lab.pbx.sysctl("ipv6/bindv6only", "1")?;
    Ok(lab)
}

/// The counterpart: the PBX's socket is bound to no address. It is the same PBX, whatever its address.
#[test]
fn of_the_pbx_itself() -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    lab.pbx.ip(&format!("addr add {SECOND}/24 dev eth0"))?;
    let all = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5060);
    let pbx = Ua::start(&lab.pbx, all, SOON)?;
    play_in(&lab, With::Sipnat, |scene| {
        let victim = scene.terminal(0, 0, "1000")?;
        let register = victim.register().with("Expires", "60");
        victim.ua.send(&register, SocketAddrV4::new(SECOND, 5060))?;
        let heard = pbx.hear("REGISTER")?;
        pbx.send(&acceptance(&heard), heard.source)?;
        // The kernel gives the answer the host's first address, and the call as well.
        let invite = pbx
            .request("INVITE", uri(&victim.contact), 1)
            .with("From", "<sip:2000@203.0.113.10>;tag=pbx")
            .with("To", format!("<{}>", victim.aor))
            .with("Call-ID", "call@203.0.113.10");
        pbx.send(&invite, address(uri(&victim.contact))?)?;
        scene.went_to(&invite, scene.lab.phone().public)
    })
}
