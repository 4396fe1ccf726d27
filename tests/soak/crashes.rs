//! Deaths of the agent at random moments, also while it starts.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use nat_test_support::{Sipnat, footprint::Footprint, netns::Netns};

use crate::shared::Random;

/// Kills of the agent that are still to come.
pub(crate) struct Crashes<'a> {
    kills: u32,
    done: u32,
    /// Time between two kills, at most.
    most: Duration,
    /// Time of the next one.
    next: Duration,
    random: Random,
    pbx: &'a Netns,
    arguments: &'a [&'a str],
    footprint: Footprint,
}

impl<'a> Crashes<'a> {
    /// Spreads the kills over the duration of the load. Agents start in `pbx`, with more arguments.
    pub(crate) fn new(
        kills: u32,
        duration: Duration,
        pbx: &'a Netns,
        arguments: &'a [&'a str],
    ) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        // Half of it on average, and the last one has a while to start.
        let most = duration * 2 / (kills + 2);
        Self {
            kills,
            done: 0,
            most,
            next: most,
            random: Random::new(now.as_nanos() as u64),
            pbx,
            arguments,
            footprint: Footprint::default(),
        }
    }

    /// Kills the agent if it is time, and starts the next one. Returns whether it was the last kill.
    pub(crate) fn strike(&mut self, elapsed: Duration, agent: &mut Sipnat<'a>) -> Result<bool> {
        if self.done == self.kills || elapsed < self.next {
            return Ok(self.done == self.kills);
        }
        self.footprint.add(Footprint::of(&agent.pins()?)?);
        agent.kill()?;
        *agent = Sipnat::spawn(self.pbx, self.arguments)?;
        self.done += 1;
        self.next = elapsed + self.random.between(0, self.most.as_millis() as u64);
        Ok(false)
    }

    /// Returns the number of kills so far.
    pub(crate) fn done(&self) -> u32 {
        self.done
    }

    /// Returns what the agents had that were killed.
    pub(crate) fn footprint(&self) -> Footprint {
        self.footprint.clone()
    }
}
