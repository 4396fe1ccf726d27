//! Costs of many bindings.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::fd::{AsFd as _, AsRawFd as _},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_common::abi::{Binding, DialogKey};
use nat_common::tables::bindings::Stored;
use nat_test_support::{
    http,
    netns::{Netns, NetnsFamily},
};
use nat_userspace::{
    agent::metrics::Endpoint,
    agent::record::{self, AgentRecord},
    host::clock,
    host::namespaces::network_inode,
    host::private,
    kernel::attach::{Attached, Tc, XdpMode},
    kernel::load::{DataPath, Loader},
    kernel::mapped::{Access, Bindings},
    kernel::pins,
    settings::{Settings, Sizes},
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

use crate::{
    chart::{Chart, Point},
    feed::{self, Feed},
    machine,
    program::{self, Case},
    report::{Figure, Goal, Part},
};

/// Number of bindings.
const COUNTS: [u32; 4] = [1 << 10, 10_000, 100_000, 1 << 20];
/// Number of bindings that come and go in a second.
const TURNOVER: u32 = 10_000;

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "scale",
        "With so many active bindings, made by both programs from calls. Time of a packet as in `program`, with 64k slots; \
         memory as the kernel counts it for the map; the list as the command line makes it.",
    );
    part.note("a call is one binding; a registration is two, by Contact and address-of-record, and by Contact alone");
    machine::pin(0, 0)?;
    let family = NetnsFamily::next()?;
    let netns = family.make("pbx")?;
    let mut feed = Feed::load()?;
    for count in COUNTS {
        eprintln!("  {count} bindings");
        with(&mut part, &mut feed, &netns, count)?;
    }
    Ok(part)
}

fn with(part: &mut Part, feed: &mut Feed, netns: &Netns, count: u32) -> Result<()> {
    let many = format!("{count} bindings");
    let largest = count == COUNTS[COUNTS.len() - 1];
    let goal = |figure: Figure, goal: Goal| if largest { figure.goal(goal) } else { figure };
    // Identities are picked from a power of two.
    let picks = 1 << count.ilog2();
    let sizes = Sizes {
        bindings: count + TURNOVER,
        ..Sizes::default()
    };
    let settings = Settings {
        sizes,
        ..Settings::default()
    };
    let mut path = part.load(Loader::new(&feed::sipnat()?, &settings))?;
    let made = program::fill(feed, &mut path, count)?;
    let memory = map_memory(&path)? as f64;
    part.add(
        Figure::new(
            format!("map memory a binding, {many}"),
            memory / f64::from(made),
            "bytes",
        )
        .ratio(
            memory / f64::from(made) / size_of::<Binding>() as f64,
            "a binding's own size",
        ),
    );

    for case in messages(count, "") {
        part.add(case.measure(feed, &mut path, picks)?);
    }
    if largest {
        // Cases without bindings do not depend on their number.
        for case in program::not_sip(&format!(", {many}")) {
            part.add(case.measure(feed, &mut path, picks)?);
        }
    }
    let turnover = Turnover::of(&path)?;
    let going = AtomicBool::new(true);
    let figures = thread::scope(|scope| {
        let turning = scope.spawn(|| turnover.run(&going));
        let figures = messages(count, &format!(", {TURNOVER} a second come and go"))
            .map(|case| case.measure(feed, &mut path, picks));
        going.store(false, Relaxed);
        turning
            .join()
            .expect("a thread")
            .map(|rate| (rate, figures))
    });
    let (rate, figures) = figures?;
    for figure in figures {
        part.add(figure?);
    }
    ensure!(
        rate > f64::from(TURNOVER) * 0.9,
        "only {rate:.0} bindings a second came and went"
    );

    let Read { list, scrape } = as_agent(netns, &mut path)?;
    ensure!(
        list.rows >= made as usize,
        "{} of {made} bindings are listed",
        list.rows
    );
    let command = "`sipnat bindings list --json`";
    part.add(goal(
        Figure::new(format!("{command}, {many}"), list.time.as_secs_f64(), "s"),
        Goal::at_most(1.0, 0.7),
    ));
    part.add(Figure::new(
        format!("{command}, {many}: of CPU time"),
        list.cpu.as_secs_f64(),
        "s",
    ));
    let figure = Figure::new(
        format!("scrape of the metrics, {many}"),
        scrape.as_secs_f64() * 1e3,
        "ms",
    );
    part.add(goal(figure, Goal::at_most(1000.0, 700.0)));
    if largest {
        let figure = Figure::new(
            format!("{command}, {many}: memory of its own"),
            list.memory as f64 / f64::from(1 << 20),
            "MiB",
        );
        part.add(figure.goal(Goal::at_most(64.0, 16.0)));
    }
    Ok(())
}

/// Measures an INVITE on ingress and a re-INVITE on egress, with this number of bindings, while `other` runs.
fn messages(count: u32, meanwhile: &str) -> [Case; 2] {
    let tables = format!("{count} bindings{meanwhile}");
    [
        ("INVITE in", program::invites(&tables, 590, false)),
        ("re-INVITE out", program::reinvites(&tables)),
    ]
    .map(|(line, case)| Case {
        point: Some(Point::new(
            Chart::Bindings,
            &format!("{line}{meanwhile}"),
            count,
        )),
        ..case
    })
}

