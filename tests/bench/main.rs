//! Benchmarks of sipnat, of an empty program, and of other software with the same task.

mod alg;
mod chart;
mod compare;
mod feed;
mod flood;
mod kamailio;
mod machine;
mod media;
mod messages;
mod peers;
mod pktgen;
mod program;
mod report;
mod rig;
mod rtpengine;
mod scale;
mod sends;
mod stun;
mod wire;
mod worst;

use std::{path::PathBuf, process::ExitCode, thread};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use serde_json::json;

use crate::{machine::Machine, pktgen::Far, report::Part};

/// Measures sipnat. Exits with 1 when a figure misses what it must reach.
#[derive(Debug, Parser)]
#[command(name = "sipnat-bench")]
struct Plan {
    /// Parts to measure; all if none is named
    parts: Vec<Name>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw charts (SVG) of the measured parts into this directory
    #[arg(long, value_name = "DIR")]
    chart: Option<PathBuf>,
    /// Object of kernel programs to compare with, for `compare`
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print the figures without checking them
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    far: Far,
    /// Omit figures that mean nothing on an emulated machine
    #[arg(long, hide = true)]
    emulated: bool,
}

/// A part of the benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Both programs by BPF_PROG_TEST_RUN, on messages that never repeat
    Program,
    /// Packets over a wire, learned by the receiver
    Wire,
    /// Packets of the kernel's pktgen with SIP written into them; with --iface, to another machine
    Pktgen,
    /// STUN requests answered, beside coturn
    Stun,
    /// The same messages through the SIP ALG of Linux, and through Kamailio
    Peers,
    /// Calls that ring while strangers send junk: how many are lost
    Flood,
    /// From 1,000 to 1,000,000 bindings: a packet's time, memory, the list
    Scale,
    /// Junk that costs most, searched for
    Worst,
    /// Packets and descriptions of streams, with 1,024 to 131,072 of them; rtpengine
    Media,
    /// Short runs of two objects in turns, with --against
    Compare,
}

fn main() -> ExitCode {
    let plan = Plan::parse();
    match bench(&plan) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(plan: &Plan) -> Result<ExitCode> {
    let machine = Machine::describe();
    let names = match plan.parts.as_slice() {
        _ if plan.far.is_wanted() => &[Name::Pktgen],
        [] => Name::value_variants(),
        named => named,
    };
    let mut parts = Vec::new();
    for name in names {
        if *name == Name::Compare && plan.against.is_none() && plan.parts.is_empty() {
            continue;
        }
        if *name == Name::Pktgen && plan.parts.is_empty() && !pktgen::is_there() {
            eprintln!("bench {name:?}: this kernel has no pktgen");
            continue;
        }
        eprintln!("bench {name:?} ...");
        let (far, emulated) = (plan.far.clone(), plan.emulated);
        let against = plan.against.clone();
        let name = *name;
        let bench = move || match name {
            Name::Program => program::bench(),
            Name::Wire => wire::bench(),
            Name::Pktgen => pktgen::bench(&far, emulated),
            Name::Stun => stun::bench(),
            Name::Peers => peers::bench(),
            Name::Flood => flood::bench(),
            Name::Scale => scale::bench(),
            Name::Worst => worst::bench(),
            Name::Media => media::bench(),
            Name::Compare => compare::bench(against.as_deref()),
        };
        // On a thread of its own, which may change its CPU and priority.
        let part = thread::spawn(bench).join();
        parts.push(part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    }
    if let Some(dir) = &plan.chart {
        chart::draw(&parts, dir)?;
    }
    let missed: Vec<&str> = parts.iter().flat_map(Part::missed).collect();
    if plan.json {
        println!(
            "{:#}",
            json!({ "machine": machine, "parts": parts, "missed": missed })
        );
    } else {
        println!("\n{machine}");
        for part in &parts {
            println!("{part}");
        }
    }
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("missed: {}", missed.join("; "));
    Ok(if plan.no_check {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
