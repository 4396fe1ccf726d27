//! Floods: calls wait for the PBX's answer while strangers send junk, which the PBX refuses, accepts or ignores.
//!
//! Each packet passes through the programs by BPF_PROG_TEST_RUN, in real time. A call is lost if sipnat does not know any
//! more where the PBX's answer, or its request within the dialog, has to go. A call of a phone that advertises its right
//! address is lost if sipnat sends one of the two elsewhere: without sipnat, both go there.

use std::{
    process, slice, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nat_bench_ebpf::Template;
use nat_common::abi::Counter;
use nat_userspace::{
    host::private,
    kernel::{
        load::{DataPath, Loader},
        pins,
        tables::BINDINGS,
    },
    settings::Settings,
};

use crate::{
    feed::{self, Direction, Feed, Order},
    machine, messages,
    messages::{Random, Shape, Terminal},
    program::mix,
    report::{Figure, Goal, Part},
};

/// Number of callers, or registered terminals, of a group.
const CALLS: u32 = 128;

/// Numbers of groups beyond those of [`RINGS`].
mod group {
    /// Callers that advertise their right address. They wait as long as the first of the others.
    pub(super) const RIGHT: u32 = super::RINGS.len() as u32;
    /// Callers after the flood.
    pub(super) const LATER: u32 = RIGHT + 1;
    /// Terminals that register before the flood.
    pub(super) const REGISTERED: u32 = RIGHT + 2;
    /// Terminals that register after it.
    pub(super) const LATER_REGISTERED: u32 = RIGHT + 3;
    /// Number of groups.
    pub(super) const COUNT: u32 = RIGHT + 4;
}

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

/// A flood of messages that the PBX accepts, as fast as they can.
struct Accepted {
    what: &'static str,
    count: u32,
    from: Sender,
    /// Number of bindings that it may leave, and the target; none: no limit.
    left: Option<Goal>,
}

#[derive(Clone, Copy)]
enum Sender {
    /// One account, which registers another Contact with each message.
    Account,
    /// Strangers, who name a dialog that nobody knows in a request of this method.
    Strangers(&'static str),
}

const ACCEPTED: [Accepted; 3] = [
    Accepted {
        what: "one account registers 200,000 Contacts",
        count: 200_000,
        from: Sender::Account,
        // Of what may be a proxy: 256 contacts, which take two bindings each where nothing is translated.
        left: Some(Goal::at_most(512.0, 64.0)),
    },
    Accepted {
        what: "300,000 OPTIONS with To-tags, answered with 200",
        count: 300_000,
        from: Sender::Strangers("OPTIONS"),
        left: Some(Goal::at_most(0.0, 0.0)),
    },
    Accepted {
        what: "300,000 UPDATEs with To-tags, answered with 200",
        count: 300_000,
        from: Sender::Strangers("UPDATE"),
        left: None,
    },
];

/// Rate and junk of the flood in which the agent restarts: the kind that pushed out most, before transactions had ranks.
const RESTART: (&Junk, u32) = (&JUNK[0], 10_000);

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "flood",
        "Calls that wait 0.2, 5 and 15 s for the PBX's answer while strangers send junk: the share of which the answer, or \
         the next request, misses the terminal; of the three, the largest. Tables of the default sizes, messages by \
         BPF_PROG_TEST_RUN.",
    );
    part.note(
        "phones that advertise their right address get all packets without sipnat: such a row is what sipnat spoils",
    );
    part.note(
        "of floods that the PBX accepts: calls and registrations from before the flood, and those that come after it",
    );
    machine::pin(0, 0)?;
    let mut feed = Feed::load()?;
    let object = feed::sipnat()?;
    for junk in &JUNK {
        let mut misled = 0;
        for rate in RATES {
            let path = part.load(Loader::new(&object, &Settings::default()))?;
            let lost = Flood::new(junk, rate).run(&mut feed, path, None)?;
            let rate = rate.map_or("without a limit".into(), |rate| format!("{rate} a second"));
            add(
                &mut part,
                format!("{}, {rate}", junk.what),
                &lost.behind_nat,
            );
            misled = misled.max(lost.advertising_rightly);
        }
        let what = format!("{}, all rates: phones that advertise rightly", junk.what);
        part.add(Figure::new(what, share(misled), "%").goal(Goal::at_most(0.0, 0.0)));
    }
    let (junk, rate) = RESTART;
    let path = part.load(Loader::new(&object, &Settings::default()))?;
    let lost = Flood::new(junk, Some(rate)).run(&mut feed, path, Some(&object))?;
    let what = format!("{}, {rate} a second, and the agent restarts", junk.what);
    add(&mut part, what, &lost.behind_nat);
    for accepted in ACCEPTED {
        let path = part.load(Loader::new(&object, &Settings::default()))?;
        let what = accepted.what;
        let (lost, left) = accepted.run(&mut feed, path)?;
        add(&mut part, what.into(), &lost);
        let figure = Figure::new(format!("{what}: bindings that it leaves"), left as f64, "");
        part.add(match accepted.left {
            Some(goal) => figure.goal(goal),
            None => figure,
        });
    }
    Ok(part)
}

