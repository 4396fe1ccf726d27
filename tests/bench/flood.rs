//! Floods: calls wait for the PBX's answer while strangers send junk, which the PBX refuses, accepts or ignores.
//!
//! Each packet passes through the programs by BPF_PROG_TEST_RUN, in real time. A call is lost if sipnat does not know any
//! more where the PBX's answer, or its request within the dialog, has to go.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_bench_ebpf::Template;
use nat_common::abi::Counter;
use nat_userspace::{
    kernel::load::{DataPath, Loader},
    settings::Settings,
};

use crate::{
    feed::{self, Direction, Feed, Order},
    machine, messages,
    messages::{Random, Shape, Terminal},
    program::mix,
    report::{Figure, Goal, Part},
};

/// Number of calls that wait for each of [`RINGS`].
const CALLS: u32 = 128;

/// Times for which calls ring, the longest first.
const RINGS: [Duration; 3] = [
    Duration::from_secs(15),
    Duration::from_secs(5),
    Duration::from_millis(200),
];

/// Packets of a flood in a second; the last is as many as the programs take.
const RATES: [Option<u32>; 5] = [Some(2000), Some(10_000), Some(50_000), Some(100_000), None];

/// Time between two bursts of a flood. A stranger's request is answered after its burst.
const TURN: Duration = Duration::from_millis(50);

/// Packets of a burst where the rate has no limit.
const MOST: u32 = 8192;

/// Form of what strangers send.
const SHAPE: Shape = Shape {
    length: 590,
    wanted_last: false,
};

/// Numbers of strangers start here; those of callers are below.
const STRANGERS: u32 = 1 << 24;

/// What strangers send, and the PBX's answer.
struct Junk {
    what: &'static str,
    method: Option<&'static str>,
    answer: Option<&'static str>,
    /// Verdict that each gets.
    heard: Counter,
}

const JUNK: [Junk; 5] = [
    Junk {
        what: "INVITE, refused with 401",
        method: Some("INVITE"),
        answer: Some("401 Unauthorized"),
        heard: Counter::InRequest,
    },
    Junk {
        what: "REGISTER, refused with 401",
        method: Some("REGISTER"),
        answer: Some("401 Unauthorized"),
        heard: Counter::InRequest,
    },
    Junk {
        what: "OPTIONS, answered with 200",
        method: Some("OPTIONS"),
        answer: Some("200 OK"),
        heard: Counter::InRequest,
    },
    Junk {
        what: "INVITE, not answered",
        method: Some("INVITE"),
        answer: None,
        heard: Counter::InRequest,
    },
    Junk {
        what: "responses to nothing",
        method: None,
        answer: None,
        heard: Counter::InResponseUnasked,
    },
];

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "flood",
        "Calls that wait 0.2, 5 and 15 s for the PBX's answer while strangers send junk: the share of which the answer, or \
         the next request, misses the terminal; of the three, the largest. Tables of the default sizes, messages by \
         BPF_PROG_TEST_RUN.",
    );
    machine::pin(0, 0)?;
    let mut feed = Feed::load()?;
    let object = feed::sipnat()?;
    for junk in &JUNK {
        for rate in RATES {
            let mut path = Loader::new(&object, &Settings::default()).load()?;
            let flood = Flood::new(junk, rate);
            let lost = flood.run(&mut feed, &mut path)?;
            let share = lost.map(|lost| f64::from(lost) * 100.0 / f64::from(CALLS));
            let rate = rate.map_or("without a limit".into(), |rate| format!("{rate} a second"));
            let what = format!("{}, {rate}", junk.what);
            for (share, ring) in share.into_iter().zip(RINGS) {
                eprintln!("  {what}: {share:.0} % lost after {} s", ring.as_secs_f64());
            }
            let worst = share.into_iter().fold(0.0, f64::max);
            part.add(Figure::new(what, worst, "%").goal(Goal::at_most(1.0, 0.0)));
        }
    }
    Ok(part)
}

/// A flood, as long as the longest call rings.
struct Flood {
    requests: Vec<Template>,
    answers: Vec<Template>,
    rate: Option<u32>,
    heard: Counter,
    /// Number of the next stranger.
    next: u32,
}

