//! Streams of media, as they are shown.

use std::net::SocketAddr;

use anyhow::Result;
use nat_common::{
    abi::{DialogKey, MediaFlags, MediaSlot, ticks},
    endpoint::Endpoint,
    media::{Latch, LatchFlags},
};
use serde::Serialize;

use crate::{
    host::clock,
    kernel::{mapped::Access, streams::place, tables::Tables},
    view::output::{self, Columns},
};

/// A stream, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stream {
    /// The terminal's dialog end.
    #[serde(skip)]
    pub(crate) owner: DialogKey,
    /// Address and port at which the PBX receives it.
    pub(crate) pbx: SocketAddr,
    /// The terminal as `user@host`; none if its dialog has ended.
    pub(crate) terminal: Option<String>,
    /// Kind of packets.
    pub(crate) kind: &'static str,
    /// Address and port in the terminal's description.
    pub(crate) advertised: SocketAddr,
    /// Address and port from which it comes; none if no packet has come yet.
    pub(crate) learned: Option<SocketAddr>,
    /// Whether packets of the PBX go to the learned address.
    pub(crate) rewrite: bool,
    /// Whether the terminal's NAT forwards the advertised port.
    forwarded: bool,
    /// Whether the PBX has not accepted the call yet.
    early: bool,
    /// Packets from the learned address.
    received: u32,
    /// Packets of the PBX that were sent to it.
    rewritten: u32,
    /// Packets to the port from other sources.
    strangers: u32,
    /// Packets of these that the guard has dropped.
    dropped: u32,
    /// Host of the last one from another address than the terminal's; of an IPv6 one, its /64.
    stranger: Option<String>,
    /// Seconds since the last packet; none if there was none.
    silent: Option<u64>,
}

/// Reads the streams.
///
/// # Errors
/// If a map cannot be read.
pub(crate) fn read(tables: &Tables) -> Result<Vec<Stream>> {
    at(tables, clock::now())
}

/// Reads the streams as they are at a time of the programs' clock.
///
/// # Errors
/// If a map cannot be read.
pub(crate) fn at(tables: &Tables, now: u64) -> Result<Vec<Stream>> {
    let slots: Vec<_> = tables.streams(Access::Read)?.used().collect();
    if slots.is_empty() {
        return Ok(Vec::new());
    }
    let config = tables.media_config()?;
    let dialogs = tables.dialogs.open(Access::Read)?;
    let name = |owner: &DialogKey| {
        let binding = dialogs.get(owner)?;
        let text = &binding.text[..usize::from(binding.text_len).min(binding.text.len())];
        Some(String::from_utf8_lossy(text).into_owned())
    };
    let stream = |(index, slot): (u32, MediaSlot)| {
        let latch = Latch::from_word(slot.latch);
        let latched = latch.flags.contains(LatchFlags::LATCHED);
        let learned = Endpoint {
            addr: slot.peer_addr,
            port: latch.port.into(),
            reserved: 0,
        };
        let silent = u64::from((ticks(now) as u32).wrapping_sub(latch.seen)) / ticks(1 << 30);
        Stream {
            owner: slot.owner,
            pbx: place(&config, index),
            terminal: name(&slot.owner),
            kind: kind(slot.flags),
            advertised: slot.advertised().into(),
            learned: latched.then(|| learned.into()),
            rewrite: slot.flags.contains(MediaFlags::REWRITE),
            forwarded: slot.flags.contains(MediaFlags::FORWARDED),
            early: slot.flags.contains(MediaFlags::EARLY),
            received: slot.received,
            rewritten: slot.rewritten,
            strangers: slot.strangers,
            dropped: slot.dropped,
            stranger: host(slot.stranger),
            silent: latched.then_some(silent),
        }
    };
    Ok(slots.into_iter().map(stream).collect())
}

const fn kind(flags: MediaFlags) -> &'static str {
    let [rtp, rtcp, udptl] = Stream::KINDS;
    if flags.contains(MediaFlags::RTCP) {
        rtcp
    } else if flags.contains(MediaFlags::UDPTL) {
        udptl
    } else {
        rtp
    }
}

/// Names the host of a [`MediaSlot::stranger`].
fn host(word: u64) -> Option<String> {
    if word == 0 {
        return None;
    }
    let mapped = Endpoint {
        addr: [0, word],
        ..Endpoint::UNKNOWN
    };
    if mapped.is_v4() {
        return Some(SocketAddr::from(mapped).ip().to_string());
    }
    let network = Endpoint {
        addr: [word, 0],
        ..Endpoint::UNKNOWN
    };
    Some(format!("{}/64", SocketAddr::from(network).ip()))
}

impl Stream {
    /// Kinds of packets.
    pub(crate) const KINDS: [&str; 3] = ["rtp", "rtcp", "udptl"];

