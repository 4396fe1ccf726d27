//! `ADDRESSES`: kinds of the addresses of this host and around it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::maps::{LpmTrie, MapData};
use nat_common::abi::{address, map};
use tracing::debug;

use crate::{
    host::prefix::Prefix,
    kernel::tables::{self, Address},
};

/// The map `ADDRESSES`.
pub(crate) type AddressMap = LpmTrie<MapData, Address, u32>;

/// Returns how many entries of `ADDRESSES` are used. One stays free: before Linux 6.13, a full trie refuses another value for
/// a key that it has.
#[must_use]
pub(crate) fn capacity() -> usize {
    let entries = tables::fixed_entries(map::ADDRESSES);
    entries.map_or(0, |entries| entries.saturating_sub(1) as usize)
}

/// Reads the entries.
///
/// # Errors
/// If the map cannot be read.
pub(crate) fn read(trie: &AddressMap) -> Result<BTreeMap<Prefix, u32>> {
    trie.iter()
        .map(|entry| {
            let (key, kind) = entry.context("cannot read ADDRESSES")?;
            Ok((Prefix::from(key), kind))
        })
        .collect()
}

/// Returns the prefixes on the link of an interface.
pub(crate) fn on_link(kinds: &BTreeMap<Prefix, u32>) -> impl Iterator<Item = Prefix> {
    kinds
        .iter()
        .filter(|(_, kind)| address::place(**kind) == address::on_link(**kind >> 8))
        .map(|(prefix, _)| *prefix)
}

/// Changes the contents of `trie` from `old` to `new`. `old` stays equal to the contents, even after a failure.
///
/// # Errors
/// If the map cannot be written.
pub(crate) fn follow(
    trie: &mut AddressMap,
    old: &mut BTreeMap<Prefix, u32>,
    new: &BTreeMap<Prefix, u32>,
) -> Result<()> {
    // A shorter prefix may take over from a longer one: its entry must be there first.
    if old.len() + new.len() <= capacity() {
        write(trie, old, new)?;
        return remove(trie, old, new);
    }
    remove(trie, old, new)?;
    write(trie, old, new)
}

/// Removes the entries that are not in `new`.
fn remove(
    trie: &mut AddressMap,
    old: &mut BTreeMap<Prefix, u32>,
    new: &BTreeMap<Prefix, u32>,
) -> Result<()> {
    let removed: Vec<Prefix> = old
        .keys()
        .filter(|prefix| !new.contains_key(prefix))
        .copied()
        .collect();
    for prefix in removed {
        trie.remove(&prefix.key())
            .with_context(|| format!("cannot remove the address {prefix}"))?;
        debug!(%prefix, "{prefix} is of no kind any more");
        old.remove(&prefix);
    }
    Ok(())
}

/// Writes the entries that are new or differ.
fn write(
    trie: &mut AddressMap,
    old: &mut BTreeMap<Prefix, u32>,
    new: &BTreeMap<Prefix, u32>,
) -> Result<()> {
    for (prefix, kind) in new {
        if old.get(prefix) != Some(kind) {
            trie.insert(&prefix.key(), kind, 0)
                .with_context(|| format!("cannot write the address {prefix}"))?;
            debug!(%prefix, kind, "{prefix} is of kind {kind:#x} now");
            old.insert(*prefix, *kind);
        }
    }
    Ok(())
}
