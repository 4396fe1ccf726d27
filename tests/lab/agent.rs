//! The agent by itself: that it attaches, says what it did, refuses what it must, and leaves nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use nat_common::abi::{Binding, DialogKey, SECOND, flag};
use nat_common::endpoint::Endpoint;
use nat_tests::{
    loops::{HAS_MAY_GOTO, TAKES_MAY_GOTO},
    netns::{Netns, NetnsFamily},
    process::Process,
    sipnat,
};
use nat_userspace::{checks::preflight::Kernel, host::clock, kernel::tables::Tables};
use nix::sys::signal::Signal;
use serde_json::Value;

const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(15);

/// A host with `eth0`, and `eth1` beside it.
struct Host {
    netns: Netns,
    _peer: Netns,
}

impl Host {
    fn new() -> Result<Self> {
        let family = NetnsFamily::next()?;
        let host = family.make("host")?;
        let peer = family.make("peer")?;
        for (interface, net) in [("eth0", "203.0.113"), ("eth1", "198.51.100")] {
            let lines = format!(
                "link add {interface} type veth peer name {interface} netns {}\n\
                 address add {net}.10/24 dev {interface}\n\
                 link set {interface} up\n",
                peer.name()
            );
            host.ip(&lines)?;
            peer.ip(&format!("link set {interface} up"))?;
        }
        Ok(Self {
            netns: host,
            _peer: peer,
        })
    }

    /// Starts the agent and waits until it is ready.
    fn run(&self, args: &[&str]) -> Result<Process> {
        let mut command = Command::new(sipnat::binary()?);
        command.arg("run").args(args);
        self.start(&mut command)
    }

    fn start(&self, command: &mut Command) -> Result<Process> {
        let mut process = Process::spawn(&self.netns, command, tempfile::tempdir()?)?;
        process.wait_until("ready line", START, |process| {
            process.output().contains("sipnat: ready on ")
        })?;
        Ok(process)
    }

    /// Runs a command of sipnat to its end.
    fn sipnat(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(sipnat::binary()?);
        Ok(self.netns.enter(|| command.args(args).output())??)
    }

    /// Runs one that must succeed.
    fn ask(&self, args: &[&str]) -> Result<String> {
        let output = self.sipnat(args)?;
        ensure!(output.status.success(), "{args:?}: {}", stderr(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(args)?)?)
    }

    /// Runs one that must fail with `code` and say all of `words`.
    fn refused(&self, args: &[&str], code: i32, words: &[&str]) -> Result<()> {
        let output = self.sipnat(args)?;
        let text = stderr(&output);
        ensure!(
            output.status.code() == Some(code),
            "{args:?}: {}: {text}",
            output.status
        );
        for word in words {
            ensure!(text.contains(word), "{args:?}: no `{word}` in: {text}");
        }
        ensure!(!text.contains("backtrace"), "{text}");
        Ok(())
    }

    fn inode(&self) -> Result<u64> {
        Ok(fs::metadata(self.netns.path())?.ino())
    }

    fn pins(&self) -> Result<PathBuf> {
        Ok(format!("/sys/fs/bpf/sipnat/{}", self.inode()?).into())
    }

    fn state_file(&self) -> Result<PathBuf> {
        Ok(format!("/run/sipnat/{}.json", self.inode()?).into())
    }

    /// The ids of the programs in place.
    fn programs(&self) -> Result<Vec<u64>> {
        let status = self.json(&["status", "--json"])?;
        let programs = status["programs"].as_array().context("programs")?;
        Ok(programs
            .iter()
            .filter_map(|program| program["id"].as_u64())
            .collect())
    }

