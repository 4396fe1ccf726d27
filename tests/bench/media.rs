//! Streams of media: what a packet costs by the number of streams, and what a description adds to a message.
//!
//! As in `program`, one system call runs the driver program many times. It writes another stream's packet each time. The slots are
//! those of calls in progress: bound, and with a learned source.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use nat_bench_ebpf::{STREAMS, Template, address as address_of, identity, port, stream_port};
use nat_common::{
    abi::{Counter, MEDIA_PORTS, MediaCounter, MediaFlags, MediaSlot, SECOND, address, ticks},
    endpoint::Endpoint,
    media::{self, Arrival, Arrived, Binding, Packet},
};
use nat_userspace::{
    host::{clock, prefix::Prefix},
    kernel::{
        load::{DataPath, HostAddresses, Loader},
        mapped::Access,
    },
    settings::{Settings, Sizes},
};

use crate::{
    chart::{Chart, Point},
    feed::{self, Direction, Feed, Order},
    machine,
    messages::{self, AUDIO_PORT, AUDIO_SSRC, MACS, PBX, PRIVATE, Terminal},
    program::{self, Case},
    report::{Figure, Goal, Part, Spread},
    rtpengine, sends,
};

/// Runs and batches of figures that compare two data paths.
const RUNS: u32 = 20_000;
const BATCHES: usize = 25;

/// Streams, and the local addresses that have them.
pub(crate) const SIZES: [(u32, u8); 3] = [(1024, 1), (STREAMS, 1), (4 * STREAMS, 4)];

/// Time of an INVITE without media on the machine for which the goals below were set, by the same measurement. Goals hold for
/// other machines in proportion to theirs.
const INVITE: f64 = 430.0;

/// Packets that a call leg has in each direction, a second.
const PACKETS: f64 = 50.0;

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "media",
        "Nanoseconds above an empty program, by BPF_PROG_TEST_RUN, for a packet of RTP with 172 bytes; each is of another \
         stream, at random. What --media adds to other packets: nanoseconds above the same program without it. Goals are in \
         proportion to the time of an INVITE without media. Real sends: CPU time of sendto over veth, above an empty TC program. \
         rtpengine: CPU time of its threads, and of the core that receives for it. A leg is 50 packets a second in each \
         direction; the one with sipnat is made of the two figures for the least streams.",
    );
    machine::pin(0, 0)?;
    machine::go_first(0)?;
    let mut feed = Feed::load()?;
    let object = feed::sipnat()?;
    let scale = added(&mut part, &mut feed, &object)? / INVITE;
    let mut arriving = None;
    for (streams, addresses) in SIZES {
        let settings = with_media(true, addresses);
        let loader = Loader::new(&object, &settings).addresses(own(addresses));
        let mut path = part.load(loader)?;
        fill(&path, streams, addresses, MACS[1])?;
        for case in cases(streams, addresses, scale) {
            let figure = case.measure(&mut feed, &mut path)?;
            arriving.get_or_insert(figure.median());
            part.add(figure);
        }
    }
    let settings = with_media(true, 1);
    let mut path = part.load(Loader::new(&object, &settings).addresses(own(1)))?;
    let fill = |path: &DataPath, router| fill(path, sends::SOCKETS, 1, router);
    let leaving = sends::measure(&mut part, &mut feed, &mut path, fill)?;
    drop(path);
    let relayed = rtpengine::measure(&mut part, &mut feed)?;
    let ours = PACKETS * (arriving.unwrap_or_default() + leaving) / 1000.0;
    let theirs = PACKETS * 2.0 * relayed / 1000.0;
    part.add(Figure::new("a leg with sipnat", ours, "us/s"));
    part.add(Figure::new("a leg with rtpengine", theirs, "us/s"));
    part.add(
        Figure::new("a leg with rtpengine", theirs / ours, "times sipnat's")
            .goal(Goal::at_least(35.0, 70.0)),
    );
    Ok(part)
}

