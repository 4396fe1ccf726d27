//! Keepalives of an agent with many terminals, and of one that may not send any.

use std::{fs, net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_common::{
    abi::{Binding, BindingFlags, ContactKey, SECOND},
    endpoint::Endpoint,
    tables::{bindings::Stored, key},
};
use nat_test_support::process::Process;
use nat_userspace::{
    host::clock,
    kernel::{mapped::Access, tables::Tables},
};
use nix::sys::signal::Signal;

use super::{Host, stop, user::refused};

/// Number of terminals.
const TERMINALS: u32 = 10_000;
/// Interval of their keepalives.
const INTERVAL: u32 = 25;

fn contact(number: u32, now: u64) -> (ContactKey, Binding) {
    let key = ContactKey {
        uri: u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        aor: u64::from(number + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9),
    };
    let [.., high, low] = number.to_be_bytes();
    let pbx = Endpoint::v4([203, 0, 113, 10], 5060);
    let binding = Binding {
        created: now - 600 * SECOND,
        seen: now - 60 * SECOND,
        expires: now + 3600 * SECOND,
        aor: key.aor,
        learned: Endpoint::v4([60, 17, high, low], 49163),
        advertised: Endpoint::v4([192, 168, 1, 10], 5060),
        flags: BindingFlags::DIRECT,
        pbx: key::socket(&pbx),
        ..Binding::EMPTY
    };
    (key, binding)
}

/// Returns the CPU time of a process, all its threads together.
fn cpu_time(process: &Process) -> Result<Duration> {
    /// Length of a tick of /proc.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
    let (_, fields) = stat.rsplit_once(") ").context("stat")?;
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u32 = ticks.map(|field| field.parse().unwrap_or(0)).sum();
    Ok(TICK * ticks)
}

/// They are spread over the interval, and take less than 2 % of a core.
#[test]
fn many_terminals() -> Result<()> {
    let host = Host::new()?;
    host.peer.ip("address add 203.0.113.77/24 dev eth0")?;
    host.netns.ip("route add default via 203.0.113.77")?;
    let pbx: SocketAddr = "203.0.113.10:5060".parse()?;
    let _pbx = host.netns.udp(pbx)?;
    // The terminals do not answer, and are asked as often as if they did.
    let agent = host.run(&[
        "--iface",
        "eth0",
        "--keepalive=options",
        "--keepalive-misses=100",
    ])?;
    let sent = || -> Result<u64> {
        let stats = host.json(&["stats", "--json"])?;
        stats["keepalive_sent"].as_u64().context("no counter")
    };
    let mut contacts = Tables::open(&host.pins()?)?.contacts.open(Access::Write)?;
    let now = clock::now();
    for number in 0..TERMINALS {
        let (key, binding) = contact(number, now);
        ensure!(contacts.insert(&key, binding, now) == Stored::New);
    }
    // By now it has found all of them.
    thread::sleep(Duration::from_secs(3));
    let before = (cpu_time(&agent)?, sent()?);
    let mut seconds = Vec::new();
    let mut last = before.1;
    for _ in 0..INTERVAL {
        thread::sleep(Duration::from_secs(1));
        let now = sent()?;
        seconds.push(now - last);
        last = now;
    }
    let cpu = cpu_time(&agent)? - before.0;
    let total = last - before.1;
    println!("{total} keepalives took {cpu:?} of CPU time; in each second: {seconds:?}");
    let expected = u64::from(TERMINALS);
    ensure!(
        (expected * 9 / 10..=expected * 12 / 10).contains(&total),
        "{total}"
    );
    let mean = total / u64::from(INTERVAL);
    ensure!(seconds.iter().all(|n| *n < 2 * mean), "{seconds:?}");
    let share = cpu.as_secs_f64() / f64::from(INTERVAL);
    ensure!(share < 0.02, "{:.1} % of a core", share * 100.0);
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

/// The agent reads a million contacts, of which most get no keepalive, for no more of a core than it may.
#[test]
fn a_million_contacts() -> Result<()> {
    const CONTACTS: u32 = 1_000_000;
    const SECONDS: u32 = 20;
    const PASS: Duration = Duration::from_secs(90);
    let host = Host::new()?;
    host.peer.ip("address add 203.0.113.77/24 dev eth0")?;
    host.netns.ip("route add default via 203.0.113.77")?;
    let _pbx = host.netns.udp("203.0.113.10:5060".parse::<SocketAddr>()?)?;
    let mut agent = host.run(&[
        "--iface",
        "eth0",
        "--keepalive=options",
        "--size-bindings=1048576",
        "--size-keepalives=1024",
    ])?;
    let mut contacts = Tables::open(&host.pins()?)?.contacts.open(Access::Write)?;
    let now = clock::now();
    for number in 0..CONTACTS {
        let (key, binding) = contact(number, now);
        ensure!(contacts.insert(&key, binding, now) == Stored::New);
    }
    // A pass through so many takes its time, for the agent has a small part of a core for it.
    let text = "terminals get no keepalives";
    agent.wait_until(text, PASS, |agent| agent.output().contains(text))?;
    let before = cpu_time(&agent)?;
    thread::sleep(Duration::from_secs(SECONDS.into()));
    let cpu = cpu_time(&agent)? - before;
    let share = cpu.as_secs_f64() / f64::from(SECONDS);
    println!("{CONTACTS} contacts take {:.1} % of a core", share * 100.0);
    ensure!(share < 0.06, "{:.1} % of a core", share * 100.0);
    stop(agent, Signal::SIGTERM).map(drop)
}

#[test]
fn they_need_one_more_capability() -> Result<()> {
    let host = Host::new()?;
    let error = refused(&host, &["--keepalive=options"])?;
    for word in ["--keepalive", "CAP_NET_RAW", "docs/keepalives.md"] {
        ensure!(error.contains(word), "no {word} in: {error}");
    }
    ensure!(host.programs().is_err(), "programs are left");
    Ok(())
}
