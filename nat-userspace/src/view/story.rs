//! The story of a call, of a terminal's address, or of requests that were not redirected, packet by packet.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context as _, Result, bail};
use jiff::{Timestamp, tz::TimeZone};
use nat_common::{
    abi::{Config, Counter, CounterKind, DialogKey, Ground, MediaCounter, Record, address},
    bpf::HostLoop,
    bytes::Span,
    engine::{REQUEST_URI, media as described},
    sip::{Field, Method, SPANS},
    tables::{
        hash, key,
        uri::{self, UriHash},
    },
};
use serde::Serialize;

use crate::{
    host::{clock::Calendar, prefix::Prefix},
    kernel::{history, tables::Tables},
    view::{
        listing::Listing,
        nearest_contact::Nearest,
        output::{self, Columns},
        rows::{self, Row, RowKey},
        streams::{self, Stream},
        traffic::Fate,
    },
};

/// Subject of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The call of this Call-ID; else the terminals of the bindings of this name, as `bindings show` takes it.
    Named(String),
    /// Packets that were meant for an address, any port of it if there is none, or for a terminal that was learned there.
    Address(IpAddr, Option<u16>),
    /// The last requests of the PBX that were not redirected, so many.
    Last(usize),
    /// The last packets of the PBX that were redirected, so many.
    Redirected(usize),
}

/// All that the maps hold of a subject.
#[derive(Serialize)]
pub(crate) struct Story {
    #[serde(flatten)]
    about: About,
    /// Set if nothing is redirected, whatever `why` says.
    shadow: bool,
    /// Messages of the PBX, and the answers to them.
    packets: Vec<Packet>,
    /// Bindings that the call or the address has now.
    bindings: Vec<Row>,
    /// Descriptions of media in messages of both sides, and what became of them.
    descriptions: Vec<Described>,
    /// Streams of media that the call or the address has now.
    streams: Vec<Stream>,
}

/// Description of media.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Described {
    at: Timestamp,
    from: Side,
    method: &'static str,
    /// Status of a response.
    status: Option<u16>,
    cseq: u32,
    /// Address of the terminal's first stream.
    terminal: Option<SocketAddr>,
    /// Address of the PBX's first stream.
    pbx: Option<SocketAddr>,
    events: Vec<Event>,
}

/// Name of the subject.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum About {
    CallId(String),
    Terminal(String),
    Address(String),
    Last(usize),
    Redirected(usize),
}

/// One message.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Packet {
    /// Number of its packet in a capture; none where it comes from an interface.
    #[serde(rename = "packet", skip_serializing_if = "Option::is_none")]
    number: Option<usize>,
    at: Timestamp,
    from: Side,
    /// Id of its binding, as `bindings list` shows it; none without the terminal's tag.
    binding: Option<String>,
    method: &'static str,
    /// Status of a response.
    status: Option<u16>,
    cseq: u32,
    /// Request-URI without its scheme, as far as it fits, where no terminal was found or it is in doubt.
    request_uri: Option<String>,
    /// Contact that is nearest to it.
    nearest: Option<Nearest>,
    /// Original destination; that of the request for an answer.
    meant: Option<SocketAddr>,
    learned: Option<SocketAddr>,
    verdict: &'static str,
    why: &'static str,
    /// Evidence that chose between the two addresses.
    ground: Option<&'static str>,
    /// Number of the transmission, where it was counted.
    transmission: Option<u8>,
    /// Set if only its Contact named the terminal.
    weak: bool,
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Pbx,
    Terminal,
}

/// A change of bindings that a message caused.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Event {
    name: &'static str,
    what: &'static str,
}

impl About {
    /// Says that nothing is known of it. None for what may be empty.
    fn nothing_known(&self, records: u32) -> Option<String> {
        match self {
            Self::CallId(name) | Self::Terminal(name) => Some(format!(
                "nothing is known of a call `{name}`, and there is no binding of that name. Perhaps
  - the Call-ID is not quite this one: it is the whole value of the header, with whatever follows `@`;
  - the PBX has sent nothing in it: what a terminal sends shows only when the PBX answers it;
  - it was too long ago: the newest {records} messages are kept, of all calls;
  - its messages are in doubt or none of sipnat's: `sipnat stats` counts those"
            )),
            Self::Address(address) => Some(format!(
                "nothing is known of {address}. Perhaps
  - the PBX has sent nothing there, and sipnat has learned no terminal there: `sipnat bindings list` shows the terminals;
  - it was too long ago: the newest {records} messages are kept, to all addresses"
            )),
            Self::Last(_) | Self::Redirected(_) => None,
        }
    }

