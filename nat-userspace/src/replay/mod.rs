//! Replays a capture through the kernel programs, without an interface.
//!
//! The programs, their maps and their decisions are those of `sipnat run`. The maps are private, and the programs' clock is that
//! of the capture.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::File,
    io::BufWriter,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use jiff::Timestamp;
use nat_common::{
    abi::{CounterKind, MediaCounter, Record},
    endpoint::Endpoint,
    engine::{REQUEST_URI, media as described},
    sip::{self, Direction, Field, Message},
};

use crate::{
    agent::kinds::{Facts, Kinds},
    checks::preflight,
    host::{
        capture::{self, Ip, Link, Packet, Writer, complete_checksum},
        clock::Calendar,
        net::Own,
        prefix::Prefix,
    },
    kernel::{
        kinds,
        load::{HostAddresses, Loader},
        object,
    },
    replay::{
        player::{Played, Player, START},
        report::{Counted, LeftOut, Pbx, Reason, Report},
        survey::Survey,
    },
    settings::Settings,
    view::story::{Aftermath, Story},
};

mod player;
mod report;
mod survey;

/// A capture, and what is known of the PBX in it.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The capture.
    pub file: PathBuf,
    /// Settings of the programs.
    pub settings: Settings,
    /// Addresses of the PBX; none: guessed.
    pub pbxs: Vec<IpAddr>,
    /// Subnets on the PBX's own links.
    pub on_link: Vec<IpNet>,
    /// File that gets what the wire would have carried.
    pub write: Option<PathBuf>,
}

impl Replay {
    /// Replays it.
    ///
    /// # Errors
    /// If the capture is malformed, has no PBX, or the kernel refuses.
    pub fn run(self) -> Result<Report> {
        let name = self.file.display().to_string();
        let ports = &self.settings.ports;
        let survey = Survey::of(capture::open(&self.file)?, ports).with_context(|| name.clone())?;
        let pbx = self.pbx(&survey).with_context(|| name.clone())?;
        preflight::capabilities()?;
        preflight::Kernel::running()?.check()?;

        let object = object::read(self.settings.object.as_deref())?;
        let loader = Loader::new(&object, &self.settings)
            .addresses(self.addresses(&pbx.addresses))
            .wildcards(u32::MAX)
            .partial_checksums(true);
        let (first, last) = survey.times.unwrap_or_default();
        let mut tape = Tape {
            player: Player::load(loader, first)?,
            pbxs: pbx.addresses.clone(),
            calls: Calls::default(),
            counted: BTreeMap::new(),
            left_out: BTreeMap::new(),
            sent: 0,
            writer: self.writer(&survey)?,
            time: first,
        };
        capture::read(capture::open(&self.file)?, |packet| tape.take(packet))
            .context(name.clone())?;

        let origin = i128::from(first) - i128::from(START);
        let calendar = Calendar::starting(Timestamp::from_nanosecond(origin)?);
        let after = Aftermath::read(tape.player.tables(), tape.player.now(), calendar)?;
        let mut counters: Vec<Counted> = tape.counted.into_values().collect();
        for counter in MediaCounter::ALL {
            let count = tape.player.tables().count_media(*counter)?;
            counters.extend((count > 0).then(|| Counted::of_media(*counter, count)));
        }
        let calls = tape.calls.in_order();
        let calls = calls.map(|(call_id, records)| Story::of_captured(call_id, records, &after));
        let calls = calls.collect::<Result<_>>()?;
        if let Some(writer) = tape.writer {
            writer.finish().context(CANNOT_WRITE)?;
        }
        Ok(Report {
            file: name,
            packets: survey.packets,
            times: survey.times.map(|_| [first, last].map(time)),
            links: survey.links.iter().map(ToString::to_string).collect(),
            end: survey.end,
            pbx,
            on_link: self.on_link.iter().map(ToString::to_string).collect(),
            settle: self.settings.settle,
            left_out: tape.left_out.into_values().collect(),
            sent: tape.sent,
            calls,
            bindings: after.rows,
            counters,
        })
    }

