//! The metrics: what they say, to whom, and that they are documented.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::http::{self, Answer};
use nix::sys::signal::Signal;

use super::{Host, STOP, stop, user};

const ADDRESS: &str = "127.0.0.1:9060";
const METRICS: [&str; 4] = ["--iface", "eth0", "--metrics", ADDRESS];
/// Time after which an answer is read anew, with few bindings.
const FRESH: Duration = Duration::from_secs(1);

fn request(host: &Host, method: &str, target: &str) -> Result<Answer> {
    http::request(&host.netns, ADDRESS.parse()?, method, target)
}

/// Returns the text of the metrics.
fn text(host: &Host) -> Result<String> {
    let answer = request(host, "GET", "/metrics")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.body)
}

/// Returns the value of a sample, as it is written, such as `sipnat_attached{interface="eth0"}`.
fn value(text: &str, sample: &str) -> Result<f64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let value = value.with_context(|| format!("no {sample} in:\n{text}"))?;
    Ok(value.parse()?)
}

/// Waits until a sample has such a value.
fn wait_for(host: &Host, sample: &str, wanted: impl Fn(f64) -> bool) -> Result<()> {
    let deadline = Instant::now() + STOP;
    loop {
        let is = value(&text(host)?, sample)?;
        if wanted(is) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{sample} is still {is}");
        thread::sleep(FRESH / 4);
    }
}

/// Names of samples, with the type of their family and the names of their labels.
type Listed = BTreeMap<String, (String, BTreeSet<String>)>;

/// Reads what the agent serves.
fn served(text: &str) -> Result<Listed> {
    let mut listed = Listed::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let kind = described.split(' ').next_back();
            family = kind.context("no type")?.to_owned();
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, labels) = match line.split_once('{') {
            Some((name, labels)) => (name, labels.rsplit_once('}').context("no }")?.0),
            None => (line.split(' ').next().context("no name")?, ""),
        };
        let labels = labels.split("\",").filter(|label| !label.is_empty());
        let labels = labels.filter_map(|label| label.split('=').next());
        let labels: BTreeSet<String> = labels.map(String::from).collect();
        let is = (family.clone(), labels);
        let known = listed.entry(name.to_owned()).or_insert_with(|| is.clone());
        ensure!(*known == is, "{name} has two kinds of samples");
    }
    Ok(listed)
}

/// Reads the list of docs/metrics.md.
fn documented() -> Result<Listed> {
    let page = include_str!("../../../docs/metrics.md");
    let (_, list) = page.split_once("## List").context("no list")?;
    let (list, _) = list.split_once("\n## ").context("no end of the list")?;
    let rows = list.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = |cell: &str| -> Vec<String> {
            let names = cell.split(", ").filter(|name| !name.is_empty());
            names
                .map(|name| name.trim_matches('`').to_owned())
                .collect()
        };
        let [_, name, kind, labels, ..] = cells[..] else {
            anyhow::bail!("no row of four cells: {row}");
        };
        let labels = names(labels).into_iter().collect();
        Ok((names(name).concat(), (kind.to_owned(), labels)))
    })
    .collect()
}

