//! Pins, programs and state files of an agent that has ended: kept, replaced, detached or refused.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nat_common::{
    abi::{Binding, Config, ContactKey, DialogKey},
    tables::bindings::Stored,
};
use nat_test_support::{process::Process, sipnat};
use nat_userspace::{
    host::{clock, process::start_time},
    kernel::{load::Inputs, mapped::Access, tables::Tables},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, ON_ETH0, STOP, stderr, stop};

const KEEP: [&str; 3] = ["--iface", "eth0", "--keep"];

#[test]
fn what_an_agent_of_a_dead_namespace_left_is_not_ours() -> Result<()> {
    let host = Host::new()?;
    let args = ["--iface", "eth0", "--clsact"];
    let kept = host.run(&["--iface", "eth0", "--clsact", "--keep"])?;
    stop(kept, Signal::SIGTERM)?;
    // The inode of a namespace that is gone may be given to a new one. Then the qdisc belongs to somebody else.
    let mut state: Value = serde_json::from_slice(&fs::read(host.state_file()?)?)?;
    let cookie = state["netns_cookie"].as_u64().context("no cookie")?;
    state["netns_cookie"] = (cookie + 1).into();
    fs::write(host.state_file()?, state.to_string())?;
    let tc = |args: &str| host.netns.run(Command::new("tc").args(args.split(' ')), "");
    tc("filter del dev eth0 egress")?;

    let words = ["no agent is running", "remove it with `sipnat detach`"];
    host.refused(&["bindings"], 1, &words)?;
    stop(host.run(&args)?, Signal::SIGTERM)?;
    assert!(host.qdiscs()?.contains("clsact"), "the qdisc was removed");
    assert!(!host.pins()?.exists() && !host.state_file()?.exists());
    Ok(())
}

#[test]
fn what_was_kept_works_on_and_is_detached() -> Result<()> {
    let host = Host::new()?;
    for tc in ["tcx", "clsact"] {
        let mut args = vec!["--iface", "eth0", "--keep"];
        if tc == "clsact" {
            args.push("--clsact");
        }
        let agent = host.run(&args)?;
        let programs = host.programs()?;
        stop(agent, Signal::SIGTERM)?;
        host.refused(&["status"], 3, &["--keep left", "no agent is running"])?;
        assert!(host.ask(&["policy", "list"])?.contains("default"));
        assert!(host.ask(&["detach"])?.contains("detached from eth0"));
        host.is_clean(&programs)?;
    }
    Ok(())
}

#[test]
fn a_new_agent_takes_over_what_another_left() -> Result<()> {
    let host = Host::new()?;
    let secret = || Ok::<_, anyhow::Error>(Tables::open(&host.pins()?)?.config()?.secret);
    for first in [
        &["--iface", "eth0", "--keep", "--clsact"][..],
        &["--iface", "eth0", "--iface", "eth1", "--keep"],
        &["--iface", "eth1", "--keep"],
    ] {
        stop(host.run(first)?, Signal::SIGTERM)?;
        let (known, programs) = (secret()?, host.pinned_programs()?);
        let mut agent = host.run(&ON_ETH0)?;
        let ready = "ready on eth0 (xdp native, ";
        assert!(agent.output().contains(ready), "{}", agent.output());
        assert!(
            agent
                .output()
                .contains("with the tables of the earlier agent")
        );
        assert_eq!(secret()?, known, "the secret is part of each key");
        let replaced = host.pinned_programs()?;
        assert!(replaced.iter().all(|id| !programs.contains(id)));
        assert_eq!(host.programs()?, replaced);
        assert_eq!(host.xdp()?, [Some(replaced[0]), None]);
        agent.signal(Signal::SIGKILL)?;
        agent.wait(STOP)?;
        // Its death changes nothing for the kernel.
        assert!(host.ask(&["bindings"])?.contains("0 bindings"));
        let agent = host.run(&ON_ETH0)?;
        let programs = host.programs()?;
        stop(agent, Signal::SIGTERM)?;
        host.is_clean(&programs)?;
    }
    Ok(())
}

