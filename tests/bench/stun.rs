//! STUN requests, answered by sipnat and by coturn.

use std::{fs, net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_bench_ebpf::{EDITS, Edit, Template, UDP, edit, seen};
use nat_common::{abi, counter::Counter};
use nat_tests::process::Process;
use nat_userspace::{
    loader::{DataPath, Loader, Stun},
    object,
    prefix::Prefix,
};

use crate::{
    feed::{Feed, Order, Way},
    machine,
    messages::{self, PBX, Random, Whose},
    program::{self, Case},
    report::{Figure, Goal, Part, Spread},
    rig::{End, Rig, SERVER_CPU},
};

const PORT: u16 = 3478;
const COOKIE: u32 = 0x2112_a442;
/// Packets of a batch.
const PACKETS: u32 = 1_000_000;
const BATCHES: usize = 9;
/// Frames that the kernel makes while coturn is asked: most of them are not due, and not sent.
const FRAMES: u32 = 6_000_000;
/// Requests a second that coturn is offered, to find out with how many it does best.
const OFFERS: [u32; 6] = [60_000, 80_000, 100_000, 130_000, 180_000, 250_000];

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
    part.add(
        Figure::new(
            "sent back by an empty program (XDP_TX)",
            bounced.rate,
            "requests/s",
        )
        .ratio(bounced.rate.median / coturn.rate.median, "coturn"),
    );

    for (what, rate) in [("without a limit", 0), ("20/s a source", 20)] {
        let mut path = load(rate)?;
        let link = rig.attach(End::Server, path.ingress()?)?;
        let answered = flood(&rig, &mut feed, seen::RIGHT)?;
        path.ingress()?.detach(link)?;
        decode(&feed.sample()?)?;
        let times = answered.rate.median / coturn.rate.median;
        part.add(
            Figure::new(
                format!("answered by sipnat, {what}"),
                answered.rate,
                "requests/s",
            )
            .ratio(times, "coturn"),
        );
        part.add(
            Figure::new(
                format!("answered by sipnat, {what}"),
                answered.per_cpu,
                "requests/s of CPU",
            )
            .ratio(answered.per_cpu.median / coturn.per_cpu.median, "coturn"),
        );
        part.add(Figure::new(
            format!("of what an empty program sends back, {what}"),
            answered.rate.median / bounced.rate.median,
            "",
        ));
        if rate == 0 {
            part.add(
                Figure::new("times as many as coturn", times, "").goal(Goal::aim_at_least(20.0)),
            );
        }
    }
    feed.detach("answers", counting)?;

    machine::pin(0, 0)?;
    machine::go_first()?;
    for (what, rate) in [("without a limit", 0), ("20/s a source", 20)] {
        let case = Case {
            what: format!("in: Binding request, answered, {what}"),
            way: Way::In,
            templates: requests.clone(),
            verdicts: &[Counter::StunAnswered],
            goal: Some(Goal::aim_at_most(100.0)),
        };
        part.add(case.measure(&mut feed, &mut load(rate)?, 1)?);
    }
    Ok(part)
}

/// The programs, answering STUN: so many a second to each source.
fn load(rate: u32) -> Result<DataPath> {
    let host = Prefix::of(Ipv4Addr::from(PBX).into(), 32).context("no prefix")?;
    let stun = Stun {
        port: Some(PORT),
        rate,
        ..Stun::default()
    };
    Loader::new(&object::read(None)?)
        .stun(Some(stun))
        .address(host, abi::address::LOCAL)
        .load()
}

/// Binding requests as clients send them: most with nothing in them, some say by which software.
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
        let mut template = messages::from_terminal(Whose::New, PORT, &request);
        // The transaction begins with the identity.
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

/// How many were answered.
struct Answered {
    /// A second.
    rate: Spread,
    /// A second of the server's CPU.
    per_cpu: Spread,
}

/// Sends more than can be answered.
fn flood(rig: &Rig, feed: &mut Feed, counted: u32) -> Result<Answered> {
    let (mut rates, mut per_cpu) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let (before, busy) = (feed.seen(counted)?, rig.busy(End::Server)?);
        let sent = rig.send(feed, Order::Random, None, PACKETS)?;
        let count = feed.seen(counted)? - before;
        rates.push(sent.rate(count));
        per_cpu.push(count as f64 / (rig.busy(End::Server)? - busy).as_secs_f64());
    }
    Ok(Answered {
        rate: Spread::of(rates),
        per_cpu: Spread::of(per_cpu),
    })
}

/// What coturn answers.
fn coturn(rig: &Rig, feed: &mut Feed, part: &mut Part) -> Result<Answered> {
    // Packets reach it by the same path as they reach XDP.
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

    let ask = |feed: &mut Feed, per_second: u32| -> Result<(f64, f64)> {
        let threads = tasks(server.pid())?;
        let busy = || -> Result<Duration> {
            let own: Duration = threads
                .iter()
                .map(|thread| machine::cpu_time(*thread))
                .sum::<Result<_>>()?;
            Ok(own + rig.busy(End::Server)?)
        };
        let (before, busy_before) = (feed.seen(seen::RIGHT)?, busy()?);
        let sent = rig.send(feed, Order::Random, Some(per_second), FRAMES)?;
        let count = feed.seen(seen::RIGHT)? - before;
        let busy = busy()? - busy_before;
        Ok((sent.rate(count), count as f64 / busy.as_secs_f64()))
    };
    let mut best = (0.0, 0);
    for offer in OFFERS {
        let (rate, _) = ask(feed, offer)?;
        eprintln!("  coturn, offered {offer}/s: {rate:.0} answered");
        if rate > best.0 {
            best = (rate, offer);
        }
    }
    ensure!(best.0 > 0.0, "coturn answers nothing:\n{}", server.output());
    let (mut rates, mut per_cpu) = (Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let (rate, of_cpu) = ask(feed, best.1)?;
        rates.push(rate);
        per_cpu.push(of_cpu);
    }
    decode(&feed.sample()?)?;
    feed.detach("empty", link)?;
    let answered = Answered {
        rate: Spread::of(rates),
        per_cpu: Spread::of(per_cpu),
    };
    let what = format!("answered by coturn, offered {}/s", best.1);
    part.add(Figure::new(what.clone(), answered.rate, "requests/s"));
    part.add(Figure::new(what, answered.per_cpu, "requests/s of CPU"));
    Ok(answered)
}

/// The threads of a process.
fn tasks(pid: u32) -> Result<Vec<i32>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    let ids = tasks
        .flatten()
        .filter_map(|task| task.file_name().to_str()?.parse().ok());
    Ok(ids.collect())
}

/// An answer says where it goes (RFC 8489 14.2).
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
