//! Options of `sipnat run`: its flags, and the keys of the configuration file.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use clap::Args;
use ipnet::IpNet;
use nat_common::{
    abi::{Guard, Policy, WAYS},
    tables::buckets,
};

use crate::{
    commands::ports::{port, port_or_none, ports},
    host::private::group,
    settings::{
        Dialogs, KeepaliveRule, Keepalives, Settings, Sizes, Xdp, guard_named, hosts,
        keepalive_rule, policy_named,
    },
};

/// Options of `sipnat run`. Each overrides a setting.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Interface that faces the terminals; may be repeated
    #[arg(long = "iface", value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Start without an interface that is not there, and attach when it comes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    wait: Option<bool>,
    #[command(flatten)]
    deciding: Deciding,
    /// Address of a PBX behind this host, which routes or bridges its packets; may be repeated
    ///
    /// The address is the one that packets have on the interface. sipnat then learns only from packets to these addresses,
    /// and sockets of this host do not count.
    #[arg(long = "pbx", value_name = "ADDRESS")]
    pbxs: Vec<IpAddr>,
    /// Learn, decide and count, but redirect nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    shadow: Option<bool>,
    /// Answer STUN Binding requests on the SIP ports and on the port of --stun-port
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    stun: Option<bool>,
    /// UDP port for STUN beside the SIP ports; 0: none [default: 3478]
    #[arg(
        long,
        value_name = "PORT",
        value_parser = port_or_none
    )]
    stun_port: Option<u16>,
    /// STUN answers a second to one address; 0: no limit [default: 20]
    #[arg(long, value_name = "NUMBER")]
    stun_rate: Option<u32>,
    /// STUN answers at once to one address [default: 50]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    stun_burst: Option<u32>,
    /// STUN answers a second to all addresses together; 0: no limit [default: 20000]
    ///
    /// It bounds what a flood from forged addresses makes this host send. Set more if more than 20,000 phones may ask
    /// in the same second. Keepalives of registered phones to a SIP port are answered above it.
    #[arg(long, value_name = "NUMBER")]
    stun_total_rate: Option<u32>,
    /// Name sipnat in each STUN answer, which makes it longer
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    stun_software: Option<bool>,
    /// Keep the NAT mappings of registered terminals open, by: options, crlf, udp or off; PREFIX=KIND is for a prefix; may be repeated
    /// [default: off]
    ///
    /// Needed if phones cannot be called some time after they registered, because their NAT forgets them. sipnat sends a keepalive
    /// from the PBX's address and port to the learned address of each registered terminal behind a NAT that says nothing by itself.
    /// `options` is an OPTIONS request. Its answer refreshes the NAT from inside, tells the round-trip time, and never reaches the
    /// PBX. `crlf` (two line ends) and `udp` (four zero bytes) draw no answer. Example: --keepalive options --keepalive
    /// 192.0.2.0/24=crlf. Needs CAP_NET_RAW.
    #[arg(long = "keepalive", value_name = "KIND", value_parser = keepalive_rule)]
    keepalives: Vec<KeepaliveRule>,
    /// Seconds from one keepalive of a terminal to the next, 5 to 3600 [default: 25]
    ///
    /// Many NATs forget a mapping after 30 s. A terminal that was heard within the interval gets none.
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    keepalive_interval: Option<u32>,
    /// Unanswered keepalives in a row after which a terminal is shown as silent [default: 3]
    ///
    /// A silent terminal is asked less and less often, up to 16 times the interval, until it answers or registers again.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    keepalive_misses: Option<u32>,
    /// Serve metrics for Prometheus at http://ADDRESS:PORT/metrics
    ///
    /// Off by default. There is neither TLS nor a password: name an address that only the monitoring reaches.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = socket)]
    metrics: Option<SocketAddr>,
    /// Have the kernel measure the run time of the programs, for the metrics
    ///
    /// While the agent runs, the kernel then measures each run of every BPF program of this host, which takes time itself
    /// (docs/metrics.md). Needs CAP_SYS_ADMIN.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    metrics_run_time: Option<bool>,
    /// Group whose members may use the commands that only read: bindings, media, stats, explain, status, top and others
    ///
    /// They see who calls whom, and change nothing. They must be able to search /sys/fs/bpf, which systems keep to root:
    /// `chmod o+x /sys/fs/bpf`.
    #[arg(long = "group", value_name = "GROUP", value_parser = group)]
    readers: Option<u32>,
    /// Leave the programs and their tables in place when the agent ends; the next agent takes them over
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    keep: Option<bool>,
    /// Print the verifier's whole log if it refuses the programs
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    verifier_log: Option<bool>,
    /// Mode of the XDP program: auto is native if the driver supports it, else generic; on a veth with --stun, generic
    /// [default: auto]
    #[arg(long, value_name = "MODE")]
    xdp: Option<Xdp>,
    /// Attach to the clsact qdisc, even if the kernel has tcx
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    clsact: Option<bool>,
    /// Dialog ends that are kept whatever else arrives, and as many bindings of contacts [default: 81920]
    ///
    /// A registered contact takes three. Beyond this number sipnat may refuse new ones; `sipnat status` warns from four
    /// fifths on. The number is rounded up to 81,920 times, or divided by, a power of two. Memory: 614 bytes each, 48 MiB
    /// by default. After a restart with another size the bindings are still there, as far as the new tables hold them.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_bindings: Option<u32>,
    /// Transactions that are kept in each direction; one counts for 32 s [default: 65536]
    ///
    /// The default is enough for 2,000 messages a second. All but `--size-bindings` are rounded up to a power of two, and
    /// after a restart with another size, a table begins empty: calls that ring meanwhile may be lost. Memory: 128 bytes
    /// each, 8 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_transactions: Option<u32>,
    /// SUBSCRIBE and REFER requests that the PBX has not answered yet [default: 16384]
    ///
    /// Memory: 64 bytes each, 1 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_pending: Option<u32>,
    /// Proofs of the addresses at which terminals answer, some for each terminal [default: 16384]
    ///
    /// Memory: 64 bytes each, 1 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_proofs: Option<u32>,
    /// Datagrams that the PBX is just sending in fragments [default: 4096]
    ///
    /// Memory: 64 bytes each, 256 KiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_fragments: Option<u32>,
    /// Decisions that `sipnat explain` remembers [default: 65536]
    ///
    /// Memory: 88 bytes each, 5.5 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_history: Option<u32>,
    /// Addresses that have a rate limit for STUN of their own [default: 65536]
    ///
    /// Memory, with --stun: 8 bytes each, 512 KiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_stun_limits: Option<u32>,
    /// Sources of STUN keepalives that `sipnat bindings list` knows [default: 16384]
    ///
    /// Memory, with --stun: 64 bytes each, 1 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_stun_sources: Option<u32>,
    /// Descriptions of media that wait for their answer, for as long as a phone rings [default: 65536]
    ///
    /// Memory, with --media: 64 bytes each, 4 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_media_offers: Option<u32>,
    /// Streams of media: 65,536 for each local address of the PBX that its SDP names, at most eight of them [default: 262144]
    ///
    /// Streams in progress go on after a restart with another size. Memory, with --media: 128 bytes each, 32 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_media: Option<u32>,
    /// NAT mappings that are kept open; terminals beyond get no keepalives [default: 16384]
    ///
    /// Memory, with --keepalive: 128 bytes each, 2 MiB by default.
    #[arg(long, value_name = "NUMBER", value_parser = entries)]
    size_keepalives: Option<u32>,
}

