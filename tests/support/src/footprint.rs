//! What sipnat has in the kernel: programs, maps and links. None of it may be left, nor grow in number.

use std::{
    collections::BTreeSet,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{MapInfo, loaded_maps},
    programs::{loaded_links, loaded_programs},
};

/// Time within which the kernel frees what nobody uses any more, on a busy machine.
const FREED: Duration = Duration::from_secs(15);

/// Ids of what the agents of one network namespace have, who take their maps over from each other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Footprint {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Footprint {
    /// Lists the programs that use the maps pinned in `pins`, all of their maps, and the links that hold them.
    pub fn of(pins: &Path) -> Result<Self> {
        let config = MapInfo::from_pin(pins.join("CONFIG")).context("no pin of CONFIG")?;
        let mut found = Self::default();
        // One may end while it is looked at.
        for program in loaded_programs().filter_map(Result::ok) {
            let maps = program.map_ids().ok().flatten().unwrap_or_default();
            if maps.contains(&config.id()) {
                found.programs.insert(program.id());
                found.maps.extend(maps);
            }
        }
        let links = loaded_links().filter_map(Result::ok);
        let links = links.filter(|link| found.programs.contains(&link.program_id()));
        found.links = links.map(|link| link.id()).collect();
        Ok(found)
    }

    /// Adds what `other` has.
    pub fn add(&mut self, other: Self) {
        self.programs.extend(other.programs);
        self.maps.extend(other.maps);
        self.links.extend(other.links);
    }

    /// Returns the numbers of programs, maps and links.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        [&self.programs, &self.maps, &self.links].map(BTreeSet::len)
    }

    /// Fails unless soon there is as much as `self` has, by number.
    pub fn is_all_of(&self, pins: &Path) -> Result<()> {
        let wanted = self.counts();
        let is = wait_for(|| Ok(Self::of(pins)?.counts()), |is| *is == wanted)?;
        ensure!(
            is == wanted,
            "{is:?} programs, maps and links, not {wanted:?}"
        );
        Ok(())
    }

    /// Fails unless soon nothing of `self` is there any more.
    pub fn is_gone(&self) -> Result<()> {
        let left = wait_for(
            || {
                let mut left = Self::default();
                let programs = loaded_programs().filter_map(Result::ok);
                left.programs = programs.map(|program| program.id()).collect();
                let maps = loaded_maps().filter_map(Result::ok);
                left.maps = maps.map(|map| map.id()).collect();
                let links = loaded_links().filter_map(Result::ok);
                left.links = links.map(|link| link.id()).collect();
                left.programs.retain(|id| self.programs.contains(id));
                left.maps.retain(|id| self.maps.contains(id));
                left.links.retain(|id| self.links.contains(id));
                Ok(left)
            },
            |left| *left == Self::default(),
        )?;
        ensure!(left == Self::default(), "left in the kernel: {left:?}");
        Ok(())
    }
}

/// Calls `look` until `done`, or for [`FREED`]. Returns what it saw last.
fn wait_for<T>(look: impl Fn() -> Result<T>, done: impl Fn(&T) -> bool) -> Result<T> {
    let deadline = Instant::now() + FREED;
    loop {
        let seen = look()?;
        if done(&seen) || Instant::now() > deadline {
            return Ok(seen);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
