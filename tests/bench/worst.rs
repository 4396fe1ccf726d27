//! The junk that costs most: searched for, not known beforehand.
//!
//! A message has a start line, the beginning of a header, and then a unit of up to four parts that is repeated up to the
//! end of an Ethernet frame, or parts at random. All are scanned on the host. Those that take longest there run in the
//! kernel.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use aya::programs::{TestRun as _, TestRunOptions};
use nat_common::bpf::HostLoop;
use nat_common::bytes::Source;
use nat_common::sip::{Direction, Scan};
use nat_test_oracle::effort;
use nat_userspace::{
    kernel::load::{DataPath, Loader, Programs as _},
    settings::{Settings, Sizes},
};

use crate::{
    feed::{self, Feed},
    machine,
    messages::{self, Random, Terminal},
    program::HOSTILE_CALLS,
    report::{Figure, Goal, Part, Spread},
};

/// Length of a message that fills an Ethernet frame, together with its headers.
const LENGTH: usize = 1472;

/// Start lines.
const STARTS: [&str; 2] = ["REGISTER sip:a SIP/2.0\r\n", "SIP/2.0 200 OK\r\n"];

/// Text before the unit.
const PLACES: [&str; 34] = [
    "",
    "X: ",
    "Via: ",
    "Via: SIP",
    "Via: SIP/2.0/UDP x",
    "Via: SIP/2.0/UDP x;branch=",
    "Via: SIP/2.0/UDP x;branch=z\r\nVia: SIP/2.0/UDP x",
    "To",
    "To: ",
    "To: a",
    "To: \"",
    "To: <",
    "To: <sip:a",
    "To: <sip:a>",
    "To: <sip:a>;tag",
    "To: <sip:a>;tag=",
    "To: <sip:a>;tag=a",
    "Contact: ",
    "Contact: a",
    "Contact: \"",
    "Contact: <sip:a",
    "Contact: <sip:a@[",
    "Contact: <sip:a>",
    "Contact: <sip:a>;expires",
    "Contact: <sip:a>;expires=",
    "Record-Route: ",
    "Record-Route: <a>",
    "Record-Route: <",
    "Call-ID: ",
    "CSeq: ",
    "CSeq: 1 ",
    "Expires: ",
    "Route: ",
    "Authorization: ",
];

/// Parts of a unit.
const PARTS: [&[u8]; 38] = [
    b"a",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"!",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"?",
    b"@",
    b":",
    b"=",
    b"*",
    b"[",
    b".",
    b"0",
    b"/",
    b"\0",
    b"\xc3",
    b"\r\n",
    b"\r\n ",
    b"a:\r\n",
    b"v:",
    b"m:",
    b"i:a",
    b"tag=",
    b"branch=",
    b"expires=",
    b"SIP/2.0/UDP ",
    b"sip:",
    b"<a>",
    b"\"\"",
    b"\\a",
    b"aaaaaaaaaaaaaaa",
];

/// A message of junk.
struct Junk {
    /// Start of the message.
    place: String,
    /// Parts after it.
    what: String,
    text: Vec<u8>,
    /// Nanoseconds of a scan on the host.
    time: f64,
}

impl Junk {
    /// Makes the message that `parts` fill up.
    fn new<'p>(
        start: &str,
        place: &str,
        what: &str,
        parts: impl Iterator<Item = &'p [u8]>,
    ) -> Self {
        let mut text = [start, place].concat().into_bytes();
        for part in parts {
            text.extend(part);
            if text.len() >= LENGTH {
                break;
            }
        }
        text.truncate(LENGTH);
        Self {
            place: format!("{}... {place:?}", &start[..3]),
            what: what.into(),
            time: time_on_host(&text),
            text,
        }
    }
}

/// Bytes with zeros behind them, so that a word is one load, as in the kernel.
struct Padded {
    bytes: Vec<u8>,
    len: u32,
}

