//! A refusal is an answer: the next call starts where the last one was refused.

use std::net::SocketAddrV4;

use anyhow::{Result, ensure};
use nat_test_support::{Answers, Plan, ScriptedPbx, Terminal, lab::PUBLIC_PHONE};

use crate::scene::{SOON, With, play};

/// A public phone sends from another port than the one on which it listens.
#[test]
fn by_a_phone_with_two_ports() -> Result<()> {
    const SENDING: SocketAddrV4 = SocketAddrV4::new(*PUBLIC_PHONE.ip(), 40000);
    for status in [
        "486 Busy Here",
        "603 Decline",
        "480 Temporarily Unavailable",
    ] {
        play(Plan::PLAIN_NAT, With::Sipnat, |scene| {
            let pbx = ScriptedPbx::start(&scene.lab.pbx, Answers::ByVia, SOON)?;
            let mut phone = Terminal::start(&scene.lab.public_phone, PUBLIC_PHONE, "1000", SOON)?;
            phone.ua = phone.ua.sending_from(&scene.lab.public_phone, SENDING)?;
            let uri = phone.registers(&pbx)?;
            for call in 1..=4 {
                let invite = pbx.request("INVITE", &uri, &phone.aor);
                pbx.send(&invite)?;
                let went = scene.destination(&invite)?;
                ensure!(went == PUBLIC_PHONE, "{status}: call {call} went to {went}");
                let heard = phone.ua.hear("INVITE")?;
                phone.respond(&heard, status, "phone")?;
                pbx.hear("SIP/2.0")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
