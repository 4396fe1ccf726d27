//! Entries of `ADDRESSES`, from all that the kernel and the user say of addresses.

use std::{
    collections::{BTreeMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nat_common::abi::address;

use crate::host::{
    net::{Hop, Own, UnicastRoute},
    prefix::Prefix,
};

/// Networks that the Internet does not route: RFC 1918, 6598, 3927, 2544, 6890, 4193. Trust in an address depends on its
/// routes only if it is private, but for one on a terminal's own host.
const PRIVATE: [IpNet; 8] = [
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([100, 64, 0, 0], 10),
    v4([169, 254, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([192, 0, 0, 0], 24),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
    )),
];

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

/// Statements about addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Subnets on the interfaces' own links, with an interface's index.
    pub(crate) on_link: BTreeMap<Prefix, u32>,
    /// This host's own addresses, and broadcast addresses.
    pub(crate) own: Vec<(Prefix, Own)>,
    /// Routes of all tables.
    pub(crate) routes: Vec<UnicastRoute>,
    /// Peers that the user named.
    pub(crate) peers: Vec<Prefix>,
    /// Registrars that the user named.
    pub(crate) registrars: Vec<Prefix>,
}

/// Entries of `ADDRESSES`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Kinds by prefix.
    pub(crate) entries: BTreeMap<Prefix, u32>,
    /// Number of entries beyond the capacity of the map.
    pub(crate) left_out: usize,
}

/// Statement about one prefix.
#[derive(Clone, Copy, Default)]
struct Fact {
    /// Place, or 0.
    place: u32,
    /// Bits of routes and of the user's names.
    bits: u32,
    /// Set if packets for it go to the default route's gateway, by a route of its own.
    by_default: bool,
}

impl Facts {
    /// Returns the entries, at most as many as `capacity`.
    ///
    /// A lookup returns the entry of the longest prefix, so each entry has the kinds of the prefixes that contain it. An
    /// entry that would say the same as the one that contains it is left out.
    pub(crate) fn kinds(&self, capacity: usize) -> Kinds {
        let facts = self.by_prefix();
        let mut kinds: Vec<(Prefix, u32)> = Vec::new();
        // Prefixes that contain the present one, the longest last.
        let mut around: Vec<(Prefix, u32)> = Vec::new();
        // A prefix stands before those that it contains.
        for (prefix, fact) in &facts {
            while around
                .pop_if(|(outer, _)| !outer.contains(*prefix))
                .is_some()
            {}
            let outer = around.last().map_or(0, |(_, kind)| *kind);
            let kind = fact.within(outer);
            if kind != outer {
                kinds.push((*prefix, kind));
            }
            around.push((*prefix, kind));
        }
        let left_out = kinds.len().saturating_sub(capacity);
        if left_out > 0 {
            kinds.sort_by_key(|(prefix, _)| facts[prefix].rank(*prefix));
            kinds.truncate(capacity);
        }
        Kinds {
            entries: kinds.into_iter().collect(),
            left_out,
        }
    }

    /// Joins the statements about each prefix.
    fn by_prefix(&self) -> BTreeMap<Prefix, Fact> {
        let mut facts = BTreeMap::<Prefix, Fact>::new();
        for (prefix, place) in self.places() {
            facts.entry(prefix).or_default().place = place;
        }
        let named = [
            (&self.peers, address::PEER),
            (&self.registrars, address::REGISTRAR),
        ];
        for (prefixes, bit) in named {
            for prefix in prefixes {
                facts.entry(*prefix).or_default().bits |= bit;
            }
        }
        let default_hops: HashSet<Hop> = self
            .routes
            .iter()
            .filter(|route| route.is_default())
            .flat_map(|route| route.hops.iter().copied())
            .collect();
        for route in self.routes.iter().filter(|route| !route.is_default()) {
            let fact = facts.entry(Prefix::Net(route.net)).or_default();
            let by_default = route.hops.iter().all(|hop| default_hops.contains(hop));
            if route.connected || !by_default {
                fact.bits |= address::ROUTED;
            } else if route.main {
                fact.by_default = true;
            }
        }
        facts
    }

    /// Returns the places of addresses. The kernel looks into its local routes first, so a subnet that is local as a
    /// whole has no neighbours in it.
    fn places(&self) -> BTreeMap<Prefix, u32> {
        let is_own = |subnet: &Prefix| {
            self.own
                .iter()
                .any(|(prefix, own)| *own == Own::Local && prefix.contains(*subnet))
        };
        let neighbours = self
            .on_link
            .iter()
            .filter(|(subnet, _)| !is_own(subnet))
            .map(|(subnet, interface)| (*subnet, address::on_link(*interface)));
        let of_kind = |wanted, kind| {
            self.own
                .iter()
                .filter(move |(_, own)| *own == wanted)
                .map(move |(prefix, _)| (*prefix, kind))
        };
        // A later entry replaces an earlier one for the same prefix.
        neighbours
            .chain(of_kind(Own::Broadcast, address::BROADCAST))
            .chain(of_kind(Own::Local, address::LOCAL))
            .collect()
    }
}

