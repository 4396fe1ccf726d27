//! Options of `sipnat run`: its flags, and the keys of the configuration file.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use nat_common::abi::Policy;

use crate::{
    commands::ports::{port, port_or_none},
    settings::{Settings, Xdp, hosts, policy_named},
};

/// Options of `sipnat run`. Each overrides a setting.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Interface that faces the terminals; may be repeated
    #[arg(long = "iface", value_name = "INTERFACE")]
    interfaces: Vec<String>,
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
    /// Leave the programs and their tables in place when the agent ends; the next agent takes them over
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    keep: Option<bool>,
    /// Load the kernel programs from this file, instead of those in sipnat
    #[arg(long, value_name = "FILE")]
    bpf_object: Option<PathBuf>,
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
}

impl Options {
    /// Overrides `settings` with the arguments that were given.
    pub fn fill(self, settings: &mut Settings) {
        fn set<T>(setting: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *setting = given;
            }
        }
        set(&mut settings.interfaces, some(self.interfaces));
        set(&mut settings.ports, some(self.ports));
        set(&mut settings.policy, self.policy);
        set(&mut settings.registrars, some(self.registrars));
        set(&mut settings.peers, some(self.peers));
        set(&mut settings.settle, self.settle);
        set(&mut settings.shadow, self.shadow);
        set(&mut settings.stun.answer, self.stun);
        set(&mut settings.stun.port, self.stun_port);
        set(&mut settings.stun.rate, self.stun_rate);
        set(&mut settings.stun.burst, self.stun_burst);
        set(&mut settings.stun.total_rate, self.stun_total_rate);
        set(&mut settings.stun.software, self.stun_software);
        set(&mut settings.keep, self.keep);
        set(&mut settings.object, self.bpf_object.map(Some));
        set(&mut settings.verifier_log, self.verifier_log);
        set(&mut settings.xdp, self.xdp);
        set(&mut settings.clsact, self.clsact);
        settings.remove_repeated_ports();
    }

    /// Returns an option of STUN that was given, by its long name.
    pub(super) fn of_stun(&self) -> Option<&'static str> {
        let given = [
            ("stun-port", self.stun_port.is_some()),
            ("stun-rate", self.stun_rate.is_some()),
            ("stun-burst", self.stun_burst.is_some()),
            ("stun-total-rate", self.stun_total_rate.is_some()),
            ("stun-software", self.stun_software == Some(true)),
        ];
        let given = given.into_iter().find(|(_, given)| *given);
        given.map(|(name, _)| name)
    }
}

/// Returns a list that was given.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Parses a number of seconds.
fn seconds(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .map_err(|_| "a time is a whole number of seconds, such as 3600")
}
