//! Demos: a re-INVITE that is lost without sipnat and arrives with it, as `stun`, a phone that uses STUN, or,
//! as `media`, a phone that hears the PBX.

mod media;
mod stun;

use std::{
    env,
    io::{IsTerminal as _, stdout},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use nat_test_support::{
    Answers, Lab, Plan, Sipnat, StrictPbx,
    capture::{Direction, Tap},
    lab::Dropped,
    ladder::{Ladder, Style},
    sipp::{Scenario, Sipp},
};

/// Longest time for anything that must happen.
const SOON: Duration = Duration::from_secs(5);
/// Time for the last packet to get through the lab before the capture ends.
const TRANSIT: Duration = Duration::from_millis(200);

const INTRODUCTION: &str = "\
The lab, in network namespaces of this machine:
  phone   192.168.1.10:5060, SIPp. It neither sends nor honours rport.
  router  maps it to 60.17.196.2:49163 (nftables masquerade). Its SIP ALG rewrites Via and Contact
          to 60.17.196.2 and forgets the port, which then means 5060.
  ISP     drops what comes in for its customers' UDP port 5060 (nftables, with a counter).
  PBX     203.0.113.10:5060 on eth0. It sends requests where the Contact says, as RFC 3261 has it.
";

/// Outcome of the call.
struct Outcome {
    /// Whether the PBX's re-INVITE reached the phone.
    arrived: bool,
    /// Whether the phone went through its scenario to the end: re-INVITE, ACK and BYE.
    completed: bool,
    dropped: Dropped,
}

/// Shows on real packets what sipnat does.
#[derive(Parser)]
struct Cli {
    /// Something else than the re-INVITE
    what: Option<What>,
}

/// Other demos.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// A phone that hears the PBX with `--media`, and nothing without
    Media,
    /// A phone that learns its address by STUN
    Stun,
}

fn main() -> ExitCode {
    let colour =
        stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = if colour { Style::Colour } else { Style::Plain };
    let shown = match Cli::parse().what {
        None => demo(style),
        Some(What::Media) => media::demo(style),
        Some(What::Stun) => stun::demo(style),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(style: Style) -> Result<()> {
    let begin = Instant::now();
    println!("{INTRODUCTION}");

    heading(style, "Without sipnat");
    let lab = Lab::new(Plan::default())?;
    let without = call(&lab, None, style)?;
    drop(lab);
    println!(
        "The re-INVITE {}; the ISP dropped {} packets to port 5060. The call {}.\n",
        if without.arrived {
            "arrived"
        } else {
            "never reached the phone"
        },
        without.dropped.port_5060,
        if without.completed {
            "goes on"
        } else {
            "is dead"
        },
    );

    heading(style, "With sipnat");
    let lab = Lab::new(Plan::default())?;
    let sipnat = Sipnat::start(&lab.pbx, &[])?;
    println!("$ sipnat run --iface eth0\n{}\n", sipnat.log().trim_end());
    let with = call(&lab, Some(&sipnat), style)?;
    sipnat.stop()?;
    println!(
        "The re-INVITE {}; the ISP dropped {} packets to port 5060. The call {}.\n",
        if with.arrived {
            "arrived"
        } else {
            "never reached the phone"
        },
        with.dropped.port_5060,
        if with.completed {
            "went on, and the PBX's BYE ended it"
        } else {
            "is dead"
        },
    );

    println!("All of this took {:.1} s.", begin.elapsed().as_secs_f32());
    if without.arrived || without.dropped.port_5060 == 0 {
        bail!("the re-INVITE should have died at the ISP without sipnat");
    }
    if !with.arrived || !with.completed || with.dropped.port_5060 != 0 {
        bail!("the call should have gone on with sipnat");
    }
    Ok(())
}

/// The phone calls. The PBX sends a re-INVITE and, once that is answered, a BYE.
fn call(lab: &Lab, sipnat: Option<&Sipnat<'_>>, style: Style) -> Result<Outcome> {
    let capture = lab.capture()?;
    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let mut phone = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    let dialog = pbx.call(SOON)?;

    let answered = pbx.request(&dialog, "INVITE").is_ok();
    let bindings = sipnat
        .map(|sipnat| sipnat.command(&["bindings", "list"]))
        .transpose()?;
    let completed = answered && pbx.request(&dialog, "BYE").is_ok() && phone.finish(SOON).is_ok();
    let last = if completed { "SIP/2.0 200" } else { "INVITE" };
    capture.wait_for(TRANSIT, |packet| {
        packet.tap == Tap::Pbx && packet.payload.starts_with(last.as_bytes())
    });

    println!("{}", Ladder::new(&capture.packets(), style));
    if let Some(bindings) = bindings {
        println!("$ sipnat bindings list        (after the re-INVITE, before the BYE)\n{bindings}");
    }
    let arrived = capture
        .at(Tap::Phone(0, 0), Direction::In)
        .iter()
        .any(|packet| packet.payload.starts_with(b"INVITE"));
    Ok(Outcome {
        arrived,
        completed,
        dropped: lab.dropped()?,
    })
}

fn heading(style: Style, text: &str) {
    let line = format!("━━ {text} {}", "━".repeat(80 - text.len()));
    match style {
        Style::Plain => println!("{line}\n"),
        Style::Colour => println!("\x1b[1m{line}\x1b[0m\n"),
    }
}