    /// Heading of its table, and the words for an empty table.
    fn heading(&self) -> (String, &'static str) {
        const GONE: &str = "its messages were too long ago";
        const NONE: &str = "none among the messages that are kept";
        match self {
            Self::CallId(call_id) => (format!("Call-ID {call_id}"), GONE),
            Self::Terminal(name) => (
                format!("terminal {name}, and who shares its addresses"),
                GONE,
            ),
            Self::Address(address) => (format!("to {address}, or a terminal there"), GONE),
            Self::Last(_) => ("requests that were not redirected".to_owned(), NONE),
            Self::Redirected(_) => ("packets that were redirected".to_owned(), NONE),
        }
    }
}

/// Columns of packets.
const HEADINGS: [&str; 8] = [
    "TIME", "FROM", "MESSAGE", "CSEQ", "BINDING", "MEANT", "LEARNED", "WHY",
];

impl Story {
    /// Reads the story of a subject.
    ///
    /// # Errors
    /// If nothing is known of a call or an address, or a map cannot be read.
    pub(crate) fn read(tables: &Tables, subject: Subject) -> Result<Self> {
        let config = tables.config()?;
        let mut records = history::read(&tables.history)?;
        let uris = take_uris(&mut records);
        let (about, bindings) = match subject {
            Subject::Named(name) => {
                let call = hash(name.as_bytes(), &config.secret)?;
                let listing = Listing::read(tables)?;
                let sockets = sockets(&config, &own_addresses(tables)?);
                let contacts = contacts_of(&name, &sockets, &config.secret);
                match of_call(call, &sockets, &mut records, listing.rows()) {
                    Some(bindings) => (About::CallId(name), bindings),
                    None => {
                        let bindings = sorted(listing.rows().filter(|row| {
                                row.matches(&name)
                                    || matches!(row.key, RowKey::Contact(key) if contacts.contains(&key.uri))
                            }));
                        let addresses: HashSet<_> =
                            bindings.iter().flat_map(Row::addresses).collect();
                        keep_to(&mut records, |address| addresses.contains(address));
                        (About::Terminal(name), bindings)
                    }
                }
            }
            Subject::Address(ip, port) => {
                let is_it = |address: &SocketAddr| {
                    address.ip() == ip && port.is_none_or(|port| port == address.port())
                };
                let is_there = |row: &Row| row.addresses().any(|address| is_it(&address));
                let bindings = sorted(Listing::read(tables)?.rows().filter(is_there));
                keep_to(&mut records, is_it);
                let address = match port {
                    Some(port) => SocketAddr::new(ip, port).to_string(),
                    None => ip.to_string(),
                };
                (About::Address(address), bindings)
            }
            Subject::Last(count) => {
                keep_last(&mut records, count, was_left);
                (About::Last(count), Vec::new())
            }
            Subject::Redirected(count) => {
                keep_last(&mut records, count, was_redirected);
                (About::Redirected(count), Vec::new())
            }
        };
        if records.is_empty()
            && bindings.is_empty()
            && let Some(nothing) = about.nothing_known(tables.history.len())
        {
            bail!(nothing);
        }
        let mut story = Self::new(about, &records, &uris, bindings, Calendar::new(), |_| None);
        story.shadow = config.shadow != 0;
        if !story.bindings.is_empty() {
            story.add_streams(&streams::read(tables)?);
        }
        if story.has_uris() {
            find_nearest(&mut story.packets, Listing::read(tables)?.rows());
        }
        Ok(story)
    }

    /// Makes the story of what records and bindings hold. `number` is that of a record's captured packet.
    fn new(
        about: About,
        records: &[Record],
        uris: &HashMap<Request, String>,
        bindings: Vec<Row>,
        calendar: Calendar,
        number: impl Fn(&Record) -> Option<usize>,
    ) -> Self {
        let (descriptions, packets): (Vec<_>, Vec<_>) = records
            .iter()
            .partition(|record| record.verdict == described::VERDICT);
        let packet = |record: &Record| Packet {
            number: number(record),
            request_uri: uris.get(&request_of(record)).cloned(),
            ..Packet::new(record, calendar)
        };
        Self {
            about,
            shadow: false,
            packets: packets.into_iter().map(packet).collect(),
            bindings,
            descriptions: descriptions
                .into_iter()
                .map(|record| Described::new(record, calendar))
                .collect(),
            streams: Vec::new(),
        }
    }

