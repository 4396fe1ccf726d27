//! Removes bindings that have expired. The kernel programs ignore them by themselves; this only
//! gives their memory back.

use std::os::fd::AsFd as _;

use anyhow::Result;
use aya::{
    Pod,
    maps::{HashMap, IterableMap as _, Map, MapData, MapError, MapKeys},
};
use nat_common::abi::Binding;

/// Walks one table of bindings, a slice at a time, over and over.
pub struct Sweeper<'t, K: Pod> {
    table: &'t HashMap<MapData, K, Binding>,
    /// The same table, to remove from while `keys` borrows the other.
    remover: HashMap<MapData, K, Binding>,
    keys: MapKeys<'t, K>,
    /// Expired, and where the walk stands: removed only after the step beyond it, since the kernel
    /// starts over when asked what follows a key that has gone.
    doomed: Option<K>,
}

impl<'t, K: Pod> Sweeper<'t, K> {
    /// A sweeper of `table`.
    ///
    /// # Errors
    /// If it cannot be opened once more.
    pub fn new(table: &'t HashMap<MapData, K, Binding>) -> Result<Self> {
        let fd = table.map().fd().as_fd().try_clone_to_owned()?;
        Ok(Self {
            table,
            remover: Map::HashMap(MapData::from_fd(fd)?).try_into()?,
            keys: table.keys(),
            doomed: None,
        })
    }

    /// Looks at the next `slice` entries at most, and removes those that have expired by `now`.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub fn sweep(&mut self, now: u64, slice: usize) -> Result<usize> {
        let mut removed = 0;
        for _ in 0..slice {
            let key = self.keys.next().transpose()?;
            if let Some(doomed) = self.doomed.take() {
                removed += usize::from(self.remove(&doomed, now)?);
            }
            let Some(key) = key else {
                self.keys = self.table.keys();
                break;
            };
            if self.expired(&key, now)? {
                self.doomed = Some(key);
            }
        }
        Ok(removed)
    }

    fn expired(&self, key: &K, now: u64) -> Result<bool> {
        match self.table.get(key, 0) {
            Ok(binding) => Ok(binding.expires <= now),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks once more: the kernel may have revived it since. One that it revives between this look and the
    /// removal, within microseconds of its end, is lost until the terminal's next message: a map has no removal
    /// under a condition.
    fn remove(&mut self, key: &K, now: u64) -> Result<bool> {
        if !self.expired(key, now)? {
            return Ok(false);
        }
        match self.remover.remove(key) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