impl Flood {
    fn new(junk: &Junk, rate: Option<u32>) -> Self {
        let text = |random: &mut Random| match junk.method {
            Some(method) => messages::request(random, method, Terminal::New, SHAPE),
            None => messages::stray_response(random, SHAPE),
        };
        let requests = mix(|random| messages::inbound(Terminal::New, &text(random)));
        let answers = junk.answer.map_or(Vec::new(), |status| {
            mix(|random| {
                let answer = messages::answer(&text(random), status);
                messages::back(Terminal::New, &answer)
            })
        });
        Self {
            requests,
            answers,
            rate,
            heard: junk.heard,
            next: STRANGERS,
        }
    }

    /// Plays calls and flood. Returns the number of lost calls, by the time for which they rang.
    fn run(mut self, feed: &mut Feed, path: &mut DataPath) -> Result<[u32; RINGS.len()]> {
        feed.hand_to_sipnat(path, Direction::In)?;
        feed.hand_to_sipnat(path, Direction::Out)?;
        let start = Instant::now();
        for (group, ring) in (0..).zip(RINGS) {
            self.until(feed, start, RINGS[0] - ring)?;
            call(feed, group)?;
        }
        self.until(feed, start, RINGS[0])?;
        let (sent, heard) = (self.next - STRANGERS, path.tables.count(self.heard)?);
        ensure!(
            heard * 100 >= u64::from(sent) * 99,
            "{heard} of {sent} are {}",
            self.heard.name()
        );
        let mut lost = [CALLS; RINGS.len()];
        for (group, lost) in (0..).zip(&mut lost) {
            *lost = CALLS - answer(feed, path, group)?;
        }
        Ok(lost)
    }

    /// Sends junk until so long after the start.
    fn until(&mut self, feed: &mut Feed, start: Instant, end: Duration) -> Result<()> {
        let turns = 1000 / TURN.as_millis() as u32;
        let burst = self.rate.map_or(MOST, |rate| rate / turns);
        while start.elapsed() < end {
            let turn = Instant::now();
            let order = Order::From(self.next);
            feed.load_templates(&self.requests)?;
            feed.run(Direction::In, order, 1, burst)?;
            if !self.answers.is_empty() {
                feed.load_templates(&self.answers)?;
                feed.run(Direction::Out, order, 1, burst)?;
            }
            self.next = self.next.checked_add(burst).context("too many strangers")?;
            if self.rate.is_some() {
                thread::sleep(TURN.saturating_sub(turn.elapsed()));
            }
        }
        Ok(())
    }
}

/// Feeds one message of each caller of a group.
fn each(feed: &mut Feed, direction: Direction, group: u32, template: &Template) -> Result<()> {
    let picks = (CALLS * RINGS.len() as u32).next_power_of_two();
    feed.each(direction, template, group * CALLS, picks, CALLS)
}

/// The PBX sends a message to the private address of each caller of a group.
fn sends(feed: &mut Feed, group: u32, text: &str) -> Result<()> {
    each(feed, Direction::Out, group, &messages::to_private(text))
}

/// The callers of a group call, and the PBX looks for the callees.
fn call(feed: &mut Feed, group: u32) -> Result<()> {
    let call = messages::behind_nat(&messages::call());
    let invite = messages::inbound(Terminal::Picked, &call);
    each(feed, Direction::In, group, &invite)?;
    sends(feed, group, &messages::answer(&call, "100 Trying"))
}

/// The PBX answers the calls of a group, and sends a BYE. Returns the number of callers that get both.
fn answer(feed: &mut Feed, path: &DataPath, group: u32) -> Result<u32> {
    let call = messages::behind_nat(&messages::call());
    let shape = Shape {
        length: 390,
        ..SHAPE
    };
    let bye = messages::in_dialog(&mut Random::new(1), "BYE", shape);
    let mut least = u64::from(CALLS);
    for (text, redirected) in [
        (
            messages::answer(&call, "200 OK"),
            Counter::OutRedirectedResponse,
        ),
        (messages::behind_nat(&bye), Counter::OutRedirectedDialog),
    ] {
        let before = path.tables.count(redirected)?;
        sends(feed, group, &text)?;
        least = least.min(path.tables.count(redirected)? - before);
    }
    Ok(least as u32)
}