/// Adds a figure: the worst of several numbers of lost calls.
fn add(part: &mut Part, what: String, lost: &[(String, u32)]) {
    for (which, lost) in lost {
        eprintln!("  {what}: {:.0} % lost {which}", share(*lost));
    }
    let worst = lost.iter().map(|(_, lost)| *lost).max().unwrap_or(CALLS);
    part.add(Figure::new(what, share(worst), "%").goal(Goal::at_most(1.0, 0.0)));
}

fn share(lost: u32) -> f64 {
    f64::from(lost) * 100.0 / f64::from(CALLS)
}

/// Lost calls of a flood.
struct Lost {
    /// Those of phones behind NAT, with the time for which they rang.
    behind_nat: Vec<(String, u32)>,
    /// Those of phones that advertise their right address.
    advertising_rightly: u32,
}

impl Accepted {
    /// Plays calls, registrations and the flood. Returns what is lost of each, and the number of bindings that are left of
    /// the flood.
    fn run(&self, feed: &mut Feed, mut path: DataPath) -> Result<(Vec<(String, u32)>, usize)> {
        /// Messages that wait for their answers. Few, so that no transaction is lost.
        const CHUNK: u32 = 4096;
        feed.hand_to_sipnat(&mut path, Direction::In)?;
        feed.hand_to_sipnat(&mut path, Direction::Out)?;
        let (request, answer) = match self.from {
            Sender::Account => {
                let text = messages::register_of_account();
                let answer = messages::answer(&text, "200 OK");
                (messages::from_account(&text), messages::to_account(&answer))
            }
            Sender::Strangers(method) => {
                let text = messages::in_unknown_dialog(method);
                let answer = messages::answer(&text, "200 OK");
                (
                    messages::inbound(Terminal::New, &text),
                    messages::back(Terminal::New, &answer),
                )
            }
        };
        call(feed, 0)?;
        let early = self::answer(feed, &path, 0)?;
        call(feed, 1)?;
        register(feed, group::REGISTERED)?;
        let (before, count) = (bindings(&path)?, self.count);
        for first in (0..count).step_by(CHUNK as usize) {
            let order = Order::From(STRANGERS + first);
            let many = CHUNK.min(count - first);
            feed.load_templates(slice::from_ref(&request))?;
            feed.run(Direction::In, order, 1, many)?;
            feed.load_templates(slice::from_ref(&answer))?;
            feed.run(Direction::Out, order, 1, many)?;
        }
        let heard = path.tables.count(Counter::InRequest)?;
        ensure!(heard >= u64::from(count), "{heard} of {count} are requests");
        let left = bindings(&path)? - before;
        call(feed, group::LATER)?;
        register(feed, group::LATER_REGISTERED)?;
        ensure!(early == CALLS, "{early} of {CALLS} calls without a flood");
        let lost = [
            ("of established calls", next_request(feed, &path, 0)?),
            ("of calls that rang", self::answer(feed, &path, 1)?),
            (
                "of calls after it",
                self::answer(feed, &path, group::LATER)?,
            ),
            (
                "of registrations",
                call_registered(feed, &path, group::REGISTERED)?,
            ),
            (
                "of registrations after it",
                call_registered(feed, &path, group::LATER_REGISTERED)?,
            ),
        ];
        let lost = lost.map(|(which, reached)| (which.to_owned(), CALLS - reached));
        Ok((lost.into(), left))
    }
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

