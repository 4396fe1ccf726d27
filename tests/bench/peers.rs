//! What others make of the same messages: the SIP ALG of Linux.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nat_userspace::loader::{Loader, Sizes};
use serde_json::Value;

use crate::{
    feed::{self, Feed, Order},
    machine, program,
    report::{Figure, Goal, Part, Spread},
    rig::{End, Rig},
};

const BATCHES: usize = 7;
/// Packets a second: fewer than any of them can bear, and flows than NAT has ports.
const RATE: u32 = 30_000;
/// Frames that the kernel makes meanwhile: most are not due, and not sent.
const FRAMES: u32 = 3_000_000;

const NAT: &str = "table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname out masquerade
    }
}";

const ALG: &str = "table ip alg {
    ct helper sip { type \"sip\" protocol udp; }
    chain prerouting {
        type filter hook prerouting priority filter
        udp dport 5060 ct helper set \"sip\"
    }
}";

pub(crate) fn bench() -> Result<Part> {
    let mut part = Part::new(
        "peers",
        "CPU time of one INVITE of about 590 bytes, another in each packet: a router that forwards it, with NAT, and with \
         the kernel's SIP ALG (nf_conntrack_sip, nf_nat_sip), by the time that its core works; sipnat's as in `program`, \
         INVITE in and re-INVITE out together.",
    );
    let mut feed = Feed::load()?;
    let rig = Rig::new()?;
    route(&rig)?;
    let link = feed.attach(&rig, End::Server, "empty")?;
    let invites = program::invites("64k slots", 590, false);
    feed.load_templates(&invites.templates)?;
    let forwarded = each(&rig, &mut feed)?;
    part.add(Figure::new("forwarded", forwarded, "ns"));
    let nft = |rules| rig.server.run(Command::new("nft").args(["-f", "-"]), rules);
    nft(NAT)?;
    let nat = each(&rig, &mut feed)?;
    part.add(
        Figure::new("forwarded with NAT", nat, "ns")
            .ratio(nat.median / forwarded.median, "forwarded"),
    );
    nft(ALG)?;
    let alg = each(&rig, &mut feed)?;
    part.add(
        Figure::new("forwarded with NAT and the SIP ALG", alg, "ns")
            .ratio(alg.median / forwarded.median, "forwarded"),
    );
    feed.detach("empty", link)?;

    machine::pin(0, 0)?;
    machine::go_first()?;
    let sizes = Sizes {
        bindings: 1 << 14,
        ..Sizes::default()
    };
    let mut path = Loader::new(&feed::sipnat()?).sizes(sizes).load()?;
    let known = program::fill(&mut feed, &mut path, 1 << 10)?;
    let mut sipnat = 0.0;
    for case in [invites, program::reinvites("64k slots")] {
        let figure = case.measure(&mut feed, &mut path, known)?;
        sipnat += figure.median();
        part.add(figure);
    }
    part.add(
        Figure::new(
            "the SIP ALG and what it needs, to sipnat",
            (alg.median - forwarded.median) / sipnat,
            "times",
        )
        .goal(Goal::at_least(30.0, 45.0)),
    );
    Ok(part)
}

/// Makes the server a router, and where the PBX should be is nobody who listens.
fn route(rig: &Rig) -> Result<()> {
    rig.server.ip("link add out type veth peer name sink\n\
         link set out up\n\
         link set sink up\n\
         addr add 198.51.100.1/24 dev out\n\
         addr del 203.0.113.10/24 dev bserver\n\
         addr add 203.0.113.2/24 dev bserver\n\
         route replace default via 203.0.113.1\n\
         route add 203.0.113.10/32 dev out\n\
         neigh add 203.0.113.10 lladdr 02:00:00:00:00:03 dev out nud permanent\n")?;
    rig.server.sysctl("ipv4/ip_forward", "1")
}

/// CPU time of a packet.
fn each(rig: &Rig, feed: &mut Feed) -> Result<Spread> {
    let mut all = Vec::new();
    for _ in 0..BATCHES {
        let (before, busy) = (passed(rig)?, rig.busy(End::Server)?);
        rig.send(feed, Order::Random, Some(RATE), FRAMES)?;
        let count = passed(rig)? - before;
        ensure!(count > 1000, "only {count} packets were forwarded");
        all.push((rig.busy(End::Server)? - busy).as_nanos() as f64 / count as f64);
        rig.server.forget_connections()?;
    }
    Ok(Spread::of(all))
}

/// How many packets the router has forwarded.
fn passed(rig: &Rig) -> Result<u64> {
    let mut ip = Command::new("ip");
    let text = rig
        .server
        .run(ip.args(["-s", "-j", "link", "show", "dev", "out"]), "")?;
    let links: Value = serde_json::from_str(&text)?;
    links[0]["stats64"]["tx"]["packets"]
        .as_u64()
        .context("no statistics")
}
