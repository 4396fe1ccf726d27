//! Follows this network namespace's addresses as they come and go, and writes them to the kernel programs' maps.
//!
//! `POLICY` gets the rule `off` for the subnets on the interfaces' own links. Where STUN is answered, `ADDRESSES` gets
//! the addresses of this host, of its neighbours, and of all hosts of a subnet.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::maps::{LpmTrie, MapData};
use log::debug;
use nat_common::abi::address;

use crate::{
    host::{
        net::{AddressChanges, Link, Net, Own},
        prefix::Prefix,
    },
    kernel::{load::HostAddresses, policy, tables::Address},
};

/// The map `ADDRESSES`.
type AddressMap = LpmTrie<MapData, Address, u32>;

/// The addresses that the kernel programs know.
pub(crate) struct Addresses<'n> {
    net: &'n Net,
    links: &'n [Link],
    stun: bool,
    changes: AddressChanges,
    /// Subnets on the interfaces' own links, with an interface's index.
    on_link: BTreeMap<Prefix, u32>,
    /// Entries of `ADDRESSES`.
    kinds: BTreeMap<Prefix, u32>,
}

impl<'n> Addresses<'n> {
    /// Reads the addresses; those of `ADDRESSES` only if `stun`.
    pub(crate) async fn read(net: &'n Net, links: &'n [Link], stun: bool) -> Result<Self> {
        let mut addresses = Self {
            net,
            links,
            stun,
            // Before the addresses are read, so that no change is missed.
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

    /// Returns the addresses, for the programs to be loaded with.
    pub(crate) fn known(&self) -> HostAddresses {
        for subnet in self.on_link.keys() {
            debug!("{subnet} is on the interfaces' own link: policy off");
        }
        HostAddresses {
            on_link: self.on_link.keys().copied().collect(),
            kinds: self.kinds.iter().map(|(p, kind)| (*p, *kind)).collect(),
        }
    }

    /// Waits for a change.
    pub(crate) async fn changed(&mut self) {
        self.changes.next().await;
    }

    /// Reads the addresses again, and writes the differences to the maps.
    pub(crate) async fn update(
        &mut self,
        rules: &mut policy::Rules,
        addresses: &mut AddressMap,
    ) -> Result<()> {
        let (on_link, kinds) = self.now().await?;
        let subnets = |of: &BTreeMap<Prefix, u32>| of.keys().copied().collect::<BTreeSet<_>>();
        policy::follow(rules, &subnets(&self.on_link), &subnets(&on_link))?;
        self.on_link = on_link;
        follow(addresses, &mut self.kinds, &kinds)
    }
}

/// Returns the entries of `ADDRESSES`. The kernel looks into its local routes first, so a subnet that is local as a
/// whole has no neighbours in it.
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
    // A later entry replaces an earlier one for the same prefix.
    neighbours
        .chain(of_kind(Own::Broadcast, address::BROADCAST))
        .chain(of_kind(Own::Local, address::LOCAL))
        .collect()
}

/// Changes the contents of `trie` from `old` to `new`. `old` stays equal to the contents, even after a failure.
fn follow(
    trie: &mut AddressMap,
    old: &mut BTreeMap<Prefix, u32>,
    new: &BTreeMap<Prefix, u32>,
) -> Result<()> {
    let removed: Vec<Prefix> = old
        .keys()
        .filter(|prefix| !new.contains_key(prefix))
        .copied()
        .collect();
    for prefix in removed {
        trie.remove(&prefix.key())
            .with_context(|| format!("cannot remove the address {prefix}"))?;
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
            // AnyIP: the whole of one subnet, and more than the whole of another.
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
