//! The engine's decisions, row by row of the tables in ARCHITECTURE.md.
//!
//! A test writes a message ([`from_phone`], [`from_pbx`], [`register`], [`call_phone`]), lets it arrive
//! ([`Network::arrives`]) or lets the PBX send it ([`Network::sends`]), and compares the destination and the counters. To
//! add one, take the module of its topic. The engine runs on maps in memory.

mod answers;
mod claims;
mod contacts;
mod dialogs;
mod entries;
mod facts;
mod follow;
mod fragments;
mod keepalives;
mod pending;
mod policy;
mod reach;
mod records;
mod registrations;
mod rules;
mod seeming;
mod senders;
mod states;
mod stun;
mod taken;
mod transactions;
mod weak;

use std::ops::Deref;

use nat_common::abi::{Binding, Counter, SECOND};
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::sip::{Direction, Message};
use nat_test_oracle::env::MemoryEnv;

/// Source of the packets of a phone behind NAT.
const PHONE: ([u8; 4], u16) = ([60, 17, 196, 2], 49163);

/// Source of the same phone after its mapping has changed.
const MOVED: ([u8; 4], u16) = ([60, 17, 196, 2], 51000);

/// Address in its Contact.
const ADVERTISED: ([u8; 4], u16) = ([192, 168, 1, 10], 5060);

/// Address in its Contact behind an ALG that forgets the port.
const FORGOTTEN: ([u8; 4], u16) = ([60, 17, 196, 2], 5060);

/// Source of another host.
const STRANGER: ([u8; 4], u16) = ([198, 51, 100, 66], 6666);

type Address = ([u8; 4], u16);

fn endpoint(address: Address) -> Endpoint {
    Endpoint::v4(address.0, address.1)
}

/// Branch of a message without one, as devices of RFC 2543 send it.
const NO_BRANCH: &str = "";

/// A PBX, its phones, and sipnat between them.
struct Network(MemoryEnv);

impl Deref for Network {
    type Target = MemoryEnv;

    fn deref(&self) -> &MemoryEnv {
        &self.0
    }
}

impl Network {
    fn new() -> Self {
        Self(MemoryEnv::new())
    }

    fn scan(&self, m: &Sip, direction: Direction) -> Message {
        let text = m.text();
        self.0
            .scan(text.as_bytes(), direction)
            .unwrap_or_else(|d| panic!("{d:?}: {text}"))
    }

    /// A message arrives. Returns the counters, the verdict last.
    fn arrives(&self, from: Address, m: &Sip) -> Vec<Counter> {
        let message = self.scan(m, Direction::In);
        let heard = engine::ingress(&self.0, &message, &Endpoint::v4(from.0, from.1));
        self.counted(heard.counter())
    }

    /// The PBX sends a message. Returns its destination and the counters, the verdict last.
    fn sends(&self, to: Address, m: &Sip) -> (Address, Vec<Counter>) {
        let message = self.scan(m, Direction::Out);
        let datagram = Datagram {
            destination: Endpoint::v4(to.0, to.1),
            ..Datagram::default()
        };
        let mut destination = datagram.destination;
        let decision = engine::egress(&self.0, &message, &datagram, &mut destination);
        (
            (destination.as_v4(), destination.port as u16),
            self.counted(decision.counter()),
        )
    }

    fn counted(&self, verdict: Counter) -> Vec<Counter> {
        let mut events = self.events.take();
        events.push(verdict);
        events
    }

    fn wait(&self, seconds: u64) {
        self.now.set(self.now.get() + seconds * SECOND);
    }

    fn active(&self) -> Vec<Binding> {
        let now = self.now.get();
        self.dialogs()
            .into_values()
            .filter(|b| b.expires > now)
            .collect()
    }
}

/// SIP message under construction.
#[derive(Clone)]
struct Sip {
    start: String,
    vias: Vec<&'static str>,
    from: String,
    to: String,
    call: &'static str,
    cseq: (u32, &'static str),
    more: Vec<String>,
}

/// Request of the phone `1000` to `1002`, with the phone's tag in From.
fn from_phone(method: &'static str, cseq: u32, branch: &'static str) -> Sip {
    Sip {
        start: format!("{method} sip:1002@pbx SIP/2.0"),
        vias: vec![branch],
        from: "<sip:1000@pbx>;tag=phone".into(),
        to: "<sip:1002@pbx>".into(),
        call: "call",
        cseq: (cseq, method),
        more: vec!["Contact: <sip:1000@192.168.1.10>".into()],
    }
}

/// Request of the PBX to the phone, with the phone's tag in To.
fn from_pbx(method: &'static str, cseq: u32, branch: &'static str) -> Sip {
    Sip {
        start: format!("{method} sip:1000@192.168.1.10 SIP/2.0"),
        vias: vec![branch],
        from: "<sip:1002@pbx>;tag=pbx".into(),
        to: "<sip:1000@pbx>;tag=phone".into(),
        call: "call",
        cseq: (cseq, method),
        more: vec![],
    }
}

/// REGISTER of the phone.
fn register(cseq: u32, branch: &'static str, contact: &str) -> Sip {
    Sip {
        start: "REGISTER sip:pbx SIP/2.0".into(),
        to: "<sip:1000@pbx>".into(),
        call: "registration",
        cseq: (cseq, "REGISTER"),
        more: vec![format!("Contact: {contact}")],
        ..from_phone("REGISTER", cseq, branch)
    }
}

/// INVITE of the PBX to the phone's contact.
fn call_phone(branch: &'static str) -> Sip {
    Sip {
        to: "<sip:1000@pbx>".into(),
        call: "incoming",
        ..from_pbx("INVITE", 1, branch)
    }
}

impl Sip {
    fn tagged(mut self, tag: &str) -> Self {
        self.to = format!("{};tag={tag}", self.to);
        self
    }

