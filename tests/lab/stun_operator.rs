//! STUN for the operator of a PBX: status, diagnosis, and phones that are alive.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{Lab, Plan, ScriptedPbx, Sipnat, Terminal, netns::Netns, sipnat};
use serde_json::{Value, json};

use crate::scene::SOON;

const PLAN: Plan = Plan {
    phones: 2,
    ..Plan::PLAIN_NAT
};

/// Returns the output of `stun-query`, or its error.
fn query(from: &Netns, args: &[&str]) -> Result<Value> {
    let args = [&["stun-query", "--json", "--timeout", "1"], args].concat();
    Ok(serde_json::from_str(&sipnat::command(from, &args)?)?)
}

/// Waits until `stun-query` gets an answer, or none.
fn until(answered: bool, from: &Netns, server: &str) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while query(from, &[server]).is_ok() != answered {
        ensure!(
            Instant::now() < deadline,
            "{server} answered: not {answered}"
        );
    }
    Ok(())
}

#[test]
fn a_query_shows_what_nat_makes_of_us() -> Result<()> {
    let lab = Lab::new(PLAN)?;
    let phone = &lab.phone().netns;
    let server = "203.0.113.10:5060";
    let error = query(phone, &[server])
        .err()
        .context("answered by nobody")?;
    let error = error.to_string();
    for words in ["exit status: 1", "nobody answers STUN there"] {
        assert!(error.contains(words), "{error}");
    }
    let agent = Sipnat::start(&lab.pbx, &["--stun", "--stun-software"])?;
    for args in [
        &[server, "--local-port", "5060"][..],
        &["203.0.113.10", "--local-port", "5060", "--rfc3489"],
    ] {
        let told = query(phone, args)?;
        assert_eq!(told["local"], "192.168.1.10:5060", "{told:#}");
        assert_eq!(told["mapped"], "60.17.196.2:49163", "{told:#}");
        assert_eq!(told["nat"], true, "{told:#}");
        assert_eq!(told["error"], Value::Null, "{told:#}");
        let software = told["software"].as_str().unwrap_or_default();
        assert!(software.starts_with("sipnat"), "{told:#}");
    }
    let told = query(&lab.public_phone, &[server])?;
    assert_eq!(told["nat"], false, "{told:#}");
    let text = sipnat::command(phone, &["stun-query", server])?;
    assert!(text.contains("NAT         yes"), "{text}");
    agent.stop()
}

#[test]
fn status_says_how_stun_is_answered_and_what_is_in_its_way() -> Result<()> {
    let lab = Lab::new(PLAN)?;
    let agent = Sipnat::start(&lab.pbx, &[])?;
    let status = agent.json(&["status"])?;
    assert_eq!(status["stun"], Value::Null);
    assert_eq!(status["warnings"], json!([]));
    assert!(
        agent
            .command(&["status"])?
            .contains("stun       not answered")
    );
    agent.stop()?;

    let options =
        "--stun --stun-port 3479 --stun-rate 7 --stun-burst 9 --stun-total-rate 300 --xdp native";
    let options: Vec<&str> = options.split(' ').collect();
    let agent = Sipnat::start(&lab.pbx, &options)?;
    let status = agent.json(&["status"])?;
    let told = json!({
        "ports": [5060, 3479], "rate": 7, "burst": 9, "total_rate": 300, "software": false
    });
    assert_eq!(status["stun"], told);
    let warnings = status["warnings"].as_array().context("no warnings")?;
    assert_eq!(warnings.len(), 1, "{status:#}");
    assert_eq!(warnings[0]["remedy"], Value::Null);
    let text = agent.command(&["status"])?;
    for words in [
        "stun       on 5060, 3479: 7 a second to one address, 9 at once; 300 a second to all",
        "warning: eth0 is a veth",
    ] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    agent.stop()
}

