//! Sets: the unit of a set-associative table.

use core::array;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::value::{Entry, Value, ValueWords};

/// Number of slots in a set.
pub const WAYS: usize = 4;

/// Bits of the ticks beyond 32: together they last for 36 years.
pub const EPOCH_BITS: u32 = 8;

/// Mask of those bits in a check.
pub const EPOCH: u32 = (1 << EPOCH_BITS) - 1;

/// Number of bits of a rank (see [`rank`](crate::tables::rank)), above those of the ticks.
const RANK_BITS: u32 = 2;

/// Mask of those bits in a check.
pub const RANK: u32 = ((1 << RANK_BITS) - 1) << EPOCH_BITS;

/// Set of slots, as it lies in a map; see [`slots`](crate::tables::slots) for its protocol.
///
/// The first 64 bytes hold what selects a slot: tags, checks, times. Values follow. Where a set begins on a cache
/// line, as the kernel's maps have it, most lookups miss and read that one line.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Set {
    /// Tag of each slot: hash, generation, busy bit. 0 is a slot never used.
    pub tags: [u64; WAYS],
    /// Time of the last write to each slot: the low 32 bits of its ticks.
    pub times: [u32; WAYS],
    /// Check of each slot: key bits beyond those in its tag, below them the rank ([`RANK`]), and in the lowest
    /// [`EPOCH_BITS`] the ticks above 32 bits.
    pub checks: [u32; WAYS],
    /// Values.
    pub values: [ValueWords; WAYS],
}

const _: () = assert!(size_of::<Set>() == 256);

/// Slot of a copy of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot<V> {
    /// Tag of the slot.
    pub tag: u64,
    /// Its entry.
    pub entry: Entry<V>,
}

impl Set {
    /// Time of the last write to a slot, in ticks.
    ///
    /// # Panics
    /// If `way` is not below [`WAYS`].
    #[must_use]
    pub const fn at(&self, way: usize) -> u64 {
        ((self.checks[way] & EPOCH) as u64) << 32 | self.times[way] as u64
    }

    /// Slots of a copy of a set. A copy made during a write may mix two values: it is for people.
    #[must_use]
    pub fn slots<V: Value>(&self) -> [Slot<V>; WAYS] {
        array::from_fn(|way| {
            let mut value = V::new_zeroed();
            value
                .as_mut_bytes()
                .copy_from_slice(self.values[way].as_bytes());
            Slot {
                tag: self.tags[way],
                entry: Entry {
                    value,
                    at: self.at(way),
                },
            }
        })
    }
}
