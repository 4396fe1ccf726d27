//! Array maps, mapped into this process: they are read without a system call, however many entries they have. The kernel
//! does not map a map for a user who may only read it: that user gets a copy.

use std::{marker::PhantomData, num::NonZeroUsize, os::fd::AsFd as _, ptr::NonNull, slice};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, IterableMap as _, MapData},
};
use nat_common::{
    abi::{BINDING_WAYS, Binding, BindingSet, Entry, Set, Value},
    bytes::words,
    tables::{
        bindings::{self, BindingKey, Room, Slice, Stored},
        slots::{SlotKey, Slots},
    },
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
};
use zerocopy::{FromBytes, FromZeros as _};

use crate::kernel::raw;

/// Access to a mapped map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// Attempts to read a value that the programs do not change meanwhile: it is read twice, and must be the same.
const ATTEMPTS: u32 = 8;

/// Whether a map was opened for reading only.
fn is_for_reading(map: &MapData) -> Result<bool> {
    let flags = fcntl(map.fd().as_fd(), FcntlArg::F_GETFL)?;
    Ok(OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY)
}

/// Values of an array map with `BPF_F_MMAPABLE`, which the programs change at any time.
pub struct Mapped<T> {
    first: NonNull<T>,
    len: u32,
    access: Access,
}

impl<T: FromBytes + Pod> Mapped<T> {
    /// Maps an array.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new(array: &Array<MapData, T>, access: Access) -> Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        Self::of(array.map(), array.len(), access)
    }

    /// Maps an array as values of this type, whatever its own type is.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn of(map: &MapData, len: u32, access: Access) -> Result<Self> {
        let bytes = NonZeroUsize::new(len as usize * size_of::<T>()).context("an empty map")?;
        if access == Access::Read && is_for_reading(map)? {
            return Self::copied(map, bytes, len);
        }
        let protection = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: a new mapping, which overlays nothing.
        let first = unsafe {
            mmap(
                None,
                bytes,
                protection,
                MapFlags::MAP_SHARED,
                map.fd().as_fd(),
                0,
            )
        }
        .context("cannot map the memory of a map")?;
        Ok(Self {
            first: first.cast(),
            len,
            access,
        })
    }

    /// Copies an array whose values may have another type. The kernel does not map one that was opened for reading:
    /// `bpf_map_mmap` asks for a shared mapping, which such a file does not give.
    fn copied(map: &MapData, bytes: NonZeroUsize, len: u32) -> Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, which overlays nothing.
        let first = unsafe { mmap_anonymous(None, bytes, protection, MapFlags::MAP_PRIVATE) }
            .context("no memory for a copy of a map")?;
        let copy = Self {
            first: first.cast(),
            len,
            access: Access::Read,
        };
        let value = map.info()?.value_size() as usize;
        let mut again = vec![0; value.next_multiple_of(8)];
        for index in 0..bytes.get() / value.max(1) {
            // SAFETY: values of an array with BPF_F_MMAPABLE are whole words, and lie one after the other in the copy.
            let slot = unsafe { first.cast::<u8>().add(index * value) };
            for _ in 0..ATTEMPTS {
                // SAFETY: as long as a value, which is this process' own.
                let read = unsafe {
                    raw::value_at(map, index as u32, slot.as_ptr())
                        .and_then(|()| raw::value_at(map, index as u32, again.as_mut_ptr()))
                };
                read.context("cannot read a map")?;
                // SAFETY: as above.
                if unsafe { slice::from_raw_parts(slot.as_ptr(), value) } == &again[..value] {
                    break;
                }
            }
        }
        Ok(copy)
    }

    /// Returns the number of values.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Returns the address of a value.
    pub(super) const fn at(&self, index: u32) -> *mut T {
        assert!(index < self.len);
        // SAFETY: within the mapping.
        unsafe { self.first.as_ptr().add(index as usize) }
    }

    /// Fails if the memory is mapped for reading.
    pub(super) fn assert_writable(&self) {
        assert_eq!(self.access, Access::Write, "the mapping");
    }

    /// Copies all values. A copy made during a write may mix two values.
    #[must_use]
    pub fn copies(&self) -> Vec<T> {
        (0..self.len as usize)
            .map(|index| {
                let mut value = T::new_zeroed();
                // SAFETY: within the mapping, which is aligned to a page.
                unsafe { words::copy(self.first.as_ptr().add(index), &raw mut value) };
                value
            })
            .collect()
    }
}

// SAFETY: the memory is shared with the programs of all CPUs anyway, and accessed as that takes.
unsafe impl<T> Send for Mapped<T> {}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: this is its mapping, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.first.cast(), self.len as usize * size_of::<T>()) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// A mapped table of sets.
pub struct MappedSets<V> {
    sets: Mapped<Set>,
    value: PhantomData<V>,
}

