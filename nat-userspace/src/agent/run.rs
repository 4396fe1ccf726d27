//! `sipnat run`: the agent in the foreground.

use std::{
    fs,
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya_log::EbpfLogger;
use log::{debug, info, warn};
use nat_common::abi::Policy;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    agent::addresses::Addresses,
    agent::record::{self, State, XdpMode},
    agent::sweep::Sweeper,
    checks::preflight,
    checks::preflight::Kernel,
    host::clock,
    host::net::{Kind, Link, Net},
    kernel::attach::{self, How},
    kernel::load::{DataPath, Loader, Rejected, Stun},
    kernel::object,
    kernel::pins,
    kernel::tables::{Foreign, Tables},
};

/// What `sipnat run` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// The SIP ports.
    pub ports: Vec<u16>,
    /// For terminals that no other rule names.
    pub policy: Policy,
    /// Redirect nothing.
    pub shadow: bool,
    /// How STUN is answered, if it is.
    pub stun: Option<Stun>,
    /// Leave the programs in place at the end.
    pub keep: bool,
    /// Kernel programs from a file instead of those in this binary.
    pub object: Option<PathBuf>,
    /// Have the verifier say all that it can.
    pub verifier_log: bool,
    /// How the XDP program is run, if not as suits the interface best.
    pub xdp: Option<XdpMode>,
    /// Use the clsact qdisc even where there is tcx.
    pub clsact: bool,
}

/// How often expired bindings are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Entries looked at each time: a full table of the default size is walked in four seconds.
const SWEEP_SLICE: usize = 1 << 16;

/// Runs the agent until a signal ends it.
///
/// # Errors
/// If it cannot start; nothing is left behind then.
pub async fn run(options: Options) -> Result<()> {
    preflight::capabilities()?;
    let kernel = Kernel::running()?;
    kernel.check()?;
    let net = Net::open()?;
    let links = preflight::interfaces(&net.links().await?, &options.interfaces)?;
    let object = object::read(options.object.as_deref())?;
    // From here on a signal waits until what was begun can be undone.
    let mut signals = Signals::new()?;

    let mut state = claim(&net, &links, &options.ports).await?;
    let loader = Loader::new(&object)
        .ports(&options.ports)
        .policy(options.policy)
        .shadow(options.shadow)
        .stun(options.stun)
        .verifier_log(options.verifier_log)
        .log(log::max_level());
    let ended = match start(&net, loader, &links, &options, &mut state).await {
        Ok((path, addresses)) => {
            announce(&state);
            serve(path, addresses, &mut signals).await
        }
        Err(error) => {
            if let Err(error) = take_away(&net, &state).await {
                warn!("could not clean up: {error:#}");
            }
            return Err(explain(error));
        }
    };
    if options.keep && ended.is_ok() {
        state.kept = true;
        state.write()?;
        println(&format!(
            "sipnat: left in place on {}; `sipnat detach` removes it",
            state.interface_names()
        ));
        return Ok(());
    }
    ended.and(take_away(&net, &state).await)
}

/// Removes all that this agent put in place.
async fn take_away(net: &Net, state: &State) -> Result<()> {
    let _lock = record::lock()?;
    let removed = attach::remove(net, &state.interfaces, &state.pins).await;
    removed.and(record::remove().map(drop))
}

/// Makes sure that this is the only agent of its network namespace, and says so in a state file.
/// What a dead one left is removed first.
async fn claim(net: &Net, links: &[Link], ports: &[u16]) -> Result<State> {
    let _lock = record::lock()?;
    if let Some(other) = State::find()? {
        ensure!(!other.is_alive(), already_running(&other, links));
    }
    pins::ensure_bpffs()?;
    let state = State::new(pins::dir(record::netns()?), ports)?;
    take_over(net, &state.pins).await?;
    for link in net.links().await? {
        if links.iter().any(|ours| ours.index == link.index) {
            preflight::xdp_is_free(&link)?;
        }
    }
    // Under the lock, since others that end remove the directory above when they find it empty.
    pins::make(&state.pins)?;
    state.write()?;
    Ok(state)
}

