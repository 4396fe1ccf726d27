//! The network: packets between the PBX and the actors, with the engine between them.

use std::collections::{HashMap, HashSet, VecDeque};

use nat_common::abi::{Counter, SECOND, TICK_SHIFT, address};
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::engine::env::Checksum;
use nat_common::sip::Direction;

use super::actor::Actor;
use super::input::{Pause, Registrar, Setup, Transit, TrunkKind};
use super::sip::{Branch, Call, PBX, Place, Sip, Tag, Uri};
use super::state::{Pbx, Terminal};
use crate::env::MemoryEnv;

/// Most packets of one step: a loop ends there.
const MAX_PACKETS: u32 = 100;

/// Time between two packets that arrive: one tick of sipnat's clock, so that it knows which one is older.
const TICK: u64 = 1 << TICK_SHIFT;

/// Seconds after which each terminal has registered again.
const SETTLED: u64 = 3600;

/// Way of a packet to or from the PBX's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// The PBX's socket.
    Pbx,
    /// Another socket of its host.
    Other,
    /// TCP, which sipnat does not see.
    Unseen,
}

/// Use of a packet that the PBX sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Request of a client transaction.
    Request(usize),
    /// CANCEL or ACK of a client transaction.
    Follow(usize),
    /// ACK to a 2xx: the actor that is meant, and whether the rules hold for it.
    Ack(Option<Actor>, bool),
    /// Response of a server transaction.
    Response(usize),
    /// Response to a request that the PBX does not know.
    Stray,
    /// Packet of the other socket.
    Foreign,
}

/// Packet on its way.
pub(super) enum Event {
    Arrives {
        by: Actor,
        source: Endpoint,
        path: Path,
        transit: Transit,
        sip: Sip,
    },
    Leaves {
        to: Endpoint,
        purpose: Purpose,
        sip: Sip,
    },
}

/// Address and port as a key.
pub(super) type Key = ([u64; 2], u32);

pub(super) fn key(place: &Endpoint) -> Key {
    (place.addr, place.port)
}

/// Answer that a terminal gave by itself at an original destination.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    pub(super) at: u64,
    /// The request named the terminal by its address-of-record.
    pub(super) by_contact: bool,
}

/// Place at which the PBX heard the victim in a dialog.
#[derive(Clone, Copy)]
pub(super) struct Heard {
    pub(super) source: Endpoint,
    pub(super) at: u64,
    /// The PBX's last answer went there.
    pub(super) told: bool,
    /// The victim got what was sent there.
    pub(super) proven: bool,
    /// sipnat knows whose dialog it is: no NOTIFY came ahead of the answer, and no Contact URI alone named the victim.
    pub(super) owned: bool,
}

/// Transmissions without an answer.
#[derive(Clone, Copy, Default)]
pub(super) struct Unanswered {
    pub(super) count: u32,
    /// Time of the last one that was counted.
    pub(super) at: u64,
}

/// Proof of the victim's learned address.
#[derive(Clone, Copy)]
pub(super) struct Proof {
    pub(super) learned: Endpoint,
    pub(super) original: Endpoint,
    pub(super) at: u64,
    /// Requests that somebody else has answered at the original destination since.
    pub(super) strikes: u32,
    /// The last of them.
    pub(super) struck_at: Option<usize>,
}

