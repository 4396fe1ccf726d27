//! The maps that kernel programs and user space share, typed. Everything about a table stands in one entry of the list.

use std::{io, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray},
};
use nat_common::{
    abi::{
        ABI, Binding, Config, ContactKey, Counter, DialogKey, PolicyRule, Record, Set, Slot, WAYS,
        map, ticks,
    },
    engine::{PEER_LIFE, TRANSACTION_LIFE, fragments},
    tables::slots::age,
};

use crate::{
    host::clock,
    kernel::{
        batch,
        layout::{Foreign, Layout, MISSING, Typed as _},
    },
    settings::Sizes,
};

/// Key of `POLICY` and `ADDRESSES`: an IPv4-mapped or IPv6 address.
pub type Address = [u8; 16];

/// One of the maps, for what is done with each of them.
pub struct Table<'t> {
    /// Name of the map.
    pub name: &'static str,
    /// The map.
    pub map: &'t MapData,
    tables: &'t Tables,
    contents: Contents,
}

/// Contents of a map, as far as they are counted.
enum Contents {
    /// Not counted.
    Other,
    /// Entries that are there or not.
    Entries(fn(&Tables) -> Result<usize>),
    /// Sets of slots, which live for some ticks after they were written.
    Slots(fn(&Tables) -> Result<Vec<Set>>, u32),
}

