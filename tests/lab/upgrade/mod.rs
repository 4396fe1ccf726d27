//! An agent takes over from another version, whose tables have another layout, in the middle of calls.

mod halted;
mod other;

use std::{
    env,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_common::abi::{ABI, RULES};
use nat_test_support::{Call, Lab, Plan, ScriptedPbx, Sipnat, Terminal, process::Process, sipnat};
use nat_userspace::kernel::tables::Tables;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use self::{
    halted::Halted,
    other::{Other, Written},
};
use crate::scene::{Scene, With, play_in};

/// Time within which an agent starts, or fails.
const STARTS: Duration = Duration::from_secs(120);

/// A phone that has registered and is in a call, and a data path that another version has left.
struct Left<'a> {
    scene: &'a Scene<'a>,
    pbx: ScriptedPbx,
    phone: Terminal,
}

fn play(scenario: impl Fn(&Left<'_>) -> Result<()>) -> Result<()> {
    play_in(&Lab::new(Plan::PLAIN_NAT)?, With::Nothing, |scene| {
        scenario(&Left {
            scene,
            pbx: scene.pbx()?,
            phone: scene.terminal(0, 0, "1000")?,
        })
    })
}

impl<'a> Left<'a> {
    fn start(&self) -> Result<Sipnat<'a>> {
        Sipnat::start(&self.scene.lab.pbx, &["--keep"])
    }

    fn pins(&self) -> Result<PathBuf> {
        sipnat::pins(&self.scene.lab.pbx)
    }

    /// Begins a call, and has the pins be those of the other layout. Returns the call, the phone's contact, and those pins.
    fn call(&self, other: &Other) -> Result<(Call<'_>, String, Written)> {
        let agent = self.start()?;
        let contact = self.phone.registers(&self.pbx)?;
        let call = Call::from(&self.phone, &self.pbx)?;
        call.reaches_phone("INVITE")?;
        agent.command(&["policy", "set", "198.51.100.0/24", "force"])?;
        agent.stop()?;
        let written = other.write(&self.pins()?)?;
        call.reaches_phone("INVITE").context("without an agent")?;
        Ok((call, contact, written))
    }

    /// The call goes on, and so do those to the phone's contact.
    fn goes_on(&self, call: &Call<'_>, contact: &str) -> Result<()> {
        call.reaches_phone("INVITE")?;
        Call::to(&self.phone, &self.pbx, contact)?.reaches_phone("BYE")
    }

    /// Runs an agent that must fail. Returns its output.
    fn fails(&self) -> Result<String> {
        let mut agent = self.spawn(&[])?;
        let status = agent.wait(STARTS)?;
        ensure!(!status.success(), "it did not fail: {}", agent.output());
        Ok(agent.output())
    }

    /// Starts an agent by another command, and does not wait.
    fn spawn(&self, before: &[&str]) -> Result<Process> {
        let sipnat = sipnat::binary()?;
        let all = before.iter().map(Path::new).chain([sipnat.as_path()]);
        let all: Vec<&Path> = all.collect();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]);
        command.args(["run", "--iface", "eth0", "--keep"]);
        Process::spawn(&self.scene.lab.pbx, &mut command, tempfile::tempdir()?)
    }
}

/// Bindings are converted. Everything the PBX sends arrives, before, while and after the programs are replaced, and the next
/// agent finds the tables of its own version.
#[test]
fn bindings_of_another_layout_are_converted() -> Result<()> {
    play(|left| {
        let (call, contact, _) = left.call(&Other::default())?;
        let pbx = &left.scene.lab.pbx;
        let earlier = pbx.xdp("eth0")?;
        // An INFO arrives. Returns whether the programs are those of this version by then.
        let send = || -> Result<bool> {
            call.pbx_sends("INFO")?;
            left.phone.ua.hear("INFO").context("while it starts")?;
            Ok(pbx.xdp("eth0")? != earlier)
        };
        ensure!(!send()?, "there are other programs before it starts");
        let agent = thread::scope(|scope| {
            let starts = scope.spawn(|| Sipnat::start(pbx, &["--keep"]));
            while !starts.is_finished() {
                send()?;
            }
            starts.join().expect("no panic")
        })?;
        ensure!(send()?, "it has replaced nothing");
        let log = agent.log();
        for words in [
            &*format!("of layout {}; that of this version is {ABI}", ABI - 1),
            "this version does not know Binding.mood",
            "begin empty: HISTORY, ",
            "DIALOGS changes its layout: 1 bindings go on",
            "CONTACTS changes its layout: ",
            "with the tables of the earlier agent",
        ] {
            ensure!(log.contains(words), "no `{words}` in {log}");
        }
        // Transactions and proofs are tables of the same layout.
        ensure!(!log.contains("INBOUND") && !log.contains("PEERS"), "{log}");
        left.goes_on(&call, &contact)?;
        let rules = agent.command(&["policy", "list"])?;
        ensure!(rules.contains("198.51.100.0/24"), "{rules}");
        let status = agent.json(&["status"])?;
        let converted = status["upgrade"]["converted"].as_u64();
        ensure!(converted >= Some(3), "{status:#}");
        ensure!(status["upgrade"]["layout"] == ABI - 1, "{status:#}");
        let text = agent.command(&["status"])?;
        let line = "bindings converted; began empty: HISTORY, ";
        ensure!(text.contains(line), "{text}");
        agent.stop()?;
        let agent = left.start()?;
        let log = agent.log();
        ensure!(!log.contains("layout"), "{log}");
        left.goes_on(&call, &contact)?;
        ensure!(agent.json(&["status"])?["upgrade"].is_null());
        agent.stop()?;
        sipnat::command(&left.scene.lab.pbx, &["detach"]).map(drop)
    })
}

