//! Packets of the kernel's own generator. It has no payload of its own, so a program at the egress of the sending
//! device writes the message into each packet.

use std::{fs, net::Ipv4Addr, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use nat_bench_ebpf::{Template, seen};
use nat_common::abi::{Counter, CounterKind};
use nat_userspace::{
    kernel::load::{DataPath, Loader, Programs},
    settings::Settings,
};

use crate::{
    feed::{self, Feed, Order},
    messages::{self, Random, Shape, Terminal},
    program,
    report::{Figure, Part},
    rig::{CLIENT, CLIENT_CPU, End, Rates, Received, Rig, Sent},
};

/// Length of a message; all messages, and so all packets, have the same length.
const LENGTH: usize = 590;
/// Length of the Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 42;
/// Number of packets of which each one must arrive.
const CHECKED: u32 = 20_000;

/// Arguments for a run to another machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct Far {
    /// pktgen: send on this interface, to another machine that runs sipnat
    #[arg(long, requires_all = ["dst_mac", "dst"])]
    iface: Option<String>,
    /// The MAC address of that machine, or of the router before it
    #[arg(long, value_name = "MAC", requires = "iface", value_parser = mac)]
    dst_mac: Option<[u8; 6]>,
    /// The IPv4 address of that machine
    #[arg(long, value_name = "ADDRESS", requires = "iface")]
    dst: Option<Ipv4Addr>,
    /// Number of packets to send there
    #[arg(
        long,
        value_name = "N",
        requires = "iface",
        default_value_t = 10_000_000
    )]
    count: u32,
    /// Packets per second; as many as possible if not given
    #[arg(long, value_name = "N", requires = "iface")]
    rate: Option<u32>,
    /// Number of CPUs that make packets
    #[arg(long, value_name = "N", requires = "iface", default_value_t = 1)]
    threads: u32,
}

impl Far {
    pub(crate) const fn is_wanted(&self) -> bool {
        self.iface.is_some()
    }
}

fn mac(text: &str) -> Result<[u8; 6], &'static str> {
    const WRONG: &str = "not six pairs of hexadecimal digits with colons between";
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|pair| {
            u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| pair.len() == 2)
        })
        .collect();
    bytes.ok_or(WRONG)?.try_into().map_err(|_| WRONG)
}

/// Whether the kernel has pktgen.
pub(crate) fn is_there() -> bool {
    let there = || Path::new(FILES).exists();
    // Without the module, this changes nothing.
    there()
        || (Command::new("modprobe")
            .args(["--quiet", "pktgen"])
            .status()
            .is_ok()
            && there())
}

pub(crate) fn bench(far: &Far, emulated: bool) -> Result<Part> {
    ensure!(
        is_there(),
        "this kernel has no pktgen (CONFIG_NET_PKTGEN); `cargo xtask bench pktgen` takes one that has"
    );
    if let (Some(interface), Some(mac), Some(to)) = (&far.iface, far.dst_mac, far.dst) {
        return send_far(far, interface, mac, to);
    }
    near(emulated)
}

/// Returns INVITEs of one length, always from new terminals.
fn templates() -> Vec<Template> {
    let shape = Shape {
        // Some become a little longer than requested.
        length: LENGTH - 16,
        wanted_last: false,
    };
    program::mix(|random: &mut Random| {
        let text = messages::request(random, "INVITE", Terminal::New, shape);
        messages::inbound(Terminal::New, &messages::fill(text, LENGTH))
    })
}

