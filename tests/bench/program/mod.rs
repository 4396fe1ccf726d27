//! Both programs by BPF_PROG_TEST_RUN.
//!
//! Branch predictors learn a message that is repeated, and a system call for each message takes longer than the
//! program. So one system call runs `feed` some ten thousand times. `feed` writes another message of the mix each
//! time and tail-calls the program. The same run with an empty program is subtracted.

mod cases;

pub(crate) use cases::{fill, invites, mix, not_sip, reinvites};

use anyhow::{Context as _, Result, ensure};
use nat_bench_ebpf::Template;
use nat_common::abi::{Counter, CounterKind};
use nat_userspace::{
    kernel::{
        load::{DataPath, Loader, Programs},
        loops::Loops,
    },
    settings::{Settings, Sizes},
};

use crate::{
    chart::Point,
    feed::{self, Direction, Feed, Order},
    machine,
    report::{Figure, Goal, Part, Spread},
};

/// Runs of a batch.
const RUNS: u32 = 20_000;

/// Most that a packet of junk may cost, in calls of a function: 2 us on a CPU whose calls take 8 ns.
pub(crate) const HOSTILE_CALLS: f64 = 250.0;

/// Batches of a figure.
const BATCHES: usize = 25;

/// Lengths of measured messages.
const LENGTHS: [usize; 4] = [390, 590, 860, 1320];

const EMPTY: &str = "an empty program's run";

/// A case: messages, and their expected verdicts.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) direction: Direction,
    pub(crate) templates: Vec<Template>,
    /// Counters that may grow; if empty, any verdict except a doubt.
    pub(crate) verdicts: &'static [Counter],
    pub(crate) goal: Option<Goal>,
    pub(crate) point: Option<Point>,
}

/// Settings with tables of so many slots and bindings.
pub(crate) fn sizes(slots: u32, bindings: u32) -> Settings {
    Settings {
        sizes: Sizes {
            transactions: slots / 4,
            pending: slots / 4,
            peers: 4096,
            bindings,
            ..Sizes::default()
        },
        ..Settings::default()
    }
}

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "program",
        "Nanoseconds above an empty program, by BPF_PROG_TEST_RUN; each message is another, of a mix of 256, and opens \
         another transaction. Ratio: the program's time to an empty program's.",
    );
    machine::pin(0, 0)?;
    machine::go_first(0)?;
    let mut feed = Feed::load()?;
    let object = feed::sipnat()?;
    let calls = (0..BATCHES)
        .map(|_| feed.call(RUNS))
        .collect::<Result<_>>()?;
    let calls = Spread::of(calls);
    part.add(Figure::new(
        "a call and its return, in any kernel program",
        calls,
        "ns",
    ));

    let start = std::time::Instant::now();
    let mut path = part.load(Loader::new(&object, &sizes(1 << 16, 1 << 14)))?;
    part.add(Figure::new(
        "both programs read, verified and loaded",
        start.elapsed().as_secs_f64() * 1000.0,
        "ms",
    ));
    let programs = [
        ("ingress", path.ingress()?.info()?),
        ("egress", path.egress()?.info()?),
    ];
    for (name, info) in programs {
        let verified = info.verified_instruction_count();
        part.add(Figure::new(
            format!("{name}: instructions verified"),
            f64::from(verified.context("no count of verified instructions")?),
            "",
        ));
        part.add(Figure::new(
            format!("{name}: JITed"),
            f64::from(info.size_jitted()),
            "bytes",
        ));
    }

    let picks = 1 << 10;
    let bindings = fill(&mut feed, &mut path, picks)?;
    let hot = format!("64k slots, {bindings} bindings");
    for case in cases::all(&hot, cases::Size::Hot, calls.median) {
        part.add(case.measure(&mut feed, &mut path, picks)?);
    }
    drop(path);

    // Loop of kernels before 6.9, which lack may_goto.
    let mut path =
        part.load(Loader::new(&object, &sizes(1 << 16, 1 << 14)).loops(Loops::BpfLoop))?;
    let case = Case {
        goal: Some(Goal::at_most(900.0, 527.0)),
        ..invites(&format!("{hot}, bpf_loop"), 590, false)
    };
    part.add(case.measure(&mut feed, &mut path, 1)?);
    drop(path);

    let mut path = part.load(Loader::new(&object, &sizes(1 << 20, 1 << 20)))?;
    let picks = 1 << 20;
    let bindings = fill(&mut feed, &mut path, picks)?;
    let cold = format!("1M slots, {bindings} bindings");
    for case in cases::all(&cold, cases::Size::Cold, calls.median) {
        part.add(case.measure(&mut feed, &mut path, picks)?);
    }
    Ok(part)
}

impl Case {
    /// Measures the case, with this number of known identities.
    pub(crate) fn measure(
        &self,
        feed: &mut Feed,
        path: &mut DataPath,
        bindings: u32,
    ) -> Result<Figure> {
        let direction = self.direction;
        feed.load_templates(&self.templates)?;
        let nothing = Spread::of(
            (0..5)
                .map(|_| feed.nothing(direction, RUNS))
                .collect::<Result<_>>()?,
        )
        .median;
        // A first run of both warms the caches.
        feed.hand_to_sipnat(path, direction)?;
        feed.run(direction, Order::Random, bindings, RUNS)?;
        let before = verdicts(path, direction)?;
        let mut above = Vec::new();
        for _ in 0..BATCHES {
            feed.hand_to_nobody(direction)?;
            let without = feed.run(direction, Order::Random, bindings, RUNS)?;
            feed.hand_to_sipnat(path, direction)?;
            above.push(feed.run(direction, Order::Random, bindings, RUNS)? - without);
        }
        self.check(&before, &verdicts(path, direction)?)?;
        let spread = Spread::of(above);
        let figure = Figure::new(self.what.clone(), spread, "ns")
            .ratio((spread.median + nothing) / nothing, EMPTY);
        let figure = match self.goal {
            Some(goal) => figure.goal(goal),
            None => figure,
        };
        Ok(match &self.point {
            Some(point) => figure.point(point.clone()),
            None => figure,
        })
    }

    /// Checks that every message got an expected verdict.
    fn check(&self, before: &[(Counter, u64)], after: &[(Counter, u64)]) -> Result<()> {
        let grown = after.iter().zip(before);
        let grown = grown.map(|((counter, after), (_, before))| (*counter, after - before));
        let (mut right, mut all) = (0, 0);
        for (counter, count) in grown {
            let doubt = counter.name().contains("doubt") || counter.name().contains("malformed");
            let expected = if self.verdicts.is_empty() {
                !doubt
            } else {
                self.verdicts.contains(&counter)
            };
            all += count;
            if expected {
                right += count;
            } else if count > 0 {
                eprintln!("  {}: {count} {}", self.what, counter.name());
            }
        }
        ensure!(
            all == u64::from(RUNS) * BATCHES as u64,
            "{}: {all} packets",
            self.what
        );
        // A slot may be busy, and a set full.
        ensure!(
            right * 1000 >= all * 999,
            "{}: {right} of {all} as expected",
            self.what
        );
        Ok(())
    }
}

/// Returns every verdict of a direction with its count.
fn verdicts(path: &DataPath, direction: Direction) -> Result<Vec<(Counter, u64)>> {
    let kind = match direction {
        Direction::In => CounterKind::Ingress,
        Direction::Out => CounterKind::Egress,
    };
    let all = Counter::ALL.iter().filter(|counter| counter.kind() == kind);
    all.map(|counter| Ok((*counter, path.tables.count(*counter)?)))
        .collect()
}
