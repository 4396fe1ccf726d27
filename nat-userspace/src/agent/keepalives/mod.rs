//! Keepalives: the agent keeps the NAT mappings of registered terminals open (docs/keepalives.md).
//!
//! A mapping is a pair of the PBX's socket and a learned address, whatever number of contacts share it. Its record in
//! `KEEPALIVES` outlives the agent; commands read it there.

mod hosts;
mod message;
mod outcome;
mod pass;
mod pbx;
mod schedule;
mod sources;
mod sweep;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use anyhow::{Context as _, Result};
use nat_common::{
    abi::{ContactKey, Policy},
    endpoint::Endpoint,
    engine::keepalive::Ping,
};
use prometheus_client::metrics::histogram::Histogram;
use tracing::{debug, warn};

use self::{hosts::Hosts, pass::Pass, pbx::Sockets, schedule::Schedule, sources::Sources};
pub(crate) use self::{outcome::histogram, pass::TICK};
use crate::{
    agent::addresses::Addresses,
    host::{clock, raw_udp::RawUdp},
    kernel::{
        keepalives::Keepalives as Records,
        mapped::{Access, Bindings},
        policy,
        tables::Tables,
    },
    settings::{KeepaliveKind, Settings},
    view::{contacts::twin, rows::text_of},
};

/// Opens the sockets for keepalives, if the settings ask for any.
pub(crate) fn sockets(settings: &Settings) -> Result<Option<RawUdp>> {
    let open = settings.keepalives.are_on().then(RawUdp::open);
    open.transpose().context(
        "cannot open a raw socket for --keepalive: it needs CAP_NET_RAW; docs/keepalives.md shows how a systemd unit \
         allows it",
    )
}

/// Sender of keepalives.
pub(crate) struct Keepalives {
    raw: RawUdp,
    records: Records,
    contacts: Bindings<ContactKey>,
    cookie: [u64; 2],
    sockets: Sockets,
    /// Terminals that keep themselves alive.
    sources: Sources,
    mappings: HashMap<Pair, Mapping>,
    /// Mappings by the time at which something is due.
    queue: BTreeSet<(u64, Pair)>,
    /// Records that an earlier agent left, until the contacts are read.
    left: HashMap<Pair, u32>,
    free: Vec<u32>,
    hosts: Hosts,
    /// Reading of the contacts.
    pass: Pass,
    /// Terminals of this pass for which there is no record.
    beyond: u32,
    round_trips: Histogram,
    /// Warnings that were given.
    warned: Warned,
}

/// The PBX's socket, and the learned address.
type Pair = (SocketAddr, SocketAddr);

/// A mapping that is kept open.
#[derive(Debug)]
struct Mapping {
    /// Index of its record.
    index: u32,
    /// The contact that lasts longest.
    key: ContactKey,
    expires: u64,
    /// Number of the pass that found it last.
    pass: u64,
    phase: u64,
    /// Its time in the queue.
    due: u64,
    /// Whether the answer to the last ping is still to be looked at.
    open: bool,
}

#[derive(Debug, Default)]
struct Warned {
    sending: bool,
    full: bool,
    no_socket: bool,
}

impl Keepalives {
    /// Prepares to send. Mappings that an earlier agent kept open go on.
    pub(crate) fn open(raw: RawUdp, tables: &Tables, round_trips: Histogram) -> Result<Self> {
        let records = tables.keepalives(Access::Write)?;
        let left: HashMap<Pair, u32> = records
            .used()
            .map(|(index, record)| ((record.pbx.into(), record.terminal.into()), index))
            .collect();
        let free = (0..records.len()).rev();
        let free = free
            .filter(|index| !records.get(*index).is_used())
            .collect();
        let contacts = tables.contacts.open(Access::Read)?;
        Ok(Self {
            raw,
            records,
            pass: Pass::new(contacts.slots()),
            beyond: 0,
            contacts,
            cookie: tables.config()?.keepalive,
            sockets: Sockets::default(),
            sources: Sources::open(tables)?,
            mappings: HashMap::new(),
            queue: BTreeSet::new(),
            left,
            free,
            hosts: Hosts::default(),
            round_trips,
            warned: Warned::default(),
        })
    }