/// Measures over veth, to an empty program and to sipnat.
fn near(emulated: bool) -> Result<Part> {
    const BATCHES: usize = 5;
    let packets = if emulated { 20_000 } else { 500_000 };
    let mut part = Part::new(
        "pktgen",
        "Packets of the kernel's pktgen over veth; an egress program on the device that sends writes an INVITE of 590 bytes \
         into each, with Call-ID, tag, branch and source of its own. Counted by the receiver.",
    );
    let mut feed = Feed::load()?;
    feed.load_templates(&templates())?;
    let object = feed::sipnat()?;
    let mut path = part.load(Loader::new(&object, &Settings::default()))?;

    let rig = Rig::new()?;
    rig.client.enter(|| feed.write_into_pktgen(CLIENT))??;

    // If packets are received between two that are sent, none is lost.
    let link = rig.put(End::Server, path.ingress()?)?;
    let made = from_client(&rig, &mut feed, CHECKED)?;
    let one_by_one = Total {
        made,
        arrived: arrived(&path)?,
        learned: Some(path.tables.count(Counter::InRequest)?),
    };
    path.ingress()?.detach(link)?;
    one_by_one.show(&mut part, "one by one to sipnat");
    ensure!(
        [
            Some(made.packets),
            Some(one_by_one.arrived),
            one_by_one.learned
        ] == [Some(u64::from(CHECKED)); 3],
        "not all of {CHECKED} packets were learned: {one_by_one:?}"
    );

    // In turn, so that a change of the machine's speed affects both.
    let (mut empty, mut sipnat) = (Vec::new(), Vec::new());
    let (mut to_empty, mut to_sipnat) = (Total::default(), Total::default());
    for _ in 0..BATCHES {
        let link = feed.attach(&rig, End::Server, "count")?;
        let before = feed.seen(seen::ANY)?;
        let (made, received) = flood(&rig, &mut feed, packets)?;
        let count = feed.seen(seen::ANY)? - before;
        feed.detach("count", link)?;
        empty.push(received.of(count));
        to_empty.add(made, count, None);

        let link = rig.attach(End::Server, path.ingress()?)?;
        let before = (arrived(&path)?, path.tables.count(Counter::InRequest)?);
        let (made, received) = flood(&rig, &mut feed, packets)?;
        let count = path.tables.count(Counter::InRequest)? - before.1;
        path.ingress()?.detach(link)?;
        sipnat.push(received.of(count));
        to_sipnat.add(made, arrived(&path)? - before.0, Some(count));
    }
    to_empty.show(&mut part, "as fast as it goes to an empty program");
    to_sipnat.show(&mut part, "as fast as it goes to sipnat");
    ensure!(
        to_sipnat.learned == Some(to_sipnat.arrived) && to_sipnat.arrived > 0,
        "not all that arrived was learned: {to_sipnat:?}"
    );
    let (empty, sipnat) = (Rates::of(&empty), Rates::of(&sipnat));
    if emulated {
        part.note(
            "Every instruction of this machine is emulated, which is no measure of speed: packets a second are left out, and \
             the ratio is to an empty program that is emulated, too.",
        );
    } else {
        sipnat.show_learned(&mut part, &empty);
    }
    part.add(Figure::new(
        "learned of what an empty program counts, by the receiver's CPU time",
        sipnat.cpu.median / empty.cpu.median,
        "",
    ));
    Ok(part)
}

/// Counts of packets.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    made: Made,
    arrived: u64,
    /// The empty program learns nothing.
    learned: Option<u64>,
}

impl Total {
    fn add(&mut self, made: Made, arrived: u64, learned: Option<u64>) {
        self.made.packets += made.packets;
        self.made.errors += made.errors;
        self.arrived += arrived;
        if let Some(learned) = learned {
            *self.learned.get_or_insert(0) += learned;
        }
    }

    fn show(&self, part: &mut Part, how: &str) {
        for (what, count) in [
            ("sent", Some(self.made.packets)),
            ("turned away by the device", Some(self.made.errors)),
            ("arrived", Some(self.arrived)),
            ("learned", self.learned),
        ] {
            if let Some(count) = count {
                let what = format!("{how}: {what}");
                part.add(Figure::new(what, count as f64, "packets"));
            }
        }
    }
}

/// Any verdict of sipnat.
fn arrived(path: &DataPath) -> Result<u64> {
    let ingress = Counter::ALL
        .iter()
        .filter(|counter| counter.kind() == CounterKind::Ingress);
    ingress.map(|counter| path.tables.count(*counter)).sum()
}

/// Sends more than can be received, and waits until the receiver has finished.
fn flood(rig: &Rig, feed: &mut Feed, packets: u32) -> Result<(Made, Received)> {
    let busy = rig.busy(End::Server)?;
    let made = from_client(rig, feed, packets)?;
    let busy = rig.busy(End::Server)? - busy;
    let sent = Sent { time: made.time };
    Ok((made, Received { sent, busy }))
}

fn from_client(rig: &Rig, feed: &mut Feed, packets: u32) -> Result<Made> {
    /// A ring of 256 packets is soon empty, even on an emulated CPU.
    const REST: Duration = Duration::from_millis(100);
    feed.order(Order::Random, 1, packets, 0)?;
    let made = rig.client.enter(|| {
        let generator = Generator::new(CLIENT, CLIENT_CPU as u32, 1)?;
        generator.send(HEADERS + LENGTH, packets, None)
    })??;
    thread::sleep(REST);
    Ok(made)
}