impl<V: Value> MappedSets<V> {
    /// Maps a table of sets for reading.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn new(table: &Array<MapData, Set>) -> Result<Self> {
        Ok(Self {
            sets: Mapped::new(table, Access::Read)?,
            value: PhantomData,
        })
    }

    /// Copies the entry of a key, however old it is.
    #[must_use]
    pub fn find(&self, key: &SlotKey) -> Option<Entry<V>> {
        let mut copy = Entry::new_zeroed();
        // The number of sets is a power of two.
        let set = self.sets.at(key.index & (self.sets.len() - 1));
        // SAFETY: within the mapping, whose sets the programs access by the same functions. Nothing is written.
        let slots = unsafe { Slots::new(set, &mut copy) };
        slots.find(key).map(|found| *found)
    }
}

/// A mapped table of bindings.
pub struct Bindings<K> {
    sets: Mapped<BindingSet>,
    key: PhantomData<K>,
}

impl<K: BindingKey> Bindings<K> {
    /// Maps a table of bindings.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn new(table: &Array<MapData, BindingSet>, access: Access) -> Result<Self> {
        Ok(Self {
            sets: Mapped::new(table, access)?,
            key: PhantomData,
        })
    }

    /// Returns the number of slots.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.sets.len * BINDING_WAYS as u32
    }

    /// Copies the binding of a slot, even if it has expired, and returns its key. Without one, `to` is undefined.
    pub fn copy(&self, slot: u32, to: &mut Binding) -> Option<K> {
        let way = slot as usize % BINDING_WAYS;
        // SAFETY: within the mapping. Tags are written by other CPUs, so the read is volatile.
        let used = unsafe {
            let set = self.set(slot);
            // Most slots of a table are empty: nothing is copied of them.
            (&raw const (*set).tags[way]).read_volatile() != 0 && bindings::copy_slot(set, way, to)
        };
        used.then(|| K::from_words(to.key))
    }

    /// Copies the bindings one by one, the expired ones, too.
    pub fn iter(&self) -> impl Iterator<Item = (K, Binding)> {
        (0..self.slots()).filter_map(|slot| {
            let mut copy = Binding::EMPTY;
            Some((self.copy(slot, &mut copy)?, copy))
        })
    }

    /// Visits the bindings one by one, the expired ones, too. It copies less than [`Self::iter`].
    pub fn visit(&self, mut visit: impl FnMut(&K, &Binding)) {
        let mut copy = Binding::EMPTY;
        for slot in 0..self.slots() {
            if let Some(key) = self.copy(slot, &mut copy) {
                visit(&key, &copy);
            }
        }
    }

    /// Returns the set of a slot.
    const fn set(&self, slot: u32) -> *mut BindingSet {
        assert!(slot < self.slots());
        // SAFETY: within the mapping.
        unsafe { self.sets.first.as_ptr().add(slot as usize / BINDING_WAYS) }
    }

    /// Copies a binding, even if it has expired.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Binding> {
        let mut copy = Binding::EMPTY;
        bindings::find(&self.slice(), key, &mut copy).map(|_| copy)
    }

    /// Stores a binding as the programs do, at a time.
    ///
    /// # Panics
    /// If the table is mapped for reading.
    #[must_use]
    pub fn insert(&mut self, key: &K, mut binding: Binding, now: u64) -> Stored {
        self.sets.assert_writable();
        binding.key = key.words();
        let mut copy = Binding::EMPTY;
        let found = bindings::find(&self.slice(), key, &mut copy);
        let room = &mut Room::default();
        bindings::store(&self.slice(), key, &binding, found, now, room)
    }

    /// Removes a binding. Returns whether it was there.
    ///
    /// # Panics
    /// As for [`Self::insert`].
    pub fn remove(&mut self, key: &K) -> bool {
        self.sets.assert_writable();
        let mut copy = Binding::EMPTY;
        let mut removed = false;
        // A program may change it meanwhile, and two may have stored it at once.
        while let Some(found) = bindings::find(&self.slice(), key, &mut copy) {
            removed |= bindings::forget(&self.slice(), key, found);
        }
        removed
    }

    /// Removes all bindings, whatever the programs do meanwhile.
    ///
    /// # Panics
    /// As for [`Self::insert`].
    pub fn clear(&mut self) {
        self.sets.assert_writable();
        for index in 0..self.sets.len as usize {
            // SAFETY: within the mapping.
            unsafe { words::copy(&BindingSet::EMPTY, self.sets.first.as_ptr().add(index)) };
        }
    }

    fn slice(&self) -> Slice {
        // SAFETY: the mapping lives as long as `self`, and the programs access it by the same functions.
        unsafe { Slice::new(self.sets.first.as_ptr(), self.sets.len) }
    }
}