    /// Tells of a captured call. `records` are those of its packets, with the packets' numbers.
    ///
    /// # Errors
    /// If its Call-ID fits into no packet.
    pub(crate) fn of_captured(
        call_id: &[u8],
        records: &[(usize, Record)],
        after: &Aftermath,
    ) -> Result<Self> {
        let numbers: HashMap<u64, usize> = records
            .iter()
            .map(|(number, record)| (record.at, *number))
            .collect();
        let mut records = records.iter().map(|(_, record)| *record).collect();
        let uris = take_uris(&mut records);
        let calls = calls(hash(call_id, &after.secret)?, &after.sockets, &records);
        let bindings = after.rows.iter().filter(|row| row.is_end_of(&calls));
        let mut story = Self::new(
            About::CallId(output::printable(call_id)),
            &records,
            &uris,
            bindings.cloned().collect(),
            after.calendar,
            |record| numbers.get(&record.at).copied(),
        );
        story.add_streams(&after.streams);
        if story.has_uris() {
            find_nearest(&mut story.packets, after.rows.iter().cloned());
        }
        Ok(story)
    }

    /// Adds those streams that belong to its bindings.
    fn add_streams(&mut self, all: &[Stream]) {
        let owned = all.iter().filter(|stream| {
            let mut keys = self.bindings.iter().map(|row| &row.key);
            keys.any(|key| matches!(key, RowKey::Dialog(key) if *key == stream.owner))
        });
        self.streams = owned.cloned().collect();
    }

    fn has_uris(&self) -> bool {
        self.packets
            .iter()
            .any(|packet| packet.request_uri.is_some())
    }

    /// Renders the bindings, and then the packets, the newest first. A narrow text has the most important columns, which 80
    /// characters hold.
    pub(crate) fn newest_first(&self, zone: &TimeZone, is_wide: bool) -> Vec<String> {
        let mut parts = Vec::new();
        if !self.bindings.is_empty() {
            parts.push(if is_wide {
                rows::table(&self.bindings)
            } else {
                let headings = ["TERMINAL", "KIND", "STATE", "LEARNED", "REDIRECTED"];
                let rows = self.bindings.iter();
                let rows = rows.map(|row| columns(row.cells(), [1, 2, 3, 5, 9]));
                output::table(Columns::new(headings, &[4]), rows)
            });
            parts.push(String::new());
        }
        let packets = self.packets.iter().rev();
        let rows = packets.flat_map(|packet| packet.rows(zone));
        parts.push(if self.packets.is_empty() {
            let (_, none) = self.about.heading();
            none.into()
        } else if is_wide {
            output::table(Columns::new(HEADINGS, &[3]), rows)
        } else {
            const SOME: [usize; 5] = [0, 2, 5, 6, 7];
            let headings = SOME.map(|column| HEADINGS[column]);
            let rows = rows.map(|row| columns(row, SOME));
            output::table(Columns::new(headings, &[]), rows)
        });
        let lines = parts.iter().flat_map(|part| part.split('\n'));
        lines.map(String::from).collect()
    }

    /// Renders it as a table.
    pub(crate) fn render(&self, zone: &TimeZone) -> String {
        let (about, none) = self.about.heading();
        let mut parts = Vec::new();
        if self.shadow {
            parts.push(output::SHADOW.to_owned());
        }
        if let Some(first) = self.packets.first() {
            let day = first.at.to_zoned(zone.clone()).strftime("%F");
            parts.push(format!("{about}, {day}"));
            let packets = self.packets.iter();
            parts.push(if first.number.is_some() {
                let headings = [
                    "PACKET", "TIME", "FROM", "MESSAGE", "CSEQ", "BINDING", "MEANT", "LEARNED",
                    "WHY",
                ];
                let rows = packets.flat_map(|packet| packet.numbered_rows(zone));
                output::table(Columns::new(headings, &[0, 4]), rows)
            } else {
                let headings = [
                    "TIME", "FROM", "MESSAGE", "CSEQ", "BINDING", "MEANT", "LEARNED", "WHY",
                ];
                let rows = packets.flat_map(|packet| packet.rows(zone));
                output::table(Columns::new(headings, &[3]), rows)
            });
        } else {
            parts.push(format!("{about}: {none}"));
        }
        if !matches!(self.about, About::Last(_) | About::Redirected(_)) {
            parts.push(String::new());
            parts.push(if self.bindings.is_empty() {
                "no binding is left of it".into()
            } else {
                rows::table(&self.bindings)
            });
        }
        if !self.descriptions.is_empty() {
            parts.push("\nmedia".into());
            let headings = ["TIME", "FROM", "MESSAGE", "CSEQ", "TERMINAL", "PBX", "WHAT"];
            let rows = self.descriptions.iter().flat_map(|d| d.rows(zone));
            parts.push(output::table(Columns::new(headings, &[3]), rows));
        }
        if !self.streams.is_empty() {
            parts.push("\nstreams".into());
            parts.push(streams::table(self.streams.iter()));
        }
        parts.join("\n")
    }
}

