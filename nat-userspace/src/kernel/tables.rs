//! The maps that kernel programs and user space share, typed, from the list in `nat_common::tables`.

use std::{
    fs, io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, Pod,
    maps::{Array, LpmTrie, Map, MapData, MapError, MapType, PerCpuArray},
};
// The list of maps names types of `abi`, and lifetimes.
use nat_common::{
    abi::*,
    engine::lifetimes::*,
    tables::{bindings::BindingKey, buckets::Buckets},
};

use crate::{
    host::clock,
    kernel::{
        keepalives::Keepalives,
        layout::{Foreign, Layout, MISSING, Typed},
        mapped::{Access, Bindings, Mapped, MappedSets},
        raw, refusal,
        streams::Streams,
    },
    settings::Sizes,
};

/// Names of the tables of bindings.
pub const BINDINGS: [&str; 2] = [map::DIALOGS, map::CONTACTS];

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
    /// Live bindings, by the time now.
    Bindings(fn(&Tables, u64) -> Result<usize>),
    /// Slots of media.
    Streams,
    /// Entries of sets, by the time now in ticks.
    Sets(fn(&Tables, u64) -> Result<usize>),
}

/// Array of sets `S`, with the type of what is in them.
pub struct SetArray<S: Pod, T> {
    map: Array<MapData, S>,
    content: PhantomData<T>,
}

/// Table of sets, with the type of its values.
pub type Sets<V> = SetArray<Set, V>;

/// Table of bindings, with the type of its keys.
pub type BindingTable<K> = SetArray<BindingSet, K>;

impl<S: Pod, T> SetArray<S, T> {
    /// Returns the map.
    #[must_use]
    pub fn data(&self) -> &MapData {
        self.map.data()
    }
}

impl<V: Value> Sets<V> {
    /// Reads all sets.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn read(&self) -> Result<SetsCopy<V>> {
        let sets = Mapped::new(&self.map, Access::Read).context("cannot read a table of sets")?;
        Ok(SetsCopy {
            sets: sets.copies(),
            value: PhantomData,
        })
    }

    /// Maps the table for reading.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn open(&self) -> Result<MappedSets<V>> {
        MappedSets::new(&self.map).context("cannot open a table of sets")
    }

    /// Overwrites a set, whatever the programs do with it meanwhile.
    ///
    /// # Errors
    /// If there is no set of that number.
    pub fn write(&mut self, index: u32, set: Set) -> Result<()> {
        self.map
            .set(index, set, 0)
            .context("cannot write a table of sets")
    }

    /// Forgets all entries.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn clear(&mut self) -> Result<()> {
        (0..self.map.len()).try_for_each(|index| self.write(index, Set::default()))
    }
}

impl<K: BindingKey> BindingTable<K> {
    /// Maps the table.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open(&self, access: Access) -> Result<Bindings<K>> {
        Bindings::new(&self.map, access).context("cannot open a table of bindings")
    }

    /// Counts the live bindings.
    fn live(&self, now: u64) -> Result<usize> {
        let bindings = self.open(Access::Read)?;
        Ok(bindings.iter().filter(|(_, b)| b.expires > now).count())
    }
}

impl<S: Pod, T> TryFrom<Map> for SetArray<S, T> {
    type Error = MapError;

    fn try_from(map: Map) -> Result<Self, MapError> {
        Ok(Self {
            map: map.try_into()?,
            content: PhantomData,
        })
    }
}

impl<S: Pod, T> Typed for SetArray<S, T> {
    const MAP_TYPE: MapType = <Array<MapData, S>>::MAP_TYPE;
    const KEY: usize = <Array<MapData, S>>::KEY;
    const VALUE: usize = <Array<MapData, S>>::VALUE;

    fn data(&self) -> &MapData {
        self.map.data()
    }
}

/// Copy of a table of sets.
#[derive(Clone, Debug)]
pub struct SetsCopy<V> {
    /// The sets.
    pub sets: Vec<Set>,
    value: PhantomData<V>,
}

impl<V: Value> SetsCopy<V> {
    /// Returns all slots.
    pub fn slots(&self) -> impl Iterator<Item = Slot<V>> {
        self.sets.iter().flat_map(Set::slots)
    }

    /// Returns the used slots that were written less than `life` ticks before `now`. A slot that was written after the
    /// clock was read is new, not old.
    pub fn live(&self, now: u64, life: u64) -> impl Iterator<Item = Slot<V>> {
        self.slots()
            .filter(move |slot| slot.is_used() && age(now, slot.entry.at) < life)
    }
}

