//! How full the tables are.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::kernel::tables::{BINDINGS, Table, Tables};

/// How full one table is.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fill {
    /// Name of the table.
    pub name: &'static str,
    /// Number of used entries.
    pub used: usize,
    /// Number of entries that it can hold.
    pub size: u64,
}

/// Returns how full each counted table is. `used` has the numbers of those that were read already.
///
/// # Errors
/// If a table cannot be read.
pub fn read(tables: &Tables, used: &BTreeMap<&'static str, usize>) -> Result<Vec<Fill>> {
    let mut fills = Vec::new();
    for table in tables.maps() {
        let known = used.get(table.name).copied();
        if let Some(used) = known.map_or_else(|| table.used(), |used| Ok(Some(used)))? {
            fills.push(of(&table, used)?);
        }
    }
    Ok(fills)
}

/// Returns how full the tables of bindings are.
///
/// # Errors
/// If one cannot be read.
pub fn of_bindings(tables: &Tables) -> Result<Vec<Fill>> {
    let mut fills = Vec::new();
    for table in tables.maps() {
        if BINDINGS.contains(&table.name)
            && let Some(used) = table.used()?
        {
            fills.push(of(&table, used)?);
        }
    }
    Ok(fills)
}

fn of(table: &Table<'_>, used: usize) -> Result<Fill> {
    Ok(Fill {
        name: table.name,
        used,
        size: table.size()?,
    })
}
