//! An agent of a user who is not root: it runs with what is documented, says what is missing, and lets a group read.

use std::{fs, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::{
    Answers, Lab, Plan, Sipnat, StrictPbx,
    netns::Netns,
    sipnat,
    sipp::{Scenario, Sipp},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Host, interfaces::says, stderr, stop, tc};
use crate::scene::SOON;

/// A user without any privilege of his own.
const USER: &str = "65534";
/// The documented capabilities.
const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon";
/// The documented preparations, by root.
const RUN_DIRECTORY: &str = "install -d -o 65534 /run/sipnat";
const BPF_DIRECTORY: &str = "install -d -o 65534 /sys/fs/bpf/sipnat; chmod o+x /sys/fs/bpf";

/// The agent on `eth0`, run by [`USER`] after `prepare` in a mount namespace of its own, with /run and /sys/fs/bpf as a
/// system makes them.
fn as_user(prepare: &str, capabilities: &str) -> Result<Command> {
    let script = format!(
        "set -e
         mount -t tmpfs -o mode=755 run /run
         install -m 755 \"$0\" /run/under-test
         mount -t bpf -o mode=700 bpf /sys/fs/bpf
         {prepare}
         exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps {capabilities} \
             --ambient-caps {capabilities} --bounding-set {capabilities} /run/under-test run --iface eth0 \"$@\""
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .arg(sipnat::binary()?);
    Ok(command)
}

/// Returns the error of an agent with more arguments, which a user with the documented capabilities runs.
pub(super) fn refused(host: &Host, more: &[&str]) -> Result<String> {
    let mut command = as_user(&format!("{RUN_DIRECTORY}; {BPF_DIRECTORY}"), CAPABILITIES)?;
    let output = host.netns.enter(|| command.args(more).output())??;
    let text = stderr(&output);
    ensure!(output.status.code() == Some(1), "{}: {text}", output.status);
    Ok(text)
}

#[test]
fn a_user_runs_the_agent_with_what_is_documented() -> Result<()> {
    let host = Host::new()?;
    let both = format!("{RUN_DIRECTORY}; {BPF_DIRECTORY}");
    let overriding = format!("{CAPABILITIES},+dac_override");
    let mounting = format!("{CAPABILITIES},+sys_admin");
    let no_bpffs = format!("{RUN_DIRECTORY}; mount -t tmpfs none /sys/fs/bpf");
    for (prepare, capabilities) in [
        (both.as_str(), CAPABILITIES),
        ("", overriding.as_str()),
        (no_bpffs.as_str(), mounting.as_str()),
    ] {
        let agent = host.start(&mut as_user(prepare, capabilities)?)?;
        let output = stop(agent, Signal::SIGTERM)?;
        let ready = format!("sipnat: ready on eth0 (xdp native, {})\n", tc()?);
        assert_eq!(output, ready, "{prepare}; {capabilities}");
    }
    Ok(())
}

/// The kernel says what is attached without more capabilities.
#[test]
fn a_user_follows_interfaces() -> Result<()> {
    let host = Host::new()?;
    let both = format!("{RUN_DIRECTORY}; {BPF_DIRECTORY}");
    let mut agent = host.start(&mut as_user(&both, CAPABILITIES)?)?;
    // It looks each five seconds.
    thread::sleep(Duration::from_secs(7));
    assert_eq!(agent.output().lines().count(), 1, "{}", agent.output());
    host.netns.ip("link del eth0")?;
    says(&mut agent, "not on eth0")?;
    host.make_eth0_again()?;
    says(&mut agent, "attached to eth0")?;
    stop(agent, Signal::SIGTERM)?;
    assert_eq!(host.xdp()?[0], None);
    Ok(())
}

/// Returns the capabilities of each thread of a process, of each kind.
fn capabilities(pid: u32) -> Result<Vec<[u64; 4]>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let of = |kind: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(kind));
            let mask = line.with_context(|| format!("no {kind} in {status}"))?;
            Ok::<_, anyhow::Error>(u64::from_str_radix(mask.trim(), 16)?)
        };
        threads.push([
            of("CapEff:")?,
            of("CapPrm:")?,
            of("CapInh:")?,
            of("CapAmb:")?,
        ]);
    }
    Ok(threads)
}