/// Options that decide what is learned and where packets go. `sipnat replay` has them, too.
#[derive(Clone, Debug, Default, Args)]
pub struct Deciding {
    /// UDP port of the PBX; may be repeated [default: 5060]
    #[arg(long = "port", value_name = "PORT", value_parser = port)]
    ports: Vec<u16>,
    /// Policy for terminals without a rule of their own: auto, force or off [default: auto]
    #[arg(long, value_name = "POLICY", value_parser = policy_named)]
    policy: Option<Policy>,
    /// Registrar behind the PBX, an address or a prefix; may be repeated
    ///
    /// Needed if the PBX is an edge proxy that sends REGISTERs on to a registrar. Without it, sipnat follows no
    /// registration through the PBX: a stranger can have a proxy send a REGISTER to a friend, who accepts it.
    #[arg(long = "registrar", value_name = "PREFIX", value_parser = hosts)]
    registrars: Vec<IpNet>,
    /// Trunk, provider or other PBX with a private address, an address or a prefix; may be repeated
    ///
    /// Needed if the PBX reaches a private address by its default route only, and accounts of the PBX may register
    /// any number. sipnat then never redirects packets for it because of a Contact URI alone.
    #[arg(long = "peer", value_name = "PREFIX", value_parser = hosts)]
    peers: Vec<IpNet>,
    /// Seconds after the first start in which sipnat trusts fewer Contact URIs [default: 3600]
    ///
    /// It concerns contacts whose user is not their owner's, and requests that name such a contact by its URI alone.
    /// The rightful owner of the URI may not have registered again yet. Set the longest time for which the PBX grants
    /// a registration.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    settle: Option<u32>,
    /// Seconds that a call is known without another SIP message [default: 43200]
    ///
    /// A request of the PBX within a call that was silent for longer may go where it went without sipnat. Session timers (RFC 4028) keep
    /// a call alive. Less makes room in the tables after calls whose end sipnat did not see.
    #[arg(long, value_name = "SECONDS", value_parser = idle)]
    dialog_idle: Option<u32>,
    /// Seconds that a call is known while it rings, without another provisional response [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = early)]
    dialog_early: Option<u32>,
    /// Send the PBX's audio and video to where the terminal's come from, instead of a private address in its SDP
    ///
    /// sipnat learns the source of each stream from calls that the PBX has accepted. It needs the PBX to relay media: two
    /// phones that send to each other directly do not pass here. SIP over TCP or TLS is not seen, so its calls have none.
    /// `sipnat status` warns of what cannot work.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    media: Option<bool>,
    /// Lowest and highest UDP port of the PBX's media [default: 10000-65535]
    ///
    /// Media at other ports are left alone. Asterisk's ports for fax (`udptl.conf`) begin at 4000.
    #[arg(long, value_name = "LOW-HIGH", value_parser = ports)]
    media_ports: Option<[u16; 2]>,
    /// Guard of streams: off, count, or drop packets from other addresses than the terminal's SIP [default: off]
    ///
    /// With `drop`, a stranger who sends to the ports of calls is not heard, and a PBX that follows the source of media does not send
    /// to him. Terminals whose media come from another address than their SIP are not heard either once they have sent from both.
    /// Begin with `count`, which drops nothing: `sipnat stats` and `sipnat media show` say what `drop` would drop. `sipnat guard`
    /// makes rules by prefix.
    #[arg(long, value_name = "GUARD", value_parser = guard_named)]
    media_guard: Option<Guard>,
    /// Give the audio and video of a terminal the address of its SDP as their source, for a PBX that takes them from there only
    ///
    /// Needed if the PBX does not hear phones behind NAT, although packets arrive: Asterisk drops the first packets of each such call, and all
    /// audio after the phone's NAT has changed its port. The PBX then sees private sources, so the firewall of this host must accept
    /// UDP to the media ports from private addresses, and `rp_filter` must not be strict unless the default route leads through the
    /// same interface. Otherwise those phones are not heard at all. Try one call first.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    media_restore: Option<bool>,
    /// NAT that forwards the media ports of its terminal, an address or a prefix; may be repeated
    ///
    /// Needed if a terminal behind such a NAT hears the PBX, but sends nothing, or not first: a loudspeaker, a door station. Until
    /// the terminal's first packet, the PBX's go to the NAT, at the port in the SDP. Name only NATs where each such port leads to the terminal that
    /// names it: elsewhere a neighbour behind the same NAT may hear the call's first words. At most four.
    #[arg(long = "media-guess", value_name = "PREFIX", value_parser = hosts)]
    media_guesses: Vec<IpNet>,
    /// Address that the PBX names for its media, and that a router translates to the PBX's own; may be repeated
    ///
    /// Needed with --media if the PBX is behind one-to-one NAT, as in many clouds, and writes its public address into its SDP.
    /// Its media are then those of the local address from which its SIP comes. At most four.
    #[arg(long = "external", value_name = "ADDRESS", value_parser = address)]
    externals: Vec<IpAddr>,
    /// Load the kernel programs from this file, instead of those in sipnat
    #[arg(long, value_name = "FILE")]
    bpf_object: Option<PathBuf>,
}

