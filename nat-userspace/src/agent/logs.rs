//! The log of the kernel programs: a ring buffer with a record for each redirect, if the agent logs that much.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Result, anyhow};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::warn;

use crate::{kernel::tables::Tables, view::traffic::REDIRECTS};

/// A reader of the log, if the programs write one.
pub(super) struct Logs(Option<Reader>);

struct Reader {
    ring: AsyncFd<EbpfLogger<Counting>>,
    /// Redirects that had no record when the reader began, and records that were lost and are reported.
    excused: u64,
}

/// Number of records that were read. There is one reader in a process.
static READ: AtomicU64 = AtomicU64::new(0);

/// The agent's own log, with a count of the programs' records.
struct Counting;

impl Log for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        log::logger().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        READ.fetch_add(1, Relaxed);
        log::logger().log(record);
    }

    fn flush(&self) {
        log::logger().flush();
    }
}

impl Logs {
    /// Opens the log of the programs in `ebpf`, which have these `tables`.
    pub(super) fn open(ebpf: &mut Ebpf, tables: &Tables) -> Result<Self> {
        let logger = match EbpfLogger::init_with_logger(ebpf, Counting) {
            Ok(logger) => logger,
            Err(aya_log::Error::MapNotFound) => return Ok(Self(None)),
            Err(error) => return Err(anyhow!(error).context("cannot read the programs' log")),
        };
        // SAFETY: the logger owns its ring buffer's descriptor, always the same, and lives as long
        // as the `AsyncFd` that takes it.
        let mut ring = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        let excused = excused(tables, || ring.get_mut().flush())?;
        Ok(Self(Some(Reader { ring, excused })))
    }

    /// Waits for records and logs them, and says how many were lost; waits for ever if the programs write none.
    pub(super) async fn forward(&mut self, tables: &Tables) -> Result<()> {
        let Some(reader) = &mut self.0 else {
            return std::future::pending().await;
        };
        let mut ready = reader.ring.readable_mut().await?;
        // Before the records are read: a redirect is counted after its record is written.
        let redirects = redirects(tables)?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
        reader.report_lost(redirects, tables.shadow()?);
        Ok(())
    }
}

impl Reader {
    /// Reports records of redirects that the ring buffer had no space for. In `shadow` mode there are none.
    fn report_lost(&mut self, redirects: u64, shadow: bool) {
        let known = self.excused + READ.load(Relaxed);
        let lost = redirects.saturating_sub(known);
        if lost > 0 {
            self.excused += lost;
            if !shadow {
                warn!(
                    lost,
                    "{lost} records of the kernel programs' log were lost: the agent did not read them in time"
                );
            }
        }
    }
}

/// Returns the number of redirects that have no record for this reader: those of earlier programs. `read` reads the records.
///
/// A redirect is counted after its record is written. So the count is right if no record comes while it is made; under load the
/// last try counts, and is wrong by the records that came during it.
fn excused(tables: &Tables, mut read: impl FnMut()) -> Result<u64> {
    const TRIES: usize = 10;
    read();
    let mut excused = 0;
    for _ in 0..TRIES {
        let before = READ.load(Relaxed);
        excused = redirects(tables)?.saturating_sub(before);
        read();
        if READ.load(Relaxed) == before {
            break;
        }
    }
    Ok(excused)
}

/// Returns the number of redirects. Each has a record in the log.
fn redirects(tables: &Tables) -> Result<u64> {
    let counts = REDIRECTS.iter().map(|(_, counter)| tables.count(*counter));
    counts.sum()
}
