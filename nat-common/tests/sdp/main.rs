//! Tables and properties for the scanner of session descriptions.

mod bodies;
mod headers;
mod lines;
mod property;
mod walk;

use nat_common::endpoint::Endpoint;
use nat_common::sdp::{Description, MediaLine, NoDescription};

/// Returns a SIP message with a description as its body.
fn message(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "INVITE sip:2000@pbx SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.10;branch=z9hG4bK1\r\n\
         Content-Type: application/sdp\r\nMax-Forwards: 70\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn read(body: &str) -> Result<Description, NoDescription> {
    walk::read_twice(&message(body)).0
}

/// Reads a description with lines of a session before the given ones.
fn lines(lines: &[&str]) -> Description {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\n{}\r\n",
        lines.join("\r\n")
    );
    read(&body).unwrap_or_else(|why| panic!("{why}: {body}"))
}

/// Returns address and port of the media of a line; no address is shown as unknown.
fn media(line: &MediaLine) -> String {
    show(line.media())
}

fn show(endpoint: Endpoint) -> String {
    if endpoint.addr == [0; 2] {
        return format!("?:{}", endpoint.port);
    }
    if endpoint.is_v4() {
        let [a, b, c, d] = endpoint.as_v4();
        return format!("{a}.{b}.{c}.{d}:{}", endpoint.port);
    }
    let [high, low] = endpoint.addr.map(u64::from_be);
    let ip = std::net::Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
    format!("[{ip}]:{}", endpoint.port)
}
