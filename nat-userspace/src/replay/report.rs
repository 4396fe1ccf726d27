//! What a replay has found, for people and for programs.

use std::net::IpAddr;

use jiff::{Timestamp, tz::TimeZone};
use nat_common::abi::{Counter, MediaCounter};
use serde::{Serialize, Serializer};

use crate::{
    host::capture::End,
    view::{
        output::{self, Columns},
        rows::{self, Row},
        story::Story,
    },
};

/// Everything that a replay has found.
#[derive(Serialize)]
pub struct Report {
    pub(super) file: String,
    /// Number of packets in the capture.
    pub(super) packets: usize,
    /// Times of the first packet, and the latest time.
    pub(super) times: Option<[Timestamp; 2]>,
    /// Link layers.
    pub(super) links: Vec<String>,
    /// Number of the packet within which the file ends.
    #[serde(rename = "ends_within_packet", serialize_with = "end")]
    pub(super) end: End,
    pub(super) pbx: Pbx,
    /// Subnets on the PBX's own link.
    pub(super) on_link: Vec<String>,
    #[serde(skip)]
    pub(super) settle: u32,
    /// Packets that were not replayed.
    pub(super) left_out: Vec<LeftOut>,
    /// Number of SIP messages of the PBX.
    #[serde(rename = "sip_of_pbx")]
    pub(super) sent: u64,
    /// Calls, and other Call-IDs.
    pub(super) calls: Vec<Story>,
    /// Bindings behind the last packet.
    pub(super) bindings: Vec<Row>,
    /// Verdicts and events.
    pub(super) counters: Vec<Counted>,
}

/// The PBX.
#[derive(Serialize)]
pub(super) struct Pbx {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: Vec<u16>,
    /// Number of SIP messages by which it was guessed; none if it was named.
    pub(super) guessed_by: Option<usize>,
}

/// Packets, or events, of one counter.
#[derive(Serialize)]
pub(super) struct Counted {
    name: &'static str,
    pub(super) packets: u64,
    /// Number of the first packet; none for events of media.
    first: Option<usize>,
    why: &'static str,
    #[serde(skip)]
    counter: Option<Counter>,
}

impl Counted {
    pub(super) const fn new(counter: Counter, first: usize) -> Self {
        Self {
            name: counter.name(),
            packets: 0,
            first: Some(first),
            why: counter.help(),
            counter: Some(counter),
        }
    }

    pub(super) const fn of_media(counter: MediaCounter, packets: u64) -> Self {
        Self {
            name: counter.name(),
            packets,
            first: None,
            why: counter.help(),
            counter: None,
        }
    }
}

/// Reason for which packets are not replayed, or not at their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    /// The capture holds a part of it.
    Cut,
    /// Neither from nor to the PBX.
    NotOfPbx,
    /// From the PBX and to it.
    ToItself,
    /// No IP packet, or in a link layer without a reader.
    NotIp,
    /// The kernel takes no such frame.
    Length,
    /// Replayed, but at the time of the packet before it.
    Late,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::Cut => {
                "cut short in the capture: not replayed. Capture whole packets: tcpdump -s 0"
            }
            Self::NotOfPbx => "neither from nor to the PBX: not replayed",
            Self::ToItself => "from the PBX to itself: not replayed",
            Self::NotIp => "no IP packet, or a link layer that cannot be read: not replayed",
            Self::Length => "too short or too long for the kernel's test run: not replayed",
            Self::Late => "older than one before it: replayed at the time of that one",
        }
    }
}

/// Packets that are not replayed.
#[derive(Serialize)]
pub(super) struct LeftOut {
    pub(super) reason: Reason,
    pub(super) packets: usize,
    /// Number of the first.
    pub(super) first: usize,
}

fn end<S: Serializer>(end: &End, serializer: S) -> Result<S::Ok, S::Error> {
    let within = match end {
        End::Whole => None,
        End::Within(number) => Some(number),
    };
    within.serialize(serializer)
}

