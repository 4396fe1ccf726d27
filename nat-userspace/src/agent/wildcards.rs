//! Follows how the PBX's sockets are bound, and tells the kernel programs.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use log::{debug, info, warn};
use nat_common::abi::Config;

use crate::host::sockets;

/// SIP ports whose sockets are bound to no address.
pub(super) struct Wildcards {
    ports: Vec<u16>,
    /// See [`Config::wildcards`].
    bits: u32,
}

impl Wildcards {
    /// Reads how the sockets of `ports` are bound now. Without /proc, they count as bound to an address.
    pub(super) fn read(ports: &[u16]) -> Self {
        let bits = sockets::udp()
            .inspect_err(|error| warn!("cannot list the UDP sockets: {error}"))
            .map_or(0, |sockets| sockets::wildcards(ports, &sockets, 0));
        Self {
            ports: ports.to_vec(),
            bits,
        }
    }

    /// Returns the bits, for the programs to be loaded with.
    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    /// Reads the sockets again, and writes a difference to `CONFIG`.
    ///
    /// The bits are part of every key. A port whose bit changes therefore begins anew: its bindings have keys that no
    /// message has any more, and expire.
    pub(super) fn update(&mut self, table: &mut Array<MapData, Config>) -> Result<()> {
        let sockets = match sockets::udp() {
            Ok(sockets) => sockets,
            Err(error) => {
                debug!("cannot list the UDP sockets: {error}");
                return Ok(());
            }
        };
        let bits = sockets::wildcards(&self.ports, &sockets, self.bits);
        if bits == self.bits {
            return Ok(());
        }
        let config = Config {
            wildcards: bits,
            ..table.get(&0, 0).context("cannot read CONFIG")?
        };
        // The programs may read meanwhile: no other word changes.
        table.set(0, config, 0).context("cannot write CONFIG")?;
        for (index, port) in self.ports.iter().enumerate() {
            for version in [4, 6] {
                let bit = Config::wildcard(index, version == 4);
                if (bits ^ self.bits) & bit == 0 {
                    continue;
                }
                let now = if bits & bit == 0 {
                    "an address"
                } else {
                    "no address"
                };
                info!(
                    "the PBX's sockets on port {port} are bound to {now} of IPv{version} now: its terminals there are \
                     learned anew"
                );
            }
        }
        self.bits = bits;
        Ok(())
    }
}
