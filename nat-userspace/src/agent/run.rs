//! The life of the agent: it loads, pins and attaches, serves until a signal comes, and cleans up.

use std::{
    io::{Write as _, stderr, stdout},
    time::Duration,
};

use anyhow::Result;
use nat_common::abi::ABI;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use crate::{
    agent::{
        addresses::Addresses,
        apply::{Live, Maps},
        claim::{self, Claim, Left, claim},
        keepalives::{self, Keepalives},
        links::{Links, Modes},
        logs::Logs,
        metrics::Endpoint,
        notify, privileges,
        record::{AgentRecord, Upgrade},
        signals::{Request, Signals},
        streams::{self, Follower},
        wildcards::Wildcards,
    },
    checks::{
        full_tables,
        preflight::{self, Kernel},
    },
    host::{
        checksums::may_be_partial,
        clock, memory,
        net::{Link, Net},
        terminal::{note, printable_lines},
    },
    kernel::{
        attach,
        carry::{self, Carried},
        config,
        earlier::Earlier,
        load::{DataPath, Loader},
        object, pins,
        refusal::Rejected,
        tables::Tables,
    },
    settings::Settings,
};

/// Interval between two looks at how full the tables are.
const FILL_INTERVAL: Duration = Duration::from_secs(60);

/// Runs the agent until a signal ends it. SIGHUP has it `read` the settings again.
///
/// # Errors
/// If it cannot start; nothing is left behind then.
pub async fn run(settings: &Settings, read: &dyn Fn() -> Result<Settings>) -> Result<()> {
    preflight::capabilities()?;
    let kernel = Kernel::running()?;
    kernel.check()?;
    let net = Net::open()?;
    let all = net.links().await?;
    let picked = preflight::interfaces(&all, &settings.interfaces, settings.wait)?;
    let object = object::read(settings.object.as_deref())?;
    // From here on a signal waits until the agent can clean up.
    let mut signals = Signals::new()?;

    let Claim { mut record, left } = claim(&net, &picked, settings, &object).await?;
    let earlier = left.as_ref().map(|left| &left.inputs.config);
    let wildcards = Wildcards::read(&settings.ports, !settings.pbxs.is_empty(), earlier);
    let partial = may_be_partial(&picked, &all);
    if partial {
        debug!("an interface is virtual: partial UDP checksums count as right");
    }
    let pins = record.pins.clone();
    let mut loader = Loader::new(&object, settings)
        .wildcards(wildcards.bits())
        .partial_checksums(partial)
        .interfaces(config::interfaces(&picked, &all))
        .log(log::max_level());
    if let Some(left) = &left {
        loader = loader.continuing(&left.maps.tables, &pins);
        record.upgrade = upgrade(left);
    }
    let taken_over = left.is_some();
    let earlier = left.as_ref().map(|left| &left.maps);
    let started = async {
        // First: nothing has changed yet if the address cannot be bound, or the process lacks a capability.
        let metrics = Endpoint::bind(settings)?;
        let raw = keepalives::sockets(settings)?;
        let links = (&picked[..], &all[..]);
        let started = start(&net, loader, links, settings, earlier, &mut record).await?;
        let round_trips = raw.as_ref().map(|_| keepalives::histogram());
        let with = raw.zip(round_trips.clone());
        let keepalives = with.map(|(raw, times)| Keepalives::open(raw, &started.0.tables, times));
        let keepalives = keepalives.transpose()?;
        if let Err(error) = privileges::drop_unneeded() {
            // A unit of somebody's own may forbid it. Phones need the agent all the same.
            warn!("goes on with all that its start needed: {error:#}");
        }
        let metrics = metrics.map(|metrics| metrics.serve(round_trips));
        Ok::<_, anyhow::Error>((started, keepalives, metrics.transpose()?))
    };
    let ((path, addresses, links), keepalives, metrics) = match started.await {
        Ok(started) => started,
        Err(error) => {
            let cleaned = match left {
                Some(left) => put_back(&net, left, &record).await,
                None => claim::remove(&net, &record).await,
            };
            if let Err(error) = cleaned {
                warn!("could not clean up: {error:#}");
            }
            report_rejection(&error, settings.verifier_log);
            return Err(error);
        }
    };
    // Its maps that are not used further go.
    drop(left);
    memory::give_back();
    announce(&record, taken_over);
    if let Some(address) = metrics {
        println(&format!("sipnat: metrics at http://{address}/metrics"));
    }
    notify::ready();
    let mut live = Live::new(settings, read);
    let host = (addresses, wildcards, links);
    let ended = serve(path, host, keepalives, &mut live, &mut signals, &mut record).await;
    notify::stopping();
    if live.settings.keep {
        keep(&mut record)?;
        println(&format!(
            "sipnat: left in place on {}; `sipnat detach` removes it",
            record.interface_names()
        ));
        return ended;
    }
    ended.and(claim::remove(&net, &record).await)
}

