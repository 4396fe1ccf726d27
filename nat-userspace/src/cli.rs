//! The command line.

use std::{future::Future, os::unix::net::UnixStream};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::commands::{
    bindings::Bindings, detach::Detach, doctor::Doctor, explain::Explain, guard::GuardArgs,
    media::Media, policy::PolicyArgs, reload, replay::Replay, run, stats::Stats,
    status::StatusArgs, stun_query::StunQuery, top,
};

const AFTER_HELP: &str = "\
Examples:
  sipnat run --iface eth0                     redirect packets for terminals behind NAT; port 5060
  sipnat run --iface eth0 --iface eth1 --port 5060 --port 5080
  sipnat bindings list                        the known terminals, and their learned addresses
  sipnat policy set 198.51.100.0/24 off       do not redirect to these learned addresses
  sipnat stats                                why packets were redirected or left alone
  sipnat top                                  a live view
  sipnat explain 1-4711@192.168.1.10          the same for one call, packet by packet
  sipnat explain --last                       the last requests that were not redirected
  sipnat replay calls.pcap                    the same for the calls of a capture, on any machine
  sipnat stun-query pbx.example.com           the address that NAT gives to packets from here

Every command except `replay` and `stun-query` is for its own network namespace, which has at most one agent.
RUST_LOG=info|debug|trace makes the agent and the kernel programs log their work.

Exit status: 0 success, 1 failure, 2 wrong usage, 3 no agent is running.";

