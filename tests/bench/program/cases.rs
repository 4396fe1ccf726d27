//! Cases of the benchmark: messages and packets, and the verdicts that they must get.

use anyhow::{Result, ensure};
use etherparse::PacketBuilder;
use nat_bench_ebpf::Template;
use nat_common::abi::Counter;
use nat_userspace::kernel::load::DataPath;

use super::{Case, HOSTILE_CALLS, LENGTHS};
use crate::{
    chart::{Chart, Point},
    feed::{Direction, Feed},
    messages::{self, MACS, MIX, PBX, Random, Shape, Terminal},
    report::Goal,
};

/// Size of the tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Hot,
    Cold,
}

/// A mix of messages of one kind.
pub(crate) fn mix(make: impl Fn(&mut Random) -> Template) -> Vec<Template> {
    (0..MIX as u64)
        .map(|seed| make(&mut Random::new(seed + 1)))
        .collect()
}

/// Returns INVITEs of this length, from new terminals.
pub(crate) fn invites(tables: &str, length: usize, wanted_last: bool) -> Case {
    let last = if wanted_last {
        ", the wanted headers last"
    } else {
        ""
    };
    Case {
        what: format!("in: INVITE of about {length} bytes{last}, {tables}"),
        direction: Direction::In,
        templates: mix(|random| {
            let shape = Shape {
                length,
                wanted_last,
            };
            let text = messages::request(random, "INVITE", Terminal::New, shape);
            messages::inbound(Terminal::New, &text)
        }),
        verdicts: &[Counter::InRequest],
        goal: None,
        point: None,
    }
}

/// Returns re-INVITEs to known terminals.
pub(crate) fn reinvites(tables: &str) -> Case {
    Case {
        what: format!("out: re-INVITE of about 590 bytes, redirected, {tables}"),
        direction: Direction::Out,
        templates: mix(|random| {
            let shape = Shape {
                length: 590,
                wanted_last: false,
            };
            messages::outbound(
                Terminal::Picked,
                &messages::in_dialog(random, "INVITE", shape),
            )
        }),
        verdicts: &[Counter::OutRedirectedDialog],
        goal: None,
        point: None,
    }
}

pub(super) fn all(tables: &str, size: Size, call: f64) -> Vec<Case> {
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
        direction: Direction::In,
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
    cases.extend(hostile(call));
    cases.push(Case {
        what: "in: keepalives (CRLF)".into(),
        direction: Direction::In,
        templates: mix(|random| {
            messages::from_terminal(Terminal::New, 5060, &b"\r\n\r\n"[..2 + 2 * random.below(2)])
        }),
        verdicts: &[Counter::InKeepalive],
        goal: None,
        point: None,
    });
    cases
}