/// Another size is another map. Its bindings are the earlier ones, and nothing else is forgotten silently.
#[test]
fn bindings_outlive_a_change_of_their_number() -> Result<()> {
    const KNOWN: u64 = 3000;
    let host = Host::new()?;
    let run = |more: &[&str]| host.run(&[&KEEP[..], more].concat());
    stop(run(&["--size-bindings", "5000"])?, Signal::SIGTERM)?;
    // As evenly spread as the hashes that keys are.
    let hash = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key = |n: u64| DialogKey {
        call: hash(n),
        tag: hash(hash(n)),
    };
    let contact = |n: u64| ContactKey {
        uri: hash(n),
        aor: hash(hash(n)),
    };
    let binding = |redirected| Binding {
        expires: u64::MAX,
        redirected,
        aor: redirected,
        ..Binding::EMPTY
    };
    let tables = Tables::open(&host.pins()?)?;
    let mut dialogs = tables.dialogs.open(Access::Write)?;
    let mut contacts = tables.contacts.open(Access::Write)?;
    for n in 0..KNOWN {
        let now = clock::now();
        assert_eq!(dialogs.insert(&key(n), binding(n), now), Stored::New);
        assert_eq!(contacts.insert(&contact(n), binding(n), now), Stored::New);
    }
    let expired = Binding {
        expires: 1,
        ..Binding::EMPTY
    };
    assert_eq!(dialogs.insert(&key(KNOWN), expired, 0), Stored::New);
    drop((dialogs, contacts, tables));

    let counts = |output: &str| {
        ["DIALOGS", "CONTACTS"].map(|table| {
            let line = format!("{table} changes its size: ");
            let (_, rest) = output.split_once(&line)?;
            rest.split(' ').next()?.parse::<u64>().ok()
        })
    };
    let agent = run(&["--size-bindings", "20000", "--size-history", "1024"])?;
    assert_eq!(counts(&agent.output()), [Some(KNOWN); 2]);
    assert!(agent.output().contains("HISTORY begins empty"));
    assert!(host.ask(&["status"])?.contains("DIALOGS    3000 of 20480"));
    let tables = Tables::open(&host.pins()?)?;
    let dialogs = tables.dialogs.open(Access::Read)?;
    for n in 0..KNOWN {
        assert_eq!(dialogs.get(&key(n)).map(|b| b.redirected), Some(n));
    }
    assert_eq!(dialogs.get(&key(KNOWN)), None, "it has expired");
    drop((dialogs, tables));
    stop(agent, Signal::SIGTERM)?;

    // The same size: the same maps.
    let agent = run(&["--size-bindings", "20480", "--size-history", "1024"])?;
    assert_eq!(counts(&agent.output()), [None; 2]);
    stop(agent, Signal::SIGTERM)?;

    let agent = run(&["--size-bindings", "1024"])?;
    let output = agent.output();
    let fit = counts(&output)[0].context("no count")?;
    let lost = format!("DIALOGS has no room for {} bindings", KNOWN - fit);
    assert!(output.contains(&lost), "{output}");
    stop(agent, Signal::SIGTERM)?;
    host.ask(&["detach"])?;
    Ok(())
}

/// While no agent ran, addresses, routes and rules went, and others came.
#[test]
fn addresses_and_rules_are_those_of_the_new_agent() -> Result<()> {
    let host = Host::new()?;
    let kinds = || {
        let tables = Tables::open(&host.pins()?)?;
        let entries = tables.addresses.iter().map(|entry| {
            let (key, kind) = entry?;
            Ok(((key.data(), key.prefix_len()), kind))
        });
        entries.collect::<Result<BTreeMap<_, _>>>()
    };
    let before = "address add 192.0.2.10/24 dev eth0\n\
                  address add 192.0.3.10/24 dev eth0\n\
                  route add 10.9.0.0/16 via 203.0.113.1\n";
    host.netns.ip(before)?;
    let first = host.run(&[&KEEP[..], &["--peer", "10.8.0.1"]].concat())?;
    host.ask(&["policy", "remove", "203.0.113.0/24"])?;
    stop(first, Signal::SIGTERM)?;
    host.ask(&["policy", "remove", "192.0.3.0/24"])?;
    let meanwhile = "address del 192.0.2.10/24 dev eth0\n\
                     address add 198.18.0.10/24 dev eth0\n\
                     route del 10.9.0.0/16\n\
                     route add 10.7.0.0/16 via 203.0.113.1\n";
    host.netns.ip(meanwhile)?;

    let mut second = host.run(&ON_ETH0)?;
    assert!(second.output().contains("tables of the earlier agent"));
    let rules = host.ask(&["policy", "list"])?;
    let prefixes: Vec<&str> = rules
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(prefixes, ["default", "198.18.0.0/24"], "{rules}");
    let taken_over = kinds()?;
    stop(second, Signal::SIGTERM)?;
    second = host.run(&ON_ETH0)?;
    assert_eq!(taken_over, kinds()?, "those of an agent that begins anew");
    stop(second, Signal::SIGTERM)?;
    Ok(())
}