/// Puts back what an earlier agent left: this agent cannot start.
async fn put_back(net: &Net, mut left: Left, record: &AgentRecord) -> Result<()> {
    left.inputs.write(&mut left.maps.tables)?;
    let mut earlier = left.record;
    earlier.interfaces =
        attach::restore(net, &earlier.interfaces, &record.interfaces, &record.pins).await?;
    pins::remove_draft(&record.pins)?;
    note(&if earlier.interfaces.is_empty() {
        "nothing is attached any more".into()
    } else {
        let names = earlier.interface_names();
        format!("what the earlier agent left goes on working on {names}")
    });
    earlier.write()
}

/// Writes into the record that all is left in place.
fn keep(record: &mut AgentRecord) -> Result<()> {
    record.kept = true;
    record.refresh_names();
    record.write()
}

/// Loads, pins and attaches. What an earlier agent has attached, as the record says, is taken over, with its tables: then
/// the pins change last, so that they are those of what works if something fails.
async fn start<'n>(
    net: &'n Net,
    loader: Loader<'_>,
    (links, all): (&[Link], &[Link]),
    settings: &Settings,
    earlier: Option<&Earlier>,
    record: &mut AgentRecord,
) -> Result<(DataPath, Addresses<'n>, Links<'n>)> {
    let mut following = Links::follow(net, links, settings)?;
    let modes = Modes::from(settings);
    let addresses = Addresses::read(net, links, all, settings).await?;
    let mut path = loader.addresses(addresses.known()).load()?;
    if let Some(why) = &path.refused {
        warn!(
            "the programs loop by bpf_loop, which is slower: {}",
            printable_lines(why)
        );
    }
    record.refused_loops.clone_from(&path.refused);
    let started = clock::now();
    if let Some(earlier) = earlier {
        carry_over(earlier, &path.tables, record.upgrade.as_mut())?;
        pins::prepare(&mut path, &record.pins, record.readers)?;
    } else {
        pins::pin(&mut path, &record.pins, record.readers)?;
    }
    let before = record.interfaces.clone();
    for link in links {
        let mode = modes.of(link);
        let known = before.iter().find(|known| known.index == link.index);
        let attached = attach::attach(net, &mut path, link, &record.pins, mode, known).await?;
        record.interfaces.retain(|known| known.index != link.index);
        record.interfaces.push(attached);
        // After each interface: after a crash, the next agent takes over or removes what the record names.
        record.write()?;
    }
    for known in &before {
        if links.iter().all(|link| link.index != known.index) {
            attach::detach(net, known, &record.pins).await?;
            record.interfaces.retain(|other| other.index != known.index);
            record.write()?;
        }
    }
    if let Some(earlier) = earlier {
        // The earlier programs may have changed bindings until now.
        carry::bindings(earlier, &path.tables, started)?;
        pins::publish(&record.pins)?;
    }
    // Those that have come or gone meanwhile, and the names of those that are not there.
    following.update(&mut path, record).await?;
    Ok((path, addresses, following))
}

/// Describes what is taken over from another version, and says so. None if its tables have the same layout.
fn upgrade(left: &Left) -> Option<Upgrade> {
    let other = left.maps.other.as_ref()?;
    let from = &left.record.version;
    note(&format!(
        "taking over the tables of sipnat {from}, of layout {}; that of this version is {ABI}",
        other.abi
    ));
    if !other.unknown.is_empty() {
        let unknown = other.unknown.join(", ");
        note(&format!("this version does not know {unknown}"));
    }
    if !other.emptied.is_empty() {
        let emptied = other.emptied.join(", ");
        note(&format!("begin empty: {emptied}"));
    }
    Some(Upgrade {
        from: from.clone(),
        layout: other.abi,
        converted: None,
        refused: 0,
        emptied: other.emptied.iter().map(ToString::to_string).collect(),
    })
}

/// Carries bindings over into tables of another size or layout, and says so.
fn carry_over(earlier: &Earlier, tables: &Tables, mut upgrade: Option<&mut Upgrade>) -> Result<()> {
    if let Some([streams, lost]) = carry::streams(&earlier.tables, tables)? {
        note(&format!("MEDIA changes its size: {streams} streams go on"));
        if lost > 0 {
            warn!(
                table = "MEDIA",
                lost,
                "MEDIA has no slots for the address of {lost} streams; set size-media to more"
            );
        }
    }
    for carried in carry::bindings(earlier, tables, 0)? {
        let Carried {
            table,
            bindings,
            refused,
            converted,
        } = carried;
        let what = if converted { "layout" } else { "size" };
        note(&format!(
            "{table} changes its {what}: {bindings} bindings go on"
        ));
        if refused > 0 {
            warn!(
                table,
                refused, "{table} has no room for {refused} bindings; set size-bindings to more"
            );
        }
        if let Some(upgrade) = &mut upgrade {
            upgrade.refused += refused;
            if converted {
                *upgrade.converted.get_or_insert_default() += bindings;
            }
        }
    }
    Ok(())
}

