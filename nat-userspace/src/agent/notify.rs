//! The agent's states, told to systemd (`Type=notify`). Without `NOTIFY_SOCKET` in the environment nobody is told.

use log::debug;
use sd_notify::NotifyState;

/// Told when the programs are attached.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Told before the configuration is read again; [`ready`] follows.
pub(super) fn reloading() {
    // systemd 253 and later want the time of the reload's begin.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!("cannot read the clock: {error}"),
    }
}

/// Told before the agent detaches, or leaves the programs in place.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Told every five seconds while the agent's loop runs: the watchdog restarts an agent that hangs.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("cannot notify systemd: {error}");
    }
}