    /// Fails unless nothing is left: no pin, no state file, no qdisc, none of `programs`.
    fn is_clean(&self, programs: &[u64]) -> Result<()> {
        ensure!(!self.pins()?.exists(), "pins are left");
        ensure!(!self.state_file()?.exists(), "a state file is left");
        for interface in ["eth0", "eth1"] {
            let link = self
                .netns
                .run(Command::new("ip").args(["link", "show", interface]), "")?;
            ensure!(!link.contains("xdp"), "{link}");
        }
        ensure!(!self.qdiscs()?.contains("clsact"), "a qdisc is left");
        ensure!(programs.len() == 2, "{programs:?}");
        // The kernel frees programs a little after their last user has gone.
        let deadline = Instant::now() + STOP;
        loop {
            let left: Vec<u64> = loaded_programs()
                .filter_map(Result::ok)
                .map(|program| program.id().into())
                .filter(|id| programs.contains(id))
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "programs {left:?} are left");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn qdiscs(&self) -> Result<String> {
        self.netns
            .run(Command::new("tc").args(["qdisc", "show"]), "")
    }
}

/// How the egress program is attached on this kernel.
fn tc() -> Result<&'static str> {
    /// The first that has tcx.
    const TCX: Kernel = Kernel(6, 6);
    Ok(if Kernel::running()? < TCX {
        "clsact"
    } else {
        "tcx"
    })
}

/// How the programs may loop on this kernel.
fn loops() -> Result<&'static [&'static str]> {
    let kernel = Kernel::running()?;
    Ok(if kernel < HAS_MAY_GOTO {
        &["loops by bpf_loop"]
    } else if kernel < TAKES_MAY_GOTO {
        &["loops by bpf_loop", "loops by may_goto"]
    } else {
        &["loops by may_goto"]
    })
}

/// Ends an agent, which must end well.
fn stop(mut agent: Process, signal: Signal) -> Result<String> {
    agent.signal(signal)?;
    let status = agent.wait(STOP)?;
    ensure!(status.success(), "{status}: {}", agent.output());
    Ok(agent.output())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ON_ETH0: [&str; 2] = ["--iface", "eth0"];

#[test]
fn ready_line_then_nothing_is_left() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let host = Host::new()?;
        let agent = host.run(&ON_ETH0)?;
        let programs = host.programs()?;
        let output = stop(agent, signal)?;
        let tc = tc()?;
        assert_eq!(
            output,
            format!("sipnat: ready on eth0 (xdp native, {tc})\n")
        );
        host.is_clean(&programs)?;
    }
    Ok(())
}

#[test]
fn one_agent_serves_several_interfaces() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&["--iface", "eth0", "--iface", "eth1", "--port", "5080"])?;
    let programs = host.programs()?;
    let status = host.ask(&["status"])?;
    let tc = tc()?;
    assert!(
        status.contains(&format!("eth0 (xdp native, {tc}), eth1 (xdp native, {tc})")),
        "{status}"
    );
    let both = |loops: &&str| status.matches(loops).count() == 2;
    assert!(loops()?.iter().any(both), "{status}");
    assert!(status.contains("5080"), "{status}");
    stop(agent, Signal::SIGTERM)?;
    host.is_clean(&programs)
}

#[test]
fn a_driver_without_native_xdp_gets_generic() -> Result<()> {
    let host = Host::new()?;
    host.netns
        .ip("link add br0 type bridge\nlink set br0 up\n")?;
    let agent = host.run(&["--iface", "br0"])?;
    let programs = host.programs()?;
    let output = stop(agent, Signal::SIGTERM)?;
    assert!(
        output.contains("br0 has no native XDP: using generic mode, slower"),
        "{output}"
    );
    let ready = format!("ready on br0 (xdp generic, {})", tc()?);
    assert!(output.contains(&ready), "{output}");
    host.is_clean(&programs)
}

#[test]
fn the_clsact_qdisc_goes_if_it_was_made() -> Result<()> {
    let host = Host::new()?;
    let args = ["--iface", "eth0", "--clsact"];
    let agent = host.run(&args)?;
    let programs = host.programs()?;
    assert!(host.qdiscs()?.contains("clsact"));
    let output = stop(agent, Signal::SIGTERM)?;
    assert!(output.contains("(xdp native, clsact)"), "{output}");
    host.is_clean(&programs)?;

    let tc = |args: &[&str]| host.netns.run(Command::new("tc").args(args), "");
    tc(&["qdisc", "add", "dev", "eth0", "clsact"])?;
    let agent = host.run(&args)?;
    assert!(tc(&["filter", "show", "dev", "eth0", "egress"])?.contains("egress"));
    stop(agent, Signal::SIGTERM)?;
    assert!(
        host.qdiscs()?.contains("clsact"),
        "another's qdisc was removed"
    );
    assert_eq!(tc(&["filter", "show", "dev", "eth0", "egress"])?, "");
    Ok(())
}

