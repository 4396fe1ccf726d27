//! `sipnat policy`: the rules for packets to terminals.

use anyhow::Result;
use nat_common::abi::{Policy, PolicyRule, origin};
use serde::Serialize;

use crate::{
    host::prefix::Prefix,
    kernel::{policy, tables::Tables},
    view::output,
};

/// A line of `sipnat policy list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    prefix: String,
    policy: &'static str,
    origin: &'static str,
}

impl Row {
    fn new(prefix: Prefix, rule: PolicyRule) -> Self {
        Self {
            prefix: prefix.to_string(),
            policy: Policy::from_u8(rule.policy).name(),
            origin: match rule.origin {
                origin::DEFAULT => "default",
                origin::ON_LINK => "on-link",
                _ => "user",
            },
        }
    }
}

/// Prints all rules.
///
/// # Errors
/// If the map cannot be read.
pub fn list(tables: &Tables, json: bool) -> Result<()> {
    let rows = policy::rules(&tables.policy)?
        .into_iter()
        .map(|(prefix, rule)| Row::new(prefix, rule));
    if json {
        return output::json(&rows.collect::<Vec<_>>());
    }
    let rows = rows.map(|row| [row.prefix, row.policy.into(), row.origin.into()]);
    output::print(&output::table(["PREFIX", "POLICY", "ORIGIN"], &[], rows))
}
