//! Both programs by BPF_PROG_TEST_RUN.
//!
//! A message that is run over and over is learned by the branch predictors, and a system call for each message drowns
//! what is to be measured. So one system call runs `feed` some ten thousand times, which writes another message of
//! the mix each time and tail-calls the program; the same with an empty program is taken off.

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;
use nat_bench_ebpf::Template;
use nat_common::abi::{Counter, CounterKind};
use nat_userspace::{
    kernel::{
        load::{DataPath, Loader},
        loops::Loops,
    },
    settings::{Settings, Sizes},
};

use crate::{
    chart::{Chart, Point},
    feed::{self, Feed, Order, Way},
    machine,
    messages::{self, MACS, MIX, PBX, Random, Shape, Whose},
    report::{Figure, Goal, Part, Spread},
};

/// Runs of a batch.
const RUNS: u32 = 20_000;
/// Batches of a figure.
const BATCHES: usize = 25;
/// The sizes of messages that are measured.
const LENGTHS: [usize; 4] = [390, 590, 860, 1320];

const EMPTY: &str = "an empty program's run";

/// What is measured: messages, and what must become of them.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) way: Way,
    pub(crate) templates: Vec<Template>,
    /// The counters that may grow; none: any verdict but that the message is not understood.
    pub(crate) verdicts: &'static [Counter],
    pub(crate) goal: Option<Goal>,
    pub(crate) point: Option<Point>,
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
    let sizes = |slots: u32, bindings: u32| Settings {
        sizes: Sizes {
            transactions: slots / 4,
            pending: slots / 4,
            peers: 4096,
            bindings,
            ..Sizes::default()
        },
        ..Settings::default()
    };

    let calls = (0..BATCHES)
        .map(|_| feed.call(RUNS))
        .collect::<Result<_>>()?;
    part.add(Figure::new(
        "a call and its return, in any kernel program",
        Spread::of(calls),
        "ns",
    ));

    let start = std::time::Instant::now();
    let mut path = Loader::new(&object, &sizes(1 << 16, 1 << 14)).load()?;
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
    for case in cases(&hot, Size::Hot) {
        part.add(case.measure(&mut feed, &mut path, picks)?);
    }
    drop(path);

    // What kernels before 6.9 have instead of may_goto.
    let mut path = Loader::new(&object, &sizes(1 << 16, 1 << 14))
        .loops(Loops::BpfLoop)
        .load()?;
    let case = Case {
        goal: Some(Goal::at_most(900.0, 527.0)),
        ..invites(&format!("{hot}, bpf_loop"), 590, false)
    };
    part.add(case.measure(&mut feed, &mut path, 1)?);
    drop(path);

    let mut path = Loader::new(&object, &sizes(1 << 20, 1 << 20)).load()?;
    let picks = 1 << 20;
    let bindings = fill(&mut feed, &mut path, picks)?;
    let cold = format!("1M slots, {bindings} bindings");
    for case in cases(&cold, Size::Cold) {
        part.add(case.measure(&mut feed, &mut path, picks)?);
    }
    Ok(part)
}

/// How large the tables are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Hot,
    Cold,
}

/// A mix of messages of one kind.
pub(crate) fn mix(make: impl Fn(&mut Random) -> Template) -> Vec<Template> {
    (0..MIX as u64)
        .map(|seed| make(&mut Random::new(seed + 1)))
        .collect()
}

/// INVITEs of that length, from terminals never seen before.
pub(crate) fn invites(tables: &str, length: usize, wanted_last: bool) -> Case {
    let last = if wanted_last {
        ", the wanted headers last"
    } else {
        ""
    };
    Case {
        what: format!("in: INVITE of about {length} bytes{last}, {tables}"),
        way: Way::In,
        templates: mix(|random| {
            let shape = Shape {
                length,
                wanted_last,
            };
            let text = messages::request(random, "INVITE", Whose::New, shape);
            messages::inbound(Whose::New, &text)
        }),
        verdicts: &[Counter::InRequest],
        goal: None,
        point: None,
    }
}

