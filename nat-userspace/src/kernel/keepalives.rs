//! Records of the NAT mappings that the agent keeps open, in shared memory.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use nat_common::{abi::Keepalive, bytes::words};
use zerocopy::FromZeros as _;

use crate::kernel::mapped::{Access, Mapped};

/// The records.
pub struct Keepalives(Mapped<Keepalive>);

impl Keepalives {
    /// Maps them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn open(records: &Array<MapData, Keepalive>, access: Access) -> Result<Self> {
        Mapped::new(records, access).map(Self).context("KEEPALIVES")
    }

    /// Returns the number of records.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Copies a record.
    #[must_use]
    pub fn get(&self, index: u32) -> Keepalive {
        let mut copy = Keepalive::new_zeroed();
        // SAFETY: within the mapping, whose pages are aligned.
        unsafe { words::copy(self.0.at(index), &raw mut copy) };
        copy
    }

    /// Copies the records that are used, with their indexes.
    pub fn used(&self) -> impl Iterator<Item = (u32, Keepalive)> {
        let all = (0..self.len()).map(|index| (index, self.get(index)));
        all.filter(|(_, record)| record.is_used())
    }

    /// Writes a record. An answer that comes at this moment is lost.
    ///
    /// # Panics
    /// If the records are mapped for reading.
    pub fn set(&mut self, index: u32, record: &Keepalive) {
        self.0.assert_writable();
        // SAFETY: within the mapping.
        unsafe { words::copy(record, self.0.at(index)) };
    }
}
