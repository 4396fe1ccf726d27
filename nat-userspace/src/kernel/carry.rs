//! Bindings of an earlier data path, carried over into tables of another size or layout.
//!
//! The earlier programs go on working until they are replaced. So the bindings are carried over twice: before the new
//! programs are attached, and afterwards what the earlier ones have changed meanwhile.

use anyhow::{Result, bail};
use aya::maps::IterableMap as _;
use nat_common::{
    abi::{Binding, MEDIA_PORTS, map},
    tables::bindings::{BindingKey, Stored},
};

use crate::{
    host::clock,
    kernel::{
        earlier::{Earlier, Other},
        mapped::{Access, Bindings},
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
    /// Set if the bindings had another layout.
    pub converted: bool,
}

/// Carries over what is live, was confirmed at `since` or later, and is not as new in `to`. A table that goes on in place
/// is left out.
///
/// # Errors
/// If a table cannot be mapped.
pub fn bindings(from: &Earlier, to: &Tables, since: u64) -> Result<Vec<Carried>> {
    let other = from.other.as_ref();
    let from = &from.tables;
    let dialogs = table(map::DIALOGS, (&from.dialogs, other), &to.dialogs, since)?;
    let contacts = table(map::CONTACTS, (&from.contacts, other), &to.contacts, since)?;
    Ok(dialogs.into_iter().chain(contacts).collect())
}

/// Carries over the streams of media into a table of another size, whose programs are not attached yet. A stream that the
/// earlier programs bind after this is lost until its call is described again. Returns how many streams go on, and how many
/// have an address without slots; none if the table goes on in place, or one of both has no slots.
///
/// # Errors
/// If a table cannot be mapped.
pub fn streams(from: &Tables, to: &Tables) -> Result<Option<[usize; 2]>> {
    let same = from.media.map().info()?.id() == to.media.map().info()?.id();
    if same || from.media.len() < MEDIA_PORTS || to.media.len() < MEDIA_PORTS {
        return Ok(None);
    }
    let from = from.streams(Access::Read)?;
    let mut to = to.streams(Access::Write)?;
    let mut counts = [0; 2];
    for (index, slot) in from.used() {
        let fits = index < to.len();
        counts[usize::from(!fits)] += 1;
        if fits {
            to.store(index, &slot);
        }
    }
    Ok(Some(counts))
}

fn table<K: BindingKey>(
    name: &'static str,
    (from, other): (&BindingTable<K>, Option<&Other>),
    to: &BindingTable<K>,
    since: u64,
) -> Result<Option<Carried>> {
    let converted = other.and_then(|other| other.bindings(name));
    if converted.is_none() && from.data().info()?.id() == to.data().info()?.id() {
        return Ok(None);
    }
    let mut carrier = Carrier {
        to: to.open(Access::Write)?,
        now: clock::now(),
        since,
        carried: Carried {
            table: name,
            bindings: 0,
            refused: 0,
            converted: converted.is_some(),
        },
    };
    match converted {
        Some(converted) => {
            let mut bindings = converted.iter();
            bindings.try_for_each(|binding| carrier.carry(&K::from_words(binding.key), binding))?;
        }
        None => {
            let from = from.open(Access::Read)?;
            let mut bindings = from.iter();
            bindings.try_for_each(|(key, binding)| carrier.carry(&key, binding))?;
        }
    }
    Ok(Some(carrier.carried))
}

/// Writer of bindings into a new table.
struct Carrier<K> {
    to: Bindings<K>,
    now: u64,
    since: u64,
    carried: Carried,
}

impl<K: BindingKey> Carrier<K> {
    fn carry(&mut self, key: &K, binding: Binding) -> Result<()> {
        /// Tries, where the programs write to the same slots.
        const TRIES: usize = 100;
        let Self {
            to,
            now,
            since,
            carried,
        } = self;
        if binding.expires <= *now || binding.seen < *since {
            return Ok(());
        }
        if to.get(key).is_some_and(|known| known.seen >= binding.seen) {
            return Ok(());
        }
        let mut tries = (0..TRIES).map(|_| to.insert(key, binding, *now));
        match tries.find(|stored| *stored != Stored::Busy) {
            Some(Stored::New | Stored::Renewed | Stored::Pushed) => carried.bindings += 1,
            Some(Stored::Full) => carried.refused += 1,
            Some(Stored::Busy) | None => bail!("a slot of {} stays busy", carried.table),
        }
        Ok(())
    }
}
