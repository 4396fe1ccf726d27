//! `sipnat detach`.

use anyhow::Result;
use clap::Args;

use crate::{agent::detach, view::output};

/// Options of `sipnat detach`.
#[derive(Args, Clone, Copy, Debug)]
pub struct Detach {
    /// Kill the agent if it does not end within ten seconds, for example because it is stopped
    #[arg(long)]
    force: bool,
}

impl Detach {
    /// Ends the agent, and removes all that it left.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub async fn run(self) -> Result<()> {
        // The agent is gone, whether or not its message can be printed.
        let _printed = output::print(&detach::detach(self.force).await?);
        Ok(())
    }
}
