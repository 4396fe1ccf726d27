//! The maps, typed: of programs just loaded, or opened from their pins.

use std::{cmp::Reverse, fmt::Display, io, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, Pod,
    maps::{
        Array, HashMap, IterableMap as _, LpmTrie, Map, MapData, MapError, MapType, PerCpuArray,
    },
};
use nat_common::abi::{
    ABI, Binding, Config, ContactKey, Counter, DialogKey, PolicyRule, Record, Set, map,
};

use crate::kernel::batch;

/// Key of `POLICY`: prefix length and address.
pub(crate) type PolicyKey = [u8; 16];

/// Every map that kernel programs and user space share.
pub struct Tables {
    /// What the programs were told.
    pub config: Array<MapData, Config>,
    /// What may be done with packets for a terminal.
    pub policy: LpmTrie<MapData, PolicyKey, PolicyRule>,
    /// Active dialog ends.
    pub dialogs: HashMap<MapData, DialogKey, Binding>,
    /// Active contacts.
    pub contacts: HashMap<MapData, ContactKey, Binding>,
    /// Transactions that terminals opened.
    pub inbound: Array<MapData, Set>,
    /// Transactions that the PBX opened.
    pub outbound: Array<MapData, Set>,
    /// Dialog ends not yet accepted by the PBX.
    pub pending: Array<MapData, Set>,
    /// Learned addresses, and whether they answer.
    pub peers: Array<MapData, Set>,
    /// Datagrams that the PBX sends in fragments.
    pub fragments: Array<MapData, Set>,
    /// What was decided, the oldest overwritten.
    pub history: Array<MapData, Record>,
    /// What an address is to this host: one of [`nat_common::abi::address`].
    pub addresses: LpmTrie<MapData, PolicyKey, u32>,
    /// Where STUN requests come from.
    pub stun: Array<MapData, Set>,
    /// Indexed by [`Counter`].
    pub counters: PerCpuArray<MapData, u64>,
}

/// What a map must look like to be read by this sipnat.
struct Layout {
    name: &'static str,
    map_type: MapType,
    key: usize,
    value: usize,
    entries: Entries,
}

/// How many entries a map must have.
enum Entries {
    Any,
    Exactly(u32),
}

/// Of what [`Tables`] has, in its order.
const MAPS: usize = 13;

const LAYOUTS: [Layout; MAPS] = [
    Layout {
        entries: Entries::Exactly(1),
        ..Layout::array::<Config>(map::CONFIG, MapType::Array)
    },
    Layout::trie::<PolicyRule>(map::POLICY),
    Layout::hash::<DialogKey>(map::DIALOGS),
    Layout::hash::<ContactKey>(map::CONTACTS),
    Layout::array::<Set>(map::INBOUND, MapType::Array),
    Layout::array::<Set>(map::OUTBOUND, MapType::Array),
    Layout::array::<Set>(map::PENDING, MapType::Array),
    Layout::array::<Set>(map::PEERS, MapType::Array),
    Layout::array::<Set>(map::FRAGMENTS, MapType::Array),
    Layout::array::<Record>(map::HISTORY, MapType::Array),
    Layout::trie::<u32>(map::ADDRESSES),
    Layout::array::<Set>(map::STUN, MapType::Array),
    Layout {
        entries: Entries::Exactly(Counter::COUNT),
        ..Layout::array::<u64>(map::COUNTERS, MapType::PerCpuArray)
    },
];

impl Layout {
    const fn array<V>(name: &'static str, map_type: MapType) -> Self {
        Self {
            name,
            map_type,
            key: size_of::<u32>(),
            value: size_of::<V>(),
            entries: Entries::Any,
        }
    }

    const fn trie<V>(name: &'static str) -> Self {
        Self {
            name,
            map_type: MapType::LpmTrie,
            key: size_of::<u32>() + size_of::<PolicyKey>(),
            value: size_of::<V>(),
            entries: Entries::Any,
        }
    }

    const fn hash<K>(name: &'static str) -> Self {
        Self {
            name,
            map_type: MapType::Hash,
            key: size_of::<K>(),
            value: size_of::<Binding>(),
            entries: Entries::Any,
        }
    }

    /// In what `map` differs, a line each.
    fn differences(&self, map: &MapData) -> Result<Vec<String>> {
        let info = map
            .info()
            .with_context(|| format!("cannot inspect map {}", self.name))?;
        let kind = info.map_type().map_err(|error| error.to_string());
        Ok(self.compare(kind, info.key_size(), info.value_size(), info.max_entries()))
    }

