//! Removes expired bindings. The kernel programs ignore them anyway; removal gives their memory back.

use std::os::fd::AsFd as _;

use anyhow::Result;
use aya::{
    Pod,
    maps::{HashMap, IterableMap as _, Map, MapData, MapError},
};
use nat_common::abi::Binding;

use crate::kernel::batch::{self, Entries};

/// A sweep of one table of bindings, slice by slice, over and over.
pub struct Sweeper<'t, K: Pod> {
    table: &'t HashMap<MapData, K, Binding>,
    /// The same map once more: `entries` borrows `table`.
    remover: HashMap<MapData, K, Binding>,
    entries: Entries<'t, K, Binding>,
}

impl<'t, K: Pod> Sweeper<'t, K> {
    /// Begins a sweep of `table`.
    ///
    /// # Errors
    /// If it cannot be opened once more.
    pub fn new(table: &'t HashMap<MapData, K, Binding>) -> Result<Self> {
        let fd = table.map().fd().as_fd().try_clone_to_owned()?;
        Ok(Self {
            table,
            remover: Map::HashMap(MapData::from_fd(fd)?).try_into()?,
            entries: batch::of_hash(table),
        })
    }

    /// Reads the next `slice` entries, and removes those that have expired by `now`. Returns the number of those.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub fn sweep(&mut self, now: u64, slice: usize) -> Result<usize> {
        let mut removed = 0;
        for _ in 0..slice {
            let Some(entry) = self.entries.next() else {
                self.entries = batch::of_hash(self.table);
                break;
            };
            let (key, binding) = entry?;
            if binding.expires <= now {
                removed += usize::from(self.remove(&key, now)?);
            }
        }
        Ok(removed)
    }

    /// Removes a binding, unless the kernel has renewed it since it was read. A binding that is renewed between this second
    /// look and the removal, within microseconds, is lost until the terminal's next message: maps have no conditional
    /// removal.
    fn remove(&mut self, key: &K, now: u64) -> Result<bool> {
        let removed = match self.table.get(key, 0) {
            Ok(binding) if binding.expires > now => return Ok(false),
            Ok(_) => self.remover.remove(key),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
