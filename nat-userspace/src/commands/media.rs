//! `sipnat media`: the streams whose sources sipnat learns.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::{
    agent::session::Session,
    view::{
        output,
        streams::{self, Stream},
    },
};

/// Arguments of `sipnat media`.
#[derive(Debug, Args)]
pub struct Media {
    /// Subcommand; `list` by default.
    #[command(subcommand)]
    command: Option<MediaCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Subcommands of `sipnat media`.
#[derive(Debug, Subcommand)]
enum MediaCommand {
    /// List all streams
    #[command(after_help = "Example:\n  sipnat media list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the streams of one terminal, port or address in full
    #[command(
        after_help = "Examples:\n  sipnat media show 20000\n  sipnat media show 1000@pbx.example.com"
    )]
    Show {
        /// Port of the PBX, user@host, user, or an address
        stream: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Media {
    /// Lists streams, or shows some of them.
    ///
    /// # Errors
    /// If there is no agent, it cannot be read, or no stream is meant.
    pub fn run(&self) -> Result<()> {
        let tables = Session::open()?.tables;
        let streams = streams::read(&tables)?;
        match &self.command {
            Some(MediaCommand::Show { stream, json }) => {
                let of_it: Vec<_> = streams.iter().filter(|s| s.is_meant(stream)).collect();
                if of_it.is_empty() {
                    bail!("no stream is {stream}; see `sipnat media list`");
                }
                show(&of_it, *json || self.json)
            }
            Some(MediaCommand::List { json }) => list(&streams, *json || self.json),
            None => list(&streams, self.json),
        }
    }
}

/// Prints a list.
fn list(streams: &[Stream], json: bool) -> Result<()> {
    if json {
        return output::json(&streams);
    }
    if streams.is_empty() {
        return output::print(
            "no streams: no call that the PBX accepted has media here, or `--media` is off",
        );
    }
    output::print(&streams::table(streams.iter()))
}

/// Prints some streams in full.
fn show(streams: &[&Stream], json: bool) -> Result<()> {
    if json {
        return output::json(&streams);
    }
    for stream in streams {
        output::print(&stream.in_full())?;
    }
    Ok(())
}