    /// Reads a part of the contacts, and sends what is due. `bound` are the addresses to which the PBX's sockets are bound.
    pub(crate) fn tick(
        &mut self,
        tables: &Tables,
        addresses: &Addresses<'_>,
        bound: &[SocketAddr],
        settings: &Settings,
    ) {
        if !settings.keepalives.are_on() && self.mappings.is_empty() && self.left.is_empty() {
            return;
        }
        let now = clock::precise();
        if self.pass.is_new() {
            self.find_sockets(addresses, bound, settings);
        }
        self.sweep(tables, settings, now);
        let schedule = Schedule::of(&settings.keepalives);
        let mut left = schedule.most(self.mappings.len(), TICK.as_nanos() as u64);
        while left > 0
            && let Some(&(due, pair)) = self.queue.first()
            && due <= now
        {
            self.queue.pop_first();
            if let Some((next, sent)) = self.turn(&pair, tables, settings, schedule, now) {
                self.enqueue(pair, next);
                left -= usize::from(sent);
            } else {
                self.forget(&pair);
            }
        }
    }

    /// Judges the last ping of a mapping and sends a keepalive if one is due. Returns the time of the next turn, and whether a
    /// keepalive was sent; none if the mapping need not be kept open any longer.
    fn turn(
        &mut self,
        pair: &Pair,
        tables: &Tables,
        settings: &Settings,
        schedule: Schedule,
        now: u64,
    ) -> Option<(u64, bool)> {
        let mapping = self.mappings.get_mut(pair)?;
        let (pbx, terminal) = *pair;
        let contact = self.contacts.get(&mapping.key);
        let Some(contact) =
            contact.filter(|it| it.expires > now && it.learned == Endpoint::from(terminal))
        else {
            // The next pass finds another contact of this mapping, or ends it.
            return Some((now + pass::SHORTEST, false));
        };
        if is_off(tables, terminal) {
            return None;
        }
        let heard = self.sources.last(terminal, now).max(contact.seen);
        let mut record = self.records.get(mapping.index);
        let known = record;
        if mapping.open {
            mapping.open = false;
            outcome::judge(&mut record, heard, &self.round_trips);
        } else if heard > record.sent {
            record.misses = 0;
        }
        record.silent = schedule.is_silent(record.misses).into();
        if heard + schedule.interval() > now {
            if record != known {
                self.records.set(mapping.index, &record);
            }
            return Some((heard + schedule.interval(), false));
        }
        let options;
        let kind = settings.keepalives.kind_for(terminal.ip());
        let payload = match kind {
            KeepaliveKind::Off => return None,
            KeepaliveKind::Crlf => &b"\r\n\r\n"[..],
            KeepaliveKind::Udp => &[0; 4],
            KeepaliveKind::Options => {
                let ping = Ping {
                    index: mapping.index,
                    nonce: Ping::digits(getrandom::u64().ok()?),
                };
                let by_uri = self.contacts.get(&twin(&mapping.key));
                let uri = by_uri.as_ref().map(text_of).unwrap_or_default();
                let target = message::target(uri, terminal);
                options = message::options(&target, pbx, &ping.branch(self.cookie));
                record.nonce = ping.nonce;
                options.as_bytes()
            }
        };
        record.sent = clock::precise();
        mapping.open = kind == KeepaliveKind::Options;
        if !mapping.open {
            outcome::forget(&mut record);
        }
        // Before the packet leaves, because its answer may come at once.
        self.records.set(mapping.index, &record);
        if let Err(error) = self.raw.send(pbx, terminal, payload) {
            mapping.open = false;
            outcome::forget(&mut record);
            self.records.set(mapping.index, &record);
            if self.warned.sending {
                debug!("no keepalive from {pbx} to {terminal}: {error}");
            } else {
                self.warned.sending = true;
                warn!(
                    "cannot send a keepalive from {pbx} to {terminal}: {error}. See its route, and this host's firewall"
                );
            }
        }
        Some((schedule.next(now, record.misses, mapping.phase), true))
    }

    /// Has a mapping wait until something is due.
    fn enqueue(&mut self, pair: Pair, due: u64) {
        if let Some(mapping) = self.mappings.get_mut(&pair) {
            reschedule(&mut self.queue, pair, mapping, due);
        }
    }
}

/// Whether a policy forbids redirects to a terminal.
fn is_off(tables: &Tables, terminal: SocketAddr) -> bool {
    policy::lookup(&tables.policy, terminal.ip()) == Policy::Off
}

/// Gives a mapping another time in the queue.
fn reschedule(queue: &mut BTreeSet<(u64, Pair)>, pair: Pair, mapping: &mut Mapping, due: u64) {
    queue.remove(&(mapping.due, pair));
    mapping.due = due;
    queue.insert((due, pair));
}
