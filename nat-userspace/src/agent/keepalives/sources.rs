//! Terminals that keep themselves alive: by STUN, CRLF or zero bytes to a SIP port.

use std::net::SocketAddr;

use anyhow::Result;
use nat_common::{
    abi::{StunSource, ticks},
    endpoint::Endpoint,
    engine::stun,
    tables::hash,
};

use crate::{
    kernel::{mapped::MappedSets, tables::Tables},
    view::keepalive::Source,
};

/// Sources of such packets.
pub(super) struct Sources {
    table: MappedSets<StunSource>,
    secret: [u64; 2],
}

impl Sources {
    /// Opens their table.
    pub(super) fn open(tables: &Tables) -> Result<Self> {
        Ok(Self {
            table: tables.stun.open()?,
            secret: tables.config()?.secret,
        })
    }

    /// Returns the time at which a terminal last kept itself alive; 0: it is not known to do so.
    pub(super) fn last(&self, terminal: SocketAddr, now: u64) -> u64 {
        let key = stun::key(&Endpoint::from(terminal), |a, b, c| {
            hash::words(a, b, c, &self.secret)
        });
        let entry = self.table.find(&key);
        let source = entry.and_then(|entry| Source::of(&entry, ticks(now)));
        source.map_or(0, |source| {
            now.saturating_sub(source.silent.as_nanos() as u64)
        })
    }
}