impl Deciding {
    /// Overrides `settings` with the arguments that were given.
    pub fn fill(self, settings: &mut Settings) {
        set(&mut settings.ports, some(self.ports));
        set(&mut settings.policy, self.policy);
        set(&mut settings.registrars, some(self.registrars));
        set(&mut settings.peers, some(self.peers));
        set(&mut settings.settle, self.settle);
        set(&mut settings.dialogs.idle, self.dialog_idle);
        set(&mut settings.dialogs.early, self.dialog_early);
        set(&mut settings.media, self.media);
        set(&mut settings.media_ports, self.media_ports);
        set(&mut settings.guard, self.media_guard);
        set(&mut settings.restore, self.media_restore);
        set(&mut settings.guesses, some(self.media_guesses));
        set(&mut settings.externals, some(self.externals));
        set(&mut settings.object, self.bpf_object.map(Some));
        settings.remove_repeated_ports();
    }

    /// Whether a port was given.
    pub(super) const fn has_port(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Returns an option of media that was given, by its long name.
    pub(super) fn of_media(&self) -> Option<&'static str> {
        let given = [
            ("media-ports", self.media_ports.is_some()),
            (
                "media-guard",
                self.media_guard.is_some_and(|guard| guard != Guard::Off),
            ),
            ("media-restore", self.media_restore == Some(true)),
            ("media-guess", !self.media_guesses.is_empty()),
            ("external", !self.externals.is_empty()),
        ];
        first_given(&given)
    }
}

