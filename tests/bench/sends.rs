//! Audio of the PBX in real sends: CPU time of `sendto` over veth, with sipnat and with an empty TC program.
//!
//! There are two such PBXs, and their turns take a third of a millisecond each, so that whatever else the machine does meets both.

use std::{
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use aya::programs::TcAttachType;
use nat_bench_ebpf::{seen, stream_port};
use nat_common::abi::MediaCounter;
use nat_userspace::kernel::load::{DataPath, Programs as _};
use nix::time::{ClockId, clock_gettime};

use crate::{
    feed::Feed,
    machine,
    messages::{self, AUDIO_PORT, MACS, PBX, PRIVATE},
    report::{Figure, Goal, Part, Spread},
    rig::{End, Rig, SERVER, SERVER_CPU},
};

/// Sockets of each PBX, each of a stream.
pub(crate) const SOCKETS: u32 = 512;
/// Packets of a turn: the receiver's ring holds them.
const TURN: usize = 64;
/// Turns of each PBX from each socket.
const ROUNDS: usize = 400;

/// Measures what sipnat adds to a packet that it rewrites. `fill` binds the streams, whose packets come from a router. Returns the
/// nanoseconds where that is the router to which the PBX sends.
pub(crate) fn measure(
    part: &mut Part,
    feed: &mut Feed,
    path: &mut DataPath,
    fill: impl Fn(&DataPath, [u8; 6]) -> Result<()>,
) -> Result<f64> {
    machine::pin(0, SERVER_CPU)?;
    let (plain, ours) = (Host::new(feed)?, Host::new(feed)?);
    let empty = plain
        .rig
        .server
        .enter(|| feed.attach_empty_egress(SERVER))??;
    let attach = || -> Result<_> { Ok(path.egress()?.attach(SERVER, TcAttachType::Egress)?) };
    let link = ours.rig.server.enter(attach)??;
    let mut same_router = 0.0;
    for (what, router, goal) in [
        (
            "to the router from which the stream comes",
            MACS[0],
            Some(Goal::at_most(1.07, 1.055)),
        ),
        (
            "to another router, which the kernel looks up",
            MACS[1],
            None,
        ),
    ] {
        fill(path, router)?;
        let before = path.tables.count_media(MediaCounter::Rewritten)?;
        let (mut alone, mut above) = (Vec::new(), Vec::new());
        let mut arrivals = Arrivals::new(feed)?;
        for _ in 0..ROUNDS {
            for (plain, ours) in plain.sockets.chunks(TURN).zip(ours.sockets.chunks(TURN)) {
                let without = turn(plain)?;
                arrivals.wait(feed, plain.len())?;
                let with = turn(ours)?;
                arrivals.wait(feed, ours.len())?;
                above.push(with - without);
                alone.push(without);
            }
        }
        let grown = path.tables.count_media(MediaCounter::Rewritten)? - before;
        let all = u64::from(SOCKETS) * ROUNDS as u64;
        ensure!(grown == all, "{grown} of {all} rewritten");
        let (alone, above) = (Spread::of(alone), Spread::of(above));
        if goal.is_some() {
            same_router = above.median;
        }
        part.add(Figure::new(
            format!("real sends, rewritten, {what}"),
            above,
            "ns",
        ));
        let times = Figure::new(
            format!("the same, and the send, {what}"),
            (alone.median + above.median) / alone.median,
            "times an empty program's send",
        );
        part.add(match goal {
            Some(goal) => times.goal(goal),
            None => times,
        });
    }
    path.egress()?.detach(link)?;
    feed.detach_empty_egress(empty)?;
    plain.end(feed)?;
    ours.end(feed)?;
    Ok(same_router)
}

/// Host of a PBX, with a wire to the other core, where an XDP program counts packets and drops them.
struct Host {
    rig: Rig,
    counting: aya::programs::xdp::XdpLinkId,
    sockets: Vec<UdpSocket>,
}

impl Host {
    fn new(feed: &mut Feed) -> Result<Self> {
        let rig = Rig::new()?;
        let counting = feed.attach(&rig, End::Client, "answers")?;
        let sockets = (0..SOCKETS).map(|number| {
            let here = SocketAddrV4::new(PBX.into(), stream_port(number));
            rig.server.udp(here)
        });
        let sockets = sockets.collect::<Result<_>>()?;
        Ok(Self {
            rig,
            counting,
            sockets,
        })
    }

    fn end(self, feed: &mut Feed) -> Result<()> {
        feed.detach("answers", self.counting)
    }
}

/// Sends a packet from each socket to the private address of a phone. Returns the CPU time of one.
fn turn(sockets: &[UdpSocket]) -> Result<f64> {
    let audio = messages::audio();
    let to = SocketAddr::from((PRIVATE, AUDIO_PORT));
    let start = cpu_time()?;
    for socket in sockets {
        socket.send_to(&audio, to)?;
    }
    let time = cpu_time()? - start;
    Ok(time.as_nanos() as f64 / sockets.len() as f64)
}

/// Returns the CPU time of this thread.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Packets that must arrive at the other core.
pub(crate) struct Arrivals {
    due: u64,
    lost: u64,
    sent: u64,
}

impl Arrivals {
    pub(crate) fn new(feed: &Feed) -> Result<Self> {
        Ok(Self {
            due: feed.seen(seen::OTHER)?,
            lost: 0,
            sent: 0,
        })
    }

    /// Waits until so many more have arrived. Fails if more than one in a hundred of all is lost.
    pub(crate) fn wait(&mut self, feed: &Feed, sent: usize) -> Result<()> {
        const PAUSE: Duration = Duration::from_micros(100);
        const PATIENCE: Duration = Duration::from_millis(200);
        let sent = sent as u64;
        self.due += sent;
        self.sent += sent;
        let start = Instant::now();
        loop {
            let seen = feed.seen(seen::OTHER)?;
            if seen >= self.due {
                self.due = seen;
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                self.lost += self.due - seen;
                self.due = seen;
                ensure!(
                    self.lost * 100 <= self.sent,
                    "{} of {} packets did not arrive",
                    self.lost,
                    self.sent
                );
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
    }
}
