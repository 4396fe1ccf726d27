//! `sipnat stun-query`: our address and port, as a STUN server sees them.

use std::{
    fmt,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::{commands::ports::port, view::output};

use self::client::{Refusal, Reply, Style};

mod client;

/// Arguments of `sipnat stun-query`.
#[derive(Debug, Args)]
pub struct StunQuery {
    /// STUN server; the default port is 3478
    #[arg(value_name = "HOST[:PORT]", value_parser = server)]
    server: Server,
    /// Ask by IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Ask by IPv6 only
    #[arg(short = '6')]
    ipv6: bool,
    /// Ask from this UDP port
    #[arg(long, value_name = "PORT", value_parser = port)]
    local_port: Option<u16>,
    /// Ask by RFC 3489, like old phones
    #[arg(long)]
    rfc3489: bool,
    /// Time to wait for an answer; requests are repeated meanwhile (RFC 8489 6.2.1)
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "10",
        value_parser = clap::value_parser!(u64).range(1..=40)
    )]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A query.
#[derive(Clone, Debug)]
struct Query {
    server: Server,
    /// Family of the address; none: the first that the server has.
    family: Option<Family>,
    /// Local port; 0: any.
    local_port: u16,
    /// Leave out the magic cookie, which came with RFC 5389.
    rfc3489: bool,
    /// Time to wait for an answer.
    patience: Duration,
    /// Print JSON.
    json: bool,
}

impl From<StunQuery> for Query {
    fn from(query: StunQuery) -> Self {
        Self {
            server: query.server,
            family: match (query.ipv4, query.ipv6) {
                (true, _) => Some(Family::V4),
                (_, true) => Some(Family::V6),
                _ => None,
            },
            local_port: query.local_port.unwrap_or(0),
            rfc3489: query.rfc3489,
            patience: Duration::from_secs(query.timeout),
            json: query.json,
        }
    }
}

fn server(text: &str) -> Result<Server, &'static str> {
    text.parse()
}

impl StunQuery {
    /// Asks, and prints the answer.
    ///
    /// # Errors
    /// If there is none, or it is an error.
    pub fn run(self) -> Result<()> {
        ask(&self.into())
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A host by name or address, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
}

/// The port of STUN (RFC 8489 18.6).
const PORT: u16 = 3478;

impl FromStr for Server {
    type Err = &'static str;

    /// Parses `host`, `host:port`, an IPv6 address, or `[address]:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, ""))) => (host, None),
            Some(Some((host, port))) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
            Some(None) => ("", None),
            // More than one colon: an IPv6 address.
            None => match text.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        let port = port.map_or(Ok(PORT), str::parse);
        match port {
            Ok(port @ 1..) if !host.is_empty() => Ok(Self {
                host: host.into(),
                port,
            }),
            _ => {
                Err("a server is HOST or HOST:PORT; an IPv6 address with a port is [ADDRESS]:PORT")
            }
        }
    }
}

impl Server {
    fn resolve(&self, family: Option<Family>) -> Result<SocketAddr> {
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .with_context(|| format!("cannot find {}", self.host))?;
        let (name, fits): (_, fn(&SocketAddr) -> bool) = match family {
            None => ("", |_| true),
            Some(Family::V4) => ("IPv4 ", SocketAddr::is_ipv4),
            Some(Family::V6) => ("IPv6 ", SocketAddr::is_ipv6),
        };
        addresses
            .into_iter()
            .find(fits)
            .with_context(|| format!("{} has no {name}address", self.host))
    }
}

/// The answer of a server.
#[derive(Debug, PartialEq, Serialize)]
struct Report {
    server: SocketAddr,
    local: SocketAddr,
    /// Our address, as the server sees it.
    mapped: Option<SocketAddr>,
    /// Set if it is not the local one.
    nat: Option<bool>,
    /// MAPPED-ADDRESS, if a NAT on the path has changed it.
    changed_on_the_way: Option<SocketAddr>,
    software: Option<String>,
    requests: u32,
    round_trip_ms: f64,
    error: Option<Refusal>,
}

