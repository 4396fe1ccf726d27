//! What the view shows, read at one time.

use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::tz::TimeZone;
use nat_common::abi::Counter;

use crate::{
    agent::session::Session,
    commands::explain,
    view::{
        counts::Counts,
        fill::{self, Fill},
        listing::Listing,
        output,
        story::{Story, Subject},
    },
};

/// Number of redirects that are kept for the view.
const REDIRECTS: usize = 200;

/// State of the agent and its tables.
pub(super) struct Data {
    /// Time of the reading.
    pub(super) at: Instant,
    /// The agent and where it is, in one line.
    pub(super) agent: String,
    /// Set if nothing is redirected.
    pub(super) shadow: bool,
    /// Verdicts and events.
    pub(super) counters: Vec<(Counter, u64)>,
    pub(super) bindings: Counts,
    /// Fill of the tables of bindings.
    pub(super) fills: Vec<Fill>,
    /// Recent redirects, or what was found.
    pub(super) found: Found,
}

/// Text of the lower part: whole, and for narrow screens.
pub(super) struct Found {
    pub(super) wide: Vec<String>,
    pub(super) narrow: Vec<String>,
}

impl Data {
    /// Reads all. With a search, the lower part is about what it finds.
    pub(super) fn read(session: &Session, search: Option<&str>) -> Result<Self> {
        let Session {
            agent,
            tables,
            outdated,
            ..
        } = session;
        let interfaces: Vec<String> = agent.interfaces.iter().map(ToString::to_string).collect();
        let on = if interfaces.is_empty() {
            "no interface".into()
        } else {
            interfaces.join(", ")
        };
        let state = match outdated {
            Some(since) => {
                let time = output::duration(since.elapsed());
                format!("starting or ending for {time}, figures of before")
            }
            None if agent.is_alive() => format!("up {}", output::duration(agent.uptime())),
            None => "not running".into(),
        };
        let subject = search.map_or(Subject::Redirected(REDIRECTS), explain::subject);
        Ok(Self {
            at: Instant::now(),
            agent: format!("sipnat {}, {state}, on {on}", agent.version),
            shadow: tables.shadow()?,
            counters: tables.counts()?,
            bindings: Counts::of(&Listing::read(tables)?),
            fills: fill::of_bindings(tables)?,
            found: match Story::read(tables, subject) {
                Ok(story) => Found::of(&story),
                // Most likely there is no such call or terminal. The error says what may be wrong.
                Err(error) => Found::error(&format!("{error:#}")),
            },
        })
    }

    /// Returns the count of a counter.
    pub(super) fn count(&self, wanted: Counter) -> u64 {
        let found = self.counters.iter().find(|(counter, _)| *counter == wanted);
        found.map_or(0, |(_, count)| *count)
    }

    /// Returns how much a count has grown since an earlier reading, in a second.
    pub(super) fn rate(&self, before: &Self, count: impl Fn(&Self) -> u64) -> f64 {
        /// Shortest time by which is divided.
        const LEAST: Duration = Duration::from_millis(1);
        let passed = self.at.duration_since(before.at).max(LEAST);
        count(self).saturating_sub(count(before)) as f64 / passed.as_secs_f64()
    }
}

impl Found {
    fn of(story: &Story) -> Self {
        let zone = TimeZone::system();
        let [wide, narrow] = [true, false].map(|is_wide| story.newest_first(&zone, is_wide));
        Self { wide, narrow }
    }

    fn error(text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(String::from).collect();
        Self {
            wide: lines.clone(),
            narrow: lines,
        }
    }
}

#[cfg(test)]
impl Data {
    /// Reading of an agent that has counted this.
    pub(super) fn example(at: Instant, counters: &[(Counter, u64)]) -> Self {
        let lines = |width: usize| {
            let line = |number: usize| format!("line {number} {}", "x".repeat(width));
            (0..100).map(line).collect()
        };
        Self {
            at,
            agent: "sipnat 0.1.0, up 2h 5m, on eth0 (xdp native, tcx)".into(),
            shadow: false,
            counters: counters.to_vec(),
            bindings: Counts::default(),
            fills: vec![Fill {
                name: nat_common::abi::map::DIALOGS,
                used: 12,
                size: 81_920,
            }],
            found: Found {
                wide: lines(150),
                narrow: lines(60),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_growth_in_a_second() {
        let then = Instant::now();
        let counted = |count| [(Counter::InRequest, count)];
        let before = Data::example(then, &counted(10));
        let after = |count| Data::example(then + Duration::from_secs(2), &counted(count));
        let requests = |data: &Data| data.count(Counter::InRequest);
        assert_eq!(after(40).rate(&before, requests), 15.0);
        // The tables may be others since.
        assert_eq!(after(4).rate(&before, requests), 0.0);
    }
}
