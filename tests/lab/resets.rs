//! The driver of the PBX's interface makes its queues anew in the middle of a call, as it does after a reset.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Call, Lab, Plan, Sipnat, netns::Netns};
use serde_json::Value;

use crate::scene::{Death, SOON, Scene, With, play, play_in};

/// Commands by which veth makes its queues, its polling or its checksums anew, and [`FLAP`].
const CHANGES: [&str; 9] = [
    "ethtool -L eth0 rx 2 tx 2",
    "ethtool -K eth0 gro off tso off tx off",
    "ip link set eth0 mtu 1400",
    "ip link set eth0 txqueuelen 10",
    "ethtool -L eth0 rx 1 tx 1",
    "ethtool -K eth0 gro on tso on tx on",
    "ip link set eth0 mtu 1500",
    "ethtool -K eth0 rxvlan off",
    FLAP,
];

/// The link goes down and up in quick series.
const FLAP: &str = "link down and up";

/// Number of times that the link goes down and up.
const FLAPS: usize = 20;

fn change(pbx: &Netns, command: &str) -> Result<()> {
    let words: Vec<&str> = command.split(' ').collect();
    pbx.run(Command::new(words[0]).args(&words[1..]), "")
        .map(drop)
}

/// With the link the default route has gone, which somebody sets again.
fn flap(lab: &Lab) -> Result<()> {
    let flaps = "link set eth0 down\nlink set eth0 up\n".repeat(FLAPS);
    lab.pbx.ip(&format!(
        "{flaps}route add default via 203.0.113.1 dev eth0"
    ))?;
    let deadline = Instant::now() + SOON;
    let mut show = Command::new("ip");
    show.args(["-details", "-json", "link", "show", "pbx"]);
    loop {
        let port: Value = serde_json::from_str(&lab.isp.run(&mut show, "")?)?;
        if port[0]["linkinfo"]["info_slave_data"]["state"] == "forwarding" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the link is not up: {port:#}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Fails unless the kernel has the programs of `status` on `eth0`, the status says so, and the agent had nothing to mend.
fn is_attached(pbx: &Netns, agent: &Sipnat<'_>) -> Result<()> {
    let status = agent.json(&["status"])?;
    ensure!(status["interfaces"][0]["attached"] == true, "{status:#}");
    let id = pbx.xdp("eth0")?;
    ensure!(
        id.is_some() && id == status["programs"][0]["id"].as_u64(),
        "{id:?}: {status:#}"
    );
    let log = agent.log();
    ensure!(!log.contains("detached"), "{log}");
    Ok(())
}

/// Waits until the phone has heard all that the PBX has sent so far.
fn wait_for_all(call: &Call<'_>) -> Result<()> {
    call.pbx_sends("MESSAGE")?;
    loop {
        let heard = call.terminal.ua.listen(SOON)?.context("no MESSAGE")?;
        if heard.message.start.starts_with("MESSAGE") {
            return Ok(());
        }
    }
}

/// A phone calls before all changes. After each, that call and a new one go on.
fn calls_go_on(scene: &Scene<'_>) -> Result<()> {
    let lab = scene.lab;
    let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
    let call = Call::from(&phone, &pbx)?;
    call.reaches_phone("INVITE")?;
    for name in CHANGES {
        thread::scope(|scope| {
            let changes = scope.spawn(|| match name {
                FLAP => flap(lab),
                command => change(&lab.pbx, command),
            });
            while !changes.is_finished() {
                // Without a link it cannot be sent, and in a reset it may be lost.
                let _lost = call.pbx_sends("INFO");
                phone.ua.forget()?;
                thread::sleep(Duration::from_millis(1));
            }
            changes.join().expect("no panic")
        })
        .context(name)?;
        let goes_on = || {
            wait_for_all(&call)?;
            is_attached(&lab.pbx, scene.sipnat()?)?;
            call.reaches_phone("INVITE")?;
            Call::from(&phone, &pbx)?.reaches_phone("BYE")
        };
        goes_on().with_context(|| format!("after `{name}`"))?;
    }
    let infos = scene.sent_by_pbx("INFO");
    ensure!(infos.len() > CHANGES.len(), "{} INFOs", infos.len());
    for packet in infos {
        let went = packet.destination;
        ensure!(went == lab.phone().public, "an INFO went to {went}");
    }
    Ok(())
}

#[test]
fn calls_outlive_each_reset() -> Result<()> {
    let lab = Lab::new(Plan::SLIDE)?;
    for arguments in [
        &[][..],
        &["--clsact"],
        &["--xdp", "generic"],
        &["--xdp", "native", "--stun", "--media"],
    ] {
        play_in(&lab, With::Arguments(arguments), calls_go_on)
            .with_context(|| format!("{arguments:?}"))?;
    }
    Ok(())
}

#[test]
fn without_sipnat_none_does() -> Result<()> {
    play(Plan::SLIDE, With::Nothing, |scene| {
        scene.must_fail(calls_go_on, "INVITE", Death::Port5060)
    })
}
