//! The slide: the ALG removes the port, and the re-INVITE is lost.

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Plan, StrictPbx,
    sipp::{Scenario, Sipp},
};

use crate::scene::{Death, SOON, Scene, scenario};

scenario!(re_invite, Plan::default(), without sipnat "INVITE" dies Death::Port5060);

/// The phone calls; the PBX changes the session and hangs up.
fn re_invite(scene: &Scene<'_>) -> Result<()> {
    let pbx = StrictPbx::start(&scene.lab.pbx, Answers::ToSource)?;
    let phone = scene.lab.phone();
    let mut sipp = Sipp::start(phone, "1000", Scenario::Call)?;
    let call = pbx.call(SOON)?;

    pbx.request(&call, "INVITE")?;
    shown_in_bindings(scene)?;
    pbx.request(&call, "BYE")?;
    sipp.finish(SOON)?;

    at_the_first_transmission(scene)?;
    for start in ["INVITE", "ACK", "BYE"] {
        for packet in scene.sent_by_pbx(start) {
            ensure!(
                packet.destination == phone.public,
                "{start} went to {}",
                packet.destination
            );
            let text = String::from_utf8_lossy(&packet.payload);
            ensure!(
                text.contains("sip:1000@60.17.196.2 SIP/2.0"),
                "the text has changed: {text}"
            );
        }
    }
    let dropped = scene.lab.dropped()?;
    ensure!(dropped.port_5060 == 0, "the ISP still drops: {dropped:?}");
    Ok(())
}

/// The phone's ACK proved that it is reached at its learned address: no transmission goes anywhere else.
fn at_the_first_transmission(scene: &Scene<'_>) -> Result<()> {
    ensure!(scene.count("dialog_proven")? == 1, "the ACK proved nothing");
    for other in ["out_original_first", "out_unanswered", "out_left_alone"] {
        ensure!(scene.count(other)? == 0, "{other}");
    }
    for start in ["INVITE", "ACK", "BYE"] {
        let packets = scene.sent_by_pbx(start);
        let first = packets.first().with_context(|| format!("no {start}"))?;
        ensure!(
            first.destination == scene.lab.phone().public,
            "the first {start} went to {}",
            first.destination
        );
    }
    Ok(())
}

fn shown_in_bindings(scene: &Scene<'_>) -> Result<()> {
    let sipnat = scene.sipnat.as_ref().context("only sipnat gets here")?;
    let listing = sipnat.json(&["bindings", "list"])?;
    let rows = listing["bindings"]
        .as_array()
        .context("bindings: no array")?;
    let dialog = rows
        .iter()
        .find(|row| row["kind"] == "dialog" && row["state"] == "active");
    let dialog = dialog.with_context(|| format!("no active dialog in {listing:#}"))?;
    let expected = [
        ("terminal", "1000@203.0.113.10"),
        ("advertised", "60.17.196.2:5060"),
        ("learned", "60.17.196.2:49163"),
    ];
    for (key, value) in expected {
        ensure!(
            dialog[key] == value,
            "{key} is {}, not {value}",
            dialog[key]
        );
    }
    // The re-INVITE and its ACK.
    ensure!(
        dialog["redirected"] == 2,
        "redirected is {}",
        dialog["redirected"]
    );
    let table = sipnat.command(&["bindings", "list"])?;
    ensure!(
        table.contains("60.17.196.2:49163"),
        "bindings list shows no learned address:\n{table}"
    );
    Ok(())
}
