//! `POLICY` and `GUARD`: rules by address. The longest prefix decides.

use std::{collections::BTreeMap, io};

use anyhow::{Context as _, Result, bail};
use aya::maps::{LpmTrie, MapData, MapError};
use nat_common::abi::{Guard, Policy, Rule, origin};

use crate::{host::prefix::Prefix, kernel::tables::Address};

/// A map of rules.
pub type Rules = LpmTrie<MapData, Address, Rule>;

/// Choice that a rule makes.
pub trait Choice {
    /// Command that changes the rules.
    const COMMAND: &'static str;

    /// Returns it as a rule holds it.
    fn number(self) -> u8;
}

impl Choice for Policy {
    const COMMAND: &'static str = "policy";

    fn number(self) -> u8 {
        self as u8
    }
}

impl Choice for Guard {
    const COMMAND: &'static str = "guard";

    fn number(self) -> u8 {
        self as u8
    }
}

/// Makes the default rule.
#[must_use]
pub fn default(choice: impl Choice) -> Rule {
    rule(choice.number(), origin::DEFAULT)
}

/// Makes a rule.
#[must_use]
pub(super) const fn rule(choice: u8, origin: u8) -> Rule {
    Rule {
        choice,
        origin,
        reserved: [0; 2],
    }
}

/// Reads all rules, the default first.
///
/// # Errors
/// If the map cannot be read.
pub fn read(rules: &Rules) -> Result<BTreeMap<Prefix, Rule>> {
    rules
        .iter()
        .map(|entry| {
            let (key, rule) = entry.context("cannot read the rules")?;
            Ok((Prefix::from(key), rule))
        })
        .collect()
}

/// Writes a rule in place of that for the same prefix.
///
/// # Errors
/// If the map cannot be written.
pub fn write(rules: &mut Rules, prefix: Prefix, rule: Rule) -> Result<()> {
    rules
        .insert(&prefix.key(), rule, 0)
        .with_context(|| format!("cannot set the rule for {prefix}"))
}

/// Writes a rule of the user.
///
/// # Errors
/// If the map cannot be written.
pub fn set(rules: &mut Rules, prefix: Prefix, choice: impl Choice) -> Result<()> {
    let origin = match prefix {
        Prefix::Default => origin::DEFAULT,
        Prefix::Net(_) => origin::USER,
    };
    write(rules, prefix, rule(choice.number(), origin))
}

/// Removes a rule.
///
/// # Errors
/// If there is no such rule, or it is the default.
pub fn remove<C: Choice>(rules: &mut Rules, prefix: Prefix) -> Result<()> {
    if prefix == Prefix::Default {
        let command = C::COMMAND;
        bail!("the default stays; change it with `sipnat {command} set default`");
    }
    match rules.remove(&prefix.key()) {
        Ok(()) => Ok(()),
        Err(MapError::KeyNotFound) => bail!("there is no rule for {prefix}"),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no rule for {prefix}")
        }
        Err(error) => Err(error).with_context(|| format!("cannot remove the rule for {prefix}")),
    }
}
