//! `sipnat policy`: what may be done with packets for a terminal, by its learned address.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use aya::maps::MapError;
use nat_common::abi::{Policy, PolicyRule, origin};
use serde::Serialize;

use crate::{output, prefix::Prefix, tables::Tables};

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

/// All rules, the default first.
///
/// # Errors
/// If the map cannot be read.
pub fn rules(tables: &Tables) -> Result<BTreeMap<Prefix, PolicyRule>> {
    let mut rules = BTreeMap::new();
    for entry in &tables.policy {
        let (key, rule) = entry.context("cannot read POLICY")?;
        rules.insert(Prefix::from(key), rule);
    }
    Ok(rules)
}

/// # Errors
/// If the map cannot be read.
pub fn list(tables: &Tables, json: bool) -> Result<()> {
    let rows = rules(tables)?
        .into_iter()
        .map(|(prefix, rule)| Row::new(prefix, rule));
    if json {
        return output::json(&rows.collect::<Vec<_>>());
    }
    let rows = rows.map(|row| [row.prefix, row.policy.into(), row.origin.into()]);
    output::print(&output::table(["PREFIX", "POLICY", "ORIGIN"], &[], rows))
}

/// # Errors
/// If the map cannot be written.
pub fn set(tables: &mut Tables, prefix: Prefix, policy: Policy) -> Result<()> {
    let rule = PolicyRule {
        policy: policy as u8,
        origin: match prefix {
            Prefix::Default => origin::DEFAULT,
            Prefix::Net(_) => origin::USER,
        },
        reserved: [0; 2],
    };
    tables
        .policy
        .insert(&prefix.key(), rule, 0)
        .with_context(|| format!("cannot set the policy for {prefix}"))
}

/// # Errors
/// If there is no such rule, or it is the default.
pub fn remove(tables: &mut Tables, prefix: Prefix) -> Result<()> {
    if prefix == Prefix::Default {
        bail!("the default stays; change it with `sipnat policy set default auto|force|off`");
    }
    match tables.policy.remove(&prefix.key()) {
        Ok(()) => Ok(()),
        Err(MapError::KeyNotFound) => bail!("there is no rule for {prefix}"),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            bail!("there is no rule for {prefix}")
        }
        Err(error) => Err(error).with_context(|| format!("cannot remove the rule for {prefix}")),
    }
}
