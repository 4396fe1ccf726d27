//! A router that forwards calls: with the SIP ALG of Linux, and with sipnat.

use std::{fs, process::Command};

use crate::{
    feed::{self, Feed, Order},
    machine,
    messages::{self, Random, Shape},
    program,
    report::{Figure, Goal, Part, Spread},
    rig::{CLIENT_CPU, End, Rig, SERVER},
};
use anyhow::{Context as _, Result, ensure};
use aya::programs::TcAttachType;
use nat_bench_ebpf::Template;
use nat_common::counter::Counter;
use nat_userspace::loader::{DataPath, Loader, Sizes};

const ROUNDS: usize = 7;
/// Packets at once: no more than a veth's ring holds.
const BURST: u32 = 192;
const BURSTS: u32 = 20;

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

/// What the router does but forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Nothing,
    /// Rules of nftables. The last of them have the ALG at work.
    Rules(&'static [&'static str]),
    Sipnat,
}

const RULES: [(&str, &[&str]); 3] = [
    ("connection tracking", &[CONNTRACK]),
    ("connection tracking and NAT", &[CONNTRACK, NAT]),
    (
        "connection tracking, NAT and the SIP ALG",
        &[CONNTRACK, NAT, ALG],
    ),
];

/// All with the same INVITEs, but that the PBX's re-INVITEs are what sipnat redirects. In turn, so that what changes
/// meanwhile changes all of them.
pub(crate) fn measure(part: &mut Part, feed: &mut Feed) -> Result<()> {
    // Its core is left to the router.
    machine::pin(0, CLIENT_CPU)?;
    let mut router = Router::new()?;
    let sizes = Sizes {
        bindings: 1 << 14,
        ..Sizes::default()
    };
    let mut path = Loader::new(&feed::sipnat()?).sizes(sizes).load()?;
    let known = program::fill(feed, &mut path, 1 << 10)?;
    let shape = Shape {
        length: 590,
        wanted_last: false,
    };
    let mut invites = program::mix(|random| messages::from_phone(random, "INVITE", shape));
    let mut reinvites = program::reinvites("").templates;

    let mut forwarded = Vec::new();
    let mut added = vec![Vec::new(); RULES.len() + 2];
    for _ in 0..ROUNDS {
        let alone = router.forward(feed, &mut invites, &mut path, With::Nothing)?;
        forwarded.push(alone);
        for ((_, rules), added) in RULES.iter().zip(&mut added) {
            added.push(router.forward(feed, &mut invites, &mut path, With::Rules(rules))? - alone);
        }
        let before = path.tables.count(Counter::InRequest)?;
        added[RULES.len()]
            .push(router.forward(feed, &mut invites, &mut path, With::Sipnat)? - alone);
        expect(path.tables.count(Counter::InRequest)? - before)?;

        feed.pick_among(known);
        let alone = router.forward(feed, &mut reinvites, &mut path, With::Nothing)?;
        let before = path.tables.count(Counter::OutRedirectedDialog)?;
        added[RULES.len() + 1]
            .push(router.forward(feed, &mut reinvites, &mut path, With::Sipnat)? - alone);
        expect(path.tables.count(Counter::OutRedirectedDialog)? - before)?;
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

/// Nearly all: the ALG drops calls that it cannot tell apart.
fn expect(count: u64) -> Result<()> {
    let all = u64::from(BURST * BURSTS);
    ensure!(
        count * 100 >= all * 95,
        "only {count} of {all} packets as expected"
    );
    Ok(())
}

/// The server of a rig as a router. Where the PBX and the phones are is nobody who listens.
struct Router {
    rig: Rig,
    random: Random,
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
        Ok(Self {
            rig,
            random: Random::new(1),
        })
    }

    /// CPU time of a packet.
    fn forward(
        &mut self,
        feed: &mut Feed,
        packets: &mut [Template],
        path: &mut DataPath,
        with: With,
    ) -> Result<f64> {
        self.random.shuffle(packets);
        feed.load_templates(packets)?;
        if with == With::Sipnat {
            let ingress = self.rig.attach(End::Server, path.ingress()?)?;
            let egress = self.rig.server.enter(|| -> Result<_> {
                let egress = path.egress()?;
                Ok(egress.attach("out", TcAttachType::Egress)?)
            })??;
            let time = self.bursts(feed).context("with sipnat")?;
            path.egress()?.detach(egress)?;
            path.ingress()?.detach(ingress)?;
            return Ok(time);
        }
        let link = feed.attach(&self.rig, End::Server, "empty")?;
        let rules = match with {
            With::Rules(rules) => rules,
            _ => &[],
        };
        self.nft(&rules.join("\n"))?;
        if rules.contains(&ALG) {
            self.check_alg(feed)?;
        }
        let time = self.bursts(feed).with_context(|| rules.join("\n"))?;
        self.nft("flush ruleset")?;
        feed.detach("empty", link)?;
        Ok(time)
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let server = &self.rig.server;
        server.run(Command::new("nft").args(["-f", "-"]), rules)?;
        Ok(())
    }

    /// The ALG lets the RTP of each call in, so it has understood the call.
    fn check_alg(&self, feed: &mut Feed) -> Result<()> {
        self.send(feed)?;
        let expected = self
            .rig
            .server
            .enter(|| fs::read_to_string("/proc/thread-self/net/nf_conntrack_expect"))??;
        let calls = expected.lines().count();
        ensure!(
            calls >= BURST as usize,
            "the SIP ALG expects {calls} streams of {BURST} calls"
        );
        self.rig.server.forget_connections()
    }

    fn bursts(&self, feed: &mut Feed) -> Result<f64> {
        // Once, so that all is in the caches that will be.
        self.burst(feed)?;
        let (before, busy) = (self.rig.counted("out")?.sent, self.rig.busy(End::Server)?);
        for _ in 0..BURSTS {
            self.burst(feed)?;
        }
        let count = self.rig.counted("out")?.sent - before;
        let busy = self.rig.busy(End::Server)? - busy;
        expect(count).context("forwarded")?;
        Ok(busy.as_nanos() as f64 / f64::from(BURST * BURSTS))
    }

    fn burst(&self, feed: &mut Feed) -> Result<()> {
        self.send(feed)?;
        self.rig.server.forget_connections()
    }

    /// No message twice in a burst: two of the same session cannot be told apart by the ALG.
    fn send(&self, feed: &mut Feed) -> Result<()> {
        let due = self.rig.counted(SERVER)?.received + u64::from(BURST);
        self.rig.send(feed, Order::New, None, BURST)?;
        self.rig.wait(SERVER, |counted| counted.received >= due)
    }
}