impl Source for Padded {
    #[inline(always)]
    fn word(&self, at: u32) -> u64 {
        let at = (at as usize).min(self.bytes.len() - 8);
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    fn len(&self) -> u32 {
        self.len
    }
}

/// Returns the nanoseconds of a scan on the host, the least of three.
fn time_on_host(text: &[u8]) -> f64 {
    let mut bytes = text.to_vec();
    bytes.resize(text.len() + 256, 0);
    let text = Padded {
        bytes,
        len: text.len() as u32,
    };
    let mut scan = Scan::default();
    let times = [(); 3].map(|()| {
        let start = Instant::now();
        let _ = black_box(scan.run::<_, HostLoop>(&text, Some(Direction::In)));
        start.elapsed().as_nanos() as f64
    });
    times.into_iter().fold(f64::MAX, f64::min)
}

/// Searches on the host. Returns the worst messages of each place.
fn search() -> Vec<Junk> {
    /// Messages of a place that are timed in the kernel.
    const KEPT: usize = 4;
    const UNITS: usize = 6000;
    const RANDOM: usize = 1500;
    let mut random = Random::new(7);
    let mut worst = Vec::new();
    for (start, place) in STARTS.iter().flat_map(|s| PLACES.map(|place| (*s, place))) {
        let mut found: Vec<Junk> = Vec::new();
        let mut keep = |junk| {
            found.push(junk);
            if found.len() >= 100 * KEPT {
                keep_worst(&mut found, KEPT);
            }
        };
        let mut attempt = |unit: &[&[u8]]| {
            let what = String::from_utf8_lossy(&unit.concat()).into_owned();
            let parts = unit.iter().copied().cycle();
            keep(Junk::new(start, place, &format!("{what:?}"), parts));
        };
        for a in PARTS {
            attempt(&[a]);
            for b in PARTS {
                attempt(&[a, b]);
            }
        }
        for _ in 0..UNITS {
            let mut pick = || PARTS[random.below(PARTS.len())];
            let unit = [pick(), pick(), pick(), pick()];
            attempt(&unit[..3 + random.below(2)]);
        }
        for _ in 0..RANDOM {
            let mut pick = || PARTS[random.below(PARTS.len())];
            let some = [pick(), pick(), pick(), pick()];
            let some = &some[..2 + random.below(3)];
            let names = some.iter().map(|part| String::from_utf8_lossy(part));
            let what = format!("at random {:?}", names.collect::<Vec<_>>());
            let parts = std::iter::repeat_with(|| some[random.below(some.len())]);
            keep(Junk::new(start, place, &what, parts.take(LENGTH)));
        }
        keep_worst(&mut found, KEPT);
        worst.extend(found);
    }
    worst
}

/// Keeps the messages that take longest.
fn keep_worst(found: &mut Vec<Junk>, count: usize) {
    found.sort_by(|a, b| b.time.total_cmp(&a.time));
    found.dedup_by(|a, b| a.text == b.text);
    found.truncate(count);
}

/// Returns the nanoseconds of a run of `ingress`, the least of three batches.
fn time_in_kernel(path: &mut DataPath, text: &[u8], runs: u32) -> Result<f64> {
    let template = messages::from_terminal(Terminal::New, 5060, text);
    let mut least = f64::MAX;
    for _ in 0..3 {
        let result = path.ingress()?.test_run(TestRunOptions {
            data_in: Some(&template.bytes[..template.len as usize]),
            repeat: runs,
            ..TestRunOptions::default()
        })?;
        least = least.min(result.duration.as_nanos() as f64);
    }
    Ok(least)
}

pub(crate) fn bench() -> Result<Part> {
    /// Messages in the table.
    const SHOWN: usize = 10;
    let mut part = Part::new(
        "worst",
        "Nanoseconds of `ingress` for the junk of 1,472 bytes that costs most, above a packet that is not SIP. By \
         BPF_PROG_TEST_RUN of one message many times. In brackets: steps of the machine without a budget.",
    );
    machine::pin(0, 0)?;
    let all = search();
    machine::go_first(0)?;
    let mut feed = Feed::load()?;
    let calls = (0..5).map(|_| feed.call(20_000)).collect::<Result<_>>()?;
    let call = Spread::of(calls);
    part.add(Figure::new(
        "a call and its return, in any kernel program",
        call,
        "ns",
    ));
    let object = feed::sipnat()?;
    let settings = Settings {
        sizes: Sizes {
            transactions: 4096,
            pending: 4096,
            peers: 4096,
            bindings: 4096,
            ..Sizes::default()
        },
        ..Settings::default()
    };
    let mut path = Loader::new(&object, &settings).load()?;
    let nothing = time_in_kernel(&mut path, b"nothing of SIP", 20_000)?;
    let mut timed = Vec::new();
    for junk in all {
        timed.push((time_in_kernel(&mut path, &junk.text, 500)?, junk));
    }
    timed.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut places = Vec::new();
    for (_, junk) in &timed {
        // One of each place.
        if places.contains(&&junk.place) {
            continue;
        }
        places.push(&junk.place);
        let time = time_in_kernel(&mut path, &junk.text, 5000)? - nothing;
        let (steps, _) = effort::read(&junk.text, Some(Direction::In));
        part.add(
            Figure::new(
                format!("{} {} ({steps})", junk.place, junk.what),
                time,
                "ns",
            )
            .goal(Goal::at_most(
                HOSTILE_CALLS * call.median,
                HOSTILE_CALLS * call.median / 2.0,
            )),
        );
        if places.len() == SHOWN {
            break;
        }
    }
    Ok(part)
}
