//! Follows the interfaces: attaches again to one that was detached, or was deleted and comes back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData};
use nat_common::abi::Config;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::{
    agent::record::AgentRecord,
    checks::preflight,
    host::{
        checksums::may_be_partial,
        net::{Changes, Link, LinkKind, Net, name_of},
        terminal::note,
    },
    kernel::{
        attach::{self, Mode, XdpMode},
        config,
        hooks::Hooks,
        load::{DataPath, Programs as _},
        pins,
    },
    settings::{Settings, Xdp},
};

/// Shortest time between two looks: a host of containers has interfaces that come and go all the time.
const PAUSE: Duration = Duration::from_millis(200);
/// Time after which the agent looks, if the kernel reports nothing: a program may be detached without a message.
const INTERVAL: Duration = Duration::from_secs(5);

/// The interfaces that the settings name.
pub(super) struct Links<'n> {
    net: &'n Net,
    changes: Changes,
    wanted: Vec<Wanted>,
    modes: Modes,
    /// Time before which the agent does not look again.
    not_before: Instant,
    /// Time by which it looks again.
    look_by: Instant,
    changed: bool,
}

/// Interfaces that are there.
pub(super) struct Present {
    /// Those with the programs.
    pub(super) links: Vec<Link>,
    /// All.
    pub(super) all: Vec<Link>,
}

/// An interface that the settings name.
struct Wanted {
    /// Its name there. It may have another one since.
    name: String,
    /// Index of the interface that has or had the programs.
    index: Option<u32>,
    /// Reason why it has none, as last reported.
    reported: Option<String>,
}

/// How the settings want the programs attached.
#[derive(Clone, Copy)]
pub(super) struct Modes {
    xdp: Xdp,
    stun: bool,
    clsact: bool,
}

impl From<&Settings> for Modes {
    fn from(settings: &Settings) -> Self {
        Self {
            xdp: settings.xdp,
            stun: settings.stun.answer,
            clsact: settings.clsact,
        }
    }
}

impl Modes {
    /// Returns how to attach to an interface.
    pub(super) fn of(self, link: &Link) -> Mode {
        Mode {
            xdp: self.xdp(link),
            tcx: !self.clsact,
        }
    }

    /// Returns the mode of XDP on `link`; none where the driver decides.
    ///
    /// A veth has native XDP, but passes on what is sent by it only if its other end has an XDP program, too. sipnat cannot
    /// see that end, so STUN is answered in generic mode there.
    fn xdp(self, link: &Link) -> Option<XdpMode> {
        match self.xdp {
            Xdp::Native => return Some(XdpMode::Native),
            Xdp::Generic => return Some(XdpMode::Generic),
            Xdp::Auto => {}
        }
        if !self.stun || link.kind != LinkKind::Veth {
            return None;
        }
        note(&format!(
            "{} is a veth: using generic mode, slower, lest STUN answers be lost; `--xdp native` if there is an XDP \
             program at its other end",
            link.name
        ));
        Some(XdpMode::Generic)
    }
}

impl<'n> Links<'n> {
    /// Begins to follow the interfaces that the settings name. Those of `links` are there.
    pub(super) fn follow(net: &'n Net, links: &[Link], settings: &Settings) -> Result<Self> {
        let mut names = settings.interfaces.clone();
        names.dedup();
        let wanted = names.into_iter().map(|name| {
            let link = links.iter().find(|link| link.name == name);
            Wanted {
                index: link.map(|link| link.index),
                reported: None,
                name,
            }
        });
        Ok(Self {
            net,
            // Before they are looked at, so that no change is missed.
            changes: net.link_changes()?,
            wanted: wanted.collect(),
            modes: settings.into(),
            not_before: Instant::now(),
            look_by: Instant::now(),
            changed: false,
        })
    }

    /// Waits until it is time to look. Dropped while it waits, it loses no change.
    pub(super) async fn changed(&mut self) {
        if !self.changed {
            tokio::select! {
                () = self.changes.next() => {}
                () = sleep_until(self.look_by) => {}
            }
            self.changed = true;
        }
        sleep_until(self.not_before).await;
    }

