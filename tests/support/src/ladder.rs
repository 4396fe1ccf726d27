//! Draws captured SIP, and STUN beside it, as a call ladder.
//!
//! ```text
//! phone                   router                ISP       PBX
//! 192.168.1.10:5060 ────▶ 60.17.196.2:49163 ─────┼─────▶ :5060  INVITE
//!                         60.17.196.2:5060       ✗ ◀──── :5060  re-INVITE sip:1000@60.17.196.2
//! ```

use std::{
    fmt::{self, Write as _},
    net::SocketAddrV4,
    time::Duration,
};

use crate::{
    capture::{Direction, Packet, Tap},
    sip::{Message, uri_host_port},
    stun,
};

/// Longest time between two captures of one packet.
const TRANSIT: Duration = Duration::from_millis(400);
const ADDRESS: usize = 17;

/// Style of the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// Lost packets in red, redirected ones in green.
    Colour,
}

/// Paths of all messages of a capture, ready to be drawn.
#[derive(Debug)]
pub struct Ladder {
    journeys: Vec<Journey>,
    style: Style,
}

/// Path of one message through the lab.
#[derive(Debug, PartialEq)]
struct Journey {
    from_pbx: bool,
    /// The phone's own address, at which the message was sent or received.
    phone: Option<SocketAddrV4>,
    /// The outer address at the router: source of a message of the phone, destination of a message of the PBX.
    outer: Option<SocketAddrV4>,
    /// Whether the message has passed the router; false without a router.
    routed: bool,
    pbx_port: Option<u16>,
    label: String,
    redirected: bool,
    times: usize,
}

impl Ladder {
    /// Follows every message of `packets`, which must be in order of time.
    pub fn new(packets: &[Packet], style: Style) -> Self {
        let mut sightings: Vec<(&Packet, Message)> = packets
            .iter()
            .filter_map(|packet| Some((packet, packet.sip()?)))
            .collect();
        let mut all = stun_journeys(packets);
        while !sightings.is_empty() {
            let (first, message) = sightings.remove(0);
            let mut follow = |direction, wanted: fn(Tap) -> bool| {
                let index = sightings.iter().position(|(packet, other)| {
                    packet.direction == direction
                        && wanted(packet.tap)
                        && packet.time <= first.time + TRANSIT
                        && identity(other) == identity(&message)
                })?;
                Some(sightings.remove(index))
            };
            let journey = match (first.tap, first.direction) {
                (Tap::Pbx, Direction::Out) => {
                    let router = follow(Direction::In, |tap| matches!(tap, Tap::Router(_)));
                    let phone = follow(Direction::In, is_end);
                    let strayed = follow(Direction::In, |tap| tap == Tap::OtherGateway);
                    let suffix = if strayed.is_some() {
                        " (to the other gateway)"
                    } else {
                        ""
                    };
                    let redirected = is_redirected(&message, first.destination);
                    let suffix = if redirected { " (redirected)" } else { suffix };
                    Journey {
                        from_pbx: true,
                        phone: phone.map(|(packet, _)| packet.destination),
                        outer: Some(first.destination),
                        routed: router.is_some(),
                        pbx_port: Some(first.source.port()),
                        label: label(&message, true) + suffix,
                        redirected,
                        times: 1,
                    }
                }
                (tap, Direction::Out) if is_end(tap) => {
                    let router = follow(Direction::Out, |tap| matches!(tap, Tap::Router(_)));
                    let pbx = follow(Direction::In, |tap| tap == Tap::Pbx);
                    // The last capture has the final text.
                    let seen = pbx
                        .as_ref()
                        .or(router.as_ref())
                        .map_or(&message, |(_, message)| message);
                    Journey {
                        from_pbx: false,
                        phone: Some(first.source),
                        label: label(seen, false),
                        outer: router.as_ref().map(|(packet, _)| packet.source),
                        routed: router.is_some(),
                        pbx_port: pbx.map(|(packet, _)| packet.destination.port()),
                        redirected: false,
                        times: 1,
                    }
                }
                // The start of its path was not captured.
                _ => continue,
            };
            all.push((first.time, journey));
        }
        all.sort_by_key(|(time, _)| *time);
        let mut journeys: Vec<Journey> = Vec::new();
        for (_, journey) in all {
            match journeys
                .iter_mut()
                .rev()
                .find(|other| journey.repeats(other))
            {
                Some(other) => other.times += 1,
                None => journeys.push(journey),
            }
        }
        Self { journeys, style }
    }
}

impl Journey {
    /// Whether it is a retransmission with the same path.
    fn repeats(&self, other: &Self) -> bool {
        Self {
            times: 0,
            ..self.clone_ends()
        } == Self {
            times: 0,
            ..other.clone_ends()
        }
    }

    fn clone_ends(&self) -> Self {
        Self {
            label: self.label.clone(),
            ..*self
        }
    }