/// Reports why the verifier refused a program: all of its log if `whole`, else the end of it in the debug log.
fn report_rejection(error: &anyhow::Error, whole: bool) {
    const LINES: usize = 20;
    let Some(rejected) = error.downcast_ref::<Rejected>() else {
        return;
    };
    if whole {
        // The disk of standard error may be full.
        let _lost = writeln!(stderr(), "{}", rejected.log);
    }
    let tail: Vec<&str> = rejected.log.lines().rev().take(LINES).collect();
    for line in tail.iter().rev() {
        debug!("verifier: {line}");
    }
}

fn announce(record: &AgentRecord, taken_over: bool) {
    let interfaces: Vec<String> = record.interfaces.iter().map(ToString::to_string).collect();
    let tables = if taken_over {
        ", with the tables of the earlier agent"
    } else {
        ""
    };
    let on = if interfaces.is_empty() {
        "no interface yet".into()
    } else {
        interfaces.join(", ")
    };
    let missing = if record.missing.is_empty() {
        String::new()
    } else {
        format!("; waiting for {}", record.missing.join(", "))
    };
    println(&format!("sipnat: ready on {on}{tables}{missing}"));
}

/// Reports a reload to the log and, by the record, to `sipnat reload`.
fn report_reload(record: &AgentRecord) {
    match &record.reload.refused {
        Some(why) => warn!(
            "not reloaded, the earlier settings stay in force: {}",
            printable_lines(why)
        ),
        None => {
            for message in record.reload.messages() {
                println(&format!("sipnat: {message}"));
            }
        }
    }
    if let Err(error) = record.write() {
        warn!("cannot answer `sipnat reload`: {error:#}");
    }
}

/// Prints a line to standard output at once. Its reader may have gone.
fn println(line: &str) {
    let mut out = stdout();
    let _closed = writeln!(out, "{}", printable_lines(line)).and_then(|()| out.flush());
}

/// Follows addresses and sockets, and forwards logs until a signal ends the agent. The kernel programs work without.
async fn serve(
    mut path: DataPath,
    (mut addresses, mut wildcards, mut links): (Addresses<'_>, Wildcards, Links<'_>),
    mut keepalives: Option<Keepalives>,
    live: &mut Live<'_>,
    signals: &mut Signals,
    record: &mut AgentRecord,
) -> Result<()> {
    let mut logs = Logs::open(&mut path.ebpf, &path.tables)?;
    let mut look = Instant::now();
    let mut fills = interval(FILL_INTERVAL);
    fills.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut full = Vec::new();
    let mut sweeps = interval(streams::INTERVAL);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pings = interval(keepalives::TICK);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streams = Follower::default();
    streams.follow(&mut path, &addresses, &live.settings);
    loop {
        tokio::select! {
            (request, name) = signals.next() => match request {
                Request::End => {
                    info!(signal = name, "{name}: ending");
                    return Ok(());
                }
                Request::Reload => {
                    let maps = Maps {
                        config: &mut path.tables.config,
                        policy: &mut path.tables.policy,
                        guard: &mut path.tables.guard,
                        addresses: &mut path.tables.addresses,
                    };
                    notify::reloading();
                    record.reload = live.reload(maps, &mut addresses).await;
                    streams.follow(&mut path, &addresses, &live.settings);
                    notify::ready();
                    report_reload(record);
                }
            },
            () = sleep_until(look) => {
                look = Instant::now() + wildcards.interval();
                notify::alive();
                if let Err(error) = wildcards.update(&mut path.tables.config) {
                    warn!("cannot follow the PBX's sockets: {error:#}");
                }
            }
            _ = fills.tick() => {
                match full_tables::names(&path.tables) {
                    Ok(now) => {
                        for name in now.iter().filter(|name| !full.contains(*name)) {
                            warn!(table = name, "{name} is four fifths full; see `sipnat status`");
                        }
                        full = now;
                    }
                    Err(error) => warn!("cannot tell how full the tables are: {error:#}"),
                }
            }
            _ = pings.tick(), if keepalives.is_some() => {
                if let Some(keepalives) = &mut keepalives {
                    let bound = wildcards.sockets();
                    keepalives.tick(&path.tables, &addresses, bound, &live.settings);
                }
            }
            _ = sweeps.tick(), if path.media => streams.sweep(&path.tables),
            () = links.changed() => {
                match links.update(&mut path, record).await {
                    Ok(changed) => {
                        let (policy, kinds) = (&mut path.tables.policy, &mut path.tables.addresses);
                        if addresses.set_links(&changed.links, &changed.all)
                            && let Err(error) = addresses.update(policy, kinds).await
                        {
                            warn!("cannot follow a change of interfaces: {error:#}");
                        }
                    }
                    Err(error) => warn!("cannot follow the interfaces: {error:#}"),
                }
            }
            () = addresses.changed() => {
                let (policy, kinds) = (&mut path.tables.policy, &mut path.tables.addresses);
                if let Err(error) = addresses.update(policy, kinds).await {
                    warn!("cannot follow a change of addresses: {error:#}");
                }
                streams.follow(&mut path, &addresses, &live.settings);
            }
            result = logs.forward(&path.tables) => result?,
        }
    }
}