/// The PBX and the agent restart at the same time: the PBX has no socket when the next agent starts.
#[test]
fn how_the_pbx_s_socket_is_bound_stays_known() -> Result<()> {
    let host = Host::new()?;
    let wildcards = || Ok::<_, anyhow::Error>(Tables::open(&host.pins()?)?.config()?.wildcards);
    let pbx = host.netns.udp(([0, 0, 0, 0], 5060))?;
    let agent = host.run(&KEEP)?;
    assert_eq!(wildcards()?, Config::wildcard(0, true));
    stop(agent, Signal::SIGTERM)?;
    drop(pbx);
    for ports in [
        &["--port", "5060"][..],
        &["--port", "5080", "--port", "5060"],
    ] {
        let agent = host.run(&[&KEEP[..], ports].concat())?;
        assert_eq!(
            wildcards()?,
            Config::wildcard(ports.len() / 2 - 1, true),
            "{ports:?}"
        );
        stop(agent, Signal::SIGTERM)?;
    }
    // One socket says more than what was.
    let _pbx = host.netns.udp(([203, 0, 113, 10], 5060))?;
    let agent = host.run(&ON_ETH0)?;
    assert_eq!(wildcards()?, 0);
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

/// An agent was killed between a pin and its record.
#[test]
fn what_a_killed_agent_did_not_write_down_is_no_obstacle() -> Result<()> {
    let host = Host::new()?;
    let both = ["--iface", "eth0", "--iface", "eth1", "--keep"];
    stop(host.run(&both)?, Signal::SIGTERM)?;
    let mut state: Value = serde_json::from_slice(&fs::read(host.state_file()?)?)?;
    let interfaces = state["interfaces"].as_array_mut().context("interfaces")?;
    interfaces.pop();
    fs::write(host.state_file()?, state.to_string())?;
    let pins = host.pins()?;
    MapData::from_pin(pins.join("CONFIG"))?.pin(pins.join("new-ingress"))?;
    for args in [&both[..4], &ON_ETH0] {
        let mut agent = host.run(args)?;
        assert!(agent.output().contains("tables of the earlier agent"));
        let wanted = [Some(host.pinned_programs()?[0]), None];
        let eth1 = args.contains(&"eth1");
        assert_eq!(host.xdp()?, [wanted[0], wanted[usize::from(!eth1)]]);
        agent.signal(Signal::SIGKILL)?;
        agent.wait(STOP)?;
    }
    let programs = host.pinned_programs()?;
    host.ask(&["detach"])?;
    host.is_clean(&programs)
}

/// The object is refused: what works stays.
#[test]
fn an_agent_that_cannot_start_leaves_the_earlier_one_s_programs() -> Result<()> {
    let host = Host::new()?;
    stop(host.run(&["--iface", "eth0", "--keep"])?, Signal::SIGTERM)?;
    let programs = host.pinned_programs()?;
    let args = ["run", "--iface", "eth0", "--bpf-object", "/bin/true"];
    host.refused(&args, 1, &["goes on working", "cannot load"])?;
    assert_eq!(host.pinned_programs()?, programs);
    assert_eq!(host.xdp()?, [Some(programs[0]), None]);
    host.ask(&["detach"])?;
    host.is_clean(&programs)
}

/// The second interface refuses native XDP, when the first one has the new programs.
#[test]
fn an_agent_that_fails_midway_puts_the_earlier_one_s_programs_back() -> Result<()> {
    let host = Host::new()?;
    host.netns
        .ip("link add br0 type bridge\nlink set br0 up\n")?;
    let peer = ["--peer", "10.8.0.1"];
    for first in [
        &[][..],
        &["--clsact"],
        &["--xdp", "generic"],
        &["--stun", "--xdp", "native"],
    ] {
        let args = [&KEEP[..], &peer, first].concat();
        stop(host.run(&args)?, Signal::SIGTERM)?;
        let state = || Ok::<_, anyhow::Error>(fs::read_to_string(host.state_file()?)?);
        let inputs = || {
            let inputs = Inputs::read(&Tables::open(&host.pins()?)?)?;
            Ok::<_, anyhow::Error>(format!("{inputs:?}"))
        };
        let (programs, before) = (host.pinned_programs()?, (state()?, inputs()?));
        let args = ["run", "--iface", "eth0", "--iface", "br0", "--policy"];
        let args = [&args[..], &["force", "--xdp", "native"]].concat();
        let words = ["goes on working on eth0", "cannot attach native XDP to br0"];
        host.refused(&args, 1, &words)?;
        assert_eq!((state()?, inputs()?), before, "{first:?}");
        assert_eq!(host.pinned_programs()?, programs);
        assert_eq!(host.xdp()?, [Some(programs[0]), None]);
        host.ask(&["detach"])?;
        host.is_clean(&programs)?;
    }
    Ok(())
}

#[test]
fn detach_ends_a_running_agent() -> Result<()> {
    let host = Host::new()?;
    for args in [&ON_ETH0[..], &["--iface", "eth0", "--clsact"]] {
        let mut agent = host.run(args)?;
        let programs = host.programs()?;
        let output = host.sipnat(&["detach"])?;
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "sipnat: detached from eth0\n"
        );
        assert_eq!(stderr(&output), "");
        assert!(agent.wait(STOP)?.success());
        host.is_clean(&programs)?;
    }
    Ok(())
}