fn already_running(other: &State, links: &[Link]) -> String {
    let pid = other.pid;
    let same = links
        .iter()
        .find(|link| other.interfaces.iter().any(|i| i.index == link.index));
    match same {
        Some(link) => format!("{} already has a sipnat agent (pid {pid})", link.name),
        None if other.interfaces.is_empty() => {
            format!("another sipnat agent is just starting in this network namespace (pid {pid})")
        }
        None => format!(
            "this network namespace already has a sipnat agent, on {} (pid {pid}); \
             one agent serves several interfaces: --iface {} --iface {}",
            other.interface_names(),
            other.interfaces[0].name,
            links.first().map_or("IFACE", |link| &link.name)
        ),
    }
}

/// Removes what an agent left that ended with `--keep` or was killed, if it is sipnat's.
async fn take_over(net: &Net, dir: &Path) -> Result<()> {
    if dir.exists() {
        match Tables::open(dir) {
            Ok(_) => {}
            // Was interrupted while it pinned or removed them.
            Err(error) if error.downcast_ref().is_some_and(Foreign::only_missing) => {}
            Err(error) => return Err(error),
        }
        info!("replacing what an earlier agent left in {}", dir.display());
    }
    let interfaces = State::find()?.map(|old| old.interfaces);
    attach::remove(net, &interfaces.unwrap_or_default(), dir).await?;
    Ok(())
}

/// Loads, pins and attaches.
async fn start<'n>(
    net: &'n Net,
    loader: Loader<'_>,
    links: &'n [Link],
    options: &Options,
    state: &mut State,
) -> Result<(DataPath, Addresses<'n>)> {
    let addresses = Addresses::read(net, links, options.stun.is_some()).await?;
    let mut path = addresses.load(loader).load()?;
    pins::pin(&mut path, &state.pins)?;
    for link in links {
        let how = How {
            xdp: options.xdp.or_else(|| xdp_for_stun(link, options)),
            tcx: !options.clsact,
        };
        let attached = attach::attach(net, &mut path, link, &state.pins, how).await?;
        state.interfaces.push(attached);
        // Each at once: whoever comes after a crash must know what to remove.
        state.write()?;
    }
    Ok((path, addresses))
}

/// A veth has native XDP, but hands over what is sent by that only if there is an XDP program at its other end, too;
/// nobody can see that from here.
fn xdp_for_stun(link: &Link, options: &Options) -> Option<XdpMode> {
    if options.stun.is_none() || link.kind != Kind::Veth {
        return None;
    }
    eprintln!(
        "sipnat: {} is a veth: using generic mode, slower, lest STUN answers be lost; `--xdp native` if there is an XDP \
         program at its other end",
        link.name
    );
    Some(XdpMode::Generic)
}

/// Leaves what the verifier said of a program that it refused in the log.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let Some(rejected) = error.downcast_ref::<Rejected>() else {
        return error;
    };
    let tail: Vec<&str> = rejected.log.lines().rev().take(20).collect();
    for line in tail.iter().rev() {
        debug!("verifier: {line}");
    }
    error
}

fn announce(state: &State) {
    let interfaces: Vec<String> = state.interfaces.iter().map(ToString::to_string).collect();
    println(&format!("sipnat: ready on {}", interfaces.join(", ")));
}

/// To standard output at once; nobody may be reading.
fn println(line: &str) {
    let mut out = stdout();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What ends the agent.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None under `nohup`, which has it ignored.
    hang_up: Option<Signal>,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: if hang_up_is_ignored()? {
                None
            } else {
                Some(listen(SignalKind::hangup())?)
            },
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = received(self.hang_up.as_mut()) => "SIGHUP",
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether whoever started this process had it ignore SIGHUP.
fn hang_up_is_ignored() -> Result<bool> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    ignores_hang_up(&status).context("/proc/self/status does not say which signals are ignored")
}