/// A call moves, and another one begins, while an agent takes over and has already converted the bindings. It converts what has
/// changed since.
#[test]
fn what_changes_meanwhile_is_converted() -> Result<()> {
    play(|left| {
        let Scene { lab, .. } = left.scene;
        let agent = left.start()?;
        let call = Call::from(&left.phone, &left.pbx)?;
        agent.stop()?;
        let written = Other::default().write(&left.pins()?)?;
        let earlier = lab.pbx.xdp("eth0")?;
        let halted = Halted::at(&lab.pbx, "DIALOGS changes its layout: 1 bindings go on")?;
        let moved = SocketAddrV4::new(Ipv4Addr::new(60, 17, 196, 2), 51234);
        lab.sites[0].remap(0, moved)?;
        call.reaches_pbx("UPDATE")?;
        let another = Call::from(&left.phone, &left.pbx)?;
        written.follow()?;
        ensure!(lab.pbx.xdp("eth0")? == earlier, "it has replaced them");
        let agent = halted.goes_on()?;
        ensure!(lab.pbx.xdp("eth0")? != earlier, "it has replaced nothing");
        for call in [&call, &another] {
            left.scene.went_to(&call.pbx_sends("INFO")?, moved)?;
            left.phone.ua.hear("INFO")?;
        }
        agent.signal(Signal::SIGTERM)?;
        sipnat::command(&lab.pbx, &["detach"]).map(drop)
    })
}

/// A version with one counter more has the same layout otherwise.
#[test]
fn a_new_counter_empties_the_counters_only() -> Result<()> {
    play(|left| {
        let agent = left.start()?;
        let contact = left.phone.registers(&left.pbx)?;
        let call = Call::from(&left.phone, &left.pbx)?;
        agent.stop()?;
        other::write_fewer_counters(&left.pins()?)?;
        let agent = left.start()?;
        let log = agent.log();
        ensure!(log.contains("begin empty: COUNTERS\n"), "{log}");
        let story = agent.command(&["explain", &call.call_id])?;
        ensure!(story.contains("180 (INVITE)"), "{story}");
        left.goes_on(&call, &contact)?;
        agent.stop()?;
        sipnat::command(&left.scene.lab.pbx, &["detach"]).map(drop)
    })
}

/// Bindings that cannot be converted: each difference is named, and what is there works on, with its pins.
#[test]
fn an_unknown_layout_is_refused() -> Result<()> {
    play(|left| {
        let other = Other {
            lines: vec![
                ("RULES", Some(RULES + 1)),
                ("Binding.learned", None),
                ("Binding.aor", Some(4)),
                ("Config.secret", None),
            ],
        };
        let (call, contact, _) = left.call(&other)?;
        let output = left.fails()?;
        for words in [
            &*format!("RULES: their number is {}, must be {RULES}", RULES + 1),
            "Config.secret: missing in the earlier layout",
            "Binding.learned: missing in the earlier layout",
            "Binding.aor: 4 bytes at 0 of 192, must be 8 bytes",
            "the programs that use them work on",
            "`sipnat detach`",
        ] {
            ensure!(output.contains(words), "no `{words}` in {output}");
        }
        left.goes_on(&call, &contact)?;
        sipnat::command(&left.scene.lab.pbx, &["detach"])?;
        let agent = left.start()?;
        agent.stop()?;
        sipnat::command(&left.scene.lab.pbx, &["detach"]).map(drop)
    })
}

