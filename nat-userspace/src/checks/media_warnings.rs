//! Media that sipnat cannot look after.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use nat_common::{
    abi::{Config, MediaCounter, Policy, Record, address},
    endpoint::Endpoint,
    engine::media as described,
};

use crate::{
    checks::warnings::Warning,
    host::{prefix::Prefix, sockets},
    kernel::{history, kinds, media, policy, streams, tables::Tables},
    view::{
        rows,
        streams::{self as view, Stream},
    },
};

/// Port of SIP over TLS.
const TLS: u16 = 5061;

/// Lists warnings for media: first those of the host, which are few, then those of terminals.
///
/// # Errors
/// If a map cannot be read.
pub(crate) fn find(tables: &Tables) -> Result<[Vec<Warning>; 2]> {
    let mut warnings = Vec::new();
    let left_out = media::left_out(tables)?;
    if left_out > 0 {
        warnings.push(without_slots(left_out));
    }
    let connected = sockets::tcp().unwrap_or_default();
    warnings.extend(by_tcp(&tables.config()?, &connected));
    let known = streams::addresses(&tables.media_config()?);
    warnings.extend(direct(&history::read(&tables.history)?, &known));
    let kinds = kinds::read(&tables.addresses)?;
    let left = view::read(tables)?.into_iter().filter(|stream| {
        let learned = stream.learned.map(|learned| learned.ip());
        learned.is_some_and(|ip| policy::lookup(&tables.policy, ip) == Policy::Auto)
    });
    Ok([warnings, nearer(left, &kinds).collect()])
}

fn without_slots(count: usize) -> Warning {
    Warning::without_terminal(
        format!(
            "{count} addresses of this host have no slots for media, which are left alone there"
        ),
        Some("sipnat run ... --size-media 524288, which is enough for eight addresses".into()),
    )
}

/// Warns of other hosts that the PBX names for its media. `known` are the addresses that have slots.
fn direct(records: &[Record], known: &[IpAddr]) -> Vec<Warning> {
    let mut hosts = BTreeMap::<IpAddr, usize>::new();
    let direct = 1 << MediaCounter::Direct as u32;
    let of_media = records.iter().filter(|r| r.verdict == described::VERDICT);
    for record in of_media.filter(|record| record.events & direct != 0) {
        let named = rows::known(record.learned()).as_ref().map(SocketAddr::ip);
        if let Some(host) = named.filter(|host| !known.contains(host)) {
            *hosts.entry(host).or_default() += 1;
        }
    }
    let Some((host, _)) = hosts.iter().max_by_key(|(_, count)| **count) else {
        return Vec::new();
    };
    let more = match hosts.len() - 1 {
        0 => String::new(),
        more => format!(", or {more} other hosts,"),
    };
    let text = format!(
        "the PBX names {host}{more} for its media, in {} descriptions lately: they do not pass here, and are left alone",
        hosts.values().sum::<usize>()
    );
    let remedy = "have the PBX relay media, as Asterisk does with `direct_media = no`; or, if a router translates that address \
                  to the PBX's: sipnat run ... --external ADDRESS; see docs/media.md";
    vec![Warning::without_terminal(text, Some(remedy.into()))]
}

/// Warns of hosts whose SIP does not go by UDP. `connected` are pairs of a local and a remote address.
fn by_tcp(config: &Config, connected: &[(SocketAddr, SocketAddr)]) -> Option<Warning> {
    let ports = config.ports.into_iter().chain([TLS]);
    let ports: Vec<u16> = ports.filter(|port| *port != 0).collect();
    let remote = connected
        .iter()
        .filter(|(local, remote)| ports.contains(&local.port()) && !remote.ip().is_loopback());
    let hosts: BTreeSet<IpAddr> = remote.map(|(_, remote)| remote.ip()).collect();
    let first = hosts.first()?;
    let who = match hosts.len() - 1 {
        0 => format!("{first} is"),
        more => format!("{first} and {more} other hosts are"),
    };
    let text = format!(
        "{who} connected to the PBX by TCP or TLS: sipnat does not see such calls, so it leaves their media alone"
    );
    let remedy = "have the terminals behind NAT speak SIP over UDP".into();
    Some(Warning::without_terminal(text, Some(remedy)))
}

/// Warns of terminals whose advertised private addresses this host reaches otherwise than by its default route.
fn nearer(
    streams: impl Iterator<Item = Stream>,
    kinds: &BTreeMap<Prefix, u32>,
) -> impl Iterator<Item = Warning> {
    let mut seen = BTreeSet::new();
    streams.filter_map(move |stream| {
        let (ip, learned) = (stream.advertised.ip(), stream.learned?.ip());
        let is_private = Endpoint::from(stream.advertised).is_private();
        if stream.rewrite || !is_private || ip == learned || !seen.insert((ip, learned)) {
            return None;
        }
        let kind = kind_of(kinds, ip);
        let where_to = match address::place(kind) {
            0 if kind & address::ROUTED != 0 => "to which this host has a route of its own",
            0 => return None,
            address::LOCAL => "which is this host's own, too",
            _ => "which lies in a subnet of this host",
        };
        let text = format!(
            "{} advertises {ip} for its media, {where_to}: they are left alone",
            stream.terminal.as_deref().unwrap_or("a terminal")
        );
        let remedy = format!(
            "if {learned} is not in that network: sipnat policy set {learned} force; see docs/media.md"
        );
        Some(Warning::without_terminal(text, Some(remedy)))
    })
}

