//! A terminal whose Contact is another public host than the source of its packets: a front address, a carrier, a cluster.
//! It needs no sipnat, and is as fast with it as without.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Call, Plan, ScriptedPbx, Terminal, lab::PUBLIC_PHONE, sip::address,
};

use crate::scene::{OVERDUE, Scene, With, play};

/// Host to which its Contact points.
const FRONT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 8), 5060);

/// Host that answers what is sent to the front.
#[derive(Debug, Clone, Copy)]
enum Answerer {
    /// The front.
    Front,
    /// The host from which the requests come, too.
    Source,
}

/// Plays a scenario with each kind of terminal and each kind of PBX.
fn each(
    with: With,
    scenario: fn(&Scene<'_>, &ScriptedPbx, &mut Terminal) -> Result<()>,
) -> Result<()> {
    for answerer in [Answerer::Front, Answerer::Source] {
        for answers in [Answers::ByVia, Answers::ToSource] {
            play(Plan::PLAIN_NAT, with, |scene| {
                let netns = &scene.lab.public_phone;
                netns.ip(&format!("addr add {}/24 dev eth0", FRONT.ip()))?;
                let pbx = ScriptedPbx::start(&scene.lab.pbx, answers, scene.patience())?;
                let mut terminal = Terminal::start(netns, FRONT, "1000", scene.patience())?;
                let ua = terminal.ua.sending_from(netns, PUBLIC_PHONE)?;
                let ua = ua.listening_for_responses();
                terminal.ua = match answerer {
                    Answerer::Front => ua.answering_where_it_listens(),
                    Answerer::Source => ua,
                };
                scenario(scene, &pbx, &mut terminal)
                    .and_then(|()| untouched(scene, &terminal))
                    .with_context(|| format!("{answerer:?} answers, {answers:?}"))
            })?;
        }
    }
    Ok(())
}

fn untouched(scene: &Scene<'_>, terminal: &Terminal) -> Result<()> {
    terminal.ua.heard_all()?;
    if scene.sipnat.is_some() {
        for counter in ["response", "dialog", "contact", "invite"] {
            let redirected = scene.count(&format!("out_redirected_{counter}"))?;
            ensure!(redirected == 0, "{redirected} redirected by {counter}");
        }
    }
    Ok(())
}

#[test]
fn calling_without_sipnat() -> Result<()> {
    each(With::Nothing, calling)
}

#[test]
fn calling_with_sipnat() -> Result<()> {
    each(With::Sipnat, calling)
}

/// It calls, and does not register.
fn calling(_: &Scene<'_>, pbx: &ScriptedPbx, terminal: &mut Terminal) -> Result<()> {
    for _ in 0..2 {
        let call = Call::from(terminal, pbx)?;
        ensure!(address(&call.target)? == FRONT, "{}", call.target);
        talks(&call)?;
    }
    Ok(())
}

#[test]
fn calling_for_many_without_sipnat() -> Result<()> {
    each(With::Nothing, calling_for_many)
}

#[test]
fn calling_for_many_with_sipnat() -> Result<()> {
    each(With::Sipnat, calling_for_many)
}

/// It calls for many callers, each under a name of its own, and answers slowly, or its first answer is lost: the PBX repeats its
/// requests. That is so before anything is proven, too.
fn calling_for_many(_: &Scene<'_>, pbx: &ScriptedPbx, terminal: &mut Terminal) -> Result<()> {
    for caller in ["+4930", "+4940", "+4989"] {
        terminal.aor = format!("sip:{caller}@{}", FRONT.ip());
        let call = Call::from(terminal, pbx)?;
        for method in ["UPDATE", "BYE"] {
            let request = call.pbx_request(method);
            let arrives = || pbx.reaches(&terminal.ua, &request, 1);
            arrives().with_context(|| format!("{method} of {caller}"))?;
            let again = arrives().with_context(|| format!("{method} of {caller}, again"))?;
            terminal.respond(&again, "200 OK", "")?;
            pbx.hear("SIP/2.0 200")?;
        }
    }
    Ok(())
}

#[test]
fn called_without_sipnat() -> Result<()> {
    each(With::Nothing, called)
}

#[test]
fn called_with_sipnat() -> Result<()> {
    each(With::Sipnat, called)
}

/// It registers, is called, and calls.
fn called(_: &Scene<'_>, pbx: &ScriptedPbx, terminal: &mut Terminal) -> Result<()> {
    let uri = terminal.registers(pbx)?;
    for to in [&terminal.aor, &uri] {
        let options = pbx.reaches(&terminal.ua, &pbx.request("OPTIONS", &uri, to), 1)?;
        terminal.respond(&options, "200 OK", "options")?;
        pbx.hear("SIP/2.0 200")?;
        thread::sleep(OVERDUE);
    }
    for _ in 0..2 {
        talks(&Call::to(terminal, pbx, &uri)?)?;
        talks(&Call::from(terminal, pbx)?)?;
        terminal.registers(pbx)?;
    }
    Ok(())
}

#[test]
fn called_and_not_registered_without_sipnat() -> Result<()> {
    each(With::Nothing, called_by_configuration)
}

#[test]
fn called_and_not_registered_with_sipnat() -> Result<()> {
    each(With::Sipnat, called_by_configuration)
}

/// The PBX has its address by configuration, and calls it.
fn called_by_configuration(
    _: &Scene<'_>,
    pbx: &ScriptedPbx,
    terminal: &mut Terminal,
) -> Result<()> {
    for _ in 0..2 {
        talks(&Call::to(terminal, pbx, &format!("sip:+4930@{FRONT}"))?)?;
    }
    Ok(())
}

/// Requests of both sides arrive at their first transmission, and the ACKs of the PBX, too. That is so after a pause as well:
/// an answer that did not count would be overdue, and the next request would go to the other host.
fn talks(call: &Call<'_>) -> Result<()> {
    for method in ["INVITE", "UPDATE", "INVITE"] {
        call.reaches_phone(method)?;
        call.reaches_pbx(method)?;
    }
    thread::sleep(OVERDUE);
    call.reaches_phone("BYE")
}