    fn arrived(&self) -> bool {
        if self.from_pbx {
            self.phone.is_some()
        } else {
            self.pbx_port.is_some()
        }
    }
}

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:ADDRESS$}       {:ADDRESS$}       ISP     PBX",
            "phone", "router"
        )?;
        for journey in &self.journeys {
            let mut line = String::new();
            let cell = |address: Option<SocketAddrV4>| {
                address
                    .map(|address| address.to_string())
                    .unwrap_or_default()
            };
            let port = journey
                .pbx_port
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            let near = match (journey.from_pbx, journey.phone.is_some(), journey.routed) {
                (false, _, true) => "────▶",
                (false, _, false) if journey.arrived() => "─────",
                (false, ..) => "──▶ ✗",
                (true, true, true) => "◀────",
                (true, true, false) => "─────",
                (true, false, true) => "✗ ◀──",
                (true, false, false) => "     ",
            };
            // Without a router, the line goes through its column.
            let middle = match (journey.routed, journey.arrived(), journey.outer) {
                (false, true, _) => "─".repeat(ADDRESS),
                (_, _, outer) => cell(outer),
            };
            let far = match (journey.from_pbx, journey.routed || journey.arrived()) {
                (true, true) => "◀────┼─────",
                (true, false) => "     ✗ ◀───",
                (false, _) if journey.arrived() => "─────┼────▶",
                (false, true) => "───▶ ✗     ",
                (false, false) => "           ",
            };
            let join = if middle.starts_with('─') {
                "─"
            } else {
                " "
            };
            write!(
                line,
                "{:ADDRESS$} {near}{join}{middle:ADDRESS$}{join}{far} {port:5}  {}",
                cell(journey.phone),
                journey.label
            )?;
            if journey.times > 1 {
                write!(line, " ×{}", journey.times)?;
            }
            match (self.style, journey.arrived(), journey.redirected) {
                (Style::Colour, false, _) => writeln!(f, "\x1b[31m{line}\x1b[0m")?,
                (Style::Colour, true, true) => writeln!(f, "\x1b[32m{line}\x1b[0m")?,
                _ => writeln!(f, "{line}")?,
            }
        }
        Ok(())
    }
}

/// Returns the paths of STUN requests and their answers, each with its time. sipnat answers before a capture on its
/// own interface sees the request, so an answered request has arrived.
fn stun_journeys(packets: &[Packet]) -> Vec<(Duration, Journey)> {
    let mut journeys = Vec::new();
    let requests = packets.iter().filter(|packet| {
        packet.direction == Direction::Out
            && is_end(packet.tap)
            && stun::is_request(&packet.payload)
    });
    for request in requests {
        let seen = |direction, wanted: fn(Tap) -> bool| {
            packets.iter().find(|packet| {
                packet.direction == direction
                    && wanted(packet.tap)
                    && (request.time..=request.time + TRANSIT).contains(&packet.time)
                    && stun::transaction(&packet.payload) == stun::transaction(&request.payload)
            })
        };
        let is_router: fn(Tap) -> bool = |tap| matches!(tap, Tap::Router(_));
        let (sent, told) = (seen(Direction::Out, is_router), seen(Direction::In, is_end));
        let answer = seen(Direction::In, is_router).or(told);
        let arrived = answer.is_some() || seen(Direction::In, |tap| tap == Tap::Pbx).is_some();
        let asking = Journey {
            from_pbx: false,
            phone: Some(request.source),
            outer: sent.map(|packet| packet.source),
            routed: sent.is_some(),
            pbx_port: arrived.then_some(request.destination.port()),
            label: "STUN Binding request".to_owned(),
            redirected: false,
            times: 1,
        };
        journeys.push((request.time, asking));
        let Some(answer) = answer else { continue };
        let label = match stun::mapped(&answer.payload) {
            Some(address) => format!("STUN Binding response: {address}"),
            None => "STUN error response".to_owned(),
        };
        let telling = Journey {
            from_pbx: true,
            phone: told.map(|packet| packet.destination),
            outer: Some(answer.destination),
            routed: is_router(answer.tap),
            pbx_port: Some(answer.source.port()),
            label,
            redirected: false,
            times: 1,
        };
        journeys.push((answer.time, telling));
    }
    journeys
}

fn is_end(tap: Tap) -> bool {
    matches!(tap, Tap::Phone(..) | Tap::Public | Tap::Neighbour)
}

/// Returns the parts of a message that stay the same on every hop, ALGs included.
fn identity(message: &Message) -> impl PartialEq {
    let (number, method) = message.cseq();
    let ids = [
        message.method(),
        method,
        message.call_id(),
        message.branch(),
    ];
    (ids.map(str::to_owned), number, message.status())
}

/// Whether a request of the PBX goes to another address than its Request-URI.
fn is_redirected(message: &Message, destination: SocketAddrV4) -> bool {
    message.is_request()
        && uri_host_port(message.request_uri())
            .is_some_and(|target| target.address() != destination)
}

fn label(message: &Message, from_pbx: bool) -> String {
    let method = message.method();
    match message.status() {
        Some(_) => format!("{} ({method})", &message.start["SIP/2.0 ".len()..]),
        None => {
            let again = if method == "INVITE" && message.is_in_dialog() {
                "re-"
            } else {
                ""
            };
            let contact = message
                .contact()
                .filter(|_| ["INVITE", "REGISTER"].contains(&method));
            match contact {
                _ if from_pbx => format!("{again}{method} {}", message.request_uri()),
                Some(contact) => format!("{again}{method}, Contact: <{contact}>"),
                None => format!("{again}{method}"),
            }
        }
    }
}