    fn compare(
        &self,
        kind: Result<MapType, String>,
        key: u32,
        value: u32,
        entries: u32,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let mut must = |what: &str, is: &dyn Display, must: &dyn Display, same: bool| {
            if !same {
                lines.push(format!("{}: {what} is {is}, must be {must}", self.name));
            }
        };
        let same = kind.as_ref() == Ok(&self.map_type);
        let kind = kind.map_or_else(|error| error, |kind| format!("{kind:?}"));
        must("type", &kind, &format!("{:?}", self.map_type), same);
        must("key size", &key, &self.key, key as usize == self.key);
        must(
            "value size",
            &value,
            &self.value,
            value as usize == self.value,
        );
        if let Entries::Exactly(exactly) = self.entries {
            must("number of entries", &entries, &exactly, entries == exactly);
        }
        lines
    }
}

impl Tables {
    /// Takes the maps out of an object whose programs are loaded.
    ///
    /// # Errors
    /// If it lacks one, or has one of another layout.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let mut differences = Vec::new();
        let mut maps = Vec::new();
        for layout in &LAYOUTS {
            let map = ebpf
                .take_map(layout.name)
                .with_context(|| format!("the eBPF object has no map {}", layout.name))?;
            let (Map::Array(data)
            | Map::HashMap(data)
            | Map::LpmTrie(data)
            | Map::PerCpuArray(data)) = map
            else {
                bail!("map {} of the eBPF object is of another type", layout.name);
            };
            differences.extend(layout.differences(&data)?);
            maps.push(data);
        }
        if !differences.is_empty() {
            bail!(
                "the eBPF object does not belong to this sipnat: {}",
                differences.join("; ")
            );
        }
        Self::from_checked(maps)
    }

    /// Opens the maps pinned in `dir`.
    ///
    /// # Errors
    /// [`Foreign`] if they are not of the layout that this sipnat knows.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut differences = Vec::new();
        let mut maps = Vec::new();
        for layout in &LAYOUTS {
            match MapData::from_pin(dir.join(layout.name)) {
                Ok(data) => {
                    differences.extend(layout.differences(&data)?);
                    maps.push(data);
                }
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == io::ErrorKind::PermissionDenied =>
                {
                    return Err(error.io_error).with_context(|| {
                        format!(
                            "not allowed to open the maps in {} (run as root)",
                            dir.display()
                        )
                    });
                }
                Err(MapError::SyscallError(error)) => {
                    differences.push(match error.io_error.kind() {
                        io::ErrorKind::NotFound => format!("{}: {MISSING}", layout.name),
                        _ => format!("{}: not a map ({})", layout.name, error.io_error),
                    });
                }
                Err(error) => differences.push(format!("{}: {error}", layout.name)),
            }
        }
        if differences.is_empty() {
            let tables = Self::from_checked(maps)?;
            let abi = tables.config()?.abi;
            if abi == ABI {
                return Ok(tables);
            }
            differences.push(format!(
                "{}: layout number is {abi}, must be {ABI}",
                map::CONFIG
            ));
        }
        Err(Foreign {
            dir: dir.display().to_string(),
            differences,
        }
        .into())
    }

    /// `maps` in the order of [`LAYOUTS`].
    fn from_checked(maps: Vec<MapData>) -> Result<Self> {
        let mut maps = maps.into_iter().map(Map::from_map_data);
        let mut next = || {
            maps.next()
                .context("too few maps")?
                .map_err(anyhow::Error::from)
        };
        Ok(Self {
            config: next()?.try_into()?,
            policy: next()?.try_into()?,
            dialogs: next()?.try_into()?,
            contacts: next()?.try_into()?,
            inbound: next()?.try_into()?,
            outbound: next()?.try_into()?,
            pending: next()?.try_into()?,
            peers: next()?.try_into()?,
            fragments: next()?.try_into()?,
            history: next()?.try_into()?,
            addresses: next()?.try_into()?,
            stun: next()?.try_into()?,
            counters: next()?.try_into()?,
        })
    }

    /// Every map with its name.
    #[must_use]
    pub fn maps(&self) -> [(&'static str, &MapData); MAPS] {
        [
            (map::CONFIG, self.config.map()),
            (map::POLICY, self.policy.map()),
            (map::DIALOGS, self.dialogs.map()),
            (map::CONTACTS, self.contacts.map()),
            (map::INBOUND, self.inbound.map()),
            (map::OUTBOUND, self.outbound.map()),
            (map::PENDING, self.pending.map()),
            (map::PEERS, self.peers.map()),
            (map::FRAGMENTS, self.fragments.map()),
            (map::HISTORY, self.history.map()),
            (map::ADDRESSES, self.addresses.map()),
            (map::STUN, self.stun.map()),
            (map::COUNTERS, self.counters.map()),
        ]
    }

    /// What the programs were told.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn config(&self) -> Result<Config> {
        self.config.get(&0, 0).context("cannot read CONFIG")
    }

    /// Whether nothing is redirected.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn shadow(&self) -> Result<bool> {
        Ok(self.config()?.shadow != 0)
    }

    /// A counter, summed over the CPUs.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn count(&self, counter: Counter) -> Result<u64> {
        let cpus = self
            .counters
            .get(&(counter as u32), 0)
            .context("cannot read COUNTERS")?;
        Ok(cpus.iter().sum())
    }
}