/// Re-INVITEs to terminals that are known.
pub(crate) fn reinvites(tables: &str) -> Case {
    Case {
        what: format!("out: re-INVITE of about 590 bytes, redirected, {tables}"),
        way: Way::Out,
        templates: mix(|random| {
            let shape = Shape {
                length: 590,
                wanted_last: false,
            };
            messages::outbound(Whose::Picked, &messages::in_dialog(random, "INVITE", shape))
        }),
        verdicts: &[Counter::OutRedirectedDialog],
        goal: None,
        point: None,
    }
}

fn cases(tables: &str, size: Size) -> Vec<Case> {
    let hot = size == Size::Hot;
    let mut cases = Vec::new();
    for length in LENGTHS {
        let mut case = invites(tables, length, false);
        case.point = Some(Point::new(Chart::Length, tables, length as u32));
        if length == 590 {
            case.goal = Some(if hot {
                Goal::at_most(400.0, 250.0)
            } else {
                Goal::at_most(600.0, 400.0)
            });
        }
        cases.push(case);
    }
    cases.push(invites(tables, 860, true));
    cases.push(Case {
        what: format!("in: requests and responses of any length, {tables}"),
        way: Way::In,
        templates: anything(),
        verdicts: &[],
        goal: None,
        point: None,
    });
    cases.push(Case {
        goal: hot.then(|| Goal::at_most(500.0, 350.0)),
        ..reinvites(tables)
    });
    if !hot {
        return cases;
    }
    cases.extend(not_sip(""));
    cases.extend(hostile());
    cases.push(Case {
        what: "in: keepalives (CRLF)".into(),
        way: Way::In,
        templates: mix(|random| {
            messages::from_terminal(Whose::New, 5060, &b"\r\n\r\n"[..2 + 2 * random.below(2)])
        }),
        verdicts: &[Counter::InKeepalive],
        goal: None,
        point: None,
    });
    cases
}

/// What is none of sipnat's business.
pub(crate) fn not_sip(tables: &str) -> [Case; 2] {
    let case = |what: &str, templates, verdicts| Case {
        what: format!("in: {what}{tables}"),
        way: Way::In,
        templates,
        verdicts,
        goal: Some(Goal::at_most(8.0, 4.0)),
        point: None,
    };
    let udp = mix(|random| {
        let ports = [
            53,
            123,
            16_384 + random.below(8192) as u16 * 2,
            10_000 + random.below(5000) as u16 * 2,
        ];
        let payload = vec![0x80; 20 + random.below(160)];
        messages::from_terminal(Whose::New, ports[random.below(4)], &payload)
    });
    [
        case(
            "UDP that is not SIP (RTP, DNS)",
            udp,
            &[Counter::InOtherPort],
        ),
        case("TCP", mix(tcp), &[Counter::InNotUdp]),
    ]
}

/// What somebody may send to keep the PBX's CPU busy.
fn hostile() -> [Case; 5] {
    /// With its headers it fills an Ethernet frame.
    const LENGTH: usize = 1472;
    let case = |what: &str, start: &str, fill: &str, verdicts| {
        let mut payload = start.as_bytes().to_vec();
        payload.extend(fill.bytes().cycle().take(LENGTH - start.len()));
        Case {
            what: format!("in: {LENGTH} bytes of {what}"),
            way: Way::In,
            templates: vec![messages::from_terminal(Whose::New, 5060, &payload)],
            verdicts,
            goal: None,
            point: None,
        }
    };
    let start = "INVITE sip:a SIP/2.0\r\n";
    [
        case("letters", "", "A", &[Counter::InDoubtSyntax]),
        case("lines", start, "a:\r\n", &[Counter::InDoubtTruncated]),
        case(
            "tabs in a line",
            &format!("{start}X:"),
            "\t",
            &[Counter::InDoubtTruncated],
        ),
        case(
            "exclamation marks in a name",
            &format!("{start}To:"),
            "!",
            &[Counter::InDoubtTruncated],
        ),
        case(
            "blanks in a header",
            &format!("{start}To:"),
            " ",
            &[Counter::InDoubtTruncated],
        ),
    ]
}

