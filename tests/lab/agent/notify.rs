//! The agent tells systemd its states, as a unit of `Type=notify` with a watchdog wants it.

use std::{os::unix::net::UnixDatagram, process::Command};

use anyhow::{Context as _, Result, ensure};
use nat_test_support::sipnat;
use nix::sys::signal::Signal;

use super::{Host, STOP, stop};

/// A socket of a service manager.
struct Manager(UnixDatagram);

impl Manager {
    /// Waits for the next message that is no sign of life.
    fn next(&self) -> Result<String> {
        loop {
            let message = self.message()?;
            if message != "WATCHDOG=1" {
                return Ok(message);
            }
        }
    }

    fn message(&self) -> Result<String> {
        let mut buffer = [0; 256];
        let len = self.0.recv(&mut buffer).context("no message")?;
        Ok(String::from_utf8_lossy(&buffer[..len]).trim().into())
    }
}

#[test]
fn the_service_manager_is_told_each_state() -> Result<()> {
    let host = Host::new()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path)?);
    manager.0.set_read_timeout(Some(STOP))?;
    let mut command = Command::new(sipnat::binary()?);
    command
        .args(["run", "--iface", "eth0"])
        .env("NOTIFY_SOCKET", &path);
    let agent = host.start(&mut command)?;
    assert_eq!(manager.message()?, "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.message()?, "WATCHDOG=1");
    }
    host.ask(&["reload"])?;
    let reloading = manager.next()?;
    let (state, time) = reloading.split_once('\n').context("one line")?;
    assert_eq!(state, "RELOADING=1");
    ensure!(time.starts_with("MONOTONIC_USEC="), "{time}");
    assert_eq!(manager.next()?, "READY=1");
    stop(agent, Signal::SIGTERM)?;
    assert_eq!(manager.next()?, "STOPPING=1");
    Ok(())
}