fn ignores_hang_up(status: &str) -> Option<bool> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let bit = nix::sys::signal::Signal::SIGHUP as u32 - 1;
    Some(mask >> bit & 1 != 0)
}

/// Sweeps and logs until a signal comes. The kernel programs need none of it.
async fn serve(
    mut path: DataPath,
    mut addresses: Addresses<'_>,
    signals: &mut Signals,
) -> Result<()> {
    let mut logs = Logs::of(&mut path)?;
    let mut dialogs = Sweeper::new(&path.tables.dialogs)?;
    let mut contacts = Sweeper::new(&path.tables.contacts)?;
    let mut tick = interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            name = signals.next() => {
                info!("{name}: ending");
                return Ok(());
            }
            _ = tick.tick() => {
                let now = clock::now();
                let removed = dialogs
                    .sweep(now, SWEEP_SLICE)
                    .and_then(|n| Ok(n + contacts.sweep(now, SWEEP_SLICE)?));
                match removed {
                    Ok(0) => {}
                    Ok(n) => debug!("removed {n} expired bindings"),
                    Err(error) => warn!("cannot remove expired bindings: {error:#}"),
                }
            }
            () = addresses.changed() => {
                let told = addresses.update(&mut path.tables.policy, &mut path.tables.addresses);
                if let Err(error) = told
                    .await
                {
                    warn!("cannot follow a change of addresses: {error:#}");
                }
            }
            result = logs.pump() => result?,
        }
    }
}

/// The log of the kernel programs, if they write one.
struct Logs(Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>);

impl Logs {
    fn of(path: &mut DataPath) -> Result<Self> {
        let logger = match EbpfLogger::init(&mut path.ebpf) {
            Ok(logger) => logger,
            Err(aya_log::Error::MapNotFound) => return Ok(Self(None)),
            Err(error) => return Err(anyhow!(error).context("cannot read the programs' log")),
        };
        // SAFETY: the logger owns its ring buffer's descriptor, always the same, and lives as long
        // as the `AsyncFd` that takes it.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(Self(Some(logger)))
    }

    /// Passes on what has come; waits for ever if nothing can.
    async fn pump(&mut self) -> Result<()> {
        let Some(logger) = &mut self.0 else {
            return std::future::pending().await;
        };
        let mut ready = logger.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
        Ok(())
    }
}

/// `sipnat detach`: ends the agent of this network namespace if there is one, and removes all that
/// it or an earlier one left.
///
/// # Errors
/// If something cannot be removed.
pub async fn detach() -> Result<()> {
    preflight::capabilities()?;
    let net = Net::open()?;
    let found = State::find().unwrap_or_else(|error| {
        warn!("{error:#}");
        None
    });
    if let Some(agent) = &found {
        end(agent).await?;
    }
    let _lock = record::lock()?;
    // What the agent removed itself when it ended is no more in its state.
    let left = State::find().ok().flatten();
    let interfaces = left.map(|left| left.interfaces).unwrap_or_default();
    let pins = attach::remove(&net, &interfaces, &pins::dir(record::netns()?)).await?;
    let state = record::remove()?;
    println(&match found {
        Some(agent) => format!("sipnat: detached from {}", agent.interface_names()),
        None if pins || state => "sipnat: detached".into(),
        None => "sipnat: nothing to detach in this network namespace".into(),
    });
    Ok(())
}

/// Ends an agent as a signal does, and waits for it.
async fn end(state: &State) -> Result<()> {
    const PATIENCE: u32 = 100;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(state.pid)?);
    for attempt in 0..PATIENCE {
        if !state.is_alive() {
            return Ok(());
        }
        if attempt == 0 {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)
                .with_context(|| format!("cannot end the agent, pid {pid}"))?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the agent (pid {pid}) does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        let status = |mask| format!("SigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t1\n");
        assert_eq!(ignores_hang_up(&status("0000000000001001")), Some(true));
        assert_eq!(ignores_hang_up(&status("0000000000001000")), Some(false));
        assert_eq!(ignores_hang_up("Name:\tsipnat\n"), None);
    }
}
