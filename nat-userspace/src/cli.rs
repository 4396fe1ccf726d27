//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use nat_common::abi::Policy;

use crate::{
    agent::record::XdpMode,
    agent::run,
    commands::stun_query::{self, Family, Server},
    host::prefix::Prefix,
    kernel::load::Stun,
};

const AFTER_HELP: &str = "\
Examples:
  sipnat run --iface eth0                     redirect for terminals behind NAT, port 5060
  sipnat run --iface eth0 --iface eth1 --port 5060 --port 5080
  sipnat bindings list                        who is known, and where they really are
  sipnat policy set 198.51.100.0/24 off       leave packets for these alone
  sipnat stats                                why packets were redirected or left alone
  sipnat explain 1-4711@192.168.1.10          the same for one call, packet by packet
  sipnat stun-query pbx.example.com           which address our packets come from

Commands other than `run`, `detach` and `stun-query` ask the agent of the network namespace they run in.
RUST_LOG=info|debug|trace makes the agent and the kernel programs say what they do.

Exit status: 0 success, 1 failure, 2 wrong usage, 3 no agent is running.";

/// Makes SIP phones behind NAT reachable for a PBX that knows nothing about NAT.
#[derive(Debug, Parser)]
#[command(name = "sipnat", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground: attach, and detach when it ends
    #[command(
        after_help = "Examples:\n  sipnat run --iface eth0\n  sipnat run --iface eth0 --port 5060 --port 5080 --policy off\n  sipnat run --iface eth0 --stun        tell phones that ask by STUN their public address\n  sipnat run --iface eth0 --shadow      see first what it would do, with `sipnat stats` and `sipnat explain`"
    )]
    Run(Run),
    /// Show what is known of terminals: `list` unless said otherwise
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  sipnat bindings\n  sipnat bindings show 1000@pbx.example.com\n  sipnat bindings list --json"
    )]
    Bindings {
        /// Which of it.
        #[command(subcommand)]
        command: Option<Bindings>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show or change what may be done with packets for a terminal: `list` unless said otherwise
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  sipnat policy\n  sipnat policy set 198.51.100.0/24 off\n  sipnat policy remove 198.51.100.0/24"
    )]
    Policy {
        /// What to do.
        #[command(subcommand)]
        command: Option<PolicyCommand>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how often packets were passed, learned from, redirected or left alone, and why
    #[command(after_help = "Examples:\n  sipnat stats\n  sipnat stats --all --json")]
    Stats {
        /// Show also those that are zero
        #[arg(long)]
        all: bool,
        /// Print JSON: an object of all counters
        #[arg(long)]
        json: bool,
    },
    /// Show for one call what was learned when, and why each packet was redirected or left alone
    ///
    /// What the PBX sent is shown, and the answers to it; what a terminal sent shows by the PBX's answer. The
    /// newest messages of all calls are kept.
    #[command(
        after_help = "Examples:\n  sipnat explain 1-4711@192.168.1.10\n  sipnat explain 1-4711@192.168.1.10 --json"
    )]
    Explain {
        /// The Call-ID, as in the SIP messages
        #[arg(allow_hyphen_values = true)]
        call_id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the agent, its programs and how full its tables are
    #[command(after_help = "Example:\n  sipnat status --json")]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a STUN server which address and port our packets come from
    ///
    /// Needs no agent and no root: run it in a phone's network to see what NAT makes of its packets.
    #[command(
        after_help = "Examples:\n  sipnat stun-query pbx.example.com\n  sipnat stun-query pbx.example.com:5060 --local-port 5060   as a phone that is switched off would\n  sipnat stun-query [2001:db8::1]:3478 --json\n\nExit status: 0 answered, 1 no answer or an error, 2 wrong usage."
    )]
    StunQuery(StunQuery),
    /// End the agent, and remove all that it or an earlier one left: programs, pins, qdiscs
    #[command(after_help = "Example:\n  sipnat detach")]
    Detach,
}

/// Arguments of `sipnat run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Interface on which the PBX meets its terminals; may be given several times
    #[arg(long = "iface", value_name = "INTERFACE", required = true)]
    interfaces: Vec<String>,
    /// UDP port of the PBX; may be given several times
    #[arg(long = "port", value_name = "PORT", default_value = "5060", value_parser = port)]
    ports: Vec<u16>,
    /// What to do for terminals that no other rule names: auto, force or off
    #[arg(long, value_name = "POLICY", default_value = "auto", value_parser = policy)]
    policy: Policy,
    /// Learn, decide and count, but redirect nothing
    #[arg(long, conflicts_with = "stun")]
    shadow: bool,
    /// Answer STUN Binding requests, on the SIP ports and on that of --stun-port
    #[arg(long)]
    stun: bool,
    /// UDP port on which STUN is answered beside the SIP ports; 0: none
    #[arg(
        long,
        value_name = "PORT",
        default_value = "3478",
        requires = "stun",
        value_parser = port_or_none
    )]
    stun_port: u16,
    /// How many STUN requests of one address are answered in a second; 0: all
    #[arg(long, value_name = "NUMBER", default_value = "20", requires = "stun")]
    stun_rate: u32,
    /// How many of them may come at once
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "50",
        requires = "stun",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    stun_burst: u32,
    /// Say in STUN answers that they are sipnat's; makes them longer
    #[arg(long, requires = "stun")]
    stun_software: bool,
    /// Leave the programs in place when the agent ends
    #[arg(long)]
    keep: bool,
    /// Take the kernel programs from this file
    #[arg(long, value_name = "FILE")]
    bpf_object: Option<PathBuf>,
    /// Print all that the verifier says when it refuses a program and there is no other way
    #[arg(long, hide = true)]
    pub verifier_log: bool,
    /// How the XDP program is run: auto is native where the driver can, and generic elsewhere, and on a veth with --stun
    #[arg(long, value_name = "MODE", default_value = "auto")]
    xdp: XdpChoice,
    /// Attach to the clsact qdisc even where there is tcx
    #[arg(long, hide = true)]
    clsact: bool,
}

