//! The log of the kernel programs.

use anyhow::{Result, anyhow};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// A reader of the kernel programs' log, if they write one.
pub(super) struct Logs(Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>);

impl Logs {
    /// Opens the log of the programs in `ebpf`.
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self> {
        let logger = match EbpfLogger::init(ebpf) {
            Ok(logger) => logger,
            Err(aya_log::Error::MapNotFound) => return Ok(Self(None)),
            Err(error) => return Err(anyhow!(error).context("cannot read the programs' log")),
        };
        // SAFETY: the logger owns its ring buffer's descriptor, always the same, and lives as long
        // as the `AsyncFd` that takes it.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(Self(Some(logger)))
    }

    /// Waits for records and logs them; waits for ever if the programs write none.
    pub(super) async fn forward(&mut self) -> Result<()> {
        let Some(logger) = &mut self.0 else {
            return std::future::pending().await;
        };
        let mut ready = logger.readable_mut().await?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
        Ok(())
    }
}
