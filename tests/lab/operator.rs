//! Output for the operator of a PBX: about one call, a trial run, and terminals that sipnat cannot help.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Alg, Answers, Lab, PBX, Plan, Sipnat, StrictPbx,
    pbx::Dialog,
    sipnat,
    sipp::{Scenario, Sipp},
    ua::Ua,
};
use serde_json::Value;

use crate::scene::{SOON, With, play_in};

/// A phone calls, and the call is established.
fn call(lab: &Lab) -> Result<(StrictPbx, Sipp, Dialog)> {
    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let sipp = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    let dialog = pbx.call(SOON)?;
    Ok((pbx, sipp, dialog))
}

fn list<'v>(value: &'v Value, key: &str) -> Result<&'v Vec<Value>> {
    value[key]
        .as_array()
        .with_context(|| format!("no {key} in {value:#}"))
}

fn names(packet: &Value) -> Vec<&str> {
    let events = packet["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["name"].as_str()).collect()
}

#[test]
fn a_call_is_explained() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &["--keep"])?;
    let (pbx, mut sipp, dialog) = call(&lab)?;
    pbx.request(&dialog, "INVITE")?;
    pbx.request(&dialog, "BYE")?;
    sipp.finish(SOON)?;

    let id = dialog.call_id.as_str();
    let story = agent.json(&["explain", id])?;
    let packets = list(&story, "packets")?;
    let told: Vec<(&str, &str, Option<u64>, &str)> = packets
        .iter()
        .map(|packet| {
            let text = |key: &str| packet[key].as_str().unwrap_or_default();
            (
                text("from"),
                text("method"),
                packet["status"].as_u64(),
                text("verdict"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            // To the source of the request, as the PBX itself sends it.
            ("pbx", "INVITE", Some(180), "out_already_there"),
            ("pbx", "INVITE", Some(200), "out_already_there"),
            ("pbx", "INVITE", None, "out_redirected_dialog"),
            ("terminal", "INVITE", Some(200), "in_response"),
            ("pbx", "ACK", None, "out_redirected_dialog"),
            ("pbx", "BYE", None, "out_redirected_dialog"),
            ("terminal", "BYE", Some(200), "in_response"),
        ],
        "{story:#}"
    );
    assert_eq!(names(&packets[0]), ["dialog_activated"]);
    assert!(names(&packets[6]).contains(&"dialog_ended"), "{story:#}");
    for packet in packets {
        assert_eq!(packet["learned"], "60.17.196.2:49163", "{packet:#}");
    }
    assert_eq!(packets[2]["meant"], "60.17.196.2:5060");
    let bindings = list(&story, "bindings")?;
    assert_eq!(bindings.len(), 1);
    assert_eq!(packets[2]["binding"], bindings[0]["id"]);

    let text = agent.command(&["explain", id])?;
    for words in [
        "200 (INVITE)",
        "in-dialog request, redirected by dialog end",
        "dialog end: became active",
        "active (ended)",
    ] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    println!("{text}");

    // The pins are enough.
    agent.stop()?;
    let later = sipnat::command(&lab.pbx, &["explain", id])?;
    assert!(later.contains("redirected by dialog end"), "{later}");
    let unknown = sipnat::command(&lab.pbx, &["explain", &id[1..]]);
    let error = unknown
        .err()
        .context("it knew another Call-ID")?
        .to_string();
    for words in ["exit status: 1", "nothing is known of", "sipnat stats"] {
        assert!(error.contains(words), "{error}");
    }
    sipnat::command(&lab.pbx, &["detach"])?;
    Ok(())
}

/// Without a Call-ID: what the PBX sent to an address, and the last requests that were not redirected.
#[test]
fn an_address_and_the_last_requests_are_explained() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 99), 5060);
    let ua = Ua::start(&lab.pbx, PBX, SOON)?;
    let options = ua
        .request("OPTIONS", "sip:9999@198.51.100.99", 1)
        .with("From", "<sip:pbx@203.0.113.10>;tag=1")
        .with("To", "<sip:9999@198.51.100.99>")
        .with("Call-ID", "1@203.0.113.10");
    ua.send(&options, elsewhere)?;
    drop(ua);
    let (pbx, mut sipp, dialog) = call(&lab)?;
    pbx.request(&dialog, "INVITE")?;
    pbx.request(&dialog, "BYE")?;
    sipp.finish(SOON)?;

    let last = agent.json(&["explain", "--last", "5"])?;
    let packets = list(&last, "packets")?;
    assert_eq!(packets.len(), 1, "{last:#}");
    assert_eq!(packets[0]["method"], "OPTIONS");
    assert_eq!(packets[0]["meant"], elsewhere.to_string());
    assert_eq!(packets[0]["verdict"], "out_unknown_request");
    assert_eq!(last["last"], 5);
    let text = agent.command(&["explain", "--last", "0"])?;
    assert!(text.contains("none among the messages"), "{text}");

    let phone = agent.json(&["explain", "60.17.196.2:49163"])?;
    assert_eq!(phone["address"], "60.17.196.2:49163");
    assert_eq!(list(&phone, "bindings")?.len(), 1, "{phone:#}");
    let packets = list(&phone, "packets")?;
    assert!(packets.iter().all(|packet| packet["method"] != "OPTIONS"));
    let bye = packets.iter().find(|packet| packet["method"] == "BYE");
    let bye = bye.with_context(|| format!("no BYE in {phone:#}"))?;
    assert_eq!(bye["meant"], "60.17.196.2:5060");
    let host = agent.json(&["explain", "60.17.196.2"])?;
    assert_eq!(list(&host, "packets")?.len(), packets.len(), "{host:#}");
    let user = agent.json(&["explain", "1000"])?;
    assert_eq!(user["terminal"], "1000");
    assert_eq!(list(&user, "packets")?.len(), packets.len(), "{user:#}");
    let text = agent.command(&["explain", "198.51.100.99"])?;
    assert!(text.contains("request whose terminal is unknown"), "{text}");

    let unknown = agent.command(&["explain", "198.51.100.99:5061"]);
    let error = unknown.err().context("it knew another port")?.to_string();
    for words in ["exit status: 1", "nothing is known of 198.51.100.99:5061"] {
        assert!(error.contains(words), "{error}");
    }
    agent.stop()
}

