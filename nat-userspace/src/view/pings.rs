//! Outcome of the keepalives that the agent sends: which terminals answer, and how fast.

use std::{collections::HashMap, net::SocketAddr};

use anyhow::Result;
use nat_common::abi::Keepalive;

use crate::{
    kernel::{mapped::Access, tables::Tables},
    view::rows::Row,
};

/// Keepalives by the learned address of their terminal.
#[derive(Debug, Default)]
pub(crate) struct Pings(HashMap<SocketAddr, Ping>);

/// Outcome of the keepalives of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ping {
    /// Nothing is known yet, or its keepalives draw no answer.
    Unknown,
    /// It answered the last one, or one before; in so many microseconds.
    Answers(u32),
    /// It answers no more.
    Silent,
}

impl From<&Keepalive> for Ping {
    fn from(record: &Keepalive) -> Self {
        // The agent looks at an answer when the next keepalive is due.
        match record.answer_time() {
            Some(time) => Self::Answers((time / 1000).clamp(1, u32::MAX.into()) as u32),
            None if record.silent != 0 => Self::Silent,
            None if record.round_trip != 0 => Self::Answers(record.round_trip),
            None => Self::Unknown,
        }
    }
}

impl Pings {
    /// Reads them.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn read(tables: &Tables) -> Result<Self> {
        if tables.config()?.keepalive == [0; 2] {
            return Ok(Self::default());
        }
        let records = tables.keepalives(Access::Read)?;
        let mut pings = HashMap::new();
        for (_, record) in records.used() {
            let ping = Ping::from(&record);
            // Of two sockets of the PBX, that from which it answers.
            let known = pings.entry(record.terminal.into()).or_insert(ping);
            if matches!(ping, Ping::Answers(_)) {
                *known = ping;
            }
        }
        Ok(Self(pings))
    }

    /// Enters what is known of its terminal into a row.
    pub(crate) fn enter(&self, row: &mut Row) {
        match self.0.get(&row.learned) {
            Some(Ping::Answers(micros)) => row.round_trip_microseconds = Some((*micros).into()),
            Some(Ping::Silent) => row.silent = true,
            Some(Ping::Unknown) | None => {}
        }
    }

    /// Counts the terminals whose keepalives have an outcome.
    pub(crate) fn count(&self, is: impl Fn(Ping) -> bool) -> usize {
        self.0.values().filter(|ping| is(**ping)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_before_the_agent_has_looked() {
        let silent = Keepalive {
            sent: 5_000_000,
            answered: 4_000_000,
            silent: 1,
            round_trip: 700,
            ..Keepalive::default()
        };
        assert_eq!(Ping::from(&silent), Ping::Silent);
        let answered = Keepalive {
            answered: 8_000_000,
            ..silent
        };
        assert_eq!(Ping::from(&answered), Ping::Answers(3_000));
        let waiting = Keepalive {
            silent: 0,
            ..silent
        };
        assert_eq!(Ping::from(&waiting), Ping::Answers(700));
        let new = Keepalive {
            round_trip: 0,
            ..waiting
        };
        assert_eq!(Ping::from(&new), Ping::Unknown);
    }
}