/// The agent follows the addresses of the host while it runs.
#[test]
fn answers_follow_the_addresses() -> Result<()> {
    let lab = Lab::new(PLAN)?;
    let agent = Sipnat::start(&lab.pbx, &["--stun"])?;
    let public = &lab.public_phone;
    // Addresses of the interface, of another interface, and of a local route.
    lab.isp.ip("route add 198.18.0.0/15 via 203.0.113.10")?;
    for (add, remove, address) in [
        (
            "addr add 203.0.113.11/24 dev eth0",
            "addr del 203.0.113.11/24 dev eth0",
            "203.0.113.11",
        ),
        (
            "addr add 198.18.0.1/32 dev lo",
            "addr del 198.18.0.1/32 dev lo",
            "198.18.0.1",
        ),
        (
            "route add local 198.19.0.0/24 dev lo",
            "route del local 198.19.0.0/24 dev lo",
            "198.19.0.77",
        ),
    ] {
        ensure!(query(public, &[address]).is_err(), "{address} is nobody's");
        lab.pbx.ip(add)?;
        until(true, public, address)?;
        lab.pbx.ip(remove)?;
        until(false, public, address)?;
        until(true, public, "203.0.113.10")?;
    }

    // A private source, while it is on this link.
    lab.neighbour.ip("addr add 10.9.0.2/16 dev eth0
         route replace 203.0.113.10/32 dev eth0 src 10.9.0.2")?;
    lab.pbx.ip("addr add 10.9.0.1/16 dev eth0")?;
    until(true, &lab.neighbour, "203.0.113.10")?;
    until(true, &lab.neighbour, "10.9.0.1")?;
    lab.pbx.ip("addr del 10.9.0.1/16 dev eth0")?;
    until(false, &lab.neighbour, "203.0.113.10")?;
    let stats = agent.json(&["stats"])?;
    for counter in ["stun_not_here", "stun_bad_source"] {
        assert!(stats[counter].as_u64() > Some(0), "{counter}: {stats:#}");
    }
    agent.stop()
}

/// Keepalives of a phone at `mapped` between its registrations.
fn keepalive(phone: &Netns, mapped: SocketAddrV4) -> Result<()> {
    let told = query(phone, &["203.0.113.10:5060", "--local-port", "5060"])?;
    ensure!(told["mapped"] == mapped.to_string(), "{told:#}");
    Ok(())
}

#[test]
fn keepalives_are_signs_of_life_and_show_who_has_moved() -> Result<()> {
    const NEW: u16 = 51234;
    let lab = Lab::new(PLAN)?;
    let agent = Sipnat::start(&lab.pbx, &["--stun"])?;
    let [phone, other] = [0, 1].map(|number| &lab.sites[0].phones[number]);
    let pbx = ScriptedPbx::start(&lab.pbx, nat_test_support::Answers::ToSource, SOON)?;
    Terminal::start(&phone.netns, phone.private, "1000", SOON)?.registers(&pbx)?;
    let contact = || -> Result<Value> {
        let bindings = agent.json(&["bindings", "list"])?;
        let rows = bindings["bindings"].as_array().context("no list")?;
        let contact = rows.iter().find(|row| row["kind"] == "contact");
        contact.cloned().context("no contact")
    };
    assert_eq!(contact()?["stun_seen_seconds_ago"], Value::Null);
    std::thread::sleep(Duration::from_secs(2));
    assert!(contact()?["seen_seconds_ago"].as_u64() > Some(0));
    for _ in 0..5 {
        keepalive(&phone.netns, phone.public)?;
    }
    let row = contact()?;
    assert_eq!(row["seen_seconds_ago"], 0, "{row:#}");
    assert_eq!(row["stun_seen_seconds_ago"], 0, "{row:#}");

    // Another phone behind the same NAT starts, and this one goes on.
    keepalive(&other.netns, other.public)?;
    keepalive(&phone.netns, phone.public)?;
    assert_eq!(contact()?["moved"], false);

    // The binding does not change, because STUN proves no identity.
    let new = SocketAddrV4::new(*phone.public.ip(), NEW);
    lab.sites[0].remap(0, new)?;
    keepalive(&phone.netns, new)?;
    let deadline = Instant::now() + Duration::from_secs(15);
    let row = loop {
        let row = contact()?;
        assert_eq!(row["learned"], phone.public.to_string());
        if row["moved"] == true {
            break row;
        }
        ensure!(Instant::now() < deadline, "not moved: {row:#}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(row["moved_to"], new.to_string(), "{row:#}");
    let text = agent.command(&["bindings", "list"])?;
    assert!(text.contains(&format!("(moved to {new})")), "{text}");
    agent.stop()
}