impl Options {
    /// Overrides `settings` with the arguments that were given.
    pub fn fill(self, settings: &mut Settings) {
        set(&mut settings.interfaces, some(self.interfaces));
        set(&mut settings.wait, self.wait);
        set(&mut settings.pbxs, some(self.pbxs));
        set(&mut settings.shadow, self.shadow);
        set(&mut settings.stun.answer, self.stun);
        set(&mut settings.stun.port, self.stun_port);
        set(&mut settings.stun.rate, self.stun_rate);
        set(&mut settings.stun.burst, self.stun_burst);
        set(&mut settings.stun.total_rate, self.stun_total_rate);
        set(&mut settings.stun.software, self.stun_software);
        set(&mut settings.keepalives.rules, some(self.keepalives));
        set(&mut settings.keepalives.interval, self.keepalive_interval);
        set(&mut settings.keepalives.misses, self.keepalive_misses);
        set(&mut settings.metrics, self.metrics.map(Some));
        set(&mut settings.metrics_run_time, self.metrics_run_time);
        set(&mut settings.readers, self.readers.map(Some));
        set(&mut settings.keep, self.keep);
        set(&mut settings.verifier_log, self.verifier_log);
        set(&mut settings.xdp, self.xdp);
        set(&mut settings.clsact, self.clsact);
        let sizes = &mut settings.sizes;
        let sets = |entries: Option<u32>| entries.map(|entries| Sizes::sets(entries, WAYS));
        set(&mut sizes.bindings, self.size_bindings);
        set(&mut sizes.transactions, sets(self.size_transactions));
        set(&mut sizes.pending, sets(self.size_pending));
        set(&mut sizes.peers, sets(self.size_proofs));
        set(&mut sizes.fragments, sets(self.size_fragments));
        // Two rings.
        let records = self
            .size_history
            .map(|entries| Sizes::sets(entries, 1).max(2));
        set(&mut sizes.history, records);
        let lines = self.size_stun_limits;
        let lines = lines.map(|entries| Sizes::sets(entries, buckets::WAYS));
        set(&mut sizes.buckets, lines);
        set(&mut sizes.stun, sets(self.size_stun_sources));
        set(&mut sizes.offers, sets(self.size_media_offers));
        let slots = self.size_media.map(|entries| Sizes::sets(entries, 1));
        set(&mut sizes.media, slots);
        let records = self.size_keepalives;
        let records = records.map(|entries| Sizes::sets(entries, 1));
        set(&mut sizes.keepalives, records);
        self.deciding.fill(settings);
    }

