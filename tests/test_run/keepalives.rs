//! Keepalives of the agent: answers to its OPTIONS end in XDP, and nobody else's do.

use std::thread;

use nat_common::{
    abi::{Config, Keepalive, Slot, StunFlags},
    engine::keepalive::Ping,
    tables::key,
};
use nat_userspace::{
    kernel::mapped::Access,
    settings::{KeepaliveKind, KeepaliveRule},
};

use crate::frames::{
    INVITE, OTHER_PHONE, PBX, PHONE, REGISTER, STRANGER, answer, inbound, outbound, udp,
};
use crate::run::{Path, TC_ACT_UNSPEC, TICK, XDP_DROP, XDP_PASS, endpoint};

const INDEX: u32 = 5;

/// A data path with keepalives, and the record of a ping that was sent to [`PHONE`].
struct Pinged {
    path: Path,
    cookie: [u64; 2],
    ping: Ping,
}

impl Pinged {
    fn new() -> Self {
        let path = Path::with(|setup| {
            setup.settings.keepalives.rules = vec![KeepaliveRule {
                prefix: None,
                kind: KeepaliveKind::Options,
            }];
        });
        let config = path.0.tables.config().expect("a configuration");
        let mut pinged = Self {
            path,
            cookie: config.keepalive,
            ping: Ping {
                index: INDEX,
                nonce: Ping::digits(0x0123_4567_89ab_cdef),
            },
        };
        pinged.set(&Keepalive {
            terminal: endpoint(PHONE),
            nonce: pinged.ping.nonce,
            sent: 1,
            ..Keepalive::default()
        });
        pinged
    }

    fn set(&mut self, record: &Keepalive) {
        let records = self.path.0.tables.keepalives(Access::Write);
        records.expect("records").set(INDEX, record);
    }

    fn record(&self) -> Keepalive {
        let records = self.path.0.tables.keepalives(Access::Read);
        records.expect("records").get(INDEX)
    }

    fn options(&self) -> String {
        options(&branch(&self.ping, self.cookie))
    }

    /// A frame arrives and is dropped. Returns the verdict.
    fn drops(&mut self, frame: &[u8]) -> &'static str {
        let (action, out, verdict, events) = self.path.run(true, frame);
        assert_eq!((action, events), (XDP_DROP, vec![]), "{verdict}");
        assert_eq!(out, frame, "{verdict}: changed");
        verdict
    }
}

fn branch(ping: &Ping, cookie: [u64; 2]) -> String {
    String::from_utf8(ping.branch(cookie).into()).expect("ASCII")
}

fn options(branch: &str) -> String {
    INVITE
        .replace("INVITE", "OPTIONS")
        .replace("z9hG4bK-phone", branch)
        .replace("sip:1002@203.0.113.10", "sip:1000@60.17.196.2")
}

fn ok(request: &str) -> String {
    answer(request, "200 OK")
}

#[test]
fn an_answer_is_dropped_and_its_time_is_kept() {
    let mut pinged = Pinged::new();
    let ok = ok(&pinged.options());
    assert_eq!(pinged.drops(&inbound(PHONE, &ok)), "keepalive_answered");
    let answered = pinged.record().answered;
    assert!(answered > 1, "{answered}");
    // Repeated: the first one counts.
    thread::sleep(TICK);
    assert_eq!(pinged.drops(&inbound(PHONE, &ok)), "keepalive_stray");
    assert_eq!(pinged.record().answered, answered);
    // It leaves nothing else.
    assert!(pinged.path.contacts().is_empty() && pinged.path.dialogs().is_empty());
}

#[test]
fn any_response_from_any_port_of_the_host_counts() {
    for status in ["100 Trying", "404 Not Found", "503 Unavailable"] {
        let mut pinged = Pinged::new();
        let response = answer(&pinged.options(), status);
        assert_eq!(
            pinged.drops(&inbound(OTHER_PHONE, &response)),
            "keepalive_answered"
        );
    }
}

#[test]
fn an_answer_from_elsewhere_or_to_another_ping_counts_for_nothing() {
    let mut pinged = Pinged::new();
    let right = ok(&pinged.options());
    assert_eq!(pinged.drops(&inbound(STRANGER, &right)), "keepalive_stray");
    for (index, nonce) in [
        (INDEX, 7),
        (INDEX + 1, 0x0123_4567_89ab_cdef),
        (u32::MAX, 7),
        (64, 0),
    ] {
        let ping = Ping {
            index,
            nonce: Ping::digits(nonce),
        };
        let ok = ok(&options(&branch(&ping, pinged.cookie)));
        assert_eq!(
            pinged.drops(&inbound(PHONE, &ok)),
            "keepalive_stray",
            "{index}"
        );
    }
    assert_eq!(pinged.record().answered, 0);
    // The last ping draws no answer: a record without a nonce takes none.
    pinged.set(&Keepalive {
        terminal: endpoint(PHONE),
        sent: 1,
        ..Keepalive::default()
    });
    assert_eq!(pinged.drops(&inbound(PHONE, &right)), "keepalive_stray");
}