pub(crate) fn with_media(media: bool, addresses: u8) -> Settings {
    Settings {
        media,
        sizes: Sizes {
            bindings: 1 << 14,
            media: u32::from(addresses) * MEDIA_PORTS,
            ..Sizes::default()
        },
        ..Settings::default()
    }
}

/// Returns a local address.
const fn local(number: u8) -> [u8; 4] {
    let [a, b, c, d] = PBX;
    [a, b, c, d + number]
}

/// Addresses of the PBX's host.
pub(crate) fn own(addresses: u8) -> HostAddresses {
    let kinds = (0..addresses).map(|number| {
        let prefix = Ipv4Addr::from(local(number)).to_string().parse::<Prefix>();
        (prefix.expect("an address"), address::LOCAL)
    });
    HostAddresses {
        on_link: Vec::new(),
        kinds: kinds.collect(),
    }
}

/// Binds the slots of so many streams, and has each learn its source. Their packets come from a router.
pub(crate) fn fill(path: &DataPath, streams: u32, addresses: u8, router: [u8; 6]) -> Result<()> {
    let config = path.tables.media_config()?;
    let mut slots = path.tables.streams(Access::Write)?;
    let now = clock::now();
    let [a, b, c, d, e, f] = router;
    for stream in 0..streams {
        let (number, local_number) = (stream % STREAMS, (stream / STREAMS) as u8);
        ensure!(local_number < addresses, "too few addresses");
        let here = Endpoint::v4(local(local_number), 0);
        let index = config.number(&here.addr);
        let id = identity(number);
        let source = Endpoint::v4(address_of(id), port(id));
        let mut slot = MediaSlot::default();
        let binding = Binding {
            advertised: Endpoint::v4(PRIVATE.octets(), AUDIO_PORT),
            peer: source.addr,
            flags: MediaFlags::REWRITE,
            now,
            expires: now + 3600 * SECOND,
            ..Binding::default()
        };
        let arrival = Arrival {
            source,
            router: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            packet: Packet::read(
                172,
                0x80,
                u64::from(u32::from_ne_bytes([0, 0, 0, AUDIO_SSRC])),
            ),
            tick: ticks(now),
        };
        // SAFETY: a slot of this thread's own.
        let arrived = unsafe {
            media::bind(&raw mut slot, &binding);
            media::arrive(&raw mut slot, &arrival)
        };
        ensure!(arrived == Arrived::Latched);
        // No call owns them, so none is asked whether it goes on.
        slot.checked = u64::MAX;
        slots.store(index * MEDIA_PORTS + u32::from(stream_port(number)), &slot);
    }
    Ok(())
}

/// Packets of streams, and the events that they must be.
pub(crate) struct Streams {
    pub(crate) case: Case,
    /// Event of each packet; none: its slot counts it as received.
    event: Option<MediaCounter>,
    /// Streams of each address.
    pub(crate) picks: u32,
}

pub(crate) fn cases(streams: u32, addresses: u8, scale: f64) -> Vec<Streams> {
    let picks = streams.min(STREAMS);
    let tables = format!("{streams} streams, {addresses} local addresses");
    let hot = streams == SIZES[0].0;
    let locals = || (0..addresses).map(local);
    let case =
        |what: &str, direction, templates: Vec<Template>, event, goal: Option<Goal>| Streams {
            case: Case {
                what: format!("{what}, {tables}"),
                direction,
                templates,
                verdicts: match direction {
                    Direction::In => &[Counter::InOtherPort],
                    Direction::Out => &[Counter::OutOtherPort],
                },
                goal,
                point: Some(Point::new(Chart::Streams, what, streams)),
            },
            event,
            picks,
        };
    let of = |terminal| {
        locals()
            .map(|local| messages::audio_in(terminal, local))
            .collect()
    };
    let limit = |hot_goal, cold_goal| {
        if hot {
            Some(hot_goal)
        } else if streams == SIZES[2].0 {
            Some(cold_goal)
        } else {
            None
        }
    };
    vec![
        case(
            "in: from the learned source",
            Direction::In,
            of(Terminal::Picked),
            None,
            limit(
                Goal::at_most(20.0 * scale, 15.0 * scale),
                Goal::at_most(150.0 * scale, 130.0 * scale),
            ),
        ),
        case(
            "in: from a stranger",
            Direction::In,
            of(Terminal::New),
            Some(MediaCounter::Stranger),
            None,
        ),
        case(
            "out: rewritten",
            Direction::Out,
            locals().map(messages::audio_out).collect(),
            Some(MediaCounter::Rewritten),
            limit(
                Goal::target_at_most(55.0 * scale),
                Goal::target_at_most(141.0 * scale),
            ),
        ),
    ]
}