/// A PBX that writes the Contact URI into To, and calls once more with another one.
#[test]
fn a_contact_and_a_request_that_misses_it_are_explained() -> Result<()> {
    let lab = Lab::new(Plan::PLAIN_NAT)?;
    play_in(&lab, With::Sipnat, |scene| {
        let agent = scene.sipnat()?;
        let (pbx, phone) = (scene.pbx()?, scene.terminal(0, 0, "1000")?);
        let uri = "sip:1000@192.168.1.10:5060";
        phone.registers(&pbx)?;
        let missed = pbx.request("INVITE", &format!("{uri};ob"), &phone.aor);
        pbx.send(&missed)?;
        // To is the Contact URI: the original destination has the first transmission.
        let invite = pbx.request("INVITE", uri, uri);
        let heard = pbx.reaches(&phone.ua, &invite, 2)?;
        phone.respond(&heard, "486 Busy Here", "phone")?;
        pbx.hear("SIP/2.0 486")?;

        let row = agent.json(&["bindings", "show", uri])?;
        assert_eq!(row["terminal"], "1000@203.0.113.10", "{row:#}");
        assert_eq!(row["uri"], "1000@192.168.1.10:5060");
        assert_eq!(row["redirected"], 1, "{row:#}");
        assert_eq!(row["by_uri"]["redirected"], 1, "{row:#}");
        assert_eq!(row["by_uri"]["own"], true);
        let text = agent.command(&["bindings", "show", "1000"])?;
        for words in [
            "contact uri   1000@192.168.1.10:5060\n",
            "by URI alone  1 packets\n",
        ] {
            assert!(text.contains(words), "{text}");
        }
        let listed = agent.command(&["bindings", "list"])?;
        let summary = listed.lines().last().unwrap_or_default();
        assert!(
            summary.starts_with("1 binding (0 dialogs, 1 contact), "),
            "{listed}"
        );
        let status = agent.command(&["status"])?;
        let counted = summary.split(" pending").next().unwrap_or_default();
        assert!(
            status.contains(&format!("bindings   {counted}")),
            "{status}"
        );

        let id = row["id"].as_str().context("no id")?;
        let call = missed.field("Call-ID").context("no Call-ID")?;
        let last = ["explain", "--last"];
        for command in [
            &["explain", call][..],
            &["explain", "1000"],
            &["explain", "1000@203.0.113.10"],
            &["explain", "192.168.1.10"],
            &["explain", uri],
            &["explain", &id[..8]],
            &last,
        ] {
            let text = agent.command(command)?;
            let missed = "Request-URI 1000@192.168.1.10:5060;ob\n";
            assert!(text.contains(missed), "{command:?}:\n{text}");
            let nearest = format!(
                "nearest contact {} of 1000@203.0.113.10, 1000@192.168.1.10:5060: its parameters none, not `;ob`",
                &id[..8]
            );
            assert!(text.contains(&nearest), "{command:?}:\n{text}");
        }
        let story = agent.json(&["explain", call])?;
        let packet = &list(&story, "packets")?[0];
        assert_eq!(packet["request_uri"], "1000@192.168.1.10:5060;ob");
        assert_eq!(
            packet["nearest"]["differs"][0],
            "parameters none, not `;ob`"
        );
        Ok(())
    })
}

