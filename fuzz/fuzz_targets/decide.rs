//! A PBX and its terminals say anything in any order; whatever they say, the rules of ARCHITECTURE.md hold.
#![no_main]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nat_common::abi::{Binding, DialogKey, flag, Policy, SECOND};
use nat_common::endpoint::Endpoint;
use nat_common::abi::Counter;
use nat_common::engine::{self, Env as _, Text as _};
use nat_common::sip::{Direction, Field, header, Message, Method};

#[path = "../../nat-common/tests/world/mod.rs"]
mod world;

use world::World;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A message arrives from one of the terminals.
    In(u8, Sip),
    /// The PBX sends a message.
    Out(u8, Sip),
    /// The other side answers the message of the step before, or sends it on.
    Answer { status: u8, tag: u8 },
    /// Time passes, in seconds.
    Wait(u8),
    /// The policy changes.
    Policy(u8),
    /// Nothing is redirected from now on, or again something.
    Shadow(bool),
    /// The PBX sends its last message again, so many times.
    Again(u8),
}

/// A message, of few words so that messages have to do with one another.
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

/// What names a transaction.
type Transaction = (u8, u8, u8, &'static str);

/// What an onlooker knows who sees every packet and keeps no tables.
#[derive(Default)]
struct Onlooker {
    /// Places that packets came from, or went to.
    real: HashSet<([u64; 2], u32)>,
    /// Where requests of each transaction came from.
    sources: HashMap<Transaction, HashSet<([u64; 2], u32)>>,
    /// Where the PBX's requests of each transaction went.
    sent: HashMap<Transaction, HashSet<([u64; 2], u32)>>,
    /// Transactions of the PBX within dialogs.
    in_dialog: HashSet<Transaction>,
}

fn place(e: &Endpoint) -> ([u64; 2], u32) {
    (e.addr, e.port)
}

/// All that decides where packets go, but for what is only shown.
fn bindings(world: &World) -> (HashMap<DialogKey, Binding>, HashMap<(u64, u64), Binding>) {
    let plain = |b: &Binding| Binding {
        redirected: 0,
        flags: b.flags & !flag::LEFT_ALONE,
        ..*b
    };
    (
        world
            .dialogs()
            .iter()
            .map(|(k, b)| (*k, plain(b)))
            .collect(),
        world
            .contacts()
            .iter()
            .map(|(k, b)| ((k.uri, k.aor), plain(b)))
            .collect(),
    )
}

/// Only the terminal's own dialog end is new or has changed, and it is where the transaction's request came from, or
/// went to, or its answer came from.
fn check_moved(
    before: &HashMap<DialogKey, Binding>,
    after: &HashMap<DialogKey, Binding>,
    end: &DialogKey,
    places: Option<&HashSet<([u64; 2], u32)>>,
) {
    for (key, binding) in after {
        if before.get(key) != Some(binding) {
            assert_eq!(key, end, "somebody else's");
            let known = places.is_some_and(|places| places.contains(&place(&binding.learned)));
            assert!(known, "not of this transaction");
        }
    }
}

fn hash(world: &World, m: &Message, part: Field) -> u64 {
    world.digest(m, part.bit());
    world.hash(part as usize)
}

fn dialog_end(world: &World, m: &Message, tag: Field) -> DialogKey {
    DialogKey {
        call: hash(world, m, Field::CallId),
        tag: hash(world, m, tag),
    }
}

impl Onlooker {
    fn arrives(&mut self, world: &World, peer: &Endpoint, sip: &Sip) {
        let text = sip.text();
        let Ok(scan) = world.scan(text.as_bytes(), Direction::In) else {
            return;
        };
        let m = &scan.message;
        let transaction = sip.transaction();
        self.real.insert(place(peer));
        if m.status == 0 {
            self.sources
                .entry(transaction)
                .or_default()
                .insert(place(peer));
        }
        let before = bindings(world);
        if engine::ingress(world, m, peer) == Counter::InResponse {
            // Whoever answers may have moved since it was asked.
            self.sent
                .entry(transaction)
                .or_default()
                .insert(place(peer));
        }
        let after = bindings(world);
        assert_eq!(before.1, after.1, "only the PBX makes contacts");
        if before.0 != after.0 {
            assert!(m.status > 100, "nobody but the PBX vouches for a request");
            let creates = m.method.creates_dialog() && m.status < 300;
            assert!(
                creates || self.in_dialog.contains(&transaction),
                "no dialog comes of it"
            );
            let end = dialog_end(world, m, Field::ToTag);
            let sent = self.sent.get(&transaction);
            check_moved(&before.0, &after.0, &end, sent);
        }
        self.check_places(world);
    }

    fn sends(&mut self, world: &World, to: &Endpoint, sip: &Sip) {
        let text = sip.text();
        let Ok(scan) = world.scan(text.as_bytes(), Direction::Out) else {
            return;
        };
        let m = &scan.message;
        let before = bindings(world);
        let mut aim = *to;
        let verdict = engine::egress(world, m, &mut aim);
        assert!(
            aim == *to || !world.shadow.get(),
            "redirected in the shadow"
        );
        let after = bindings(world);
        if m.status / 100 != 2 || m.method != Method::Register {
            assert_eq!(before.1, after.1, "only 2xx to REGISTER changes contacts");
        }
        if m.status == 100 || m.status >= 300 {
            assert_eq!(before.0, after.0, "what is refused counts for nothing");
        }
        if m.status != 0 && before.0 != after.0 {
            let end = dialog_end(world, m, Field::FromTag);
            let sources = self.sources.get(&sip.transaction());
            check_moved(&before.0, &after.0, &end, sources);
        }
        if aim != *to {
            self.check_aim(world, m, sip, &aim, verdict);
        }
        self.real.insert(place(&aim));
        if m.status == 0 {
            self.sent
                .entry(sip.transaction())
                .or_default()
                .insert(place(&aim));
            if matches!(verdict, Counter::OutLeftAlone | Counter::OutUnanswered) {
                // Who answers where the PBX means is still known by its learned address.
                let learned = world.record().learned();
                self.sent
                    .entry(sip.transaction())
                    .or_default()
                    .insert(place(&learned));
            }
            if m.has(Field::ToTag) {
                self.in_dialog.insert(sip.transaction());
            }
        }
        self.check_places(world);
    }

    /// A packet was redirected: there is a reason.
    fn check_aim(&self, world: &World, m: &Message, sip: &Sip, aim: &Endpoint, verdict: Counter) {
        let now = world.now.get();
        let live = |b: &Binding| b.expires > now && b.contested <= now && b.learned == *aim;
        assert_eq!(
            m.headers & header::ROUTE & if m.status == 0 { 255 } else { 0 },
            0,
            "aimed at another hop"
        );
        match verdict {
            Counter::OutRedirectedResponse => {
                assert!(m.status != 0);
                let sources = self.sources.get(&sip.transaction());
                let asked = sources.is_some_and(|s| s.contains(&place(aim)));
                // Its transaction may have been pushed out.
                let key = dialog_end(world, m, Field::FromTag);
                let known = world.dialogs().get(&key).is_some_and(|b| live(b));
                assert!(asked || known, "never asked from there");
            }
            Counter::OutRedirectedInvite => {
                assert!(matches!(m.method, Method::Ack | Method::Cancel));
                let (call, branch, cseq, _) = sip.transaction();
                let sent = self.sent.get(&(call, branch, cseq, "INVITE"));
                assert!(
                    sent.is_some_and(|s| s.contains(&place(aim))),
                    "the INVITE went elsewhere"
                );
            }
            Counter::OutRedirectedDialog => {
                let key = dialog_end(world, m, Field::ToTag);
                assert!(
                    world.dialogs().get(&key).is_some_and(|b| live(b)),
                    "no such dialog end"
                );
            }
            Counter::OutRedirectedContact => {
                let uri = hash(world, m, Field::RequestUri);
                let mut contacts = world.contacts().iter();
                assert!(
                    contacts.any(|(key, b)| key.uri == uri && live(b)),
                    "no such contact"
                );
            }
            other => panic!("redirected, and counted as {other:?}"),
        }
        if verdict != Counter::OutRedirectedInvite {
            assert_ne!(world.policy.get(), Policy::Off);
        }
    }

    /// A learned address is one that really sent, or was sent to.
    fn check_places(&self, world: &World) {
        let dialogs = world.dialogs().values();
        // The mark of `Contact: *` is no place.
        let contacts = world.contacts().iter().filter(|(key, _)| key.uri != 0);
        for binding in dialogs.chain(contacts.map(|(_, binding)| binding)) {
            assert!(
                self.real.contains(&place(&binding.learned)),
                "nobody is there"
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
    let world = World::new();
    let mut onlooker = Onlooker::default();
    let mut last = None;
    for step in steps {
        match step {
            Step::In(peer, sip) => {
                onlooker.arrives(&world, &endpoint(peer), &sip);
                last = Some((true, peer, sip));
            }
            Step::Out(to, sip) => {
                onlooker.sends(&world, &endpoint(to), &sip);
                last = Some((false, to, sip));
            }
            Step::Answer { status, tag } => {
                let Some((arrived, place, mut sip)) = last.take() else {
                    continue;
                };
                sip.status = status;
                sip.to = sip.to & !3 | tag & 3;
                if arrived {
                    onlooker.sends(&world, &endpoint(place), &sip);
                } else {
                    onlooker.arrives(&world, &endpoint(place), &sip);
                }
                last = Some((!arrived, place, sip));
            }
            Step::Wait(seconds) => world.now.set(world.now.get() + u64::from(seconds) * SECOND),
            Step::Shadow(on) => world.shadow.set(on),
            Step::Again(times) => {
                if let Some((false, to, sip)) = &last {
                    for _ in 0..times % 8 {
                        onlooker.sends(&world, &endpoint(*to), sip);
                    }
                }
            }
            Step::Policy(n) => world
                .policy
                .set(pick(&[Policy::Auto, Policy::Force, Policy::Off], n)),
        }
        world.events.take();
    }
});
