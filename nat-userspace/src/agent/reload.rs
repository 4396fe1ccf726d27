//! `sipnat reload`: has the agent read its configuration again, and waits for the outcome.

use std::time::Duration;

use crate::agent::{outcome::Outcome, record::AgentRecord, session::NoAgent};
use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Has the agent of this network namespace read its configuration again. Returns the outcome.
///
/// # Errors
/// [`NoAgent`] if there is none. Otherwise, if the agent does not answer.
pub async fn reload() -> Result<Outcome> {
    const STEP: Duration = Duration::from_millis(50);
    /// A host with a million routes takes seconds.
    const STEPS: u32 = 600;
    let Some(agent) = AgentRecord::find()?.filter(AgentRecord::is_alive) else {
        return Err(NoAgent.into());
    };
    let pid = agent.pid;
    kill(Pid::from_raw(pid.try_into()?), Signal::SIGHUP)
        .with_context(|| format!("cannot signal the agent, pid {pid}"))?;
    for _ in 0..STEPS {
        tokio::time::sleep(STEP).await;
        match AgentRecord::find()? {
            Some(now) if now.pid == pid && now.is_alive() => {
                if now.reload.number > agent.reload.number {
                    return Ok(now.reload);
                }
            }
            _ => bail!("the agent (pid {pid}) has ended"),
        }
    }
    bail!("the agent (pid {pid}) does not answer")
}
