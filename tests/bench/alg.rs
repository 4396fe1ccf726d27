//! A router that forwards calls: with the SIP ALG of Linux, and with sipnat.

use std::{fs, process::Command};

use crate::{
    feed::{self, Feed, Order},
    machine,
    messages::{self, Shape},
    program,
    report::{Figure, Goal, Part, Spread},
    rig::{CLIENT_CPU, End, Rig, SERVER},
};
use anyhow::{Context as _, Result, ensure};
use aya::programs::TcAttachType;
use nat_common::abi::Counter;
use nat_userspace::{
    kernel::load::{DataPath, Loader, Programs},
    settings::{Settings, Sizes},
};

const ROUNDS: usize = 7;
/// Packets that are sent in one go: more than the router can receive, so that it never rests, and fewer calls than
/// the ALG remembers (`nf_conntrack_expect_max`).
const FLOOD: u32 = 20_000;
const FLOODS: u32 = 5;

const CONNTRACK: &str = "table ip track {
    chain prerouting {
        type filter hook prerouting priority filter
        ct state new accept
    }
}";

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

const RULES: [(&str, &[&str]); 3] = [
    ("connection tracking", &[CONNTRACK]),
    ("connection tracking and NAT", &[CONNTRACK, NAT]),
    (
        "connection tracking, NAT and the SIP ALG",
        &[CONNTRACK, NAT, ALG],
    ),
];

/// All variants get the same INVITEs. sipnat is measured with re-INVITEs of the PBX, which it redirects. The variants
/// run in turn, so that a change of the machine's speed affects all of them.
pub(crate) fn measure(part: &mut Part, feed: &mut Feed) -> Result<()> {
    // Its core is left to the router.
    machine::pin(0, CLIENT_CPU)?;
    let router = Router::new()?;
    let sizes = Sizes {
        bindings: 1 << 14,
        ..Sizes::default()
    };
    let settings = Settings {
        sizes,
        ..Settings::default()
    };
    let mut path = part.load(Loader::new(&feed::sipnat()?, &settings))?;
    let picks = 1 << 10;
    program::fill(feed, &mut path, picks)?;
    let shape = Shape {
        length: 590,
        wanted_last: false,
    };
    let invites = program::mix(|random| messages::from_phone(random, "INVITE", shape));
    let reinvites = program::reinvites("").templates;

    let mut forwarded = Vec::new();
    let mut added = vec![Vec::new(); RULES.len() + 2];
    for _ in 0..ROUNDS {
        feed.load_templates(&invites)?;
        let alone = router.with_rules(feed, &[])?;
        forwarded.push(alone);
        for ((_, rules), added) in RULES.iter().zip(&mut added) {
            added.push(router.with_rules(feed, rules)? - alone);
        }
        added[RULES.len()].push(router.with_ingress(feed, &mut path)? - alone);

        feed.load_templates(&reinvites)?;
        feed.pick_among(picks);
        let alone = router.with_rules(feed, &[])?;
        added[RULES.len() + 1].push(router.with_egress(feed, &mut path)? - alone);
    }

    let forwarded = Spread::of(forwarded);
    part.add(Figure::new("an INVITE, forwarded", forwarded, "ns"));
    let names = RULES.iter().map(|(name, _)| *name);
    let names = names.chain(["sipnat, an INVITE in", "sipnat, a re-INVITE out"]);
    let added: Vec<Spread> = added.into_iter().map(Spread::of).collect();
    for (name, added) in names.zip(&added) {
        part.add(
            Figure::new(format!("added by {name}"), *added, "ns")
                .ratio(added.median / forwarded.median, "forwarding alone"),
        );
    }
    let [_, _, alg, invite, reinvite] = [0, 1, 2, 3, 4].map(|i| added[i].median);
    part.add(
        Figure::new(
            "the SIP ALG and what it needs, to sipnat in",
            alg / invite,
            "times",
        )
        .goal(Goal::at_least(30.0, 45.0)),
    );
    part.add(Figure::new(
        "the SIP ALG and what it needs, to sipnat in and out",
        alg / (invite + reinvite),
        "times",
    ));
    Ok(())
}

/// Nearly all packets.
fn expect(count: u64, of: u64) -> Result<()> {
    ensure!(
        of > 1000 && count * 100 >= of * 98,
        "only {count} of {of} packets as expected"
    );
    Ok(())
}

/// The server of a rig as a router. No program listens at the addresses of the PBX and of the phones.
struct Router {
    rig: Rig,
}