/// Returns the kernel's memory for `DIALOGS`.
fn map_memory(path: &DataPath) -> Result<i64> {
    let fd = path.tables.dialogs.data().fd().as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    number_after(&text, "memlock:")
}

fn number_after(text: &str, name: &str) -> Result<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
}

/// Bindings that come and go.
struct Turnover {
    table: Bindings<DialogKey>,
}

impl Turnover {
    fn of(path: &DataPath) -> Result<Self> {
        let table = path.tables.dialogs.open(Access::Write)?;
        Ok(Self { table })
    }

    /// Inserts and removes bindings on the other core, at this rate, while `going` is set. Returns their number.
    fn run(mut self, going: &AtomicBool) -> Result<f64> {
        const TURN: Duration = Duration::from_millis(10);
        let each = u64::from(TURNOVER) * TURN.as_millis() as u64 / 1000;
        machine::pin(0, 1)?;
        let key = |number: u64| DialogKey {
            call: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            tag: number.wrapping_mul(0xd6e8_feb8_6659_fd93),
        };
        let live = Binding {
            expires: u64::MAX,
            ..Binding::EMPTY
        };
        let start = Instant::now();
        let mut number = 0;
        while going.load(Relaxed) {
            for number in number..number + each {
                let stored = self.table.insert(&key(number), live, clock::now());
                ensure!(stored == Stored::New, "{stored:?}");
                // Each stays for a tenth of a second.
                if let Some(old) = number.checked_sub(10 * each) {
                    self.table.remove(&key(old));
                }
            }
            number += each;
            let due = TURN * (number / each) as u32;
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let rate = number as f64 / start.elapsed().as_secs_f64();
        for number in number.saturating_sub(10 * each)..number {
            self.table.remove(&key(number));
        }
        Ok(rate)
    }
}

/// Costs of the command.
struct List {
    time: Duration,
    cpu: Duration,
    /// Memory that it shares with no other process, in bytes.
    memory: i64,
    rows: usize,
}

/// Costs of what reads the tables.
struct Read {
    list: List,
    /// Time of a scrape.
    scrape: Duration,
}

/// Runs the real command, and scrapes the real metrics. This process is the agent.
fn as_agent(netns: &Netns, path: &mut DataPath) -> Result<Read> {
    netns.enter(|| -> Result<_> {
        pins::ensure_bpffs()?;
        let dir = pins::dir(network_inode()?);
        private::make(&dir)?;
        pins::pin(path, &dir, None)?;
        let mut record = AgentRecord::new(dir.clone(), &[5060], None)?;
        record.interfaces.push(Attached {
            name: "lo".into(),
            index: 1,
            xdp: XdpMode::Native,
            tc: Tc::Tcx,
        });
        record.write()?;
        let read = (|| {
            Ok(Read {
                list: run_list()?,
                scrape: scrape(netns)?,
            })
        })();
        record::remove()?;
        pins::remove(&dir)?;
        read
    })?
}

/// Returns the time of the first scrape, whose answer is not one that is given again.
fn scrape(netns: &Netns) -> Result<Duration> {
    let settings = Settings {
        metrics: Some("127.0.0.1:0".parse()?),
        ..Settings::default()
    };
    let endpoint = Endpoint::bind(&settings)?.context("no endpoint")?;
    let address = endpoint.serve(None)?;
    let begun = Instant::now();
    let answer = http::request(netns, address, "GET", "/metrics")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(begun.elapsed())
}

fn run_list() -> Result<List> {
    /// Rows between two looks at the memory.
    const LOOKS: usize = 1 << 16;
    let before = children()?;
    let start = Instant::now();
    let mut command = Command::new(nat_test_support::sipnat::binary()?)
        .args(["bindings", "list", "--json"])
        .stdout(Stdio::piped())
        .spawn()?;
    // This process is busy reading its output.
    machine::pin(command.id() as i32, 1)?;
    let mut output = BufReader::with_capacity(1 << 16, command.stdout.take().context("no pipe")?);
    let (mut rows, mut line, mut memory) = (0, Vec::new(), 0);
    while output.read_until(b'\n', &mut line)? > 0 {
        let is_row = line.trim_ascii_start().starts_with(b"{\"id\"");
        // Its memory can be read only while it runs.
        if is_row && rows % LOOKS == 0 {
            memory = own_memory(command.id())?.max(memory);
        }
        rows += usize::from(is_row);
        line.clear();
    }
    ensure!(command.wait()?.success(), "it failed");
    let after = children()?;
    Ok(List {
        time: start.elapsed(),
        cpu: after - before,
        memory,
        rows,
    })
}

/// Returns the CPU time of all child processes that have ended.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(cpu.unsigned_abs()))
}

/// Returns the memory of a process that it shares with no other, in bytes (`proc_pid_status(5)`).
fn own_memory(process: u32) -> Result<i64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    Ok(number_after(&status, "RssAnon:")? * 1024)
}