    /// Returns the PBX: as told, or as guessed.
    fn pbx(&self, survey: &Survey) -> Result<Pbx> {
        let ports = self.settings.ports.clone();
        if !self.pbxs.is_empty() {
            survey.has_any(&self.pbxs)?;
            return Ok(Pbx {
                addresses: self.pbxs.clone(),
                ports,
                guessed_by: None,
            });
        }
        let (addr, messages) = survey.guess(&ports)?;
        Ok(Pbx {
            addresses: vec![addr],
            ports,
            guessed_by: Some(messages),
        })
    }

    /// Returns what the programs of the PBX's own host know of addresses.
    fn addresses(&self, pbxs: &[IpAddr]) -> HostAddresses {
        const INTERFACE: u32 = 1;
        let prefixes = |nets: &[IpNet]| nets.iter().copied().map(Prefix::Net).collect::<Vec<_>>();
        let on_link = prefixes(&self.on_link);
        let own = pbxs
            .iter()
            .map(|pbx| (Prefix::Net((*pbx).into()), Own::Local));
        let facts = Facts {
            on_link: on_link.iter().map(|prefix| (*prefix, INTERFACE)).collect(),
            own: own.collect(),
            routes: Vec::new(),
            peers: prefixes(&self.settings.peers),
            registrars: prefixes(&self.settings.registrars),
        };
        let Kinds { entries, .. } = facts.kinds(kinds::capacity());
        HostAddresses {
            on_link,
            kinds: entries.into_iter().collect(),
        }
    }

    fn writer(&self, survey: &Survey) -> Result<Option<Writer<BufWriter<File>>>> {
        let Some(path) = &self.write else {
            return Ok(None);
        };
        let same = |a: &Path, b: &Path| Some(a.canonicalize().ok()? == b.canonicalize().ok()?);
        ensure!(
            same(path, &self.file) != Some(true),
            "{} is the capture itself: name another file",
            path.display()
        );
        let is_ethernet = survey.links.iter().all(|link| *link == Link::Ethernet);
        let writer = File::create(path)
            .and_then(|file| Writer::new(BufWriter::new(file), !is_ethernet))
            .with_context(|| format!("{CANNOT_WRITE} {}", path.display()))?;
        Ok(Some(writer))
    }
}

const CANNOT_WRITE: &str = "cannot write the new capture";

fn time(at: u64) -> Timestamp {
    Timestamp::from_nanosecond(at.into()).unwrap_or_default()
}

/// A capture in the course of its replay.
struct Tape {
    player: Player,
    pbxs: Vec<IpAddr>,
    calls: Calls,
    /// Counters in the order of their kinds.
    counted: BTreeMap<(CounterKind, usize), Counted>,
    left_out: BTreeMap<Reason, LeftOut>,
    /// Number of SIP messages of the PBX.
    sent: u64,
    writer: Option<Writer<BufWriter<File>>>,
    /// Time of the last packet.
    time: u64,
}

impl Tape {
    /// Replays a packet.
    fn take(&mut self, packet: &Packet<'_>) -> Result<()> {
        if let Some(time) = packet.time {
            if time < self.time {
                self.leave_out(Reason::Late, packet.number);
            }
            self.time = self.time.max(time);
        }
        let played = match self.direction(packet) {
            Ok((direction, frame)) => self.play(direction, packet, &frame)?,
            Err(reason) => {
                self.leave_out(reason, packet.number);
                Some(Fate::AsItWas)
            }
        };
        self.write(packet, played)
    }

