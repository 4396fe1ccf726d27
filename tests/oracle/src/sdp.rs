//! Reference parser for session descriptions: the `sdp-types` crate, and RFC 8866's rules for the values that it leaves as
//! text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nat_common::sdp::{Description, Kind, LineFlags, MAX_LINES, MediaLine, Transport};
use sdp_types::{AddrType, Attribute, Connection, Media, NetType, Session};

/// Returns the `m=` lines of a description, and their number. `None` if `sdp-types` refuses it, or if a line of it can be
/// read in two ways.
pub fn parsed(body: &[u8]) -> Option<(Vec<MediaLine>, usize)> {
    let session = Session::parse(body).ok()?;
    let lines = session.medias.iter().take(MAX_LINES);
    let lines = lines.map(|media| line(&session, media)).collect();
    Some((lines, session.medias.len()))
}

/// Returns an `m=` line. Lines that are to be left alone have the flag alone.
fn line(session: &Session, media: &Media) -> MediaLine {
    let mut line = MediaLine {
        kind: kind(&media.media),
        transport: transport(&media.proto),
        ..MediaLine::default()
    };
    let one_address = media.connections.len() < 2;
    if media.num_ports.is_some() || !one_address || media.fmt.is_empty() {
        return unreadable();
    }
    line.port = media.port;
    let connection = media.connections.first().or(session.connection.as_ref());
    line.addr = connection.map(address).unwrap_or_default();
    line.rtcp = match media.port {
        0 => 0,
        port => port.wrapping_add(1),
    };
    let is_ice = |attribute: &Attribute| attribute.attribute == "ice-ufrag";
    let ice = session.attributes.iter().chain(&media.attributes);
    line.flags.set(LineFlags::ICE, ice.into_iter().any(is_ice));
    let direction = direction(&media.attributes).or(direction(&session.attributes));
    line.flags |= direction.unwrap_or_default();
    for Attribute { attribute, value } in &media.attributes {
        match (attribute.as_str(), value) {
            ("rtcp-mux", None) => line.flags |= LineFlags::MUX,
            ("rtcp", Some(value)) => {
                let (port, rest) = value.split_once(' ').unwrap_or((value, ""));
                line.rtcp = port.parse().ok().unwrap_or(line.rtcp);
                let named = rest
                    .rsplit(' ')
                    .next()
                    .and_then(|host| host.split('/').next());
                let named = named.filter(|host| !host.is_empty());
                let other = |host| numeric(host) == [0; 2] || numeric(host) != line.addr;
                if named.is_some_and(other) {
                    line.flags |= LineFlags::RTCP_ELSEWHERE;
                }
            }
            _ => {}
        }
    }
    line
}

/// Whether a description has the lines that [`parsed`] found. Of a line that is to be left alone, nothing else matters.
pub fn agrees(ours: &Description, lines: &[MediaLine], count: usize) -> bool {
    let alone = |line: &MediaLine| line.flags.contains(LineFlags::UNREADABLE);
    let same = |(ours, line): (&MediaLine, &MediaLine)| alone(ours) || ours == line;
    usize::from(ours.count) == count.min(255) && ours.lines.iter().zip(lines).all(same)
}

/// Returns a line that is to be left alone.
fn unreadable() -> MediaLine {
    MediaLine {
        flags: LineFlags::UNREADABLE,
        ..MediaLine::default()
    }
}

fn kind(media: &str) -> Kind {
    match media {
        "audio" => Kind::Audio,
        "video" => Kind::Video,
        "image" => Kind::Image,
        "text" => Kind::Text,
        "application" => Kind::Application,
        _ => Kind::Other,
    }
}

fn transport(proto: &str) -> Transport {
    match proto.to_ascii_uppercase().as_str() {
        "RTP/AVP" | "RTP/AVPF" | "RTP/SAVP" | "RTP/SAVPF" | "UDP/TLS/RTP/SAVP"
        | "UDP/TLS/RTP/SAVPF" => Transport::Rtp,
        "UDPTL" => Transport::Udptl,
        _ => Transport::Other,
    }
}

fn address(connection: &Connection) -> [u64; 2] {
    let host = connection.connection_address.split('/').next();
    let host = host.unwrap_or_default();
    let right = match connection.addrtype {
        AddrType::Ip4 => host.parse::<Ipv4Addr>().is_ok(),
        AddrType::Ip6 => host.parse::<Ipv6Addr>().is_ok(),
        _ => false,
    };
    if right && connection.nettype == NetType::In {
        numeric(host)
    } else {
        [0; 2]
    }
}

/// Returns a numeric address as a line has it; zero for any other.
fn numeric(host: &str) -> [u64; 2] {
    let Ok(ip) = host.parse::<IpAddr>() else {
        return [0; 2];
    };
    if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return [0; 2];
    }
    let bytes = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    [word(0), word(8)]
}

fn direction(attributes: &[Attribute]) -> Option<LineFlags> {
    let of = |attribute: &Attribute| match attribute.attribute.as_str() {
        "sendrecv" => Some(LineFlags::empty()),
        "sendonly" => Some(LineFlags::NO_RECEIVE),
        "recvonly" => Some(LineFlags::NO_SEND),
        "inactive" => Some(LineFlags::NO_SEND | LineFlags::NO_RECEIVE),
        _ => None,
    };
    attributes.iter().rev().find_map(of)
}