    /// Returns an option of STUN that was given, by its long name.
    pub(super) fn of_stun(&self) -> Option<&'static str> {
        let given = [
            ("stun-port", self.stun_port.is_some()),
            ("stun-rate", self.stun_rate.is_some()),
            ("stun-burst", self.stun_burst.is_some()),
            ("stun-total-rate", self.stun_total_rate.is_some()),
            ("stun-software", self.stun_software == Some(true)),
            ("size-stun-limits", self.size_stun_limits.is_some()),
            ("size-stun-sources", self.size_stun_sources.is_some()),
        ];
        first_given(&given)
    }

    /// Returns an option of keepalives that was given, by its long name.
    pub(super) fn of_keepalives(&self) -> Option<&'static str> {
        let given = [
            ("keepalive-interval", self.keepalive_interval.is_some()),
            ("keepalive-misses", self.keepalive_misses.is_some()),
            ("size-keepalives", self.size_keepalives.is_some()),
        ];
        first_given(&given)
    }

    /// Returns an option of metrics that was given, by its long name.
    pub(super) fn of_metrics(&self) -> Option<&'static str> {
        (self.metrics_run_time == Some(true)).then_some("metrics-run-time")
    }

    /// Returns an option of media that was given, by its long name.
    pub(super) fn of_media(&self) -> Option<&'static str> {
        let given = [
            ("size-media-offers", self.size_media_offers.is_some()),
            ("size-media", self.size_media.is_some()),
        ];
        self.deciding.of_media().or_else(|| first_given(&given))
    }
}

/// Overrides a setting, if an option for it was given.
fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// Returns the name of the first option that was given.
fn first_given(options: &[(&'static str, bool)]) -> Option<&'static str> {
    let given = options.iter().find(|(_, given)| *given);
    given.map(|(name, _)| *name)
}

/// Returns a list that was given.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Parses an address.
fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse()
        .map_err(|_| "an address is one of IPv4 or IPv6, such as 203.0.113.10")
}

/// Parses an address with a port.
fn socket(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "name an address and a port, such as 127.0.0.1:9060 or [::1]:9060")
}

/// Parses a number of seconds.
fn seconds(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .map_err(|_| "a time is a whole number of seconds, such as 3600")
}

/// Parses an interval of keepalives.
fn interval(text: &str) -> Result<u32, String> {
    seconds_of(text, "an interval", &Keepalives::INTERVALS)
}

/// Parses the time that a confirmed dialog lasts.
fn idle(text: &str) -> Result<u32, String> {
    seconds_of(text, "this time", &Dialogs::IDLE)
}

/// Parses the time that an early dialog lasts.
fn early(text: &str) -> Result<u32, String> {
    seconds_of(text, "this time", &Dialogs::EARLY)
}

fn seconds_of(text: &str, what: &str, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let (least, most) = (range.start(), range.end());
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| range.contains(seconds))
        .ok_or_else(|| format!("{what} is a whole number of seconds, from {least} to {most}"))
}

