//! Follows this network namespace's addresses and routes as they come and go, and writes them to the kernel programs' maps.
//!
//! `POLICY` gets the rule `off` for the subnets on the interfaces' own links. `ADDRESSES` gets the kinds of addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::Result;
use ipnet::IpNet;
use nat_common::abi::address;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::{
    agent::kinds::{Facts, Kinds},
    host::{
        net::{Changes, Link, Net},
        prefix::Prefix,
    },
    kernel::{
        kinds::{self, AddressMap},
        load::HostAddresses,
        policy,
        rules::Rules,
    },
    settings::Settings,
};

/// Shortest time between two reads.
const PAUSE: Duration = Duration::from_secs(1);
/// Length of a pause in times of the read before it: a router with a million routes that always change would read for ever.
const PAUSE_FACTOR: u32 = 20;

/// The addresses that the kernel programs know.
pub(crate) struct Addresses<'n> {
    net: &'n Net,
    /// Indexes of the interfaces, each with those whose subnets are on its link.
    links: Vec<(u32, Vec<u32>)>,
    /// Trunks and other PBXs that the settings name.
    peers: Vec<Prefix>,
    /// Registrars that the settings name.
    registrars: Vec<Prefix>,
    changes: Changes,
    /// Set if something has changed since the last read.
    changed: bool,
    /// Time before which nothing is read again.
    not_before: Instant,
    /// Subnets on the interfaces' own links.
    on_link: BTreeSet<Prefix>,
    /// Entries of `ADDRESSES`.
    kinds: BTreeMap<Prefix, u32>,
    /// Set after the warning that the map is too small.
    warned: bool,
}

impl<'n> Addresses<'n> {
    /// Reads the addresses.
    pub(crate) async fn read(
        net: &'n Net,
        links: &[Link],
        all: &[Link],
        settings: &Settings,
    ) -> Result<Self> {
        let mut addresses = Self {
            net,
            links: on_links(links, all),
            peers: Vec::new(),
            registrars: Vec::new(),
            // Before the addresses are read, so that no change is missed.
            changes: net.address_changes()?,
            changed: false,
            not_before: Instant::now(),
            on_link: BTreeSet::new(),
            kinds: BTreeMap::new(),
            warned: false,
        };
        addresses.name(settings);
        (addresses.on_link, addresses.kinds) = addresses.now().await?;
        Ok(addresses)
    }

    /// Takes the interfaces, for the next [`Self::update`]. Returns whether they have changed.
    pub(crate) fn set_links(&mut self, links: &[Link], all: &[Link]) -> bool {
        let links = on_links(links, all);
        let changed = links != self.links;
        self.links = links;
        changed
    }

    /// Takes peers and registrars from `settings`, for the next [`Self::update`].
    pub(crate) fn name(&mut self, settings: &Settings) {
        let prefixes = |nets: &[IpNet]| nets.iter().copied().map(Prefix::Net).collect();
        self.peers = prefixes(&settings.peers);
        self.registrars = prefixes(&settings.registrars);
    }

    /// Reads the subnets on link, and makes the entries of `ADDRESSES`.
    async fn now(&mut self) -> Result<(BTreeSet<Prefix>, BTreeMap<Prefix, u32>)> {
        let started = Instant::now();
        self.changed = false;
        self.changes.forget();
        let mut facts = Facts {
            own: self.net.own().await?,
            routes: self.net.unicast_routes().await?,
            peers: self.peers.clone(),
            registrars: self.registrars.clone(),
            ..Facts::default()
        };
        for (link, holders) in &self.links {
            for holder in holders {
                for subnet in self.net.subnets(*holder).await? {
                    facts.on_link.entry(subnet).or_insert(*link);
                }
            }
        }
        let Kinds { entries, left_out } = facts.kinds(kinds::capacity());
        if left_out > 0 && !self.warned {
            self.warned = true;
            warn!(
                left_out,
                "this host has more routes than the programs can hold: {left_out} are left out, public ones first; name \
                 private peers behind them with --peer"
            );
        }
        let now = Instant::now();
        self.not_before = now + PAUSE.max((now - started) * PAUSE_FACTOR);
        Ok((facts.on_link.into_keys().collect(), entries))
    }

    /// Returns the addresses, for the programs to be loaded with.
    pub(crate) fn known(&self) -> HostAddresses {
        for subnet in &self.on_link {
            debug!(prefix = %subnet, "{subnet} is on the interfaces' own link: policy off");
        }
        for (prefix, kind) in &self.kinds {
            debug!(%prefix, kind, "{prefix} is of kind {kind:#x}");
        }
        HostAddresses {
            on_link: self.on_link.iter().copied().collect(),
            kinds: self.kinds(),
        }
    }

    /// Returns the entries of `ADDRESSES`.
    pub(crate) fn kinds(&self) -> Vec<(Prefix, u32)> {
        self.kinds.iter().map(|(p, kind)| (*p, *kind)).collect()
    }

    /// Returns this host's own addresses, without whole subnets of them (AnyIP).
    pub(crate) fn own(&self) -> Vec<IpAddr> {
        let own = self.kinds.iter();
        let own = own.filter(|(_, kind)| address::place(**kind) == address::LOCAL);
        let single = own.filter_map(|(prefix, _)| match prefix {
            Prefix::Net(net) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            _ => None,
        });
        single.collect()
    }

    /// Waits for a change, and until it is time for the next read. Dropped while it waits, it loses no change.
    pub(crate) async fn changed(&mut self) {
        if !self.changed {
            self.changes.next().await;
            self.changed = true;
        }
        sleep_until(self.not_before).await;
    }

    /// Reads the addresses again, and writes the differences to the maps.
    pub(crate) async fn update(
        &mut self,
        rules: &mut Rules,
        addresses: &mut AddressMap,
    ) -> Result<()> {
        let (on_link, kinds) = self.now().await?;
        policy::follow(rules, &self.on_link, &on_link)?;
        self.on_link = on_link;
        kinds::follow(addresses, &mut self.kinds, &kinds)
    }
}

/// Returns the indexes of the interfaces, each with those whose subnets are on its link: its own, and those of the bridge of
/// which it is a port.
fn on_links(links: &[Link], all: &[Link]) -> Vec<(u32, Vec<u32>)> {
    let holders = |link: &Link| {
        let bridge = link.controller.filter(|_| link.is_bridge_port(all));
        [Some(link.index), bridge].into_iter().flatten().collect()
    };
    let links = links.iter();
    links.map(|link| (link.index, holders(link))).collect()
}
