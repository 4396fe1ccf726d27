//! `sipnat detach`: ends the agent of this network namespace.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tracing::warn;

use crate::{
    agent::record::{self, AgentRecord},
    checks::preflight,
    host::{
        namespaces::network_inode,
        net::Net,
        process::{self, Process},
    },
    kernel::{attach, pins},
};

/// Time in which an agent ends that is not stuck.
const LIMIT: Duration = Duration::from_secs(10);

/// Ends the agent if there is one, and removes all that it or an earlier one left. Returns a message for the user. With `force`, kills
/// an agent that does not end.
///
/// # Errors
/// If something cannot be removed, or another agent has started meanwhile.
pub async fn detach(force: bool) -> Result<String> {
    preflight::capabilities()?;
    let net = Net::open()?;
    let found = AgentRecord::find().unwrap_or_else(|error| {
        warn!("{error:#}");
        None
    });
    if let Some(agent) = &found {
        end(agent, force)?;
    }
    let _lock = record::lock().await?;
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
fn end(agent: &AgentRecord, force: bool) -> Result<()> {
    let pid = agent.pid;
    let failed = || format!("cannot end the agent (pid {pid})");
    let Some(process) = Process::open(pid, agent.pid_started).with_context(failed)? else {
        return Ok(());
    };
    process.terminate().with_context(failed)?;
    if process.ends_within(LIMIT)? {
        return Ok(());
    }
    if !force {
        let state = if process::is_stopped(pid) {
            ", because it is stopped"
        } else {
            ""
        };
        bail!("the agent (pid {pid}) does not end{state}: `sipnat detach --force` kills it");
    }
    warn!(pid, "killing the agent (pid {pid}), which does not end");
    process.kill().with_context(failed)?;
    ensure!(
        process.ends_within(LIMIT)?,
        "the agent (pid {pid}) hangs in the kernel"
    );
    Ok(())
}