impl<V> From<Vec<Set>> for SetsCopy<V> {
    fn from(sets: Vec<Set>) -> Self {
        Self {
            sets,
            value: PhantomData,
        }
    }
}

/// Type of a map, by its kind in the list.
macro_rules! map_type {
    (array($value:ty)) => { Array<MapData, $value> };
    (lines($value:ty)) => { Array<MapData, $value> };
    (bindings($key:ty)) => { BindingTable<$key> };
    (trie($value:ty)) => { LpmTrie<MapData, Address, $value> };
    (percpu($value:ty)) => { PerCpuArray<MapData, $value> };
}

/// Number of entries of a map, if fixed.
macro_rules! fixed {
    ([$setting:ident]) => {
        None
    };
    ($number:tt) => {
        Some($number)
    };
}

/// Setting of a map's number of entries, if it has one.
macro_rules! setting {
    (bindings [$setting:ident]) => {
        Some(Sizes::binding_sets)
    };
    ($kind:ident [$setting:ident]) => {
        Some(|sizes| sizes.$setting)
    };
    ($kind:ident $number:tt) => {
        None
    };
}

/// Contents of a map, by its kind in the list.
macro_rules! contents {
    (bindings $field:ident) => {
        Contents::Bindings(|tables, now| tables.$field.live(now))
    };
    (lines media) => {
        Contents::Streams
    };
    ($kind:ident $field:ident) => {
        Contents::Other
    };
}

