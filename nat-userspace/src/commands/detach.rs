//! `sipnat detach`.

use anyhow::Result;

use crate::{agent::detach, view::output};

/// Ends the agent, and removes all that it left.
///
/// # Errors
/// If something cannot be removed.
pub async fn run() -> Result<()> {
    // The agent is gone, whether or not its message can be printed.
    let _printed = output::print(&detach::detach().await?);
    Ok(())
}
