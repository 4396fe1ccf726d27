//! Streams of media, as far as the agent looks after them: those whose call is over, and the addresses that have slots.
//!
//! The programs look at the owner of a slot when a packet comes for it. A call that ends in silence leaves its slots to the
//! agent. Without an agent they wait until the port serves another call.

use std::{collections::HashMap, time::Duration};

use anyhow::Result;
use nat_common::abi::{Binding, BindingFlags};
use tracing::{debug, warn};

use crate::{
    agent::addresses::Addresses,
    host::clock,
    kernel::{load::DataPath, mapped::Access, media, tables::Tables},
    settings::Settings,
};

/// Interval between two sweeps. A slot goes at the second one that finds its call over.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Looks after the streams.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// Tags of slots whose call was over at the last sweep: a program may just have bound a slot, or may just be writing its
    /// dialog.
    over: HashMap<u32, u64>,
    /// Number of addresses without slots that were warned of.
    left_out: usize,
}

impl Follower {
    /// Gives slots to the addresses that the host has now, as the settings say.
    pub(crate) fn follow(
        &mut self,
        path: &mut DataPath,
        addresses: &Addresses<'_>,
        settings: &Settings,
    ) {
        if !path.media {
            return;
        }
        match media::follow(&mut path.tables, &addresses.kinds(), settings) {
            Ok(left_out) => {
                if left_out > self.left_out {
                    warn!(
                        left_out,
                        "{left_out} addresses of this host have no slots for media, which are left alone there; set \
                         size-media to 65536 for each address, at most eight"
                    );
                }
                self.left_out = left_out;
            }
            Err(error) => warn!("cannot give slots for media to an address: {error:#}"),
        }
    }

    /// Empties the slots whose call is over.
    pub(crate) fn sweep(&mut self, tables: &Tables) {
        match self.try_sweep(tables) {
            Ok(0) => {}
            Ok(swept) => debug!(swept, "{swept} streams have ended"),
            Err(error) => warn!("cannot end streams whose call is over: {error:#}"),
        }
    }

    fn try_sweep(&mut self, tables: &Tables) -> Result<usize> {
        let mut streams = tables.streams(Access::Write)?;
        let dialogs = tables.dialogs.open(Access::Read)?;
        let now = clock::now();
        let over = streams.used().filter(|(_, slot)| {
            let owner = dialogs.get(&slot.owner);
            !owner.is_some_and(|owner| goes_on(&owner, now))
        });
        let over: HashMap<u32, u64> = over.map(|(index, slot)| (index, slot.tag)).collect();
        let before = std::mem::take(&mut self.over);
        let mut swept = 0;
        for (index, tag) in over {
            if before.get(&index) == Some(&tag) {
                swept += usize::from(streams.clear(index));
            } else {
                self.over.insert(index, tag);
            }
        }
        Ok(swept)
    }
}

/// Whether the call of a dialog end goes on.
const fn goes_on(owner: &Binding, now: u64) -> bool {
    owner.expires > now && !owner.flags.contains(BindingFlags::ENDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_on_until_it_ends_or_expires() {
        let owner = |expires, flags| Binding {
            expires,
            flags,
            ..Binding::EMPTY
        };
        assert!(goes_on(&owner(11, BindingFlags::empty()), 10));
        assert!(!goes_on(&owner(10, BindingFlags::empty()), 10));
        assert!(!goes_on(&owner(11, BindingFlags::ENDED), 10));
    }
}
