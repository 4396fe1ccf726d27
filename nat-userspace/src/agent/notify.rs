//! Reports of the agent's state to systemd (`Type=notify`). Without `NOTIFY_SOCKET` they do nothing.

use sd_notify::NotifyState;
use tracing::debug;

/// Tells systemd that the programs are attached.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells systemd that the agent reads its configuration again; [`ready`] must follow.
pub(super) fn reloading() {
    // systemd 253 and later want the time of the reload's begin.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!("cannot read the clock: {error}"),
    }
}

/// Tells systemd that the agent ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells systemd every five seconds that the agent's loop runs; the watchdog restarts an agent that hangs.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("cannot notify systemd: {error}");
    }
}