    fn with(mut self, header: &str) -> Self {
        self.more.push(header.into());
        self
    }

    fn call(mut self, call: &'static str) -> Self {
        self.call = call;
        self
    }

    /// Returns the response to this request.
    fn answer(&self, status: u16) -> Self {
        let mut answer = self.clone();
        answer.start = format!("SIP/2.0 {status} Reason");
        answer.more.clear();
        if !answer.to.contains("tag=") && status > 100 {
            answer.to.push_str(";tag=pbx");
        }
        answer
    }

    /// Replaces the tag of To.
    fn tagged_as(mut self, tag: &str) -> Self {
        let uri = self.to.split(';').next().unwrap().to_owned();
        self.to = format!("{uri};tag={tag}");
        self
    }

    fn text(&self) -> String {
        let vias: Vec<_> = self
            .vias
            .iter()
            .map(|b| match *b {
                NO_BRANCH => "Via: SIP/2.0/UDP x\r\n".into(),
                b => format!("Via: SIP/2.0/UDP x;branch=z9hG4bK{b}\r\n"),
            })
            .collect();
        format!(
            "{}\r\n{}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n{}\r\n\r\n",
            self.start,
            vias.concat(),
            self.from,
            self.to,
            self.call,
            self.cseq.0,
            self.cseq.1,
            self.more.join("\r\n")
        )
        .replace("\r\n\r\n\r\n", "\r\n\r\n")
    }
}

impl Network {
    /// The phone calls, and the PBX accepts.
    fn call(&self) {
        let invite = from_phone("INVITE", 1, "invite");
        self.arrives(PHONE, &invite);
        self.sends(PHONE, &invite.answer(200));
    }

    /// The phone registers, and the PBX accepts.
    fn register(&self) {
        let m = register(1, "r1", "<sip:1000@192.168.1.10>");
        self.arrives(PHONE, &m);
        self.sends(
            PHONE,
            &m.answer(200)
                .with("Contact: <sip:1000@192.168.1.10>;expires=60"),
        );
    }

    /// The phone registers its Contact from a host, by a Call-ID of its own, and the PBX accepts.
    fn registers_from(&self, source: Address, call: &'static str) {
        let m = register(1, call, "<sip:1000@192.168.1.10>").call(call);
        self.arrives(source, &m);
        self.sends(source, &m.answer(200));
        self.wait(1);
    }

    /// Somebody registers a Contact, and the PBX accepts.
    fn registers_as(&self, from: Address, user: &str, contact: &str, call: &'static str) {
        let m = Sip {
            to: format!("<sip:{user}@pbx>"),
            ..register(1 + (self.now.get() / SECOND) as u32, call, contact).call(call)
        };
        self.arrives(from, &m);
        self.sends(from, &m.answer(200));
    }

    /// The phone acknowledges the PBX's 200.
    fn acknowledge(&self) -> Vec<Counter> {
        self.arrives(PHONE, &from_phone("ACK", 1, "ack").tagged("pbx"))
    }

    /// The PBX sends its next request in the dialog to the phone's Contact. Returns its destination and the counters.
    fn reinvite(&self, branch: &'static str) -> (Address, Vec<Counter>) {
        self.sends(ADVERTISED, &from_pbx("INVITE", 102, branch))
    }
}

/// The PBX sends a request of the phone's dialog `times` times. Returns destination and verdict of each transmission.
fn transmissions(net: &Network, m: &Sip, times: usize) -> Vec<(Address, Counter)> {
    transmissions_to(net, ADVERTISED, m, times)
}

/// The same to any address.
fn transmissions_to(net: &Network, to: Address, m: &Sip, times: usize) -> Vec<(Address, Counter)> {
    let send = |_| {
        let (to, counted) = net.sends(to, m);
        (to, *counted.last().unwrap())
    };
    (0..times).map(send).collect()
}

const REDIRECTED: (Address, Counter) = (PHONE, Counter::OutRedirectedDialog);
