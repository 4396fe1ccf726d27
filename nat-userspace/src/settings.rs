//! Settings of `sipnat run`.
//!
//! Each setting has one field here, one option in `commands/options.rs`, and the place that uses it. An option is a flag
//! and a key of the configuration file.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use ipnet::{IpNet, Ipv6Net};
use nat_common::{
    abi::{BINDING_LOAD, Guard, MEDIA_PORTS, Policy, SECOND},
    engine::lifetimes::{DIALOG_LIFE, EARLY_LIFE},
};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Interfaces on which the PBX meets its terminals.
    pub interfaces: Vec<String>,
    /// Start without an interface that is not there, and attach when it comes.
    pub wait: bool,
    /// UDP ports of the PBX.
    pub ports: Vec<u16>,
    /// Addresses of PBXs behind this host; none: any address.
    pub pbxs: Vec<IpAddr>,
    /// Policy for terminals that no other rule names.
    pub policy: Policy,
    /// Registrars to which the PBX sends REGISTERs on.
    pub registrars: Vec<IpNet>,
    /// Trunks, providers and other PBXs.
    pub peers: Vec<IpNet>,
    /// Seconds after the start for which a Contact URI alone proves less: its owner may not have registered again yet.
    pub settle: u32,
    /// Lives of dialogs.
    pub dialogs: Dialogs,
    /// Learn, decide and count, but redirect nothing.
    pub shadow: bool,
    /// Answers to STUN requests.
    pub stun: Stun,
    /// Learn where streams of media come from, and send those of the PBX there.
    pub media: bool,
    /// Lowest and highest port of the PBX's media.
    pub media_ports: [u16; 2],
    /// Guard for streams of terminals that no other rule names.
    pub guard: Guard,
    /// Give the packets of terminals the address of their descriptions as their source.
    pub restore: bool,
    /// NATs that forward the ports of their terminal's media.
    pub guesses: Vec<IpNet>,
    /// Addresses that the PBX writes into its descriptions, and a router translates to its own.
    pub externals: Vec<IpAddr>,
    /// Keepalives to the NATs of registered terminals.
    pub keepalives: Keepalives,
    /// Address and port at which metrics are served; none: they are not.
    pub metrics: Option<SocketAddr>,
    /// Have the kernel measure the run time of the programs.
    pub metrics_run_time: bool,
    /// Number of the group whose members may use the commands that only read.
    pub readers: Option<u32>,
    /// Leave the programs in place when the agent ends.
    pub keep: bool,
    /// File with the kernel programs, instead of those in this binary.
    pub object: Option<PathBuf>,
    /// Have the verifier report how it came to refuse a program. That may be a hundred megabytes.
    pub verifier_log: bool,
    /// Mode of the XDP program.
    pub xdp: Xdp,
    /// Attach to the clsact qdisc even where the kernel has tcx.
    pub clsact: bool,
    /// Sizes of the tables.
    pub sizes: Sizes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            wait: false,
            ports: vec![5060],
            pbxs: Vec::new(),
            policy: Policy::Auto,
            registrars: Vec::new(),
            peers: Vec::new(),
            settle: 3600,
            dialogs: Dialogs::default(),
            shadow: false,
            stun: Stun::default(),
            media: false,
            // PBXs take ports for media from 10000 on.
            media_ports: [10_000, u16::MAX],
            guard: Guard::Off,
            restore: false,
            guesses: Vec::new(),
            externals: Vec::new(),
            keepalives: Keepalives::default(),
            metrics: None,
            metrics_run_time: false,
            readers: None,
            keep: false,
            object: None,
            verifier_log: false,
            xdp: Xdp::Auto,
            clsact: false,
            sizes: Sizes::default(),
        }
    }
}

impl Settings {
    /// Removes ports that are named more than once.
    pub fn remove_repeated_ports(&mut self) {
        let mut seen = Vec::new();
        self.ports.retain(|port| {
            let is_new = !seen.contains(port);
            seen.push(*port);
            is_new
        });
    }

