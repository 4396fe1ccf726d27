//! Phones: with STUN they need no redirect, and their keepalives are answered.

use std::{
    collections::HashSet,
    net::SocketAddrV4,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nat_test_support::{
    Answers, PBX, ScriptedPbx, StrictPbx,
    baresip::Baresip,
    capture::{Direction, Tap},
    stun::{mapped, transaction},
    twinkle::Twinkle,
};

use super::{PLAN, STUN, STUN_PORT, TRANSIT};
use crate::scene::{Death, SOON, Scene, With, play};

const AOR: &str = "sip:1000@203.0.113.10";

/// Time until Twinkle registers: it first finds out the kind of its NAT, which takes some seconds.
const TWINKLE_REGISTERS: Duration = Duration::from_secs(15);

/// Time until Twinkle gives up: it waits 9.5 s for its STUN server at the start, and again when it registers.
const TWINKLE_GIVES_UP: Duration = Duration::from_secs(25);

/// Time until the client of a keepalive gives up, by the timers of RFC 8489 6.2.1.
const CLIENT_GIVES_UP: Duration = Duration::from_secs(45);

/// Time after which sipnat misses a keepalive that came every second, and half as long again.
const SILENCE: Duration = Duration::from_secs(12);

/// A phone that uses STUN registers its mapped address, is called there, and gets its re-INVITE, without a redirect.
#[test]
fn phone_with_stun_needs_no_redirect() -> Result<()> {
    for server in [STUN_PORT, PBX] {
        play(PLAN, STUN, |scene| {
            registers_and_is_called(scene, Some(server))?;
            for counter in ["response", "dialog", "contact", "invite"] {
                let redirected = scene.count(&format!("out_redirected_{counter}"))?;
                ensure!(redirected == 0, "{redirected} redirected by {counter}");
            }
            ensure!(scene.count("out_already_there")? > 0, "nothing went there");
            ensure!(scene.count("stun_answered")? > 0, "nothing was asked");
            ensure!(
                scene.count("stun_refused")? > 0,
                "it asked for no other address"
            );
            Ok(())
        })?;
    }
    Ok(())
}

/// The same phone without a STUN server registers a private address.
#[test]
fn phone_without_stun_is_lost() -> Result<()> {
    play(PLAN, With::Nothing, |scene| {
        scene.must_fail(
            |scene| registers_and_is_called(scene, None),
            "INVITE",
            Death::PrivateAddress,
        )
    })
}

/// The same phone, while sipnat does not answer STUN: it reports that, and does not register.
#[test]
fn phone_gets_no_answer_if_stun_is_off() -> Result<()> {
    play(PLAN, With::Sipnat, |scene| {
        let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
        let mut phone = Twinkle::start(scene.lab.phone(), "1000", Some(PBX))?;
        phone.wait_for("registration failed: STUN failure", TWINKLE_GIVES_UP)?;
        ensure!(
            pbx.registered(AOR, Duration::ZERO).is_err(),
            "it registered"
        );
        ensure!(scene.count("in_stun")? > 0, "it asked nothing");
        Ok(())
    })
}

/// The phone registers; the PBX calls it, holds the call and hangs up.
fn registers_and_is_called(scene: &Scene<'_>, stun: Option<SocketAddrV4>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let phone = scene.lab.phone();
    let mut twinkle = Twinkle::start(phone, "1000", stun)?;
    twinkle.wait_ready(TWINKLE_REGISTERS)?;
    let contact = pbx.registered(AOR, Duration::ZERO)?;
    let expected = match stun {
        Some(_) => phone.public.to_string(),
        None => phone.private.ip().to_string(),
    };
    ensure!(
        contact.starts_with(&format!("sip:1000@{expected}")),
        "it registered {contact}"
    );
    let call = pbx.answered(&pbx.invite(AOR)?)?;
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    Ok(())
}

/// A phone that keeps its flow alive (RFC 5626 4.4.2) accepts the answers, and the PBX gets no keepalive.
#[test]
fn keepalives() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let pbx = scene.pbx()?;
        let phone = Baresip::start_outbound(scene.lab.phone(), "1000")?;
        grant_outbound(&pbx)?;
        told(scene, scene.lab.phone().public, 3)?;
        ensure!(!phone.output().contains("Register:"), "{}", phone.output());
        pbx.ua.heard_all()
    })
}

/// Without answers the phone gives up its flow.
#[test]
fn keepalives_without_answers() -> Result<()> {
    play(PLAN, With::Sipnat, |scene| {
        let pbx = scene.pbx()?;
        let mut phone = Baresip::start_outbound(scene.lab.phone(), "1000")?;
        grant_outbound(&pbx)?;
        phone.wait_for("Register: Connection timed out", CLIENT_GIVES_UP)
    })
}

/// The NAT gives the phone another port between two keepalives. The phone learns of it, and sipnat's operator can see
/// it. The binding does not change, because STUN proves no identity.
#[test]
fn mapping_changes_between_keepalives() -> Result<()> {
    play(PLAN, STUN, |scene| {
        let pbx = scene.pbx()?;
        let site = &scene.lab.sites[0];
        let old = site.phones[0].public;
        let new = SocketAddrV4::new(*old.ip(), 51234);
        let mut phone = Baresip::start_outbound(&site.phones[0], "1000")?;
        grant_outbound(&pbx)?;
        // After this number of keepalives sipnat knows their interval.
        told(scene, old, 5)?;
        site.remap(0, new)?;
        told(scene, new, 1)?;
        phone.wait_for("Register: Transport endpoint is not connected", SOON)?;
        let deadline = Instant::now() + SILENCE;
        loop {
            let binding = scene.binding("contact")?;
            ensure!(binding["learned"] == old.to_string(), "{binding:#}");
            if binding["moved_to"] == new.to_string() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "not seen to have moved: {binding:#}"
            );
            thread::sleep(TRANSIT);
        }
    })
}

/// The next message to the PBX is a REGISTER that asks for `outbound`. The answer grants it, with a keepalive every
/// second.
fn grant_outbound(pbx: &ScriptedPbx) -> Result<()> {
    let register = pbx.hear("REGISTER")?;
    let field = |name| register.message.field(name).unwrap_or_default();
    let contact = field("Contact");
    ensure!(
        contact.contains(";+sip.instance=") && contact.contains(";reg-id=1"),
        "{contact}"
    );
    ensure!(
        field("Supported").contains("outbound"),
        "{}",
        register.message
    );
    let granted = pbx
        .response(&register, "200 OK")
        .with("Contact", contact)
        .with("Require", "outbound")
        .with("Flow-Timer", "1");
    pbx.answer(&register, &granted)
}

/// Waits until the phone has got this mapped address in answer to `times` requests.
fn told(scene: &Scene<'_>, address: SocketAddrV4, times: usize) -> Result<()> {
    let deadline = Instant::now() + 2 * SOON;
    loop {
        let told = scene.capture.at(Tap::Phone(0, 0), Direction::In);
        let told: HashSet<_> = told
            .iter()
            .filter(|packet| {
                packet.source == PBX && mapped(&packet.payload) == Some(address.into())
            })
            .filter_map(|packet| transaction(&packet.payload))
            .collect();
        if told.len() >= times {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "told {address} {} times, not {times}",
            told.len()
        );
        thread::sleep(TRANSIT / 4);
    }
}
