//! Somebody forges the source of a call, which the PBX answers: the address on which a public phone listens, which sends from
//! another port.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result};
use nat_test_support::{
    Answers, Call, PBX, Plan, ScriptedPbx,
    forge::{Checksum, Forger},
    lab::PUBLIC_PHONE,
};

use super::{SENDING, calls, phone_of_two_ports, set};
use crate::scene::{SOON, With, play};

/// Fails unless the PBX's call to the phone goes to this address, after the PBX gave a forged call this status. If the call is
/// `acknowledged`, the caller has heard that, and is there.
fn called_after(status: &str, acknowledged: bool, address: SocketAddrV4) -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let netns = &scene.lab.public_phone;
        let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, SOON)?;
        let phone = phone_of_two_ports(scene, &pbx)?;

        let forger = Forger::open(netns)?;
        let mut invite = phone.request("INVITE", "sip:2000@203.0.113.10");
        set(&mut invite, "From", "<sip:6666@203.0.113.10>;tag=forged")?;
        forger.send(&invite, PUBLIC_PHONE, PBX, Checksum::Right)?;
        let heard = pbx.hear("INVITE")?;
        let answer = pbx.response(&heard, status);
        pbx.answer(&heard, &answer)?;
        let call = Call::new(&pbx, &phone, &answer, ["To", "From"], &invite)?;
        if acknowledged {
            forger.send(
                &call.phone_request("ACK"),
                PUBLIC_PHONE,
                PBX,
                Checksum::Right,
            )?;
            pbx.hear("ACK")?;
        }
        scene.went_to(&calls(&pbx, &phone)?, address)
    })
    .with_context(|| status.to_owned())
}

#[test]
fn answered() -> Result<()> {
    called_after("180 Ringing", false, PUBLIC_PHONE)?;
    called_after("200 OK", false, PUBLIC_PHONE)
}

/// The counterpart: another terminal calls from there, and hears the answer.
#[test]
fn acknowledged() -> Result<()> {
    called_after("200 OK", true, SENDING)
}
