//! What the kernel programs are told of this network namespace's addresses, as they come and go: the policy for
//! subnets on the interfaces' own links is `off`; and where STUN is answered, `ADDRESSES` says who is this host, a
//! neighbour of it, or all hosts of a subnet.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::maps::{LpmTrie, MapData};
use log::debug;
use nat_common::abi::{Policy, address, origin};

use crate::{
    host::net::{AddressChanges, Link, Net, Own},
    host::prefix::Prefix,
    kernel::load::Loader,
    kernel::policy,
    kernel::tables::PolicyKey,
};

/// `ADDRESSES`.
type Trie = LpmTrie<MapData, PolicyKey, u32>;

/// What is known, and has been told.
pub(crate) struct Addresses<'n> {
    net: &'n Net,
    links: &'n [Link],
    stun: bool,
    changes: AddressChanges,
    /// By which interface.
    on_link: BTreeMap<Prefix, u32>,
    kinds: BTreeMap<Prefix, u32>,
}

impl<'n> Addresses<'n> {
    /// Reads them. `stun`: whether it is answered.
    pub(crate) async fn read(net: &'n Net, links: &'n [Link], stun: bool) -> Result<Self> {
        let mut addresses = Self {
            net,
            links,
            stun,
            // First, so that nothing is missed.
            changes: net.address_changes()?,
            on_link: BTreeMap::new(),
            kinds: BTreeMap::new(),
        };
        (addresses.on_link, addresses.kinds) = addresses.now().await?;
        Ok(addresses)
    }

    async fn now(&self) -> Result<(BTreeMap<Prefix, u32>, BTreeMap<Prefix, u32>)> {
        let mut on_link = BTreeMap::new();
        for link in self.links {
            for subnet in self.net.subnets(link.index).await? {
                on_link.entry(subnet).or_insert(link.index);
            }
        }
        let kinds = if self.stun {
            kinds(&on_link, &self.net.own().await?)
        } else {
            BTreeMap::new()
        };
        Ok((on_link, kinds))
    }

    /// Has the loader tell them from the beginning.
    pub(crate) fn load<'o>(&self, mut loader: Loader<'o>) -> Loader<'o> {
        for subnet in self.on_link.keys() {
            debug!("{subnet} is on the interfaces' own link: policy off");
            loader = loader.rule(*subnet, Policy::Off, origin::ON_LINK);
        }
        for (prefix, kind) in &self.kinds {
            loader = loader.address(*prefix, *kind);
        }
        loader
    }

    /// Waits for a change.
    pub(crate) async fn changed(&mut self) {
        self.changes.next().await;
    }

    /// Tells what has changed.
    pub(crate) async fn update(
        &mut self,
        policy: &mut policy::Trie,
        addresses: &mut Trie,
    ) -> Result<()> {
        let (on_link, kinds) = self.now().await?;
        let subnets = |of: &BTreeMap<Prefix, u32>| of.keys().copied().collect::<BTreeSet<_>>();
        policy::follow(policy, &subnets(&self.on_link), &subnets(&on_link))?;
        self.on_link = on_link;
        follow(addresses, &mut self.kinds, &kinds)
    }
}

/// What `ADDRESSES` is to hold. The kernel asks for its own routes before all others, so a subnet that is its own
/// from end to end has no neighbours in it.
fn kinds(on_link: &BTreeMap<Prefix, u32>, own: &[(Prefix, Own)]) -> BTreeMap<Prefix, u32> {
    let is_own = |subnet: &Prefix| {
        own.iter()
            .any(|(prefix, own)| *own == Own::Local && prefix.contains(*subnet))
    };
    let neighbours = on_link
        .iter()
        .filter(|(subnet, _)| !is_own(subnet))
        .map(|(subnet, interface)| (*subnet, address::on_link(*interface)));
    let of_kind = |wanted, kind| {
        own.iter()
            .filter(move |(_, own)| *own == wanted)
            .map(move |(prefix, _)| (*prefix, kind))
    };
    // The later ones count.
    neighbours
        .chain(of_kind(Own::Broadcast, address::BROADCAST))
        .chain(of_kind(Own::Local, address::LOCAL))
        .collect()
}

/// Brings `trie` from `old` to `new`; `old` is what it holds, even after a failure.
fn follow(
    trie: &mut Trie,
    old: &mut BTreeMap<Prefix, u32>,
    new: &BTreeMap<Prefix, u32>,
) -> Result<()> {
    let gone: Vec<Prefix> = old
        .keys()
        .filter(|prefix| !new.contains_key(prefix))
        .copied()
        .collect();
    for prefix in gone {
        trie.remove(&prefix.key())
            .with_context(|| format!("cannot forget the address {prefix}"))?;
        old.remove(&prefix);
    }
    for (prefix, kind) in new {
        if old.get(prefix) != Some(kind) {
            trie.insert(&prefix.key(), kind, 0)
                .with_context(|| format!("cannot write the address {prefix}"))?;
            old.insert(*prefix, *kind);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_kernel_s_own_go_before_subnets() {
        let on_link = ["10.9.0.0/16", "192.0.2.0/25", "198.51.100.0/24"];
        let on_link = on_link.map(|text| (prefix(text), 7));
        let own = [
            (prefix("10.9.0.1"), Own::Local),
            (prefix("10.9.255.255"), Own::Broadcast),
            // AnyIP: all of one subnet, and more than all of another.
            (prefix("198.51.100.0/24"), Own::Local),
            (prefix("192.0.2.0/24"), Own::Local),
        ];
        let expected = [
            ("10.9.0.0/16", address::on_link(7)),
            ("10.9.0.1", address::LOCAL),
            ("10.9.255.255", address::BROADCAST),
            ("198.51.100.0/24", address::LOCAL),
            ("192.0.2.0/24", address::LOCAL),
        ];
        assert_eq!(
            kinds(&on_link.into(), &own),
            expected.map(|(text, kind)| (prefix(text), kind)).into()
        );
    }
}