    /// Returns the options in which the two differ, by their long names.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        // No `..`: a new field must be compared, too.
        let Self {
            interfaces,
            wait,
            ports,
            pbxs,
            policy,
            registrars,
            peers,
            settle,
            dialogs,
            shadow,
            stun,
            media,
            media_ports,
            guard,
            restore,
            guesses,
            externals,
            keepalives,
            metrics,
            metrics_run_time,
            readers,
            keep,
            object,
            verifier_log,
            xdp,
            clsact,
            sizes,
        } = self;
        let Sizes {
            bindings,
            transactions,
            pending,
            peers: proofs,
            fragments,
            history,
            buckets,
            stun: stun_sources,
            offers,
            media: streams,
            keepalives: mappings,
        } = sizes;
        let options = [
            ("iface", *interfaces != other.interfaces),
            ("wait", *wait != other.wait),
            ("port", *ports != other.ports),
            ("pbx", *pbxs != other.pbxs),
            ("policy", *policy != other.policy),
            ("registrar", *registrars != other.registrars),
            ("peer", *peers != other.peers),
            ("settle", *settle != other.settle),
            ("dialog-idle", dialogs.idle != other.dialogs.idle),
            ("dialog-early", dialogs.early != other.dialogs.early),
            ("shadow", *shadow != other.shadow),
            ("stun", stun.answer != other.stun.answer),
            ("stun-port", stun.port != other.stun.port),
            ("stun-rate", stun.rate != other.stun.rate),
            ("stun-burst", stun.burst != other.stun.burst),
            ("stun-total-rate", stun.total_rate != other.stun.total_rate),
            ("stun-software", stun.software != other.stun.software),
            ("media", *media != other.media),
            ("media-ports", *media_ports != other.media_ports),
            ("media-guard", *guard != other.guard),
            ("media-restore", *restore != other.restore),
            ("media-guess", *guesses != other.guesses),
            ("external", *externals != other.externals),
            ("keepalive", keepalives.rules != other.keepalives.rules),
            (
                "keepalive-interval",
                keepalives.interval != other.keepalives.interval,
            ),
            (
                "keepalive-misses",
                keepalives.misses != other.keepalives.misses,
            ),
            ("metrics", *metrics != other.metrics),
            (
                "metrics-run-time",
                *metrics_run_time != other.metrics_run_time,
            ),
            ("group", *readers != other.readers),
            ("keep", *keep != other.keep),
            ("bpf-object", *object != other.object),
            ("verifier-log", *verifier_log != other.verifier_log),
            ("xdp", *xdp != other.xdp),
            ("clsact", *clsact != other.clsact),
            ("size-bindings", *bindings != other.sizes.bindings),
            (
                "size-transactions",
                *transactions != other.sizes.transactions,
            ),
            ("size-pending", *pending != other.sizes.pending),
            ("size-proofs", *proofs != other.sizes.peers),
            ("size-fragments", *fragments != other.sizes.fragments),
            ("size-history", *history != other.sizes.history),
            ("size-stun-limits", *buckets != other.sizes.buckets),
            ("size-stun-sources", *stun_sources != other.sizes.stun),
            ("size-media-offers", *offers != other.sizes.offers),
            ("size-media", *streams != other.sizes.media),
            ("size-keepalives", *mappings != other.sizes.keepalives),
        ];
        let differ = options.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(name, _)| name).collect()
    }
}

/// Seconds that a dialog lasts without another message. After BYE it lasts 32: 64 * T1 (RFC 3261 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialogs {
    /// Once it is confirmed.
    pub idle: u32,
    /// While it is early.
    pub early: u32,
}

