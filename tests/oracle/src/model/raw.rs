//! Any messages in any order: fewer rules, which hold even so.
//!
//! - Only the PBX's acceptance is evidence: its 2xx to a REGISTER for contacts, and what a dialog end may move by.
//! - A dialog end that changes is that of the message, and its address is a source or destination of the transaction.
//! - A redirect has a reason. With policy `off`, and in shadow, there is none.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use nat_common::abi::{Binding, BindingFlags, DialogKey, Policy, SECOND};
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::engine::env::{Checksum, Hashes as _, Journal as _, Text as _};
use nat_common::engine::verdict::{Decision, Heard};
use nat_common::sip::{Direction, Field, Message, Method, header};
use nat_common::tables::key;

use super::sip::PBX;
use crate::env::MemoryEnv;

/// Bytes of an input, in order. It ends with zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }
}

/// Message of a small vocabulary, so that messages are related to each other.
#[derive(Clone, Debug)]
struct Sip {
    status: u8,
    method: u8,
    call: u8,
    cseq: u8,
    branch: u8,
    from: u8,
    to: u8,
    uri: u8,
    contact: u8,
    headers: u8,
    /// Socket of the PBX, and the UDP checksum.
    way: u8,
}

const METHODS: [&str; 8] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "SUBSCRIBE",
    "NOTIFY",
    "OPTIONS",
];
const STATUSES: [u16; 8] = [0, 100, 180, 200, 202, 302, 408, 481];
const URIS: [&str; 4] = [
    "1000@192.168.1.10:5060",
    "1000@60.17.196.2",
    "1001@192.168.1.10:5060",
    "1000@198.51.100.7:5070",
];
const TERMINALS: [([u8; 4], u16); 4] = [
    ([60, 17, 196, 2], 5060),
    ([60, 17, 196, 2], 49163),
    ([192, 168, 1, 10], 5060),
    ([198, 51, 100, 7], 5070),
];

fn pick<T: Copy>(all: &[T], n: u8) -> T {
    all[usize::from(n) % all.len()]
}

fn endpoint(n: u8) -> Endpoint {
    let (address, port) = pick(&TERMINALS, n);
    Endpoint::v4(address, port)
}

impl Sip {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        Self {
            status: bytes.next(),
            method: bytes.next(),
            call: bytes.next(),
            cseq: bytes.next(),
            branch: bytes.next(),
            from: bytes.next(),
            to: bytes.next(),
            uri: bytes.next(),
            contact: bytes.next(),
            headers: bytes.next(),
            way: bytes.next(),
        }
    }

    fn socket(&self) -> Endpoint {
        match self.way & 7 {
            7 => Endpoint::v4([203, 0, 113, 10], 5062),
            _ => PBX,
        }
    }

    fn checksum(&self) -> Checksum {
        match self.way >> 3 & 7 {
            6 => Checksum::Unknown,
            7 => Checksum::Wrong,
            _ => Checksum::Right,
        }
    }

    fn text(&self) -> String {
        let method = pick(&METHODS, self.method);
        let mut text = match pick(&STATUSES, self.status) {
            0 => format!("{method} sip:{} SIP/2.0\r\n", pick(&URIS, self.uri)),
            status => format!("SIP/2.0 {status} Reason\r\n"),
        };
        let party = |n: u8| {
            let tag = ["", ";tag=a", ";tag=b", ";tag=c"][usize::from(n & 3)];
            format!("<sip:{}@pbx>{tag}", 1000 + (u16::from(n) >> 2 & 3))
        };
        let mut more = |line: std::fmt::Arguments<'_>| {
            write!(text, "{line}\r\n").expect("a string takes what is written");
        };
        more(format_args!(
            "Via: SIP/2.0/UDP h;branch=z9hG4bK{}",
            self.branch & 3
        ));
        if self.headers & 1 != 0 {
            more(format_args!("Via: SIP/2.0/UDP i;branch=z9hG4bKi"));
        }
        if self.headers & 6 == 2 {
            more(format_args!("Record-Route: <sip:p;lr>"));
        }
        if self.headers & 6 == 4 {
            more(format_args!("Route: <sip:p;lr>"));
        }
        more(format_args!("From: {}", party(self.from)));
        more(format_args!("To: {}", party(self.to)));
        more(format_args!("Call-ID: {}", self.call & 3));
        more(format_args!("CSeq: {} {method}", self.cseq & 7));
        let uri = pick(&URIS, self.contact);
        match self.contact >> 2 & 7 {
            0 => more(format_args!("Contact: *")),
            1 => {}
            2 => more(format_args!("Contact: <sip:{uri}>;expires=0")),
            3 => more(format_args!("Contact: <sip:{uri}>;expires=60, <sip:x@h>")),
            4 => more(format_args!("Contact: <sip:x@h>, <sip:{uri}>;expires=9")),
            _ => more(format_args!("Contact: <sip:{uri}>")),
        }
        if self.headers & 24 == 8 {
            more(format_args!("Expires: {}", self.headers >> 5));
        }
        text + "\r\n"
    }

    fn transaction(&self) -> Transaction {
        (
            self.socket().port,
            self.call & 3,
            self.branch & 3,
            self.cseq & 7,
            pick(&METHODS, self.method),
        )
    }
}