#[test]
fn the_clsact_qdisc_stays_for_others_filters() -> Result<()> {
    for hook in ["ingress", "egress"] {
        let host = Host::new()?;
        let agent = host.run(&["--iface", "eth0", "--clsact"])?;
        let tc = |args: &str| host.netns.run(Command::new("tc").args(args.split(' ')), "");
        // In a batch, since the bytecode (classic BPF that matches nothing) has blanks.
        let add =
            format!("filter add dev eth0 {hook} prio 7 bpf bytecode '1,6 0 0 0' flowid 1:1\n");
        host.netns
            .run(Command::new("tc").args(["-batch", "-"]), &add)?;
        stop(agent, Signal::SIGTERM)?;
        let left = tc(&format!("filter show dev eth0 {hook}"))?;
        assert!(left.contains("pref 7 bpf"), "{hook}: {left}");
        let ours = tc("filter show dev eth0 egress")?;
        assert!(!ours.contains("direct-action"), "{ours}");
    }
    Ok(())
}

#[test]
fn what_an_agent_of_a_dead_namespace_left_is_not_ours() -> Result<()> {
    let host = Host::new()?;
    let args = ["--iface", "eth0", "--clsact"];
    let kept = host.run(&["--iface", "eth0", "--clsact", "--keep"])?;
    stop(kept, Signal::SIGTERM)?;
    // As if this namespace had the inode of one that is gone: then the qdisc is somebody else's.
    let mut state: Value = serde_json::from_slice(&fs::read(host.state_file()?)?)?;
    let cookie = state["netns_cookie"].as_u64().context("no cookie")?;
    state["netns_cookie"] = (cookie + 1).into();
    fs::write(host.state_file()?, state.to_string())?;
    let tc = |args: &str| host.netns.run(Command::new("tc").args(args.split(' ')), "");
    tc("filter del dev eth0 egress")?;

    let words = ["no agent is running", "remove it with `sipnat detach`"];
    host.refused(&["bindings"], 1, &words)?;
    stop(host.run(&args)?, Signal::SIGTERM)?;
    assert!(host.qdiscs()?.contains("clsact"), "the qdisc was removed");
    assert!(!host.pins()?.exists() && !host.state_file()?.exists());
    Ok(())
}

#[test]
fn a_hang_up_ends_it_unless_that_is_ignored() -> Result<()> {
    let host = Host::new()?;
    // The tests themselves may run under nohup.
    for (launcher, ends) in [
        (&["env", "--default-signal=HUP"][..], true),
        (&["nohup"], false),
    ] {
        let mut command = Command::new(launcher[0]);
        command
            .args(&launcher[1..])
            .arg(sipnat::binary()?)
            .args(["run", "--iface", "eth0"])
            .env("RUST_LOG", "nat_userspace=info");
        let mut agent = host.start(&mut command)?;
        agent.signal(Signal::SIGHUP)?;
        if !ends {
            // It would have ended before it has answered this.
            host.ask(&["status"])?;
            agent.signal(Signal::SIGTERM)?;
        }
        assert!(agent.wait(STOP)?.success());
        let by = if ends { "SIGHUP" } else { "SIGTERM" };
        let output = agent.output();
        assert!(output.contains(&format!("{by}: ending")), "{output}");
    }
    Ok(())
}

#[test]
fn a_second_agent_is_refused() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    let pid = format!("pid {}", agent.pid());
    host.refused(
        &["run", "--iface", "eth0"],
        1,
        &["eth0 already has a sipnat agent", &pid],
    )?;
    let words = [
        "already has a sipnat agent, on eth0",
        "--iface eth0 --iface eth1",
        &pid,
    ];
    host.refused(&["run", "--iface", "eth1"], 1, &words)?;
    // The first one noticed nothing.
    host.ask(&["status"])?;
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn another_xdp_program_is_named_and_left_alone() -> Result<()> {
    let host = Host::new()?;
    stop(host.run(&["--iface", "eth0", "--keep"])?, Signal::SIGTERM)?;
    // Without its state file, and elsewhere, the program on eth0 is not this agent's.
    let ids = {
        let status = host.sipnat(&["status", "--json"])?;
        let status: Value = serde_json::from_slice(&status.stdout)?;
        format!("id {}", status["programs"][0]["id"])
    };
    let elsewhere = PathBuf::from(format!("/sys/fs/bpf/{}", host.netns.name()));
    fs::rename(host.pins()?, &elsewhere)?;
    fs::remove_file(host.state_file()?)?;
    let words = [
        "eth0 already has another XDP program",
        &ids,
        "`ingress",
        "ip link set dev eth0",
    ];
    let result = host.refused(&["run", "--iface", "eth0"], 1, &words);
    let link = host
        .netns
        .run(Command::new("ip").args(["link", "show", "eth0"]), "")?;
    fs::remove_dir_all(elsewhere)?;
    result?;
    assert!(link.contains("xdp"), "{link}");
    assert!(!host.pins()?.exists() && !host.state_file()?.exists());
    Ok(())
}