/// Only SIGKILL ends a process that is stopped.
#[test]
fn a_stopped_agent_is_removed_by_force() -> Result<()> {
    let host = Host::new()?;
    let mut agent = host.run(&KEEP)?;
    let programs = host.pinned_programs()?;
    agent.signal(Signal::SIGSTOP)?;
    let pid = agent.pid().to_string();
    let words = ["because it is stopped", "`sipnat detach --force`", &pid];
    host.refused(&["detach"], 1, &words)?;
    assert_eq!(host.xdp()?, [Some(programs[0]), None]);
    let output = host.sipnat(&["detach", "--force"])?;
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!("killing the agent (pid {pid})")),
        "{said}"
    );
    agent.wait(STOP)?;
    host.is_clean(&programs)
}

#[test]
fn who_holds_the_lock_is_named() -> Result<()> {
    let host = Host::new()?;
    stop(host.run(&ON_ETH0)?, Signal::SIGTERM)?;
    let lock = File::open("/run/sipnat/lock")?;
    lock.lock()?;
    let pid = std::process::id();
    let output = thread::scope(|scope| {
        let detach = scope.spawn(|| host.sipnat(&["detach"]));
        // It is named after two seconds, and waited for.
        thread::sleep(Duration::from_secs(4));
        lock.unlock()?;
        detach.join().expect("no panic")
    })?;
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(&format!(
            "(pid {pid}), which holds the lock /run/sipnat/lock"
        )),
        "{said}"
    );
    Ok(())
}

/// A umask of 0 would let everybody write.
#[test]
fn files_and_pins_are_for_their_owner_only() -> Result<()> {
    let host = Host::new()?;
    let mut command = Command::new("sh");
    let script = "umask 0; exec \"$0\" run --iface eth0";
    let agent = host.start(command.args(["-c", script]).arg(sipnat::binary()?))?;
    let mode = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.mode() & 0o777);
    assert_eq!(mode(Path::new("/run/sipnat"))?, 0o700);
    assert_eq!(mode(Path::new("/run/sipnat/lock"))?, 0o600);
    assert_eq!(mode(&host.state_file()?)?, 0o600);
    assert_eq!(mode(&host.pins()?)?, 0o700);
    stop(agent, Signal::SIGTERM).map(drop)
}