#[test]
fn all_are_documented_and_all_documented_are_there() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(
        &[
            &METRICS[..],
            &["--media", "--metrics-run-time", "--keepalive=options"],
        ]
        .concat(),
    )?;
    let text = text(&host)?;
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(served(&text)?, documented()?);
    let without = stop(agent, Signal::SIGTERM)?;
    assert!(without.contains("sipnat: metrics at http://127.0.0.1:9060/metrics\n"));

    // Without media and keepalives there are none of them.
    let agent = host.run(&METRICS)?;
    let mut fewer = documented()?;
    let is_off =
        |name: &str| name.starts_with("sipnat_media_") || name.starts_with("sipnat_keepalive_");
    fewer.retain(|name, _| !is_off(name));
    assert_eq!(served(&self::text(&host)?)?, fewer);
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn they_are_those_of_the_commands() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&METRICS)?;
    // A packet that is no SIP, on a SIP port.
    let peer: SocketAddr = "203.0.113.77:5060".parse()?;
    host.peer.ip("address add 203.0.113.77/24 dev eth0")?;
    let socket = host.peer.udp(peer)?;
    let send = |socket: &UdpSocket| socket.send_to(b"nonsense", "203.0.113.10:5060");
    for _ in 0..7 {
        send(&socket)?;
    }
    let sample = "sipnat_packets_total{direction=\"ingress\",reason=\"in_not_sip\"}";
    wait_for(&host, sample, |count| count == 7.0)?;

    let stats = host.json(&["stats", "--json"])?;
    let text = text(&host)?;
    for (name, count) in stats.as_object().context("an object")? {
        let count = count.as_f64().context("a number")?;
        let found = text
            .lines()
            .find(|line| line.contains(&format!("=\"{name}\"}}")));
        // What happens all the time: neighbours look for each other.
        if name.starts_with("media_") || name.ends_with("_not_ip") || name.ends_with("_not_udp") {
            continue;
        }
        let line = found.with_context(|| format!("no {name} in:\n{text}"))?;
        assert!(
            line.ends_with(&format!(" {count}")),
            "{name}: {count}: {line}"
        );
    }
    let status = host.json(&["status", "--json"])?;
    for table in status["tables"].as_array().context("tables")? {
        let name = table["name"].as_str().context("a name")?;
        let size = value(&text, &format!("sipnat_table_capacity{{table=\"{name}\"}}"))?;
        assert_eq!(Some(size), table["size"].as_f64());
    }
    let memory = value(&text, "sipnat_tables_memory_bytes")?;
    assert_eq!(Some(memory), status["memory_bytes"].as_f64());
    let version = status["version"].as_str().context("version")?;
    assert!(text.contains(&format!("sipnat_build_info{{version=\"{version}\",abi=\"")));
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn an_interface_without_the_programs_shows() -> Result<()> {
    let host = Host::new()?;
    let args = [&METRICS[..], &["--iface", "eth1"]].concat();
    let agent = host.run(&args)?;
    let [first, second] =
        ["eth0", "eth1"].map(|name| format!("sipnat_attached{{interface=\"{name}\"}}"));
    wait_for(&host, &first, |on| on == 1.0)?;
    host.netns.ip("link del eth0")?;
    wait_for(&host, &first, |on| on == 0.0)?;
    wait_for(&host, &second, |on| on == 1.0)?;
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn runs_of_programs_are_measured_on_request() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&[&METRICS[..], &["--metrics-run-time"]].concat())?;
    host.peer.ip("address add 203.0.113.77/24 dev eth0")?;
    let socket = host.peer.udp("203.0.113.77:4000".parse::<SocketAddr>()?)?;
    for _ in 0..10 {
        socket.send_to(b"nonsense", "203.0.113.10:5060")?;
    }
    wait_for(
        &host,
        "sipnat_program_runs_total{program=\"ingress\"}",
        |runs| runs >= 10.0,
    )?;
    wait_for(
        &host,
        "sipnat_program_run_seconds_total{program=\"ingress\"}",
        |seconds| seconds > 0.0,
    )?;
    stop(agent, Signal::SIGTERM)?;
    // A user without CAP_SYS_ADMIN is told what to do.
    let more = [&METRICS[2..], &["--metrics-run-time"]].concat();
    let output = user::refused(&host, &more)?;
    for words in ["CAP_SYS_ADMIN", "sysctl -w kernel.bpf_stats_enabled=1"] {
        assert!(output.contains(words), "{output}");
    }
    Ok(())
}

#[test]
fn requests_are_answered_as_http_wants_it() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&METRICS)?;
    // One that says nothing keeps none from the others, and one that goes on for ever ends.
    let mute = (0..8).map(|_| http::connect(&host.netns, ADDRESS.parse()?));
    let _mute = mute.collect::<Result<Vec<_>>>()?;
    let answer = request(&host, "GET", "/metrics?name[]=up")?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(answer.head.to_lowercase().contains(kind), "{}", answer.head);
    let again = request(&host, "GET", "/metrics")?;
    assert_eq!(again.body, answer.body, "it was read again at once");
    assert_eq!(request(&host, "HEAD", "/metrics")?.body, "");
    // The time that the reading took differs. A busy machine takes longer, and rests longer.
    let deadline = Instant::now() + STOP;
    while text(&host)? == answer.body {
        ensure!(Instant::now() < deadline, "it is not read again");
        thread::sleep(FRESH);
    }
    for (method, target, status, words) in [
        ("GET", "/", 404, "see /metrics"),
        ("GET", "/metrics/", 404, "see /metrics"),
        ("POST", "/metrics", 405, "only GET"),
    ] {
        let answer = request(&host, method, target)?;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        assert!(answer.body.contains(words), "{answer:?}");
    }
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn an_address_that_cannot_be_bound_is_refused_and_changes_nothing() -> Result<()> {
    let host = Host::new()?;
    let run = |address: &'static str| ["run", "--iface", "eth0", "--metrics", address];
    let elsewhere = "198.51.100.99:9060";
    let words = [
        "cannot serve metrics at 198.51.100.99:9060",
        "Cannot assign",
        "--metrics 127.0.0.1",
    ];
    host.refused(&run(elsewhere), 1, &words)?;
    assert!(!host.pins()?.exists() && !host.state_file()?.exists());
    for wrong in ["9060", "localhost:9060", "127.0.0.1", "127.0.0.1:65536"] {
        host.refused(&run(wrong), 2, &["such as 127.0.0.1:9060 or [::1]:9060"])?;
    }
    let alone = ["run", "--iface", "eth0", "--metrics-run-time"];
    host.refused(&alone, 2, &["no effect without --metrics"])?;

    // What an earlier agent left works on.
    let agent = host.run(&[&METRICS[..], &["--keep"]].concat())?;
    let programs = host.programs()?;
    host.refused(&run(ADDRESS), 1, &["already has a sipnat agent"])?;
    stop(agent, Signal::SIGTERM)?;
    host.refused(&run(elsewhere), 1, &words[..1])?;
    assert_eq!(host.pinned_programs()?, programs);
    assert_eq!(host.xdp()?[0], Some(programs[0]));
    // The address is free at once.
    let agent = host.run(&METRICS)?;
    text(&host)?;
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}
