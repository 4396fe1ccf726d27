//! Metrics for Prometheus, by HTTP on an address of the operator's choice.
//!
//! A thread of its own serves them. It reads by the pins, as `sipnat status` does: a scrape never keeps the agent from its work.
//! A reading answers all requests for a while, so that no number of scrapes takes more than a tenth of a core.

mod families;
mod http;
mod reading;
mod source;

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result};
use prometheus_client::metrics::histogram::Histogram;
use tracing::warn;

use self::source::Source;
use crate::{kernel::run_time, settings::Settings};

/// Endpoint for metrics, bound to its address.
pub struct Endpoint {
    listener: TcpListener,
    /// Keeps the kernel measuring the run time of programs.
    measuring: Option<OwnedFd>,
}

impl Endpoint {
    /// Binds the address that the settings name, if they name one.
    ///
    /// # Errors
    /// If it cannot be bound, or the kernel may not measure run times.
    pub fn bind(settings: &Settings) -> Result<Option<Self>> {
        let Some(address) = settings.metrics else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .with_context(|| {
                format!(
                    "cannot serve metrics at {address}: name a free port of an address of this host, such as \
                     --metrics 127.0.0.1:9060"
                )
            })?;
        let measuring = settings.metrics_run_time.then(run_time::measure);
        Ok(Some(Self {
            listener,
            measuring: measuring.transpose()?,
        }))
    }

    /// Serves the metrics from now on, until the process ends, with the round-trip times of keepalives, if any are sent. Returns the address.
    ///
    /// # Errors
    /// If there can be no thread for it.
    pub fn serve(self, round_trips: Option<Histogram>) -> Result<SocketAddr> {
        let Self {
            listener,
            measuring,
        } = self;
        let address = listener.local_addr().context("metrics")?;
        let serve = async move {
            let _measuring = measuring;
            let source = Source::open(round_trips)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            http::serve(listener, Arc::new(source)).await
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime of the metrics")?;
        thread::Builder::new()
            .name("metrics".into())
            .spawn(move || {
                if let Err(error) = runtime.block_on(serve) {
                    warn!("no metrics any more: {error:#}");
                }
            })
            .context("cannot start the thread of the metrics")?;
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_taken_is_refused() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let settings = Settings {
            metrics: Some(address),
            ..Settings::default()
        };
        let error = Endpoint::bind(&settings).err().unwrap();
        let text = format!("{error:#}");
        assert!(
            text.starts_with(&format!("cannot serve metrics at {address}: ")),
            "{text}"
        );
        assert!(text.contains("Address already in use"), "{text}");
        assert!(Endpoint::bind(&Settings::default()).unwrap().is_none());
    }
}