#[test]
fn wrong_interfaces_are_explained() -> Result<()> {
    let host = Host::new()?;
    let words = [
        "there is no interface eht0 (did you mean eth0?)",
        "there are lo, ",
        "eth1",
    ];
    host.refused(&["run", "--iface", "eht0"], 1, &words)?;
    host.netns.ip("tuntap add tun0 mode tun")?;
    host.refused(
        &["run", "--iface", "tun0"],
        1,
        &["not an Ethernet interface"],
    )
}

#[test]
fn wrong_ports_are_explained() -> Result<()> {
    let host = Host::new()?;
    for port in ["0", "65536", "sip"] {
        let args = ["run", "--iface", "eth0", "--port", port];
        host.refused(&args, 2, &["a port is a number from 1 to 65535"])?;
    }
    Ok(())
}

#[test]
fn missing_capabilities_are_named() -> Result<()> {
    let host = Host::new()?;
    let run = |caps: &str| {
        let mut command = Command::new("setpriv");
        command
            .args(["--inh-caps", caps, "--bounding-set", caps])
            .arg(sipnat::binary()?)
            .args(["run", "--iface", "eth0"]);
        let output = host.netns.enter(|| command.output())??;
        assert_eq!(output.status.code(), Some(1));
        Ok::<_, anyhow::Error>(stderr(&output))
    };
    let none = run("-all")?;
    for name in ["run as root", "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(none.contains(name), "{none}");
    }
    let one = run("-net_admin")?;
    assert!(
        one.contains("CAP_NET_ADMIN") && !one.contains("CAP_BPF"),
        "{one}"
    );
    Ok(())
}