#[test]
fn shadow_says_what_would_be_done_and_does_nothing() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &["--shadow"])?;
    let (pbx, _sipp, dialog) = call(&lab)?;
    ensure!(pbx.request(&dialog, "INVITE").is_err(), "it was redirected");
    ensure!(lab.dropped()?.port_5060 > 0, "the ISP got nothing to drop");

    assert_eq!(agent.json(&["status"])?["shadow"], true);
    let stats = agent.json(&["stats"])?;
    let redirected = stats["out_redirected_dialog"].as_u64();
    assert!(redirected > Some(0), "{stats:#}");
    let learned = &agent.json(&["bindings", "list"])?["bindings"][0]["learned"];
    assert_eq!(learned, "60.17.196.2:49163");
    let id = dialog.call_id.as_str();
    for command in [
        &["status"][..],
        &["stats"],
        &["bindings", "list"],
        &["explain", id],
    ] {
        let text = agent.command(command)?;
        assert!(text.contains("shadow: nothing is redirected"), "{text}");
    }
    agent.stop()
}

/// The PBX's own subnet contains the address that a remote phone advertises.
#[test]
fn a_contact_in_the_pbx_s_own_subnet_is_warned_of_and_the_remedy_works() -> Result<()> {
    let lab = Lab::new(Plan {
        alg: Alg::NONE,
        ..Plan::default()
    })?;
    lab.pbx.ip("addr add 192.168.1.5/24 dev eth0")?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let (pbx, mut sipp, dialog) = call(&lab)?;
    ensure!(pbx.request(&dialog, "INVITE").is_err(), "nothing is wrong");

    let status = agent.json(&["status"])?;
    let warnings = list(&status, "warnings")?;
    assert_eq!(warnings.len(), 1, "{status:#}");
    let text = warnings[0]["text"].as_str().unwrap_or_default();
    assert!(
        text.starts_with(
            "1000@203.0.113.10 advertises 192.168.1.10:5060, which lies in eth0's own subnet"
        ),
        "{text}"
    );
    let remedy = warnings[0]["remedy"].as_str().context("no remedy")?;
    let shown = agent.command(&["status"])?;
    assert!(shown.contains(text) && shown.contains(remedy), "{shown}");

    lab.pbx.run(Command::new("sh").args(["-c", remedy]), "")?;
    pbx.request(&dialog, "INVITE")?;
    pbx.request(&dialog, "BYE")?;
    sipp.finish(SOON)?;
    // A PBX that binds no address would send from 192.168.1.5.
    let route = lab.pbx.run(
        Command::new("ip").args(["route", "get", "192.168.1.10"]),
        "",
    )?;
    assert!(route.contains("src 203.0.113.10"), "{route}");
    assert_eq!(list(&agent.json(&["status"])?, "warnings")?.len(), 0);
    agent.stop()
}

/// An address comes and goes while the agent runs. The user's rules stay.
#[test]
fn the_policy_follows_the_addresses() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let has = |prefix: &str| -> Result<Option<(String, String)>> {
        let rules = agent.json(&["policy", "list"])?;
        let rules = rules.as_array().context("no list")?;
        let rule = rules.iter().find(|rule| rule["prefix"] == prefix);
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        Ok(rule.map(|rule| (text(rule, "policy"), text(rule, "origin"))))
    };
    let until = |prefix: &str, there: bool| -> Result<()> {
        let deadline = Instant::now() + SOON;
        while has(prefix)?.is_some() != there {
            ensure!(Instant::now() < deadline, "{prefix} there: not {there}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    };
    let off = Some(("off".to_owned(), "on-link".to_owned()));
    let users = Some(("force".to_owned(), "user".to_owned()));

    // Some hosts have it switched off.
    lab.pbx.sysctl("ipv6/conf/eth0/disable_ipv6", "0")?;
    lab.pbx.ip("addr add 10.9.0.1/16 dev eth0")?;
    until("10.9.0.0/16", true)?;
    assert_eq!(has("10.9.0.0/16")?, off);
    lab.pbx.ip("addr add 2001:db8:9::1/64 dev eth0 nodad")?;
    until("2001:db8:9::/64", true)?;
    lab.pbx.ip("addr del 2001:db8:9::1/64 dev eth0")?;
    until("2001:db8:9::/64", false)?;
    assert_eq!(has("10.9.0.0/16")?, off);

    // The user's rule for the same subnet outlives the subnet, and applies when it comes back.
    agent.command(&["policy", "set", "10.9.0.0/16", "force"])?;
    for (change, mark) in [("del", "10.7.0.1/16"), ("add", "10.8.0.1/16")] {
        let marked = mark.replace(".1/", ".0/");
        lab.pbx.ip(&format!(
            "addr {change} 10.9.0.1/16 dev eth0\naddr add {mark} dev eth0"
        ))?;
        until(&marked, true)?;
        assert_eq!(has("10.9.0.0/16")?, users);
    }
    agent.command(&["policy", "remove", "10.9.0.0/16"])?;
    lab.pbx.ip("addr del 10.7.0.1/16 dev eth0")?;
    until("10.7.0.0/16", false)?;
    assert_eq!(has("10.9.0.0/16")?, None, "the user's removal was undone");
    agent.stop()
}
