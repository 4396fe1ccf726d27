//! Follows how the PBX's sockets are bound, and tells the kernel programs. Keepalives come from these sockets.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use nat_common::abi::Config;
use tracing::{debug, info, warn};

use crate::host::sockets;

/// Time between two looks at the PBX's sockets.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time between two looks while a port has no socket yet: the PBX starts. Until the next look its terminals are stored under keys that hold
/// no longer.
const STARTING: Duration = Duration::from_millis(200);
/// Time in which a PBX starts.
const START: Duration = Duration::from_secs(600);

/// SIP ports whose sockets are bound to no address.
pub(super) struct Wildcards {
    ports: Vec<u16>,
    /// See [`Config::wildcards`].
    bits: u32,
    /// Addresses to which the sockets with these ports are bound.
    sockets: Vec<SocketAddr>,
    /// Each port has had a socket.
    bound: bool,
    since: Instant,
    /// The PBX is another host: sockets of this one say nothing of it.
    behind: bool,
}

impl Wildcards {
    /// Reads how the sockets of `ports` are bound now. A port without a socket keeps what the `earlier` settings say: the PBX
    /// may restart at the same time. Without those, or without /proc, it counts as bound to an address. So do all if the PBX is
    /// another host, `behind` this one: any user of this host may bind its ports.
    pub(super) fn read(ports: &[u16], behind: bool, earlier: Option<&Config>) -> Self {
        let mut wildcards = Self {
            ports: ports.to_vec(),
            bits: 0,
            sockets: Vec::new(),
            bound: behind,
            since: Instant::now(),
            behind,
        };
        if !behind {
            let before = earlier.map_or(0, |earlier| bits_of(ports, earlier));
            if let Err(error) = wildcards.look() {
                warn!("cannot list the UDP sockets: {error}");
            }
            wildcards.bits = sockets::wildcards(ports, &wildcards.sockets, before);
        }
        wildcards
    }

    /// Reads the sockets of the ports.
    fn look(&mut self) -> io::Result<()> {
        let mut sockets = sockets::udp()?;
        sockets.retain(|socket| self.ports.contains(&socket.port()));
        let has_socket = |port| sockets.iter().any(|socket| socket.port() == port);
        self.bound |= self.ports.iter().copied().all(has_socket);
        self.sockets = sockets;
        Ok(())
    }

    /// Returns the addresses to which sockets with the PBX's ports were bound at the last look; none if the PBX is another host.
    pub(super) fn sockets(&self) -> &[SocketAddr] {
        &self.sockets
    }

    /// Returns the time to the next look.
    pub(super) fn interval(&self) -> Duration {
        if self.bound || self.since.elapsed() > START {
            INTERVAL
        } else {
            STARTING
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
        if self.behind {
            return Ok(());
        }
        if let Err(error) = self.look() {
            debug!("cannot list the UDP sockets: {error}");
            return Ok(());
        }
        let bits = sockets::wildcards(&self.ports, &self.sockets, self.bits);
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
                    port,
                    version,
                    "the PBX's sockets on port {port} are bound to {now} of IPv{version} now: its terminals there are \
                     learned anew"
                );
            }
        }
        self.bits = bits;
        Ok(())
    }
}

/// Returns the bits of `ports` as `earlier` settings have them, which may have other ports, or another order.
fn bits_of(ports: &[u16], earlier: &Config) -> u32 {
    let mut bits = 0;
    for (index, port) in ports.iter().enumerate() {
        let Some(known) = earlier.ports.iter().position(|known| known == port) else {
            continue;
        };
        for v4 in [true, false] {
            if earlier.wildcards & Config::wildcard(known, v4) != 0 {
                bits |= Config::wildcard(index, v4);
            }
        }
    }
    bits
}