#[test]
fn an_old_kernel_is_refused() -> Result<()> {
    let host = Host::new()?;
    // The kernel can pretend to be an old one.
    let mut command = Command::new("setarch");
    command
        .arg("--uname-2.6")
        .arg(sipnat::binary()?)
        .args(["run", "--iface", "eth0"]);
    let output = host.netns.enter(|| command.output())??;
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("this kernel is Linux 2.6; sipnat needs 6.1 or later"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_wrong_object_is_refused_and_nothing_is_left() -> Result<()> {
    let host = Host::new()?;
    let args = ["run", "--iface", "eth0", "--bpf-object", "/proc/version"];
    host.refused(&args, 1, &["/proc/version is not an ELF object"])?;
    assert!(!host.pins()?.exists() && !host.state_file()?.exists());
    Ok(())
}

#[test]
fn without_an_agent_the_commands_say_so() -> Result<()> {
    let host = Host::new()?;
    for command in [
        &["status"][..],
        &["stats"],
        &["stats", "--json"],
        &["bindings"],
        &["bindings", "list", "--json"],
        &["bindings", "show", "1000"],
        &["explain", "1@a"],
        &["policy", "list"],
        &["policy", "set", "default", "off"],
    ] {
        host.refused(
            command,
            3,
            &["no agent is running in this network namespace"],
        )?;
    }
    assert!(host.ask(&["detach"])?.contains("nothing to detach"));
    Ok(())
}

#[test]
fn what_was_kept_works_on_and_is_detached() -> Result<()> {
    let host = Host::new()?;
    for tc in ["tcx", "clsact"] {
        let mut args = vec!["--iface", "eth0", "--keep"];
        if tc == "clsact" {
            args.push("--clsact");
        }
        let agent = host.run(&args)?;
        let programs = host.programs()?;
        stop(agent, Signal::SIGTERM)?;
        host.refused(&["status"], 3, &["--keep left", "no agent is running"])?;
        assert!(host.ask(&["policy", "list"])?.contains("default"));
        assert!(host.ask(&["detach"])?.contains("detached from eth0"));
        host.is_clean(&programs)?;
    }
    Ok(())
}

#[test]
fn a_new_agent_replaces_what_another_left() -> Result<()> {
    let host = Host::new()?;
    stop(
        host.run(&["--iface", "eth0", "--keep", "--clsact"])?,
        Signal::SIGTERM,
    )?;
    let mut agent = host.run(&ON_ETH0)?;
    assert_eq!(
        host.qdiscs()?.contains("clsact"),
        tc()? == "clsact",
        "the kept one's qdisc"
    );
    agent.signal(Signal::SIGKILL)?;
    agent.wait(STOP)?;
    // Its death changes nothing for the kernel.
    assert!(host.ask(&["bindings"])?.contains("0 bindings"));
    let agent = host.run(&ON_ETH0)?;
    let programs = host.programs()?;
    stop(agent, Signal::SIGTERM)?;
    host.is_clean(&programs)
}

#[test]
fn detach_ends_a_running_agent() -> Result<()> {
    let host = Host::new()?;
    for args in [&ON_ETH0[..], &["--iface", "eth0", "--clsact"]] {
        let mut agent = host.run(args)?;
        let programs = host.programs()?;
        let output = host.sipnat(&["detach"])?;
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "sipnat: detached from eth0\n"
        );
        assert_eq!(stderr(&output), "");
        assert!(agent.wait(STOP)?.success());
        host.is_clean(&programs)?;
    }
    Ok(())
}

#[test]
fn pins_of_another_layout_are_refused() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&["--iface", "eth0", "--keep"])?;
    let programs = host.programs()?;
    stop(agent, Signal::SIGTERM)?;
    let pins = host.pins()?;
    fs::rename(pins.join("POLICY"), pins.join("was-policy"))?;
    fs::rename(pins.join("CONFIG"), pins.join("POLICY"))?;
    fs::remove_file(pins.join("COUNTERS"))?;
    let directory = pins.to_string_lossy().into_owned();
    let words = [
        &directory,
        "CONFIG: missing",
        "POLICY: type is Array, must be LpmTrie",
        "POLICY: key size is 4, must be 20",
        "POLICY: value size is 96, must be 4",
        "COUNTERS: missing",
        "`sipnat detach`",
    ];
    host.refused(&["run", "--iface", "eth0"], 1, &words)?;
    host.refused(&["bindings", "list"], 1, &words)?;
    host.ask(&["detach"])?;
    host.is_clean(&programs)
}

#[test]
fn pins_of_another_abi_are_refused() -> Result<()> {
    let host = Host::new()?;
    stop(host.run(&["--iface", "eth0", "--keep"])?, Signal::SIGTERM)?;
    let mut tables = Tables::open(&host.pins()?)?;
    let mut config = tables.config()?;
    config.abi += 1;
    tables.config.set(0, config, 0)?;
    let words = ["CONFIG: layout number is ", "must be ", "`sipnat detach`"];
    host.refused(&["run", "--iface", "eth0"], 1, &words)?;
    host.refused(&["stats"], 1, &words)?;
    host.ask(&["detach"])?;
    Ok(())
}

#[test]
fn a_hidden_bpffs_is_no_obstacle() -> Result<()> {
    let host = Host::new()?;
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", host.netns.name()])
        .arg(sipnat::binary()?)
        .args(["run", "--iface", "eth0"])
        .env("RUST_LOG", "nat_userspace=info");
    let agent = host.start(&mut command)?;
    let programs = host.programs()?;
    assert!(
        !host.pins()?.exists(),
        "the pins are in its own mount namespace"
    );
    let output = stop(agent, Signal::SIGTERM)?;
    assert!(output.contains("mounted a bpffs"), "{output}");
    host.is_clean(&programs)
}

