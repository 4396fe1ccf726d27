//! Which NAT mappings are kept open: those of the contacts, which are read in passes.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
};

use nat_common::abi::{Binding, BindingFlags, ContactKey, Keepalive};
use tracing::{info, warn};

use super::{
    Keepalives, Mapping, Pair, hosts, is_off, pbx::Sockets, reschedule, schedule::Schedule,
};
use crate::{
    agent::addresses::Addresses,
    kernel::tables::Tables,
    settings::{KeepaliveKind, Settings},
    view::contacts::{is_row, twin},
};

impl Keepalives {
    /// Reads a part of the contacts. At the end of a pass, mappings without a contact are forgotten.
    pub(super) fn sweep(&mut self, tables: &Tables, settings: &Settings, now: u64) {
        let schedule = Schedule::of(&settings.keepalives);
        let mut pass = self.pass;
        let mut binding = Binding::EMPTY;
        let ended = pass.tick(|slot| {
            let key = self.contacts.copy(slot, &mut binding);
            if let Some(key) = key
                && let Some(pair) = self.pair(&key, &binding, settings, now)
                && !self.keep(pair, &key, &binding, schedule, now)
            {
                self.begin(pair, &key, &binding, tables, schedule, now);
            }
        });
        let last = self.pass.number;
        self.pass = pass;
        if ended {
            self.end_pass(last);
        }
    }

    /// Returns the mapping of a contact, if it is to be kept open: the terminal is behind a NAT, hears the PBX at its learned address,
    /// and the PBX's socket is known.
    fn pair(
        &self,
        key: &ContactKey,
        binding: &Binding,
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
        let pbx = self.sockets.get(binding.pbx)?;
        if pbx.is_ipv4() != terminal.is_ipv4() {
            return None;
        }
        // Lookups come last: each takes two cache misses in a large table.
        let get = |key: &ContactKey| self.contacts.get(key).filter(|found| found.expires > now);
        if !is_row(key, binding, now, get) {
            return None;
        }
        // Requests that name only the Contact URI show there where they go (Asterisk).
        let goes_elsewhere =
            |it: Binding| it.flags.contains(BindingFlags::LEFT_ALONE) || it.is_ambiguous(now);
        if get(&twin(key)).is_some_and(goes_elsewhere) {
            return None;
        }
        Some((pbx, terminal))
    }

    /// Goes on to keep a mapping open that has this contact. False if it is not kept open yet.
    fn keep(
        &mut self,
        pair: Pair,
        key: &ContactKey,
        binding: &Binding,
        schedule: Schedule,
        now: u64,
    ) -> bool {
        let Some(known) = self.mappings.get_mut(&pair) else {
            return false;
        };
        if known.expires < binding.expires || known.pass != self.pass.number {
            (known.key, known.expires) = (*key, binding.expires);
        }
        known.pass = self.pass.number;
        if known.due > now + schedule.interval() {
            // It was silent, or the interval was longer. Once it is heard again, its next keepalive must not wait.
            let record = self.records.get(known.index);
            let heard = self.sources.last(pair.1, now).max(binding.seen);
            let due = if heard.max(record.answered) > record.sent {
                now
            } else {
                let next = schedule.next(now, record.misses, known.phase);
                next.min(known.due)
            };
            reschedule(&mut self.queue, pair, known, due);
        }
        true
    }

    /// Begins to keep a mapping open, or goes on where an earlier agent ended.
    fn begin(
        &mut self,
        pair: Pair,
        key: &ContactKey,
        binding: &Binding,
        tables: &Tables,
        schedule: Schedule,
        now: u64,
    ) {
        let left = self.left.get(&pair).copied();
        let has_room = left.is_some() || self.hosts.has_room(pair.1) && !self.free.is_empty();
        // The policy is looked up last: that is a system call.
        if !has_room || is_off(tables, pair.1) {
            self.beyond += u32::from(!has_room);
            return;
        }
        let index = match left {
            Some(index) => {
                self.left.remove(&pair);
                index
            }
            None => {
                let Some(index) = self.free.pop() else { return };
                let new = Keepalive {
                    pbx: pair.0.into(),
                    terminal: pair.1.into(),
                    ..Keepalive::default()
                };
                self.records.set(index, &new);
                index
            }
        };
        self.hosts.add(pair.1);
        let record = self.records.get(index);
        let heard = self.sources.last(pair.1, now).max(binding.seen);
        let phase = phase(&pair);
        let due = schedule.first(heard.max(record.sent), now, phase);
        self.queue.insert((due, pair));
        let mapping = Mapping {
            index,
            key: *key,
            expires: binding.expires,
            pass: self.pass.number,
            phase,
            due,
            open: record.nonce != [0; 2],
        };
        self.mappings.insert(pair, mapping);
    }

    /// Forgets the mappings that neither the last pass nor the one before has found: a contact that the programs just wrote may be
    /// missed once.
    fn end_pass(&mut self, last: u64) {
        let known = self.mappings.iter();
        let gone = known.filter(|(_, known)| known.pass + 1 < last);
        let gone: Vec<Pair> = gone.map(|(pair, _)| *pair).collect();
        gone.iter().for_each(|pair| self.forget(pair));
        if !self.sockets.is_empty() {
            for (_, index) in self.left.drain() {
                self.records.set(index, &Keepalive::default());
                self.free.push(index);
            }
        }
        let beyond = std::mem::take(&mut self.beyond);
        if beyond > 0 && !self.warned.full {
            self.warned.full = true;
            warn!(
                "{beyond} terminals get no keepalives: set size-keepalives to more, unless more than {} of them share \
                 an address, or a /64 of IPv6",
                hosts::MOST
            );
        }
    }

    /// Stops keeping a mapping open, and frees its record.
    pub(super) fn forget(&mut self, pair: &Pair) {
        let Some(mapping) = self.mappings.remove(pair) else {
            return;
        };
        self.queue.remove(&(mapping.due, *pair));
        self.hosts.remove(pair.1);
        self.records.set(mapping.index, &Keepalive::default());
        self.free.push(mapping.index);
    }

    /// Finds the PBX's sockets.
    pub(super) fn find_sockets(
        &mut self,
        addresses: &Addresses<'_>,
        bound: &[SocketAddr],
        settings: &Settings,
    ) {
        let own = addresses.own();
        if settings.pbxs.is_empty() {
            self.sockets.follow(&own, &settings.ports, bound);
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
}

/// Returns the phase of a mapping.
fn phase(pair: &Pair) -> u64 {
    let mut hasher = DefaultHasher::new();
    pair.hash(&mut hasher);
    hasher.finish()
}