/// Returns some columns of a row.
fn columns<const ALL: usize, const SOME: usize>(
    row: [String; ALL],
    some: [usize; SOME],
) -> [String; SOME] {
    some.map(|column| row[column].clone())
}

/// What stories of a capture share: the contents of the maps behind its last packet.
pub(crate) struct Aftermath {
    /// Bindings.
    pub(crate) rows: Vec<Row>,
    streams: Vec<Stream>,
    sockets: Vec<u64>,
    secret: [u64; 2],
    calendar: Calendar,
}

impl Aftermath {
    /// Reads the maps as they are at `now` of the programs' clock, which `calendar` converts.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn read(tables: &Tables, now: u64, calendar: Calendar) -> Result<Self> {
        let config = tables.config()?;
        Ok(Self {
            rows: sorted(Listing::at(tables, now)?.rows()),
            streams: streams::at(tables, now)?,
            sockets: sockets(&config, &own_addresses(tables)?),
            secret: config.secret,
            calendar,
        })
    }
}

/// Request of a record: time, Call-ID, CSeq number and method.
type Request = (u64, u64, u32, u8);

const fn request_of(record: &Record) -> Request {
    (record.at, record.call, record.cseq, record.method)
}

/// Takes the records that only have a Request-URI from those of messages.
fn take_uris(records: &mut Vec<Record>) -> HashMap<Request, String> {
    let is_uri = |record: &Record| record.verdict == REQUEST_URI;
    let uris = records
        .iter()
        .filter(|record| is_uri(record))
        .map(|record| (request_of(record), output::printable(record.text())))
        .collect();
    records.retain(|record| !is_uri(record));
    uris
}

/// Finds the contact that is nearest to each Request-URI.
fn find_nearest(packets: &mut [Packet], contacts: impl Iterator<Item = Row>) {
    for row in contacts {
        for packet in &mut *packets {
            if let Some(uri) = &packet.request_uri
                && let Some(other) = Nearest::of(&row, uri)
            {
                packet.nearest = Nearest::or_nearer(packet.nearest.take(), other);
            }
        }
    }
}

/// Returns the hashes of a Contact URI, as `CONTACTS` has it, for each socket of the PBX.
fn contacts_of(name: &str, sockets: &[u64], secret: &[u64; 2]) -> HashSet<u64> {
    let uri = name.trim_start_matches('<').trim_end_matches('>');
    let Some(uri) = uri
        .strip_prefix("sip:")
        .or_else(|| uri.strip_prefix("sips:"))
    else {
        return HashSet::new();
    };
    let Ok(len) = u16::try_from(uri.len()) else {
        return HashSet::new();
    };
    let mut spans = [Span::default(); SPANS];
    spans[Field::RequestUri as usize] = Span { start: 0, len };
    let mut hashes = [0; SPANS];
    // The hash reads whole words.
    let text = [uri.as_bytes(), &[b' '; 64]].concat();
    uri::uris::<_, HostLoop>(
        &text[..],
        &spans,
        Field::RequestUri.bit(),
        secret,
        &mut UriHash::default(),
        &mut hashes,
    );
    let hash = hashes[Field::RequestUri as usize];
    sockets.iter().map(|pbx| hash ^ pbx).collect()
}

/// Keeps the records of a call, and returns its dialog ends. None if it has neither.
fn of_call(
    call: u64,
    sockets: &[u64],
    records: &mut Vec<Record>,
    bindings: impl Iterator<Item = Row>,
) -> Option<Vec<Row>> {
    let calls = calls(call, sockets, records);
    let found = sorted(bindings.filter(|row| row.is_end_of(&calls)));
    if found.is_empty() && !records.iter().any(|record| record.call == call) {
        return None;
    }
    records.retain(|record| record.call == call);
    Some(found)
}

/// Returns what the keys of dialog ends have for a call, at the sockets of its records and at others of the PBX.
fn calls(call: u64, sockets: &[u64], records: &[Record]) -> HashSet<u64> {
    let used = records.iter().map(|record| record.pbx);
    let sockets = used.chain(sockets.iter().copied());
    sockets.map(|pbx| call ^ pbx).collect()
}