#[test]
fn policy_is_listed_and_changed() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&["--iface", "eth0", "--policy", "force"])?;
    let rules = || -> Result<Vec<(String, String, String)>> {
        let list = host.json(&["policy", "list", "--json"])?;
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        Ok(list
            .as_array()
            .context("a list")?
            .iter()
            .map(|rule| {
                (
                    text(rule, "prefix"),
                    text(rule, "policy"),
                    text(rule, "origin"),
                )
            })
            .collect())
    };
    let rule = |prefix: &str, policy: &str, origin: &str| {
        (prefix.to_owned(), policy.to_owned(), origin.to_owned())
    };
    let default = rule("default", "force", "default");
    let on_link = rule("203.0.113.0/24", "off", "on-link");
    assert_eq!(rules()?, [default.clone(), on_link.clone()]);
    host.ask(&["policy", "set", "60.17.196.2", "auto"])?;
    host.ask(&["policy", "set", "203.0.113.99/24", "auto"])?;
    assert_eq!(
        rules()?,
        [
            default.clone(),
            rule("60.17.196.2/32", "auto", "user"),
            rule("203.0.113.0/24", "auto", "user")
        ]
    );
    host.ask(&["policy", "remove", "60.17.196.2/32"])?;
    host.refused(
        &["policy", "remove", "60.17.196.2/32"],
        1,
        &["no rule for 60.17.196.2/32"],
    )?;
    host.refused(&["policy", "remove", "default"], 1, &["the default stays"])?;
    host.ask(&["policy", "set", "default", "off"])?;
    assert_eq!(rules()?[0], rule("default", "off", "default"));
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn expired_bindings_go_and_others_are_shown() -> Result<()> {
    let host = Host::new()?;
    let agent = host.run(&ON_ETH0)?;
    let mut tables = Tables::open(&host.pins()?)?;
    let now = clock::now();
    let text = b"1000@60.17.196.2";
    let mut live = Binding {
        created: now - 60 * SECOND,
        seen: now - 5 * SECOND,
        expires: now + 3600 * SECOND,
        redirected: 7,
        learned: Endpoint::v4([60, 17, 196, 2], 49163),
        advertised: Endpoint::v4([60, 17, 196, 2], 5060),
        flags: flag::DIRECT,
        text_len: u8::try_from(text.len())?,
        ..Binding::EMPTY
    };
    live.text[..text.len()].copy_from_slice(text);
    let key = |tag| DialogKey {
        call: 0xabcd << 48,
        tag,
    };
    for tag in 0..100 {
        let expired = Binding {
            expires: now,
            ..live
        };
        tables.dialogs.insert(key(tag), expired, 0)?;
    }
    tables.dialogs.insert(key(1000), live, 0)?;

    let list = host.json(&["bindings", "list", "--json"])?;
    let rows = list["bindings"].as_array().context("bindings")?;
    assert_eq!(rows.len(), 1, "{list}");
    for (field, value) in [
        ("terminal", "1000@60.17.196.2"),
        ("kind", "dialog"),
        ("state", "active"),
        ("advertised", "60.17.196.2:5060"),
        ("learned", "60.17.196.2:49163"),
    ] {
        assert_eq!(rows[0][field], value);
    }
    assert_eq!(rows[0]["redirected"], 7);
    let shown = host.ask(&["bindings", "show", "1000"])?;
    assert!(
        shown.contains("60.17.196.2:49163") && shown.contains("7 packets"),
        "{shown}"
    );

    let deadline = Instant::now() + STOP;
    while tables.dialogs.keys().count() > 1 {
        ensure!(Instant::now() < deadline, "the expired are still there");
        thread::sleep(Duration::from_millis(50));
    }
    host.ask(&["bindings", "remove", "1000"])?;
    assert_eq!(tables.dialogs.keys().count(), 0);
    host.refused(
        &["bindings", "show", "1000"],
        1,
        &["there is no binding `1000`"],
    )?;
    stop(agent, Signal::SIGTERM)?;
    Ok(())
}

#[test]
fn two_agents_in_two_namespaces_do_not_meet() -> Result<()> {
    let (one, two) = (Host::new()?, Host::new()?);
    let first = one.run(&ON_ETH0)?;
    let second = two.run(&ON_ETH0)?;
    one.ask(&["policy", "set", "192.0.2.1", "off"])?;
    assert!(!two.ask(&["policy", "list"])?.contains("192.0.2.1"));
    stop(first, Signal::SIGTERM)?;
    two.ask(&["status"])?;
    let programs = two.programs()?;
    stop(second, Signal::SIGTERM)?;
    two.is_clean(&programs)
}