/// Knowledge that the rules need of what has happened.
#[derive(Default)]
pub(super) struct Watch {
    /// Transmissions to a terminal without an answer, by its learned and original address; those that only the Contact URI
    /// names are counted on their own.
    pub(super) unanswered: HashMap<(Actor, Key, Key, bool), Unanswered>,
    /// Answers at an original destination.
    pub(super) answered: HashMap<(Actor, Key), Answered>,
    pub(super) proof: Option<Proof>,
    /// Somebody else answered at the victim's Contact.
    pub(super) somebody_answered: bool,
    /// He did so as a terminal does whose user is called.
    pub(super) somebody_accepted: bool,
    /// sipnat has seen the victim's registration, which lasts until then.
    pub(super) knows_victim_until: u64,
    /// Time at which sipnat started.
    pub(super) began: u64,
    /// Source of the victim's last registration.
    pub(super) registered: Option<Endpoint>,
    /// Time at which the PBX accepted it.
    pub(super) registered_at: u64,
    /// Time until which sipnat knows it. A later one may be disputed.
    pub(super) registered_until: u64,
    /// What the PBX last heard of the victim in a dialog, by Call-ID, its tag and the other tag.
    pub(super) heard: HashMap<(Call, Tag, Tag), Heard>,
    /// Who sent a REGISTER of a Call-ID, From-tag and CSeq that sipnat has read.
    pub(super) registers: HashMap<(Call, Tag, u32), HashSet<Actor>>,
    /// Time at which the neighbour registered, at port 5060 of the NAT.
    pub(super) occupied: Option<u64>,
    /// Another account has registered the victim's Contact URI, and sipnat has not seen the victim's registration.
    pub(super) uri_claimed: bool,
    /// Another account has bound the victim's Contact URI.
    pub(super) uri_bound: bool,
    /// Somebody else has answered for the trunk.
    pub(super) trunk_replaced: bool,
    /// Sender of the last SUBSCRIBE or REFER of a Call-ID and tag that the PBX has not answered, and its time.
    pub(super) subscribed: HashMap<(Call, Tag), (Actor, u64)>,
    /// Time at which the PBX last accepted a call of the trunk, which acknowledged that.
    pub(super) trunk_called: Option<u64>,
    /// Claims of the victim's contact that sipnat takes for accepted.
    pub(super) claim: Claim,
    /// sipnat has seen the PBX relay a request, and takes it for a proxy from then on.
    pub(super) relays: bool,
    /// Pairs of learned and original address of the public phone, at whose learned address it seemed to be: it answered from
    /// there, where it does not listen, soon after a transmission went there.
    pub(super) seems: HashMap<(Key, Key), Seems>,
    /// What proves the victim's learned address only seems so: the original destination was tried before.
    pub(super) victim_seems: bool,
    /// Time at which it was disproved. The victim was slow, or the network delivered something twice.
    pub(super) victim_doubted: Option<u64>,
    /// ACKs in a row that missed a terminal, by Call-ID, tags and number.
    pub(super) missed_acks: HashMap<(Call, Tag, Tag, u32), u32>,
    /// Contacts that the PBX has accepted, by their address. sipnat may know more of them than the PBX, and not fewer.
    pub(super) places: Vec<ClaimedPlace>,
    /// Time until which several owners have a contact with an address.
    pub(super) shared: HashMap<Key, u64>,
}

/// Place at which a terminal seemed to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seems {
    /// It still does. The first transmission may go there.
    So,
    /// A request that did not go there was answered from there, at this time: the terminal listens elsewhere.
    Disproved(u64),
}

/// Contact with an address.
#[derive(Clone, Copy)]
pub(super) struct ClaimedPlace {
    pub(super) place: Key,
    pub(super) owner: Uri,
    /// Call-ID of its REGISTER.
    pub(super) call: Call,
    pub(super) until: u64,
}

/// Claim of the victim's contact: the PBX relayed a 2xx to an attacker's REGISTER in a way that sipnat does not see.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Claim {
    /// There is none.
    #[default]
    None,
    /// A host of his own, beside the victim's, at a PBX that is no proxy. The victim's comes first. If sipnat takes the PBX for a proxy
    /// since, it believes neither once the victim registers again.
    Host,
    /// The same once the PBX has called: if the victim does not answer, the other host has the next transmission.
    Turn,
    /// The same at a proxy: sipnat believes neither until then.
    Contest(u64),
    /// sipnat believes him, until the victim registers again. From another host than the victim's, his claim lasts until then
    /// beside the victim's.
    Believed(u64),
}

/// A PBX, its terminals, attackers, and sipnat on the PBX's host.
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) env: MemoryEnv,
    started: u64,
    pub(super) pbx: Pbx,
    terminals: [Terminal; Actor::COUNT],
    /// REGISTERs of attackers.
    pub(super) registers: Vec<(Actor, Sip)>,
    /// Tags that attackers were told.
    pub(super) learned_tags: Vec<Tag>,
    /// Number of the next call.
    pub(super) next_call: Call,
    next_tag: Tag,
    next_branch: Branch,
    queue: VecDeque<Event>,
    pub(super) watch: Watch,
    /// Story, if it is wanted.
    pub(super) story: Option<Vec<String>>,
    /// First rule that was broken.
    pub(super) failure: Option<String>,
}

/// Returns tables in which no story pushes out what it needs: the rules know no flood.
fn tables() -> MemoryEnv {
    MemoryEnv::with_sets(512)
}

impl World {
    pub(super) fn new(setup: Setup, traced: bool) -> Self {
        let mut world = Self {
            setup,
            env: tables(),
            started: 0,
            pbx: Pbx::default(),
            terminals: Default::default(),
            registers: Vec::new(),
            learned_tags: Vec::new(),
            next_call: 10,
            next_tag: 1000,
            next_branch: 1,
            queue: VecDeque::new(),
            watch: Watch::default(),
            story: traced.then(Vec::new),
            failure: None,
        };
        let now = 100_000 * SECOND;
        world.boot(now);
        if setup.settled {
            world.started = now - SETTLED * SECOND;
        }
        world.env.settled.set(setup.settled);
        world
    }

