//! Packets that really arrive.

use std::{collections::HashSet, thread, time::Duration};

use anyhow::{Result, ensure};
use nat_bench_ebpf::{address, identity, port, seen};
use nat_common::{abi::Endpoint, counter::Counter};
use nat_userspace::{
    loader::{Loader, Sizes},
    object, tables,
};

use crate::{
    feed::{Feed, Order},
    program,
    report::{Figure, Goal, Part, Spread},
    rig::{End, Rig},
};

/// Packets of a batch.
const PACKETS: u32 = 500_000;
const BATCHES: usize = 11;
/// Of these each one is looked for.
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

    // In turn, so that what changes meanwhile changes both.
    let object = object::read(None)?;
    let (mut empty, mut learned, mut offered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BATCHES {
        let link = feed.attach(&rig, End::Server, "count")?;
        let before = feed.seen(seen::ANY)?;
        let sent = rig.send(&mut feed, Order::Random, None, PACKETS)?;
        empty.push(sent.rate(feed.seen(seen::ANY)? - before));
        offered.push(sent.rate(sent.packets.into()));
        feed.detach("count", link)?;

        let mut path = Loader::new(&object).load()?;
        let link = rig.attach(End::Server, path.ingress()?)?;
        let sent = rig.send(&mut feed, Order::Random, None, PACKETS)?;
        learned.push(sent.rate(path.tables.count(Counter::InRequest)?));
        path.ingress()?.detach(link)?;
    }
    let (empty, learned, offered) = (Spread::of(empty), Spread::of(learned), Spread::of(offered));
    if empty.median > 0.98 * offered.median {
        part.note("nothing was lost with the empty program: the sender is its limit, and it might count more");
    }
    let ratio = learned.median / empty.median;
    part.add(Figure::new("sent", offered, "packets/s"));
    part.add(Figure::new(
        "counted by an empty program",
        empty,
        "packets/s",
    ));
    part.add(Figure::new("learned", learned, "packets/s").ratio(ratio, "an empty program"));
    part.add(
        Figure::new("learned of what an empty program counts", ratio, "")
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

/// Sends a few, slowly, and looks for each of their sources.
fn check(rig: &Rig, feed: &mut Feed, object: &[u8]) -> Result<u32> {
    /// No new transaction pushes out another.
    const SETS: u32 = 1 << 18;
    /// The number of the first of them.
    const FIRST: u32 = 7_000_000;
    /// Fewer than the ring of veth holds.
    const AT_ONCE: u32 = 50;
    let sizes = Sizes {
        transactions: SETS,
        ..Sizes::default()
    };
    let mut path = Loader::new(object).sizes(sizes).load()?;
    let link = rig.attach(End::Server, path.ingress()?)?;
    for first in (FIRST..FIRST + CHECKED).step_by(AT_ONCE as usize) {
        rig.send(feed, Order::From(first), None, AT_ONCE)?;
        thread::sleep(Duration::from_millis(1));
    }
    path.ingress()?.detach(link)?;
    let there: HashSet<_> = tables::slots(&path.tables.inbound)?
        .iter()
        .flatten()
        .filter(|slot| slot.is_used())
        .map(|slot| (slot.entry.peer_addr, slot.entry.peer_port))
        .collect();
    let found = (FIRST..FIRST + CHECKED).filter(|number| {
        let id = identity(*number);
        let source = Endpoint::v4(address(id), port(id));
        there.contains(&(source.addr, source.port as u16))
    });
    Ok(found.count() as u32)
}
