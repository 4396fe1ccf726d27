//! Streams of media: what a packet costs by the number of streams, and what a description adds to a message.
//!
//! As in `program`, one system call runs the driver program many times. It writes another stream's packet each time. The slots are
//! those of calls in progress: bound, and with a learned source.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use aya::programs::TcAttachType;
use nat_bench_ebpf::{STREAMS, Template, address as address_of, identity, port, stream_port};
use nat_common::{
    abi::{Counter, MEDIA_PORTS, MediaCounter, MediaFlags, MediaSlot, SECOND, address, ticks},
    endpoint::Endpoint,
    media::{self, Arrival, Arrived, Binding, Packet},
};
use nat_userspace::{
    host::{clock, prefix::Prefix},
    kernel::{
        load::{DataPath, HostAddresses, Loader, Programs as _},
        mapped::Access,
    },
    settings::{Settings, Sizes},
};
use nix::time::{ClockId, clock_gettime};

use crate::{
    feed::{self, Direction, Feed, Order},
    machine,
    messages::{self, AUDIO_PORT, AUDIO_SSRC, MACS, PBX, PRIVATE, Terminal},
    program::{self, Case},
    report::{Figure, Goal, Part, Spread},
    rig::{End, Rig, SERVER, SERVER_CPU},
};

/// Runs and batches of figures that compare two data paths.
const RUNS: u32 = 20_000;
const BATCHES: usize = 25;

/// Streams, and the local addresses that have them.
const SIZES: [(u32, u8); 3] = [(1024, 1), (STREAMS, 1), (4 * STREAMS, 4)];

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "media",
        "Nanoseconds above an empty program, by BPF_PROG_TEST_RUN, for a packet of RTP with 172 bytes; each is of another \
         stream, at random. What --media adds to other packets: nanoseconds above the same program without it. Real sends: CPU \
         time of sendto over veth, above an empty TC program.",
    );
    machine::pin(0, 0)?;
    machine::go_first(0)?;
    let mut feed = Feed::load()?;
    let object = feed::sipnat()?;
    for (streams, addresses) in SIZES {
        let settings = with_media(true, addresses);
        let loader = Loader::new(&object, &settings).addresses(own(addresses));
        let mut path = part.load(loader)?;
        fill(&path, streams, addresses, MACS[1])?;
        for case in cases(streams, addresses) {
            part.add(case.measure(&mut feed, &mut path)?);
        }
    }
    added(&mut part, &mut feed, &object)?;
    real_sends(&mut part, &mut feed, &object)?;
    Ok(part)
}