/// Makes [`Tables`] and what is known of each table from one list. An entry has: documentation; field; type; name of the
/// map; number of entries (`object`: as in the object, `exactly` a number, or `sized` by a setting); contents (`other`,
/// `entries`, or `slots` with their life in ticks).
macro_rules! tables {
    ($(
        $(#[$doc:meta])*
        $field:ident: $type:ty = $name:ident, $size:ident $(($entries:expr))?, $contents:ident $(($life:expr))?;
    )*) => {
        /// The maps that kernel programs and user space share.
        pub struct Tables {
            $($(#[$doc])* pub $field: $type,)*
        }

        /// Number of tables.
        const COUNT: usize = [$(stringify!($field)),*].len();

        /// Layouts of the tables, in the order of the list.
        const LAYOUTS: [Layout; COUNT] = [$(
            Layout::of::<$type>(map::$name, tables!(@exactly $size $($entries)?))
        ),*];

        /// Lists the maps whose number of entries is a setting.
        pub(super) fn sized(sizes: &Sizes) -> Vec<(&'static str, u32)> {
            let all: [(&'static str, Option<fn(&Sizes) -> u32>); COUNT] = [$(
                (map::$name, tables!(@sized $size $($entries)?))
            ),*];
            all.into_iter()
                .filter_map(|(name, size)| Some((name, size?(sizes))))
                .collect()
        }

        impl Tables {
            /// Lists every map.
            #[must_use]
            pub fn maps(&self) -> [Table<'_>; COUNT] {
                [$(Table {
                    name: map::$name,
                    map: self.$field.data(),
                    tables: self,
                    contents: tables!(@contents $field $contents $($life)?),
                }),*]
            }

            /// Makes them of maps in the order of the list, whose layouts are right.
            fn from_checked(maps: Vec<MapData>) -> Result<Self> {
                let mut maps = maps.into_iter();
                Ok(Self {
                    $($field: Map::from_map_data(maps.next().context("too few maps")?)?.try_into()?,)*
                })
            }
        }
    };
    (@exactly exactly $entries:expr) => { Some($entries) };
    (@exactly $size:ident $($entries:expr)?) => { None };
    (@sized sized $entries:expr) => { Some($entries) };
    (@sized $size:ident $($entries:expr)?) => { None };
    (@contents $field:ident other) => { Contents::Other };
    (@contents $field:ident entries) => {
        Contents::Entries(|tables| batch::of_hash(&tables.$field).count_all())
    };
    (@contents $field:ident slots $life:expr) => {
        Contents::Slots(|tables| slots(&tables.$field), $life)
    };
}

tables! {
    /// Settings of the programs.
    config: Array<MapData, Config> = CONFIG, exactly(1), other;
    /// Rules by learned address.
    policy: LpmTrie<MapData, Address, PolicyRule> = POLICY, object, other;
    /// Active dialog ends.
    dialogs: HashMap<MapData, DialogKey, Binding> = DIALOGS, sized(|sizes| sizes.bindings), entries;
    /// Active contacts.
    contacts: HashMap<MapData, ContactKey, Binding> = CONTACTS, sized(|sizes| sizes.bindings), entries;
    /// Transactions that terminals opened.
    inbound: Array<MapData, Set> = INBOUND, sized(|sizes| sizes.transactions), slots(TRANSACTION_LIFE);
    /// Transactions that the PBX opened.
    outbound: Array<MapData, Set> = OUTBOUND, sized(|sizes| sizes.transactions), slots(TRANSACTION_LIFE);
    /// Dialog ends not yet accepted by the PBX.
    pending: Array<MapData, Set> = PENDING, sized(|sizes| sizes.pending), slots(TRANSACTION_LIFE);
    /// Learned addresses, and whether they answer.
    peers: Array<MapData, Set> = PEERS, sized(|sizes| sizes.peers), slots(PEER_LIFE);
    /// Datagrams that the PBX sends in fragments.
    fragments: Array<MapData, Set> = FRAGMENTS, sized(|sizes| sizes.fragments), slots(fragments::LIFE);
    /// Decisions; a new one overwrites the oldest.
    history: Array<MapData, Record> = HISTORY, sized(|sizes| sizes.history), other;
    /// Addresses of this host and of its neighbours: one of [`nat_common::abi::address`] each.
    addresses: LpmTrie<MapData, Address, u32> = ADDRESSES, object, other;
    /// Sources of STUN requests. They stay until others replace them.
    stun: Array<MapData, Set> = STUN, sized(|sizes| sizes.stun), slots(u32::MAX);
    /// Counters, indexed by [`Counter`].
    counters: PerCpuArray<MapData, u64> = COUNTERS, exactly(Counter::COUNT), other;
}

impl Table<'_> {
    /// Returns how many entries the table can hold.
    ///
    /// # Errors
    /// If the kernel does not describe the map.
    pub fn size(&self) -> Result<u64> {
        let entries = u64::from(self.map.info()?.max_entries());
        Ok(match self.contents {
            Contents::Slots(..) => entries * WAYS as u64,
            Contents::Entries(_) | Contents::Other => entries,
        })
    }

    /// Reads how many entries the table holds; none if they are not counted.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn used(&self) -> Result<Option<usize>> {
        match self.contents {
            Contents::Other => Ok(None),
            Contents::Entries(count) => count(self.tables).map(Some),
            Contents::Slots(read, life) => {
                let sets = read(self.tables)?;
                Ok(Some(live(&sets, ticks(clock::now()), life).count()))
            }
        }
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

    /// Reads the settings of the programs.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn config(&self) -> Result<Config> {
        self.config.get(&0, 0).context("cannot read CONFIG")
    }

    /// Whether the programs redirect nothing.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn shadow(&self) -> Result<bool> {
        Ok(self.config()?.shadow != 0)
    }

    /// Reads a counter, summed over the CPUs.
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

/// Reads every set of a table of slots.
///
/// # Errors
/// If the map cannot be read.
pub fn slots(table: &Array<MapData, Set>) -> Result<Vec<Set>> {
    batch::values(table).context("cannot read a table of slots")
}

/// Returns the slots that were written at most `life` ticks before `now`. A slot that was written after the clock was
/// read is new, not old.
pub fn live(sets: &[Set], now: u32, life: u32) -> impl Iterator<Item = Slot> {
    sets.iter()
        .flat_map(Set::slots)
        .filter(move |slot| slot.is_used() && age(now, slot.entry.at) < life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_named_once() {
        let names: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        assert!(names.contains(&map::CONFIG) && names.contains(&map::COUNTERS));
    }

    #[test]
    fn tables_are_as_large_as_the_settings_say() {
        let sizes = Sizes {
            peers: 64,
            bindings: 7,
            ..Sizes::default()
        };
        let sized = sized(&sizes);
        for (name, size) in [(map::PEERS, 64), (map::DIALOGS, 7), (map::CONTACTS, 7)] {
            assert!(sized.contains(&(name, size)), "{name}: {sized:?}");
        }
        assert!(sized.iter().all(|(name, _)| *name != map::POLICY));
    }

    #[test]
    fn a_slot_written_after_the_clock_was_read_is_new() {
        let now = ticks(1_000_000_000_000);
        let set = Set {
            tags: [1 << 8; WAYS],
            ats: [now, now + 1, now - TRANSACTION_LIFE, now - 1],
            ..Set::default()
        };
        assert_eq!(live(&[set], now, TRANSACTION_LIFE).count(), 3);
    }
}