/// Key of a transaction: the PBX's port, Call-ID, branch, CSeq and method.
type Transaction = (u32, u8, u8, u8, &'static str);

/// Address and port as a key.
type Place = ([u64; 2], u32);

fn place(e: &Endpoint) -> Place {
    (e.addr, e.port)
}

/// Bindings of dialog ends and of contacts.
type Bindings = (HashMap<DialogKey, Binding>, HashMap<(u64, u64), Binding>);

/// Returns the fields of all bindings that decide about destinations.
fn bindings(env: &MemoryEnv) -> Bindings {
    let proofs = BindingFlags::LEFT_ALONE | BindingFlags::PROVEN | BindingFlags::WEAK;
    let plain = |b: &Binding| Binding {
        redirected: 0,
        flags: b.flags - proofs,
        ..*b
    };
    (
        env.dialogs().iter().map(|(k, b)| (*k, plain(b))).collect(),
        env.contacts()
            .iter()
            .map(|(k, b)| ((k.uri, k.aor), plain(b)))
            .collect(),
    )
}

/// Dialog ends without what an ACK confirms.
fn unconfirmed(dialogs: &HashMap<DialogKey, Binding>) -> HashMap<DialogKey, Binding> {
    let plain = |binding: &Binding| Binding {
        seen: 0,
        expires: 0,
        flags: binding.flags - BindingFlags::UNACKNOWLEDGED,
        ..*binding
    };
    let ends = dialogs.iter();
    ends.map(|(key, binding)| (*key, plain(binding))).collect()
}

/// Checks that a refusal of an INVITE does no more than to end early dialogs (RFC 3261 12.3).
fn check_ended(before: &HashMap<DialogKey, Binding>, after: &HashMap<DialogKey, Binding>) {
    let end = |(key, binding): (&DialogKey, &Binding)| {
        let ended = Binding {
            expires: after[key].expires,
            flags: binding.flags | BindingFlags::ENDED,
            ..*binding
        };
        let ends = binding.flags.contains(BindingFlags::EARLY) && after[key] == ended;
        (*key, if ends { ended } else { *binding })
    };
    let expected: HashMap<_, _> = before.iter().map(end).collect();
    assert_eq!(&expected, after, "a refusal is no evidence");
}

/// Checks that only the terminal's own dialog end is new or has changed, and that its address is a source or a destination
/// of the transaction.
fn check_moved(
    before: &HashMap<DialogKey, Binding>,
    after: &HashMap<DialogKey, Binding>,
    end: &DialogKey,
    places: Option<&HashSet<Place>>,
) {
    for (key, binding) in after {
        if before.get(key) != Some(binding) {
            assert_eq!(key, end, "another dialog end has changed");
            let known = places.is_some_and(|places| places.contains(&place(&binding.learned)));
            assert!(known, "the address is not of this transaction");
        }
    }
}

fn hash(env: &MemoryEnv, m: &Message, part: Field) -> u64 {
    env.digest(m, part.bit());
    env.hash(part as usize)
}

/// Returns the key of the dialog end whose own tag is in `own`, and whose other tag is in `other`.
fn dialog_end(env: &MemoryEnv, m: &Message, own: Field, other: Field) -> DialogKey {
    DialogKey {
        call: hash(env, m, Field::CallId) ^ env.pbx(),
        tag: key::tags(hash(env, m, own), hash(env, m, other)),
    }
}

/// Knowledge of an observer who sees every packet and keeps no tables.
#[derive(Default)]
struct Observer {
    /// Addresses that sent packets or received them.
    real: HashSet<Place>,
    /// Sources of the requests of each transaction.
    sources: HashMap<Transaction, HashSet<Place>>,
    /// Destinations of the PBX's requests of each transaction.
    sent: HashMap<Transaction, HashSet<Place>>,
    /// Transactions of the PBX within dialogs.
    in_dialog: HashSet<Transaction>,
}

impl Observer {
    fn arrives(&mut self, env: &MemoryEnv, peer: &Endpoint, sip: &Sip) {
        env.socket.set(sip.socket());
        env.checksum.set(sip.checksum());
        let text = sip.text();
        let Ok(message) = env.scan(text.as_bytes(), Direction::In) else {
            return;
        };
        let m = &message;
        let transaction = sip.transaction();
        self.real.insert(place(peer));
        if m.status == 0 {
            self.sources
                .entry(transaction)
                .or_default()
                .insert(place(peer));
        }
        let before = bindings(env);
        let heard = engine::ingress(env, m, peer);
        if heard == Heard::Response {
            // The terminal may have moved since the request was sent.
            self.sent
                .entry(transaction)
                .or_default()
                .insert(place(peer));
        }
        let after = bindings(env);
        assert_eq!(before.1, after.1, "only the PBX makes contacts");
        if heard == Heard::Ack {
            // It confirms a call that the PBX has accepted (RFC 3261 13.3.1.4), and moves nothing.
            assert_eq!(unconfirmed(&before.0), unconfirmed(&after.0));
        } else if before.0 != after.0 {
            assert_eq!(heard, Heard::Response, "only an answer is evidence");
            assert_ne!(sip.checksum(), Checksum::Wrong, "the PBX does not see it");
            assert!(m.status > 100, "a request is no evidence without the PBX");
            let creates = m.method.creates_dialog() && m.status < 300;
            if !creates && !self.in_dialog.contains(&transaction) {
                assert_eq!(m.method, Method::Invite, "the request creates no dialog");
                check_ended(&before.0, &after.0);
            }
            let end = dialog_end(env, m, Field::ToTag, Field::FromTag);
            let sent = self.sent.get(&transaction);
            check_moved(&before.0, &after.0, &end, sent);
        }
        self.check_learned(env);
    }

    fn sends(&mut self, env: &MemoryEnv, to: &Endpoint, sip: &Sip) {
        env.socket.set(sip.socket());
        let text = sip.text();
        let Ok(message) = env.scan(text.as_bytes(), Direction::Out) else {
            return;
        };
        let m = &message;
        let before = bindings(env);
        let datagram = Datagram {
            destination: *to,
            ..Datagram::default()
        };
        let mut destination = *to;
        let decision = engine::egress(env, m, &datagram, &mut destination);
        assert!(
            destination == *to || !env.shadow.get(),
            "redirected in the shadow"
        );
        let after = bindings(env);
        if m.status / 100 != 2 || m.method != Method::Register {
            assert_eq!(before.1, after.1, "only 2xx to REGISTER changes contacts");
        }
        // A BYE in a dialog that the PBX knows no more ends it (RFC 3261 12.2.2).
        let ends = m.method == Method::Bye && m.status == 481;
        if m.status >= 300 && m.method == Method::Invite && decision != Decision::Disputed {
            check_ended(&before.0, &after.0);
        } else if m.status == 100 || m.status >= 300 && !ends || decision == Decision::Disputed {
            assert_eq!(before.0, after.0, "a refusal is no evidence");
        }
        if decision == Decision::Disputed {
            assert_eq!(before.1, after.1, "several sources are no evidence");
        }
        if m.status == 0 && m.method == Method::Ack {
            // It confirms a call that the terminal has accepted, and moves nothing.
            assert_eq!(unconfirmed(&before.0), unconfirmed(&after.0));
        } else if before.0 != after.0 {
            let (own, other) = if m.status == 0 {
                assert_eq!(m.method, Method::Notify, "a NOTIFY only overtakes");
                (Field::ToTag, Field::FromTag)
            } else {
                (Field::FromTag, Field::ToTag)
            };
            let end = dialog_end(env, m, own, other);
            let sources = self.sources.get(&sip.transaction());
            let pending = (m.status == 0).then_some(&self.real);
            check_moved(&before.0, &after.0, &end, pending.or(sources));
        }
        if destination != *to {
            self.check_redirect(env, m, sip, &destination, decision);
        }
        self.real.insert(place(&destination));
        if m.status == 0 {
            let sent = self.sent.entry(sip.transaction()).or_default();
            sent.insert(place(&destination));
            if decision.is_choice() {
                // A terminal that answers at the original destination is still known by its learned address.
                sent.insert(place(&env.record().learned()));
            }
            if m.has(Field::ToTag) {
                self.in_dialog.insert(sip.transaction());
            }
        }
        self.check_learned(env);
    }

    /// Checks that a redirect has a reason.
    fn check_redirect(
        &self,
        env: &MemoryEnv,
        m: &Message,
        sip: &Sip,
        destination: &Endpoint,
        decision: Decision,
    ) {
        let now = env.now.get();
        let live = |b: &Binding| b.expires > now && b.contested <= now && b.learned == *destination;
        assert_eq!(
            m.headers & header::ROUTE & if m.status == 0 { 255 } else { 0 },
            0,
            "the request is for another hop"
        );
        match decision {
            Decision::RedirectedResponse => {
                assert!(m.status != 0);
                let sources = self.sources.get(&sip.transaction());
                let asked = sources.is_some_and(|s| s.contains(&place(destination)));
                // The transaction may have been evicted.
                let key = dialog_end(env, m, Field::FromTag, Field::ToTag);
                let known = env.dialogs().get(&key).is_some_and(live);
                assert!(asked || known, "no request came from there");
            }
            Decision::RedirectedInvite => {
                assert!(matches!(m.method, Method::Ack | Method::Cancel));
                let (socket, call, branch, cseq, _) = sip.transaction();
                let sent = self.sent.get(&(socket, call, branch, cseq, "INVITE"));
                assert!(
                    sent.is_some_and(|s| s.contains(&place(destination))),
                    "the INVITE went elsewhere"
                );
            }
            Decision::RedirectedDialog => {
                let key = dialog_end(env, m, Field::ToTag, Field::FromTag);
                assert!(
                    env.dialogs().get(&key).is_some_and(live),
                    "no such dialog end"
                );
            }
            Decision::RedirectedContact => {
                let uri = hash(env, m, Field::RequestUri) ^ env.pbx();
                let original = env.record().original();
                let is_at = |b: &Binding| {
                    b.flags.contains(BindingFlags::BY_ADDRESS) && b.advertised == original
                };
                let mut contacts = env.contacts().into_iter();
                assert!(
                    contacts.any(|(key, b)| live(&b) && (key.uri == uri || is_at(&b))),
                    "no such contact"
                );
            }
            other => panic!("redirected, and decided as {other:?}"),
        }
        if decision != Decision::RedirectedInvite {
            assert_ne!(env.policy.get(), Policy::Off);
        }
    }

    /// Checks that every learned address has sent a packet or received one.
    fn check_learned(&self, env: &MemoryEnv) {
        let dialogs = env.dialogs().into_values();
        // The entry of `Contact: *` has no address.
        let contacts = env.contacts().into_iter().filter(|(key, _)| key.uri != 0);
        for binding in dialogs.chain(contacts.map(|(_, binding)| binding)) {
            assert!(
                self.real.contains(&place(&binding.learned)),
                "no packet came from or went to the learned address"
            );
        }
    }
}

/// Plays an input of any messages.
///
/// # Panics
///
/// If a rule is broken.
pub(super) fn check(input: &[u8]) {
    let env = MemoryEnv::new();
    let mut observer = Observer::default();
    let mut bytes = Bytes(input);
    let mut last = None;
    while !bytes.0.is_empty() {
        match bytes.next() % 8 {
            kind @ (0 | 1) => {
                let peer = bytes.next();
                let sip = Sip::read(&mut bytes);
                if kind == 0 {
                    observer.arrives(&env, &endpoint(peer), &sip);
                } else {
                    observer.sends(&env, &endpoint(peer), &sip);
                }
                last = Some((kind == 0, peer, sip));
            }
            // The other side answers the last message.
            kind @ (2 | 3) => {
                let Some((arrived, place, mut sip)) = last.take() else {
                    continue;
                };
                sip.status = bytes.next();
                sip.to = sip.to & !3 | bytes.next() & 3;
                if kind == 3 {
                    sip.way = bytes.next();
                }
                if arrived {
                    observer.sends(&env, &endpoint(place), &sip);
                } else {
                    observer.arrives(&env, &endpoint(place), &sip);
                }
                last = Some((!arrived, place, sip));
            }
            4 => env
                .now
                .set(env.now.get() + u64::from(bytes.next()) * SECOND),
            5 => env.shadow.set(bytes.next() & 1 != 0),
            // The PBX sends its last message again.
            6 => {
                if let Some((false, to, sip)) = &last {
                    for _ in 0..bytes.next() % 8 {
                        observer.sends(&env, &endpoint(*to), sip);
                    }
                }
            }
            _ => {
                let policy = pick(&[Policy::Auto, Policy::Force, Policy::Off], bytes.next());
                env.policy.set(policy);
            }
        }
        env.events.take();
    }
}