fn with_media(media: bool, addresses: u8) -> Settings {
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
fn own(addresses: u8) -> HostAddresses {
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
fn fill(path: &DataPath, streams: u32, addresses: u8, router: [u8; 6]) -> Result<()> {
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
struct Streams {
    case: Case,
    /// Event of each packet; none: its slot counts it as received.
    event: Option<MediaCounter>,
    /// Streams of each address.
    picks: u32,
}

fn cases(streams: u32, addresses: u8) -> Vec<Streams> {
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
                point: None,
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
            limit(Goal::at_most(20.0, 15.0), Goal::at_most(150.0, 130.0)),
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
            limit(Goal::target_at_most(55.0), Goal::target_at_most(141.0)),
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

/// Measures what `--media` adds to packets that belong to no stream, and to messages with a description.
fn added(part: &mut Part, feed: &mut Feed, object: &[u8]) -> Result<()> {
    let (on, off) = (with_media(true, 1), with_media(false, 1));
    let mut with = part.load(Loader::new(object, &on).addresses(own(1)))?;
    let mut without = part.load(Loader::new(object, &off).addresses(own(1)))?;
    let picks = 1 << 10;
    for path in [&mut with, &mut without] {
        program::fill(feed, path, picks)?;
    }
    let [udp, _] = program::not_sip("");
    let invite = program::invites("", 590, false);
    let reinvite = program::reinvites("");
    for (what, case, event, goal) in [
        (
            "UDP to ports without streams",
            udp,
            None,
            Goal::at_most(4.0, 3.0),
        ),
        (
            "INVITE in of about 590 bytes, with a description",
            invite,
            Some(MediaCounter::Noted),
            Goal::at_most(300.0, 225.0),
        ),
        (
            "re-INVITE out of about 590 bytes, with a description",
            reinvite,
            Some(MediaCounter::Noted),
            Goal::at_most(300.0, 225.0),
        ),
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
        part.add(
            Figure::new(format!("added by --media: {what}"), Spread::of(above), "ns").goal(goal),
        );
    }
    Ok(())
}

/// Measures `sendto` of the PBX's audio from many sockets, by the time of its thread.
fn real_sends(part: &mut Part, feed: &mut Feed, object: &[u8]) -> Result<()> {
    const SOCKETS: u32 = 512;
    const SENDS: u32 = 40;
    /// Packets that the receiver's ring holds, and the time in which it takes them.
    const BURST: usize = 64;
    const PAUSE: Duration = Duration::from_micros(200);
    const PATIENCE: Duration = Duration::from_millis(500);
    const ROUNDS: usize = 15;
    let settings = with_media(true, 1);
    let mut path = part.load(Loader::new(object, &settings).addresses(own(1)))?;
    let rig = Rig::new()?;
    let arrivals = feed.attach(&rig, End::Client, "answers")?;
    machine::pin(0, SERVER_CPU)?;
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|number| {
            let here = SocketAddrV4::new(PBX.into(), stream_port(number));
            rig.server.udp(here)
        })
        .collect::<Result<_>>()?;
    let audio = messages::audio();
    let to = SocketAddr::from((PRIVATE, AUDIO_PORT));
    let send = |feed: &Feed| -> Result<f64> {
        let all = u64::from(SOCKETS * SENDS);
        let seen = |feed: &Feed| feed.seen(nat_bench_ebpf::seen::OTHER);
        let (arrived, mut sent, mut time) = (seen(feed)?, 0, Duration::ZERO);
        for _ in 0..SENDS {
            for burst in sockets.chunks(BURST) {
                let start = cpu_time()?;
                for socket in burst {
                    socket.send_to(&audio, to)?;
                }
                time += cpu_time()? - start;
                sent += burst.len() as u64;
                let begun = Instant::now();
                while seen(feed)? < arrived + sent && begun.elapsed() < PATIENCE {
                    thread::sleep(PAUSE);
                }
            }
        }
        let arrived = seen(feed)? - arrived;
        ensure!(
            arrived * 100 >= all * 98,
            "only {arrived} of {all} packets arrived"
        );
        Ok(time.as_nanos() as f64 / all as f64)
    };
    for (what, router, goal) in [
        (
            "to the router from which the stream comes",
            MACS[0],
            Some(Goal::at_most(150.0, 122.0)),
        ),
        (
            "to another router, which the kernel looks up",
            MACS[1],
            None,
        ),
    ] {
        fill(&path, SOCKETS, 1, router)?;
        let before = path.tables.count_media(MediaCounter::Rewritten)?;
        let (mut alone, mut above) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let link = rig.server.enter(|| feed.attach_empty_egress(SERVER))??;
            let empty = send(feed)?;
            feed.detach_empty_egress(link)?;
            let attach =
                || -> Result<_> { Ok(path.egress()?.attach(SERVER, TcAttachType::Egress)?) };
            let link = rig.server.enter(attach)??;
            above.push(send(feed)? - empty);
            path.egress()?.detach(link)?;
            alone.push(empty);
        }
        let grown = path.tables.count_media(MediaCounter::Rewritten)? - before;
        let all = u64::from(SOCKETS * SENDS) * ROUNDS as u64;
        ensure!(grown == all, "{grown} of {all} rewritten");
        let alone = Spread::of(alone);
        let above = Spread::of(above);
        let figure = Figure::new(format!("real sends, rewritten, {what}"), above, "ns").ratio(
            (alone.median + above.median) / alone.median,
            "an empty program's sendto",
        );
        part.add(match goal {
            Some(goal) => figure.goal(goal),
            None => figure,
        });
    }
    feed.detach("answers", arrivals)
}

/// Returns the CPU time of this thread.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