/// Asks, and prints the answer.
fn ask(options: &Query) -> Result<()> {
    let server = options.server.resolve(options.family)?;
    let socket = open(server, options.local_port)?;
    let style = if options.rfc3489 {
        Style::Rfc3489
    } else {
        Style::Rfc8489
    };
    let reply =
        client::ask(&socket, style, options.patience).with_context(|| format!("{server}"))?;
    let report = Report::new(server, socket.local_addr()?, reply);
    if options.json {
        output::json(&report)?;
    } else {
        output::print(&report.to_string())?;
    }
    match report.error {
        Some(error) => bail!("{server} answers {} {}", error.code, error.reason),
        None => Ok(()),
    }
}

/// Opens a socket that is connected to the server: it has the local address of that route, and receives from nobody else.
fn open(server: SocketAddr, port: u16) -> Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, port)).map_err(|error| {
        let taken = error.kind() == ErrorKind::AddrInUse;
        let error = anyhow::Error::from(error);
        if taken {
            error.context(format!(
                "local port {port} is in use: by a phone that runs here?"
            ))
        } else {
            error.context(format!("cannot use local port {port}"))
        }
    })?;
    socket
        .connect(server)
        .with_context(|| format!("cannot reach {server}"))?;
    Ok(socket)
}

impl Report {
    fn new(server: SocketAddr, local: SocketAddr, reply: Reply) -> Self {
        let answer = reply.answer;
        let mapped = answer.mapped.or(answer.plain);
        Self {
            server,
            local,
            mapped,
            nat: mapped.map(|mapped| !is_same(mapped, local)),
            changed_on_the_way: answer.plain.filter(|plain| Some(*plain) != mapped),
            software: answer.software,
            requests: reply.requests,
            round_trip_ms: (reply.round_trip.as_secs_f64() * 1e5).round() / 100.0,
            error: answer.error,
        }
    }

    fn nat(mapped: SocketAddr, local: SocketAddr) -> &'static str {
        match (mapped.ip() == local.ip(), mapped.port() == local.port()) {
            (true, true) => "none",
            (true, false) => "yes, changes the port",
            (false, true) => "yes, keeps the port",
            (false, false) => "yes, changes address and port",
        }
    }
}