impl Dialogs {
    /// Values of [`Self::idle`], up to a week. A session refresh may be half an hour away (RFC 4028 4).
    pub const IDLE: RangeInclusive<u32> = 1800..=604_800;
    /// Values of [`Self::early`]: from Timer C, which ends a call that only rings (RFC 3261 16.6), to an hour.
    pub const EARLY: RangeInclusive<u32> = 180..=3600;
}

impl Default for Dialogs {
    fn default() -> Self {
        Self {
            idle: (DIALOG_LIFE / SECOND) as u32,
            early: (EARLY_LIFE / SECOND) as u32,
        }
    }
}

/// Answers to STUN requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stun {
    /// Answer STUN Binding requests, on the SIP ports and on `port`.
    pub answer: bool,
    /// UDP port on which STUN is answered beside the SIP ports; 0: none.
    pub port: u16,
    /// Answers to one address in a second; 0: no limit.
    pub rate: u32,
    /// Answers to one address at once; at least 1.
    pub burst: u32,
    /// Answers to all addresses together in a second; 0: no limit.
    pub total_rate: u32,
    /// Name the software in answers.
    pub software: bool,
}

impl Default for Stun {
    fn default() -> Self {
        Self {
            answer: false,
            port: 3478,
            rate: 20,
            burst: 50,
            total_rate: 20_000,
            software: false,
        }
    }
}

/// Keepalives that the agent sends to the NATs of registered terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalives {
    /// Rules; the one with the longest prefix counts. Without one, none are sent.
    pub rules: Vec<KeepaliveRule>,
    /// Seconds from one to the next.
    pub interval: u32,
    /// Unanswered ones in a row after which a terminal counts as silent.
    pub misses: u32,
}

impl Default for Keepalives {
    fn default() -> Self {
        Self {
            rules: vec![KeepaliveRule {
                prefix: None,
                kind: KeepaliveKind::Off,
            }],
            interval: 25,
            misses: 3,
        }
    }
}

impl Keepalives {
    /// Seconds that an interval may have. RFC 4787 4.3 has NATs keep a mapping for two minutes at least, and many keep it for 30 s.
    pub const INTERVALS: RangeInclusive<u32> = 5..=3600;

    /// Whether any are sent.
    #[must_use]
    pub fn are_on(&self) -> bool {
        let mut kinds = self.rules.iter().map(|rule| rule.kind);
        kinds.any(|kind| kind != KeepaliveKind::Off)
    }

    /// Returns the kind for a learned address.
    #[must_use]
    pub fn kind_for(&self, learned: IpAddr) -> KeepaliveKind {
        let bits =
            |rule: &KeepaliveRule| rule.prefix.map_or(0, |net| 1 + u32::from(net.prefix_len()));
        let rules = self.rules.iter();
        let hits = rules.filter(|rule| rule.prefix.is_none_or(|net| net.contains(&learned)));
        // Of two rules for the same prefix the later one counts, as of two options.
        hits.max_by_key(|rule| bits(rule))
            .map_or(KeepaliveKind::Off, |rule| rule.kind)
    }
}

/// Rule for keepalives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveRule {
    /// Learned addresses that it is for; none: any.
    pub prefix: Option<IpNet>,
    /// Kind of their keepalives.
    pub kind: KeepaliveKind,
}

/// Kind of keepalives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepaliveKind {
    /// OPTIONS, which the terminal answers.
    Options,
    /// Two line ends (RFC 5626 3.5.1, which has them for TCP).
    Crlf,
    /// Four zero bytes.
    Udp,
    /// None.
    Off,
}

impl KeepaliveKind {
    const ALL: [(&'static str, Self); 4] = [
        ("options", Self::Options),
        ("crlf", Self::Crlf),
        ("udp", Self::Udp),
        ("off", Self::Off),
    ];
}

/// Choice of the mode in which the XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Xdp {
    /// Native where the driver can, else generic.
    #[default]
    #[value(help = None)]
    Auto,
    /// By the driver.
    #[value(help = None)]
    Native,
    /// By the network stack.
    #[value(help = None)]
    Generic,
}

