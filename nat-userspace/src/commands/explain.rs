//! `sipnat explain`: the story of one call, packet by packet.

use anyhow::Result;
use clap::Args;
use jiff::tz::TimeZone;

use crate::{
    agent::session::Session,
    view::{output, story::Story},
};

/// Arguments of `sipnat explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Call-ID, as in the SIP messages
    #[arg(allow_hyphen_values = true)]
    pub(crate) call_id: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Explain {
    /// Prints the story of the call.
    ///
    /// # Errors
    /// If nothing is known of it, or the maps cannot be read.
    pub fn run(&self) -> Result<()> {
        let story = Story::read(&Session::open()?.tables, self.call_id.trim())?;
        if self.json {
            output::json(&story)
        } else {
            output::print(&story.render(&TimeZone::system()))
        }
    }
}
