//! `sipnat policy`: the rules for packets to terminals.

use anyhow::Result;
use clap::{Args, Subcommand};
use nat_common::abi::{Policy, PolicyRule, origin};
use serde::Serialize;

use crate::{
    agent::session::Session,
    host::prefix::Prefix,
    kernel::{policy, tables::Tables},
    settings::policy_named,
    view::output::{self, Columns},
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

fn prefix(text: &str) -> Result<Prefix, String> {
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
            PolicyCommand::List { json } => self::list(&tables, json),
            PolicyCommand::Set { prefix, policy } => {
                policy::set(&mut tables.policy, prefix, policy)
            }
            PolicyCommand::Remove { prefix } => policy::remove(&mut tables.policy, prefix),
        }
    }
}

/// A line of `sipnat policy list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RuleRow {
    prefix: String,
    policy: &'static str,
    origin: &'static str,
}

impl RuleRow {
    fn new(prefix: Prefix, rule: PolicyRule) -> Self {
        Self {
            prefix: prefix.to_string(),
            policy: Policy::from(rule.policy).name(),
            origin: match rule.origin {
                origin::DEFAULT => "default",
                origin::ON_LINK => "on-link",
                _ => "user",
            },
        }
    }
}

/// Prints all rules.
fn list(tables: &Tables, json: bool) -> Result<()> {
    let rows = policy::read(&tables.policy)?
        .into_iter()
        .map(|(prefix, rule)| RuleRow::new(prefix, rule));
    if json {
        return output::json(&rows.collect::<Vec<_>>());
    }
    let rows = rows.map(|row| [row.prefix, row.policy.into(), row.origin.into()]);
    output::print(&output::table(
        Columns::new(["PREFIX", "POLICY", "ORIGIN"], &[]),
        rows,
    ))
}