/// Sends to another machine, of which nothing is known here.
fn send_far(far: &Far, interface: &str, mac: [u8; 6], to: Ipv4Addr) -> Result<Part> {
    /// Preamble, checksum and gap of a frame.
    const BETWEEN: usize = 24;
    let own = fs::read_to_string(format!("/sys/class/net/{interface}/address"))
        .with_context(|| format!("no interface {interface}"))?;
    let own = self::mac(own.trim())
        .map_err(anyhow::Error::msg)
        .context("no Ethernet")?;
    let mut part = Part::new(
        "pktgen",
        "INVITEs of 590 bytes to another machine, each with Call-ID, tag, branch and source of its own: packets of the \
         kernel's pktgen, into which an egress program writes. What became of them, `sipnat stats` says over there.",
    );
    let mut feed = Feed::load()?;
    let templates = templates().into_iter();
    let templates: Vec<_> = templates
        .map(|template| messages::between(template, [own, mac], to.octets()))
        .collect();
    feed.load_templates(&templates)?;
    feed.forget_runs_before()?;
    feed.order(Order::Random, 1, far.count, 0)?;
    let made_qdisc = feed.write_into_pktgen(interface)?;
    let made = Generator::new(interface, 0, far.threads)
        .and_then(|generator| generator.send(HEADERS + LENGTH, far.count, far.rate));
    drop(feed);
    if made_qdisc {
        Command::new("tc")
            .args(["qdisc", "del", "dev", interface, "clsact"])
            .status()?;
    }
    let made = made?;
    part.add(Figure::new("sent", made.packets as f64, "packets"));
    part.add(Figure::new("not sent", made.errors as f64, "packets"));
    let rate = made.packets as f64 / made.time.as_secs_f64();
    part.add(Figure::new("sent", rate, "packets/s"));
    let bits = (HEADERS + LENGTH + BETWEEN) as f64 * 8.0;
    part.add(Figure::new("on the wire", rate * bits / 1e9, "Gbit/s"));
    Ok(part)
}

/// Files of the generator in this thread's network namespace.
const FILES: &str = "/proc/thread-self/net/pktgen";

/// Devices of the generator, each with a thread and so a CPU of its own. They are removed when dropped.
struct Generator {
    first: u32,
    devices: Vec<String>,
}

/// Result that the generator prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Made {
    packets: u64,
    errors: u64,
    time: Duration,
}

impl Generator {
    /// Adds devices on this number of CPUs, beginning with `first`.
    fn new(interface: &str, first: u32, threads: u32) -> Result<Self> {
        let devices = (first..first + threads).map(|cpu| format!("{interface}@{cpu}"));
        let generator = Self {
            first,
            devices: devices.collect(),
        };
        for (thread, device) in generator.threads() {
            tell(&thread, "rem_device_all")?;
            tell(&thread, &format!("add_device {device}"))?;
        }
        Ok(generator)
    }

    fn threads(&self) -> impl Iterator<Item = (String, &String)> {
        let cpus = self.first..;
        cpus.zip(&self.devices)
            .map(|(cpu, device)| (format!("kpktgend_{cpu}"), device))
    }

    /// Sends packets of this size without their checksum, at this rate.
    fn send(&self, size: usize, packets: u32, per_second: Option<u32>) -> Result<Made> {
        let share = |all: u32| all.div_ceil(self.devices.len() as u32);
        for (_, device) in self.threads() {
            tell(device, &format!("count {}", share(packets)))?;
            tell(device, &format!("pkt_size {size}"))?;
            // Any other mode bypasses the egress program.
            tell(device, "xmit_mode queue_xmit")?;
            if let Some(rate) = per_second {
                tell(device, &format!("ratep {}", share(rate)))?;
            }
        }
        // Writing returns when all packets are sent.
        tell("pgctrl", "start")?;
        let mut all = Made::default();
        for (_, device) in self.threads() {
            let made = read(&fs::read_to_string(Path::new(FILES).join(device))?)?;
            all.packets += made.packets;
            all.errors += made.errors;
            all.time = all.time.max(made.time);
        }
        Ok(all)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        for (thread, _) in self.threads() {
            // This kernel may not have the setting.
            let _ = tell(&thread, "rem_device_all");
        }
    }
}

fn tell(file: &str, command: &str) -> Result<()> {
    fs::write(Path::new(FILES).join(file), format!("{command}\n"))
        .with_context(|| format!("pktgen's {file} does not take `{command}`"))
}

/// Returns the result in a device's file.
fn read(text: &str) -> Result<Made> {
    let number = |after: &str| -> Option<u64> {
        let (_, rest) = text.split_once(after)?;
        let digits = rest
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next()?;
        digits.parse().ok()
    };
    let made = || {
        Some(Made {
            packets: number("pkts-sofar:")?,
            errors: number("errors:")?,
            time: Duration::from_micros(number("Result: OK:")?),
        })
    };
    match made() {
        Some(made) => Ok(made),
        None => bail!("pktgen says:\n{text}"),
    }
}
