//! Keepalives: the agent keeps the NAT mappings of registered terminals open (docs/keepalives.md).
//!
//! A mapping is a pair of the PBX's socket and a learned address, whatever number of contacts share it. Its record in
//! `KEEPALIVES` outlives the agent; commands read it there.

mod hosts;
mod message;
mod pbx;
mod schedule;

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nat_common::{
    abi::{Binding, BindingFlags, ContactKey, Keepalive, Policy, ticks},
    endpoint::Endpoint,
    engine::{keepalive::Ping, lifetimes::FOREVER},
};
use prometheus_client::metrics::histogram::Histogram;
use tracing::{debug, info, warn};

use self::{hosts::Hosts, pbx::Sockets, schedule::Schedule};
use crate::{
    agent::addresses::Addresses,
    host::{clock, raw_udp::RawUdp, sockets as udp_sockets},
    kernel::{
        keepalives::Keepalives as Records,
        mapped::{Access, Bindings},
        policy,
        tables::Tables,
    },
    settings::{KeepaliveKind, Settings},
    view::{
        contacts::{Contacts, twin},
        keepalive::Source,
        rows::text_of,
    },
};

/// Time between two looks at what is due.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Nanoseconds between two reads of the contacts and of the sources of STUN.
const SWEEP: u64 = 2_000_000_000;
/// Upper bounds of the histogram of round-trip times, in seconds.
const BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Returns an empty histogram of round-trip times.
pub(crate) fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

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
    /// Times of the last STUN keepalives, by source.
    stun: HashMap<SocketAddr, u64>,
    mappings: HashMap<Pair, Mapping>,
    /// Mappings by the time at which something is due.
    queue: BTreeSet<(u64, Pair)>,
    /// Records that an earlier agent left, until the contacts are read.
    left: HashMap<Pair, u32>,
    free: Vec<u32>,
    hosts: Hosts,
    next_sweep: u64,
    sweeps: u64,
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
    /// Number of the sweep that found it last.
    sweep: u64,
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
        Ok(Self {
            raw,
            records,
            contacts: tables.contacts.open(Access::Read)?,
            cookie: tables.config()?.keepalive,
            sockets: Sockets::default(),
            stun: HashMap::new(),
            mappings: HashMap::new(),
            queue: BTreeSet::new(),
            left,
            free,
            hosts: Hosts::default(),
            next_sweep: 0,
            sweeps: 0,
            round_trips,
            warned: Warned::default(),
        })
    }

    /// Sends what is due.
    pub(crate) fn tick(&mut self, tables: &Tables, addresses: &Addresses<'_>, settings: &Settings) {
        let now = clock::precise();
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            if let Err(error) = self.sweep(tables, addresses, settings, now) {
                warn!("cannot read who needs keepalives: {error:#}");
            }
        }
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

    /// Reads which mappings there are.
    fn sweep(
        &mut self,
        tables: &Tables,
        addresses: &Addresses<'_>,
        settings: &Settings,
        now: u64,
    ) -> Result<()> {
        self.sweeps += 1;
        self.find_sockets(addresses, settings);
        let tick = ticks(now);
        let sources = tables.stun.read()?;
        let sources = sources.live(tick, FOREVER);
        let sources = sources.filter_map(|slot| Source::of(&slot.entry, tick));
        let heard = |source: Source| {
            (
                source.addr,
                now.saturating_sub(source.silent.as_nanos() as u64),
            )
        };
        self.stun = sources.map(heard).collect();

        let schedule = Schedule::of(&settings.keepalives);
        let mut contacts = Contacts::new(tables.contacts.open(Access::Read)?, now);
        contacts.visit(|_, _| {});
        let mut beyond = 0_u32;
        contacts.each(|key, binding, by_uri| {
            let Some(pair) = self.pair(binding, by_uri, settings, now) else {
                return;
            };
            let mapping = match self.mappings.entry(pair) {
                Entry::Occupied(known) => {
                    let known = known.into_mut();
                    if known.expires < binding.expires || known.sweep != self.sweeps {
                        (known.key, known.expires) = (*key, binding.expires);
                    }
                    if known.due > now + schedule.interval() {
                        // It was silent, or the interval was longer. Once it is heard again, its next keepalive must not wait.
                        let record = self.records.get(known.index);
                        let heard = last(&self.stun, pair.1).max(binding.seen);
                        let due = if heard.max(record.answered) > record.sent {
                            now
                        } else {
                            let next = schedule.next(now, record.misses, known.phase);
                            next.min(known.due)
                        };
                        reschedule(&mut self.queue, pair, known, due);
                    }
                    known
                }
                Entry::Vacant(new) => {
                    if is_off(tables, pair.1) {
                        return;
                    }
                    let found = self.left.remove(&pair);
                    let is_free = self.hosts.has_room(pair.1);
                    let index = found.or_else(|| is_free.then(|| self.free.pop()).flatten());
                    let Some(index) = index else {
                        beyond += 1;
                        return;
                    };
                    self.hosts.add(pair.1);
                    let mut record = self.records.get(index);
                    if found.is_none() {
                        record = Keepalive {
                            pbx: pair.0.into(),
                            terminal: pair.1.into(),
                            ..Keepalive::default()
                        };
                        self.records.set(index, &record);
                    }
                    let phase = phase(&pair);
                    let heard = last(&self.stun, pair.1).max(binding.seen);
                    let heard = heard.max(record.sent);
                    let due = schedule.first(heard, now, phase);
                    self.queue.insert((due, pair));
                    new.insert(Mapping {
                        index,
                        key: *key,
                        expires: binding.expires,
                        sweep: 0,
                        phase,
                        due,
                        open: record.nonce != [0; 2],
                    })
                }
            };
            mapping.sweep = self.sweeps;
        });
        let gone: Vec<Pair> = self
            .mappings
            .iter()
            .filter(|(_, known)| known.sweep != self.sweeps)
            .map(|(pair, _)| *pair)
            .collect();
        gone.iter().for_each(|pair| self.forget(pair));
        if !self.sockets.is_empty() {
            for (_, index) in self.left.drain() {
                self.records.set(index, &Keepalive::default());
                self.free.push(index);
            }
        }
        if beyond > 0 && !self.warned.full {
            self.warned.full = true;
            warn!(
                "{beyond} terminals get no keepalives: set size-keepalives to more, unless more than {} of them share \
                 an address, or a /64 of IPv6",
                hosts::MOST
            );
        }
        Ok(())
    }

    /// Returns the mapping of a contact, if it is to be kept open: the terminal is behind a NAT, hears the PBX at its learned address,
    /// and the PBX's socket is known.
    fn pair(
        &self,
        binding: &Binding,
        by_uri: Option<&Binding>,
        settings: &Settings,
        now: u64,
    ) -> Option<Pair> {
        let direct = binding.flags & (BindingFlags::DIRECT | BindingFlags::LEFT_ALONE)
            == BindingFlags::DIRECT;
        let behind_nat = !binding.advertised.is_unknown() && binding.advertised != binding.learned;
        if !direct || !behind_nat || binding.is_ambiguous(now) {
            return None;
        }
        let terminal: SocketAddr = binding.learned.into();
        let named = settings.peers.iter().chain(&settings.registrars);
        let is_named = { named }.any(|net| net.contains(&terminal.ip()));
        if is_named || settings.keepalives.kind_for(terminal.ip()) == KeepaliveKind::Off {
            return None;
        }
        // Requests that name only the Contact URI show there where they go (Asterisk).
        let goes_elsewhere =
            |it: &Binding| it.flags.contains(BindingFlags::LEFT_ALONE) || it.is_ambiguous(now);
        if by_uri.is_some_and(goes_elsewhere) {
            return None;
        }
        let pbx = self.sockets.get(binding.pbx)?;
        (pbx.is_ipv4() == terminal.is_ipv4()).then_some((pbx, terminal))
    }

    /// Finds the PBX's sockets.
    fn find_sockets(&mut self, addresses: &Addresses<'_>, settings: &Settings) {
        let own = addresses.own();
        if settings.pbxs.is_empty() {
            match udp_sockets::udp() {
                Ok(bound) => self.sockets.follow(&own, &settings.ports, &bound),
                Err(error) => {
                    debug!("cannot list the UDP sockets: {error}");
                    return;
                }
            }
        } else {
            self.sockets = Sockets::behind(&own, &settings.ports, &settings.pbxs);
        }
        if self.sockets.is_empty() != self.warned.no_socket {
            self.warned.no_socket = self.sockets.is_empty();
            if !self.warned.no_socket {
                info!("keepalives are sent: the PBX has its socket");
            } else if settings.pbxs.is_empty() {
                warn!("no keepalives are sent: no socket of this host has the PBX's port yet");
            } else {
                warn!(
                    "no keepalives are sent: this host has the address of --pbx itself, and translates it (NAT), so that \
                     keepalives would get another port"
                );
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
            // The next sweep finds another contact of this mapping, or ends it.
            return Some((self.next_sweep, false));
        };
        if is_off(tables, terminal) {
            return None;
        }
        let heard = last(&self.stun, terminal).max(contact.seen);
        let mut record = self.records.get(mapping.index);
        let known = record;
        if mapping.open {
            mapping.open = false;
            judge(&mut record, heard, &self.round_trips);
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
            forget_outcome(&mut record);
        }
        // Before the packet leaves, because its answer may come at once.
        self.records.set(mapping.index, &record);
        if let Err(error) = self.raw.send(pbx, terminal, payload) {
            mapping.open = false;
            forget_outcome(&mut record);
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

    /// Stops keeping a mapping open, and frees its record.
    fn forget(&mut self, pair: &Pair) {
        let Some(mapping) = self.mappings.remove(pair) else {
            return;
        };
        self.queue.remove(&(mapping.due, *pair));
        self.hosts.remove(pair.1);
        self.records.set(mapping.index, &Keepalive::default());
        self.free.push(mapping.index);
    }
}

/// Whether a policy forbids redirects to a terminal.
fn is_off(tables: &Tables, terminal: SocketAddr) -> bool {
    policy::lookup(&tables.policy, terminal.ip()) == Policy::Off
}

/// Returns the time of the last STUN keepalive from a source; 0: there was none.
fn last(stun: &HashMap<SocketAddr, u64>, source: SocketAddr) -> u64 {
    stun.get(&source).copied().unwrap_or_default()
}

/// Gives a mapping another time in the queue.
fn reschedule(queue: &mut BTreeSet<(u64, Pair)>, pair: Pair, mapping: &mut Mapping, due: u64) {
    queue.remove(&(mapping.due, pair));
    mapping.due = due;
    queue.insert((due, pair));
}

/// Looks at what became of the last ping of a record, whose terminal was last heard by itself at `heard`.
fn judge(record: &mut Keepalive, heard: u64, round_trips: &Histogram) {
    /// Weight of the smoothed round-trip time before (RFC 6298 2.3).
    const WEIGHT: u64 = 7;
    if let Some(time) = record.answer_time() {
        let micros = (time / 1000).clamp(1, u32::MAX.into());
        round_trips.observe(Duration::from_nanos(time).as_secs_f64());
        let smoothed = match u64::from(record.smoothed) {
            0 => micros,
            before => (before * WEIGHT + micros) / (WEIGHT + 1),
        };
        record.round_trip = micros as u32;
        record.smoothed = smoothed as u32;
        record.misses = 0;
    } else if heard > record.sent {
        record.misses = 0;
    } else {
        record.misses = record.misses.saturating_add(1);
    }
}

/// Forgets the outcome of the pings before: no answer can come, so nothing is known of the terminal any more.
fn forget_outcome(record: &mut Keepalive) {
    (record.nonce, record.misses, record.silent) = ([0; 2], 0, 0);
    (record.round_trip, record.smoothed) = (0, 0);
}

/// Returns the phase of a mapping.
fn phase(pair: &Pair) -> u64 {
    let mut hasher = DefaultHasher::new();
    pair.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_the_round_trip_time_and_ends_silence() {
        let round_trips = histogram();
        let mut record = Keepalive {
            sent: 1_000_000,
            answered: 21_000_000,
            misses: 7,
            ..Keepalive::default()
        };
        judge(&mut record, 0, &round_trips);
        assert_eq!(
            (record.misses, record.round_trip, record.smoothed),
            (0, 20_000, 20_000)
        );
        (record.sent, record.answered) = (100_000_000, 200_000_000);
        judge(&mut record, 0, &round_trips);
        assert_eq!((record.round_trip, record.smoothed), (100_000, 30_000));
        // The answer is that to the ping before.
        record.sent = 300_000_000;
        judge(&mut record, 0, &round_trips);
        let sent = record.sent;
        judge(&mut record, sent, &round_trips);
        assert_eq!((record.misses, record.round_trip), (2, 100_000));
        // It was heard by itself since.
        judge(&mut record, sent + 1, &round_trips);
        assert_eq!(record.misses, 0);
    }

    #[test]
    fn where_no_answer_can_come_nothing_is_known() {
        let mut record = Keepalive {
            nonce: Ping::digits(5),
            sent: 300,
            answered: 200,
            misses: 7,
            silent: 1,
            round_trip: 20_000,
            smoothed: 30_000,
            ..Keepalive::default()
        };
        forget_outcome(&mut record);
        let known = Keepalive {
            sent: 300,
            answered: 200,
            ..Keepalive::default()
        };
        assert_eq!(record, known);
    }
}
