//! `sipnat reload`.

use anyhow::{Result, bail};

use crate::{agent::reload, view::output};

/// Has the agent read its configuration again, and prints the outcome.
///
/// # Errors
/// If there is no agent, or the configuration is wrong.
pub async fn run() -> Result<()> {
    let outcome = reload::reload().await?;
    if let Some(why) = &outcome.refused {
        bail!("not reloaded, the earlier settings stay in force: {why}");
    }
    for message in outcome.messages() {
        output::print(&format!("sipnat: {message}"))?;
    }
    Ok(())
}
