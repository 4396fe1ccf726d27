//! STUN requests, answered by sipnat and by coturn.

use std::{fs, net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_bench_ebpf::{EDITS, Edit, Template, UDP, edit, seen};
use nat_common::abi::{self, Counter};
use nat_test_support::process::Process;
use nat_userspace::{
    host::prefix::Prefix,
    kernel::load::{DataPath, HostAddresses, Loader, Programs},
    settings::{Settings, Stun},
};

use crate::{
    feed::{self, Direction, Feed, Order},
    machine,
    messages::{self, PBX, Random, Terminal},
    program::{self, Case},
    report::{Figure, Goal, Part},
    rig::{End, OF_CPU, Rate, Rates, Received, Rig, SERVER_CPU},
};

const PORT: u16 = 3478;
const COOKIE: u32 = 0x2112_a442;
/// Packets of a batch.
const PACKETS: u32 = 1_000_000;
const BATCHES: usize = 9;
/// Frames that the kernel makes while coturn is measured: most of them are not due, and not sent.
const FRAMES: u32 = 6_000_000;
/// Rates of requests that are offered to coturn, to find its best one.
const OFFERS: [u32; 6] = [60_000, 80_000, 100_000, 130_000, 180_000, 250_000];

/// Limits of one source and of all, a second. Every request is answered: no source asks twice, and nobody asks more often
/// than the last limit allows.
const LIMITS: [(&str, u32, u32); 3] = [
    ("without a limit", 0, 0),
    ("20/s a source", 20, 0),
    ("20/s a source, and a limit of all", 20, u32::MAX),
];

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "stun",
        "Binding requests over veth, made and the answers counted on one core; all that the server does is on the other. \
         Source and transaction are another's in each. An answer counts if it is a success response that goes where its \
         transaction came from; some are decoded. Sipnat gets more than it can answer; of coturn (-S, one worker) its best \
         is taken, of several offers.",
    );
    let mut feed = Feed::load()?;
    let rig = Rig::new()?;
    let requests = requests();
    feed.load_templates(&requests)?;
    let counting = feed.attach(&rig, End::Client, "answers")?;

    let coturn = coturn(&rig, &mut feed, &mut part)?;
    let link = feed.attach(&rig, End::Server, "bounce")?;
    let bounced = flood(&rig, &mut feed, seen::OTHER)?;
    feed.detach("bounce", link)?;
    for (unit, bounced, coturn) in [
        ("packets/s", bounced.wall, coturn.wall),
        (OF_CPU, bounced.cpu, coturn.cpu),
    ] {
        part.add(
            Figure::new("sent back by an empty program (XDP_TX)", bounced, unit)
                .ratio(bounced.median / coturn.median, "coturn"),
        );
    }

    for (what, rate, total) in LIMITS {
        let mut path = load(&mut part, rate, total)?;
        let link = rig.attach(End::Server, path.ingress()?)?;
        let answered = flood(&rig, &mut feed, seen::RIGHT)?;
        path.ingress()?.detach(link)?;
        decode(&feed.sample()?)?;
        let what = format!("answered by sipnat, {what}");
        for (unit, answered, coturn, bounced, goal) in [
            ("packets/s", answered.wall, coturn.wall, bounced.wall, None),
            (OF_CPU, answered.cpu, coturn.cpu, bounced.cpu, Some(20.0)),
        ] {
            part.add(
                Figure::new(what.clone(), answered, unit)
                    .ratio(answered.median / bounced.median, "the empty program"),
            );
            let times = Figure::new(
                format!("{what}, {unit}"),
                answered.median / coturn.median,
                "times coturn",
            );
            part.add(match goal {
                Some(target) if what == LIMITS[0].0 => times.goal(Goal::target_at_least(target)),
                _ => times,
            });
        }
    }
    feed.detach("answers", counting)?;

    machine::pin(0, 0)?;
    machine::go_first(0)?;
    let case = |what: String, verdicts, goal| Case {
        what,
        direction: Direction::In,
        templates: requests.clone(),
        verdicts,
        goal,
        point: None,
    };
    for (what, rate, total) in LIMITS {
        let what = format!("in: Binding request, answered, {what}");
        let case = case(
            what,
            &[Counter::StunAnswered],
            Some(Goal::target_at_most(100.0)),
        );
        let mut path = load(&mut part, rate, total)?;
        part.add(case.measure(&mut feed, &mut path, 1)?);
    }
    // While it is measured, a few are answered.
    let case = case(
        "in: Binding request, dropped above the limit of all sources".into(),
        &[Counter::StunAnswered, Counter::StunTotalLimited],
        None,
    );
    let Stun {
        rate, total_rate, ..
    } = Stun::default();
    let mut path = load(&mut part, rate, total_rate)?;
    part.add(case.measure(&mut feed, &mut path, 1)?);
    Ok(part)
}

/// Loads the programs with STUN, at this rate for each source and at that for all together.
fn load(part: &mut Part, rate: u32, total_rate: u32) -> Result<DataPath> {
    let host = Prefix::of(Ipv4Addr::from(PBX).into(), 32).context("no prefix")?;
    let stun = Stun {
        answer: true,
        port: PORT,
        rate,
        total_rate,
        ..Stun::default()
    };
    let settings = Settings {
        stun,
        ..Settings::default()
    };
    let addresses = HostAddresses {
        kinds: vec![(host, abi::address::LOCAL)],
        ..HostAddresses::default()
    };
    part.load(Loader::new(&feed::sipnat()?, &settings).addresses(addresses))
}