/// A host that was pinged knows the cookie. Only answers that name it are dropped, and the PBX has sent no such request.
#[test]
fn nothing_else_is_dropped() {
    let mut pinged = Pinged::new();
    let ours = branch(&pinged.ping, pinged.cookie);
    let shorter = &ours[..ours.len() - 1];
    let longer = format!("{ours}0");
    let guessed = branch(&pinged.ping, Ping::digits(1));
    for other in ["z9hG4bK-pbx", shorter, &longer, &guessed, "z9hG4bK"] {
        let ok = ok(&options(other));
        assert_eq!(
            pinged.path.arrives(&inbound(PHONE, &ok)),
            "in_response_unasked",
            "{other}"
        );
    }
    // Requests with that branch, and answers to a request of the PBX behind it.
    let invite = INVITE.replace("z9hG4bK-phone", &ours);
    assert_eq!(
        pinged.path.arrives(&inbound(STRANGER, &invite)),
        "in_request"
    );
    assert_eq!(
        pinged.path.arrives(&inbound(PHONE, &pinged.options())),
        "in_request"
    );
    let via = "Via: SIP/2.0/UDP 203.0.113.10;branch=z9hG4bK-pbx\r\nVia:";
    let relayed = ok(&pinged.options()).replace("Via:", via);
    assert_eq!(
        pinged.path.arrives(&inbound(PHONE, &relayed)),
        "in_response_unasked"
    );
    assert_eq!(pinged.record().answered, 0);
    // Another port is not the PBX's.
    let elsewhere = ok(&pinged.options());
    let frame = udp(PHONE, "203.0.113.10:5070", elsewhere.as_bytes());
    assert_eq!(pinged.path.arrives(&frame), "in_other_port");
}

#[test]
fn without_keepalives_nothing_is_dropped() {
    let mut path = Path::new();
    let ping = Ping {
        index: 0,
        nonce: Ping::digits(0),
    };
    // The cookie is 0 then, but not as digits.
    for cookie in [Ping::digits(0), [0; 2]] {
        let text = options(&branch(&ping, cookie));
        assert_eq!(path.run(true, &inbound(PHONE, &ok(&text))).0, XDP_PASS);
        let (action, _, verdict) = path.sends(&outbound(PHONE, &text));
        assert_eq!(action, TC_ACT_UNSPEC);
        assert_ne!(verdict, "keepalive_sent");
    }
}

/// A terminal that keeps its own mapping open is noted as one that sends STUN.
#[test]
fn a_terminal_that_keeps_itself_alive_is_noted() {
    let noted = |pinged: &Pinged| {
        let sources = pinged.path.0.tables.stun.read().expect("sources");
        let used = sources.slots().filter(Slot::is_used);
        let used = used.map(|slot| (slot.entry.value.source(), slot.entry.value.flags));
        used.collect::<Vec<_>>()
    };
    let stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
    for (keepalive, verdict) in [
        (&b"\r\n\r\n"[..], "in_keepalive"),
        (&[0; 4], "in_keepalive"),
        (stun, "in_stun"),
    ] {
        let mut pinged = Pinged::new();
        let frames = [PHONE, STRANGER].map(|from| udp(from, PBX, keepalive));
        assert_eq!(pinged.path.arrives(&frames[0]), verdict);
        assert_eq!(noted(&pinged), [], "not registered yet");
        pinged.path.arrives(&inbound(PHONE, REGISTER));
        pinged.path.sends(&outbound(PHONE, &ok(REGISTER)));
        for frame in &frames {
            assert_eq!(pinged.path.arrives(frame), verdict);
        }
        assert_eq!(noted(&pinged), [(endpoint(PHONE), StunFlags::KEEPALIVE)]);
        let contacts = pinged.path.contacts();
        let pbx = key::socket(&endpoint(PBX));
        assert!(!contacts.is_empty() && contacts.iter().all(|contact| contact.pbx == pbx));
    }
}

#[test]
fn an_options_of_the_agent_leaves_no_trace() {
    let mut pinged = Pinged::new();
    let options = pinged.options();
    assert_eq!(
        pinged.path.leaves(&outbound(PHONE, &options)),
        "keepalive_sent"
    );
    // Had it been noted, this answer would be one to the PBX.
    let config = |config: &mut Config| config.keepalive = [0; 2];
    pinged.path.configure(config);
    assert_eq!(
        pinged.path.arrives(&inbound(PHONE, &ok(&options))),
        "in_response_unasked"
    );
}

/// The PBX's own messages are decided on, even if they name the cookie: a stranger chose the branch of a request that it
/// answers.
#[test]
fn what_the_pbx_sends_is_decided_on() {
    let mut pinged = Pinged::new();
    let options = pinged.options();
    let invite = INVITE.replace("z9hG4bK-phone", &branch(&pinged.ping, pinged.cookie));
    pinged.path.arrives(&inbound(PHONE, &invite));
    let (_, _, verdict) = pinged
        .path
        .sends(&outbound("60.17.196.2:5060", &ok(&invite)));
    assert_eq!(verdict, "out_original_first");
    let invite = options.replace("OPTIONS", "INVITE");
    assert_eq!(
        pinged.path.leaves(&outbound(PHONE, &invite)),
        "out_unknown_request"
    );
}