/// Sorts bindings as their list does.
fn sorted(bindings: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut bindings: Vec<Row> = bindings.collect();
    bindings.sort_unstable_by_key(Row::order);
    bindings
}

/// Keeps the records of packets that were meant for such an address, or for a terminal that was learned there.
fn keep_to(records: &mut Vec<Record>, is_it: impl Fn(&SocketAddr) -> bool) {
    records.retain(|record| {
        let addresses = [record.original(), record.learned()].map(rows::known);
        addresses.iter().flatten().any(&is_it)
    });
}

/// Keeps the last so many records of a kind.
fn keep_last(records: &mut Vec<Record>, count: usize, is_it: impl Fn(&Record) -> bool) {
    records.retain(is_it);
    records.drain(..records.len().saturating_sub(count));
}

/// Whether a record is of a packet of the PBX that was redirected.
fn was_redirected(record: &Record) -> bool {
    let verdict = Counter::ALL.get(usize::from(record.verdict));
    verdict.is_some_and(|verdict| Fate::of(*verdict) == Some(Fate::Redirected))
}

/// Whether a record is of a request of the PBX that was not redirected, although not sent to the learned address.
fn was_left(record: &Record) -> bool {
    let verdict = Counter::ALL.get(usize::from(record.verdict));
    record.status == 0
        && verdict.is_some_and(|verdict| {
            verdict.kind() == CounterKind::Egress
                && !matches!(
                    verdict,
                    Counter::OutRedirectedDialog
                        | Counter::OutRedirectedContact
                        | Counter::OutRedirectedInvite
                        | Counter::OutAlreadyThere
                )
        })
}

/// Hashes a header's text like the kernel programs.
fn hash(text: &[u8], secret: &[u64; 2]) -> Result<u64> {
    let Ok(len) = u16::try_from(text.len()) else {
        bail!("a Call-ID of {} bytes fits into no packet", text.len());
    };
    let span = Span { start: 0, len };
    Ok(hash::span::<_, HostLoop>(
        text,
        span,
        secret,
        &mut hash::Cursor::default(),
    ))
}

/// Lists the sockets that the PBX may have, as they go into keys. The records of a call may be overwritten, and with them
/// the socket that it used.
fn sockets(config: &Config, own: &[IpAddr]) -> Vec<u64> {
    let ports = config.ports.into_iter().filter(|port| *port != 0);
    let at = |addr: IpAddr, port| SocketAddr::new(addr, port).into();
    ports
        .flat_map(|port| {
            let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
                .map(|addr| key::pbx(&at(addr, port), true));
            let bound = own
                .iter()
                .map(move |addr| key::pbx(&at(*addr, port), false));
            wildcards.into_iter().chain(bound).collect::<Vec<_>>()
        })
        .collect()
}

/// Returns this host's addresses, as the programs know them.
fn own_addresses(tables: &Tables) -> Result<Vec<IpAddr>> {
    let mut own = Vec::new();
    for entry in tables.addresses.iter() {
        let (key, kind) = entry.context("cannot read ADDRESSES")?;
        if let Prefix::Net(net) = Prefix::from(key)
            && net.prefix_len() == net.max_prefix_len()
            && address::place(kind) == address::LOCAL
        {
            own.push(net.addr());
        }
    }
    Ok(own)
}

/// Time of day, as it is shown.
fn time(at: &Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    at.strftime("%H:%M:%S%.3f").to_string()
}

/// Method of a request, or status of a response.
fn message(status: Option<u16>, method: &str) -> String {
    match status {
        Some(status) => format!("{status} ({method})"),
        None => method.into(),
    }
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "-".into(), |address| address.to_string())
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Pbx => "PBX",
            Self::Terminal => "terminal",
        }
    }
}

impl Described {
    fn new(record: &Record, calendar: Calendar) -> Self {
        let is = |event: &&MediaCounter| record.events & 1 << **event as u32 != 0;
        Self {
            at: calendar.at(record.at),
            from: if record.events & described::BY_PBX != 0 {
                Side::Pbx
            } else {
                Side::Terminal
            },
            method: Method::from(record.method).name(),
            status: (record.status != 0).then_some(record.status),
            cseq: record.cseq,
            terminal: rows::known(record.original()),
            pbx: rows::known(record.learned()),
            events: MediaCounter::ALL
                .iter()
                .filter(is)
                .map(|event| Event {
                    name: event.name(),
                    what: event.help(),
                })
                .collect(),
        }
    }

