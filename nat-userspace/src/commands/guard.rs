//! `sipnat guard`: the rules for strangers' packets to the ports of streams.

use anyhow::Result;
use clap::{Args, Subcommand};
use nat_common::abi::Guard;

use crate::{
    agent::session::Session, commands::policy::prefix, host::prefix::Prefix, kernel::rules,
    settings::guard_named, view,
};

/// Arguments of `sipnat guard`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// Subcommand; `list` by default.
    #[command(subcommand)]
    command: Option<GuardCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Subcommands of `sipnat guard`.
#[derive(Debug, Subcommand)]
enum GuardCommand {
    /// List all rules; the longest prefix that holds the address of a terminal's SIP decides
    #[command(after_help = "Example:\n  sipnat guard list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make or change a rule, at once for calls in progress, too
    #[command(
        after_help = "Examples:\n  sipnat guard set default count\n  sipnat guard set 198.51.100.0/24 off   media come from other addresses than SIP there"
    )]
    Set {
        /// Network such as 10.0.0.0/8, address, or `default`
        #[arg(value_parser = prefix)]
        prefix: Prefix,
        /// off, count or drop
        #[arg(value_parser = guard_named)]
        guard: Guard,
    },
    /// Remove a rule
    #[command(after_help = "Example:\n  sipnat guard remove 198.51.100.0/24")]
    Remove {
        /// Prefix of the rule, as `list` shows it
        #[arg(value_parser = prefix)]
        prefix: Prefix,
    },
}

impl GuardArgs {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// If there is no agent, no such rule, or the map cannot be read or written.
    pub fn run(self) -> Result<()> {
        let Session { mut tables, .. } = Session::open()?;
        let list = GuardCommand::List { json: self.json };
        match self.command.unwrap_or(list) {
            GuardCommand::List { json } => {
                view::rules::list(&tables.guard, "GUARD", |n| Guard::from(n).name(), json)
            }
            GuardCommand::Set { prefix, guard } => rules::set(&mut tables.guard, prefix, guard),
            GuardCommand::Remove { prefix } => rules::remove::<Guard>(&mut tables.guard, prefix),
        }
    }
}