/// Sizes of the tables. All but `bindings` are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sets in `INBOUND` and in `OUTBOUND`.
    pub transactions: u32,
    /// Sets in `PENDING`.
    pub pending: u32,
    /// Sets in `PEERS`.
    pub peers: u32,
    /// Sets in `FRAGMENTS`.
    pub fragments: u32,
    /// Records in `HISTORY`.
    pub history: u32,
    /// Lines in `BUCKETS`. Without STUN there is one.
    pub buckets: u32,
    /// Sets in `STUN`. Without STUN there is one.
    pub stun: u32,
    /// Sets in `OFFERS`. Without media there is one.
    pub offers: u32,
    /// Slots in `MEDIA`: 65,536 for each local address. Without media there is one.
    pub media: u32,
    /// Records in `KEEPALIVES`. Without keepalives there is one.
    pub keepalives: u32,
    /// Capacity of `DIALOGS`, and of `CONTACTS`: bindings up to which tests see none refused. A contact takes three.
    pub bindings: u32,
}

impl Sizes {
    /// Numbers of entries that a table may be told to hold. The largest tables of bindings take 12 GiB.
    pub const ENTRIES: RangeInclusive<u32> = 1024..=1 << 24;

    /// Returns the number of sets, or lines, that hold so many entries: a power of two.
    #[must_use]
    pub const fn sets(entries: u32, ways: usize) -> u32 {
        entries.div_ceil(ways as u32).next_power_of_two()
    }

    /// Returns the number of sets in `DIALOGS` and in `CONTACTS`: a power of two, above one.
    #[must_use]
    pub fn binding_sets(&self) -> u32 {
        Self::sets(self.bindings, BINDING_LOAD as usize).max(2)
    }
}

impl Default for Sizes {
    /// 64k transactions in each direction last 32 s at 2000 messages a second.
    fn default() -> Self {
        Self {
            transactions: 16384,
            pending: 4096,
            peers: 4096,
            fragments: 1024,
            history: 65_536,
            buckets: 8192,
            stun: 4096,
            offers: 16384,
            media: 4 * MEDIA_PORTS,
            keepalives: 16384,
            bindings: 81_920,
        }
    }
}

/// Returns the policy of that name.
///
/// # Errors
/// If there is none.
pub fn policy_named(name: &str) -> Result<Policy, &'static str> {
    [Policy::Auto, Policy::Force, Policy::Off]
        .into_iter()
        .find(|policy| policy.name() == name)
        .ok_or("a policy is auto, force or off")
}

/// Returns the guard of that name.
///
/// # Errors
/// If there is none.
pub fn guard_named(name: &str) -> Result<Guard, &'static str> {
    [Guard::Off, Guard::Count, Guard::Drop]
        .into_iter()
        .find(|guard| guard.name() == name)
        .ok_or("a guard is off, count or drop")
}

/// Returns the rule for keepalives that a text names: a kind, or a prefix and a kind.
///
/// # Errors
/// If it names none.
pub fn keepalive_rule(text: &str) -> Result<KeepaliveRule, &'static str> {
    let (prefix, kind) = match text.split_once('=') {
        Some((prefix, kind)) => (Some(hosts(prefix)?), kind),
        None => (None, text),
    };
    let mut kinds = KeepaliveKind::ALL.into_iter();
    let kind = kinds.find(|(name, _)| *name == kind);
    let (_, kind) = kind.ok_or(
        "a keepalive is options, crlf, udp or off, or one of them for a prefix: 192.0.2.0/24=crlf",
    )?;
    Ok(KeepaliveRule { prefix, kind })
}