    /// Renders a line for each event.
    fn rows(&self, zone: &TimeZone) -> Vec<[String; 7]> {
        let rows = self.events.iter().enumerate().map(|(index, event)| {
            let mut row: [String; 7] = Default::default();
            if index == 0 {
                row = [
                    time(&self.at, zone),
                    self.from.name().into(),
                    message(self.status, self.method),
                    self.cseq.to_string(),
                    shown(self.terminal),
                    shown(self.pbx),
                    String::new(),
                ];
            }
            row[6] = event.what.into();
            row
        });
        rows.collect()
    }
}

impl Packet {
    fn new(record: &Record, calendar: Calendar) -> Self {
        let verdict = Counter::ALL.get(usize::from(record.verdict)).copied();
        let key = DialogKey {
            call: record.call ^ record.pbx,
            tag: record.tag,
        };
        let ground = Ground::from(record.ground).text();
        Self {
            number: None,
            at: calendar.at(record.at),
            from: match verdict.map(Counter::kind) {
                Some(CounterKind::Ingress) => Side::Terminal,
                _ => Side::Pbx,
            },
            binding: (record.tag != 0).then(|| RowKey::Dialog(key).id()),
            method: Method::from(record.method).name(),
            status: (record.status != 0).then_some(record.status),
            cseq: record.cseq,
            request_uri: None,
            nearest: None,
            meant: rows::known(record.original()),
            learned: rows::known(record.learned()),
            verdict: verdict.map_or("unknown", Counter::name),
            why: verdict.map_or("unknown", Counter::help),
            ground: (!ground.is_empty()).then_some(ground),
            transmission: (record.transmission != 0).then_some(record.transmission),
            weak: record.weak != 0,
            events: Counter::ALL
                .iter()
                .filter(|event| event.event_bit() & record.events != 0)
                .map(|event| Event {
                    name: event.name(),
                    what: event.help(),
                })
                .collect(),
        }
    }