/// Returns packets that are not SIP.
pub(crate) fn not_sip(tables: &str) -> [Case; 2] {
    let case = |what: &str, templates, verdicts| Case {
        what: format!("in: {what}{tables}"),
        direction: Direction::In,
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
        messages::from_terminal(Terminal::New, ports[random.below(4)], &payload)
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

/// Returns packets that an attacker sends to keep the PBX's CPU busy. `call`: the time of a call.
fn hostile(call: f64) -> Vec<Case> {
    /// Together with its headers it fills an Ethernet frame.
    const LENGTH: usize = 1472;
    const START: &str = "REGISTER sip:a SIP/2.0\r\n";
    let case = |what: &str, start: &str, templates: Vec<Template>| Case {
        what: format!("in: {LENGTH} bytes, {start:?} and {what}"),
        direction: Direction::In,
        templates,
        verdicts: &[
            Counter::InDoubtCostly,
            Counter::InDoubtSyntax,
            Counter::InDoubtTruncated,
        ],
        goal: Some(Goal::at_most(
            HOSTILE_CALLS * call,
            HOSTILE_CALLS * call / 2.0,
        )),
        point: None,
    };
    let message = |payload: &[u8]| messages::from_terminal(Terminal::New, 5060, payload);
    let repeated = [
        ("", "A"),
        (START, "a:\r\n"),
        (START, "a\n"),
        ("REGISTER sip:a SIP/2.0\r\nX:", "\t"),
        ("REGISTER sip:a SIP/2.0\r\nTo:", "!"),
        ("REGISTER sip:a SIP/2.0\r\nTo:", " "),
        ("REGISTER sip:a SIP/2.0\r\nTo: <sip:a>;tag=", "!"),
        ("REGISTER sip:a SIP/2.0\r\nTo: <sip:a>", ";a=\"a\"\"a\""),
        ("REGISTER sip:a SIP/2.0\r\nTo: <sip:a", ";"),
        ("REGISTER sip:a SIP/2.0\r\nContact: ", "a,"),
        ("REGISTER sip:a SIP/2.0\r\nRecord-Route: ", "a,"),
    ];
    let repeated = repeated.map(|(start, unit)| {
        let mut payload = start.as_bytes().to_vec();
        payload.extend(unit.bytes().cycle().take(LENGTH - start.len()));
        case(&format!("{unit:?}"), start, vec![message(&payload)])
    });
    // No branch predictor learns these.
    let shuffled = [
        (
            "REGISTER sip:a SIP/2.0\r\nContact: ",
            ["a,", "\"\",", "<a>,", "a;expires=1,"],
        ),
        (
            "REGISTER sip:a SIP/2.0\r\nTo: <sip:a>",
            [";a", "!", "\"\"", " "],
        ),
        (START, ["a\n", "t:\n", "aa\r\n", "x: y\n"]),
    ];
    let shuffled = shuffled.map(|(start, parts)| {
        let templates = mix(|random| {
            let mut payload = start.as_bytes().to_vec();
            while payload.len() < LENGTH {
                payload.extend(parts[random.below(parts.len())].bytes());
            }
            payload.truncate(LENGTH);
            message(&payload)
        });
        case(&format!("{parts:?} at random"), start, templates)
    });
    repeated.into_iter().chain(shuffled).collect()
}

/// Returns the traffic of a PBX: mostly REGISTER, and the messages of calls.
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
                Terminal::New,
                Shape {
                    length: 590,
                    ..shape
                },
            ),
            4..6 => messages::request(random, "INVITE", Terminal::New, shape),
            6 => messages::request(
                random,
                "ACK",
                Terminal::New,
                Shape {
                    length: 390,
                    ..shape
                },
            ),
            7 => messages::request(
                random,
                "BYE",
                Terminal::New,
                Shape {
                    length: 390,
                    ..shape
                },
            ),
            _ => messages::stray_response(random, shape),
        };
        messages::inbound(Terminal::New, &text)
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

/// Makes the calls of this number of terminals, accepted by the PBX, so that the programs make the bindings. Each terminal
/// acknowledges the answer: a re-INVITE is redirected at once. Returns the number of bindings.
pub(crate) fn fill(feed: &mut Feed, path: &mut DataPath, count: u32) -> Result<u32> {
    /// Batches are small, so that few unaccepted requests are evicted.
    const CHUNK: u32 = 1024;
    let (call, picks) = (messages::call(), count.next_power_of_two());
    let accepted = messages::answer(&call, "200 OK");
    let steps = [
        (Direction::In, messages::inbound(Terminal::Picked, &call)),
        (Direction::Out, messages::back(Terminal::Picked, &accepted)),
        (
            Direction::In,
            messages::inbound(Terminal::Picked, &messages::acknowledged()),
        ),
    ];
    let before = path.tables.count(Counter::DialogActivated)?;
    feed.hand_to_sipnat(path, Direction::In)?;
    feed.hand_to_sipnat(path, Direction::Out)?;
    for start in (0..count).step_by(CHUNK as usize) {
        let many = CHUNK.min(count - start);
        for (direction, template) in &steps {
            feed.each(*direction, template, start, picks, many)?;
        }
    }
    let made = path.tables.count(Counter::DialogActivated)? - before;
    ensure!(
        made * 1000 >= u64::from(count) * 999,
        "only {made} of {count} calls made a binding"
    );
    Ok(made as u32)
}
