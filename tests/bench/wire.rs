//! Packets that arrive over a wire.

use std::{collections::HashSet, thread, time::Duration};

use anyhow::{Result, ensure};
use nat_bench_ebpf::{address, identity, port, seen};
use nat_common::{
    abi::{Counter, Slot},
    endpoint::Endpoint,
};
use nat_userspace::{
    kernel::load::{Loader, Programs},
    settings::{Settings, Sizes},
};

use crate::{
    feed::{self, Feed, Order},
    program,
    report::{Figure, Goal, Part, Spread},
    rig::{End, Rates, Rig},
};

/// Packets of a batch.
const PACKETS: u32 = 500_000;
const BATCHES: usize = 11;
/// Number of packets of which each one is looked for.
const CHECKED: u32 = 1000;

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "wire",
        "INVITEs of about 590 bytes over veth, made by XDP live frames on one core and received on the other, where they \
         go on to the network stack; Call-ID, tag, branch and source are another's in each packet. Counted by the receiver. \
         Ratio: to what an empty program counts.",
    );
    let mut feed = Feed::load()?;
    let rig = Rig::new()?;
    feed.load_templates(&program::invites("", 590, false).templates)?;

    // In turn, so that a change of the machine's speed affects both.
    let object = feed::sipnat()?;
    let (mut empty, mut learned, mut offered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let link = feed.attach(&rig, End::Server, "count")?;
        let before = feed.seen(seen::ANY)?;
        let received = rig.flood(&mut feed, PACKETS)?;
        empty.push(received.of(feed.seen(seen::ANY)? - before));
        offered.push(received.sent.rate(PACKETS.into()));
        feed.detach("count", link)?;

        let mut path = part.load(Loader::new(&object, &Settings::default()))?;
        let link = rig.attach(End::Server, path.ingress()?)?;
        let received = rig.flood(&mut feed, PACKETS)?;
        learned.push(received.of(path.tables.count(Counter::InRequest)?));
        path.ingress()?.detach(link)?;
    }
    let (empty, learned) = (Rates::of(&empty), Rates::of(&learned));
    part.add(Figure::new("sent", Spread::of(offered), "packets/s"));
    learned.show_learned(&mut part, &empty);
    // By CPU time, so that neither the sender nor other processes affect it.
    part.add(
        Figure::new(
            "learned of what an empty program counts",
            learned.cpu.median / empty.cpu.median,
            "",
        )
        .goal(Goal::at_least(0.5, 0.7)),
    );

    let found = check(&rig, &mut feed, &object)?;
    part.add(Figure::new(
        format!("of {CHECKED} packets sent, found with their sources in the map"),
        f64::from(found),
        "packets",
    ));
    ensure!(
        found == CHECKED,
        "only {found} of {CHECKED} packets are in the map"
    );
    Ok(part)
}

/// Sends a few packets slowly, and looks for the binding of each source.
fn check(rig: &Rig, feed: &mut Feed, object: &[u8]) -> Result<u32> {
    /// No new transaction evicts another.
    const SETS: u32 = 1 << 18;
    /// Number of the first packet.
    const FIRST: u32 = 7_000_000;
    /// Fewer than the ring of veth holds.
    const AT_ONCE: u32 = 50;
    let sizes = Sizes {
        transactions: SETS,
        ..Sizes::default()
    };
    let settings = Settings {
        sizes,
        ..Settings::default()
    };
    let mut path = Loader::new(object, &settings).load()?;
    let link = rig.attach(End::Server, path.ingress()?)?;
    for first in (FIRST..FIRST + CHECKED).step_by(AT_ONCE as usize) {
        rig.send(feed, Order::From(first), None, AT_ONCE)?;
        thread::sleep(Duration::from_millis(1));
    }
    path.ingress()?.detach(link)?;
    let inbound = path.tables.inbound.read()?;
    let there: HashSet<_> = inbound
        .slots()
        .filter(Slot::is_used)
        .map(|slot| (slot.entry.value.source_addr, slot.entry.value.source_port))
        .collect();
    let found = (FIRST..FIRST + CHECKED).filter(|number| {
        let id = identity(*number);
        let source = Endpoint::v4(address(id), port(id));
        there.contains(&(source.addr, source.port as u16))
    });
    Ok(found.count() as u32)
}
