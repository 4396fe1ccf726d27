//! The agent ends or dies in the middle of a call. The kernel programs work on, and the next agent takes them over.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Call, Lab, Plan, Sipnat,
    capture::{Direction, Tap},
};
use nix::sys::signal::Signal;

use crate::scene::{SOON, Scene, With, play_in};

/// Starts an agent that leaves all in place when it ends.
fn start<'a>(scene: &Scene<'a>, args: &[&str]) -> Result<Sipnat<'a>> {
    Sipnat::start(&scene.lab.pbx, &[&["--keep"], args].concat())
}

/// Plays a scenario for each signal by which the agent may end.
fn play(scenario: impl Fn(&Scene<'_>, Signal) -> Result<()>) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let lab = Lab::new(Plan::PLAIN_NAT)?;
        play_in(&lab, With::Nothing, |scene| scenario(scene, signal))
            .with_context(|| signal.as_str())?;
    }
    Ok(())
}

/// A dialog and a contact outlive two agents.
#[test]
fn bindings_stay() -> Result<()> {
    play(|scene, signal| {
        let agent = start(scene, &[])?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let contact = phone.registers(&pbx)?;
        let call = Call::from(&phone, &pbx)?;
        call.reaches_phone("INVITE")?;
        agent.command(&["policy", "set", "198.51.100.0/24", "force"])?;
        agent.end(signal)?;
        call.reaches_phone("INVITE").context("without an agent")?;

        // Another mode of STUN has other tables of its own, which begin empty.
        for args in [&[][..], &["--stun", "--xdp", "native"]] {
            let agent = start(scene, args)?;
            let log = agent.log();
            ensure!(log.contains("tables of the earlier agent"), "{log}");
            ensure!(
                log.contains("BUCKETS begins empty") != args.is_empty(),
                "{log}"
            );
            let rules = agent.command(&["policy", "list"])?;
            ensure!(rules.contains("198.51.100.0/24"), "{rules}");
            call.reaches_phone("INVITE")
                .context("with the next agent")?;
            Call::to(&phone, &pbx, &contact)?.reaches_phone("BYE")?;
            agent.end(signal)?;
        }
        call.reaches_phone("BYE")
    })
}

/// No packet goes without the programs while they are replaced.
#[test]
fn no_packet_is_lost() -> Result<()> {
    play(|scene, signal| {
        let agent = start(scene, &[])?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let call = Call::from(&phone, &pbx)?;
        agent.end(signal)?;
        let mut sent = 0;
        thread::scope(|scope| {
            let starts = scope.spawn(|| start(scene, &[]));
            while !starts.is_finished() {
                call.pbx_sends("INFO")?;
                sent += 1;
                thread::sleep(Duration::from_millis(1));
            }
            starts.join().expect("no panic")?.stop()
        })?;
        ensure!(sent > 100, "only {sent} packets while it started");
        let arrived = || {
            let packets = scene.capture.at(Tap::Phone(0, 0), Direction::In);
            let infos = packets.iter().filter(|p| p.payload.starts_with(b"INFO"));
            infos.count()
        };
        let until = Instant::now() + SOON;
        while arrived() < sent && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        ensure!(arrived() == sent, "{} of {sent} arrived", arrived());
        Ok(())
    })
}
