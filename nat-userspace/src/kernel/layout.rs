//! Layouts of maps: those that this sipnat can read, and how others differ.

use std::fmt::Display;

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, IterableMap as _, LpmTrie, Map, MapData, MapError, MapType, PerCpuArray},
};

/// A typed map.
pub(super) trait Typed: TryFrom<Map, Error = MapError> {
    /// Type of the map.
    const MAP_TYPE: MapType;
    /// Bytes of a key.
    const KEY: usize;
    /// Bytes of a value.
    const VALUE: usize;

    /// Returns the map without its types.
    fn data(&self) -> &MapData;
}

macro_rules! typed {
    ($map:ident<$($param:ident),+>, $type:ident, $key:expr, $value:ty) => {
        impl<$($param: Pod),+> Typed for $map<MapData, $($param),+> {
            const MAP_TYPE: MapType = MapType::$type;
            const KEY: usize = $key;
            const VALUE: usize = size_of::<$value>();

            fn data(&self) -> &MapData {
                self.map()
            }
        }
    };
}

typed!(Array<V>, Array, size_of::<u32>(), V);
typed!(PerCpuArray<V>, PerCpuArray, size_of::<u32>(), V);
// The length of the prefix stands before the key.
typed!(LpmTrie<K, V>, LpmTrie, size_of::<u32>() + size_of::<K>(), V);

/// Layout of a map.
pub(super) struct Layout {
    pub(super) name: &'static str,
    map_type: MapType,
    key: usize,
    /// Bytes of a value.
    pub(super) value: usize,
    /// Number of entries, if only one will do.
    pub(super) entries: Option<u32>,
}

impl Layout {
    /// Layout of the map `name` of type `T`.
    pub(super) const fn of<T: Typed>(name: &'static str, entries: Option<u32>) -> Self {
        Self {
            name,
            map_type: T::MAP_TYPE,
            key: T::KEY,
            value: T::VALUE,
            entries,
        }
    }

    /// Lists how `map` differs.
    pub(super) fn differences(&self, map: &MapData) -> Result<Vec<String>> {
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
        if let Some(exactly) = self.entries {
            must("number of entries", &entries, &exactly, entries == exactly);
        }
        lines
    }
}

/// Pins that this sipnat cannot use.
#[derive(Debug, thiserror::Error)]
#[error(
    "{dir} holds maps of another layout:\n  {}\nthe programs that use them work on; `sipnat detach` removes all",
    differences.join("\n  ")
)]
pub struct Foreign {
    /// Directory of the pins.
    pub dir: String,
    /// Differences, one line each.
    pub differences: Vec<String>,
}

/// Difference of a map that is not there.
pub(super) const MISSING: &str = "missing";

impl Foreign {
    /// Whether maps are missing, and those that are there fit.
    #[must_use]
    pub fn only_missing(&self) -> bool {
        self.differences.iter().all(|line| line.ends_with(MISSING))
    }
}

#[cfg(test)]
mod tests {
    use nat_common::abi::{Counter, map};

    use super::*;

    #[test]
    fn a_map_of_another_size_is_another_map() {
        type Counters = PerCpuArray<MapData, u64>;
        let counters = Layout::of::<Counters>(map::COUNTERS, Some(Counter::COUNT));
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
}
