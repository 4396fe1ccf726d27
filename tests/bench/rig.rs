//! Two network namespaces and a wire between sender and PBX. The kernel makes packets (XDP live frames) on one core.
//! The other core does all work of the PBX.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::programs::{
    Xdp,
    xdp::{XdpLinkId, XdpMode},
};
use nat_test_support::netns::{Netns, NetnsFamily};
use nix::net::if_::if_nametoindex;

use crate::{
    feed::{Feed, Order},
    machine,
    messages::MACS,
    report::{Figure, Part, Spread},
};

/// End that makes packets and counts answers.
pub(crate) const CLIENT_CPU: usize = 0;
/// End of the PBX, which receives them.
pub(crate) const SERVER_CPU: usize = 1;

/// Interface of each end. Its threads are found by this name.
pub(crate) const CLIENT: &str = "bclient";
pub(crate) const SERVER: &str = "bserver";

/// Unit of [`Rates::cpu`].
pub(crate) const OF_CPU: &str = "packets/s of CPU";

/// Receiver's work on packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) sent: Sent,
    /// Time of its work.
    pub(crate) busy: Duration,
}

/// Packets a second: of time, and of the receiver's CPU time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

impl Received {
    /// Returns the rates of `count` packets.
    pub(crate) fn of(&self, count: u64) -> Rate {
        Rate {
            wall: self.sent.rate(count),
            cpu: count as f64 / self.busy.as_secs_f64(),
        }
    }
}

/// Rates of several batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) wall: Spread,
    pub(crate) cpu: Spread,
}

impl Rates {
    pub(crate) fn of(all: &[Rate]) -> Self {
        Self {
            wall: Spread::of(all.iter().map(|rate| rate.wall).collect()),
            cpu: Spread::of(all.iter().map(|rate| rate.cpu).collect()),
        }
    }

    /// Prints the learned packets beside those that an empty program has counted.
    pub(crate) fn show_learned(&self, part: &mut Part, empty: &Self) {
        for (unit, empty, learned) in [
            ("packets/s", empty.wall, self.wall),
            (OF_CPU, empty.cpu, self.cpu),
        ] {
            part.add(Figure::new("counted by an empty program", empty, unit));
            let ratio = learned.median / empty.median;
            part.add(Figure::new("learned", learned, unit).ratio(ratio, "an empty program"));
        }
    }
}

/// Both hosts.
pub(crate) struct Rig {
    pub(crate) client: Netns,
    pub(crate) server: Netns,
}

/// One host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// Counts of sent packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) time: Duration,
}

/// Packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Sent {
    /// Returns the rate of `count` packets.
    pub(crate) fn rate(&self, count: u64) -> f64 {
        count as f64 / self.time.as_secs_f64()
    }
}

impl Rig {
    pub(crate) fn new() -> Result<Self> {
        let family = NetnsFamily::next()?;
        let (client, server) = (family.make("client")?, family.make("server")?);
        let mac = |of: usize| MACS[of].map(|byte| format!("{byte:02x}")).join(":");
        // The client's programs drop all that arrives there, also answers of ARP.
        client.ip(&format!(
            "link add {CLIENT} address {} type veth peer name {SERVER} address {server_mac} netns {}\n\
             link set {CLIENT} up\n\
             addr add 203.0.113.1/24 dev {CLIENT}\n\
             neigh add 203.0.113.10 lladdr {server_mac} dev {CLIENT} nud permanent\n",
            mac(0),
            server.name(),
            server_mac = mac(1),
        ))?;
        // All other addresses are behind the client, without ARP.
        server.ip(&format!(
            "link set {SERVER} up\n\
             addr add 203.0.113.10/24 dev {SERVER}\n\
             neigh add 203.0.113.1 lladdr {} dev {SERVER} nud permanent\n\
             route add default via 203.0.113.1\n",
            mac(0),
        ))?;
        for key in ["ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"] {
            server.sysctl(key, "0")?;
        }
        Ok(Self { client, server })
    }