    /// Plays calls and flood, in the middle of which the agent may restart with an `object`.
    fn run(mut self, feed: &mut Feed, mut path: DataPath, restart: Option<&[u8]>) -> Result<Lost> {
        feed.hand_to_sipnat(&mut path, Direction::In)?;
        feed.hand_to_sipnat(&mut path, Direction::Out)?;
        let start = Instant::now();
        call_rightly(feed)?;
        for (group, ring) in (0..).zip(RINGS) {
            self.until(feed, start, RINGS[0] - ring)?;
            call(feed, group)?;
            if let Some(object) = restart.filter(|_| group == 1) {
                path = restarted(feed, path, object)?;
            }
        }
        self.until(feed, start, RINGS[0])?;
        let (sent, heard) = (self.next - STRANGERS, path.tables.count(self.heard)?);
        ensure!(
            heard * 100 >= u64::from(sent) * 99,
            "{heard} of {sent} are {}",
            self.heard.name()
        );
        let mut behind_nat = Vec::new();
        for (group, ring) in (0..).zip(RINGS) {
            let lost = CALLS - answer(feed, &path, group)?;
            behind_nat.push((format!("after {} s", ring.as_secs_f64()), lost));
        }
        Ok(Lost {
            behind_nat,
            advertising_rightly: answer_rightly(feed, &path)?,
        })
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

/// Loads the programs again, as another agent that takes over, and unloads the earlier ones.
fn restarted(feed: &mut Feed, mut path: DataPath, object: &[u8]) -> Result<DataPath> {
    pins::ensure_bpffs()?;
    let dir = pins::parent().join(format!("bench-{}", process::id()));
    private::make(&dir)?;
    pins::pin(&mut path, &dir, None)?;
    let again = Loader::new(object, &Settings::default())
        .continuing(&path.tables, &dir)
        .load();
    pins::remove(&dir)?;
    let mut again = again?;
    feed.hand_to_sipnat(&mut again, Direction::In)?;
    feed.hand_to_sipnat(&mut again, Direction::Out)?;
    Ok(again)
}

/// Feeds one message of each terminal of a group.
fn each(feed: &mut Feed, direction: Direction, group: u32, template: &Template) -> Result<()> {
    let picks = (CALLS * group::COUNT).next_power_of_two();
    feed.each(direction, template, group * CALLS, picks, CALLS)
}

/// The PBX sends a message to the private address of each terminal of a group.
fn sends(feed: &mut Feed, group: u32, text: &str) -> Result<()> {
    each(feed, Direction::Out, group, &messages::to_private(text))
}

/// The PBX sends a message to each terminal of a group. Returns the number of those to which sipnat redirects it.
fn reaches(
    feed: &mut Feed,
    path: &DataPath,
    group: u32,
    text: &str,
    redirected: Counter,
) -> Result<u32> {
    let before = path.tables.count(redirected)?;
    sends(feed, group, text)?;
    Ok((path.tables.count(redirected)? - before) as u32)
}

/// The callers of a group call, and the PBX looks for the callees.
fn call(feed: &mut Feed, group: u32) -> Result<()> {
    let call = messages::behind_nat(&messages::call());
    let invite = messages::inbound(Terminal::Picked, &call);
    each(feed, Direction::In, group, &invite)?;
    sends(feed, group, &messages::answer(&call, "100 Trying"))
}

/// The PBX answers the calls of a group, the callers acknowledge that, and the PBX sends a BYE. Returns the number of
/// callers that get both.
fn answer(feed: &mut Feed, path: &DataPath, group: u32) -> Result<u32> {
    let call = messages::behind_nat(&messages::call());
    let accepted = messages::answer(&call, "200 OK");
    let answered = reaches(feed, path, group, &accepted, Counter::OutRedirectedResponse)?;
    let ack = messages::behind_nat(&messages::acknowledged());
    let ack = messages::inbound(Terminal::Picked, &ack);
    each(feed, Direction::In, group, &ack)?;
    Ok(answered.min(next_request(feed, path, group)?))
}

/// The PBX sends a request within each call of a group. Returns the number of callers that get it.
fn next_request(feed: &mut Feed, path: &DataPath, group: u32) -> Result<u32> {
    let request = messages::behind_nat(&in_dialog());
    reaches(feed, path, group, &request, Counter::OutRedirectedDialog)
}

fn in_dialog() -> String {
    let shape = Shape {
        length: 390,
        ..SHAPE
    };
    messages::in_dialog(&mut Random::new(1), "BYE", shape)
}

/// Terminals of a group register.
fn register(feed: &mut Feed, group: u32) -> Result<()> {
    let register = messages::behind_nat(&messages::register());
    let arrives = messages::inbound(Terminal::Picked, &register);
    each(feed, Direction::In, group, &arrives)?;
    let accepted = messages::answer(&register, "200 OK");
    let back = messages::back(Terminal::Picked, &accepted);
    each(feed, Direction::Out, group, &back)
}

/// The PBX calls the terminals of a group. Returns the number of those that it reaches.
fn call_registered(feed: &mut Feed, path: &DataPath, group: u32) -> Result<u32> {
    let call = messages::behind_nat(&messages::call_to_registered());
    reaches(feed, path, group, &call, Counter::OutRedirectedContact)
}

/// Callers that advertise their right address call.
fn call_rightly(feed: &mut Feed) -> Result<()> {
    let call = messages::call();
    let invite = messages::from_public(&call);
    each(feed, Direction::In, group::RIGHT, &invite)?;
    let trying = messages::answer(&call, "100 Trying");
    let trying = messages::outbound(Terminal::Picked, &trying);
    each(feed, Direction::Out, group::RIGHT, &trying)
}

/// The PBX answers their calls, and sends a BYE, each to the advertised address. Returns the number of calls of which sipnat
/// sends one elsewhere.
fn answer_rightly(feed: &mut Feed, path: &DataPath) -> Result<u32> {
    let call = messages::call();
    let mut most = 0;
    for text in [messages::answer(&call, "200 OK"), in_dialog()] {
        let before = redirected(path)?;
        let template = messages::outbound(Terminal::Picked, &text);
        each(feed, Direction::Out, group::RIGHT, &template)?;
        most = most.max(redirected(path)? - before);
    }
    Ok(most as u32)
}

/// Returns the number of live bindings.
fn bindings(path: &DataPath) -> Result<usize> {
    let tables = path.tables.maps();
    let bindings = tables.iter().filter(|table| BINDINGS.contains(&table.name));
    let counts = bindings.map(|table| Ok(table.used()?.unwrap_or(0)));
    counts.sum()
}

/// Returns the number of redirected packets.
fn redirected(path: &DataPath) -> Result<u64> {
    let counters = [
        Counter::OutRedirectedResponse,
        Counter::OutRedirectedDialog,
        Counter::OutRedirectedContact,
        Counter::OutRedirectedInvite,
    ];
    let counts = counters.map(|counter| path.tables.count(counter));
    counts.into_iter().sum()
}
