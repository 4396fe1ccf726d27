//! A PBX and its terminals send any messages in any order. The rules of ARCHITECTURE.md always hold.
#![no_main]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nat_common::abi::{Binding, BindingFlags, DialogKey, Policy, SECOND};
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::engine::env::{Hashes as _, Journal as _, Text as _};
use nat_common::engine::verdict::{Decision, Heard};
use nat_common::sip::{Direction, Field, Message, Method, header};
use nat_test_oracle::env::MemoryEnv;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A message arrives from one of the terminals.
    In(u8, Sip),
    /// The PBX sends a message.
    Out(u8, Sip),
    /// The other side answers or forwards the message of the step before.
    Answer { status: u8, tag: u8 },
    /// Time passes, in seconds.
    Wait(u8),
    /// The policy changes.
    Policy(u8),
    /// Shadow mode begins or ends.
    Shadow(bool),
    /// The PBX sends its last message again, this number of times.
    Again(u8),
}

/// Message of a small vocabulary, so that messages are related to each other.
#[derive(Arbitrary, Clone, Debug)]
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
        let mut more = |line: std::fmt::Arguments<'_>| write!(text, "{line}\r\n").unwrap();
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
}

/// Key of a transaction.
type Transaction = (u8, u8, u8, &'static str);

/// Knowledge of an observer who sees every packet and keeps no tables.
#[derive(Default)]
struct Observer {
    /// Addresses that sent packets or received them.
    real: HashSet<([u64; 2], u32)>,
    /// Sources of the requests of each transaction.
    sources: HashMap<Transaction, HashSet<([u64; 2], u32)>>,
    /// Destinations of the PBX's requests of each transaction.
    sent: HashMap<Transaction, HashSet<([u64; 2], u32)>>,
    /// Transactions of the PBX within dialogs.
    in_dialog: HashSet<Transaction>,
}

fn place(e: &Endpoint) -> ([u64; 2], u32) {
    (e.addr, e.port)
}

/// Returns the fields of all bindings that decide about destinations.
fn bindings(env: &MemoryEnv) -> (HashMap<DialogKey, Binding>, HashMap<(u64, u64), Binding>) {
    let plain = |b: &Binding| Binding {
        redirected: 0,
        flags: b.flags - BindingFlags::LEFT_ALONE,
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

/// Only the terminal's own dialog end is new or has changed. Its address is a source or a destination of the
/// transaction.
fn check_moved(
    before: &HashMap<DialogKey, Binding>,
    after: &HashMap<DialogKey, Binding>,
    end: &DialogKey,
    places: Option<&HashSet<([u64; 2], u32)>>,
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

fn dialog_end(env: &MemoryEnv, m: &Message, tag: Field) -> DialogKey {
    DialogKey {
        call: hash(env, m, Field::CallId),
        tag: hash(env, m, tag),
    }
}

impl Observer {
    fn arrives(&mut self, env: &MemoryEnv, peer: &Endpoint, sip: &Sip) {
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
        if engine::ingress(env, m, peer) == Heard::Response {
            // The terminal may have moved since the request was sent.
            self.sent
                .entry(transaction)
                .or_default()
                .insert(place(peer));
        }
        let after = bindings(env);
        assert_eq!(before.1, after.1, "only the PBX makes contacts");
        if before.0 != after.0 {
            assert!(m.status > 100, "a request is no evidence without the PBX");
            let creates = m.method.creates_dialog() && m.status < 300;
            assert!(
                creates || self.in_dialog.contains(&transaction),
                "the request creates no dialog"
            );
            let end = dialog_end(env, m, Field::ToTag);
            let sent = self.sent.get(&transaction);
            check_moved(&before.0, &after.0, &end, sent);
        }
        self.check_learned(env);
    }

    fn sends(&mut self, env: &MemoryEnv, to: &Endpoint, sip: &Sip) {
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
        if m.status == 100 || m.status >= 300 {
            assert_eq!(before.0, after.0, "a refusal is no evidence");
        }
        if m.status != 0 && before.0 != after.0 {
            let end = dialog_end(env, m, Field::FromTag);
            let sources = self.sources.get(&sip.transaction());
            check_moved(&before.0, &after.0, &end, sources);
        }
        if destination != *to {
            self.check_redirect(env, m, sip, &destination, decision);
        }
        self.real.insert(place(&destination));
        if m.status == 0 {
            self.sent
                .entry(sip.transaction())
                .or_default()
                .insert(place(&destination));
            if matches!(decision, Decision::LeftAlone | Decision::Unanswered) {
                // A terminal that answers at the original destination is still known by its learned address.
                let learned = env.record().learned();
                self.sent
                    .entry(sip.transaction())
                    .or_default()
                    .insert(place(&learned));
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
                let key = dialog_end(env, m, Field::FromTag);
                let known = env.dialogs().get(&key).is_some_and(|b| live(b));
                assert!(asked || known, "no request came from there");
            }
            Decision::RedirectedInvite => {
                assert!(matches!(m.method, Method::Ack | Method::Cancel));
                let (call, branch, cseq, _) = sip.transaction();
                let sent = self.sent.get(&(call, branch, cseq, "INVITE"));
                assert!(
                    sent.is_some_and(|s| s.contains(&place(destination))),
                    "the INVITE went elsewhere"
                );
            }
            Decision::RedirectedDialog => {
                let key = dialog_end(env, m, Field::ToTag);
                assert!(
                    env.dialogs().get(&key).is_some_and(|b| live(b)),
                    "no such dialog end"
                );
            }
            Decision::RedirectedContact => {
                let uri = hash(env, m, Field::RequestUri);
                let mut contacts = env.contacts().iter();
                assert!(
                    contacts.any(|(key, b)| key.uri == uri && live(b)),
                    "no such contact"
                );
            }
            other => panic!("redirected, and decided as {other:?}"),
        }
        if decision != Decision::RedirectedInvite {
            assert_ne!(env.policy.get(), Policy::Off);
        }
    }

    /// Every learned address has sent a packet or received one.
    fn check_learned(&self, env: &MemoryEnv) {
        let dialogs = env.dialogs().values();
        // The entry of `Contact: *` has no address.
        let contacts = env.contacts().iter().filter(|(key, _)| key.uri != 0);
        for binding in dialogs.chain(contacts.map(|(_, binding)| binding)) {
            assert!(
                self.real.contains(&place(&binding.learned)),
                "no packet came from or went to the learned address"
            );
        }
    }
}

impl Sip {
    fn transaction(&self) -> Transaction {
        (
            self.call & 3,
            self.branch & 3,
            self.cseq & 7,
            pick(&METHODS, self.method),
        )
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let env = MemoryEnv::new();
    let mut observer = Observer::default();
    let mut last = None;
    for step in steps {
        match step {
            Step::In(peer, sip) => {
                observer.arrives(&env, &endpoint(peer), &sip);
                last = Some((true, peer, sip));
            }
            Step::Out(to, sip) => {
                observer.sends(&env, &endpoint(to), &sip);
                last = Some((false, to, sip));
            }
            Step::Answer { status, tag } => {
                let Some((arrived, place, mut sip)) = last.take() else {
                    continue;
                };
                sip.status = status;
                sip.to = sip.to & !3 | tag & 3;
                if arrived {
                    observer.sends(&env, &endpoint(place), &sip);
                } else {
                    observer.arrives(&env, &endpoint(place), &sip);
                }
                last = Some((!arrived, place, sip));
            }
            Step::Wait(seconds) => env.now.set(env.now.get() + u64::from(seconds) * SECOND),
            Step::Shadow(on) => env.shadow.set(on),
            Step::Again(times) => {
                if let Some((false, to, sip)) = &last {
                    for _ in 0..times % 8 {
                        observer.sends(&env, &endpoint(*to), sip);
                    }
                }
            }
            Step::Policy(n) => env
                .policy
                .set(pick(&[Policy::Auto, Policy::Force, Policy::Off], n)),
        }
        env.events.take();
    }
});