/// Whether two addresses and ports are the same. The local one may have a scope, too.
fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    (a.ip(), a.port()) == (b.ip(), b.port())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<11} {value}");
        line("server", &self.server.to_string())?;
        if let Some(software) = &self.software {
            line("software", software)?;
        }
        line("local", &self.local.to_string())?;
        if let Some(mapped) = self.mapped {
            line("mapped", &mapped.to_string())?;
            line("NAT", Self::nat(mapped, self.local))?;
        }
        if let Some(changed) = self.changed_on_the_way {
            let text = "in clear text: something on the way changes addresses inside packets";
            line("", &format!("{changed} {text}"))?;
        }
        if let Some(error) = &self.error {
            line("error", &format!("{} {}", error.code, error.reason))?;
            if !error.unknown_attributes.is_empty() {
                line("unknown", &error.unknown_attributes.join(", "))?;
            }
        }
        let requests = match self.requests {
            1 => String::new(),
            n => format!(", of the last of {n} requests"),
        };
        line(
            "round trip",
            &format!("{} ms{requests}", self.round_trip_ms),
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::client::{Answer, tests as servers};
    use super::*;

    #[derive(Debug, Parser)]
    struct Parsed {
        #[command(flatten)]
        query: StunQuery,
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn servers_are_named_in_many_ways() {
        for (text, host, port) in [
            ("pbx.example.com", "pbx.example.com", 3478),
            ("pbx.example.com:5060", "pbx.example.com", 5060),
            ("203.0.113.10:5060", "203.0.113.10", 5060),
            ("::1", "::1", 3478),
            ("[::1]", "::1", 3478),
            ("[::1]:5060", "::1", 5060),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{text}");
        }
        for text in [
            "", ":3478", "a:", "a:0", "a:65536", "[::1", "[]:1", "[::1]x",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_family_can_be_chosen() {
        let resolve = |text: &str, family| text.parse::<Server>().unwrap().resolve(family);
        assert_eq!(resolve("[::1]:9", None).unwrap(), addr("[::1]:9"));
        assert!(resolve("::1", Some(Family::V6)).is_ok());
        let error = resolve("::1", Some(Family::V4)).unwrap_err();
        assert_eq!(error.to_string(), "::1 has no IPv4 address");
    }

    fn report(mapped: &str, plain: Option<&str>) -> Report {
        let reply = Reply {
            answer: Answer {
                mapped: Some(addr(mapped)),
                plain: plain.map(addr),
                software: Some("sipnat".into()),
                error: None,
            },
            requests: 1,
            round_trip: Duration::from_micros(1234),
        };
        Report::new(addr("203.0.113.10:3478"), addr("192.168.1.10:5060"), reply)
    }

    #[test]
    fn a_report_says_whether_there_is_a_nat() {
        let lines = |report: Report| report.to_string();
        assert_eq!(
            lines(report("60.17.196.2:49163", None)),
            "server      203.0.113.10:3478\n\
             software    sipnat\n\
             local       192.168.1.10:5060\n\
             mapped      60.17.196.2:49163\n\
             NAT         yes, changes address and port\n\
             round trip  1.23 ms\n"
        );
        for (mapped, nat) in [
            ("192.168.1.10:5060", "none"),
            ("192.168.1.10:5061", "yes, changes the port"),
            ("60.17.196.2:5060", "yes, keeps the port"),
        ] {
            let report = report(mapped, None);
            assert_eq!(report.nat, Some(nat != "none"));
            assert!(lines(report).contains(&format!("NAT         {nat}\n")));
        }
        let meddled = report("60.17.196.2:49163", Some("192.168.1.10:5060"));
        assert_eq!(meddled.changed_on_the_way, Some(addr("192.168.1.10:5060")));
        let left = report("60.17.196.2:49163", Some("60.17.196.2:49163"));
        assert_eq!(left.changed_on_the_way, None);
    }

    #[test]
    fn an_error_is_shown_and_is_a_failure() {
        let (server, _thread) = servers::server([servers::unknown_attribute as fn(&_, _) -> _]);
        let options = Query {
            server: server.to_string().parse().unwrap(),
            family: None,
            local_port: 0,
            rfc3489: false,
            patience: Duration::from_secs(20),
            json: true,
        };
        let error = ask(&options).unwrap_err().to_string();
        assert_eq!(error, format!("{server} answers 420 Unknown Attribute"));
        let mut report = report("60.17.196.2:49163", None);
        report.error = Some(Refusal {
            code: 420,
            reason: "Unknown Attribute".into(),
            unknown_attributes: vec!["0x0003".into(), "0x7fff".into()],
        });
        let text = report.to_string();
        assert!(text.contains("error       420 Unknown Attribute\nunknown     0x0003, 0x7fff\n"));
    }

    #[test]
    fn a_local_port_in_use_is_explained() {
        let phone = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = phone.local_addr().unwrap().port();
        let error = open(addr("127.0.0.1:9"), port).unwrap_err().to_string();
        assert!(
            error.contains(&format!("local port {port} is in use")),
            "{error}"
        );
        drop(phone);
        let socket = open(addr("127.0.0.1:9"), port).unwrap();
        assert_eq!(
            socket.local_addr().unwrap(),
            SocketAddr::from(([127, 0, 0, 1], port))
        );
    }

    #[test]
    fn a_stun_query_has_defaults_and_bounds() {
        let query = |line: &str| {
            let args = line.split(' ').skip(1);
            Parsed::try_parse_from(args)
                .map(|query| Query::from(query.query))
                .map_err(|error| error.to_string())
        };
        let plain = query("sipnat stun-query a").unwrap();
        assert_eq!(plain.server, "a:3478".parse().unwrap());
        assert_eq!((plain.family, plain.local_port), (None, 0));
        assert_eq!((plain.patience.as_secs(), plain.rfc3489), (10, false));
        let line = "sipnat stun-query [::1]:5060 -6 --local-port 5060 --rfc3489 --timeout 3";
        let full = query(line).unwrap();
        assert_eq!((full.family, full.local_port), (Some(Family::V6), 5060));
        assert_eq!((full.patience.as_secs(), full.rfc3489), (3, true));
        for wrong in ["a:b", "a -4 -6", "a --timeout 0", "a --timeout 41"] {
            assert!(
                query(&format!("sipnat stun-query {wrong}")).is_err(),
                "{wrong}"
            );
        }
    }
}
