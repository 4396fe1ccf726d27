//! An account registers the number and the address of a trunk.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Lab, PBX, Plan, ScriptedPbx, Terminal, ua::Ua};

use super::{ATTACKER, acceptance, account, field, set, transmissions};
use crate::scene::{SOON, Scene, With, play, play_in};

/// Private address of a trunk.
const TRUNK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 5060);
/// Transmissions of an INVITE (RFC 3261 17.1.1.2).
const ALL: usize = 7;

fn number_at(trunk: SocketAddrV4) -> String {
    format!("sip:+4930123456@{}", trunk.ip())
}

/// The PBX calls over the trunk, which does not answer, and has the trunk's URI in To. Fails unless every transmission
/// goes there.
fn call_stays(scene: &Scene<'_>, pbx: &ScriptedPbx, trunk: SocketAddrV4) -> Result<()> {
    let uri = number_at(trunk);
    let invite = pbx.request("INVITE", &uri, &uri);
    for went in transmissions(scene, pbx, &invite, ALL)? {
        ensure!(went == trunk, "a call over the trunk went to {went}");
    }
    Ok(())
}

/// An account registers the trunk's number as its Contact, for its own address-of-record.
fn own_record(scene: &Scene<'_>, pbx: &ScriptedPbx, trunk: SocketAddrV4) -> Result<Terminal> {
    let phone = account(scene, &format!("<{}>", number_at(trunk)))?;
    phone.registers(pbx)?;
    Ok(phone)
}

/// An account registers the trunk's address, with a user of its own.
fn own_user(scene: &Scene<'_>, pbx: &ScriptedPbx, trunk: SocketAddrV4) -> Result<Terminal> {
    let phone = account(scene, &format!("<sip:6666@{trunk}>"))?;
    phone.registers(pbx)?;
    Ok(phone)
}

/// The same for the trunk's URI as address-of-record: the PBX looks only at the password.
fn trunks_record(scene: &Scene<'_>, pbx: &ScriptedPbx, trunk: SocketAddrV4) -> Result<Terminal> {
    let phone = account(scene, &format!("<{}>", number_at(trunk)))?;
    let mut register = phone.register().with("Expires", "3600");
    set(&mut register, "To", format!("<{}>", number_at(trunk)))?;
    phone.ua.send(&register, PBX)?;
    let heard = pbx.hear("REGISTER")?;
    pbx.answer(&heard, &acceptance(&heard))?;
    phone.ua.hear("SIP/2.0 200")?;
    Ok(phone)
}

#[test]
fn elsewhere() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let pbx = scene.pbx()?;
        own_record(scene, &pbx, TRUNK)?;
        call_stays(scene, &pbx, TRUNK)
    })
}

/// An hour later it still counts that the PBX reaches the trunk by an address or a route of its own.
#[test]
fn on_the_pbxs_own_subnet_or_routed() -> Result<()> {
    for network in NETWORKS {
        let lab = Lab::new(Plan::PLAIN_NAT)?;
        lab.pbx.ip(network)?;
        lab.neighbour.ip("addr add 10.0.0.5/24 dev eth0")?;
        play_in(&lab, SETTLED, |scene| {
            let pbx = scene.pbx()?;
            own_record(scene, &pbx, TRUNK)?;
            own_user(scene, &pbx, TRUNK)?;
            call_stays(scene, &pbx, TRUNK)
        })
        .context(network)?;
    }
    Ok(())
}

/// Ways to the trunk other than the default route.
const NETWORKS: [&str; 2] = [
    "addr add 10.0.0.1/24 dev eth0",
    "route add 10.0.0.0/8 via 203.0.113.2",
];
/// An hour after the start.
const SETTLED: With = With::Arguments(&["--settle", "0"]);

/// An hour later it still counts that the user named the trunk.
#[test]
fn of_a_peer() -> Result<()> {
    let with = With::Arguments(&["--settle", "0", "--peer", "10.0.0.0/8"]);
    play(Plan::PLAIN_NAT, with, |scene| {
        let pbx = scene.pbx()?;
        own_record(scene, &pbx, TRUNK)?;
        call_stays(scene, &pbx, TRUNK)
    })
}

/// An hour later it still counts that the trunk has answered within a day, before the account registered or after. Only the
/// default route leads to the trunk: the provider has a VPN to it.
#[test]
fn that_has_answered() -> Result<()> {
    for registers_first in [false, true] {
        play(Plan::PLAIN_NAT, SETTLED, |scene| {
            let (pbx, trunk) = (scene.pbx()?, behind_the_provider(scene)?);
            if registers_first {
                own_record(scene, &pbx, TRUNK)?;
            }
            answers(&pbx, &trunk)?;
            if !registers_first {
                own_user(scene, &pbx, TRUNK)?;
            }
            call_stays(scene, &pbx, TRUNK)
        })?;
    }
    Ok(())
}

/// The trunk is in the provider's own network.
fn behind_the_provider(scene: &Scene<'_>) -> Result<Ua> {
    scene.lab.add_private_host(*TRUNK.ip())?;
    Ua::start(&scene.lab.isp, TRUNK, SOON)
}

/// The account registers the trunk's URI as its address-of-record, too: this PBX looks only at the password.
#[test]
fn as_address_of_record() -> Result<()> {
    for network in ["", NETWORKS[0], NETWORKS[1]] {
        let lab = Lab::new(Plan::PLAIN_NAT)?;
        lab.pbx.ip(network)?;
        lab.neighbour.ip("addr add 10.0.0.5/24 dev eth0")?;
        play_in(&lab, With::Sipnat, |scene| {
            let pbx = scene.pbx()?;
            trunks_record(scene, &pbx, TRUNK)?;
            call_stays(scene, &pbx, TRUNK)
        })
        .context(network)?;
    }
    Ok(())
}

/// The PBX calls over the trunk, which answers.
fn answers(pbx: &ScriptedPbx, trunk: &Ua) -> Result<()> {
    let uri = number_at(TRUNK);
    pbx.send(&pbx.request("INVITE", &uri, &uri))?;
    let heard = trunk.hear("INVITE")?;
    trunk.send(&acceptance(&heard), PBX)?;
    pbx.hear("SIP/2.0 200").map(drop)
}

/// The counterpart: the account's own phone, by its own address-of-record, whatever address it advertises.
#[test]
fn the_accounts_own_calls() -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let pbx = scene.pbx()?;
        let phone = own_record(scene, &pbx, TRUNK)?;
        let invite = super::calls(&pbx, &phone)?;
        scene.went_to(&invite, ATTACKER)?;
        let heard = phone.ua.hear("INVITE")?.message;
        ensure!(
            field(&heard, "To")? == format!("<{}>", phone.aor),
            "of another"
        );
        Ok(())
    })
}