/// What `--xdp` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum XdpChoice {
    Auto,
    Native,
    Generic,
}

impl XdpChoice {
    const fn mode(self) -> Option<XdpMode> {
        match self {
            Self::Auto => None,
            Self::Native => Some(XdpMode::Native),
            Self::Generic => Some(XdpMode::Generic),
        }
    }
}

/// Arguments of `sipnat stun-query`.
#[derive(Debug, Args)]
pub struct StunQuery {
    /// Whom to ask; port 3478 unless said otherwise
    #[arg(value_name = "HOST[:PORT]", value_parser = server)]
    server: Server,
    /// Ask by IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Ask by IPv6 only
    #[arg(short = '6')]
    ipv6: bool,
    /// Ask from this UDP port
    #[arg(long, value_name = "PORT", value_parser = port)]
    local_port: Option<u16>,
    /// Ask as RFC 3489 has it, as old phones do
    #[arg(long)]
    rfc3489: bool,
    /// How long to wait for an answer; requests are repeated meanwhile (RFC 8489 6.2.1)
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "10",
        value_parser = clap::value_parser!(u64).range(1..=40)
    )]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl From<StunQuery> for stun_query::Options {
    fn from(query: StunQuery) -> Self {
        Self {
            server: query.server,
            family: match (query.ipv4, query.ipv6) {
                (true, _) => Some(Family::V4),
                (_, true) => Some(Family::V6),
                _ => None,
            },
            local_port: query.local_port.unwrap_or(0),
            rfc3489: query.rfc3489,
            patience: Duration::from_secs(query.timeout),
            json: query.json,
        }
    }
}

fn server(text: &str) -> Result<Server, &'static str> {
    text.parse()
}

/// Subcommands of `sipnat bindings`.
#[derive(Debug, Subcommand)]
pub enum Bindings {
    /// List all
    #[command(after_help = "Example:\n  sipnat bindings list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one in full
    #[command(
        after_help = "Examples:\n  sipnat bindings show 7fc59d9c\n  sipnat bindings show 60.17.196.2"
    )]
    Show {
        /// The start of its id, user@host, user, host, or an address
        binding: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List all, again each second
    #[command(after_help = "Example:\n  sipnat bindings watch")]
    Watch,
    /// Forget one
    #[command(after_help = "Example:\n  sipnat bindings remove 7fc59d9c")]
    Remove {
        /// As for `show`
        binding: String,
    },
}

/// Subcommands of `sipnat policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List all rules; the longest prefix decides
    #[command(after_help = "Example:\n  sipnat policy list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make or change a rule
    #[command(
        after_help = "Examples:\n  sipnat policy set 198.51.100.0/24 off\n  sipnat policy set default force"
    )]
    Set {
        /// A network such as 10.0.0.0/8, an address, or `default`
        #[arg(value_parser = prefix)]
        prefix: Prefix,
        /// auto, force or off
        #[arg(value_parser = policy)]
        policy: Policy,
    },
    /// Remove a rule
    #[command(after_help = "Example:\n  sipnat policy remove 198.51.100.0/24")]
    Remove {
        /// As in `list`
        #[arg(value_parser = prefix)]
        prefix: Prefix,
    },
}

impl From<Run> for run::Options {
    fn from(run: Run) -> Self {
        let mut ports = run.ports;
        let mut seen = Vec::new();
        ports.retain(|port| {
            !seen.contains(port) && {
                seen.push(*port);
                true
            }
        });
        let stun = run.stun.then(|| Stun {
            port: Some(run.stun_port).filter(|port| *port != 0 && !ports.contains(port)),
            rate: run.stun_rate,
            burst: run.stun_burst,
            software: run.stun_software,
        });
        Self {
            interfaces: run.interfaces,
            ports,
            policy: run.policy,
            shadow: run.shadow,
            stun,
            keep: run.keep,
            object: run.bpf_object,
            verifier_log: run.verifier_log,
            xdp: run.xdp.mode(),
            clsact: run.clsact,
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("a port is a number from 1 to 65535".into()),
    }
}

fn port_or_none(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "a port is a number from 1 to 65535; 0 is none".into())
}