    /// Describes the evidence; empty if the verdict says it all.
    fn evidence(&self) -> String {
        let transmission = self.transmission.filter(|number| *number > 1);
        let is = |verdict: Counter| self.verdict == verdict.name();
        let weak = self.weak && !is(Counter::OutForeignContact);
        let said = [
            Counter::OutOriginalFirst,
            Counter::OutLeftAlone,
            Counter::OutUnanswered,
            Counter::OutRedirectedInvite,
        ];
        let ground = self.ground.filter(|_| !said.into_iter().any(is));
        let parts = [
            ground.map(str::to_owned),
            transmission.map(|number| format!("transmission {number}")),
            weak.then(|| "only its Contact names the terminal".into()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// Renders a line, one more for the evidence, and one for each event.
    fn rows(&self, zone: &TimeZone) -> Vec<[String; 8]> {
        let mut rows = vec![[
            time(&self.at, zone),
            self.from.name().into(),
            message(self.status, self.method),
            self.cseq.to_string(),
            self.binding.as_ref().map_or("-", |id| &id[..8]).into(),
            shown(self.meant),
            shown(self.learned),
            self.why.into(),
        ]];
        let evidence = Some(self.evidence()).filter(|evidence| !evidence.is_empty());
        let uri = self.request_uri.as_ref();
        let uri = uri.map(|uri| format!("Request-URI {uri}"));
        let nearest = self.nearest.as_ref().map(Nearest::line);
        let events = self.events.iter().map(|event| event.what.to_owned());
        let more = evidence.into_iter().chain(uri).chain(nearest).chain(events);
        rows.extend(more.map(|what| {
            let mut row: [String; 8] = Default::default();
            row[7] = format!("  {what}");
            row
        }));
        rows
    }

    /// Renders the same lines, the first with the number of its packet.
    fn numbered_rows(&self, zone: &TimeZone) -> impl Iterator<Item = [String; 9]> {
        let mut number = self.number.map(|number| number.to_string());
        let rows = self.rows(zone).into_iter();
        rows.map(move |[a, b, c, d, e, f, g, h]| {
            [number.take().unwrap_or_default(), a, b, c, d, e, f, g, h]
        })
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use nat_common::abi::SECOND;
    use nat_common::endpoint::Endpoint;

    use super::*;
    use crate::view::rows::tests::{NOW, binding};

    const DIALOG: DialogKey = DialogKey {
        call: 0xabcd << 48,
        tag: 1,
    };

    /// The PBX's socket, as it goes into keys.
    const PBX: u64 = 0x1111 << 40;

    fn record(status: u16, method: Method, verdict: Counter, events: &[Counter]) -> Record {
        let mut record = Record {
            at: NOW,
            call: DIALOG.call ^ PBX,
            pbx: PBX,
            tag: DIALOG.tag,
            cseq: 7,
            events: events.iter().map(|event| event.event_bit()).sum(),
            status,
            method: method as u8,
            verdict: verdict as u8,
            ..Record::default()
        };
        record.set_original(&Endpoint::v4([60, 17, 196, 2], 5060));
        record.set_learned(&Endpoint::v4([60, 17, 196, 2], 49163));
        record
    }

    fn story(records: &[Record], bindings: Vec<Row>) -> Story {
        let calendar = Calendar::starting(Timestamp::from_second(1_700_000_000 - 1000).unwrap());
        Story {
            about: About::CallId("1@a".into()),
            shadow: false,
            packets: records
                .iter()
                .map(|record| Packet::new(record, calendar))
                .collect(),
            bindings,
            descriptions: Vec::new(),
            streams: Vec::new(),
        }
    }

    #[test]
    fn what_became_of_a_description_is_told() {
        let bit = |event: MediaCounter| 1 << event as u32;
        let mut record = Record {
            verdict: described::VERDICT,
            events: described::BY_PBX | bit(MediaCounter::Bound) | bit(MediaCounter::Refused),
            ..record(200, Method::Invite, Counter::InRequest, &[])
        };
        record.set_original(&Endpoint::v4([192, 168, 1, 10], 4000));
        record.set_learned(&Endpoint::v4([203, 0, 113, 10], 20_000));
        assert!(!was_left(&record));
        let calendar = Calendar::starting(Timestamp::from_second(1_700_000_000 - 1000).unwrap());
        let story = Story {
            descriptions: vec![Described::new(&record, calendar)],
            ..story(&[], vec![])
        };
        let text = story.render(&TimeZone::UTC);
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        let expected = [
            "media",
            "TIME          FROM  MESSAGE       CSEQ  TERMINAL           PBX                 WHAT",
            "22:13:20.000  PBX   200 (INVITE)     7  192.168.1.10:4000  203.0.113.10:20000  Slot bound to a stream",
        ];
        assert_eq!(
            lines[1..].iter().rev().copied().collect::<Vec<_>>(),
            expected
        );
        assert!(
            lines[0].trim().starts_with("Line that has no slot"),
            "{text}"
        );
    }

    #[test]
    fn a_call_reads_as_a_table() {
        let records = [
            record(
                200,
                Method::Invite,
                Counter::OutRedirectedResponse,
                &[Counter::DialogActivated],
            ),
            Record {
                at: NOW + SECOND,
                ground: Ground::Turn as u8,
                transmission: 2,
                ..record(0, Method::Bye, Counter::OutRedirectedDialog, &[])
            },
            record(
                481,
                Method::Bye,
                Counter::InResponse,
                &[Counter::DialogEnded, Counter::PeerProven],
            ),
        ];
        let row = Row::new(
            RowKey::Dialog(DIALOG),
            rows::BindingKind::Dialog,
            &binding("1000@a"),
            NOW,
        );
        let text = story(&records, vec![row]).render(&TimeZone::UTC);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..8],
            [
                "Call-ID 1@a, 2023-11-14",
                "TIME          FROM      MESSAGE       CSEQ  BINDING   MEANT             LEARNED            WHY",
                "22:13:20.000  PBX       200 (INVITE)     7  abcd0001  60.17.196.2:5060  60.17.196.2:49163  response, redirected to the source of its request",
                "                                                                                             dialog end: became active",
                "22:13:21.000  PBX       BYE              7  abcd0001  60.17.196.2:5060  60.17.196.2:49163  in-dialog request, redirected by dialog end",
                "                                                                                             the transmission before drew no answer: the other address is tried; transmission 2",
                "22:13:20.000  terminal  481 (BYE)        7  abcd0001  60.17.196.2:5060  60.17.196.2:49163  response to a request of the PBX",
                "                                                                                             dialog end: ended by BYE",
            ]
        );
        assert!(text.contains("\nabcd0001  1000@a"), "{text}");
    }

    #[test]
    fn the_evidence_is_named() {
        let evidence = |verdict, ground, transmission, weak| {
            let record = Record {
                ground: ground as u8,
                transmission,
                weak,
                ..record(0, Method::Invite, verdict, &[])
            };
            story(&[record], vec![]).packets[0].evidence()
        };
        let contact = Counter::OutRedirectedContact;
        assert_eq!(evidence(contact, Ground::None, 0, 0), "");
        assert_eq!(
            evidence(contact, Ground::Proven, 1, 0),
            "it answered at its learned address"
        );
        assert_eq!(
            evidence(contact, Ground::Turn, 4, 1),
            "the transmission before drew no answer: the other address is tried; transmission 4; only its Contact \
             names the terminal"
        );
        assert_eq!(evidence(Counter::OutForeignContact, Ground::None, 0, 1), "");
        assert_eq!(
            evidence(Counter::OutUnanswered, Ground::Turn, 3, 0),
            "transmission 3"
        );
        let weak = record(0, Method::Invite, contact, &[]);
        let json = serde_json::to_value(story(&[Record { weak: 1, ..weak }], vec![])).unwrap();
        let packet = &json["packets"][0];
        assert_eq!(packet["weak"], true);
        assert!(packet["ground"].is_null() && packet["transmission"].is_null());
    }

    #[test]
    fn a_call_is_found_by_every_socket_that_the_pbx_may_have() {
        let config = Config {
            ports: [5060, 5080, 0, 0, 0, 0, 0, 0],
            ..Config::default()
        };
        let own = ["203.0.113.10", "2001:db8::10"].map(|text| text.parse().unwrap());
        let found = sockets(&config, &own);
        assert_eq!(found.len(), 2 * 4);
        for (socket, wildcard) in [
            ("203.0.113.10:5080", false),
            ("[2001:db8::10]:5060", false),
            ("203.0.113.99:5060", true),
            ("[2001:db8::99]:5080", true),
        ] {
            let socket = socket.parse::<SocketAddr>().unwrap().into();
            assert!(found.contains(&key::pbx(&socket, wildcard)), "{socket:?}");
        }
    }

    #[test]
    fn what_is_left_and_what_has_gone_is_said() {
        let one = record(200, Method::Invite, Counter::OutUnknownResponse, &[]);
        let gone = story(&[Record { tag: 0, ..one }], vec![]);
        assert_eq!(gone.packets[0].binding, None);
        assert!(
            gone.render(&TimeZone::UTC)
                .ends_with("\n\nno binding is left of it")
        );
        let row = Row::new(
            RowKey::Dialog(DIALOG),
            rows::BindingKind::Dialog,
            &binding("1000@a"),
            NOW,
        );
        let old = Story {
            shadow: true,
            ..story(&[], vec![row])
        }
        .render(&TimeZone::UTC);
        assert!(
            old.contains("too long ago") && old.starts_with("shadow: "),
            "{old}"
        );
    }

    #[test]
    fn what_was_not_redirected_is_listed_without_bindings() {
        let left = record(0, Method::Invite, Counter::OutUnknownRequest, &[]);
        for (record, is) in [
            (left, true),
            (record(0, Method::Bye, Counter::OutOriginalFirst, &[]), true),
            (
                record(0, Method::Bye, Counter::OutRedirectedDialog, &[]),
                false,
            ),
            (record(0, Method::Bye, Counter::OutAlreadyThere, &[]), false),
            (
                record(200, Method::Invite, Counter::OutUnknownResponse, &[]),
                false,
            ),
            (record(0, Method::Invite, Counter::InRequest, &[]), false),
        ] {
            assert_eq!(was_left(&record), is, "{record:?}");
        }
        let mut story = story(&[left], vec![]);
        story.about = About::Last(20);
        let text = story.render(&TimeZone::UTC);
        assert!(
            text.starts_with("requests that were not redirected, 2023-11-14\nTIME "),
            "{text}"
        );
        assert!(
            text.ends_with("request whose terminal is unknown"),
            "{text}"
        );
        let json = serde_json::to_value(&story).unwrap();
        assert_eq!(json["last"], 20);
        story.packets.clear();
        assert_eq!(
            story.render(&TimeZone::UTC),
            "requests that were not redirected: none among the messages that are kept"
        );
    }

    #[test]
    fn a_call_id_is_hashed_as_in_the_kernel() {
        let secret = [3, 4];
        let mut other = siphasher::sip::SipHasher13::new_with_keys(3, 4);
        other.write(b"1-2345@192.168.1.10");
        assert_eq!(
            hash(b"1-2345@192.168.1.10", &secret).unwrap(),
            other.finish()
        );
        assert!(hash(&[b'x'; 70_000], &secret).is_err());
    }
}
