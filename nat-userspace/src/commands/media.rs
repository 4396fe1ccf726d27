//! `sipnat media`: the streams whose sources sipnat learns.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use nat_common::{
    abi::{Binding, DialogKey, MediaFlags, MediaSlot, ticks},
    endpoint::Endpoint,
    media::{Latch, LatchFlags},
};
use serde::Serialize;

use crate::{
    agent::session::Session,
    host::clock,
    kernel::{mapped::Access, tables::Tables},
    view::output::{self, Columns},
};

/// Arguments of `sipnat media`.
#[derive(Debug, Args)]
pub struct Media {
    /// Subcommand; `list` by default.
    #[command(subcommand)]
    command: Option<MediaCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Subcommands of `sipnat media`.
#[derive(Debug, Subcommand)]
enum MediaCommand {
    /// List all streams
    #[command(after_help = "Example:\n  sipnat media list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the streams of one terminal, port or address in full
    #[command(
        after_help = "Examples:\n  sipnat media show 20000\n  sipnat media show 1000@pbx.example.com"
    )]
    Show {
        /// Port of the PBX, user@host, user, or an address
        stream: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A stream, as it is shown.
#[derive(Debug, Serialize)]
struct Stream {
    /// Address and port at which the PBX receives it.
    pbx: SocketAddr,
    /// The terminal as `user@host`; none if its dialog has ended.
    terminal: Option<String>,
    /// Kind of packets.
    kind: &'static str,
    /// Address and port in the terminal's description.
    advertised: SocketAddr,
    /// Address and port from which it comes; none if no packet has come yet.
    learned: Option<SocketAddr>,
    /// Whether packets of the PBX go to the learned address.
    rewrite: bool,
    /// Whether the PBX has not accepted the call yet.
    early: bool,
    /// Packets from the learned address.
    received: u64,
    /// Packets of the PBX that were sent to it.
    rewritten: u64,
    /// Packets to the port from other sources.
    strangers: u64,
    /// Seconds since the last packet; none if there was none.
    silent: Option<u64>,
}

impl Media {
    /// Lists streams, or shows some of them.
    ///
    /// # Errors
    /// If there is no agent, it cannot be read, or no stream is meant.
    pub fn run(&self) -> Result<()> {
        let tables = Session::open()?.tables;
        let streams = streams(&tables)?;
        match &self.command {
            Some(MediaCommand::Show { stream, json }) => {
                let of_it: Vec<_> = streams.iter().filter(|s| s.is_meant(stream)).collect();
                if of_it.is_empty() {
                    bail!("no stream is {stream}; see `sipnat media list`");
                }
                show(&of_it, *json || self.json)
            }
            Some(MediaCommand::List { json }) => list(&streams, *json || self.json),
            None => list(&streams, self.json),
        }
    }
}

/// Reads the streams.
fn streams(tables: &Tables) -> Result<Vec<Stream>> {
    let slots = tables.media_slots()?;
    if slots.is_empty() {
        return Ok(Vec::new());
    }
    let now = clock::now();
    let dialogs = tables.dialogs.open(Access::Read)?;
    let dialogs: Vec<(DialogKey, Binding)> = dialogs.iter().collect();
    let name = |owner: &DialogKey| {
        let (_, binding) = dialogs.iter().find(|(key, _)| key == owner)?;
        let text = &binding.text[..usize::from(binding.text_len).min(binding.text.len())];
        Some(String::from_utf8_lossy(text).into_owned())
    };
    let stream = |(pbx, slot): (SocketAddr, MediaSlot)| {
        let latch = Latch::from_word(slot.latch);
        let latched = latch.flags.contains(LatchFlags::LATCHED);
        let learned = Endpoint {
            addr: slot.peer_addr,
            port: latch.port.into(),
            reserved: 0,
        };
        let silent = u64::from((ticks(now) as u32).wrapping_sub(latch.seen)) / ticks(1 << 30);
        Stream {
            pbx,
            terminal: name(&slot.owner),
            kind: kind(slot.flags),
            advertised: slot.advertised().into(),
            learned: latched.then(|| learned.into()),
            rewrite: slot.flags.contains(MediaFlags::REWRITE),
            early: slot.flags.contains(MediaFlags::EARLY),
            received: slot.received,
            rewritten: slot.rewritten,
            strangers: slot.strangers,
            silent: latched.then_some(silent),
        }
    };
    Ok(slots.into_iter().map(stream).collect())
}

const fn kind(flags: MediaFlags) -> &'static str {
    if flags.contains(MediaFlags::RTCP) {
        "rtcp"
    } else if flags.contains(MediaFlags::UDPTL) {
        "udptl"
    } else {
        "rtp"
    }
}

impl Stream {
    /// Whether the user means it by a port, a terminal or an address.
    fn is_meant(&self, text: &str) -> bool {
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
}

/// Prints a list.
fn list(streams: &[Stream], json: bool) -> Result<()> {
    if json {
        return output::json(&streams);
    }
    if streams.is_empty() {
        return output::print(
            "no streams: no call that the PBX accepted has media here, or `--media` is off",
        );
    }
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
    let rows = streams.iter().map(Stream::cells);
    output::print(&output::table(Columns::new(headings, &[5, 6, 7, 8]), rows))
}

/// Prints some streams in full.
fn show(streams: &[&Stream], json: bool) -> Result<()> {
    if json {
        return output::json(&streams);
    }
    for stream in streams {
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
        ] = stream.cells();
        let what = match (stream.rewrite, stream.learned) {
            (false, _) => {
                "packets of the PBX go to the advertised address, which is reachable or not to be changed"
            }
            (true, None) => {
                "packets of the PBX go to the advertised address until the first packet comes"
            }
            (true, Some(_)) => "packets of the PBX to the advertised address go to the learned one",
        };
        output::print(&format!(
            "{pbx} ({kind}) of {terminal}\n  advertised  {advertised}\n  learned     {learned}\n  received    {received}, \
             last {silent} ago\n  rewritten   {rewritten}\n  strangers   {strangers}\n  {what}"
        ))?;
    }
    Ok(())
}