/// Makes [`Tables`] and what is known of each table from the list in `nat_common::tables`.
macro_rules! all {
    (
        sets { $($(#[$doc:meta])* $set:ident $field:ident $table:ident($value:ty) [$setting:ident] $life:ident;)* }
        maps { $($(#[$map_doc:meta])* $map:ident $map_field:ident $kind:ident($($type:ty),*) $n:tt;)* }
    ) => {
        /// The maps that kernel programs and user space share.
        pub struct Tables {
            $($(#[$doc])* pub $field: Sets<$value>,)*
            $($(#[$map_doc])* pub $map_field: map_type!($kind($($type),*)),)*
        }

        /// Number of tables.
        const COUNT: usize = [$(stringify!($set),)* $(stringify!($map)),*].len();

        /// Layouts of the tables, in the order of the list.
        const LAYOUTS: [Layout; COUNT] = [
            $(Layout::of::<Sets<$value>>(map::$set, None),)*
            $(Layout::of::<map_type!($kind($($type),*))>(map::$map, fixed!($n)),)*
        ];

        /// Lists the maps whose number of entries is a setting.
        pub(super) fn sized(sizes: &Sizes) -> Vec<(&'static str, u32)> {
            let all: [(&'static str, Option<fn(&Sizes) -> u32>); COUNT] = [
                $((map::$set, setting!(sets [$setting])),)*
                $((map::$map, setting!($kind $n)),)*
            ];
            all.into_iter()
                .filter_map(|(name, size)| Some((name, size?(sizes))))
                .collect()
        }

        /// Returns the digests of the layouts of the tables of sets, with their names.
        pub(super) fn digests_of_sets() -> [(&'static str, Digest); nat_common::abi::Table::COUNT] {
            [$((map::$set, Digest::of_sets::<$value>()),)*]
        }

        /// Writes the masks of the tables of sets into the programs' configuration.
        pub(super) fn write_masks(sizes: &Sizes, config: &mut Config) {
            $(config.masks[nat_common::abi::Table::$table as usize] = sizes.$setting - 1;)*
            config.binding_mask = sizes.binding_sets() - 1;
        }

        /// Whether a map is a table of sets.
        pub(super) fn is_set(name: &str) -> bool {
            [$(map::$set),*].contains(&name)
        }

        impl Tables {
            /// Lists the names of the maps.
            #[must_use]
            pub const fn names() -> [&'static str; COUNT] {
                [$(map::$set,)* $(map::$map,)*]
            }

            /// Lists every map.
            #[must_use]
            pub fn maps(&self) -> [Table<'_>; COUNT] {
                [
                    $(Table {
                        name: map::$set,
                        map: self.$field.data(),
                        tables: self,
                        contents: Contents::Sets(|tables, now| {
                            Ok(tables.$field.read()?.live(now, $life).count())
                        }),
                    },)*
                    $(Table {
                        name: map::$map,
                        map: self.$map_field.data(),
                        tables: self,
                        contents: contents!($kind $map_field),
                    },)*
                ]
            }

            /// Forgets all entries of the tables of sets.
            ///
            /// # Errors
            /// If a map cannot be written.
            pub fn clear_sets(&mut self) -> Result<()> {
                $(self.$field.clear()?;)*
                Ok(())
            }

            /// Makes them of maps in the order of the list, whose layouts are right.
            fn from_checked(maps: Vec<MapData>) -> Result<Self> {
                let mut maps = maps.into_iter();
                Ok(Self {
                    $($field: Map::from_map_data(maps.next().context("too few maps")?)?.try_into()?,)*
                    $($map_field: Map::from_map_data(maps.next().context("too few maps")?)?.try_into()?,)*
                })
            }
        }
    };
}
nat_common::tables!(all);

/// Returns the memory that the tables of these sizes take, in bytes, without what all of them have: per-CPU counters, and
/// tries, which the kernel fills entry by entry.
#[must_use]
pub fn memory(sizes: &Sizes) -> u64 {
    let layout = |name| LAYOUTS.iter().find(|layout| layout.name == name);
    let sized = sized(sizes).into_iter();
    sized
        .filter_map(|(name, entries)| Some(layout(name)?.value as u64 * u64::from(entries)))
        .sum()
}

/// Returns the number of entries of a map, where it is fixed.
pub(crate) fn fixed_entries(name: &str) -> Option<u32> {
    let layout = LAYOUTS.iter().find(|layout| layout.name == name)?;
    layout.entries
}

impl Table<'_> {
    /// Returns how many entries the table can hold; of bindings, its capacity.
    ///
    /// # Errors
    /// If the kernel does not describe the map.
    pub fn size(&self) -> Result<u64> {
        let entries = u64::from(self.map.info()?.max_entries());
        Ok(match self.contents {
            Contents::Sets(_) => entries * WAYS as u64,
            Contents::Bindings(_) => entries * u64::from(BINDING_LOAD),
            Contents::Streams | Contents::Other => entries,
        })
    }

    /// Reads how many entries the table holds; none if they are not counted.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn used(&self) -> Result<Option<usize>> {
        match self.contents {
            Contents::Other => Ok(None),
            Contents::Streams => {
                let streams = self.tables.streams(Access::Read)?;
                Ok(Some(streams.used().count()))
            }
            Contents::Bindings(count) => count(self.tables, clock::now()).map(Some),
            Contents::Sets(count) => count(self.tables, ticks(clock::now())).map(Some),
        }
    }
}

/// Opens the map pinned in `dir` under a name. The inner error says that there is none.
///
/// # Errors
/// If that is not permitted, or memory or file descriptors are short.
pub(crate) fn open_pin(dir: &Path, name: &str) -> Result<Result<MapData, String>> {
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let pin = dir.join(name);
    let opened = match MapData::from_pin(&pin) {
        Err(MapError::SyscallError(error)) if is_denied(&error.io_error) => {
            raw::open_for_reading(&pin).and_then(MapData::from_fd)
        }
        opened => opened,
    };
    match opened {
        Ok(data) => Ok(Ok(data)),
        Err(MapError::SyscallError(error)) if is_denied(&error.io_error) => {
            Err(error.io_error).with_context(|| {
                format!(
                    "not allowed to open the maps in {} (run as root, or as a member of the group that `sipnat run --group` names)",
                    dir.display()
                )
            })
        }
        Err(MapError::SyscallError(error)) if refusal::is_short(&error.io_error) => {
            Err(error.io_error)
                .with_context(|| format!("cannot open the maps in {}", dir.display()))
        }
        Err(MapError::SyscallError(error)) => Ok(Err(match error.io_error.kind() {
            io::ErrorKind::NotFound => format!("{name}: {MISSING}"),
            _ => format!("{name}: not a map ({})", error.io_error),
        })),
        Err(error) => Ok(Err(format!("{name}: {error}"))),
    }
}

/// Returns how the number of a layout differs, if it does.
pub(super) fn other_abi(abi: u32) -> Option<String> {
    (abi != ABI).then(|| format!("{}: layout number is {abi}, must be {ABI}", map::CONFIG))
}

/// Lists how a map differs from that of this version.
pub(super) fn differences(name: &str, data: &MapData) -> Result<Vec<String>> {
    let layout = LAYOUTS.iter().find(|layout| layout.name == name);
    layout.context("a map of the list")?.differences(data)
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
            let (Map::Array(data) | Map::LpmTrie(data) | Map::PerCpuArray(data)) = map else {
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
            match open_pin(dir, layout.name)? {
                Ok(data) => {
                    differences.extend(layout.differences(&data)?);
                    if layout.name == map::CONFIG {
                        let value = raw::first_value(&data).unwrap_or_default();
                        differences.extend(raw::abi(&value).and_then(other_abi));
                    }
                    maps.push(data);
                }
                Err(difference) => differences.push(difference),
            }
        }
        if differences.is_empty() {
            return Self::from_checked(maps);
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

    /// Returns the memory of all maps, in bytes, as the kernel accounts for it.
    ///
    /// # Errors
    /// If the kernel does not describe a map.
    pub fn memory(&self) -> Result<u64> {
        let memory = |table: &Table<'_>| {
            let fd = table.map.fd().as_fd().as_raw_fd();
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
            let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
            let bytes = bytes.with_context(|| format!("no memory of {}", table.name))?;
            Ok(bytes.trim().parse::<u64>()?)
        };
        self.maps().iter().map(memory).sum()
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

    /// Reads a counter of media, summed over the CPUs.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn count_media(&self, counter: MediaCounter) -> Result<u64> {
        let cpus = self
            .media_counters
            .get(&(counter as u32), 0)
            .context("cannot read MEDIA_COUNTERS")?;
        Ok(cpus.iter().sum())
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counts(&self) -> Result<Vec<(Counter, u64)>> {
        let all = Counter::ALL.iter();
        all.map(|&counter| Ok((counter, self.count(counter)?)))
            .collect()
    }

    /// Reads all counters of media.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn media_counts(&self) -> Result<Vec<(MediaCounter, u64)>> {
        let all = MediaCounter::ALL.iter();
        all.map(|&counter| Ok((counter, self.count_media(counter)?)))
            .collect()
    }

    /// Maps the slots of media.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn streams(&self, access: Access) -> Result<Streams> {
        Streams::open(&self.media, &self.media_bits, access)
    }

    /// Maps the records of keepalives.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn keepalives(&self, access: Access) -> Result<Keepalives> {
        Keepalives::open(&self.keepalives, access)
    }

    /// Reads the settings of media.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn media_config(&self) -> Result<MediaConfig> {
        self.media_config
            .get(&0, 0)
            .context("cannot read MEDIA_CONFIG")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernel::config, settings::Settings};

    #[test]
    fn every_table_is_named_once() {
        let names: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        assert!(names.contains(&map::CONFIG) && names.contains(&map::COUNTERS));
        assert!(fixed_entries(map::ADDRESSES).is_some() && fixed_entries(map::DIALOGS).is_none());
    }

    /// 64 MiB is what a small machine has to spare.
    #[test]
    fn tables_of_the_default_sizes_take_64_mib() {
        let settings = Settings::default();
        let sizes = config::sizes(&settings).unwrap();
        let least = u64::from(sizes.binding_sets()) * 2 * size_of::<BindingSet>() as u64;
        let all = memory(&sizes);
        assert!(all > least && all <= 64 << 20, "{all} bytes");
        let doubled = Sizes {
            bindings: sizes.bindings * 2,
            ..sizes
        };
        assert_eq!(memory(&doubled), all + least);
    }

    #[test]
    fn tables_are_as_large_as_the_settings_say() {
        let sizes = Sizes {
            peers: 64,
            bindings: 7,
            ..Sizes::default()
        };
        let sized = sized(&sizes);
        for (name, size) in [(map::PEERS, 64), (map::DIALOGS, 2), (map::CONTACTS, 2)] {
            assert!(sized.contains(&(name, size)), "{name}: {sized:?}");
        }
        assert!(sized.iter().all(|(name, _)| *name != map::POLICY));
    }

    #[test]
    fn a_slot_written_after_the_clock_was_read_is_new() {
        let now = ticks(1_000_000_000_000);
        let set = Set {
            tags: [1 << 24; WAYS],
            times: [now, now + 1, now - TRANSACTION_LIFE, now - 1].map(|at| at as u32),
            ..Set::default()
        };
        let sets = SetsCopy::<InboundTransaction>::from(vec![set]);
        assert_eq!(sets.live(now, TRANSACTION_LIFE).count(), 3);
    }
}
