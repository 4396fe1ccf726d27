//! `HISTORY`: the newest decisions, in two rings.

use std::cmp::Reverse;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use nat_common::abi::Record;

use crate::kernel::{
    mapped::{Access, Mapped},
    tables::Tables,
};

/// Reads all records, the oldest first.
///
/// # Errors
/// If the map cannot be read.
pub fn read(table: &Array<MapData, Record>) -> Result<Vec<Record>> {
    let records = Mapped::new(table, Access::Read).context("cannot read HISTORY")?;
    Ok(merged(records.copies()))
}

/// Reads records as they are written.
pub struct Follower {
    /// Number of records of each ring that were read.
    read: [u64; RINGS],
}

/// Number of rings: records of no binding, and others.
const RINGS: usize = 2;

impl Follower {
    /// Begins with the next record that is written.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn new(tables: &Tables) -> Result<Self> {
        Ok(Self {
            read: written(tables)?,
        })
    }

    /// Returns the records since the last call. Of more than a ring holds, the oldest are lost.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn next(&mut self, tables: &Tables) -> Result<Vec<Record>> {
        let written = written(tables)?;
        let half = u64::from(tables.history.len()) / RINGS as u64;
        let mut all = Vec::new();
        for (ring, (read, written)) in (0..).zip(self.read.iter_mut().zip(written)) {
            for number in written.saturating_sub(half).max(*read)..written {
                let index = (number % half + half * ring) as u32;
                let record = tables.history.get(&index, 0);
                all.push(record.context("cannot read HISTORY")?);
            }
            *read = written;
        }
        Ok(all)
    }
}

/// Returns the numbers of records that were written to each ring.
fn written(tables: &Tables) -> Result<[u64; RINGS]> {
    let mut all = [0; RINGS];
    for (ring, written) in (0..).zip(&mut all) {
        *written = tables
            .written
            .get(&ring, 0)
            .context("cannot read WRITTEN")?;
    }
    Ok(all)
}

/// Merges both rings. Of one tick, a record of no binding comes first: mostly it has led to the other, as a challenge does.
fn merged(mut others: Vec<Record>) -> Vec<Record> {
    let bound = others.split_off(others.len() / 2);
    let mut all = in_order(others);
    all.extend(in_order(bound));
    all.sort_by_key(|record| record.at);
    all
}

/// Sorts a ring whose newest record stands before the oldest, or before those never written. The clock has ticks of
/// milliseconds, so records of one tick keep their order in the ring.
fn in_order(mut ring: Vec<Record>) -> Vec<Record> {
    let age = |i: usize| {
        ring[(i + ring.len() - 1) % ring.len()]
            .at
            .saturating_sub(ring[i].at)
    };
    let oldest = (0..ring.len())
        .max_by_key(|&i| (age(i), Reverse(i)))
        .unwrap_or(0);
    ring.rotate_left(oldest);
    ring.retain(|record| record.at != 0);
    // The clocks of two CPUs may be a tick apart.
    ring.sort_by_key(|record| record.at);
    ring
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(of: &[(u64, u32)]) -> Vec<Record> {
        of.iter()
            .map(|&(at, cseq)| Record {
                at,
                cseq,
                ..Record::default()
            })
            .collect()
    }

    #[test]
    fn history_is_told_from_the_oldest_on() {
        for ring in [
            // Not yet full.
            &[(10, 1), (10, 2), (11, 3), (0, 0), (0, 0)][..],
            // Full, and gone round: in the middle of a tick.
            &[(10, 2), (11, 3), (12, 4), (10, 1)],
            &[(12, 3), (10, 1), (12, 2)],
            // Another CPU wrote a tick earlier.
            &[(11, 2), (10, 1), (13, 3), (0, 0)],
            // All in one tick.
            &[(10, 1), (10, 2), (10, 3)],
        ] {
            let told: Vec<u32> = in_order(records(ring)).iter().map(|r| r.cseq).collect();
            assert!(told.is_sorted() && told.len() >= 3, "{ring:?}: {told:?}");
        }
        assert!(in_order(Vec::new()).is_empty());
        assert!(in_order(records(&[(0, 0)])).is_empty());
    }
}
