//! Slots of media in shared memory.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use nat_common::{
    abi::{MEDIA_PORTS, MediaBits, MediaConfig, MediaSlot},
    bpf::atomic::Word,
    bytes::words,
    endpoint::Endpoint,
    media,
};
use zerocopy::FromZeros as _;

use crate::kernel::mapped::{Access, Mapped};

/// Words of `MEDIA_BITS`.
const WORDS: usize = size_of::<MediaBits>() / 8;

/// The slots, and the bits of those that are used.
pub struct Streams {
    slots: Mapped<MediaSlot>,
    bits: Mapped<MediaBits>,
}

impl Streams {
    /// Maps them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn open(
        slots: &Array<MapData, MediaSlot>,
        bits: &Array<MapData, MediaBits>,
        access: Access,
    ) -> Result<Self> {
        Ok(Self {
            slots: Mapped::new(slots, access).context("MEDIA")?,
            bits: Mapped::new(bits, access).context("MEDIA_BITS")?,
        })
    }

    /// Returns the word with the bit of a slot, and the bit.
    fn bit(&self, index: u32) -> (Word, u64) {
        let bit = MediaBits::of(index / MEDIA_PORTS, index % MEDIA_PORTS);
        (self.word(bit as usize / 64), 1 << (bit % 64))
    }

    fn word(&self, index: usize) -> Word {
        assert!(index < WORDS, "word {index}");
        // SAFETY: the index is in bounds. Others access the word atomically, too.
        unsafe { Word::new(self.bits.at(0).cast::<u64>().add(index)) }
    }

    /// Returns the numbers of the slots that are marked as used, by their ports.
    pub fn marked(&self) -> impl Iterator<Item = u32> {
        (0..WORDS).flat_map(|word| {
            let bits = self.word(word).peek();
            let set = (0..64).filter(move |bit| bits & 1 << bit != 0);
            let indexes = set.map(move |bit| MediaBits::slot(word as u32 * 64 + bit));
            indexes.filter(|index| *index < self.slots.len())
        })
    }

    /// Copies the slots that are used. A copy made during a write may mix two streams.
    pub fn used(&self) -> impl Iterator<Item = (u32, MediaSlot)> {
        self.marked().filter_map(|index| {
            let slot = self.slots.at(index);
            let mut copy = MediaSlot::new_zeroed();
            // SAFETY: within the mapping, whose pages are aligned.
            let used = unsafe {
                words::copy(slot, &raw mut copy);
                media::is_used(slot)
            };
            used.then_some((index, copy))
        })
    }

    /// Empties a slot. Returns whether it was used.
    ///
    /// # Panics
    /// If the slots are mapped for reading.
    pub fn clear(&mut self, index: u32) -> bool {
        self.slots.assert_writable();
        let slot = self.slots.at(index);
        let (word, bit) = self.bit(index);
        // SAFETY: within the mapping; the programs access it by the same functions.
        unsafe {
            let cleared = media::clear(slot);
            if cleared || !media::is_used(slot) {
                word.unset(bit);
                if media::is_used(slot) {
                    // A program has bound it meanwhile.
                    word.set(bit);
                }
            }
            cleared
        }
    }

    /// Empties the slots of the local address of a number.
    ///
    /// # Panics
    /// As for [`Self::clear`].
    pub fn clear_address(&mut self, number: u32) {
        let all: Vec<u32> = self.marked().collect();
        for index in all.into_iter().filter(|i| i / MEDIA_PORTS == number) {
            self.clear(index);
        }
    }

    /// Stores a copy of a slot, which no program uses yet, and marks it.
    ///
    /// # Panics
    /// As for [`Self::clear`].
    pub fn store(&mut self, index: u32, slot: &MediaSlot) {
        self.slots.assert_writable();
        // SAFETY: within the mapping.
        unsafe { words::copy(slot, self.slots.at(index)) };
        let (word, bit) = self.bit(index);
        word.set(bit);
    }

    /// Returns the number of slots.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the address and port of a slot.
#[must_use]
pub fn place(config: &MediaConfig, index: u32) -> SocketAddr {
    let addr = config.addresses[(index / MEDIA_PORTS) as usize];
    let port = index % MEDIA_PORTS;
    Endpoint {
        addr,
        port,
        reserved: 0,
    }
    .into()
}

/// Returns the local addresses that have slots.
#[must_use]
pub fn addresses(config: &MediaConfig) -> Vec<IpAddr> {
    let used = (0..).zip(config.addresses).filter(|(_, a)| *a != [0; 2]);
    used.map(|(number, _)| place(config, number * MEDIA_PORTS).ip())
        .collect()
}