/// Returns the hosts that a text names: one address, or a prefix such as `10.0.0.0/8`.
///
/// # Errors
/// If it names none, or all.
pub fn hosts(text: &str) -> Result<IpNet, &'static str> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net.trunc(),
        Err(_) => text
            .parse::<IpAddr>()
            .map(IpNet::from)
            .map_err(|_| "name an address, or a prefix such as 10.0.0.0/8, without a port")?,
    };
    if net.prefix_len() == 0 {
        return Err("that names every host; name those that are meant");
    }
    // Maps hold IPv4 addresses in this prefix.
    let mapped = Ipv6Net::new_assert(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96).into();
    if net.contains(&mapped) || IpNet::contains(&mapped, &net) {
        return Err("write an IPv4 address as such, like 192.0.2.1");
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_differ_in_options() {
        let settings = Settings::default();
        assert_eq!(settings.differences(&settings), [""; 0]);
        let other = Settings {
            ports: vec![5080],
            keep: true,
            stun: Stun {
                rate: 1,
                ..Stun::default()
            },
            ..Settings::default()
        };
        assert_eq!(settings.differences(&other), ["port", "stun-rate", "keep"]);
    }

    #[test]
    fn tables_hold_at_least_what_was_asked_for() {
        for entries in [1024, 1025, 81_920, 81_921, *Sizes::ENTRIES.end()] {
            let sizes = Sizes {
                bindings: entries,
                ..Sizes::default()
            };
            let capacity = sizes.binding_sets() * BINDING_LOAD;
            assert!((entries..2 * entries + 2 * BINDING_LOAD).contains(&capacity));
            let slots = Sizes::sets(entries, 4) * 4;
            assert!((entries..2 * entries).contains(&slots), "{entries}");
        }
        assert_eq!(Sizes::default().binding_sets() * BINDING_LOAD, 81_920);
    }

    #[test]
    fn the_longest_prefix_decides_on_keepalives() {
        use KeepaliveKind::{Crlf, Off, Options, Udp};
        let of = |rules: &[&str], learned: &str| {
            let keepalives = Keepalives {
                rules: rules
                    .iter()
                    .map(|rule| keepalive_rule(rule).unwrap())
                    .collect(),
                ..Keepalives::default()
            };
            (
                keepalives.are_on(),
                keepalives.kind_for(learned.parse().unwrap()),
            )
        };
        let rules = [
            "192.0.2.7=off",
            "options",
            "192.0.2.0/24=crlf",
            "2001:db8::/32=udp",
        ];
        for (learned, kind) in [
            ("192.0.2.7", Off),
            ("192.0.2.8", Crlf),
            ("192.0.3.7", Options),
            ("2001:db8::1", Udp),
            ("2001:db9::1", Options),
        ] {
            assert_eq!(of(&rules, learned), (true, kind), "{learned}");
        }
        assert_eq!(of(&["192.0.2.0/24=udp"], "192.0.3.7"), (true, Off));
        assert_eq!(of(&["options", "crlf"], "192.0.2.7"), (true, Crlf));
        assert_eq!(of(&["off", "192.0.2.0/24=off"], "192.0.2.7"), (false, Off));
        assert_eq!(of(&[], "192.0.2.7"), (false, Off));
        for (text, word) in [
            ("on", "crlf"),
            ("192.0.2.7=", "crlf"),
            ("=udp", "address"),
            ("0.0.0.0/0=udp", "every host"),
        ] {
            let error = keepalive_rule(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_are_some_but_not_all() {
        for (text, word) in [
            ("", "name an address"),
            ("default", "name an address"),
            ("pbx.example.com", "name an address"),
            ("192.0.2.1:5060", "without a port"),
            ("10.0.0.0/33", "such as 10.0.0.0/8"),
            ("0.0.0.0/0", "every host"),
            ("::/0", "every host"),
            ("::/64", "IPv4"),
            ("::ffff:10.0.0.0/104", "IPv4"),
        ] {
            let error = hosts(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!(hosts("2001:db8::1").unwrap().to_string(), "2001:db8::1/128");
    }
}
