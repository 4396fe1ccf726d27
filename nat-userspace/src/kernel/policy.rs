//! `POLICY`: rules for packets to terminals, by learned address. The longest prefix decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{LpmTrie, MapData, MapError, lpm_trie::Key};
use nat_common::abi::{Policy, PolicyRule, origin};
use nat_common::endpoint::mapped;

use crate::{host::prefix::Prefix, kernel::tables::Address};

/// The map `POLICY`.
pub type Rules = LpmTrie<MapData, Address, PolicyRule>;

/// Rule for a subnet on an interface's own link.
pub const ON_LINK: PolicyRule = rule(Policy::Off, origin::ON_LINK);

/// Makes a rule.
#[must_use]
pub const fn rule(policy: Policy, origin: u8) -> PolicyRule {
    PolicyRule {
        policy: policy as u8,
        origin,
        reserved: [0; 2],
    }
}

/// Reads all rules, the default first.
///
/// # Errors
/// If the map cannot be read.
pub fn read(rules: &Rules) -> Result<BTreeMap<Prefix, PolicyRule>> {
    rules
        .iter()
        .map(|entry| {
            let (key, rule) = entry.context("cannot read POLICY")?;
            Ok((Prefix::from(key), rule))
        })
        .collect()
}

/// Looks up the policy for packets to `addr`.
#[must_use]
pub fn lookup(rules: &Rules, addr: IpAddr) -> Policy {
    let rule = rules.get(&Key::new(128, mapped(addr)), 0);
    rule.map_or(Policy::Off, |rule| rule.policy.into())
}

/// Writes a rule in place of that for the same prefix.
///
/// # Errors
/// If the map cannot be written.
pub fn write(rules: &mut Rules, prefix: Prefix, rule: PolicyRule) -> Result<()> {
    rules
        .insert(&prefix.key(), rule, 0)
        .with_context(|| format!("cannot set the policy for {prefix}"))
}

/// Writes a rule of the user.
///
/// # Errors
/// If the map cannot be written.
pub fn set(rules: &mut Rules, prefix: Prefix, policy: Policy) -> Result<()> {
    let origin = match prefix {
        Prefix::Default => origin::DEFAULT,
        Prefix::Net(_) => origin::USER,
    };
    write(rules, prefix, rule(policy, origin))
}

/// Removes a rule.
///
/// # Errors
/// If there is no such rule, or it is the default.
pub fn remove(rules: &mut Rules, prefix: Prefix) -> Result<()> {
    if prefix == Prefix::Default {
        bail!("the default stays; change it with `sipnat policy set default auto|force|off`");
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

/// Returns the subnets that have a rule because they are on an interface's own link.
///
/// # Errors
/// If the map cannot be read.
pub fn on_link(rules: &Rules) -> Result<BTreeSet<Prefix>> {
    let on_link =
        |(prefix, rule): (Prefix, PolicyRule)| (rule.origin == origin::ON_LINK).then_some(prefix);
    Ok(read(rules)?.into_iter().filter_map(on_link).collect())
}

/// Follows a change of on-link subnets from `old` to `new`. Rules of the user stay, and a rule that the user removed is
/// not made again.
///
/// # Errors
/// If the map cannot be read or written.
pub fn follow(rules: &mut Rules, old: &BTreeSet<Prefix>, new: &BTreeSet<Prefix>) -> Result<()> {
    let present = read(rules)?;
    let has_no_rule = |prefix: &&Prefix| !present.contains_key(prefix);
    for added in new.difference(old).filter(has_no_rule) {
        write(rules, *added, ON_LINK)?;
    }
    for removed in old.difference(new) {
        if present
            .get(removed)
            .is_some_and(|rule| rule.origin == origin::ON_LINK)
        {
            rules
                .remove(&removed.key())
                .with_context(|| format!("cannot remove the rule for {removed}"))?;
        }
    }
    Ok(())
}
