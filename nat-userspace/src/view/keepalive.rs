//! A guess, from STUN keepalives (RFC 5626 3.5.2), at terminals whose address has changed.
//!
//! STUN has no identity. Where one address falls silent, and then another port of the same host begins, the terminal's
//! mapping may have changed. The guess is only shown to the operator. The binding moves when the PBX accepts a message
//! from the new address.
//!
//! A source is silent if its last keepalive is older than 1.5 times its usual interval (`patience`). The usual interval
//! is the mean so far, but
//! - [`FIRST`] while only a few requests came, since a request may be repeated after half a second (RFC 8489 6.2.1). It is
//!   a little more than the 24 to 29 s that RFC 5626 4.4.1 asks for;
//! - at most [`LONGEST`]: no mapping without traffic should be relied on for longer (RFC 4787 4.3). The kernel counts
//!   requests up to 255, after which the mean would grow.
//!
//! If one of two phones behind a NAT is turned off, and then the other on, the first seems to have moved.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nat_common::abi::{Entry, StunFlags, StunSource, TICK_SHIFT, age};

use crate::view::rows::Row;

/// A source of STUN keepalives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) addr: SocketAddr,
    /// Time since its last keepalive.
    pub(crate) silent: Duration,
    /// Time since its first keepalive.
    known: Duration,
    /// Number of keepalives, as far as the kernel counts.
    count: u8,
}

/// Keepalives, and the bindings whose terminals they show.
pub(super) struct Keepalives {
    sources: Vec<Source>,
    /// Seconds since the last keepalive of each source.
    seen: HashMap<SocketAddr, u64>,
    /// Those of the sources that are learned addresses.
    learned: HashSet<SocketAddr>,
    moved: BTreeMap<SocketAddr, Moved>,
}

impl Keepalives {
    pub(super) fn of(sources: Vec<Source>) -> Self {
        let seen = sources.iter();
        Self {
            seen: seen
                .map(|source| (source.addr, source.silent.as_secs()))
                .collect(),
            sources,
            learned: HashSet::new(),
            moved: BTreeMap::new(),
        }
    }

    /// Whether there are any.
    pub(super) fn are_there(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Takes note of the learned address of a binding.
    pub(super) fn see(&mut self, learned: SocketAddr) {
        if self.seen.contains_key(&learned) {
            self.learned.insert(learned);
        }
    }

    /// Finds out who has moved, once all learned addresses were seen.
    pub(super) fn find_moved(&mut self) {
        self.moved = moved(&self.sources, &self.learned);
    }

    /// Enters keepalives into a row: they are signs of life, and show that a terminal has moved.
    pub(super) fn enter(&self, row: &mut Row) {
        if let Some(&seen) = self.seen.get(&row.learned) {
            row.stun_seen_seconds_ago = Some(seen);
            row.seen_seconds_ago = row.seen_seconds_ago.min(seen);
        }
        if let Some(moved) = self.moved.get(&row.learned) {
            row.moved = true;
            row.moved_to = match moved {
                Moved::To(addr) => Some(*addr),
                Moved::Somewhere => None,
            };
        }
    }
}

/// New address of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    To(SocketAddr),
    /// Not known: several terminals have moved, or several addresses may be it.
    Somewhere,
}

/// Usual interval of a source that has sent few requests.
const FIRST: Duration = Duration::from_secs(30);
/// Number of requests from which on their mean interval counts.
const ENOUGH: u8 = 5;
/// Shortest usual interval, since single packets are lost.
const SHORTEST: Duration = Duration::from_secs(5);
/// Longest usual interval.
const LONGEST: Duration = Duration::from_secs(300);

impl Source {
    /// Reads an entry of `STUN`; none if the source has sent no keepalive.
    pub(crate) fn of(entry: &Entry<StunSource>, now: u64) -> Option<Self> {
        let ago = |at: u64| Duration::from_nanos(age(now, at) << TICK_SHIFT);
        let source = &entry.value;
        source.flags.contains(StunFlags::KEEPALIVE).then(|| Self {
            addr: source.source().into(),
            silent: ago(entry.at),
            known: ago(source.first),
            count: source.requests,
        })
    }

    /// Returns the silence that is still usual.
    fn patience(&self) -> Duration {
        let usual = if self.count < ENOUGH {
            FIRST
        } else {
            let mean = self.known.saturating_sub(self.silent) / u32::from(self.count - 1);
            mean.clamp(SHORTEST, LONGEST)
        };
        usual * 3 / 2
    }

