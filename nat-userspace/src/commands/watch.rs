//! `sipnat bindings watch`: changes of bindings, one a line.

use std::{
    io::{Write as _, stdout},
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::{Timestamp, tz::TimeZone};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    agent::{session::Session, signals::Signals},
    host::terminal::{is_output_closed, note, printable_lines},
    view::{
        changes::{Change, Changes},
        listing::Listing,
    },
};

/// Time between two readings.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for which an agent may start or end before that is said: it takes less.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints changes until a signal comes, or nobody reads them any more.
pub(super) async fn watch(mut session: Session, json: bool) -> Result<()> {
    let mut signals = Signals::new()?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = Changes::default();
    changes.read(Listing::read(&session.tables)?.rows(), |_| {
        Ok::<_, anyhow::Error>(())
    })?;
    note(&format!("watching {} bindings; Ctrl-C ends", changes.len()));
    let mut warned = false;
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(()),
            _ = ticks.tick() => {}
        }
        if is_output_closed() {
            return Ok(());
        }
        session.refresh()?;
        let outdated = session
            .outdated
            .is_some_and(|since| since.elapsed() > PATIENCE);
        if outdated != warned {
            warned = outdated;
            note(if outdated {
                "an agent is starting or ending, and is not done: changes from now on are not seen until it is"
            } else {
                "the agent is done: watching its bindings"
            });
        }
        tell(&mut changes, &session, json)?;
    }
}

/// Reads the bindings, and prints what has changed.
fn tell(changes: &mut Changes, session: &Session, json: bool) -> Result<()> {
    let listing = Listing::read(&session.tables)?;
    let (at, zone) = (Timestamp::now(), TimeZone::system());
    let mut out = std::io::BufWriter::new(stdout().lock());
    changes.read(listing.rows(), |change: Change<'_>| {
        let line = if json {
            change.json(at)?
        } else {
            printable_lines(&change.line(&at, &zone))
        };
        writeln!(out, "{line}").context("cannot write to standard output")
    })?;
    out.flush().context("cannot write to standard output")
}
