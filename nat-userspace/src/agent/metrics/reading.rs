//! All that the metrics tell, read at one time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nat_common::abi::{Counter, MediaCounter};
use prometheus_client::metrics::histogram::Histogram;

use crate::{
    agent::session::Session,
    checks::interfaces,
    host::net::Net,
    kernel::{pins, tables::Tables},
    view::{
        counts::Counts,
        fill::{self, Fill},
        listing::Listing,
        pings::{Ping, Pings},
        streams::{self, Stream},
    },
};

/// State of the agent, its programs and its tables.
#[derive(Debug)]
pub(super) struct Reading {
    /// Version of sipnat.
    pub(super) version: String,
    /// Start of the agent, in seconds since 1970.
    pub(super) since: u64,
    /// Whether nothing is redirected.
    pub(super) shadow: bool,
    /// Verdicts and events.
    pub(super) counters: Vec<(Counter, u64)>,
    pub(super) bindings: Counts,
    pub(super) tables: Vec<Fill>,
    /// Memory of all maps, in bytes.
    pub(super) memory: u64,
    /// Number of records written to each ring of `HISTORY`.
    pub(super) records: [u64; 2],
    pub(super) programs: Vec<Program>,
    /// Names of interfaces, and whether both programs are on them.
    pub(super) interfaces: Vec<(String, bool)>,
    /// None if keepalives are off.
    pub(super) keepalives: Option<Keepalives>,
    /// None if media are off.
    pub(super) media: Option<Media>,
    /// Time that this reading took.
    pub(super) took: Duration,
}

/// Runs of a program, which the kernel counts while it measures them, with those of the programs that it enters.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) runs: u64,
    pub(super) time: Duration,
}

/// Outcome of keepalives.
#[derive(Debug)]
pub(super) struct Keepalives {
    pub(super) answering: usize,
    pub(super) silent: usize,
    pub(super) unknown: usize,
    pub(super) round_trips: Histogram,
}

impl Keepalives {
    fn read(tables: &Tables, round_trips: &Histogram) -> Result<Self> {
        let pings = Pings::read(tables)?;
        Ok(Self {
            answering: pings.count(|ping| matches!(ping, Ping::Answers(_))),
            silent: pings.count(|ping| ping == Ping::Silent),
            unknown: pings.count(|ping| ping == Ping::Unknown),
            round_trips: round_trips.clone(),
        })
    }
}

/// Events and streams of media.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) counters: Vec<(MediaCounter, u64)>,
    pub(super) streams: Vec<Stream>,
}

impl Reading {
    /// Reads all.
    pub(super) async fn take(net: &Net, round_trips: Option<&Histogram>) -> Result<Self> {
        let begun = Instant::now();
        let Session {
            agent,
            pins,
            tables,
            ..
        } = Session::open()?;
        let listing = Listing::read(&tables)?;
        let infos = pins::programs(&pins)?;
        let ours = [infos[0].1.id(), infos[1].1.id()];
        let links = net.links().await?;
        let interfaces =
            interfaces::find(net, &links, &agent.interfaces, &agent.missing, Some(ours)).await?;
        let interfaces = interfaces.iter();
        let on = interfaces.map(|on| (on.name().to_owned(), on.attached().is_some()));
        let keepalives = round_trips.map(|times| Keepalives::read(&tables, times));
        let has_media = infos.len() > ours.len();
        // The others are entered from these, and their runs count as those of these.
        let programs = infos[..ours.len()].iter().map(|(name, info)| Program {
            name,
            runs: info.run_count(),
            time: info.run_time(),
        });
        Ok(Self {
            version: agent.version,
            since: agent.since,
            shadow: tables.shadow()?,
            counters: tables.counts()?,
            bindings: Counts::of(&listing),
            tables: fill::read(&tables, &listing.used)?,
            memory: tables.memory()?,
            records: records(&tables)?,
            programs: programs.collect(),
            interfaces: on.collect(),
            keepalives: keepalives.transpose()?,
            media: has_media.then(|| Media::read(&tables)).transpose()?,
            took: begun.elapsed(),
        })
    }
}

impl Media {
    fn read(tables: &Tables) -> Result<Self> {
        Ok(Self {
            counters: tables.media_counts()?,
            streams: streams::read(tables)?,
        })
    }
}

fn records(tables: &Tables) -> Result<[u64; 2]> {
    let ring = |index| {
        let written = tables.written.get(&index, 0);
        written.context("cannot read WRITTEN")
    };
    Ok([ring(0)?, ring(1)?])
}
