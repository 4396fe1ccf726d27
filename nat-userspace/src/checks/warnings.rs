//! What keeps packets for a terminal from ever coming to the egress program, and STUN answers from leaving.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use nat_common::abi::{Policy, flag, stun};
use serde::Serialize;

use crate::{
    agent::session::Session,
    checks::stun_warnings,
    host::net::{Link, Net, Route},
    kernel::policy,
    view::listing::{Listing, Row, State},
};

/// Something that does not work, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Warning {
    #[serde(flatten)]
    terminal: Option<Terminal>,
    pub(crate) text: String,
    /// A command that makes it work.
    pub(crate) remedy: Option<String>,
}

/// A terminal whose packets sipnat cannot redirect, since the kernel never sends them through it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Terminal {
    terminal: Option<String>,
    advertised: SocketAddr,
    learned: SocketAddr,
}

impl Warning {
    /// Of an interface by which STUN answers do not leave as they should.
    pub(crate) fn of_stun(text: String, remedy: Option<String>) -> Self {
        Self {
            terminal: None,
            text,
            remedy,
        }
    }
}

/// All there is to warn of: of terminals, one for each advertised address.
pub(crate) async fn find(net: &Net, session: &Session) -> Result<Vec<Warning>> {
    let rows = Listing::read(&session.tables)?.bindings;
    let links = net.links().await?;
    let map = Map {
        attached: session.agent.interfaces.iter().map(|i| i.index).collect(),
        neighbours: net.neighbours().await?,
        links: &links,
    };
    let mut warnings = if session.tables.config()?.stun & stun::ANSWER == 0 {
        Vec::new()
    } else {
        stun_warnings::find(&session.agent.interfaces, &links)
    };
    let mut seen = HashSet::new();
    for row in rows {
        let Some(advertised) = row
            .advertised
            .filter(|advertised| seems_elsewhere(&row, advertised))
        else {
            continue;
        };
        let would_redirect = match policy::of(&session.tables.policy, row.learned.ip()) {
            Policy::Off => false,
            Policy::Auto => row.flags & flag::DIRECT != 0,
            Policy::Force => true,
        };
        if !would_redirect || !seen.insert(advertised.ip()) {
            continue;
        }
        let way = net.route(advertised.ip()).await?;
        let good_way = net.route(row.learned.ip()).await?;
        if let (Some(problem), Some(good_way)) = (map.problem(advertised.ip(), way), good_way) {
            warnings.push(Warning {
                text: format!(
                    "{} advertises {advertised}, {problem}",
                    row.terminal.as_deref().unwrap_or("a terminal")
                ),
                remedy: map.remedy(advertised.ip(), way, good_way),
                terminal: Some(Terminal {
                    terminal: row.terminal,
                    advertised,
                    learned: row.learned,
                }),
            });
        }
    }
    Ok(warnings)
}

/// Whether packets for the terminal need another address, so that the kernel routes them elsewhere at first.
fn seems_elsewhere(row: &Row, advertised: &SocketAddr) -> bool {
    row.state == State::Active
        && advertised.ip() != row.learned.ip()
        && advertised.is_ipv4() == row.learned.is_ipv4()
}

/// What the kernel knows of the network.
struct Map<'l> {
    links: &'l [Link],
    /// Interfaces with the programs on them.
    attached: HashSet<u32>,
    neighbours: HashSet<(u32, IpAddr)>,
}

impl Map<'_> {
    fn name(&self, index: u32) -> &str {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or("?", |link| &link.name)
    }

    /// Why a packet for `addr`, sent by `way`, does not come to the egress program.
    fn problem(&self, addr: IpAddr, way: Option<Route>) -> Option<String> {
        let Some(way) = way else {
            return Some("to which this host has no route: the kernel sends nothing".into());
        };
        let name = self.name(way.index);
        if way.local {
            Some("which is this host's own address: it sends to itself".into())
        } else if !self.attached.contains(&way.index) {
            Some(format!(
                "which this host reaches by {name}, where sipnat is not"
            ))
        } else if way.gateway.is_none() && !self.neighbours.contains(&(way.index, addr)) {
            Some(format!(
                "which lies in {name}'s own subnet: the kernel asks there for its MAC address, and sends nothing"
            ))
        } else {
            None
        }
    }

    /// Routes `addr` as the learned address is, so that the packet comes by with the right source address, too.
    /// One that is not redirected then ends as any to a private address does: at the gateway.
    fn remedy(&self, addr: IpAddr, way: Option<Route>, good_way: Route) -> Option<String> {
        if way.is_some_and(|way| way.local) || !self.attached.contains(&good_way.index) {
            return None;
        }
        let gateway = good_way.gateway?;
        let family = if gateway.is_ipv4() == addr.is_ipv4() {
            ""
        } else {
            "inet6 "
        };
        let source = good_way
            .source
            .map_or_else(String::new, |source| format!(" src {source}"));
        Some(format!(
            "ip route replace {addr} via {family}{gateway} dev {}{source}",
            self.name(good_way.index)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::net::Kind;

    const PHONE: &str = "192.168.1.10";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn way(index: u32, gateway: Option<&str>) -> Route {
        Route {
            index,
            gateway: gateway.map(ip),
            source: Some(ip("203.0.113.10")),
            local: false,
        }
    }

    fn with_map<T>(look: impl FnOnce(&Map<'_>) -> T) -> T {
        let link = |index, name: &str| Link {
            index,
            name: name.into(),
            ethernet: true,
            xdp: None,
            kind: Kind::Other,
            lower: None,
        };
        look(&Map {
            links: &[link(2, "eth0"), link(3, "lan0")],
            attached: HashSet::from([2]),
            neighbours: HashSet::from([(2, ip("192.168.1.20")), (3, ip(PHONE))]),
        })
    }

    #[test]
    fn packets_that_come_by_are_no_problem() {
        with_map(|map| {
            let gateway = Some(way(2, Some("203.0.113.1")));
            assert_eq!(map.problem(ip(PHONE), gateway), None);
            let known_there = map.problem(ip("192.168.1.20"), Some(way(2, None)));
            assert_eq!(known_there, None);
        });
    }

    #[test]
    fn packets_that_do_not_are_explained() {
        with_map(|map| {
            let mut own = way(1, None);
            own.local = true;
            for (way, words) in [
                (None, "no route"),
                (Some(way(2, None)), "eth0's own subnet"),
                (Some(way(3, None)), "by lan0, where sipnat is not"),
                (
                    Some(way(3, Some("10.0.0.1"))),
                    "by lan0, where sipnat is not",
                ),
                (Some(own), "this host's own address"),
            ] {
                let problem = map.problem(ip(PHONE), way).unwrap();
                assert!(problem.contains(words), "{problem}");
            }
        });
    }

    #[test]
    fn the_remedy_is_the_way_of_the_learned_address() {
        with_map(|map| {
            let on_link = Some(way(2, None));
            assert_eq!(
                map.remedy(ip(PHONE), on_link, way(2, Some("203.0.113.1")))
                    .unwrap(),
                "ip route replace 192.168.1.10 via 203.0.113.1 dev eth0 src 203.0.113.10"
            );
            let v6 = Route {
                source: None,
                ..way(2, Some("fe80::1"))
            };
            assert_eq!(
                map.remedy(ip(PHONE), None, v6).unwrap(),
                "ip route replace 192.168.1.10 via inet6 fe80::1 dev eth0"
            );
            for good_way in [way(3, Some("10.0.0.1")), way(2, None)] {
                assert_eq!(map.remedy(ip(PHONE), on_link, good_way), None);
            }
        });
    }
}
