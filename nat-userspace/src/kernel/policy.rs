//! `POLICY`: rules for packets to terminals, by learned address. The longest prefix decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{LpmTrie, MapData, MapError, lpm_trie::Key};
use nat_common::abi::{Policy, PolicyRule, origin};
use nat_common::endpoint::mapped;

use crate::{
    host::prefix::Prefix,
    kernel::tables::{PolicyKey, Tables},
};

/// `POLICY`.
pub(crate) type Trie = LpmTrie<MapData, PolicyKey, PolicyRule>;

/// All rules, the default first.
///
/// # Errors
/// If the map cannot be read.
pub fn rules(trie: &Trie) -> Result<BTreeMap<Prefix, PolicyRule>> {
    let mut rules = BTreeMap::new();
    for entry in trie {
        let (key, rule) = entry.context("cannot read POLICY")?;
        rules.insert(Prefix::from(key), rule);
    }
    Ok(rules)
}

/// What holds for packets to `addr`.
pub(crate) fn of(trie: &Trie, addr: IpAddr) -> Policy {
    let rule = trie.get(&Key::new(128, mapped(addr)), 0);
    Policy::from_u8(rule.map_or(0, |rule| rule.policy))
}

/// Follows a change of on-link subnets from `old` to `new`. The user's rules stay, and so does it when the user
/// has removed one.
///
/// # Errors
/// If the map cannot be read or written.
pub(crate) fn follow(
    trie: &mut Trie,
    old: &BTreeSet<Prefix>,
    new: &BTreeSet<Prefix>,
) -> Result<()> {
    let rules = rules(trie)?;
    let off = PolicyRule {
        policy: Policy::Off as u8,
        origin: origin::ON_LINK,
        reserved: [0; 2],
    };
    for come in new
        .difference(old)
        .filter(|prefix| !rules.contains_key(prefix))
    {
        trie.insert(&come.key(), off, 0)
            .with_context(|| format!("cannot set the policy for {come}"))?;
    }
    for gone in old.difference(new) {
        if rules
            .get(gone)
            .is_some_and(|rule| rule.origin == origin::ON_LINK)
        {
            trie.remove(&gone.key())
                .with_context(|| format!("cannot remove the rule for {gone}"))?;
        }
    }
    Ok(())
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