    fn netns(&self, end: End) -> (&Netns, &'static str, usize) {
        match end {
            End::Client => (&self.client, CLIENT, CLIENT_CPU),
            End::Server => (&self.server, SERVER, SERVER_CPU),
        }
    }

    /// Attaches an XDP program to an end. It runs on the sender's core, between two packets.
    pub(crate) fn put(&self, end: End, program: &mut Xdp) -> Result<XdpLinkId> {
        let (netns, interface, _) = self.netns(end);
        netns.enter(|| {
            let index = if_nametoindex(interface)?;
            program
                .attach_to_if_index(index, XdpMode::Driver)
                .context("cannot attach XDP to veth")
        })?
    }

    /// Attaches an XDP program that runs on the end's own core.
    pub(crate) fn attach(&self, end: End, program: &mut Xdp) -> Result<XdpLinkId> {
        let link = self.put(end, program)?;
        let (netns, interface, cpu) = self.netns(end);
        netns.run(
            Command::new("ip")
                .args(["netns", "exec", netns.name(), "sh", "-c"])
                .arg(format!("echo 1 > /sys/class/net/{interface}/threaded")),
            "",
        )?;
        for thread in threads(&format!("napi/{interface}-")) {
            machine::pin(thread, cpu)?;
        }
        Ok(link)
    }

    /// Keeps other processes off the server's core while packets wait there.
    pub(crate) fn go_first(&self) -> Result<()> {
        let mut threads = threads(&format!("napi/{SERVER}-")).into_iter();
        threads.try_for_each(machine::go_first)
    }

    /// Sends at most `frames` of the feed's messages, at this rate, and waits until all are processed.
    pub(crate) fn send(
        &self,
        feed: &mut Feed,
        order: Order,
        per_second: Option<u32>,
        frames: u32,
    ) -> Result<Sent> {
        let (netns, interface, cpu) = self.netns(End::Client);
        netns.enter(|| -> Result<Sent> {
            machine::pin(0, cpu)?;
            let index = if_nametoindex(interface)?;
            let start = Instant::now();
            feed.send(index, order, per_second, frames)?;
            let time = start.elapsed();
            // A ring of 256 packets is soon empty.
            thread::sleep(Duration::from_millis(5));
            Ok(Sent { time })
        })?
    }

    /// Sends more than can be received.
    pub(crate) fn flood(&self, feed: &mut Feed, packets: u32) -> Result<Received> {
        let busy = self.busy(End::Server)?;
        let sent = self.send(feed, Order::Random, None, packets)?;
        let busy = self.busy(End::Server)? - busy;
        Ok(Received { sent, busy })
    }

    /// Returns the number of packets that the server has received and sent on an interface.
    pub(crate) fn counted(&self, interface: &str) -> Result<Counted> {
        let table = self
            .server
            .enter(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let numbers = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))
            .with_context(|| format!("no counts of {interface}"))?;
        // Eight columns each, of which the second counts packets.
        let number = |column: usize| -> Result<u64> {
            let number = numbers.split_whitespace().nth(column);
            Ok(number.context("too few columns")?.parse()?)
        };
        Ok(Counted {
            received: number(1)?,
            sent: number(9)?,
        })
    }

    /// Waits until `done` returns true, up to a limit.
    pub(crate) fn wait(&self, interface: &str, done: impl Fn(Counted) -> bool) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let start = Instant::now();
        while !done(self.counted(interface)?) && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Returns the time that an end's core has worked on received packets.
    pub(crate) fn busy(&self, end: End) -> Result<Duration> {
        let (_, interface, _) = self.netns(end);
        let threads = threads(&format!("napi/{interface}-"));
        threads.into_iter().map(machine::cpu_time).sum()
    }
}

/// Returns the kernel threads whose names begin with `name`.
fn threads(name: &str) -> Vec<i32> {
    machine::processes(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(name))
    })
}
