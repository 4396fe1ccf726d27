//! Reads maps many entries at a time: one by one, each takes two system calls.
//!
//! Linux has `BPF_MAP_LOOKUP_BATCH` since 5.6, aya 0.14 has no function for it.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Pod,
    maps::{Array, HashMap, IterableMap as _, MapData},
};
use nix::errno::Errno;

/// Entries of a batch, to begin with.
const CAPACITY: usize = 1024;

/// The entries of a map, which others may change meanwhile.
///
/// The kernel copies a hash map bucket by bucket, each under its lock, and an entry never changes its bucket. So no entry
/// comes twice, and none is missed that stays in the map. Memory holds one batch at a time.
pub struct Entries<'m, K, V> {
    map: &'m MapData,
    /// The kernel's cursor of the next batch; none before the first.
    cursor: Option<u32>,
    /// Set after the last batch.
    ended: bool,
    keys: Vec<K>,
    values: Vec<V>,
    /// Number of these that were returned.
    taken: usize,
}

/// Reads a hash map.
pub fn of_hash<K: Pod, V: Pod>(table: &HashMap<MapData, K, V>) -> Entries<'_, K, V> {
    Entries::of(table.map())
}

/// Reads an array, in its order.
pub fn of_array<V: Pod>(table: &Array<MapData, V>) -> Entries<'_, u32, V> {
    Entries::of(table.map())
}

/// Reads all values of an array, in its order.
///
/// # Errors
/// If the map cannot be read.
pub fn values<V: Pod>(table: &Array<MapData, V>) -> Result<Vec<V>> {
    of_array(table)
        .map(|entry| entry.map(|(_, value)| value))
        .collect()
}

impl<'m, K: Pod, V: Pod> Entries<'m, K, V> {
    /// Reads `map`, whose keys and values have these sizes, as aya checks for its typed maps.
    fn of(map: &'m MapData) -> Self {
        Self {
            map,
            cursor: None,
            ended: false,
            keys: Vec::with_capacity(CAPACITY),
            values: Vec::with_capacity(CAPACITY),
            taken: 0,
        }
    }

    /// Sets the number of entries of a batch.
    #[must_use]
    pub fn capacity(mut self, entries: usize) -> Self {
        let entries = entries.max(1);
        self.keys = Vec::with_capacity(entries);
        self.values = Vec::with_capacity(entries);
        self.taken = 0;
        self
    }

    /// Counts the entries.
    pub(super) fn count_all(mut self) -> Result<usize> {
        self.try_fold(0, |count, entry| entry.map(|_| count + 1))
    }

    /// Reads the next batch in place of the last.
    fn read(&mut self) -> Result<()> {
        loop {
            self.keys.clear();
            self.values.clear();
            self.taken = 0;
            match self.lookup() {
                Ok(()) => return Ok(()),
                Err(Errno::ENOENT) => {
                    self.ended = true;
                    return Ok(());
                }
                // The next bucket alone has more entries than the buffers hold.
                Err(Errno::ENOSPC) => {
                    let capacity = self.keys.capacity() * 2;
                    let most = self.map.info()?.max_entries() as usize;
                    ensure!(
                        capacity < most * 2,
                        "a map's bucket holds more than the map does"
                    );
                    self.keys.reserve(capacity);
                    self.values.reserve(capacity);
                }
                Err(error) => return Err(error).context("cannot read a map"),
            }
        }
    }

    /// Makes the system call. `ENOENT` says that the batch is the last.
    fn lookup(&mut self) -> Result<(), Errno> {
        /// The kernel's `union bpf_attr` for this command.
        #[repr(C)]
        struct Attributes {
            in_batch: u64,
            out_batch: u64,
            keys: u64,
            values: u64,
            count: u32,
            map_fd: u32,
            elem_flags: u64,
            flags: u64,
        }
        const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

        let mut next = 0_u32;
        let mut attributes = Attributes {
            in_batch: self
                .cursor
                .as_ref()
                .map_or(0, |cursor| ptr::from_ref(cursor) as u64),
            out_batch: &raw mut next as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: self.keys.capacity().min(self.values.capacity()) as u32,
            map_fd: self.map.fd().as_fd().as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: all pointers are valid, `keys` and `values` for `count` of the map's keys and values, which are of
        // the types K and V. A cursor is 32 bits wide for hash maps and arrays.
        let result = Errno::result(unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                &raw mut attributes,
                size_of::<Attributes>(),
            )
        });
        if matches!(result, Ok(_) | Err(Errno::ENOENT)) {
            let count = attributes.count as usize;
            // SAFETY: the kernel has written `count` of each, and any bits make a K and a V.
            unsafe {
                self.keys.set_len(count);
                self.values.set_len(count);
            }
            self.cursor = Some(next);
        }
        result.map(drop)
    }
}

impl<K: Pod, V: Pod> Iterator for Entries<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.taken == self.keys.len() {
            if self.ended {
                return None;
            }
            if let Err(error) = self.read() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        let at = self.taken;
        self.taken += 1;
        Some(Ok((self.keys[at], self.values[at])))
    }
}