    /// Starts sipnat with empty tables.
    pub(super) fn boot(&mut self, now: u64) {
        self.env = tables();
        self.env.now.set(now);
        self.env.settled.set(false);
        self.started = now;
        for server in &mut self.pbx.servers {
            // sipnat counts anew.
            (server.sent, server.repeats, server.missed) = (0, 0, 0);
        }
        self.watch = Watch {
            began: now,
            ..Watch::default()
        };
        let setup = &self.setup;
        let mut kinds = self.env.kinds.borrow_mut();
        let mut kind = |place: Endpoint, kind| kinds.push((place, kind));
        match setup.registrar {
            Registrar::Named => kind(
                setup.source(Actor::Registrar, 0),
                address::ROUTED | address::REGISTRAR,
            ),
            _ => kind(setup.source(Actor::Registrar, 0), address::ROUTED),
        }
        match setup.trunk {
            TrunkKind::Peer => kind(setup.source(Actor::Trunk, 0), address::PEER),
            TrunkKind::OnLink => kind(setup.source(Actor::Trunk, 0), address::on_link(2)),
            TrunkKind::Public | TrunkKind::Private => {}
        }
        kind(Endpoint::v4([10, 8, 0, 7], 5060), address::ROUTED);
    }

    pub(super) fn now(&self) -> u64 {
        self.env.now.get()
    }

    /// Time from which each terminal has registered again.
    pub(super) const fn settles_at(&self) -> u64 {
        self.started + SETTLED * SECOND
    }

    pub(super) fn terminal(&mut self, actor: Actor) -> &mut Terminal {
        &mut self.terminals[actor as usize]
    }

    /// Number of changes of the victim's mapping, or of another actor's port.
    pub(super) fn changes(&self, actor: Actor) -> u16 {
        self.terminals[actor as usize].changes
    }

    /// Address from which an actor sends now.
    pub(super) fn source(&self, actor: Actor) -> Endpoint {
        self.setup.source(actor, self.changes(actor))
    }

    /// Actor that takes a packet to an address now.
    pub(super) fn listener(&self, place: &Endpoint, is_response: bool) -> Option<Actor> {
        let changes = self.changes(Actor::Victim);
        self.setup.listener(place, is_response, changes)
    }

    /// Tag that nobody guesses.
    pub(super) fn tag(&mut self) -> Tag {
        self.next_tag += 1;
        self.next_tag
    }

    /// Branch of the PBX.
    pub(super) fn branch(&mut self) -> Branch {
        self.next_branch += 1;
        self.next_branch
    }

    /// Number of a new call.
    pub(super) fn call(&mut self) -> Call {
        self.next_call += 1;
        self.next_call - 1
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, nanoseconds: u64) {
        let now = self.now() + nanoseconds;
        self.env.now.set(now);
        let settled = now >= self.settles_at();
        self.env.settled.set(settled);
    }

    pub(super) fn pause(&mut self, pause: Pause) {
        self.wait(match pause {
            Pause::Tenth => SECOND / 10,
            Pause::HalfSecond => SECOND * 6 / 10,
            Pause::Second => SECOND,
            Pause::Five => 5 * SECOND,
            Pause::Ten => 10 * SECOND,
            Pause::Forty => 40 * SECOND,
            Pause::Minute => 61 * SECOND,
            Pause::Early => 310 * SECOND,
            Pause::HalfHour => 1800 * SECOND,
            Pause::Hour => 3601 * SECOND,
            Pause::Half => 13 * 3600 * SECOND,
            Pause::Day => 25 * 3600 * SECOND,
        });
    }

