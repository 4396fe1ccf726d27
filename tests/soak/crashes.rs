//! Deaths of the agent at random moments, also while it starts.

use std::time::Duration;

use anyhow::Result;
use nat_test_support::{Sipnat, footprint::Footprint, netns::Netns};

use crate::moments::Moments;

/// Line of shell that becomes the agent.
pub(crate) const AS_IT_IS: &str = "exec \"$@\"";

/// Kills of the agent that are still to come.
pub(crate) struct Crashes<'a> {
    moments: Moments,
    done: u32,
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
        Self {
            moments: Moments::new(kills, duration),
            done: 0,
            pbx,
            arguments,
            footprint: Footprint::default(),
        }
    }

    /// Kills the agent if it is time, and starts the next one. Returns whether it was the last kill.
    pub(crate) fn strike(&mut self, elapsed: Duration, agent: &mut Sipnat<'a>) -> Result<bool> {
        if self.moments.come(elapsed) {
            self.replace(agent, AS_IT_IS)?;
            self.done += 1;
        }
        Ok(self.moments.are_over())
    }

    /// Kills the agent, and starts the next one by a line of shell, in which `"$@"` is its command.
    pub(crate) fn replace(&mut self, agent: &mut Sipnat<'a>, line: &str) -> Result<()> {
        self.footprint.add(Footprint::of(&agent.pins()?)?);
        agent.kill()?;
        *agent = Sipnat::spawn_by_shell(self.pbx, line, self.arguments)?;
        Ok(())
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
