//! Commands beside `run`: policy, bindings, and all of them without an agent.

use anyhow::{Context as _, Result, ensure};
use nat_common::abi::{Binding, BindingFlags, DialogKey, SECOND};
use nat_common::endpoint::Endpoint;
use nat_common::tables::bindings::Stored;
use nat_userspace::{
    host::clock,
    kernel::{mapped::Access, tables::Tables},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, ON_ETH0, stderr, stop};

#[test]
fn without_an_agent_the_commands_say_so() -> Result<()> {
    let host = Host::new()?;
    for command in [
        &["status"][..],
        &["stats"],
        &["stats", "--json"],
        &["bindings"],
        &["bindings", "list", "--json"],
        &["bindings", "show", "1000"],
        &["explain", "1@a"],
        &["policy", "list"],
        &["policy", "set", "default", "off"],
        &["reload"],
    ] {
        host.refused(
            command,
            3,
            &["no agent is running in this network namespace"],
        )?;
    }
    assert!(host.ask(&["detach"])?.contains("nothing to detach"));
    Ok(())
}

#[test]
fn policy_is_listed_and_changed() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&["--iface", "eth0", "--policy", "force"])?;
    let rules = || -> Result<Vec<(String, String, String)>> {
        let list = host.json(&["policy", "list", "--json"])?;
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        Ok(list
            .as_array()
            .context("a list")?
            .iter()
            .map(|rule| {
                (
                    text(rule, "prefix"),
                    text(rule, "policy"),
                    text(rule, "origin"),
                )
            })
            .collect())
    };
    let rule = |prefix: &str, policy: &str, origin: &str| {
        (prefix.to_owned(), policy.to_owned(), origin.to_owned())
    };
    let default = rule("default", "force", "default");
    let on_link = rule("203.0.113.0/24", "off", "on-link");
    assert_eq!(rules()?, [default.clone(), on_link.clone()]);
    host.ask(&["policy", "set", "60.17.196.2", "auto"])?;
    host.ask(&["policy", "set", "203.0.113.99/24", "auto"])?;
    assert_eq!(
        rules()?,
        [
            default.clone(),
            rule("60.17.196.2/32", "auto", "user"),
            rule("203.0.113.0/24", "auto", "user")
        ]
    );
    host.ask(&["policy", "remove", "60.17.196.2/32"])?;
    host.refused(
        &["policy", "remove", "60.17.196.2/32"],
        1,
        &["no rule for 60.17.196.2/32"],
    )?;
    host.refused(&["policy", "remove", "default"], 1, &["the default stays"])?;
    host.ask(&["policy", "set", "default", "off"])?;
    assert_eq!(rules()?[0], rule("default", "off", "default"));
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn live_bindings_are_shown_and_removed() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    let mut dialogs = Tables::open(&host.pins()?)?.dialogs.open(Access::Write)?;
    let now = clock::now();
    let text = b"1000@60.17.196.2";
    let mut live = Binding {
        created: now - 60 * SECOND,
        seen: now - 5 * SECOND,
        expires: now + 3600 * SECOND,
        redirected: 7,
        learned: Endpoint::v4([60, 17, 196, 2], 49163),
        advertised: Endpoint::v4([60, 17, 196, 2], 5060),
        flags: BindingFlags::DIRECT,
        text_len: u8::try_from(text.len())?,
        ..Binding::EMPTY
    };
    live.text[..text.len()].copy_from_slice(text);
    let key = |tag| DialogKey {
        call: 0xabcd << 48,
        tag,
    };
    for tag in 0..100 {
        let expired = Binding {
            expires: now - 1,
            ..live
        };
        ensure!(dialogs.insert(&key(tag), expired, now) == Stored::New);
    }
    ensure!(dialogs.insert(&key(1000), live, now) == Stored::New);

    let list = host.json(&["bindings", "list", "--json"])?;
    let rows = list["bindings"].as_array().context("bindings")?;
    assert_eq!(rows.len(), 1, "{list}");
    for (field, value) in [
        ("terminal", "1000@60.17.196.2"),
        ("kind", "dialog"),
        ("state", "active"),
        ("advertised", "60.17.196.2:5060"),
        ("learned", "60.17.196.2:49163"),
    ] {
        assert_eq!(rows[0][field], value);
    }
    assert_eq!(rows[0]["redirected"], 7);
    let shown = host.ask(&["bindings", "show", "1000"])?;
    assert!(
        shown.contains("60.17.196.2:49163") && shown.contains("7 packets"),
        "{shown}"
    );

    host.ask(&["bindings", "remove", "1000"])?;
    assert!(dialogs.get(&key(1000)).is_none());
    host.refused(
        &["bindings", "show", "1000"],
        1,
        &["there is no binding `1000`"],
    )?;
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn an_interface_that_was_renamed_is_shown_by_its_present_name() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    host.netns
        .ip("link set eth0 down\nlink set eth0 name wan0\nlink set wan0 up\n")?;
    let status = host.ask(&["status"])?;
    assert!(
        status.contains("on         wan0 (") && !status.contains("eth0"),
        "{status}"
    );
    let status = host.json(&["status", "--json"])?;
    assert_eq!(status["interfaces"][0]["name"], "wan0");
    host.refused(
        &["run", "--iface", "eth1"],
        1,
        &["already has a sipnat agent, on wan0", "--iface wan0"],
    )?;
    assert!(host.ask(&["detach"])?.contains("detached from wan0"));
    drop(agent);
    Ok(())
}

#[test]
fn what_an_argument_holds_does_not_reach_the_terminal() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    let evil = "\x1b[31m\u{202e}evil";
    for (args, code) in [
        (&["run", "--iface", evil][..], 1),
        (&["run", "--iface", "eth0", "--bpf-object", evil], 1),
        (&["run", "--iface", "eth0", "--port", evil], 2),
        (&["explain", evil], 1),
        (&["bindings", "show", evil], 1),
        (&["policy", "set", evil, "off"], 2),
        (&["stun-query", &format!("{evil}:x")], 2),
        (&[evil], 2),
    ] {
        let output = host.sipnat(args)?;
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        let text = stderr(&output);
        assert!(text.contains("evil"), "{args:?}: {text:?}");
        let is_raw = text.contains('\x1b') || text.contains('\u{202e}');
        assert!(!is_raw, "{args:?}: {text:?}");
    }
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}
