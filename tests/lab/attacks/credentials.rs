//! Somebody forges the address of a public phone, which sends from one port and listens on another, in REGISTERs with
//! credentials that he invents.

use std::{iter, net::SocketAddrV4};

use anyhow::{Context as _, Result};
use nat_test_support::{
    Answers, PBX, Plan, ScriptedPbx, Terminal,
    forge::{Checksum, Forger},
    lab::PUBLIC_PHONE,
    unique::unique,
};

use super::{SENDING, calls, phone_of_two_ports, set};
use crate::scene::{SOON, Scene, With, play};

/// Registers from the phone's address, as if it had got the PBX's challenge there at this transmission. The PBX gives the
/// credentials this status.
fn forges(
    scene: &Scene<'_>,
    pbx: &ScriptedPbx,
    phone: &Terminal,
    challenges: usize,
    status: &str,
) -> Result<()> {
    let forger = Forger::open(&scene.lab.public_phone)?;
    let call = format!("forged-{}", unique());
    let forged = || -> Result<_> {
        let mut register = phone.register().with("Expires", "60");
        set(&mut register, "Call-ID", &call)?;
        Ok(register)
    };
    let challenged = forged()?;
    let with_credentials = forged()?.with("Authorization", "Digest username=\"1000\"");
    let refused = iter::repeat_n((&challenged, "401 Unauthorized"), challenges);
    for (register, status) in refused.chain([(&with_credentials, status)]) {
        forger.send(register, SENDING, PBX, Checksum::Right)?;
        let heard = pbx.hear("REGISTER")?;
        pbx.respond(&heard, status)?;
    }
    Ok(())
}

/// Fails unless the PBX's call goes to this address after the PBX gave invented credentials this status.
fn called_after(status: &str, address: SocketAddrV4) -> Result<()> {
    play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
        let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, SOON)?;
        let phone = phone_of_two_ports(scene, &pbx)?;
        // The second time, the challenge would go there at once.
        for challenges in [2, 1] {
            forges(scene, &pbx, &phone, challenges, status)?;
        }
        scene.went_to(&calls(&pbx, &phone)?, address)
    })
    .with_context(|| status.to_owned())
}

#[test]
fn refused() -> Result<()> {
    called_after("403 Forbidden", PUBLIC_PHONE)?;
    called_after("401 Unauthorized", PUBLIC_PHONE)
}

/// The counterpart: the PBX accepts them, so the phone has got the challenge.
#[test]
fn accepted() -> Result<()> {
    called_after("200 OK", SENDING)
}