impl Report {
    /// Renders it as text.
    #[must_use]
    pub fn render(&self, zone: &TimeZone) -> String {
        let mut parts = self.head(zone);
        for call in &self.calls {
            parts.push(String::new());
            parts.push(call.render(zone));
        }
        if !self.bindings.is_empty() {
            parts.push("\nterminals at the end".into());
            parts.push(rows::table(&self.bindings));
        }
        if !self.counters.is_empty() {
            let rows = self.counters.iter().map(|counted| {
                [
                    counted.name.to_owned(),
                    counted.packets.to_string(),
                    counted
                        .first
                        .map_or_else(|| "-".into(), |number| number.to_string()),
                    counted.why.to_owned(),
                ]
            });
            parts.push("\npackets".into());
            let columns = Columns::new(["COUNTER", "PACKETS", "FIRST", "WHY"], &[1, 2]);
            parts.push(output::table(columns, rows));
        }
        parts.push(format!("\n{}", self.conclusion()));
        parts.join("\n")
    }

    /// Describes the capture, and what is assumed.
    fn head(&self, zone: &TimeZone) -> Vec<String> {
        let Self {
            file,
            packets,
            links,
            ..
        } = self;
        let mut first = format!("{file}: {}, {}", packets_of(*packets), links.join(", "));
        if let Some([from, until]) = self.times {
            let seconds = until.duration_since(from).as_millis() as f64 / 1000.0;
            let from = from.to_zoned(zone.clone()).strftime("%F %H:%M:%S%.3f");
            first.push_str(&format!(", {seconds} s from {from}"));
        }
        let list = |items: Vec<String>| items.join(", ");
        let addresses = list(self.pbx.addresses.iter().map(ToString::to_string).collect());
        let ports = list(self.pbx.ports.iter().map(ToString::to_string).collect());
        let mut pbx = format!("PBX: {addresses}, port {ports}");
        if let Some(messages) = self.pbx.guessed_by {
            pbx.push_str(&format!(
                "; guessed: it is one end of all {messages} SIP messages there. --pbx names another"
            ));
        }
        let on_link = if self.on_link.is_empty() {
            "nothing on the PBX's own link (--on-link)".into()
        } else {
            let on_link = list(self.on_link.clone());
            format!("{on_link} on the PBX's own link")
        };
        let mut assumed = vec![
            on_link,
            "no other route but the default one (--peer)".into(),
        ];
        if self.settle > 0 {
            assumed.push(format!(
                "sipnat starts with the first packet, and trusts fewer Contact URIs for {} s (--settle)",
                self.settle
            ));
        }
        if self.pbx.addresses.len() > 1 {
            assumed.push("the PBX's sockets are bound to no address".into());
        }
        let mut lines = vec![first, pbx, format!("assumed: {}", assumed.join("; "))];
        if let End::Within(number) = self.end {
            lines.push(format!(
                "the file ends within packet {number}: what stands before it was read"
            ));
        }
        for LeftOut {
            reason,
            packets,
            first,
        } in &self.left_out
        {
            let (packets, reason) = (packets_of(*packets), reason.text());
            lines.push(format!("{packets} {reason} (the first: {first})"));
        }
        lines
    }

    /// Says in a line whether sipnat would do anything.
    fn conclusion(&self) -> String {
        let of = |is: fn(Counter) -> bool| -> u64 {
            let counted = self.counters.iter().filter(|it| it.counter.is_some_and(is));
            counted.map(|it| it.packets).sum()
        };
        let redirected = of(is_redirect);
        let there = of(|counter| counter == Counter::OutAlreadyThere);
        let sent = self.sent;
        match redirected {
            0 if sent == 0 => {
                "nothing to redirect: the capture has no SIP message of the PBX".into()
            }
            0 if there == sent => format!(
                "nothing to redirect: the PBX sends all of its {sent} SIP messages to the learned addresses by itself"
            ),
            0 => format!(
                "sipnat would redirect none of the PBX's {sent} SIP messages; the reasons stand above"
            ),
            _ => {
                let unanswered = of(|counter| counter == Counter::OutUnanswered);
                let note = if unanswered == 0 {
                    ""
                } else {
                    ". A repetition counts as unanswered, although the phone may answer what is redirected"
                };
                format!("sipnat would redirect {redirected} of the PBX's {sent} SIP messages{note}")
            }
        }
    }
}

fn packets_of(number: usize) -> String {
    match number {
        1 => "1 packet".into(),
        _ => format!("{number} packets"),
    }
}

/// Whether a verdict redirects a whole message, or the first fragment of one.
const fn is_redirect(counter: Counter) -> bool {
    matches!(
        counter,
        Counter::OutRedirectedResponse
            | Counter::OutRedirectedDialog
            | Counter::OutRedirectedContact
            | Counter::OutRedirectedInvite
    )
}