/// With keepalives and metrics: the sockets of the former are raw, and the latter are served by a thread of their own.
#[test]
fn what_only_the_start_needs_is_dropped() -> Result<()> {
    const BPF: u64 = 1 << 39;
    const NET_ADMIN: u64 = 1 << 12;
    /// To change files of others: CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER.
    const OTHERS: u64 = 1 << 0 | 1 << 1 | 1 << 3;
    let host = Host::new()?;
    let more = ["--keepalive", "options", "--metrics", "127.0.0.1:9060"];
    let both = format!("{RUN_DIRECTORY}; {BPF_DIRECTORY}");
    let mut command = as_user(&both, &format!("{CAPABILITIES},+net_raw"))?;
    let agent = host.start(command.args(more))?;
    let expected = [BPF | NET_ADMIN; 4];
    assert_eq!(capabilities(agent.pid())?, [expected; 2]);
    stop(agent, Signal::SIGTERM)?;

    let mut command = Command::new(sipnat::binary()?);
    let agent = host.start(command.args(["run", "--iface", "eth0"]).args(more))?;
    let held = BPF | NET_ADMIN | OTHERS;
    assert_eq!(capabilities(agent.pid())?, [[held, held, 0, 0]; 2]);
    stop(agent, Signal::SIGTERM).map(drop)
}

#[test]
fn a_user_is_told_what_is_missing() -> Result<()> {
    let host = Host::new()?;
    let both = format!("{RUN_DIRECTORY}; {BPF_DIRECTORY}");
    let no_bpffs = format!("{RUN_DIRECTORY}; mount -t tmpfs none /sys/fs/bpf");
    let hidden = format!("{RUN_DIRECTORY}; install -d -o 65534 /sys/fs/bpf/sipnat");
    let few_files = format!("{both}; ulimit -n 24");
    let run = "/run is not writable for uid 65534";
    let bpf = "/sys/fs/bpf is not writable for uid 65534";
    for (prepare, capabilities, words) in [
        (BPF_DIRECTORY, CAPABILITIES, [run, RUN_DIRECTORY]),
        (
            RUN_DIRECTORY,
            CAPABILITIES,
            [bpf, "install -d -o 65534 /sys/fs/bpf/sipnat"],
        ),
        (&hidden, CAPABILITIES, [bpf, "chmod o+x /sys/fs/bpf"]),
        (
            &no_bpffs,
            CAPABILITIES,
            ["no bpffs", "mount -t bpf bpf /sys/fs/bpf"],
        ),
        (
            &few_files,
            CAPABILITIES,
            ["Too many open files", "raise `ulimit -n`"],
        ),
        (
            &both,
            "-all,+net_admin,+perfmon",
            ["not permitted", "CAP_BPF"],
        ),
        (
            &both,
            "-all,+bpf,+perfmon",
            ["not permitted", "CAP_NET_ADMIN"],
        ),
        (
            &both,
            "-all,+bpf,+net_admin",
            ["not permitted", "CAP_PERFMON"],
        ),
    ] {
        let mut command = as_user(prepare, capabilities)?;
        let output = host.netns.enter(|| command.output())??;
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{prepare}: {text}");
        for word in words {
            assert!(text.contains(word), "{prepare}: no `{word}` in: {text}");
        }
        assert!(!text.contains("verifier"), "{prepare}: {text}");
    }
    Ok(())
}

/// Group of [`USER`], and another one.
const GROUP: &str = "nogroup";
const GROUPS: [&str; 2] = [USER, "65533"];

/// Commands of users in the mount namespace of an agent.
struct Users<'a> {
    netns: &'a Netns,
    agent: u32,
}

impl Users<'_> {
    /// Runs a command of a user in a group. Returns what it prints, or else its error.
    fn ask(&self, user: &str, group: &str, args: &[&str]) -> Result<Result<String, String>> {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &self.agent.to_string(), "setpriv"])
            .args(["--reuid", user, "--regid", group, "--clear-groups"])
            .arg("/run/under-test")
            .args(args);
        let output = self.netns.enter(|| command.output())??;
        let text = String::from_utf8(output.stdout.clone())?;
        Ok(if output.status.success() {
            Ok(text)
        } else {
            Err(stderr(&output))
        })
    }
}