fn policy(text: &str) -> Result<Policy, String> {
    [Policy::Auto, Policy::Force, Policy::Off]
        .into_iter()
        .find(|policy| policy.name() == text)
        .ok_or_else(|| "a policy is auto, force or off".into())
}

fn prefix(text: &str) -> Result<Prefix, String> {
    text.parse().map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn run(line: &str) -> run::Options {
        match parse(line).unwrap().command {
            Command::Run(run) => run.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_has_defaults() {
        let options = run("sipnat run --iface eth0");
        assert_eq!(options.interfaces, ["eth0"]);
        assert_eq!(options.ports, [5060]);
        assert_eq!(options.policy, Policy::Auto);
        assert!(!options.keep && !options.shadow);
        assert!(run("sipnat run --iface eth0 --shadow").shadow);
    }

    #[test]
    fn run_takes_several() {
        let options =
            run("sipnat run --iface a --iface b --port 5060 --port 5080 --port 5060 --policy off");
        assert_eq!(options.interfaces, ["a", "b"]);
        assert_eq!(options.ports, [5060, 5080]);
        assert_eq!(options.policy, Policy::Off);
    }

    #[test]
    fn stun_is_off_unless_asked_for() {
        assert_eq!(run("sipnat run --iface eth0").stun, None);
        assert_eq!(
            run("sipnat run --iface eth0 --stun").stun,
            Some(Stun::default())
        );
        let stun = run(
            "sipnat run --iface eth0 --stun --stun-port 3479 --stun-rate 0 --stun-burst 1 --stun-software",
        );
        let told = Stun {
            port: Some(3479),
            rate: 0,
            burst: 1,
            software: true,
        };
        assert_eq!(stun.stun, Some(told));
        for option in [
            "--stun-port 3479",
            "--stun-rate 5",
            "--stun-burst 5",
            "--stun-software",
        ] {
            let error = parse(&format!("sipnat run --iface eth0 {option}")).unwrap_err();
            assert!(error.to_string().contains("--stun"), "{option}: {error}");
        }
        for wrong in ["port 65536", "rate -1", "burst 0"] {
            let line = format!("sipnat run --iface eth0 --stun --stun-{wrong}");
            assert!(parse(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn only_the_sip_ports_answer_stun_where_no_other_is_named() {
        for ports in ["--stun-port 0", "--stun-port 5060", "--port 3478"] {
            let stun = run(&format!("sipnat run --iface eth0 --stun {ports}")).stun;
            assert_eq!(stun.map(|stun| stun.port), Some(None), "{ports}");
        }
    }

    #[test]
    fn ports_out_of_range_are_explained() {
        for port in ["0", "65536", "-1", "sip", ""] {
            let error = parse(&format!("sipnat run --iface eth0 --port={port}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(
                text.contains("a port is a number from 1 to 65535"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_interface_is_needed() {
        let text = parse("sipnat run").unwrap_err().to_string();
        assert!(text.contains("--iface <INTERFACE>"), "{text}");
    }

    #[test]
    fn lists_are_the_default_and_take_json() {
        for line in [
            "bindings",
            "bindings --json",
            "bindings list --json",
            "policy",
            "policy list --json",
        ] {
            assert!(parse(&format!("sipnat {line}")).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_call_id_may_look_like_an_option() {
        for line in ["-1@a", "-1@a --json", "--json --1@a", "--json 1@a"] {
            match parse(&format!("sipnat explain {line}")).unwrap().command {
                Command::Explain { call_id, json } => {
                    assert_eq!(json, line.contains("json"), "{line}");
                    assert!(call_id.ends_with("1@a"), "{line}: {call_id}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_stun_query_has_defaults_and_bounds() {
        let query = |line: &str| match parse(line).map(|cli| cli.command) {
            Ok(Command::StunQuery(query)) => Ok(stun_query::Options::from(query)),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        let plain = query("sipnat stun-query a").unwrap();
        assert_eq!(plain.server, "a:3478".parse().unwrap());
        assert_eq!((plain.family, plain.local_port), (None, 0));
        assert_eq!((plain.patience.as_secs(), plain.rfc3489), (10, false));
        let line = "sipnat stun-query [::1]:5060 -6 --local-port 5060 --rfc3489 --timeout 3";
        let full = query(line).unwrap();
        assert_eq!((full.family, full.local_port), (Some(Family::V6), 5060));
        assert_eq!((full.patience.as_secs(), full.rfc3489), (3, true));
        for wrong in ["a:b", "a -4 -6", "a --timeout 0", "a --timeout 41"] {
            assert!(
                query(&format!("sipnat stun-query {wrong}")).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn policies_and_prefixes_are_checked() {
        assert!(parse("sipnat policy set 10.0.0.0/8 off").is_ok());
        assert!(parse("sipnat policy set default force").is_ok());
        assert!(parse("sipnat policy set 10.0.0.0/40 off").is_err());
        assert!(parse("sipnat policy set 10.0.0.0/8 never").is_err());
    }
}