/// Each call of bpf(2) fails once, and the agent is killed once at each: the call goes on, and the next agent takes over.
#[test]
fn an_upgrade_that_fails_at_any_step_loses_nothing() -> Result<()> {
    /// Calls from one fault to the next. A start makes some 200.
    const STRIDE: usize = 9;
    /// More than a start makes.
    const LAST: usize = 400;
    play(|left| {
        let pins = left.pins()?;
        let (call, contact, mut written) = left.call(&Other::default())?;
        for (fault, offset) in [("error=ENOMEM", 1), ("signal=KILL", 5)] {
            let mut failed = 0;
            for number in (offset..).step_by(STRIDE) {
                // For a minute: all starts may take longer.
                left.phone.registers(&left.pbx)?;
                if Tables::open(&pins).is_ok() {
                    written = Other::default().write(&pins)?;
                }
                written.follow()?;
                let inject = format!("inject=bpf:{fault}:when={number}");
                let strace = [
                    "strace",
                    "-f",
                    "-qqq",
                    "-e",
                    "trace=bpf",
                    "-e",
                    &inject,
                    "-o",
                    "/dev/null",
                ];
                let mut agent = left.spawn(&strace)?;
                let until = Instant::now() + STARTS;
                while !agent.has_ended()? && !agent.output().contains("sipnat: ready on ") {
                    ensure!(Instant::now() < until, "{}", agent.output());
                    thread::sleep(Duration::from_millis(5));
                }
                let context = || format!("{fault} at call {number}: {}", agent.output());
                left.goes_on(&call, &contact).with_context(context)?;
                match sipnat::command(&left.scene.lab.pbx, &["status", "--json"]) {
                    Ok(status) => {
                        // It came through, with the fault or without.
                        let status: Value = serde_json::from_str(&status)?;
                        let pid = i32::try_from(status["pid"].as_u64().context("pid")?)?;
                        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
                        agent.wait(STARTS)?;
                        if number > LAST {
                            break;
                        }
                    }
                    // At its start, or soon after it.
                    Err(no_agent) => {
                        agent.wait(STARTS).with_context(|| no_agent)?;
                        failed += 1;
                    }
                }
            }
            ensure!(failed > 5, "{fault}: {failed} starts failed");
        }
        let agent = left.start()?;
        left.goes_on(&call, &contact)?;
        agent.stop()?;
        sipnat::command(&left.scene.lab.pbx, &["detach"]).map(drop)
    })
}

/// An agent is killed when the new programs are attached and the pins are still the earlier ones. What these programs learn until
/// the next agent comes, that agent keeps.
#[test]
fn what_is_learned_after_a_death_is_kept() -> Result<()> {
    play(|left| {
        let pbx = &left.scene.lab.pbx;
        let agent = left.start()?;
        let call = Call::from(&left.phone, &left.pbx)?;
        agent.stop()?;
        Other::default().write(&left.pins()?)?;
        let earlier = pbx.xdp("eth0")?;
        let strace = [
            "strace",
            "-f",
            "-qqq",
            "-e",
            "trace=renameat2",
            "-e",
            "inject=renameat2:signal=KILL",
            "-o",
            "/dev/null",
        ];
        left.spawn(&strace)?.wait(STARTS)?;
        ensure!(pbx.xdp("eth0")? != earlier, "it has replaced nothing");
        let another = Call::from(&left.phone, &left.pbx)?;
        another.reaches_phone("INVITE")?;
        let agent = left.start()?;
        for call in [&call, &another] {
            call.reaches_phone("INVITE").with_context(|| agent.log())?;
        }
        agent.stop()?;
        sipnat::command(pbx, &["detach"]).map(drop)
    })
}

/// From the program that `SIPNAT_OTHER_BIN` names to this one, and back, each in the middle of a call. Each request arrives,
/// and what one version has learned the other uses.
#[test]
#[ignore = "needs the program of another version, in SIPNAT_OTHER_BIN"]
fn another_program_takes_over_and_this_one_again() -> Result<()> {
    let other = PathBuf::from(env::var_os("SIPNAT_OTHER_BIN").context("no SIPNAT_OTHER_BIN")?);
    let this = sipnat::binary()?;
    play(|left| {
        let pbx = &left.scene.lab.pbx;
        let start = |program: &Path| {
            let mut command = Command::new(program);
            command.args(["run", "--iface", "eth0", "--keep"]);
            let mut agent = Sipnat::spawn_by(pbx, &mut command)?;
            agent.is_ready()?;
            Ok::<_, anyhow::Error>(agent)
        };
        start(&other)?.stop()?;
        let contact = left.phone.registers(&left.pbx)?;
        let mut calls = vec![Call::from(&left.phone, &left.pbx)?];
        for program in [&this, &other, &this] {
            let mut sent = 0;
            let agent = thread::scope(|scope| {
                let starts = scope.spawn(|| start(program));
                while !starts.is_finished() {
                    for call in &calls {
                        call.pbx_sends("INFO")?;
                        left.phone.ua.hear("INFO").context("while it starts")?;
                        sent += 1;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                starts.join().expect("no panic")
            })?;
            println!("{sent} requests while it started:\n{}", agent.log());
            println!("{}", agent.command(&["status"]).unwrap_or_default());
            agent.stop()?;
            calls.push(Call::from(&left.phone, &left.pbx)?);
            for call in &calls {
                left.goes_on(call, &contact)?;
            }
        }
        sipnat::command(pbx, &["detach"]).map(drop)
    })
}