/// Makes SIP phones behind NAT reachable for a PBX that knows nothing about NAT.
#[derive(Debug, Parser)]
#[command(name = "sipnat", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground; it attaches the programs, and without --keep detaches them when it ends
    #[command(
        after_help = "Examples:\n  sipnat run --iface eth0\n  sipnat run --iface eth0 --port 5060 --port 5080 --policy off\n  sipnat run --iface eth0 --stun        answer STUN requests of phones as well\n  sipnat run --iface eth0 --shadow      decide and count, but redirect nothing\n  sipnat run --config sipnat.toml --policy off\n\nA configuration file has the long options as keys:\n  iface = [\"eth0\", \"eth1\"]\n  port = [5060, 5080]\n  keep = true\nOptions of the command line override it: --keep=false. `sipnat reload` applies changes of the file."
    )]
    Run(Box<run::Run>),
    /// Have the agent read its configuration file again
    ///
    /// The programs stay attached. policy, registrar, peer, settle, dialog-idle, dialog-early, shadow, keep and the options of STUN and of media change at once;
    /// stun can only be switched off, and media not at all. The others need a restart of the agent, and stay as they are until then. If the file
    /// is wrong, nothing changes. SIGHUP to the agent does the same.
    #[command(
        after_help = "Example:\n  sipnat reload\n\nExit status: 0 reloaded, 1 failure, such as a wrong file, 3 no agent is running."
    )]
    Reload,
    /// Show the known terminals; the default subcommand is `list`
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  sipnat bindings\n  sipnat bindings show 1000@pbx.example.com\n  sipnat bindings list --json"
    )]
    Bindings(Bindings),
    /// Show or change the rules for packets to terminals; the default subcommand is `list`
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  sipnat policy\n  sipnat policy set 198.51.100.0/24 off\n  sipnat policy remove 198.51.100.0/24"
    )]
    Policy(PolicyArgs),
    /// Show how many packets were passed, learned from, redirected or left alone, with the reasons
    #[command(after_help = "Examples:\n  sipnat stats\n  sipnat stats --all --json")]
    Stats(Stats),
    /// Show the streams of media whose sources sipnat learns; the default subcommand is `list`
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  sipnat media\n  sipnat media show 1000@pbx.example.com\n  sipnat media list --json"
    )]
    Media(Media),
    /// Show or change the rules for packets of strangers to the ports of streams; the default subcommand is `list`
    ///
    /// The address of the terminal's SIP selects the rule. `off` lets strangers pass, `count` counts what `drop` would drop, and
    /// `drop` drops packets that come from neither that address nor the one in the terminal's SDP. It does so only after the terminal's
    /// own packets have come, and not beyond half a minute of their silence. STUN and calls that are being set up are left alone.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  sipnat guard\n  sipnat guard set default count\n  sipnat guard set 198.51.100.0/24 drop\n  sipnat guard remove 198.51.100.0/24"
    )]
    Guard(GuardArgs),
    /// Show one call, terminal or address, or the last requests that were not redirected, packet by packet, with the reasons
    ///
    /// Shows messages of the PBX, and answers to them. A request of a terminal shows only by the PBX's answer. sipnat
    /// keeps the newest messages of all calls.
    #[command(
        after_help = "Examples:\n  sipnat explain 1-4711@192.168.1.10\n  sipnat explain 1000                 a terminal, by its user\n  sipnat explain 60.17.196.2          what the PBX sent to that host, and to terminals behind it\n  sipnat explain --last 50            the last requests that sipnat did not redirect, with the reason\n  sipnat explain 1-4711@192.168.1.10 --json"
    )]
    Explain(Explain),
    /// Show what sipnat would make of a capture, call by call: what it learns, redirects and leaves alone, and why
    ///
    /// Runs the kernel programs of `run` over the packets, with the options of `run` that decide, and at the times of the capture.
    /// It touches no interface, and knows nothing of an agent that runs here. It needs root, as loading programs does. Make the
    /// capture on the PBX's own interface, while sipnat does not run there: `tcpdump -i eth0 -s 0 -w calls.pcap udp`.
    #[command(
        after_help = "Examples:\n  sipnat replay calls.pcap\n  sipnat replay calls.pcap --pbx 203.0.113.10 --on-link 203.0.113.0/24\n  sipnat replay calls.pcap --pbx 203.0.113.10:5080 --policy force --write redirected.pcap\n  sipnat replay calls.pcap --config /etc/sipnat/sipnat.toml --json\n\nExit status: 0 replayed, 1 failure, such as a broken file, 2 wrong usage."
    )]
    Replay(Box<Replay>),
    /// Show the agent, its programs, the fill of its tables, and warnings
    #[command(after_help = "Example:\n  sipnat status --json")]
    Status(StatusArgs),
    /// Examine this host: what can keep sipnat from working here, why it matters, and what to do
    ///
    /// Takes the options of `run`, and the configuration file. It changes nothing. It also says in which place sipnat is: on the
    /// PBX's machine, or on a router, a NAT or a bridge in front of it.
    #[command(
        after_help = "Examples:\n  sipnat doctor --iface eth0\n  sipnat doctor --iface eth0 --pbx 203.0.113.10 --json\n\nExit status: 0 no failure, 1 a failure, 2 wrong usage."
    )]
    Doctor(Box<Doctor>),
    /// Ask a STUN server for the address and port that NAT gives to packets from here
    ///
    /// Needs neither agent nor root. Run it in a phone's network to see the phone's mapping.
    #[command(
        after_help = "Examples:\n  sipnat stun-query pbx.example.com\n  sipnat stun-query pbx.example.com:5060 --local-port 5060   from the port of a phone that is switched off\n  sipnat stun-query [2001:db8::1]:3478 --json\n\nExit status: 0 answered, 1 no answer or an error, 2 wrong usage."
    )]
    StunQuery(StunQuery),
    /// Show packets, bindings and recent redirects on the whole screen, again each second
    ///
    /// `q` ends it. `/` searches as `explain` does: for a user, user@host, Contact URI, address or Call-ID, and shows its bindings
    /// and its last packets. Esc shows all redirects again.
    #[command(after_help = "Example:\n  sipnat top")]
    Top(top::Top),
    /// End the agent, and remove the programs, pins and qdiscs of this and earlier agents
    #[command(
        after_help = "Examples:\n  sipnat detach\n  sipnat detach --force    also if the agent is stuck"
    )]
    Detach(Detach),
}

impl Command {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// As the command says.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Run(args) => wait_for(args.run()),
            Self::Reload => wait_for(reload::run()),
            Self::Detach(args) => wait_for(args.run()),
            Self::Bindings(args) => wait_for(args.run()),
            Self::Policy(args) => args.run(),
            Self::Stats(args) => args.run(),
            Self::Media(args) => args.run(),
            Self::Guard(args) => args.run(),
            Self::Explain(args) => args.run(),
            Self::Replay(args) => args.run(),
            Self::Status(args) => wait_for(args.run()),
            Self::Doctor(args) => wait_for(args.run()),
            Self::StunQuery(args) => args.run(),
            Self::Top(args) => wait_for(args.run()),
        }
    }
}

