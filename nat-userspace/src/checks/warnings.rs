//! Terminals whose packets never come to the egress program.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use nat_common::abi::{BindingFlags, Policy};
use serde::Serialize;

use crate::{
    host::net::{Link, Net, Route},
    kernel::{policy, rules::Rules},
    view::rows::{BindingState, Row},
};

/// A thing that does not work, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    #[serde(flatten)]
    terminal: Option<Terminal>,
    /// Registrar that `--registrar` does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registrar: Option<IpAddr>,
    /// Description for people.
    pub text: String,
    /// A command that repairs it, and when to use it.
    pub remedy: Option<String>,
}

/// A terminal whose packets the kernel never sends through sipnat.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Terminal {
    terminal: Option<String>,
    advertised: SocketAddr,
    learned: SocketAddr,
}

impl Warning {
    /// Makes a warning that concerns no single terminal.
    pub(super) fn without_terminal(text: String, remedy: Option<String>) -> Self {
        Self {
            terminal: None,
            registrar: None,
            text,
            remedy,
        }
    }
}

/// Lists warnings for terminals, one for each advertised address. `attached` are the interfaces with the programs, among
/// `links`.
///
/// # Errors
/// If the kernel does not describe its network.
pub async fn find(
    net: &Net,
    links: &[Link],
    attached: impl Iterator<Item = u32>,
    rows: impl Iterator<Item = Row>,
    rules: &Rules,
) -> Result<Vec<Warning>> {
    let network = Network {
        attached: attached.collect(),
        neighbours: net.neighbours().await?,
        links,
    };
    let mut warnings = Vec::new();
    let mut seen = HashSet::new();
    for row in rows {
        let Some(advertised) = row
            .advertised
            .filter(|advertised| seems_elsewhere(&row, advertised))
        else {
            continue;
        };
        let would_redirect = match policy::lookup(rules, row.learned.ip()) {
            Policy::Off => false,
            Policy::Auto => row.flags.contains(BindingFlags::DIRECT),
            Policy::Force => true,
        };
        if !would_redirect || !seen.insert(advertised.ip()) {
            continue;
        }
        let route = net.route(advertised.ip()).await?;
        let good_route = net.route(row.learned.ip()).await?;
        if let (Some(problem), Some(good_route)) =
            (network.problem(advertised.ip(), route), good_route)
        {
            warnings.push(Warning {
                text: format!(
                    "{} advertises {advertised}, {problem}",
                    row.terminal.as_deref().unwrap_or("a terminal")
                ),
                remedy: network.remedy(advertised.ip(), route, good_route),
                registrar: None,
                terminal: Some(Terminal {
                    terminal: row.terminal.clone(),
                    advertised,
                    learned: row.learned,
                }),
            });
        }
    }
    // Those that people see first are the same ones the next time.
    warnings.sort_unstable_by(|a, b| a.text.cmp(&b.text));
    Ok(warnings)
}

/// Whether packets for the terminal need another address, so that the kernel first routes them elsewhere.
fn seems_elsewhere(row: &Row, advertised: &SocketAddr) -> bool {
    row.state == BindingState::Active
        && advertised.ip() != row.learned.ip()
        && advertised.is_ipv4() == row.learned.is_ipv4()
}

/// The network around this host, as the kernel knows it.
struct Network<'l> {
    links: &'l [Link],
    /// Indexes of interfaces with the programs.
    attached: HashSet<u32>,
    neighbours: HashSet<(u32, IpAddr)>,
}

impl Network<'_> {
    fn name(&self, index: u32) -> &str {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or("?", |link| &link.name)
    }

    /// Returns why a packet for `addr`, sent by `route`, does not come to the egress program.
    fn problem(&self, addr: IpAddr, route: Option<Route>) -> Option<String> {
        let Some(route) = route else {
            return Some("to which this host has no route: the kernel sends nothing".into());
        };
        let name = self.name(route.index);
        if route.local {
            Some("which is this host's own address: it sends to itself".into())
        } else if !self.attached.contains(&route.index) {
            Some(format!(
                "which this host reaches by {name}, where sipnat is not"
            ))
        } else if route.gateway.is_none() && !self.neighbours.contains(&(route.index, addr)) {
            Some(format!(
                "which lies in {name}'s own subnet: the kernel asks there for its MAC address, and sends nothing"
            ))
        } else {
            None
        }
    }

    /// Returns a command that routes `addr` like the learned address. The packet then passes the program, and has the right
    /// source address. A packet that is not redirected ends at the gateway, like any to a private address.
    fn remedy(&self, addr: IpAddr, route: Option<Route>, good_route: Route) -> Option<String> {
        if route.is_some_and(|route| route.local) || !self.attached.contains(&good_route.index) {
            return None;
        }
        let gateway = good_route.gateway?;
        let family = if gateway.is_ipv4() == addr.is_ipv4() {
            ""
        } else {
            "inet6 "
        };
        let source = good_route
            .source
            .map_or_else(String::new, |source| format!(" src {source}"));
        Some(format!(
            "ip route replace {addr} via {family}{gateway} dev {}{source}",
            self.name(good_route.index)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::net::LinkKind;

    const PHONE: &str = "192.168.1.10";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn route(index: u32, gateway: Option<&str>) -> Route {
        Route {
            index,
            gateway: gateway.map(ip),
            source: Some(ip("203.0.113.10")),
            local: false,
        }
    }

    fn with_network<T>(check: impl FnOnce(&Network<'_>) -> T) -> T {
        let link = |index, name| Link::ethernet(index, name, LinkKind::Other);
        check(&Network {
            links: &[link(2, "eth0"), link(3, "lan0")],
            attached: HashSet::from([2]),
            neighbours: HashSet::from([(2, ip("192.168.1.20")), (3, ip(PHONE))]),
        })
    }

    #[test]
    fn packets_that_come_by_are_no_problem() {
        with_network(|network| {
            let gateway = Some(route(2, Some("203.0.113.1")));
            assert_eq!(network.problem(ip(PHONE), gateway), None);
            let known_there = network.problem(ip("192.168.1.20"), Some(route(2, None)));
            assert_eq!(known_there, None);
        });
    }

    #[test]
    fn packets_that_do_not_are_explained() {
        with_network(|network| {
            let mut own = route(1, None);
            own.local = true;
            for (route, words) in [
                (None, "no route"),
                (Some(route(2, None)), "eth0's own subnet"),
                (Some(route(3, None)), "by lan0, where sipnat is not"),
                (
                    Some(route(3, Some("10.0.0.1"))),
                    "by lan0, where sipnat is not",
                ),
                (Some(own), "this host's own address"),
            ] {
                let problem = network.problem(ip(PHONE), route).unwrap();
                assert!(problem.contains(words), "{problem}");
            }
        });
    }

    #[test]
    fn the_remedy_is_the_route_of_the_learned_address() {
        with_network(|network| {
            let on_link = Some(route(2, None));
            assert_eq!(
                network
                    .remedy(ip(PHONE), on_link, route(2, Some("203.0.113.1")))
                    .unwrap(),
                "ip route replace 192.168.1.10 via 203.0.113.1 dev eth0 src 203.0.113.10"
            );
            let v6 = Route {
                source: None,
                ..route(2, Some("fe80::1"))
            };
            assert_eq!(
                network.remedy(ip(PHONE), None, v6).unwrap(),
                "ip route replace 192.168.1.10 via inet6 fe80::1 dev eth0"
            );
            for good_route in [route(3, Some("10.0.0.1")), route(2, None)] {
                assert_eq!(network.remedy(ip(PHONE), on_link, good_route), None);
            }
        });
    }
}