/// Another agent takes over after `detach` has ended the first, and before it removes the pins.
#[test]
fn detach_leaves_an_agent_that_has_started_meanwhile() -> Result<()> {
    let host = Host::new()?;
    let mut agent = host.run(&KEEP)?;
    let programs = host.pinned_programs()?;
    let path = host.state_file()?;
    // Stands for the other agent.
    let mut sleep = Command::new("sleep");
    let other = Process::spawn(&host.netns, sleep.arg("600"), tempfile::tempdir()?)?;
    let lock = File::create("/run/sipnat/lock")?;
    lock.lock()?;
    let first = thread::scope(|scope| {
        let detach = scope.spawn(|| {
            let pid = other.pid().to_string();
            host.refused(&["detach"], 1, &["has started meanwhile", &pid])
        });
        agent.wait(STOP)?;
        let first = fs::read(&path)?;
        let mut state: Value = serde_json::from_slice(&first)?;
        state["pid"] = other.pid().into();
        state["pid_started"] = start_time(other.pid()).into();
        fs::write(&path, state.to_string())?;
        lock.unlock()?;
        detach.join().expect("no panic")?;
        Ok::<_, anyhow::Error>(first)
    })?;
    assert_eq!(host.pinned_programs()?, programs);
    assert_eq!(host.xdp()?, [Some(programs[0]), None]);
    fs::write(path, first)?;
    host.ask(&["detach"])?;
    host.is_clean(&programs)
}

#[test]
fn pins_of_another_layout_are_refused() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&["--iface", "eth0", "--keep"])?;
    let programs = host.programs()?;
    stop(agent, Signal::SIGTERM)?;
    let pins = host.pins()?;
    fs::rename(pins.join("POLICY"), pins.join("was-policy"))?;
    fs::rename(pins.join("CONFIG"), pins.join("POLICY"))?;
    fs::remove_file(pins.join("COUNTERS"))?;
    let directory = pins.to_string_lossy().into_owned();
    let value_size = format!("POLICY: value size is {}, must be 4", size_of::<Config>());
    let words = [
        &directory,
        "CONFIG: missing",
        "POLICY: type is Array, must be LpmTrie",
        "POLICY: key size is 4, must be 20",
        &value_size,
        "COUNTERS: missing",
        "`sipnat detach`",
    ];
    host.refused(&["run", "--iface", "eth0"], 1, &words)?;
    host.refused(&["bindings", "list"], 1, &words)?;
    host.ask(&["detach"])?;
    host.is_clean(&programs)
}

/// Commands of one version refuse the tables of another, whose description its agent goes by.
#[test]
fn pins_of_another_number_are_taken_over_by_an_agent_only() -> Result<()> {
    let host = Host::new()?;
    stop(host.run(&KEEP)?, Signal::SIGTERM)?;
    let mut tables = Tables::open(&host.pins()?)?;
    let mut config = tables.config()?;
    config.abi += 1;
    tables.config.set(0, config, 0)?;
    let words = ["CONFIG: layout number is ", "must be ", "`sipnat detach`"];
    host.refused(&["stats"], 1, &words)?;
    let agent = host.run(&KEEP)?;
    assert_eq!(Tables::open(&host.pins()?)?.config()?.secret, config.secret);
    assert!(host.ask(&["status"])?.contains("go on in place"));
    stop(agent, Signal::SIGTERM)?;

    // Without a description nothing is known of them.
    let mut tables = Tables::open(&host.pins()?)?;
    config.abi -= 2;
    tables.config.set(0, config, 0)?;
    let programs = host.pinned_programs()?;
    fs::remove_file(host.pins()?.join("LAYOUT"))?;
    let words = ["CONFIG: layout number is ", "LAYOUT: missing"];
    host.refused(&["run", "--iface", "eth0"], 1, &words)?;
    assert_eq!(host.xdp()?, [Some(programs[0]), None]);
    host.ask(&["detach"])?;
    host.is_clean(&programs)
}
