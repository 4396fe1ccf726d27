//! Reads maps many entries at a time: one by one, each takes two system calls.
//!
//! `BPF_MAP_LOOKUP_BATCH` is there since Linux 5.6. Aya 0.14 has nothing for it.

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

/// How many entries are asked for at once, to begin with.
const ROOM: usize = 1024;

/// The entries of a map, which others may change meanwhile.
///
/// In a hash map, an entry stays in its bucket for as long as it is there. The kernel goes from bucket to bucket, and
/// copies each as a whole, under its lock. So nothing comes twice, and nothing is missed that is there all the time.
/// No more than one batch is in memory.
pub struct Entries<'m, K, V> {
    map: &'m MapData,
    /// Where the next batch begins, in the kernel's own terms; none before the first.
    place: Option<u32>,
    /// There is no next batch.
    ended: bool,
    keys: Vec<K>,
    values: Vec<V>,
    /// How many of these have been taken.
    taken: usize,
}

/// Those of a hash map.
pub fn of_hash<K: Pod, V: Pod>(table: &HashMap<MapData, K, V>) -> Entries<'_, K, V> {
    Entries::of(table.map())
}

/// Those of an array, in its order.
pub fn of_array<V: Pod>(table: &Array<MapData, V>) -> Entries<'_, u32, V> {
    Entries::of(table.map())
}

impl<'m, K: Pod, V: Pod> Entries<'m, K, V> {
    /// `map` has keys and values of these sizes, as aya makes sure for its typed maps.
    fn of(map: &'m MapData) -> Self {
        Self {
            map,
            place: None,
            ended: false,
            keys: Vec::with_capacity(ROOM),
            values: Vec::with_capacity(ROOM),
            taken: 0,
        }
    }

    /// Asks for so many at once.
    #[must_use]
    pub fn room(mut self, entries: usize) -> Self {
        let entries = entries.max(1);
        self.keys = Vec::with_capacity(entries);
        self.values = Vec::with_capacity(entries);
        self.taken = 0;
        self
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
                // The next bucket alone has more entries than there is room for.
                Err(Errno::ENOSPC) => {
                    let room = self.keys.capacity() * 2;
                    let most = self.map.info()?.max_entries() as usize;
                    ensure!(
                        room < most * 2,
                        "a map's bucket holds more than the map does"
                    );
                    self.keys.reserve(room);
                    self.values.reserve(room);
                }
                Err(error) => return Err(error).context("cannot read a map"),
            }
        }
    }

    /// The system call. With `ENOENT` the batch is the last.
    fn lookup(&mut self) -> Result<(), Errno> {
        /// What the kernel's `union bpf_attr` is for this command.
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
                .place
                .as_ref()
                .map_or(0, |place| ptr::from_ref(place) as u64),
            out_batch: &raw mut next as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: self.keys.capacity().min(self.values.capacity()) as u32,
            map_fd: self.map.fd().as_fd().as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: all pointers are valid, `keys` and `values` for `count` of the map's keys and values, which are of
        // the types K and V. A place is 32 bits wide for hash maps and arrays.
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
            // SAFETY: the kernel has written so many, and any bits make a K and a V.
            unsafe {
                self.keys.set_len(count);
                self.values.set_len(count);
            }
            self.place = Some(next);
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
