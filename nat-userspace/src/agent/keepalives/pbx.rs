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
    /// Finds them for a PBX on this host: an address of its own, and a port to which a socket is `bound` there. Without a socket,
    /// the port is translated to another host, and the translation would give a keepalive another port.
    pub(super) fn of_host(own: &[IpAddr], ports: &[u16], bound: &[SocketAddr]) -> Self {
        let is_bound = |socket: &SocketAddr| {
            let mut bound = bound.iter().filter(|bound| bound.port() == socket.port());
            bound.any(|bound| {
                let ip = bound.ip();
                // `::` takes IPv4, too.
                ip == socket.ip() || ip.is_unspecified() && (ip.is_ipv6() || socket.is_ipv4())
            })
        };
        Self::from(all(own, ports).filter(is_bound))
    }

    /// Finds them for PBXs behind this host, at `pbxs`. An address of this host's own is translated.
    pub(super) fn behind(own: &[IpAddr], ports: &[u16], pbxs: &[IpAddr]) -> Self {
        Self::from(all(pbxs, ports).filter(|socket| !own.contains(&socket.ip())))
    }

    fn from(sockets: impl Iterator<Item = SocketAddr>) -> Self {
        let numbered = sockets.map(|socket| (key::socket(&Endpoint::from(socket)), socket));
        Self(numbered.collect())
    }

    /// Returns the socket of a number.
    pub(super) fn get(&self, number: u32) -> Option<SocketAddr> {
        self.0.get(&number).copied()
    }

    /// Keeps those that have one of these addresses.
    pub(super) fn retain(&mut self, own: &[IpAddr]) {
        self.0.retain(|_, socket| own.contains(&socket.ip()));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn all<'a>(addresses: &'a [IpAddr], ports: &'a [u16]) -> impl Iterator<Item = SocketAddr> + 'a {
    let addresses = addresses.iter();
    addresses.flat_map(move |ip| ports.iter().map(move |port| SocketAddr::new(*ip, *port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn known(sockets: &Sockets, socket: &str) -> bool {
        let socket: SocketAddr = socket.parse().unwrap();
        sockets.get(key::socket(&Endpoint::from(socket))) == Some(socket)
    }

    #[test]
    fn a_port_without_a_socket_is_translated() {
        let own = ips(&["203.0.113.10", "203.0.113.11", "2001:db8::10"]);
        let bound: Vec<SocketAddr> = ["203.0.113.10:5060", "0.0.0.0:5080", "[::]:5090"]
            .map(|socket| socket.parse().unwrap())
            .into();
        let sockets = Sockets::of_host(&own, &[5060, 5070, 5080, 5090], &bound);
        for (socket, expected) in [
            ("203.0.113.10:5060", true),
            ("203.0.113.11:5060", false),
            ("203.0.113.10:5070", false),
            ("203.0.113.11:5080", true),
            ("[2001:db8::10]:5080", false),
            ("[2001:db8::10]:5090", true),
            ("203.0.113.10:5090", true),
        ] {
            assert_eq!(known(&sockets, socket), expected, "{socket}");
        }
        assert!(Sockets::of_host(&own, &[5060], &[]).is_empty());
        let mut kept = sockets.clone();
        kept.retain(&own[..1]);
        assert!(known(&kept, "203.0.113.10:5060") && !known(&kept, "203.0.113.11:5080"));
    }

    #[test]
    fn a_pbx_behind_this_host_has_its_own_address() {
        let own = ips(&["203.0.113.9"]);
        let routed = Sockets::behind(&own, &[5060], &ips(&["203.0.113.10"]));
        assert!(known(&routed, "203.0.113.10:5060"));
        assert!(Sockets::behind(&own, &[5060], &own).is_empty());
    }
}
