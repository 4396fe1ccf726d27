//! `POLICY`: rules for packets to terminals, by learned address.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::Key;
use nat_common::abi::{Policy, Rule, origin};
use nat_common::endpoint::mapped;

use crate::{
    host::prefix::Prefix,
    kernel::rules::{Rules, read, rule, write},
};

/// Rule for a subnet on an interface's own link.
pub const ON_LINK: Rule = rule(Policy::Off as u8, origin::ON_LINK);

/// Looks up the policy for packets to `addr`.
#[must_use]
pub fn lookup(rules: &Rules, addr: IpAddr) -> Policy {
    let rule = rules.get(&Key::new(128, mapped(addr)), 0);
    rule.map_or(Policy::Off, |rule| rule.choice.into())
}

/// Returns the subnets that have a rule because they are on an interface's own link.
///
/// # Errors
/// If the map cannot be read.
pub fn on_link(rules: &Rules) -> Result<BTreeSet<Prefix>> {
    let on_link =
        |(prefix, rule): (Prefix, Rule)| (rule.origin == origin::ON_LINK).then_some(prefix);
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