/// Returns the kind of an address, by the longest prefix; 0 if no prefix holds it.
fn kind_of(kinds: &BTreeMap<Prefix, u32>, ip: IpAddr) -> u32 {
    let holding = kinds.iter().filter_map(|(prefix, kind)| match prefix {
        Prefix::Net(net) if net.contains(&ip) => Some((net.prefix_len(), *kind)),
        _ => None,
    });
    holding.max().map_or(0, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn texts(warnings: impl IntoIterator<Item = Warning>) -> Vec<String> {
        warnings.into_iter().map(|warning| warning.text).collect()
    }

    #[test]
    fn other_hosts_that_the_pbx_names_are_warned_of() {
        let record = |host, event| {
            let mut record = Record {
                verdict: described::VERDICT,
                events: 1 << event as u32,
                ..Record::default()
            };
            record.set_learned(&Endpoint::v4([192, 0, 2, host], 20_000));
            record
        };
        let direct = |records: &[Record]| texts(direct(records, &[at("192.0.2.1:0").ip()]));
        let of = |host| record(host, MediaCounter::Direct);
        assert_eq!(direct(&[]), [""; 0]);
        assert_eq!(direct(&[of(1), record(2, MediaCounter::Bound)]), [""; 0]);
        let other = Record {
            verdict: 0,
            ..of(2)
        };
        assert_eq!(direct(&[other]), [""; 0]);
        let one = direct(&[of(2), of(2)]);
        assert!(
            one[0].starts_with("the PBX names 192.0.2.2 for its media, in 2 "),
            "{one:?}"
        );
        let two = direct(&[of(3), of(2), of(3)]);
        assert!(
            two[0].starts_with("the PBX names 192.0.2.3, or 1 other hosts, for"),
            "{two:?}"
        );
    }

    #[test]
    fn hosts_connected_by_tcp_are_warned_of() {
        let config = Config {
            ports: [5060, 5080, 0, 0, 0, 0, 0, 0],
            ..Config::default()
        };
        let by_tcp = |pairs: &[[&str; 2]]| {
            let pairs: Vec<_> = pairs.iter().map(|[a, b]| (at(a), at(b))).collect();
            texts(by_tcp(&config, &pairs))
        };
        let (phone, here) = ("198.51.100.7:40000", "203.0.113.10:5061");
        assert_eq!(
            by_tcp(&[
                ["203.0.113.10:22", phone],
                ["127.0.0.1:5060", "127.0.0.1:9"]
            ]),
            [""; 0]
        );
        assert!(
            by_tcp(&[[here, phone], [here, phone]])[0].starts_with("198.51.100.7 is connected")
        );
        let two = by_tcp(&[[here, phone], ["203.0.113.10:5080", "198.51.100.8:1"]]);
        assert!(
            two[0].starts_with("198.51.100.7 and 1 other hosts are"),
            "{two:?}"
        );
    }

    #[test]
    fn private_addresses_with_a_way_of_their_own_are_warned_of() {
        let kinds: BTreeMap<Prefix, u32> = [
            ("192.168.0.0/16", address::ROUTED),
            ("192.168.1.0/24", address::on_link(2)),
            ("192.168.1.9/32", address::LOCAL),
        ]
        .into_iter()
        .map(|(prefix, kind)| (prefix.parse().unwrap(), kind))
        .collect();
        let stream = |advertised: &str, rewrite| {
            let mut stream = Stream::example(at(advertised));
            stream.rewrite = rewrite;
            stream.learned = Some(at("60.17.196.2:50000"));
            stream
        };
        let nearer = |all: Vec<Stream>| texts(nearer(all.into_iter(), &kinds));
        for (advertised, words) in [
            ("192.168.2.9:4000", "a route of its own"),
            ("192.168.1.10:4000", "a subnet of this host"),
            ("192.168.1.9:4000", "this host's own, too"),
        ] {
            let found = nearer(vec![stream(advertised, false), stream(advertised, false)]);
            assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
            assert_eq!(nearer(vec![stream(advertised, true)]), [""; 0]);
        }
        for advertised in ["10.0.0.1:4000", "198.51.100.7:4000", "60.17.196.2:4000"] {
            assert_eq!(nearer(vec![stream(advertised, false)]), [""; 0]);
        }
    }
}