impl Fact {
    /// Returns the kind of its prefix, within one of kind `outer`.
    ///
    /// A route to the default route's gateway takes its addresses out of subnets and of other routes. `sipnat status`
    /// recommends such a route to a phone whose private address lies in a subnet of this host.
    fn within(self, outer: u32) -> u32 {
        let (mut place, mut bits) = (address::place(outer), outer & !address::place(outer));
        if self.by_default {
            bits &= !address::ROUTED;
            if place != address::LOCAL && place != address::BROADCAST {
                place = 0;
            }
        }
        if self.place != 0 {
            place = self.place;
        }
        place | bits | self.bits
    }

    /// Returns the order in which prefixes get the entries of a map that is too small.
    fn rank(self, prefix: Prefix) -> u8 {
        let is_private = |net: IpNet| {
            PRIVATE
                .iter()
                .any(|private| private.contains(&net) || net.contains(private))
        };
        let named = self.bits & (address::PEER | address::REGISTRAR) != 0;
        match prefix {
            _ if self.place != 0 || named => 0,
            Prefix::Net(net) if is_private(net) => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use nat_common::abi::address::{BROADCAST, LOCAL, PEER, REGISTRAR, ROUTED, on_link};

    use super::*;

    const MANY: usize = 4096;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    /// A route of the main table by `interface`, to `gateway` if there is one.
    fn route(net: &str, interface: u32, gateway: &str) -> UnicastRoute {
        let hop = Hop {
            interface,
            gateway: gateway.parse().ok(),
            object: 0,
        };
        UnicastRoute {
            net: net.parse::<IpNet>().unwrap().trunc(),
            hops: vec![hop],
            connected: false,
            main: true,
        }
    }

    fn connected(net: &str, interface: u32) -> UnicastRoute {
        UnicastRoute {
            connected: true,
            ..route(net, interface, "")
        }
    }

    /// A host with a default route by interface 2, and these others.
    fn routed(others: &[UnicastRoute]) -> Facts {
        let mut routes = vec![
            route("0.0.0.0/0", 2, "203.0.113.1"),
            route("::/0", 2, "fe80::1"),
        ];
        routes.extend_from_slice(others);
        Facts {
            routes,
            ..Facts::default()
        }
    }

    fn entries(facts: &Facts) -> Vec<(String, u32)> {
        let kinds = facts.kinds(MANY);
        assert_eq!(kinds.left_out, 0);
        let shown = |(prefix, kind): (Prefix, u32)| (prefix.to_string(), kind);
        kinds.entries.into_iter().map(shown).collect()
    }

    fn expect(facts: &Facts, expected: &[(&str, u32)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(p, k)| ((*p).to_owned(), *k))
            .collect();
        assert_eq!(entries(facts), expected);
    }

    #[test]
    fn the_kernel_s_own_go_before_subnets() {
        let on_link = ["10.9.0.0/16", "192.0.2.0/25", "198.51.100.0/24"];
        let facts = Facts {
            on_link: on_link.map(|text| (prefix(text), 7)).into(),
            own: vec![
                (prefix("10.9.0.1"), Own::Local),
                (prefix("10.9.255.255"), Own::Broadcast),
                // AnyIP: the whole of one subnet, and more than the whole of another.
                (prefix("198.51.100.0/24"), Own::Local),
                (prefix("192.0.2.0/24"), Own::Local),
            ],
            ..Facts::default()
        };
        expect(
            &facts,
            &[
                ("10.9.0.0/16", self::on_link(7)),
                ("10.9.0.1/32", LOCAL),
                ("10.9.255.255/32", BROADCAST),
                ("192.0.2.0/24", LOCAL),
                ("198.51.100.0/24", LOCAL),
            ],
        );
    }

    #[test]
    fn a_route_counts_if_packets_take_another_way_than_by_default() {
        let several = |net, gateways: [&str; 2]| {
            let mut both = route(net, 2, gateways[0]);
            both.hops.extend(route(net, 2, gateways[1]).hops);
            both
        };
        let facts = routed(&[
            route("10.1.0.0/16", 2, "203.0.113.2"),
            route("10.2.0.0/16", 3, "203.0.113.1"),
            route("10.3.0.0/16", 2, "203.0.113.1"),
            // A VPN splits the default route.
            route("0.0.0.0/1", 5, "10.8.0.1"),
            route("128.0.0.0/1", 5, "10.8.0.1"),
            route("10.4.0.0/16", 5, "10.8.0.1"),
            several("10.5.0.0/16", ["203.0.113.1", "203.0.113.2"]),
            route("172.16.0.0/12", 4, ""),
            route("2000::/3", 2, "fe80::1"),
            route("fd00::/16", 2, "fe80::1"),
            route("fd01::/16", 2, "fe80::2"),
        ]);
        let routed = [
            "10.1.0.0/16",
            "10.2.0.0/16",
            "10.5.0.0/16",
            "172.16.0.0/12",
            "fd01::/16",
        ];
        expect(&facts, &routed.map(|net| (net, ROUTED)));
    }

    #[test]
    fn a_subnet_counts_even_if_the_default_route_has_no_gateway() {
        let facts = Facts {
            routes: vec![
                route("0.0.0.0/0", 3, ""),
                connected("10.8.0.1/32", 3),
                route("10.0.0.0/8", 3, ""),
            ],
            ..Facts::default()
        };
        expect(&facts, &[("10.8.0.1/32", ROUTED)]);
    }

    #[test]
    fn a_longer_prefix_has_all_that_contains_it() {
        let mut facts = routed(&[
            connected("203.0.113.0/24", 2),
            route("10.0.0.0/8", 3, "192.0.2.1"),
            route("10.1.0.0/16", 4, "192.0.2.2"),
            route("198.51.100.0/25", 3, "192.0.2.1"),
        ]);
        facts.on_link = [(prefix("203.0.113.0/24"), 2)].into();
        facts.own = vec![(prefix("203.0.113.10"), Own::Local)];
        facts.peers = vec![prefix("10.1.2.0/24"), prefix("198.51.100.0/24")];
        facts.registrars = vec![prefix("203.0.113.7"), prefix("10.1.2.3")];
        expect(
            &facts,
            &[
                ("10.0.0.0/8", ROUTED),
                ("10.1.2.0/24", ROUTED | PEER),
                ("10.1.2.3/32", ROUTED | PEER | REGISTRAR),
                ("198.51.100.0/24", PEER),
                ("198.51.100.0/25", PEER | ROUTED),
                ("203.0.113.0/24", on_link(2) | ROUTED),
                ("203.0.113.7/32", on_link(2) | ROUTED | REGISTRAR),
                ("203.0.113.10/32", LOCAL | ROUTED),
            ],
        );
    }

    /// `sipnat status` recommends the route to 192.168.1.10.
    #[test]
    fn a_route_to_the_default_gateway_takes_an_address_out_of_its_subnet() {
        let mut facts = routed(&[
            connected("192.168.1.0/24", 2),
            route("192.168.1.10/32", 2, "203.0.113.1"),
            route("192.168.1.5/32", 2, "203.0.113.1"),
            UnicastRoute {
                main: false,
                ..route("192.168.1.11/32", 2, "203.0.113.1")
            },
        ]);
        facts.on_link = [(prefix("192.168.1.0/24"), 2)].into();
        facts.own = vec![(prefix("192.168.1.5"), Own::Local)];
        facts.peers = vec![prefix("192.168.0.0/16")];
        expect(
            &facts,
            &[
                ("192.168.0.0/16", PEER),
                ("192.168.1.0/24", on_link(2) | ROUTED | PEER),
                ("192.168.1.5/32", LOCAL | PEER),
                ("192.168.1.10/32", PEER),
            ],
        );
        facts.peers.clear();
        assert!(entries(&facts).contains(&("192.168.1.10/32".into(), 0)));
    }

    #[test]
    fn private_networks_come_first_where_the_map_is_too_small() {
        let net = |third: usize| format!("8.8.{third}.0/24");
        let mut routes: Vec<_> = (0..100).map(|i| route(&net(i), 3, "192.0.2.1")).collect();
        for private in ["10.1.0.0/16", "100.64.0.0/9", "fd00::/8", "192.0.0.0/8"] {
            routes.push(route(private, 3, "192.0.2.1"));
        }
        let mut facts = routed(&routes);
        facts.own = vec![(prefix("203.0.113.10"), Own::Local)];
        facts.peers = vec![prefix("9.9.9.9")];
        let kinds = facts.kinds(7);
        assert_eq!(kinds.left_out, 99);
        let shown: Vec<_> = kinds.entries.keys().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "8.8.0.0/24",
                "9.9.9.9/32",
                "10.1.0.0/16",
                "100.0.0.0/9",
                "192.0.0.0/8",
                "203.0.113.10/32",
                "fd00::/8"
            ]
        );
        assert_eq!(facts.kinds(MANY).entries.len(), 106);
    }
}