/// Parses a number of entries of a table.
fn entries(text: &str) -> Result<u32, String> {
    let (least, most) = (Sizes::ENTRIES.start(), Sizes::ENTRIES.end());
    text.parse()
        .ok()
        .filter(|number| Sizes::ENTRIES.contains(number))
        .ok_or_else(|| format!("a size is a whole number of entries, from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches as _};

    use super::*;
    use crate::kernel::tables::memory;

    fn parse(args: &[&str]) -> Result<Settings, clap::Error> {
        let command = Options::augment_args(Command::new("run").no_binary_name(true));
        let options = Options::from_arg_matches(&command.try_get_matches_from(args)?)?;
        let mut settings = Settings::default();
        options.fill(&mut settings);
        Ok(settings)
    }

    #[test]
    fn the_defaults_in_the_help_are_those_of_the_settings() {
        let defaults = [
            "--size-bindings=81920",
            "--size-transactions=65536",
            "--size-pending=16384",
            "--size-proofs=16384",
            "--size-fragments=4096",
            "--size-history=65536",
            "--size-stun-limits=65536",
            "--size-stun-sources=16384",
            "--size-media-offers=65536",
            "--size-media=262144",
            "--size-keepalives=16384",
        ];
        assert_eq!(parse(&defaults).unwrap(), Settings::default());
        let command = Options::augment_args(Command::new("run"));
        for default in defaults {
            let (name, number) = default[2..].split_once('=').unwrap();
            let mut options = command.get_arguments();
            let option = options.find(|option| option.get_long() == Some(name));
            let help = option.unwrap().get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {number}]")), "{help}");
            // Each changes one size, and is noticed by a reload.
            let changed = parse(&[&format!("--{name}=1024")]).unwrap();
            assert_eq!(Settings::default().differences(&changed), [name]);
        }
    }

    #[test]
    fn the_help_says_what_a_size_costs() {
        let command = Options::augment_args(Command::new("run"));
        let sizes = Settings::default().sizes;
        let options = command.get_arguments();
        let options = options.filter(|option| option.get_long().unwrap().starts_with("size-"));
        let mut told = 0.0;
        for option in options {
            let name = option.get_long().unwrap();
            let more = 32 * told_default(option);
            let large = parse(&[&format!("--{name}={more}")]).unwrap().sizes;
            // The default is one of the 32 times of it.
            let bytes = (memory(&large) - memory(&sizes)) / 31;
            let each = bytes / u64::from(told_default(option));
            let help = option.get_long_help().unwrap().to_string();
            assert!(
                help.contains(&format!(" {each} bytes each")),
                "{name}: {each}: {help}"
            );
            let mib = bytes as f64 / f64::from(1 << 20);
            let text = if mib < 1.0 {
                format!(" {} KiB by default", bytes >> 10)
            } else {
                format!(" {mib} MiB by default")
            };
            let help = help.replace('\n', " ");
            assert!(help.contains(&text), "{name}: {text}: {help}");
            told += mib;
        }
        assert_eq!(told, memory(&sizes) as f64 / f64::from(1 << 20));
    }

    fn told_default(option: &clap::Arg) -> u32 {
        let help = option.get_help().unwrap().to_string();
        let (_, number) = help.split_once("[default: ").unwrap();
        number.trim_end_matches(']').parse().unwrap()
    }

    #[test]
    fn a_size_has_bounds() {
        for size in ["0", "1023", "16777217", "-1", "1M", ""] {
            let error = parse(&[&format!("--size-bindings={size}")]).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("from 1024 to 16777216"), "{error}");
        }
        assert!(parse(&["--size-bindings=16777216"]).is_ok());
    }
}