/// What does not change from one command to the next.
fn lasting(mut document: Value) -> Value {
    match &mut document {
        Value::Array(items) => {
            let kept = items.drain(..).map(lasting).collect();
            document = Value::Array(kept);
        }
        Value::Object(fields) => {
            // Times of day are calculated from that of the boot, which is read anew. Transactions expire.
            let changing = |name: &str| {
                name.contains("seconds") || ["age", "at", "transactions"].contains(&name)
            };
            fields.retain(|name, _| !changing(name));
            for value in fields.values_mut() {
                *value = lasting(value.take());
            }
        }
        _ => {}
    }
    document
}

#[test]
fn a_group_reads_all_and_changes_nothing() -> Result<()> {
    let lab = Lab::new(Plan::default())?;
    let both = format!("{RUN_DIRECTORY}; {BPF_DIRECTORY}");
    let mut command = as_user(&both, CAPABILITIES)?;
    command.args(["--group", GROUP, "--media"]);
    let mut agent = Sipnat::spawn_by(&lab.pbx, &mut command)?;
    agent.is_ready()?;
    let users = Users {
        netns: &lab.pbx,
        agent: agent.pid(),
    };
    let pbx = StrictPbx::start(&lab.pbx, Answers::ToSource)?;
    let phone = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.call(SOON)?;
    pbx.request(&call, "INVITE")?;

    let [group, stranger] = GROUPS;
    for reading in [
        &["bindings", "list", "--json"][..],
        &["bindings", "show", "1000", "--json"],
        &["media", "list", "--json"],
        &["policy", "list", "--json"],
        &["guard", "list", "--json"],
        &["stats", "--all", "--json"],
        &["explain", "--json", "1000"],
    ] {
        let all = users.ask("0", "0", reading)?;
        let all: Value = serde_json::from_str(&all.map_err(anyhow::Error::msg)?)?;
        let read = users.ask("65533", group, reading)?;
        let read: Value = serde_json::from_str(&read.map_err(anyhow::Error::msg)?)?;
        assert_eq!(lasting(read), lasting(all), "{reading:?}");
        let refused = users.ask("65533", stranger, reading)?.unwrap_err();
        ensure!(refused.contains("Permission denied"), "{refused}");
    }
    let bindings = users.ask("65533", group, &["bindings", "list"])?;
    let bindings = bindings.map_err(anyhow::Error::msg)?;
    ensure!(bindings.contains("60.17.196.2:49163"), "{bindings}");
    for (user, attached) in [
        // The kernel does not tell them: nor the user of the agent, without its capabilities.
        ("65533", Value::Null),
        (USER, Value::Null),
        ("0", true.into()),
    ] {
        let status = users.ask(user, group, &["status", "--json"])?;
        let status: Value = serde_json::from_str(&status.map_err(anyhow::Error::msg)?)?;
        let interface = &status["interfaces"][0];
        assert_eq!(interface["name"], "eth0");
        assert_eq!(interface["attached"], attached, "{user}");
        let bindings = status["bindings"].as_object().context("bindings")?;
        ensure!(!bindings.is_empty(), "{status}");
    }

    let tables = || -> Result<Vec<Value>> {
        let read = |what| {
            let table = users.ask("0", "0", &[what, "list", "--json"])?;
            let table = table.map_err(anyhow::Error::msg)?;
            Ok(lasting(serde_json::from_str(&table)?))
        };
        ["bindings", "policy", "guard"]
            .into_iter()
            .map(read)
            .collect()
    };
    let before = tables()?;
    for change in [
        &["policy", "set", "default", "off"][..],
        &["guard", "set", "default", "drop"],
        &["bindings", "remove", "1000"],
        &["reload"],
        &["detach"],
    ] {
        let refused = users.ask("65533", group, change)?.unwrap_err();
        ensure!(
            refused.contains("ermission denied") || refused.contains("not permitted"),
            "{change:?}: {refused}"
        );
    }
    assert_eq!(tables()?, before);
    // The programs work as before. That call may have ended meanwhile: SIPp waits for twenty seconds.
    drop(phone);
    let _phone = Sipp::start(lab.phone(), "1000", Scenario::Call)?;
    let call = pbx.calls(2, SOON)?.swap_remove(1);
    pbx.request(&call, "INVITE")?;
    pbx.request(&call, "BYE")?;
    agent.stop()
}

#[test]
fn a_group_that_is_not_there_is_refused() -> Result<()> {
    let host = Host::new()?;
    host.refused(
        &["run", "--iface", "eth0", "--group", "no-such-group"],
        2,
        &["there is no group no-such-group", "groupadd"],
    )
}
