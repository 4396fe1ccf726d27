//! Subnets on the interfaces' own links.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::AddressAttribute;

use super::Net;
use crate::host::prefix::Prefix;

impl Net {
    /// Lists the subnets on an interface's own link. Loopback and single addresses are no subnets.
    ///
    /// # Errors
    /// If the kernel does not list its addresses.
    pub async fn subnets(&self, index: u32) -> Result<Vec<Prefix>> {
        let addresses = self.0.address().get().set_link_index_filter(index);
        let mut messages = addresses.execute();
        let mut subnets = Vec::new();
        while let Some(message) = messages
            .try_next()
            .await
            .context("cannot list the interface's addresses")?
        {
            let addr = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Address(addr) => Some(*addr),
                    _ => None,
                });
            let Some(addr) = addr.filter(|addr| !addr.is_loopback()) else {
                continue;
            };
            let bits = message.header.prefix_len;
            let host = if addr.is_ipv4() { 32 } else { 128 };
            if bits < host {
                subnets.extend(Prefix::of(addr, bits));
            }
        }
        subnets.sort_unstable();
        subnets.dedup();
        Ok(subnets)
    }
}