    /// Whether the user means it by a port, a terminal or an address.
    pub(crate) fn is_meant(&self, text: &str) -> bool {
        let terminal = self.terminal.as_deref().unwrap_or_default();
        let user = terminal.split('@').next().unwrap_or_default();
        let places = [Some(self.pbx), Some(self.advertised), self.learned];
        text == self.pbx.port().to_string()
            || !text.is_empty() && (text == terminal || text == user)
            || places
                .into_iter()
                .flatten()
                .any(|place| text == place.to_string() || text == place.ip().to_string())
    }

    fn cells(&self) -> [String; 9] {
        let learned = self.learned.map_or_else(|| "-".into(), |l| l.to_string());
        [
            self.terminal.clone().unwrap_or_else(|| "-".into()),
            self.pbx.to_string(),
            self.kind.into(),
            self.advertised.to_string(),
            learned,
            self.received.to_string(),
            self.rewritten.to_string(),
            self.strangers.to_string(),
            self.silent.map_or_else(|| "-".into(), |s| format!("{s}s")),
        ]
    }

    /// Renders it in full.
    pub(crate) fn in_full(&self) -> String {
        let [
            terminal,
            pbx,
            kind,
            advertised,
            learned,
            received,
            rewritten,
            strangers,
            silent,
        ] = self.cells();
        let what = match (self.rewrite, self.learned) {
            (false, _) => {
                "packets of the PBX go to the advertised address, which is reachable or not to be changed"
            }
            (true, None) if self.forwarded => {
                "packets of the PBX go to the terminal's NAT, at the advertised port, until the first packet comes"
            }
            (true, None) => {
                "packets of the PBX go to the advertised address until the first packet comes"
            }
            (true, Some(_)) => "packets of the PBX to the advertised address go to the learned one",
        };
        let mut strangers = strangers;
        if self.dropped > 0 {
            strangers.push_str(&format!(", {} dropped", self.dropped));
        }
        if let Some(stranger) = &self.stranger {
            strangers.push_str(&format!(", the last from {stranger}"));
        }
        format!(
            "{pbx} ({kind}) of {terminal}\n  advertised  {advertised}\n  learned     {learned}\n  received    {received}, \
             last {silent} ago\n  rewritten   {rewritten}\n  strangers   {strangers}\n  {what}"
        )
    }
}

/// Renders a table.
pub(crate) fn table<'s>(streams: impl Iterator<Item = &'s Stream>) -> String {
    let headings = [
        "TERMINAL",
        "PBX",
        "KIND",
        "ADVERTISED",
        "LEARNED",
        "IN",
        "OUT",
        "STRANGERS",
        "SILENT",
    ];
    let rows = streams.map(Stream::cells);
    output::table(Columns::new(headings, &[5, 6, 7, 8]), rows)
}

#[cfg(test)]
impl Stream {
    /// A stream of a description with this address, of which nothing has come.
    pub(crate) fn example(advertised: SocketAddr) -> Self {
        Self {
            owner: DialogKey::default(),
            pbx: SocketAddr::from(([203, 0, 113, 10], 20_000)),
            terminal: Some("1000@a".into()),
            kind: "rtp",
            advertised,
            learned: None,
            rewrite: true,
            forwarded: false,
            early: false,
            received: 0,
            rewritten: 0,
            strangers: 0,
            dropped: 0,
            stranger: None,
            silent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_meant_by_port_terminal_or_address() {
        let stream = Stream::example(SocketAddr::from(([192, 168, 1, 10], 4000)));
        for text in [
            "20000",
            "1000",
            "1000@a",
            "203.0.113.10",
            "192.168.1.10:4000",
        ] {
            assert!(stream.is_meant(text), "{text}");
        }
        for text in ["", "4000", "100", "@a", "192.168.1.1"] {
            assert!(!stream.is_meant(text), "{text}");
        }
        let nameless = Stream {
            terminal: None,
            ..stream
        };
        assert!(!nameless.is_meant(""));
        assert!(nameless.in_full().contains("strangers   0\n"));
        assert!(nameless.in_full().contains("until the first packet comes"));
    }

    #[test]
    fn strangers_have_names() {
        let word = |ip: &str| Endpoint::from(SocketAddr::new(ip.parse().unwrap(), 0));
        let stranger = Stream {
            strangers: 7,
            dropped: 5,
            stranger: host(word("198.51.100.7").addr[1]),
            ..Stream::example(SocketAddr::from(([192, 168, 1, 10], 4000)))
        };
        let text = stranger.in_full();
        let expected = "strangers   7, 5 dropped, the last from 198.51.100.7\n";
        assert!(text.contains(expected), "{text}");
        let v6 = host(word("2001:db8:1:2:3::4").addr[0]);
        assert_eq!(v6.as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!(host(0), None);
    }
}