    /// Adds a line to the story.
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }

    /// Notes that a rule was broken.
    pub(super) fn fail(&mut self, reason: String) {
        self.tell(|| format!("BROKEN: {reason}"));
        if self.failure.is_none() {
            self.failure = Some(reason);
        }
    }

    pub(super) fn arrives(&mut self, by: Actor, source: Endpoint, path: Path, sip: Sip) {
        self.queue.push_back(Event::Arrives {
            by,
            source,
            path,
            transit: Transit::Right,
            sip,
        });
    }

    pub(super) fn post(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    pub(super) fn leaves(&mut self, to: Endpoint, purpose: Purpose, sip: Sip) {
        self.queue.push_back(Event::Leaves { to, purpose, sip });
    }

    /// Lets all packets arrive that are on their way, and those that they cause.
    pub(super) fn run(&mut self) {
        for _ in 0..MAX_PACKETS {
            if self.failure.is_some() {
                break;
            }
            match self.queue.pop_front() {
                Some(Event::Arrives {
                    by,
                    source,
                    path,
                    transit,
                    sip,
                }) => self.enter(by, source, path, transit, sip),
                Some(Event::Leaves { to, purpose, sip }) => self.exit(to, purpose, sip),
                None => return,
            }
        }
        self.queue.clear();
    }

    /// A packet arrives at the PBX's host.
    fn enter(&mut self, by: Actor, source: Endpoint, path: Path, transit: Transit, mut sip: Sip) {
        self.wait(TICK);
        self.note_neighbour(by, &source, sip.status);
        let mut heard = None;
        if path != Path::Unseen {
            self.env.socket.set(match path {
                Path::Other => self.setup.other_socket(),
                Path::Pbx | Path::Unseen => PBX,
            });
            self.env.checksum.set(match transit {
                Transit::Right | Transit::Filtered => Checksum::Right,
                Transit::BadChecksum => Checksum::Wrong,
                Transit::Fragment => Checksum::Unknown,
            });
            let text = sip.text();
            let message = self.env.scan(text.as_bytes(), Direction::In);
            let message = message.unwrap_or_else(|doubt| panic!("{doubt:?}: {text}"));
            if (sip.method, sip.status) == ("REGISTER", 0)
                && self.env.checksum.get() == Checksum::Right
            {
                let name = (sip.call, sip.from.tag, sip.cseq);
                // At another port, its Request-URI may lead elsewhere: to sipnat this is another sender's.
                let by = if path == Path::Other {
                    Actor::Local
                } else {
                    by
                };
                self.watch.registers.entry(name).or_default().insert(by);
            }
            heard = Some(engine::ingress(&self.env, &message, &source));
        }
        let events = self.env.events.take();
        if self.story.is_some() {
            self.tell(|| {
                format!(
                    "  {} -> {path:?} ({by:?}, {transit:?}): {}  [{heard:?} {events:?}]",
                    Place(&source),
                    summary(&sip)
                )
            });
        }
        match (transit, path) {
            (Transit::BadChecksum | Transit::Fragment | Transit::Filtered, _) => {}
            (Transit::Right, Path::Other) => self.local_gets(&sip, source),
            (Transit::Right, Path::Pbx | Path::Unseen) if sip.status == 0 => {
                self.pbx_asked(sip, source, by);
            }
            (Transit::Right, Path::Pbx | Path::Unseen) => {
                sip.unseen = path == Path::Unseen;
                self.pbx_told(&sip, source, by);
            }
        }
    }

    /// A packet leaves the PBX's host.
    fn exit(&mut self, original: Endpoint, purpose: Purpose, sip: Sip) {
        let is_response = sip.status != 0;
        if sip.unseen && !is_response {
            self.tell(|| format!("  Unseen -> {}: {}", Place(&original), summary(&sip)));
            if let Some(actor) = self.listener(&original, false) {
                self.deliver(actor, original, Path::Unseen, sip);
            }
            return;
        }
        let (socket, path) = match purpose {
            Purpose::Foreign => (self.setup.other_socket(), Path::Other),
            _ => (PBX, Path::Pbx),
        };
        self.env.socket.set(socket);
        let text = sip.text();
        let message = self.env.scan(text.as_bytes(), Direction::Out);
        let message = message.unwrap_or_else(|doubt| panic!("{doubt:?}: {text}"));
        let datagram = Datagram {
            source: socket,
            destination: original,
            ..Datagram::default()
        };
        let mut to = original;
        let decision = engine::egress(&self.env, &message, &datagram, &mut to);
        let began = self.env.events.borrow().contains(&Counter::DialogActivated);
        let receiver = self.listener(&to, is_response);
        if self.story.is_some() {
            let events = self.env.events.take();
            self.tell(|| {
                format!(
                    "  {path:?} -> {} (original {}) {receiver:?} {purpose:?}: {}  [{decision:?} {events:?}]",
                    Place(&to),
                    Place(&original),
                    summary(&sip)
                )
            });
        }
        self.env.events.take();
        self.watch.relays |=
            path == Path::Pbx && !is_response && sip.to.tag == 0 && sip.vias.len() > 1;
        self.judge_hop(original, &sip, to);
        self.judge_beginning(&sip, began);
        self.judge(original, purpose, &sip, decision, to, receiver);
        if self.failure.is_some() {
            return;
        }
        if let Some(actor) = receiver {
            self.deliver(actor, to, path, sip);
        }
    }
}

/// First line of a message with what identifies it.
fn summary(sip: &Sip) -> String {
    let start = match sip.status {
        0 => format!("{} {}", sip.method, sip.target),
        status => format!("{status} to {}", sip.method),
    };
    let contact = sip
        .contact()
        .map_or_else(String::new, |uri| format!(" contact {uri}"));
    format!(
        "{start} call{} cseq {} branch {} from {};t{} to {};t{}{contact}",
        sip.call,
        sip.cseq,
        sip.branch(),
        sip.from.uri,
        sip.from.tag,
        sip.to.uri,
        sip.to.tag,
    )
}
