//! Neighbours: hosts on the interfaces' own links.

use std::{collections::HashSet, net::IpAddr};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};

use super::Net;

impl Net {
    /// Lists the neighbours whose MAC addresses are known, with the index of their interface.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub async fn neighbours(&self) -> Result<HashSet<(u32, IpAddr)>> {
        let messages = self.0.neighbours().get().execute();
        let known = messages.try_filter_map(async |message| {
            let known = matches!(
                message.header.state,
                NeighbourState::Reachable
                    | NeighbourState::Stale
                    | NeighbourState::Delay
                    | NeighbourState::Probe
                    | NeighbourState::Noarp
                    | NeighbourState::Permanent
            );
            let address = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                        Some((*v4).into())
                    }
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                        Some((*v6).into())
                    }
                    _ => None,
                });
            Ok(address
                .filter(|_| known)
                .map(|addr| (message.header.ifindex, addr)))
        });
        known
            .try_collect()
            .await
            .context("cannot list the neighbours")
    }
}