impl Streams {
    fn measure(&self, feed: &mut Feed, path: &mut DataPath) -> Result<Figure> {
        let before = self.count(path)?;
        let figure = self.case.measure(feed, path, self.picks)?;
        let grown = self.count(path)? - before;
        let wanted = u64::from(RUNS) * BATCHES as u64;
        // A first run warms the caches.
        ensure!(
            grown * 1000 >= (wanted + u64::from(RUNS)) * 999,
            "{}: {grown} of {wanted} as expected",
            self.case.what
        );
        Ok(figure)
    }

    fn count(&self, path: &DataPath) -> Result<u64> {
        match self.event {
            Some(event) => path.tables.count_media(event),
            None => {
                let slots = path.tables.streams(Access::Read)?;
                Ok(slots.used().map(|(_, slot)| u64::from(slot.received)).sum())
            }
        }
    }
}

/// Measures what `--media` adds to packets that belong to no stream, and to messages with a description. Returns the time of an
/// INVITE without it.
fn added(part: &mut Part, feed: &mut Feed, object: &[u8]) -> Result<f64> {
    let (on, off) = (with_media(true, 1), with_media(false, 1));
    let mut with = part.load(Loader::new(object, &on).addresses(own(1)))?;
    let mut without = part.load(Loader::new(object, &off).addresses(own(1)))?;
    let picks = 1 << 10;
    for path in [&mut with, &mut without] {
        program::fill(feed, path, picks)?;
    }
    let [udp, _] = program::not_sip("");
    let invite = program::invites("without media", 590, false);
    let reinvite = program::reinvites("");
    let alone = invite.measure(feed, &mut without, picks)?;
    let time = alone.median();
    let scale = time / INVITE;
    part.add(alone);
    for (what, case, event, [must, target]) in [
        (
            "INVITE in of about 590 bytes, with a description",
            invite,
            Some(MediaCounter::Noted),
            [300.0, 225.0],
        ),
        (
            "re-INVITE out of about 590 bytes, with a description",
            reinvite,
            Some(MediaCounter::Noted),
            [300.0, 225.0],
        ),
        ("UDP to ports without streams", udp, None, [4.0, 3.0]),
    ] {
        feed.load_templates(&case.templates)?;
        let noted = |path: &DataPath| event.map_or(Ok(0), |event| path.tables.count_media(event));
        let before = noted(&with)?;
        let mut run = |path: &mut DataPath| -> Result<f64> {
            feed.hand_to_sipnat(path, case.direction)?;
            feed.run(case.direction, Order::Random, picks, RUNS)
        };
        run(&mut without)?;
        run(&mut with)?;
        let mut above = Vec::new();
        for _ in 0..BATCHES {
            let alone = run(&mut without)?;
            above.push(run(&mut with)? - alone);
        }
        let grown = noted(&with)? - before;
        let all = u64::from(RUNS) * (BATCHES as u64 + 1);
        // Bodies of other types have none; a slot may be busy.
        ensure!(
            event.is_none() || grown * 10 >= all * 9,
            "{what}: {grown} of {all} noted"
        );
        let above = Spread::of(above);
        let figure = Figure::new(format!("added by --media: {what}"), above, "ns")
            .ratio(above.median / time, "an INVITE without media")
            .goal(Goal::at_most(must * scale, target * scale));
        part.add(figure);
    }
    Ok(time)
}
