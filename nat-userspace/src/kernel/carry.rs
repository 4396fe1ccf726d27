//! Bindings of an earlier data path, carried over into tables of another size.
//!
//! The earlier programs go on working until they are replaced. So the bindings are carried over twice: before the new
//! programs are attached, and afterwards what the earlier ones have changed meanwhile.

use anyhow::{Result, bail};
use nat_common::{
    abi::{Binding, map},
    tables::bindings::{BindingKey, Stored},
};

use crate::{
    host::clock,
    kernel::{
        mapped::Access,
        tables::{BindingTable, Tables},
    },
};

/// Outcome for one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Name of the table.
    pub table: &'static str,
    /// Number of bindings that were carried over.
    pub bindings: usize,
    /// Number of bindings for which the new table has no room.
    pub refused: usize,
}

/// Carries over what is live, was confirmed at `since` or later, and is not as new in `to`. A table that goes on in place
/// is left out.
///
/// # Errors
/// If a table cannot be mapped.
pub fn bindings(from: &Tables, to: &Tables, since: u64) -> Result<Vec<Carried>> {
    let dialogs = table(map::DIALOGS, &from.dialogs, &to.dialogs, since)?;
    let contacts = table(map::CONTACTS, &from.contacts, &to.contacts, since)?;
    Ok(dialogs.into_iter().chain(contacts).collect())
}

fn table<K: BindingKey>(
    name: &'static str,
    from: &BindingTable<K>,
    to: &BindingTable<K>,
    since: u64,
) -> Result<Option<Carried>> {
    /// Tries, where the programs write to the same slots.
    const TRIES: usize = 100;
    if from.data().info()?.id() == to.data().info()?.id() {
        return Ok(None);
    }
    let mut carried = Carried {
        table: name,
        bindings: 0,
        refused: 0,
    };
    let now = clock::now();
    let (from, mut to) = (from.open(Access::Read)?, to.open(Access::Write)?);
    let counts = |binding: &Binding| binding.expires > now && binding.seen >= since;
    for (key, binding) in from.iter().filter(|(_, binding)| counts(binding)) {
        if to.get(&key).is_some_and(|known| known.seen >= binding.seen) {
            continue;
        }
        let mut tries = (0..TRIES).map(|_| to.insert(&key, binding, now));
        match tries.find(|stored| *stored != Stored::Busy) {
            Some(Stored::New | Stored::Renewed | Stored::Pushed) => carried.bindings += 1,
            Some(Stored::Full) => carried.refused += 1,
            Some(Stored::Busy) | None => bail!("a slot of {name} stays busy"),
        }
    }
    Ok(Some(carried))
}