    /// Returns the direction of a packet, and its Ethernet frame.
    fn direction<'f>(&self, packet: &Packet<'f>) -> Result<(Direction, Cow<'f, [u8]>), Reason> {
        let Packet { link, frame, .. } = *packet;
        let arrived = link.to_ethernet(frame, false).ok_or(Reason::NotIp)?;
        let ip = Ip::of(&arrived).ok_or(Reason::NotIp)?;
        let is_pbx = |addr| self.pbxs.contains(&addr);
        let direction = match [ip.source, ip.destination].map(is_pbx) {
            [true, true] => return Err(Reason::ToItself),
            [false, false] => return Err(Reason::NotOfPbx),
            [false, true] => Direction::In,
            [true, false] => Direction::Out,
        };
        if !packet.is_whole() {
            return Err(Reason::Cut);
        }
        let frame = match direction {
            Direction::In => arrived,
            Direction::Out => {
                let mut sent = link.to_ethernet(frame, true).ok_or(Reason::NotIp)?;
                complete_checksum(sent.to_mut());
                sent
            }
        };
        Ok((direction, frame))
    }

    /// Runs a program on a frame, and takes down what came of it.
    fn play(
        &mut self,
        direction: Direction,
        packet: &Packet<'_>,
        frame: &[u8],
    ) -> Result<Option<Fate>> {
        let Some(played) = self.player.play(direction, packet.time, frame)? else {
            self.leave_out(Reason::Length, packet.number);
            return Ok(Some(Fate::AsItWas));
        };
        for (counter, growth) in &played.counted {
            let key = (counter.kind(), *counter as usize);
            let first = || Counted::new(*counter, packet.number);
            self.counted.entry(key).or_insert_with(first).packets += growth;
        }
        if let Some(ip) = Ip::of(frame)
            && let Some((_, payload)) = ip.udp
            && let Ok(message) = sip::read(payload)
        {
            self.sent += u64::from(direction == Direction::Out);
            let call_id = message.text(Field::CallId, payload).unwrap_or_default();
            let told = records(&played, direction, &ip, &message);
            self.calls.add(call_id, packet.number, told);
        }
        // What is changed on arrival is changed behind the wire.
        Ok(match direction {
            Direction::In => Some(Fate::AsItWas),
            Direction::Out => played.frame.map(Fate::Frame),
        })
    }

    fn leave_out(&mut self, reason: Reason, number: usize) {
        let left_out = self.left_out.entry(reason).or_insert(LeftOut {
            reason,
            packets: 0,
            first: number,
        });
        left_out.packets += 1;
    }

    /// Writes what the wire would have carried.
    fn write(&mut self, packet: &Packet<'_>, fate: Option<Fate>) -> Result<()> {
        let (Some(writer), Some(fate)) = (&mut self.writer, fate) else {
            return Ok(());
        };
        let missing = packet.sent.saturating_sub(packet.frame.len());
        let time = packet.time.unwrap_or(self.time);
        let written = match fate {
            Fate::Frame(frame) => writer.write(time, &frame, missing),
            Fate::AsItWas => match packet.link.to_ethernet(packet.frame, false) {
                Some(frame) => writer.write(time, &frame, missing),
                None if packet.link == Link::Ethernet => writer.write(time, packet.frame, missing),
                None => Ok(()),
            },
        };
        written.context(CANNOT_WRITE)
    }
}

/// Frame that goes on.
enum Fate {
    /// That of the capture.
    AsItWas,
    /// This one.
    Frame(Vec<u8>),
}

/// Returns the records of a message, or makes one: the programs keep none of what terminals send, but of their answers.
fn records(played: &Played, direction: Direction, ip: &Ip<'_>, message: &Message) -> Vec<Record> {
    let mut records = played.records.clone();
    let is_message = |record: &Record| ![described::VERDICT, REQUEST_URI].contains(&record.verdict);
    if !records.iter().any(is_message) {
        let events = played.counted.iter();
        let mut record = Record {
            at: played.at,
            cseq: message.cseq,
            events: events.map(|(event, _)| event.event_bit()).sum(),
            status: message.status,
            method: message.method as u8,
            verdict: played.verdict as u8,
            ..Record::default()
        };
        let [source, destination] = ip.ends().map(Endpoint::from);
        match direction {
            Direction::In => record.set_learned(&source),
            Direction::Out => record.set_original(&destination),
        }
        records.push(record);
    }
    records
}

/// Records of calls, with the numbers of their packets, in the order of their first packets.
#[derive(Default)]
struct Calls {
    order: Vec<Vec<u8>>,
    records: HashMap<Vec<u8>, Vec<(usize, Record)>>,
}

impl Calls {
    fn add(&mut self, call_id: &[u8], number: usize, records: Vec<Record>) {
        if !self.records.contains_key(call_id) {
            self.order.push(call_id.to_vec());
            self.records.insert(call_id.to_vec(), Vec::new());
        }
        if let Some(known) = self.records.get_mut(call_id) {
            known.extend(records.into_iter().map(|record| (number, record)));
        }
    }

    fn in_order(&self) -> impl Iterator<Item = (&[u8], &[(usize, Record)])> {
        let records = |call_id: &Vec<u8>| self.records.get(call_id).map(Vec::as_slice);
        self.order
            .iter()
            .filter_map(move |call_id| Some((call_id.as_slice(), records(call_id)?)))
    }
}