    fn is_silent(&self) -> bool {
        self.silent > self.patience()
    }
}

/// Returns which of the `learned` addresses of bindings their terminals have left.
fn moved(sources: &[Source], learned: &HashSet<SocketAddr>) -> BTreeMap<SocketAddr, Moved> {
    let mut hosts: BTreeMap<IpAddr, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        hosts.entry(source.addr.ip()).or_default().push(source);
    }
    let mut moved = BTreeMap::new();
    for host in hosts.values() {
        // Addresses that were left, each with those that began after its last keepalive.
        let left: Vec<(SocketAddr, Vec<SocketAddr>)> = host
            .iter()
            .filter(|old| old.is_silent() && learned.contains(&old.addr))
            .map(|old| {
                let began_since = |new: &&&Source| {
                    new.known < old.silent && !new.is_silent() && !learned.contains(&new.addr)
                };
                let new = host.iter().filter(began_since).map(|new| new.addr);
                (old.addr, new.collect())
            })
            .filter(|(_, new): &(_, Vec<_>)| !new.is_empty())
            .collect();
        for (old, new) in &left {
            let to = match (left.len(), new.as_slice()) {
                (1, [new]) => Moved::To(*new),
                _ => Moved::Somewhere,
            };
            moved.insert(*old, to);
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use nat_common::abi::{DialogKey, SECOND, ticks};
    use nat_common::endpoint::Endpoint;

    use super::*;
    use crate::view::rows::{
        BindingKind, RowKey,
        tests::{NOW, binding},
    };

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([60, 17, 196, 2], port))
    }

    /// First and last keepalive, in seconds ago, and how many.
    fn source(port: u16, known: u64, silent: u64, count: u8) -> Source {
        Source {
            addr: at(port),
            silent: Duration::from_secs(silent),
            known: Duration::from_secs(known),
            count,
        }
    }

    #[test]
    fn a_keepalive_is_a_sign_of_life_and_shows_who_moved() {
        let entry = |port, first: u64, last: u64| {
            let ago = |seconds: u64| ticks(NOW - seconds * SECOND);
            let mut value = StunSource {
                first: ago(first),
                flags: StunFlags::KEEPALIVE,
                requests: 4,
                ..StunSource::default()
            };
            value.set_source(&Endpoint::v4([60, 17, 196, 2], port));
            Entry {
                value,
                at: ago(last),
            }
        };
        let shown = |seen: u64, entries: &[Entry<StunSource>]| {
            let mut b = binding("1000@60.17.196.2");
            b.seen = NOW - seen * SECOND;
            let key = RowKey::Dialog(DialogKey::default());
            let mut row = Row::new(key, BindingKind::Dialog, &b, NOW);
            let sources = entries.iter();
            let sources = sources.filter_map(|entry| Source::of(entry, ticks(NOW)));
            let mut keepalives = Keepalives::of(sources.collect());
            keepalives.see(row.learned);
            keepalives.find_moved();
            keepalives.enter(&mut row);
            let seen = (row.seen_seconds_ago, row.stun_seen_seconds_ago);
            (seen, row.moved, row.moved_to.map(|addr| addr.port()))
        };
        let (mine, other) = (49163, 49164);
        assert_eq!(shown(100, &[]), ((100, None), false, None));
        let lives = ((50, Some(50)), false, None);
        assert_eq!(shown(100, &[entry(mine, 90, 50)]), lives);
        assert_eq!(shown(9, &[entry(mine, 90, 50)]).0, (9, Some(50)));
        assert_eq!(shown(100, &[entry(other, 90, 50)]).0, (100, None));
        let moved = [entry(mine, 90, 50), entry(other, 40, 10)];
        assert_eq!(shown(100, &moved), ((50, Some(50)), true, Some(other)));
    }

    /// Ports 1 to 3 are the learned addresses of bindings.
    #[test]
    fn a_terminal_has_moved_if_another_begins_after_it_fell_silent() {
        use Moved::{Somewhere, To};
        // 25 s apart, as usual for port 1 at last seen 60 s ago.
        let silent = source(1, 560, 60, 21);
        for (what, sources, expected) in [
            (
                "the mapping changed",
                &[silent, source(9, 35, 10, 2)][..],
                &[(1, To(at(9)))][..],
            ),
            ("switched off", &[silent], &[]),
            (
                "another starts up, the first goes on",
                &[source(1, 560, 10, 23), source(9, 200, 20, 8)],
                &[],
            ),
            (
                "another starts up 1 s after a keepalive",
                &[source(1, 524, 24, 21), source(9, 23, 23, 1)],
                &[],
            ),
            (
                "one keepalive was lost",
                &[source(1, 537, 37, 21), source(9, 11, 11, 1)],
                &[],
            ),
            (
                "the new one was there before the old one fell silent",
                &[silent, source(9, 61, 10, 4)],
                &[],
            ),
            (
                "the new one has fallen silent, too",
                &[source(1, 900, 400, 21), source(9, 300, 50, 11)],
                &[],
            ),
            (
                "the new one has a binding by now",
                &[silent, source(2, 35, 10, 2)],
                &[],
            ),
            (
                "no binding has the old one",
                &[source(8, 560, 60, 21), source(9, 35, 10, 2)],
                &[],
            ),
            (
                "two may be it",
                &[silent, source(8, 30, 5, 2), source(9, 35, 10, 2)],
                &[(1, Somewhere)],
            ),
            (
                "two have moved",
                &[silent, source(2, 560, 61, 21), source(9, 35, 10, 2)],
                &[(1, Somewhere), (2, Somewhere)],
            ),
            (
                "another is silent, but longer than anything new is known",
                &[silent, source(2, 560, 44, 21), source(9, 50, 10, 2)],
                &[(1, To(at(9)))],
            ),
            (
                "every 10 s, silent for 16",
                &[source(1, 216, 16, 21), source(9, 12, 2, 2)],
                &[(1, To(at(9)))],
            ),
            (
                "one request and its repetitions tell of no interval",
                &[source(1, 41, 40, 3), source(9, 12, 2, 2)],
                &[],
            ),
            (
                "but of 45 s of silence",
                &[source(1, 47, 46, 3), source(9, 12, 2, 2)],
                &[(1, To(at(9)))],
            ),
            (
                "a day of keepalives, of which 255 are counted",
                &[source(1, 86_851, 451, 255), source(9, 20, 20, 1)],
                &[(1, To(at(9)))],
            ),
            (
                "the same, too early to tell",
                &[source(1, 86_849, 449, 255), source(9, 20, 20, 1)],
                &[],
            ),
        ] {
            let learned = [1, 2, 3].map(at).into();
            let expected = expected.iter().map(|(port, to)| (at(*port), *to)).collect();
            assert_eq!(moved(sources, &learned), expected, "{what}");
        }
    }

    /// The agent reads the clock before the table.
    #[test]
    fn a_keepalive_that_came_after_the_clock_was_read_is_new() {
        let now = ticks(100 * SECOND);
        let entry = keepalives(now - ticks(50 * SECOND), now + 1);
        let source = Source::of(&entry, now).unwrap();
        assert_eq!(source.silent, Duration::ZERO);
        let others = [source, self::source(9, 35, 10, 2)];
        assert!(moved(&others, &[at(1)].into()).is_empty());
    }

    #[test]
    fn another_host_is_another_terminal() {
        let mut new = source(9, 35, 10, 2);
        new.addr.set_ip([60, 17, 196, 3].into());
        let learned = [at(1)].into();
        assert!(moved(&[source(1, 560, 60, 21), new], &learned).is_empty());
    }

    fn keepalives(first: u64, last: u64) -> Entry<StunSource> {
        let mut source = StunSource {
            first,
            flags: StunFlags::KEEPALIVE,
            requests: 7,
            ..StunSource::default()
        };
        source.set_source(&Endpoint::v4([60, 17, 196, 2], 1));
        Entry {
            value: source,
            at: last,
        }
    }

    #[test]
    fn the_kernel_s_notes_are_read_beyond_32_bits_of_its_clock() {
        let last = u64::from(u32::MAX);
        let mut entry = keepalives(last - ticks(SECOND), last);
        let source = Source::of(&entry, last + ticks(3 * SECOND)).unwrap();
        assert_eq!((source.addr, source.count), (at(1), 7));
        assert_eq!(source.silent.as_secs_f64().round(), 3.0);
        assert_eq!(source.known.as_secs_f64().round(), 4.0);
        entry.value.flags = StunFlags::empty();
        assert_eq!(Source::of(&entry, last), None);
    }
}
