//! Signals to the agent, and to commands that go on until one comes.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{self, SignalKind};

/// Listener for the signals that end the agent or have it read its configuration again. All of them end a command.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

/// Request that a signal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// End the agent.
    End,
    /// Read the configuration again.
    Reload,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| unix::signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal. Returns its request and its name.
    pub(crate) async fn next(&mut self) -> (Request, &'static str) {
        tokio::select! {
            _ = self.interrupt.recv() => (Request::End, "SIGINT"),
            _ = self.terminate.recv() => (Request::End, "SIGTERM"),
            _ = self.hang_up.recv() => (Request::Reload, "SIGHUP"),
        }
    }
}
