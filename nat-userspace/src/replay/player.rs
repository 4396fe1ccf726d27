//! The kernel programs with a clock of their own, and what they make of a packet.

use anyhow::{Result, ensure};
use nat_common::{
    abi::{Counter, CounterKind, Record, SECOND},
    sip::Direction,
};

use crate::kernel::{
    history::Follower,
    load::{DataPath, Loader},
    tables::Tables,
    test_run::ReplayClock,
};

/// Time of the programs' clock at the first packet: that of a host that has run for some days.
pub(super) const START: u64 = 1_000_000 * SECOND;

/// The programs at work on a capture.
pub(super) struct Player {
    path: DataPath,
    clock: ReplayClock,
    follower: Follower,
    counts: Counts,
    first: u64,
    now: u64,
}

/// Outcome of a packet.
pub(super) struct Played {
    /// Time of the programs' clock, of no other packet.
    pub(super) at: u64,
    /// Verdict.
    pub(super) verdict: Counter,
    /// Counters that have grown, and by how much: the verdict, and events beside it.
    pub(super) counted: Vec<(Counter, u64)>,
    /// Records of it.
    pub(super) records: Vec<Record>,
    /// Frame of the PBX as it goes on; none if the program drops it.
    pub(super) frame: Option<Vec<u8>>,
}

impl Player {
    /// Loads the programs for a capture that begins at `first` nanoseconds since 1970.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn load(loader: Loader<'_>, first: u64) -> Result<Self> {
        let mut path = loader.replaying(START).load()?;
        Ok(Self {
            clock: path.take_replay_clock()?,
            follower: Follower::new(&path.tables)?,
            counts: Counts::new(),
            path,
            first,
            now: START,
        })
    }

    /// Returns the maps.
    pub(super) const fn tables(&self) -> &Tables {
        &self.path.tables
    }

    /// Returns the time of the programs' clock.
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// Runs the program of a direction on a frame that was captured at `time`. None if the kernel cannot take the frame.
    ///
    /// # Errors
    /// If the kernel refuses, or a map cannot be read.
    pub(super) fn play(
        &mut self,
        direction: Direction,
        time: Option<u64>,
        frame: &[u8],
    ) -> Result<Option<Played>> {
        const TC_ACT_SHOT: u32 = 2;
        let at = time.map_or(0, |time| START + time.saturating_sub(self.first));
        // Never backwards; and no two packets at one time, so that a record names its packet.
        self.now = at.max(self.now + 1);
        self.clock.set(self.now)?;
        let Some(outcome) = self.path.test_run(direction, frame)? else {
            return Ok(None);
        };
        let (verdict, counted) = self.counts.grown(&self.path.tables, direction)?;
        Ok(Some(Played {
            at: self.now,
            verdict,
            counted,
            records: self.follower.next(&self.path.tables)?,
            frame: (direction == Direction::Out && outcome.action != TC_ACT_SHOT)
                .then_some(outcome.frame),
        }))
    }
}

/// Values of all counters when they were last read.
struct Counts {
    known: Vec<u64>,
    /// The last verdict of each direction: the next is mostly the same.
    last: [Counter; 2],
}

impl Counts {
    fn new() -> Self {
        Self {
            known: vec![0; Counter::ALL.len()],
            last: [Counter::InOtherPort, Counter::OutOtherPort],
        }
    }

    /// Returns the verdict on the last packet, and the counters that have grown since the one before.
    fn grown(
        &mut self,
        tables: &Tables,
        direction: Direction,
    ) -> Result<(Counter, Vec<(Counter, u64)>)> {
        let kind = match direction {
            Direction::In => CounterKind::Ingress,
            Direction::Out => CounterKind::Egress,
        };
        let last = &mut self.last[direction as usize];
        let is_verdict = |counter: &&Counter| counter.kind() == kind;
        let verdicts = Counter::ALL.iter().filter(is_verdict);
        let mut counted = Vec::new();
        for verdict in [*last].iter().chain(verdicts) {
            let growth = growth(&mut self.known, tables, *verdict)?;
            if growth > 0 {
                *last = *verdict;
                counted.push((*verdict, growth));
                break;
            }
        }
        ensure!(!counted.is_empty(), "the programs have given no verdict");
        let is_event = |counter: &&Counter| counter.kind() == CounterKind::Event;
        for event in Counter::ALL.iter().filter(is_event) {
            let growth = growth(&mut self.known, tables, *event)?;
            if growth > 0 {
                counted.push((*event, growth));
            }
        }
        Ok((*last, counted))
    }
}

/// Returns by how much a counter has grown since it was last read.
fn growth(known: &mut [u64], tables: &Tables, counter: Counter) -> Result<u64> {
    let count = tables.count(counter)?;
    let known = &mut known[counter as usize];
    let growth = count.saturating_sub(*known);
    *known = count;
    Ok(growth)
}
