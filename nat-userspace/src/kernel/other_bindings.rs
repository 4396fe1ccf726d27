//! Bindings in tables of another layout.

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nat_common::{abi::Binding, bpf::atomic::Word, tables::bindings};
use zerocopy::IntoBytes as _;

use crate::kernel::{
    description::OfBindings,
    mapped::{Access, Mapped},
};

/// A mapped table of bindings of another layout.
pub(super) struct OtherBindings {
    words: Mapped<u64>,
    /// Words of a set.
    set: usize,
    layout: OfBindings,
}

impl OtherBindings {
    /// Maps a table of sets of that layout for reading.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn new(map: &MapData, layout: OfBindings) -> Result<Self> {
        let info = map.info()?;
        // Elements of an array begin at multiples of eight bytes.
        let set = info.value_size().div_ceil(8);
        let words = info.max_entries().checked_mul(set);
        let words = words.context("a table of bindings is too large")?;
        Ok(Self {
            words: Mapped::of(map, words, Access::Read)?,
            set: set as usize,
            layout,
        })
    }

    /// Converts the bindings one by one, the expired ones, too.
    pub(super) fn iter(&self) -> impl Iterator<Item = Binding> {
        let sets = self.words.len() as usize / self.set;
        let slots = (0..sets).flat_map(|set| (0..self.layout.ways).map(move |way| (set, way)));
        let mut copy = vec![0_u64; self.layout.size / 8];
        slots.filter_map(move |(set, way)| {
            let start = set * self.set;
            let tag = self.word(start + self.layout.tags / 8 + way);
            let at = start + (self.layout.bindings + way * self.layout.size) / 8;
            bindings::read_words(tag, |index| self.word(at + index).peek(), &mut copy)?;
            let mut binding = Binding::EMPTY;
            self.layout.convert(copy.as_bytes(), &mut binding);
            Some(binding)
        })
    }

    fn word(&self, index: usize) -> Word {
        // SAFETY: within the mapping, and aligned; the programs write words of it atomically, or with the slot claimed.
        unsafe { Word::new(self.words.at(index as u32)) }
    }
}