/// Returns Binding requests as clients send them: most without attributes, some with SOFTWARE.
fn requests() -> Vec<Template> {
    program::mix(|random: &mut Random| {
        let mut attributes = Vec::new();
        if random.below(4) == 0 {
            let name = &b"Client 1.23.4567"[..4 + 4 * random.below(4)];
            attributes.extend(0x8022_u16.to_be_bytes());
            attributes.extend((name.len() as u16).to_be_bytes());
            attributes.extend(name);
        }
        let mut request = Vec::new();
        request.extend(1_u16.to_be_bytes());
        request.extend((attributes.len() as u16).to_be_bytes());
        request.extend(COOKIE.to_be_bytes());
        request.extend(
            (0..12)
                .map(|_| random.below(256) as u8)
                .map(|byte| byte | 0x80),
        );
        request.extend(attributes);
        let mut template = messages::from_terminal(Terminal::New, PORT, &request);
        // The transaction ID begins with the identity.
        let place = template
            .edits
            .iter()
            .position(|edit| edit.kind == edit::NONE);
        let at = (UDP + 8 + 8) as u16;
        template.edits[place.unwrap_or(EDITS - 1)] = Edit {
            at,
            kind: edit::RAW,
        };
        template
    })
}

/// Measures a counter under more requests than can be answered.
fn flood(rig: &Rig, feed: &mut Feed, counted: u32) -> Result<Rates> {
    let mut rates = Vec::new();
    for _ in 0..BATCHES {
        let before = feed.seen(counted)?;
        let received = rig.flood(feed, PACKETS)?;
        rates.push(received.of(feed.seen(counted)? - before));
    }
    Ok(Rates::of(&rates))
}

/// Measures coturn's answers.
fn coturn(rig: &Rig, feed: &mut Feed, part: &mut Part) -> Result<Rates> {
    // Packets reach coturn by the same path as they reach XDP.
    let link = feed.attach(rig, End::Server, "empty")?;
    let host = Ipv4Addr::from(PBX).to_string();
    let mut command = Command::new("taskset");
    command
        .args([
            "-c",
            &SERVER_CPU.to_string(),
            "turnserver",
            "-n",
            "-S",
            "-m",
            "1",
        ])
        .args(["-L", &host, "-p", &PORT.to_string()])
        .args([
            "--no-cli",
            "--no-tls",
            "--no-dtls",
            "--no-tcp",
            "--log-file",
            "/dev/null",
        ])
        .args(["--pidfile", "coturn.pid", "--userdb", "coturn.db"]);
    let mut server = Process::spawn(&rig.server, &mut command, tempfile::tempdir()?)?;
    server.wait_bound(PORT, Duration::from_secs(10))?;

    let threads = tasks(server.pid())?;
    let busy = || -> Result<Duration> {
        let own = threads.iter().map(|thread| machine::cpu_time(*thread));
        Ok(own.sum::<Result<Duration>>()? + rig.busy(End::Server)?)
    };
    let ask = |feed: &mut Feed, per_second: u32| -> Result<Rate> {
        let (count, before) = (feed.seen(seen::RIGHT)?, busy()?);
        let sent = rig.send(feed, Order::Random, Some(per_second), FRAMES)?;
        let busy = busy()? - before;
        Ok(Received { sent, busy }.of(feed.seen(seen::RIGHT)? - count))
    };
    let mut best = (0.0, 0);
    for offer in OFFERS {
        let answered = ask(feed, offer)?.wall;
        eprintln!("  coturn, offered {offer}/s: {answered:.0} answered");
        if answered > best.0 {
            best = (answered, offer);
        }
    }
    ensure!(best.0 > 0.0, "coturn answers nothing:\n{}", server.output());
    let rates: Vec<_> = (0..BATCHES)
        .map(|_| ask(feed, best.1))
        .collect::<Result<_>>()?;
    decode(&feed.sample()?)?;
    feed.detach("empty", link)?;
    let answered = Rates::of(&rates);
    let what = format!("answered by coturn, offered {}/s", best.1);
    part.add(Figure::new(what.clone(), answered.wall, "packets/s"));
    part.add(Figure::new(what, answered.cpu, OF_CPU));
    Ok(answered)
}

/// Returns the threads of a process.
pub(crate) fn tasks(pid: u32) -> Result<Vec<i32>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    let ids = tasks
        .flatten()
        .filter_map(|task| task.file_name().to_str()?.parse().ok());
    Ok(ids.collect())
}

/// Reads the mapped address of an answer (RFC 8489 14.2).
fn decode(frame: &[u8]) -> Result<()> {
    const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    let message = frame.get(UDP + 8..).context("no answer was kept")?;
    let word = |at: usize| -> Result<u16> {
        let bytes = message.get(at..at + 2).context("an answer is cut off")?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let long =
        |at: usize| -> Result<u32> { Ok(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?)) };
    ensure!(
        word(0)? == 0x0101 && long(4)? == COOKIE,
        "no success response: {message:02x?}"
    );
    ensure!(
        usize::from(word(2)?) + 20 == message.len(),
        "its length is another: {message:02x?}"
    );
    let mut at = 20;
    while at < message.len() {
        let (kind, length) = (word(at)?, usize::from(word(at + 2)?));
        if kind == XOR_MAPPED_ADDRESS {
            let port = word(at + 6)? ^ (COOKIE >> 16) as u16;
            let address = (long(at + 8)? ^ COOKIE).to_be_bytes();
            ensure!(
                address == frame[UDP - 4..UDP] && port.to_be_bytes() == frame[UDP + 2..UDP + 4],
                "{address:?}:{port} is not where it goes: {frame:02x?}"
            );
            return Ok(());
        }
        at += 4 + length.next_multiple_of(4);
    }
    anyhow::bail!("no XOR-MAPPED-ADDRESS: {message:02x?}")
}