/// Runs `work` on this one thread: the agent must stay in the network namespace in which it was started.
fn wait_for(work: impl Future<Output = Result<()>>) -> Result<()> {
    // tokio panics where it cannot open the sockets by which signals wake it. It opens six files in all.
    for pair in [(); 3].map(|()| UnixStream::pair()) {
        pair.context("cannot start the runtime")?;
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use nat_common::abi::Policy;

    use super::*;
    use crate::{
        commands::{options::Options, run::Usage},
        config,
        kernel::config::config as kernel_config,
        settings::{Settings, Stun},
    };

    /// Returns the settings of a command line over a file.
    fn over(line: &str, file: Options) -> Result<Settings> {
        match parse(line)?.command {
            Command::Run(args) => args.over(file),
            other => panic!("{other:?}"),
        }
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn run(line: &str) -> Settings {
        over(line, Options::default()).unwrap()
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
    fn registrars_and_peers_are_prefixes() {
        let settings = run(
            "sipnat run --iface a --registrar 192.0.2.1 --peer 10.0.0.0/8 --peer fd00::/8 --settle 0",
        );
        let shown =
            |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&settings.registrars), ["192.0.2.1/32"]);
        assert_eq!(shown(&settings.peers), ["10.0.0.0/8", "fd00::/8"]);
        assert_eq!(settings.settle, 0);
        for (option, word) in [
            ("--registrar=192.0.2.1:5060", "without a port"),
            ("--peer=default", "name an address, or a prefix"),
            ("--peer=0.0.0.0/0", "every host"),
            ("--settle=1h", "whole number of seconds"),
            ("--dialog-idle=60", "from 1800 to 604800"),
            ("--dialog-early=4000", "from 180 to 3600"),
        ] {
            let error = parse(&format!("sipnat run --iface a {option}")).unwrap_err();
            assert!(error.to_string().contains(word), "{option}: {error}");
        }
    }

    #[test]
    fn stun_is_off_unless_asked_for() {
        assert_eq!(run("sipnat run --iface eth0").stun, Stun::default());
        assert!(!Stun::default().answer);
        let answer = Stun {
            answer: true,
            ..Stun::default()
        };
        assert_eq!(run("sipnat run --iface eth0 --stun").stun, answer);
        let stun = run(
            "sipnat run --iface eth0 --stun --stun-port 3479 --stun-rate 0 --stun-burst 1 --stun-total-rate 7 --stun-software",
        );
        let told = Stun {
            answer: true,
            port: 3479,
            rate: 0,
            burst: 1,
            total_rate: 7,
            software: true,
        };
        assert_eq!(stun.stun, told);
        for option in [
            "--stun-port 3479",
            "--stun-rate 5",
            "--stun-burst 5",
            "--stun-total-rate 5",
            "--stun-software",
        ] {
            let line = format!("sipnat run --iface eth0 {option}");
            let error = over(&line, Options::default()).unwrap_err();
            assert!(error.is::<Usage>(), "{option}: {error}");
            assert!(error.to_string().ends_with("without --stun"), "{error}");
        }
        for option in [
            "--media-ports 4000-20000",
            "--external 192.0.2.9",
            "--size-media 65536",
            "--size-media-offers 1024",
        ] {
            let line = format!("sipnat run --iface eth0 {option}");
            let error = over(&line, Options::default()).unwrap_err();
            assert!(error.to_string().ends_with("without --media"), "{error}");
            run(&format!("{line} --media"));
        }
        let many = "--external 192.0.2.9 ".repeat(5);
        let line = format!("sipnat run --iface eth0 --media {many}");
        let error = over(line.trim(), Options::default()).unwrap_err();
        assert!(error.to_string().contains("more than four"), "{error}");
        assert!(parse("sipnat run --iface eth0 --media --external pbx").is_err());
        for wrong in ["5000", "5000-4000", "0-5000", "5000-65536", "-"] {
            let line = format!("sipnat run --iface eth0 --media --media-ports={wrong}");
            assert!(parse(&line).is_err(), "{line}");
        }
        for wrong in ["port 65536", "rate -1", "burst 0", "total-rate -1"] {
            let line = format!("sipnat run --iface eth0 --stun --stun-{wrong}");
            assert!(parse(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn metrics_are_off_unless_an_address_is_named() {
        let settings = run("sipnat run --iface eth0");
        assert_eq!((settings.metrics, settings.metrics_run_time), (None, false));
        for address in ["127.0.0.1:9060", "[::1]:9060"] {
            let settings = run(&format!("sipnat run --iface eth0 --metrics {address}"));
            assert_eq!(settings.metrics, address.parse().ok());
        }
        let line = "sipnat run --iface eth0 --metrics-run-time";
        let error = over(line, Options::default()).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().ends_with("without --metrics"));
        assert!(run(&format!("{line} --metrics [::1]:9060")).metrics_run_time);
        for wrong in ["9060", ":9060", "localhost:9060", "127.0.0.1", "::1:9060"] {
            let line = format!("sipnat run --iface eth0 --metrics={wrong}");
            let error = parse(&line).unwrap_err().to_string();
            assert!(error.contains("such as 127.0.0.1:9060"), "{error}");
        }
    }

    #[test]
    fn only_the_sip_ports_answer_stun_where_no_other_is_named() {
        for ports in ["--stun-port 0", "--stun-port 5060", "--port 3478"] {
            let settings = run(&format!("sipnat run --iface eth0 --stun {ports}"));
            assert_eq!(kernel_config(&settings).unwrap().stun_port, 0, "{ports}");
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
        let error = over("sipnat run", Options::default()).unwrap_err();
        assert!(error.is::<Usage>());
        assert!(error.to_string().contains("--iface <INTERFACE>"), "{error}");
    }

    #[test]
    fn lists_are_the_default_and_take_json() {
        for line in [
            "bindings",
            "bindings --json",
            "bindings list --json",
            "policy",
            "policy list --json",
            "guard",
            "guard list --json",
        ] {
            assert!(parse(&format!("sipnat {line}")).is_ok(), "{line}");
        }
    }

    #[test]
    fn explain_takes_a_subject_or_the_last_requests() {
        for (line, expected) in [
            ("sipnat explain --last", Some(20)),
            ("sipnat explain --last 5 --json", Some(5)),
            ("sipnat explain --last=7", Some(7)),
            ("sipnat explain 1@a", None),
        ] {
            let Command::Explain(explain) = parse(line).unwrap().command else {
                panic!("{line}");
            };
            assert_eq!(explain.last, expected, "{line}");
        }
        for line in ["sipnat explain", "sipnat explain 1@a --last"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_call_id_may_look_like_an_option() {
        for line in ["-1@a", "-1@a --json", "--json --1@a", "--json 1@a"] {
            match parse(&format!("sipnat explain {line}")).unwrap().command {
                Command::Explain(Explain {
                    subject,
                    last,
                    json,
                }) => {
                    assert_eq!(json, line.contains("json"), "{line}");
                    assert!(subject.is_some_and(|it| it.ends_with("1@a")), "{line}");
                    assert_eq!(last, None, "{line}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn policies_and_prefixes_are_checked() {
        assert!(parse("sipnat policy set 10.0.0.0/8 off").is_ok());
        assert!(parse("sipnat policy set default force").is_ok());
        assert!(parse("sipnat policy set 10.0.0.0/40 off").is_err());
        assert!(parse("sipnat policy set 10.0.0.0/8 never").is_err());
        assert!(parse("sipnat guard set 2001:db8::/32 drop").is_ok());
        assert!(parse("sipnat guard set default count").is_ok());
        assert!(parse("sipnat guard set default force").is_err());
    }

    #[test]
    fn help_tells_the_defaults() {
        let settings = Settings::default();
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").unwrap();
        let help = run.render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for (flag, default) in [
            ("--port", settings.ports[0].to_string()),
            ("--policy", settings.policy.name().into()),
            ("--settle", settings.settle.to_string()),
            ("--dialog-idle", settings.dialogs.idle.to_string()),
            ("--dialog-early", settings.dialogs.early.to_string()),
            ("--stun-port", settings.stun.port.to_string()),
            ("--stun-rate", settings.stun.rate.to_string()),
            ("--stun-burst", settings.stun.burst.to_string()),
            ("--stun-total-rate", settings.stun.total_rate.to_string()),
            (
                "--media-ports",
                settings.media_ports.map(|port| port.to_string()).join("-"),
            ),
            ("--media-guard", settings.guard.name().into()),
            ("--xdp", "auto".into()),
        ] {
            let start = help.find(&format!(" {flag} <")).unwrap();
            let (_, told) = help[start..].split_once("[default: ").unwrap();
            assert!(told.starts_with(&format!("{default}]")), "{flag}: {told}");
        }
    }

    /// Returns the options of a configuration file.
    fn file(text: &str) -> Options {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        config::read(file.path()).unwrap()
    }

    #[test]
    fn flags_override_the_file_and_nothing_else() {
        let text = "port = 5080\npolicy = 'off'\nkeep = true\nshadow = true\npeer = '10.0.0.0/8'\n";
        let line = "sipnat run --iface eth0 --policy force --shadow=false";
        let settings = over(line, file(text)).unwrap();
        let expected = Settings {
            interfaces: vec!["eth0".into()],
            ports: vec![5080],
            policy: Policy::Force,
            keep: true,
            peers: vec!["10.0.0.0/8".parse().unwrap()],
            ..Settings::default()
        };
        assert_eq!(settings, expected);
        let with_stun = "iface = 'eth0'\nstun = true\n";
        let settings = over("sipnat run --stun-rate 5", file(with_stun)).unwrap();
        assert_eq!(settings.stun.rate, 5);
        let error = over("sipnat run --shadow", file(with_stun)).unwrap_err();
        assert!(error.to_string().contains("exclude each other"), "{error}");
        assert!(over("sipnat run --shadow --stun=false", file(with_stun)).is_ok());
    }

    #[test]
    fn the_packaged_file_shows_every_default() {
        // The package makes its group; this host may have none of that name.
        let text = include_str!("../../packaging/sipnat.toml").replace("\"sipnat\"", "\"root\"");
        let settings = over("sipnat run --iface eth0", file(&text)).unwrap();
        let expected = Settings {
            interfaces: vec!["eth0".into()],
            readers: Some(0),
            keep: true,
            ..Settings::default()
        };
        assert_eq!(settings, expected);
        // Without their `#`, the keys say what holds without them; these two have an example.
        let all = text.replace("\n#", "\n").replace("\n ", "\n# ");
        let settings = over("sipnat run", file(&all)).unwrap();
        assert_eq!(settings.differences(&expected), ["metrics", "bpf-object"]);
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").unwrap();
        for option in run.get_arguments().filter(|option| !option.is_hide_set()) {
            let name = option.get_long().unwrap();
            assert!(
                name == "config" || text.contains(&format!("{name} = ")),
                "{name}"
            );
        }
    }

    #[test]
    fn the_file_takes_every_option() {
        let text = "iface = ['a', 'b']\nwait = true\nport = [5060, 5080]\npbx = ['192.0.2.5', 'fd00::5']\npolicy = 'off'\nregistrar = ['192.0.2.1']\n\
                    peer = ['10.0.0.0/8', 'fd00::/8']\nsettle = 0\ndialog-idle = 7200\ndialog-early = 240\nshadow = false\nstun = true\nstun-port = 3479\n\
                    stun-rate = 0\nstun-burst = 1\nstun-total-rate = 7\nstun-software = true\nmedia = true\nmedia-ports = '1-9'\nmedia-guard = 'drop'\nmedia-restore = true\nmedia-guess = ['192.0.2.0/24']\nexternal = ['192.0.2.9']\n\
                    keepalive = ['options', '192.0.2.0/24=crlf']\nkeepalive-interval = 20\nkeepalive-misses = 4\n\
                    metrics = '127.0.0.1:9060'\nmetrics-run-time = true\ngroup = 'root'\nkeep = true\n\
                    bpf-object = '/a.o'\nverifier-log = true\nxdp = 'generic'\nclsact = true\nsize-bindings = 2000\n\
                    size-transactions = 3000\nsize-pending = 4000\nsize-proofs = 5000\nsize-fragments = 6000\n\
                    size-history = 7000\nsize-stun-limits = 8000\nsize-stun-sources = 9000\n\
                    size-media-offers = 10000\nsize-media = 100000\nsize-keepalives = 11000\n";
        let flags = "sipnat run --iface a --iface b --wait --port 5060 --port 5080 --pbx 192.0.2.5 --pbx fd00::5 --policy off --registrar 192.0.2.1 \
                     --peer 10.0.0.0/8 --peer fd00::/8 --settle 0 --dialog-idle 7200 --dialog-early 240 --stun --stun-port 3479 --stun-rate 0 --stun-burst 1 \
                     --stun-total-rate 7 --stun-software --media --media-ports 1-9 --media-guard drop --media-restore --media-guess 192.0.2.0/24 --external 192.0.2.9 \
                     --keepalive options --keepalive 192.0.2.0/24=crlf --keepalive-interval 20 --keepalive-misses 4 \
                     --metrics 127.0.0.1:9060 --metrics-run-time --group root --keep --bpf-object /a.o --verifier-log --xdp generic --clsact \
                     --size-bindings 2000 --size-transactions 3000 --size-pending 4000 --size-proofs 5000 \
                     --size-fragments 6000 --size-history 7000 --size-stun-limits 8000 --size-stun-sources 9000 \
                     --size-media-offers 10000 --size-media 100000 --size-keepalives 11000";
        assert_eq!(over("sipnat run", file(text)).unwrap(), run(flags));
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").unwrap();
        for name in run.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(
                name == "config" || text.contains(&format!("{name} = ")),
                "{name}"
            );
        }
    }
}
