//! `sipnat detach`: ends the agent of this network namespace.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use log::warn;

use crate::{
    agent::record::{self, AgentRecord},
    checks::preflight,
    host::{namespaces::network_inode, net::Net},
    kernel::{attach, pins},
};

/// Ends the agent if there is one, and removes all that it or an earlier one left. Returns a message for the user.
///
/// # Errors
/// If something cannot be removed, or another agent has started meanwhile.
pub async fn detach() -> Result<String> {
    preflight::capabilities()?;
    let net = Net::open()?;
    let found = AgentRecord::find().unwrap_or_else(|error| {
        warn!("{error:#}");
        None
    });
    if let Some(agent) = &found {
        end(agent).await?;
    }
    let _lock = record::lock()?;
    // An agent that ends removes its own record.
    let left = AgentRecord::find().ok().flatten();
    if let Some(other) = left.as_ref().filter(|left| left.is_alive()) {
        bail!(
            "an agent (pid {}) has started meanwhile, and stays: first stop what starts it, such as a unit of systemd",
            other.pid
        );
    }
    let interfaces = left.map(|left| left.interfaces).unwrap_or_default();
    let pins = attach::remove(&net, &interfaces, &pins::dir(network_inode()?)).await?;
    let record = record::remove()?;
    Ok(match found {
        Some(agent) => format!("sipnat: detached from {}", agent.interface_names()),
        None if pins || record => "sipnat: detached".into(),
        None => "sipnat: nothing to detach in this network namespace".into(),
    })
}

/// Ends an agent as a signal does, and waits for it.
async fn end(agent: &AgentRecord) -> Result<()> {
    const STEP: Duration = Duration::from_millis(100);
    const STEPS: u32 = 100;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.pid)?);
    for step in 0..STEPS {
        if !agent.is_alive() {
            return Ok(());
        }
        if step == 0 {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)
                .with_context(|| format!("cannot end the agent, pid {pid}"))?;
        }
        tokio::time::sleep(STEP).await;
    }
    bail!("the agent (pid {pid}) does not end")
}
