//! Sockets of the PBX from which keepalives may come.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use nat_common::{endpoint::Endpoint, tables::key};

/// The PBX's sockets by the number that a contact has ([`key::socket`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sockets(HashMap<u32, SocketAddr>);

impl Sockets {
    /// Finds them for PBXs on this host: an address of its own, and a port to which a socket is `bound` there. Without a socket,
    /// the port is translated to another host, and the translation would give a keepalive another port.
    ///
    /// What was found before stays: while a PBX restarts, its terminals stay reachable, whatever sockets others have. An address
    /// that the host has lost may be another's now.
    pub(super) fn follow(&mut self, own: &[IpAddr], ports: &[u16], bound: &[SocketAddr]) {
        self.0.retain(|_, socket| own.contains(&socket.ip()));
        let is_bound = |socket: &SocketAddr| {
            let mut bound = bound.iter().filter(|bound| bound.port() == socket.port());
            bound.any(|bound| {
                let ip = bound.ip();
                // `::` takes IPv4, too.
                ip == socket.ip() || ip.is_unspecified() && (ip.is_ipv6() || socket.is_ipv4())
            })
        };
        self.0.extend(numbered(all(own, ports).filter(is_bound)));
    }

    /// Finds them for PBXs behind this host, at `pbxs`. An address of this host's own is translated.
    pub(super) fn behind(own: &[IpAddr], ports: &[u16], pbxs: &[IpAddr]) -> Self {
        let not_own = all(pbxs, ports).filter(|socket| !own.contains(&socket.ip()));
        Self(numbered(not_own).collect())
    }

    /// Returns the socket of a number.
    pub(super) fn get(&self, number: u32) -> Option<SocketAddr> {
        self.0.get(&number).copied()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn numbered(sockets: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = (u32, SocketAddr)> {
    sockets.map(|socket| (key::socket(&Endpoint::from(socket)), socket))
}

/// Returns the sockets that these addresses and ports make. No terminal is reached from the loopback interface.
fn all<'a>(addresses: &'a [IpAddr], ports: &'a [u16]) -> impl Iterator<Item = SocketAddr> + 'a {
    let addresses = addresses.iter().filter(|ip| !ip.is_loopback());
    addresses.flat_map(move |ip| ports.iter().map(move |port| SocketAddr::new(*ip, *port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn sockets(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|socket| socket.parse().unwrap()).collect()
    }

    fn known(sockets: &Sockets, socket: &str) -> bool {
        let socket: SocketAddr = socket.parse().unwrap();
        sockets.get(key::socket(&Endpoint::from(socket))) == Some(socket)
    }

    #[test]
    fn a_port_without_a_socket_is_translated() {
        let own = ips(&["203.0.113.10", "203.0.113.11", "2001:db8::10"]);
        let bound = sockets(&["203.0.113.10:5060", "0.0.0.0:5080", "[::]:5090"]);
        let mut pbxs = Sockets::default();
        pbxs.follow(&own, &[5060, 5070, 5080, 5090], &bound);
        for (socket, expected) in [
            ("203.0.113.10:5060", true),
            ("203.0.113.11:5060", false),
            ("203.0.113.10:5070", false),
            ("203.0.113.11:5080", true),
            ("[2001:db8::10]:5080", false),
            ("[2001:db8::10]:5090", true),
            ("203.0.113.10:5090", true),
        ] {
            assert_eq!(known(&pbxs, socket), expected, "{socket}");
        }
    }

    #[test]
    fn a_pbx_that_restarts_keeps_its_socket_while_another_has_one() {
        let own = ips(&["203.0.113.10", "203.0.113.11"]);
        let [first, second] = ["203.0.113.10:5060", "203.0.113.11:5060"];
        let mut pbxs = Sockets::default();
        for (bound, known_now) in [
            (&[][..], [false, false]),
            (&[first][..], [true, false]),
            (&[second][..], [true, true]),
            (&[][..], [true, true]),
        ] {
            pbxs.follow(&own, &[5060], &sockets(bound));
            assert_eq!([first, second].map(|it| known(&pbxs, it)), known_now);
        }
        // The host has lost an address.
        pbxs.follow(&own[1..], &[5060], &[]);
        assert_eq!([first, second].map(|it| known(&pbxs, it)), [false, true]);
    }

    #[test]
    fn no_terminal_is_reached_from_loopback() {
        let own = ips(&["127.0.0.1", "::1", "203.0.113.10"]);
        let mut pbxs = Sockets::default();
        pbxs.follow(&own, &[5060], &sockets(&["127.0.0.1:5060", "[::1]:5060"]));
        assert!(pbxs.is_empty());
        pbxs.follow(&own, &[5060], &sockets(&["0.0.0.0:5060"]));
        assert!(known(&pbxs, "203.0.113.10:5060") && !known(&pbxs, "127.0.0.1:5060"));
    }

    #[test]
    fn a_pbx_behind_this_host_has_its_own_address() {
        let own = ips(&["203.0.113.9"]);
        let routed = Sockets::behind(&own, &[5060], &ips(&["203.0.113.10"]));
        assert!(known(&routed, "203.0.113.10:5060"));
        assert!(Sockets::behind(&own, &[5060], &own).is_empty());
    }
}