    /// Attaches to interfaces that have no programs, and writes into the record what is attached. Returns the interfaces that
    /// have the programs, and all.
    pub(super) async fn update(
        &mut self,
        path: &mut DataPath,
        record: &mut AgentRecord,
    ) -> Result<Present> {
        self.changed = false;
        self.changes.forget();
        // Links are held by their pins only, so the interfaces have lost their programs, too.
        if pins::restore(path, &record.pins, record.readers)? {
            warn!("{} was removed: pinned again", record.pins.display());
        }
        let before = (record.interfaces.clone(), record.missing.clone());
        let all = self.net.links().await?;
        let mut present = Vec::new();
        for wanted in &mut self.wanted {
            let mut look = Look {
                net: self.net,
                all: &all,
                modes: self.modes,
                path: &mut *path,
                record: &mut *record,
            };
            match look.at(wanted).await {
                Ok(link) => {
                    if wanted.reported.take().is_some() {
                        let attached = look.record.interfaces.iter();
                        let attached = attached.filter(|known| known.index == link.index);
                        attached.for_each(|known| note(&format!("attached to {known}")));
                    }
                    present.push(link);
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    if wanted.reported.as_ref() != Some(&reason) {
                        warn!(
                            interface = wanted.name,
                            reason, "not on {}: {reason}", wanted.name
                        );
                    }
                    wanted.reported = Some(reason);
                }
            }
        }
        record.refresh_names();
        record.missing = self.missing();
        if before != (record.interfaces.clone(), record.missing.clone()) {
            record.write()?;
        }
        describe(&mut path.tables.config, &present, &all)?;
        let now = Instant::now();
        self.not_before = now + PAUSE;
        self.look_by = now + INTERVAL;
        Ok(Present {
            links: present,
            all,
        })
    }

    /// Returns the names of interfaces without the programs.
    fn missing(&self) -> Vec<String> {
        let missing = self
            .wanted
            .iter()
            .filter(|wanted| wanted.reported.is_some());
        missing.map(|wanted| wanted.name.clone()).collect()
    }
}

/// Look at the interfaces.
struct Look<'l> {
    net: &'l Net,
    all: &'l [Link],
    modes: Modes,
    path: &'l mut DataPath,
    record: &'l mut AgentRecord,
}

impl Look<'_> {
    /// Returns the interface, which has the programs. An error says why it has none.
    async fn at(&mut self, wanted: &mut Wanted) -> Result<Link> {
        let all = self.all;
        if let Some(index) = wanted.index {
            if let Some(link) = all.iter().find(|link| link.index == index) {
                return self.check(link).await.cloned();
            }
            // Deleted, or moved to another network namespace, where it must not keep the programs.
            pins::remove_links(&self.record.pins, |pinned| pinned == index)?;
            self.record.interfaces.retain(|known| known.index != index);
            wanted.index = None;
        }
        let link = all.iter().find(|link| link.name == wanted.name);
        let link =
            link.with_context(|| format!("there is no interface {}; waiting for it", wanted.name))?;
        let taken = |known: &attach::Attached| known.index == link.index;
        ensure!(
            !self.record.interfaces.iter().any(taken),
            "it is the interface that had another name"
        );
        preflight::is_ethernet(link)?;
        preflight::xdp_is_free(link)?;
        self.attach(link).await?;
        wanted.index = Some(link.index);
        Ok(link.clone())
    }

    /// Attaches again what was detached.
    async fn check<'k>(&mut self, link: &'k Link) -> Result<&'k Link> {
        let mut known = self.record.interfaces.iter();
        let known = known.find(|known| known.index == link.index);
        if let Some(known) = known.cloned() {
            let ours = [
                self.path.ingress()?.info()?.id(),
                self.path.egress()?.info()?.id(),
            ];
            let hooks = Hooks::of(self.net, link).await;
            let hooks =
                hooks.inspect_err(|error| warn!(interface = link.name, "{}: {error:#}", link.name));
            // What the kernel does not describe is left alone.
            let Some(missing) = hooks.ok().and_then(|hooks| hooks.missing(&known, ours)) else {
                return Ok(link);
            };
            if name_of(link.index).is_none() {
                // It has gone meanwhile, and the kernel will say so.
                return Ok(link);
            }
            warn!(interface = link.name, "{}: {missing}", link.name);
            attach::detach(self.net, &known, &self.record.pins).await?;
            self.record
                .interfaces
                .retain(|other| other.index != link.index);
        }
        let now = self.net.links().await?;
        let now = now.iter().find(|now| now.index == link.index);
        preflight::xdp_is_free(now.context("it has gone")?)?;
        self.attach(link).await?;
        note(&format!("attached to {} again", link.name));
        Ok(link)
    }

    async fn attach(&mut self, link: &Link) -> Result<()> {
        let mode = self.modes.of(link);
        // Pins of an interface that had the same index.
        pins::remove_links(&self.record.pins, |index| index == link.index)?;
        let pins = &self.record.pins;
        let attached = attach::attach(self.net, self.path, link, pins, mode, None).await?;
        self.record.interfaces.push(attached);
        Ok(())
    }
}

/// Tells the programs what the interfaces are now.
fn describe(table: &mut Array<MapData, Config>, links: &[Link], all: &[Link]) -> Result<()> {
    let known = table.get(&0, 0).context("cannot read CONFIG")?;
    let config = Config {
        interfaces: config::interfaces(links, all),
        partial_checksums: may_be_partial(links, all).into(),
        ..known
    };
    if config != known {
        // The programs may read meanwhile: no other word changes.
        table.set(0, config, 0).context("cannot write CONFIG")?;
        info!("the programs know their interfaces anew");
    }
    Ok(())
}