/// Every set of a set-associative table.
///
/// # Errors
/// If the map cannot be read.
pub fn slots(table: &Array<MapData, Set>) -> Result<Vec<Set>> {
    values(table).context("cannot read a transaction table")
}

fn values<V: Pod>(table: &Array<MapData, V>) -> Result<Vec<V>> {
    batch::of_array(table)
        .map(|entry| entry.map(|(_, value)| value))
        .collect()
}

/// What `HISTORY` holds, the oldest first.
///
/// # Errors
/// If the map cannot be read.
pub fn history(table: &Array<MapData, Record>) -> Result<Vec<Record>> {
    Ok(in_order(values(table).context("cannot read HISTORY")?))
}

/// The kernel goes round: its newest record stands before the oldest, or before those never written. The clock
/// has ticks of milliseconds, so records of one tick keep the order in which they lie.
fn in_order(mut ring: Vec<Record>) -> Vec<Record> {
    let age = |i: usize| {
        ring[(i + ring.len() - 1) % ring.len()]
            .at
            .saturating_sub(ring[i].at)
    };
    let oldest = (0..ring.len())
        .max_by_key(|&i| (age(i), Reverse(i)))
        .unwrap_or(0);
    ring.rotate_left(oldest);
    ring.retain(|record| record.at != 0);
    // Two CPUs may write a tick apart.
    ring.sort_by_key(|record| record.at);
    ring
}

/// Pins that this sipnat cannot use.
#[derive(Debug, thiserror::Error)]
#[error(
    "{dir} holds maps of another layout:\n  {}\nremove them with `sipnat detach`",
    differences.join("\n  ")
)]
pub struct Foreign {
    /// Where they are pinned.
    pub dir: String,
    /// In what they differ, one line each.
    pub differences: Vec<String>,
}

/// What [`Foreign`] says of a map that is not there.
const MISSING: &str = "missing";

impl Foreign {
    /// Whether what is there would do.
    #[must_use]
    pub fn only_missing(&self) -> bool {
        self.differences.iter().all(|line| line.ends_with(MISSING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(of: &[(u64, u32)]) -> Vec<Record> {
        of.iter()
            .map(|&(at, cseq)| Record {
                at,
                cseq,
                ..Record::default()
            })
            .collect()
    }

    #[test]
    fn a_map_of_another_size_is_another_map() {
        let counters = LAYOUTS
            .iter()
            .find(|layout| layout.name == map::COUNTERS)
            .unwrap();
        let compare = |entries| counters.compare(Ok(MapType::PerCpuArray), 4, 8, entries);
        assert!(compare(Counter::COUNT).is_empty());
        for other in [Counter::COUNT - 1, Counter::COUNT + 1] {
            let must = format!(
                "COUNTERS: number of entries is {other}, must be {}",
                Counter::COUNT
            );
            assert_eq!(compare(other), [must]);
        }
        let unknown = counters.compare(Err("unknown".into()), 8, 4, Counter::COUNT);
        assert_eq!(unknown.len(), 3, "{unknown:?}");
    }

    #[test]
    fn history_is_told_from_the_oldest_on() {
        for ring in [
            // Not yet full.
            &[(10, 1), (10, 2), (11, 3), (0, 0), (0, 0)][..],
            // Full, and gone round: in the middle of a tick.
            &[(10, 2), (11, 3), (12, 4), (10, 1)],
            &[(12, 3), (10, 1), (12, 2)],
            // Another CPU wrote a tick earlier.
            &[(11, 2), (10, 1), (13, 3), (0, 0)],
            // All in one tick.
            &[(10, 1), (10, 2), (10, 3)],
        ] {
            let told: Vec<u32> = in_order(records(ring)).iter().map(|r| r.cseq).collect();
            assert!(told.is_sorted() && told.len() >= 3, "{ring:?}: {told:?}");
        }
        assert!(in_order(Vec::new()).is_empty());
        assert!(in_order(records(&[(0, 0)])).is_empty());
    }
}
