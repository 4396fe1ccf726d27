//! Number of mappings of each host. It is bounded: an account may register every port of an address that it forges.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
};

use nat_common::{endpoint::Endpoint, engine::stun::payer};

/// Largest number of mappings of one host. Further terminals behind the same NAT get no keepalives.
pub(super) const MOST: u32 = 1024;

/// Mappings by host: an IPv4 address, or a /64 of IPv6, of which one host can have every address.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<[u64; 2], u32>);

impl Hosts {
    /// Whether the host of a terminal may have another mapping.
    pub(super) fn has_room(&self, terminal: SocketAddr) -> bool {
        self.0
            .get(&host(terminal))
            .is_none_or(|known| *known < MOST)
    }

    /// Counts a mapping.
    pub(super) fn add(&mut self, terminal: SocketAddr) {
        *self.0.entry(host(terminal)).or_default() += 1;
    }

    /// Counts a mapping no longer.
    pub(super) fn remove(&mut self, terminal: SocketAddr) {
        if let Entry::Occupied(mut known) = self.0.entry(host(terminal)) {
            *known.get_mut() -= 1;
            if *known.get() == 0 {
                known.remove();
            }
        }
    }
}

fn host(terminal: SocketAddr) -> [u64; 2] {
    payer(&Endpoint::from(terminal))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn at(address: &str, port: u16) -> SocketAddr {
        SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
    }

    #[test]
    fn a_host_of_ipv4_is_an_address_and_of_ipv6_a_64() {
        let mut hosts = Hosts::default();
        for n in 0..MOST as u16 {
            hosts.add(at("60.17.196.2", 40_000 + n));
            hosts.add(at(&format!("2001:db8:0:1::{n:x}"), 5060));
        }
        for (address, has_room) in [
            ("60.17.196.2", false),
            ("60.17.196.3", true),
            ("2001:db8:0:1:ffff::", false),
            ("2001:db8:0:2::1", true),
        ] {
            assert_eq!(hosts.has_room(at(address, 7)), has_room, "{address}");
        }
        hosts.remove(at("2001:db8:0:1::5", 5060));
        assert!(hosts.has_room(at("2001:db8:0:1::5", 5060)));
    }

    #[test]
    fn a_host_without_mappings_is_forgotten() {
        let mut hosts = Hosts::default();
        let terminal = at("60.17.196.2", 49163);
        hosts.add(terminal);
        hosts.remove(terminal);
        hosts.remove(terminal);
        assert!(hosts.0.is_empty());
    }
}