impl Router {
    fn new() -> Result<Self> {
        let rig = Rig::new()?;
        rig.server.ip("link add out type veth peer name sink\n\
             link set out up\n\
             link set sink up\n\
             addr add 198.51.100.1/24 dev out\n\
             addr del 203.0.113.10/24 dev bserver\n\
             addr add 203.0.113.2/24 dev bserver\n\
             neigh add 198.51.100.2 lladdr 02:00:00:00:00:03 dev out nud permanent\n\
             route add 203.0.113.10/32 via 198.51.100.2 dev out\n\
             route add 60.0.0.0/8 via 198.51.100.2 dev out\n")?;
        rig.server.sysctl("ipv4/ip_forward", "1")?;
        Ok(Self { rig })
    }

    /// Measures the CPU time of a packet, with these rules of nftables.
    fn with_rules(&self, feed: &mut Feed, rules: &[&str]) -> Result<f64> {
        let link = feed.attach(&self.rig, End::Server, "empty")?;
        self.nft(&rules.join("\n"))?;
        let time = self
            .floods(feed, rules.contains(&ALG))
            .with_context(|| rules.join("\n"))?;
        self.nft("flush ruleset")?;
        feed.detach("empty", link)?;
        Ok(time)
    }

    /// Measures with sipnat on ingress of the router.
    fn with_ingress(&self, feed: &mut Feed, path: &mut DataPath) -> Result<f64> {
        let link = self.rig.attach(End::Server, path.ingress()?)?;
        let time = self.floods_counted(feed, path, Counter::InRequest)?;
        path.ingress()?.detach(link)?;
        Ok(time)
    }

    /// Measures with sipnat on egress of the router.
    fn with_egress(&self, feed: &mut Feed, path: &mut DataPath) -> Result<f64> {
        let link = feed.attach(&self.rig, End::Server, "empty")?;
        let egress = self.rig.server.enter(|| -> Result<_> {
            let egress = path.egress()?;
            Ok(egress.attach("out", TcAttachType::Egress)?)
        })??;
        let time = self.floods_counted(feed, path, Counter::OutRedirectedDialog)?;
        path.egress()?.detach(egress)?;
        feed.detach("empty", link)?;
        Ok(time)
    }

    /// Fails unless sipnat gave each packet the expected verdict.
    fn floods_counted(&self, feed: &mut Feed, path: &DataPath, counter: Counter) -> Result<f64> {
        let (received, before) = (self.counted()?.0, path.tables.count(counter)?);
        let time = self.floods(feed, false).context("with sipnat")?;
        let counted = path.tables.count(counter)? - before;
        expect(counted, self.counted()?.0 - received).context(counter.name())?;
        Ok(time)
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let server = &self.rig.server;
        server.run(Command::new("nft").args(["-f", "-"]), rules)?;
        Ok(())
    }

    fn floods(&self, feed: &mut Feed, alg: bool) -> Result<f64> {
        self.rig.go_first()?;
        // A first run warms the caches.
        self.flood(feed, alg)?;
        let (before, busy) = (self.counted()?, self.rig.busy(End::Server)?);
        for _ in 0..FLOODS {
            self.flood(feed, false)?;
        }
        let busy = self.rig.busy(End::Server)? - busy;
        let (received, forwarded) = self.counted()?;
        let count = received - before.0;
        expect(forwarded - before.1, count)?;
        Ok(busy.as_nanos() as f64 / count as f64)
    }

    /// Connections are removed after each run: there are fewer ports than packets.
    fn flood(&self, feed: &mut Feed, alg: bool) -> Result<()> {
        let before = self.counted()?.0;
        self.rig.send(feed, Order::Random, None, FLOOD)?;
        if alg {
            self.check_alg(self.counted()?.0 - before)?;
        }
        self.rig.server.forget_connections()
    }

    /// Fails unless the ALG has understood the calls: it must expect their RTP and RTCP.
    fn check_alg(&self, calls: u64) -> Result<()> {
        let expected = self
            .rig
            .server
            .enter(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack_expect"))??;
        let lines = expected.lines().count() as u64;
        expect(lines, 2 * calls).context("expected by the SIP ALG")
    }

    /// Returns the number of packets that it has received and forwarded.
    fn counted(&self) -> Result<(u64, u64)> {
        let received = self.rig.counted(SERVER)?.received;
        Ok((received, self.rig.counted("out")?.sent))
    }
}