/// What comes to a PBX: mostly REGISTER, and all that belongs to calls.
fn anything() -> Vec<Template> {
    mix(|random| {
        let length = LENGTHS[random.below(LENGTHS.len())];
        let shape = Shape {
            length,
            wanted_last: false,
        };
        let text = match random.below(10) {
            0..4 => messages::request(
                random,
                "REGISTER",
                Whose::New,
                Shape {
                    length: 590,
                    ..shape
                },
            ),
            4..6 => messages::request(random, "INVITE", Whose::New, shape),
            6 => messages::request(
                random,
                "ACK",
                Whose::New,
                Shape {
                    length: 390,
                    ..shape
                },
            ),
            7 => messages::request(
                random,
                "BYE",
                Whose::New,
                Shape {
                    length: 390,
                    ..shape
                },
            ),
            _ => messages::stray_response(random, shape),
        };
        messages::inbound(Whose::New, &text)
    })
}

fn tcp(random: &mut Random) -> Template {
    let payload = vec![b'x'; random.below(600)];
    let port = [80, 443, 5060, 5061][random.below(4)];
    let builder = PacketBuilder::ethernet2(MACS[0], MACS[1])
        .ipv4(
            [60, 17, random.below(250) as u8, random.below(250) as u8],
            PBX,
            64,
        )
        .tcp(
            1024 + random.below(60_000) as u16,
            port,
            random.below(1 << 30) as u32,
            1024,
        );
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, &payload).expect("a frame");
    messages::frame(&frame)
}

/// Calls of so many terminals, taken by the PBX: the programs make the bindings themselves. How many there are.
pub(crate) fn fill(feed: &mut Feed, path: &mut DataPath, count: u32) -> Result<u32> {
    /// So few that what is not accepted yet is seldom pushed out.
    const CHUNK: u32 = 1024;
    let (call, accepted) = (
        messages::inbound(Whose::Picked, &messages::call()),
        messages::outbound(Whose::Picked, &messages::accepted()),
    );
    let before = path.tables.count(Counter::DialogActivated)?;
    feed.hand_to_sipnat(path, Way::In)?;
    feed.hand_to_sipnat(path, Way::Out)?;
    for start in (0..count).step_by(CHUNK as usize) {
        let many = CHUNK.min(count - start);
        for (way, template) in [(Way::In, &call), (Way::Out, &accepted)] {
            feed.load_templates(std::slice::from_ref(template))?;
            feed.run(way, Order::From(start), count.next_power_of_two(), many)?;
        }
    }
    let made = path.tables.count(Counter::DialogActivated)? - before;
    ensure!(
        made * 1000 >= u64::from(count) * 999,
        "only {made} of {count} calls made a binding"
    );
    Ok(made as u32)
}

impl Case {
    /// Measures it, with so many bindings to pick from.
    pub(crate) fn measure(
        &self,
        feed: &mut Feed,
        path: &mut DataPath,
        bindings: u32,
    ) -> Result<Figure> {
        let way = self.way;
        feed.load_templates(&self.templates)?;
        let nothing = Spread::of(
            (0..5)
                .map(|_| feed.nothing(way, RUNS))
                .collect::<Result<_>>()?,
        )
        .median;
        // Both once, so that all is in the caches that will be.
        feed.hand_to_sipnat(path, way)?;
        feed.run(way, Order::Random, bindings, RUNS)?;
        let before = verdicts(path, way)?;
        let mut above = Vec::new();
        for _ in 0..BATCHES {
            feed.hand_to_nobody(way)?;
            let without = feed.run(way, Order::Random, bindings, RUNS)?;
            feed.hand_to_sipnat(path, way)?;
            above.push(feed.run(way, Order::Random, bindings, RUNS)? - without);
        }
        self.check(&before, &verdicts(path, way)?)?;
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

    /// Was each message taken for what it is?
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
        // A slot may be busy, a set full.
        ensure!(
            right * 1000 >= all * 999,
            "{}: {right} of {all} as expected",
            self.what
        );
        Ok(())
    }
}

/// Every verdict of a way, and how often.
fn verdicts(path: &DataPath, way: Way) -> Result<Vec<(Counter, u64)>> {
    let kind = match way {
        Way::In => CounterKind::Ingress,
        Way::Out => CounterKind::Egress,
    };
    let all = Counter::ALL.iter().filter(|counter| counter.kind() == kind);
    all.map(|counter| Ok((*counter, path.tables.count(*counter)?)))
        .collect()
}
