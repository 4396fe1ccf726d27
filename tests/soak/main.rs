//! The soak: thousands of phones behind many NATs, with calls, changes of mapping and a flood of junk. Every request
//! of the PBX must reach its own phone, and no other.
//!
//! The soak runs without sipnat first, and then nothing must arrive: otherwise the network would prove nothing.

mod audio;
mod crashes;
mod faults;
mod flood;
mod moments;
mod network;
mod pbx;
mod phones;
mod shared;
mod transactions;

use std::{
    collections::HashSet,
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use nat_test_support::{PBX, Sipnat, footprint::Footprint};
use serde_json::Value;

use crate::{
    audio::Audio,
    crashes::Crashes,
    faults::Faults,
    flood::Flood,
    network::{Network, Site},
    pbx::Pbx,
    phones::{Moved, Phones},
    shared::{Figure, Shared, Stage, number, row},
};

/// Plays the soak: every request of the PBX must reach its own phone.
#[derive(Debug, Clone, Parser)]
#[command(name = "sipnat-soak")]
struct Plan {
    /// Phones, spread evenly over the NATs
    #[arg(long, default_value_t = 200)]
    phones: usize,
    /// Sites, each with a NAT of its own
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    nats: u16,
    /// Duration of the load
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Junk packets a second, at most: no more than the PBX reads
    #[arg(long, default_value_t = 2000)]
    junk: u64,
    /// Interval of changes of each site's mapping, in seconds
    #[arg(long, default_value_t = 60)]
    change: u64,
    /// Have all calls speak: their audio must arrive, too
    #[arg(long)]
    media: bool,
    /// Kill the agent so often, at random moments, and start the next one at once
    #[arg(long, default_value_t = 0)]
    kills: u32,
    /// Have so many faults befall the agent, at random moments: it is stopped, loses its pins, may open no file, is
    /// reloaded, and has no disk for its log
    #[arg(long, default_value_t = 0)]
    faults: u32,
    /// Option of the agent, such as --agent=--size-transactions=1048576; repeatable
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    agent: Vec<String>,
}

/// Time of the run without sipnat.
const WITHOUT: Duration = Duration::from_secs(8);
/// Time for pending requests to end: longer than any timer of RFC 3261, including timer C.
const DRAIN: Duration = Duration::from_secs(240);
/// Interval of progress lines.
const LINE: Duration = Duration::from_secs(15);
/// Time until all phones are registered. No mapping changes before.
const SETTLE: Duration = Duration::from_secs(10);
/// Lost requests that are explained at once. The faults wait meanwhile.
const MOST_EXPLAINED: usize = 10;
/// Growth of the agent's memory, in kilobytes, beyond which it leaks.
const MOST_GROWTH: u64 = 4096;

impl Plan {
    /// Returns the duration of the load.
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

fn main() -> ExitCode {
    let plan = Plan::parse();
    // `cargo xtask test` reads these lines as it does those of a test harness.
    let (word, failed) = match soak(&plan) {
        Ok(()) => ("ok", 0),
        Err(error) => {
            println!("error: {error:#}");
            ("FAILED", 1)
        }
    };
    println!("test soak ... {word}");
    println!(
        "test result: {word}. {} passed; {failed} failed; 0 ignored",
        1 - failed
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn soak(plan: &Plan) -> Result<()> {
    let nats = usize::from(plan.nats);
    let per_site = plan.phones / nats;
    ensure!(
        (1..=240).contains(&per_site),
        "{per_site} phones a NAT: from 1 to 240 will do"
    );
    let phones = per_site * nats;
    println!("{phones} phones behind {nats} NATs, {} min", plan.minutes);
    let mut network = Network::new(nats, per_site)?;

    let without = Shared::new(phones);
    play(plan, &without, &mut network, per_site, 0, |_, _| {
        thread::sleep(WITHOUT);
        Ok(())
    })?;
    println!("\nWithout sipnat, {} s:\n{without}", WITHOUT.as_secs());
    ensure!(without.get(Figure::Sent) > 0, "the PBX asked nothing");
    ensure!(
        without.get(Figure::Right) + without.get(Figure::Wrong) == 0
            && without.get(Figure::AudioRight) == 0,
        "requests of the PBX arrive without sipnat: this network proves nothing"
    );

    let pbx = Arc::clone(&network.pbx);
    let mut arguments: Vec<&str> = plan.agent.iter().map(String::as_str).collect();
    if plan.media {
        arguments.push("--media");
    }
    let mut agent = Sipnat::start(&pbx, &arguments)?;
    let (pins, memory) = (agent.pins()?, agent.memory_kb()?);
    let files = agent.open_files()?;
    let surroundings = agent.surroundings()?;
    let footprint = Footprint::of(&pins)?;
    let mut crashes = Crashes::new(plan.kills, plan.duration(), pbx.as_ref(), &arguments);
    let mut faults = Faults::new(plan.faults, plan.duration());
    let shared = Shared::new(phones);
    let outcome = play(
        plan,
        &shared,
        &mut network,
        per_site,
        plan.junk,
        |sites, moved| {
            load(plan, &shared, sites, per_site, moved, |elapsed| {
                let stricken = faults.strike(elapsed, &mut agent, &mut crashes)?;
                let killed = crashes.strike(elapsed, &mut agent)?;
                explain(&shared.take_lost(), &agent);
                Ok(killed && stricken)
            })?;
            agent.is_ready()?;
            shared.set_stage(Stage::Quiet);
            shared.wait_idle(DRAIN)?;
            let missing = missing_bindings(&shared, &agent)?;
            shared.set_stage(Stage::Close);
            shared.wait_idle(DRAIN)?;
            explain(&shared.take_lost(), &agent);
            Ok(missing)
        },
    );
    println!(
        "\nWith sipnat, {} min:\n{shared}{}",
        plan.minutes,
        // An agent that has died explains itself in the outcome.
        report(&agent, memory).unwrap_or_else(|error| format!("{error:#}"))
    );
    let missing = outcome?;
    let grown = agent.memory_kb()?.saturating_sub(memory);
    footprint.is_all_of(&pins)?;
    let mut all = crashes.footprint();
    all.add(Footprint::of(&pins)?);
    println!(
        "{} kills, {} faults; programs, maps and links: {:?}; open files of the agent: {files} at first, {} at last",
        crashes.done(),
        faults.done(),
        footprint.counts(),
        agent.open_files()?
    );
    let opened = agent.open_files()?.saturating_sub(files);
    let is_in = agent.surroundings()?;
    let missed = missing.len();
    for line in missing.iter().take(20) {
        println!("missing: {line}");
    }
    agent.stop()?;
    all.is_gone()?;
    ensure!(!pins.exists(), "pins are left in {}", pins.display());
    ensure!(
        grown <= MOST_GROWTH,
        "the agent's memory has grown by {grown} kB"
    );
    // A command of this very moment may take one.
    ensure!(opened <= 2, "the agent has {opened} more files open");
    ensure!(
        is_in == surroundings,
        "namespaces and mounts of the agent: {is_in:#?}, at first {surroundings:#?}"
    );

    for figure in [
        Figure::Right,
        Figure::CallsIn,
        Figure::CallsOut,
        Figure::Reinvites,
        Figure::Changes,
        Figure::Junk,
    ] {
        ensure!(
            shared.get(figure) > 0,
            "no {figure:?}: this soak proves nothing"
        );
    }
    ensure!(
        shared.dropped() == 0,
        "the PBX of this soak was too slow for {} datagrams, so that nothing is proven; use less --junk",
        shared.dropped()
    );
    for figure in [
        Figure::Wrong,
        Figure::WrongResponses,
        Figure::Lost,
        Figure::PhonesLost,
    ] {
        ensure!(
            shared.get(figure) == 0,
            "{figure:?}: {}",
            shared.get(figure)
        );
    }
    ensure!(
        shared.get(Figure::LostInChange) * 100 <= shared.get(Figure::Sent),
        "changes of mapping cost more than one request in a hundred"
    );
    if plan.media {
        audio::check(&shared)?;
    }
    ensure!(
        missed == 0,
        "{missed} bindings of registrations and calls are missing"
    );
    Ok(())
}

/// Runs PBX, phones and flood until `conduct` returns.
fn play<T>(
    plan: &Plan,
    shared: &Shared,
    network: &mut Network,
    per_site: usize,
    junk: u64,
    conduct: impl FnOnce(&mut [Site], Sender<Moved>) -> Result<T>,
) -> Result<T> {
    let (moved, moves) = mpsc::channel();
    let pbx = Pbx::new(shared, &network.pbx)?;
    let phones = Phones::new(shared, &network.sites, per_site, moves)?;
    let flood = Flood::new(shared, &network.isp, junk)?;
    let audio = if plan.media {
        Some(Audio::new(shared, &network.pbx, &network.sites, per_site)?)
    } else {
        None
    };
    thread::scope(|scope| {
        let pbx = scope.spawn(|| pbx.serve());
        let phones = scope.spawn(|| phones.play());
        let flood = scope.spawn(|| flood.pour());
        let audio = scope.spawn(|| audio.map_or(Ok(()), Audio::play));
        let result = conduct(&mut network.sites, moved);
        shared.set_stage(Stage::Over);
        let ended = [pbx.join(), phones.join(), flood.join(), audio.join()];
        for end in ended {
            end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        result
    })
}

/// The load runs by itself. This changes the mappings, one site after the other, and calls `strike` with the time all the while: the load
/// goes on until that returns true.
fn load(
    plan: &Plan,
    shared: &Shared,
    sites: &mut [Site],
    per_site: usize,
    moved: Sender<Moved>,
    mut strike: impl FnMut(Duration) -> Result<bool>,
) -> Result<()> {
    let pause = Duration::from_secs(plan.change) / sites.len() as u32;
    let start = Instant::now();
    let (mut next_change, mut next_line) = (SETTLE, LINE);
    let mut turns = (0..sites.len()).cycle();
    while !strike(start.elapsed())? || start.elapsed() < plan.duration() {
        thread::sleep(Duration::from_millis(50));
        if start.elapsed() >= next_change
            && let Some(site) = turns.next()
        {
            next_change = start.elapsed() + pause;
            (site * per_site..(site + 1) * per_site).for_each(|phone| shared.changes(phone));
            sites[site].change()?;
            let wan = sites[site].wan();
            moved
                .send(Moved { site, wan })
                .context("the phones are gone")?;
            shared.count(Figure::Changes);
        }
        if start.elapsed() >= next_line {
            next_line += LINE;
            println!("{:>4} s: {}", start.elapsed().as_secs(), shared.line());
        }
    }
    Ok(())
}

/// Prints what sipnat did in the calls of requests that were lost, while it remembers.
fn explain(lost: &[String], agent: &Sipnat<'_>) {
    for call_id in lost.iter().take(MOST_EXPLAINED) {
        match agent.command(&["explain", call_id]) {
            Ok(story) => println!("{story}"),
            Err(error) => println!("{error:#}"),
        }
    }
}

/// Returns registrations and calls that the PBX knows and sipnat does not know, or not at their mapping.
fn missing_bindings(shared: &Shared, agent: &Sipnat<'_>) -> Result<Vec<String>> {
    let known = shared.known();
    ensure!(known.iter().any(|phone| phone.in_call), "no call is up");
    let listing = agent.json(&["bindings", "list"])?;
    let rows = listing["bindings"].as_array().context("no bindings")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let there: HashSet<_> = rows
        .iter()
        .filter(|row| row["state"] != "pending")
        .filter(|row| {
            row["notes"]
                .as_array()
                .is_none_or(|notes| !notes.contains(&"ended".into()))
        })
        .map(|row| {
            (
                text(&row["kind"]),
                text(&row["terminal"]),
                text(&row["learned"]),
            )
        })
        .collect();
    let calls = known.iter().filter(|phone| phone.in_call).count();
    println!(
        "checking the bindings of {} registrations and {calls} calls",
        known.len()
    );
    let mut missing = Vec::new();
    for phone in known {
        let kinds: &[&str] = if phone.in_call {
            &["contact", "dialog"]
        } else {
            &["contact"]
        };
        for kind in kinds {
            let terminal = format!("{}@{}", number(phone.phone), PBX.ip());
            let row = ((*kind).to_owned(), terminal, phone.source.to_string());
            if !there.contains(&row) {
                missing.push(format!("{row:?}"));
            }
        }
    }
    Ok(missing)
}

/// Returns the agent's status and that of its kernel programs.
fn report(agent: &Sipnat<'_>, memory: u64) -> Result<String> {
    let mut text = String::new();
    let stats = agent.json(&["stats"])?;
    let stats = stats.as_object().context("no counters")?;
    for (name, count) in stats {
        if count.as_u64() > Some(0) {
            row(&mut text, name, count)?;
        }
    }
    let status = agent.json(&["status"])?;
    for table in status["tables"].as_array().context("no tables")? {
        let fill = format!("{} of {}", table["used"], table["size"]);
        row(&mut text, table["name"].as_str().unwrap_or_default(), fill)?;
    }
    row(&mut text, "memory of the agent at first, kB", memory)?;
    row(
        &mut text,
        "memory of the agent at last, kB",
        agent.memory_kb()?,
    )?;
    Ok(text)
}
