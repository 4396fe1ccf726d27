//! `sipnat policy`: the rules for packets to terminals.

use anyhow::Result;
use clap::{Args, Subcommand};
use nat_common::abi::Policy;

use crate::{
    agent::session::Session, host::prefix::Prefix, kernel::rules, settings::policy_named, view,
};

/// Arguments of `sipnat policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Subcommand; `list` by default.
    #[command(subcommand)]
    command: Option<PolicyCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Subcommands of `sipnat policy`.
#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// List all rules; the longest matching prefix decides
    #[command(after_help = "Example:\n  sipnat policy list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make or change a rule
    #[command(
        after_help = "Examples:\n  sipnat policy set 198.51.100.0/24 off\n  sipnat policy set default force"
    )]
    Set {
        /// Network such as 10.0.0.0/8, address, or `default`
        #[arg(value_parser = prefix)]
        prefix: Prefix,
        /// auto, force or off
        #[arg(value_parser = policy_named)]
        policy: Policy,
    },
    /// Remove a rule
    #[command(after_help = "Example:\n  sipnat policy remove 198.51.100.0/24")]
    Remove {
        /// Prefix of the rule, as `list` shows it
        #[arg(value_parser = prefix)]
        prefix: Prefix,
    },
}

/// Parses a prefix.
pub(super) fn prefix(text: &str) -> Result<Prefix, String> {
    text.parse().map_err(|error| format!("{error}"))
}

impl PolicyArgs {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// If there is no agent, no such rule, or the map cannot be read or written.
    pub fn run(self) -> Result<()> {
        let Session { mut tables, .. } = Session::open()?;
        let list = PolicyCommand::List { json: self.json };
        match self.command.unwrap_or(list) {
            PolicyCommand::List { json } => {
                view::rules::list(&tables.policy, "POLICY", |n| Policy::from(n).name(), json)
            }
            PolicyCommand::Set { prefix, policy } => rules::set(&mut tables.policy, prefix, policy),
            PolicyCommand::Remove { prefix } => rules::remove::<Policy>(&mut tables.policy, prefix),
        }
    }
}
