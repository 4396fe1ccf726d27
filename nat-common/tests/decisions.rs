//! The decisions, row by row of the tables in ARCHITECTURE.md: a PBX, its terminals and what is learned
//! of them, with the kernel's maps replaced by tables in memory.

use nat_common::abi::Counter;
use nat_common::abi::{Binding, Policy, SECOND, flag};
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::sip::Direction;
use nat_common::sip::Scan;

mod world;

use world::World;

/// A phone behind NAT, where its packets come from.
const PHONE: ([u8; 4], u16) = ([60, 17, 196, 2], 49163);
/// The same phone after its mapping changed.
const MOVED: ([u8; 4], u16) = ([60, 17, 196, 2], 51000);
/// Where its Contact points.
const ADVERTISED: ([u8; 4], u16) = ([60, 17, 196, 2], 5060);
/// Somebody else.
const STRANGER: ([u8; 4], u16) = ([198, 51, 100, 66], 6666);

type Address = ([u8; 4], u16);

impl World {
    fn sip(&self, text: &str, direction: Direction) -> Scan {
        self.scan(text.as_bytes(), direction)
            .unwrap_or_else(|d| panic!("{d:?}: {text}"))
    }

    /// A message arrives. What was counted, the verdict last.
    fn arrives(&self, from: Address, text: &str) -> Vec<Counter> {
        let scan = self.sip(text, Direction::In);
        let verdict = engine::ingress(self, &scan.message, &Endpoint::v4(from.0, from.1));
        self.counted(verdict)
    }

    /// The PBX sends a message. Where it goes, and what was counted, the verdict last.
    fn sends(&self, to: Address, text: &str) -> (Address, Vec<Counter>) {
        let scan = self.sip(text, Direction::Out);
        let mut aim = Endpoint::v4(to.0, to.1);
        let verdict = engine::egress(self, &scan.message, &mut aim);
        ((aim.as_v4(), aim.port as u16), self.counted(verdict))
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
            .values()
            .map(|b| **b)
            .filter(|b| b.expires > now)
            .collect()
    }
}

/// A message in the making.
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

/// A request of the phone `1000` to `1002`, with its own tag in From.
fn from_phone(method: &'static str, cseq: u32, branch: &'static str) -> Sip {
    Sip {
        start: format!("{method} sip:1002@pbx SIP/2.0"),
        vias: vec![branch],
        from: "<sip:1000@pbx>;tag=phone".into(),
        to: "<sip:1002@pbx>".into(),
        call: "call",
        cseq: (cseq, method),
        more: vec!["Contact: <sip:1000@60.17.196.2>".into()],
    }
}

/// A request of the PBX to the phone, with the phone's tag in To.
fn from_pbx(method: &'static str, cseq: u32, branch: &'static str) -> Sip {
    Sip {
        start: format!("{method} sip:1000@60.17.196.2 SIP/2.0"),
        vias: vec![branch],
        from: "<sip:1002@pbx>;tag=pbx".into(),
        to: "<sip:1000@pbx>;tag=phone".into(),
        call: "call",
        cseq: (cseq, method),
        more: vec![],
    }
}

/// The phone's REGISTER.
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

/// An INVITE of the PBX to the phone's contact.
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

    /// The response to it.
    fn answer(&self, status: u16) -> Self {
        let mut answer = self.clone();
        answer.start = format!("SIP/2.0 {status} Reason");
        answer.more.clear();
        if !answer.to.contains("tag=") && status > 100 {
            answer.to.push_str(";tag=pbx");
        }
        answer
    }

    fn text(&self) -> String {
        let vias: Vec<_> = self
            .vias
            .iter()
            .map(|b| format!("Via: SIP/2.0/UDP x;branch=z9hG4bK{b}\r\n"))
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

impl World {
    fn learn(&self, from: Address, m: &Sip) -> Vec<Counter> {
        self.arrives(from, &m.text())
    }

    fn send(&self, to: Address, m: &Sip) -> (Address, Vec<Counter>) {
        self.sends(to, &m.text())
    }

    /// The phone calls, and the PBX accepts.
    fn call(&self) {
        let invite = from_phone("INVITE", 1, "invite");
        self.learn(PHONE, &invite);
        self.send(PHONE, &invite.answer(200));
    }

    /// The phone registers, and the PBX accepts.
    fn register(&self) {
        let m = register(1, "r1", "<sip:1000@60.17.196.2>");
        self.learn(PHONE, &m);
        self.send(
            PHONE,
            &m.answer(200)
                .with("Contact: <sip:1000@60.17.196.2>;expires=60"),
        );
    }

    /// Where the PBX's next in-dialog request goes that means the phone's Contact.
    fn reinvite(&self, branch: &'static str) -> (Address, Vec<Counter>) {
        self.send(ADVERTISED, &from_pbx("INVITE", 102, branch))
    }
}

// Requests in.

#[test]
fn a_request_is_noted_and_counts_for_nothing() {
    let w = World::new();
    for (method, counted) in [
        ("INVITE", &[Counter::InRequest][..]),
        ("SUBSCRIBE", &[Counter::PendingNoted, Counter::InRequest]),
    ] {
        assert_eq!(w.learn(PHONE, &from_phone(method, 1, "a")), counted);
    }
    assert_eq!(w.active(), []);
    assert_eq!(w.learn(PHONE, &from_phone("ACK", 1, "b")), [Counter::InAck]);
}

#[test]
fn the_first_source_of_a_transaction_wins_for_32_seconds() {
    let w = World::new();
    let m = from_phone("OPTIONS", 1, "a");
    assert_eq!(w.learn(PHONE, &m), [Counter::InRequest]);
    assert_eq!(w.learn(PHONE, &m), [Counter::InRepeat]);
    assert_eq!(w.learn(STRANGER, &m), [Counter::InOtherSource]);
    assert_eq!(w.send(ADVERTISED, &m.answer(200)).0, PHONE);
    w.wait(33);
    assert_eq!(w.learn(MOVED, &m), [Counter::InRequest]);
    assert_eq!(w.send(ADVERTISED, &m.answer(200)).0, MOVED);
}

// Responses out.

#[test]
fn a_response_goes_to_the_source_of_its_request() {
    let w = World::new();
    for method in [
        "INVITE",
        "REGISTER",
        "OPTIONS",
        "MESSAGE",
        "BYE",
        "SUBSCRIBE",
        "CANCEL",
    ] {
        let m = from_phone(method, 7, "x");
        w.learn(PHONE, &m);
        for status in [100, 183, 200, 302, 404, 503, 603] {
            let (to, counted) = w.send(ADVERTISED, &m.answer(status));
            assert_eq!(to, PHONE, "{method} {status}");
            assert_eq!(*counted.last().unwrap(), Counter::OutRedirectedResponse);
        }
    }
    assert_eq!(
        w.send(PHONE, &from_phone("BYE", 7, "x").answer(200))
            .1
            .last(),
        Some(&Counter::OutAlreadyThere)
    );
}

#[test]
fn a_response_to_an_unknown_transaction_is_left() {
    let w = World::new();
    w.learn(PHONE, &from_phone("INVITE", 1, "a"));
    for m in [
        from_phone("INVITE", 1, "b"),
        from_phone("INVITE", 2, "a"),
        from_phone("OPTIONS", 1, "a"),
        from_phone("INVITE", 1, "a").call("other"),
    ] {
        assert_eq!(
            w.send(ADVERTISED, &m.answer(200)),
            (ADVERTISED, vec![Counter::OutUnknownResponse])
        );
    }
}

// Evidence: the PBX's answer to a request that creates a dialog.

#[test]
fn only_101_to_299_activates_a_new_dialog_end() {
    for (status, event) in [
        (100, None),
        (101, Some(Counter::DialogActivated)),
        (180, Some(Counter::DialogActivated)),
        (200, Some(Counter::DialogActivated)),
        (299, Some(Counter::DialogActivated)),
        (300, Some(Counter::PendingDropped)),
        (401, Some(Counter::PendingDropped)),
        (486, Some(Counter::PendingDropped)),
        (603, Some(Counter::PendingDropped)),
    ] {
        for method in ["INVITE", "SUBSCRIBE", "REFER"] {
            // An INVITE is not pending.
            let event = event.filter(|_| method != "INVITE" || status < 300);
            let w = World::new();
            let m = from_phone(method, 1, "a");
            w.learn(PHONE, &m);
            let counted = w.send(PHONE, &m.answer(status)).1;
            assert_eq!(
                counted.first().copied().filter(|_| counted.len() > 1),
                event,
                "{method} {status}"
            );
            let early = w.active().first().map(|b| b.has(flag::EARLY));
            let active = event == Some(Counter::DialogActivated);
            assert_eq!(early, active.then_some(status < 200), "{method} {status}");
        }
    }
}

#[test]
fn other_methods_create_no_dialog() {
    for method in ["OPTIONS", "MESSAGE", "PUBLISH", "NOTIFY", "BYE", "REGISTER"] {
        let w = World::new();
        let m = from_phone(method, 1, "a");
        assert_eq!(w.learn(PHONE, &m), [Counter::InRequest]);
        w.send(PHONE, &m.answer(200));
        assert_eq!(w.active(), [], "{method}");
    }
}

#[test]
fn a_dialog_end_says_whose_it_is() {
    let w = World::new();
    w.call();
    let [b] = w.active()[..] else { panic!() };
    assert_eq!(&b.text[..usize::from(b.text_len)], b"1000@pbx");
    assert_eq!(b.learned, Endpoint::v4(PHONE.0, PHONE.1));
    assert_eq!(b.advertised, Endpoint::v4(ADVERTISED.0, ADVERTISED.1));
    assert!(b.has(flag::DIRECT));
}

#[test]
fn requests_in_a_dialog_go_to_its_end() {
    let w = World::new();
    w.call();
    for method in [
        "INVITE", "BYE", "UPDATE", "INFO", "NOTIFY", "REFER", "PRACK", "MESSAGE", "OPTIONS", "ACK",
    ] {
        let (to, counted) = w.send(ADVERTISED, &from_pbx(method, 102, method));
        assert_eq!(
            (to, counted),
            (PHONE, vec![Counter::OutRedirectedDialog]),
            "{method}"
        );
    }
    assert_eq!(w.active()[0].redirected, 10);
}

#[test]
fn another_dialog_is_not_this_one() {
    let w = World::new();
    w.call();
    let mut other = from_pbx("BYE", 2, "b");
    other.to = "<sip:1000@pbx>;tag=other".into();
    for m in [other, from_pbx("BYE", 2, "b").call("other")] {
        assert_eq!(
            w.send(ADVERTISED, &m),
            (ADVERTISED, vec![Counter::OutUnknownRequest])
        );
    }
}

// Evidence within a dialog.

#[test]
fn an_accepted_request_in_the_dialog_moves_its_end() {
    let w = World::new();
    w.call();
    let update = from_phone("UPDATE", 2, "u").tagged("pbx");
    w.learn(MOVED, &update);
    assert_eq!(w.reinvite("1").0, PHONE, "not before it is accepted");
    w.send(MOVED, &update.answer(403));
    assert_eq!(w.reinvite("2").0, PHONE, "refused");
    let update = from_phone("UPDATE", 3, "v").tagged("pbx");
    w.learn(MOVED, &update);
    w.send(MOVED, &update.answer(183));
    assert_eq!(w.reinvite("3").0, PHONE, "provisional");
    assert_eq!(
        w.send(MOVED, &update.answer(200)).1[0],
        Counter::DialogMoved
    );
    assert_eq!(w.reinvite("4").0, MOVED);
    assert_eq!(w.active()[0].text_len, 8, "whose it is stays known");
}

#[test]
fn an_older_request_does_not_bring_the_old_address_back() {
    let w = World::new();
    w.call();
    let new = from_phone("UPDATE", 5, "u").tagged("pbx");
    let late = from_phone("UPDATE", 4, "v").tagged("pbx");
    w.learn(MOVED, &new);
    w.send(MOVED, &new.answer(200));
    w.learn(PHONE, &late);
    assert_eq!(w.send(PHONE, &late.answer(200)).1[0], Counter::DialogStale);
    assert_eq!(w.reinvite("1").0, MOVED);
}

#[test]
fn a_new_dialog_does_not_take_a_live_one_over() {
    let w = World::new();
    w.call();
    // Same Call-ID and tag, but no To-tag: an open PBX would answer it.
    let invite = from_phone("INVITE", 9, "z");
    w.learn(STRANGER, &invite);
    assert_eq!(
        w.send(STRANGER, &invite.answer(200)).1[0],
        Counter::DialogGuarded
    );
    assert_eq!(w.reinvite("1").0, PHONE);
}

#[test]
fn bye_ends_a_dialog_end_after_32_seconds() {
    let w = World::new();
    w.call();
    let bye = from_phone("BYE", 2, "b").tagged("pbx");
    w.learn(PHONE, &bye);
    assert_eq!(w.send(PHONE, &bye.answer(200)).1[0], Counter::DialogEnded);
    w.wait(31);
    assert_eq!(w.reinvite("1").0, PHONE, "kept for retransmissions");
    w.wait(2);
    assert_eq!(w.reinvite("2").0, ADVERTISED);
}

#[test]
fn bye_of_the_pbx_ends_it_too() {
    let w = World::new();
    w.call();
    let bye = from_pbx("BYE", 102, "b");
    w.send(ADVERTISED, &bye);
    assert_eq!(
        w.learn(PHONE, &bye.answer(200)),
        [
            Counter::PeerProven,
            Counter::DialogEnded,
            Counter::InResponse
        ]
    );
    w.wait(33);
    assert_eq!(w.active(), []);
}

#[test]
fn dialogs_expire() {
    let w = World::new();
    let invite = from_phone("INVITE", 1, "a");
    w.learn(PHONE, &invite);
    w.send(PHONE, &invite.answer(180));
    w.wait(301);
    assert_eq!(w.active(), [], "early");
    w.call();
    w.wait(12 * 3600 - 1);
    assert_eq!(w.active().len(), 1);
    w.wait(2);
    assert_eq!(w.active(), []);
}

// Evidence: a terminal answers the PBX.

#[test]
fn an_answer_binds_the_end_that_gave_it_to_where_the_request_went() {
    for (status, active) in [(100, 0), (180, 1), (200, 1), (302, 0), (486, 0)] {
        let w = World::new();
        w.register();
        let invite = call_phone("i");
        assert_eq!(
            w.send(ADVERTISED, &invite),
            (PHONE, vec![Counter::OutRedirectedContact])
        );
        let answer = Sip {
            to: "<sip:1000@pbx>;tag=phone".into(),
            ..invite.answer(status)
        };
        w.learn(PHONE, &answer.with("Contact: <sip:1000@60.17.196.2>"));
        assert_eq!(w.active().len(), active, "{status}");
        if active > 0 {
            let (to, counted) = w.send(ADVERTISED, &from_pbx("BYE", 2, "b").call("incoming"));
            assert_eq!((to, counted), (PHONE, vec![Counter::OutRedirectedDialog]));
        }
    }
}

#[test]
fn an_answer_to_nothing_teaches_nothing() {
    let w = World::new();
    let invite = call_phone("i");
    w.send(ADVERTISED, &invite);
    for m in [call_phone("other"), call_phone("i").call("other")] {
        let answer = Sip {
            to: "<sip:1000@pbx>;tag=phone".into(),
            ..m.answer(200)
        };
        assert_eq!(w.learn(STRANGER, &answer), [Counter::InResponseUnasked]);
    }
    assert_eq!(w.active(), []);
}

#[test]
fn a_proxy_has_one_call_id_on_both_legs() {
    let w = World::new();
    let callee = ([60, 17, 197, 2], 50000);
    // 1000 calls; the PBX sends the same INVITE on, with its own Via on top.
    let invite = from_phone("INVITE", 1, "a");
    w.learn(PHONE, &invite);
    let onward = Sip {
        vias: vec!["proxy", "a"],
        ..invite.clone()
    }
    .with("Record-Route: <sip:pbx;lr>");
    w.send(callee, &onward);
    let answer = Sip {
        to: "<sip:1002@pbx>;tag=callee".into(),
        ..onward.answer(200)
    };
    w.learn(callee, &answer.clone().with("Record-Route: <sip:pbx;lr>"));
    w.send(
        PHONE,
        &Sip {
            vias: vec!["a"],
            ..answer
        },
    );
    let to_callee = Sip {
        to: "<sip:1002@pbx>;tag=callee".into(),
        ..from_pbx("BYE", 3, "x")
    };
    assert_eq!(w.send(([60, 17, 197, 2], 5060), &to_callee).0, callee);
    assert_eq!(w.send(ADVERTISED, &from_pbx("BYE", 4, "y")).0, PHONE);
}

// Evidence: REGISTER.

#[test]
fn only_2xx_activates_a_contact() {
    for (status, to) in [
        (100, ADVERTISED),
        (200, PHONE),
        (401, ADVERTISED),
        (403, ADVERTISED),
    ] {
        let w = World::new();
        let m = register(1, "r", "<sip:1000@60.17.196.2>");
        w.learn(PHONE, &m);
        w.send(PHONE, &m.answer(status));
        assert_eq!(w.send(ADVERTISED, &call_phone("i")).0, to, "{status}");
    }
}

#[test]
fn a_contact_lasts_as_long_as_granted() {
    for (headers, seconds) in [
        (
            &["Contact: <sip:1000@60.17.196.2>;expires=60", "Expires: 90"][..],
            60,
        ),
        (
            &[
                "Contact: <sip:x@y>;expires=20, <sip:1000@60.17.196.2>;expires=70",
                "Expires: 90",
            ],
            70,
        ),
        (&["Contact: <sip:1000@60.17.196.2>", "Expires: 90"], 90),
        (&["Contact: <sip:1000@60.17.196.2>"], 3600),
        (&["Expires: 80"], 80),
        (&[], 3600),
    ] {
        let w = World::new();
        let m = register(1, "r", "<sip:1000@60.17.196.2>");
        w.learn(PHONE, &m);
        let answer = headers.iter().fold(m.answer(200), |a, h| a.with(h));
        assert_eq!(w.send(PHONE, &answer).1[0], Counter::ContactActivated);
        w.wait(seconds - 1);
        assert_eq!(w.send(ADVERTISED, &call_phone("i")).0, PHONE, "{headers:?}");
        w.wait(2);
        assert_eq!(
            w.send(ADVERTISED, &call_phone("j")).0,
            ADVERTISED,
            "{headers:?}"
        );
    }
}

#[test]
fn expires_0_and_a_star_remove() {
    for (contact, headers) in [
        ("<sip:1000@60.17.196.2>;expires=0", &[][..]),
        ("<sip:1000@60.17.196.2>", &["Expires: 0"]),
        ("*", &["Expires: 0"]),
    ] {
        let w = World::new();
        w.register();
        w.wait(1);
        let m = headers
            .iter()
            .fold(register(2, "r2", contact), |m, h| m.with(h));
        w.learn(PHONE, &m);
        assert_eq!(
            w.send(ADVERTISED, &call_phone("i")).0,
            PHONE,
            "{contact}: not before it is accepted"
        );
        assert_eq!(w.send(PHONE, &m.answer(200)).1[0], Counter::ContactRemoved);
        assert_eq!(
            w.send(ADVERTISED, &call_phone("j")).0,
            ADVERTISED,
            "{contact}"
        );
        // And comes back.
        w.wait(1);
        let m = register(3, "r3", "<sip:1000@60.17.196.2>");
        w.learn(PHONE, &m);
        w.send(PHONE, &m.answer(200));
        assert_eq!(w.send(ADVERTISED, &call_phone("k")).0, PHONE, "{contact}");
    }
}

#[test]
fn a_contact_follows_its_owner() {
    let w = World::new();
    w.register();
    let m = register(2, "r2", "<sip:1000@60.17.196.2>");
    w.learn(MOVED, &m);
    assert_eq!(w.send(MOVED, &m.answer(200)).1[0], Counter::ContactMoved);
    assert_eq!(w.send(ADVERTISED, &call_phone("i")).0, MOVED);
    // A late packet of before.
    let late = register(1, "r9", "<sip:1000@60.17.196.2>");
    w.learn(PHONE, &late);
    w.send(PHONE, &late.answer(200));
    assert_eq!(w.send(ADVERTISED, &call_phone("j")).0, MOVED);
}

#[test]
fn two_owners_of_one_contact_are_told_apart_by_address_of_record() {
    const PRIVATE: Address = ([192, 168, 1, 10], 5060);
    let w = World::new();
    let other = ([60, 17, 197, 2], 49163);
    let accept = |source, owner: &str, call, seconds: u32| {
        let m = Sip {
            to: format!("<sip:{owner}@pbx>"),
            ..register(1, call, "<sip:1000@192.168.1.10>").call(call)
        };
        w.learn(source, &m);
        let granted = format!("Contact: <sip:1000@192.168.1.10>;expires={seconds}");
        w.send(source, &m.answer(200).with(&granted)).1
    };
    let call_to = |owner: &str, branch| {
        let m = Sip {
            start: "INVITE sip:1000@192.168.1.10 SIP/2.0".into(),
            to: format!("<sip:{owner}@pbx>"),
            ..call_phone(branch)
        };
        w.send(PRIVATE, &m)
    };
    accept(PHONE, "1000", "first", 60);
    assert_eq!(call_to("sales", "h").0, PHONE);
    let counted = accept(other, "2000", "second", 3600);
    assert!(counted.contains(&Counter::ContactAmbiguous), "{counted:?}");
    assert_eq!(call_to("1000", "i").0, PHONE);
    assert_eq!(call_to("2000", "j").0, other);
    // Where nothing tells them apart, neither is taken; until the older one's time is over.
    assert_eq!(
        call_to("sales", "k"),
        (PRIVATE, vec![Counter::OutAmbiguous])
    );
    w.wait(61);
    assert_eq!(call_to("sales", "l").0, other);
}

/// Somebody with an account registers the address of a trunk, to get the calls to it.
#[test]
fn a_public_address_of_somebody_else_is_no_contact() {
    const TRUNK: Address = ([203, 0, 113, 9], 5060);
    let w = World::new();
    let m = Sip {
        to: "<sip:evil@pbx>".into(),
        ..register(1, "r", "<sip:+4930@203.0.113.9>")
    };
    w.learn(STRANGER, &m);
    w.send(STRANGER, &m.answer(200));
    for (to, start) in [
        (TRUNK, "INVITE sip:+4930@203.0.113.9 SIP/2.0"),
        (
            ([203, 0, 113, 9], 5070),
            "INVITE sip:+4930@203.0.113.9 SIP/2.0",
        ),
    ] {
        let call = Sip {
            start: start.into(),
            to: "<sip:+4930@203.0.113.9>".into(),
            ..call_phone("i")
        };
        assert_eq!(w.send(to, &call), (to, vec![Counter::OutForeignContact]));
    }
}

/// All within one tick of the clock, as happens in milliseconds.
#[test]
fn a_star_voids_what_was_there_at_the_same_tick() {
    let w = World::new();
    w.register();
    let star = register(2, "r2", "*").with("Expires: 0");
    w.learn(PHONE, &star);
    w.send(PHONE, &star.answer(200));
    assert_eq!(w.send(ADVERTISED, &call_phone("i")).0, ADVERTISED);
    let again = register(3, "r3", "<sip:1000@60.17.196.2>");
    w.learn(PHONE, &again);
    w.send(PHONE, &again.answer(200));
    assert_eq!(w.send(ADVERTISED, &call_phone("j")).0, PHONE);
}

#[test]
fn a_repeated_answer_to_a_star_voids_nothing_new() {
    let w = World::new();
    w.register();
    let star = register(2, "r2", "*").with("Expires: 0");
    w.learn(PHONE, &star);
    w.send(PHONE, &star.answer(200));
    // At once, within a tick of the clock.
    let again = register(3, "r3", "<sip:1000@60.17.196.2>");
    w.learn(PHONE, &again);
    w.send(PHONE, &again.answer(200));
    w.wait(1);
    w.send(PHONE, &star.answer(200));
    assert_eq!(w.send(ADVERTISED, &call_phone("k")).0, PHONE);
}

#[test]
fn a_late_message_does_not_revive_an_ended_dialog() {
    let w = World::new();
    w.call();
    let bye = from_phone("BYE", 2, "b").tagged("pbx");
    w.learn(PHONE, &bye);
    w.send(PHONE, &bye.answer(200));
    let late = from_phone("INFO", 3, "i").tagged("pbx");
    w.learn(MOVED, &late);
    w.send(MOVED, &late.answer(200));
    w.wait(33);
    assert_eq!(w.active(), []);
}

#[test]
fn a_challenged_bye_ends_nothing() {
    for (status, left) in [(200, 0), (401, 1), (407, 1), (408, 0), (481, 0), (500, 1)] {
        let w = World::new();
        w.call();
        let bye = from_pbx("BYE", 102, "b");
        w.send(ADVERTISED, &bye);
        w.learn(PHONE, &bye.answer(status));
        w.wait(33);
        assert_eq!(w.active().len(), left, "{status}");
    }
}

/// A PBX that answers anything must not fill the table for long.
#[test]
fn a_dialog_not_seen_to_begin_is_kept_shortly_at_first() {
    let w = World::new();
    let options = from_phone("OPTIONS", 1, "o").tagged("pbx");
    w.learn(PHONE, &options);
    w.send(PHONE, &options.answer(200));
    assert!(w.active()[0].has(flag::EARLY));
    let again = from_phone("OPTIONS", 2, "p").tagged("pbx");
    w.learn(PHONE, &again);
    w.send(PHONE, &again.answer(200));
    assert!(!w.active()[0].has(flag::EARLY));
    w.wait(3600);
    assert_eq!(w.active().len(), 1);
}

#[test]
fn a_request_without_to_tag_goes_to_the_contact() {
    let w = World::new();
    w.register();
    for method in ["INVITE", "MESSAGE", "OPTIONS", "NOTIFY"] {
        let m = Sip {
            to: "<sip:1000@pbx>".into(),
            ..from_pbx(method, 1, method)
        };
        assert_eq!(
            w.send(ADVERTISED, &m),
            (PHONE, vec![Counter::OutRedirectedContact]),
            "{method}"
        );
    }
    // To may name somebody else, and an in-dialog request falls back on the contact.
    let m = Sip {
        to: "<sip:sales@pbx>".into(),
        ..call_phone("x")
    };
    assert_eq!(w.send(ADVERTISED, &m).0, PHONE);
    assert_eq!(
        w.reinvite("y"),
        (PHONE, vec![Counter::OutRedirectedContact])
    );
}

// CANCEL and ACK.

#[test]
fn cancel_and_ack_go_where_their_invite_went() {
    let w = World::new();
    w.register();
    w.send(ADVERTISED, &call_phone("i"));
    // The contact is gone meanwhile; the transaction is not.
    w.contacts().clear();
    for method in ["CANCEL", "ACK"] {
        let m = Sip {
            cseq: (1, method),
            ..call_phone("i")
        };
        let m = Sip {
            start: format!("{method} sip:1000@60.17.196.2 SIP/2.0"),
            ..m
        };
        assert_eq!(
            w.send(ADVERTISED, &m),
            (PHONE, vec![Counter::OutRedirectedInvite]),
            "{method}"
        );
        assert_eq!(
            w.send(PHONE, &m),
            (PHONE, vec![Counter::OutAlreadyThere]),
            "{method}"
        );
    }
}

// NOTIFY ahead of the 2xx to its SUBSCRIBE.

#[test]
fn one_pending_source_serves_before_the_answer() {
    for method in ["SUBSCRIBE", "REFER"] {
        let w = World::new();
        w.learn(PHONE, &from_phone(method, 1, "s"));
        let (to, counted) = w.send(ADVERTISED, &from_pbx("NOTIFY", 1, "n"));
        assert_eq!(to, PHONE);
        assert_eq!(
            counted,
            [
                Counter::DialogFromPending,
                Counter::DialogActivated,
                Counter::OutRedirectedDialog
            ]
        );
    }
}

/// It begins with the PBX's answer (RFC 3261 12.1).
#[test]
fn nothing_is_sent_in_the_dialog_of_an_invite_before_its_answer() {
    let w = World::new();
    w.learn(PHONE, &from_phone("INVITE", 1, "s"));
    assert_eq!(
        w.send(ADVERTISED, &from_pbx("NOTIFY", 1, "n")),
        (ADVERTISED, vec![Counter::OutUnknownRequest])
    );
}

#[test]
fn two_pending_sources_or_a_stale_one_do_not() {
    let w = World::new();
    w.learn(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    let other = from_phone("SUBSCRIBE", 1, "t");
    assert_eq!(
        w.learn(STRANGER, &other),
        [Counter::PendingAmbiguous, Counter::InRequest]
    );
    assert_eq!(
        w.send(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0,
        ADVERTISED
    );

    let w = World::new();
    w.learn(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    w.wait(33);
    assert_eq!(
        w.send(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0,
        ADVERTISED
    );
}

#[test]
fn a_refusal_drops_only_what_came_from_there() {
    let w = World::new();
    w.learn(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    let other = from_phone("SUBSCRIBE", 1, "t");
    w.learn(STRANGER, &other);
    assert_eq!(
        w.send(STRANGER, &other.answer(403)).1,
        [Counter::OutAlreadyThere]
    );
}

// Policy.

#[test]
fn policy() {
    for (policy, direct, verdict) in [
        (Policy::Off, true, Counter::OutPolicyOff),
        (Policy::Off, false, Counter::OutPolicyOff),
        (Policy::Auto, true, Counter::OutRedirectedDialog),
        (Policy::Auto, false, Counter::OutNotDirect),
        (Policy::Force, true, Counter::OutRedirectedDialog),
        (Policy::Force, false, Counter::OutRedirectedDialog),
    ] {
        let mut variants = vec![from_phone("INVITE", 1, "a")];
        if !direct {
            variants = vec![
                Sip {
                    vias: vec!["a", "b"],
                    ..from_phone("INVITE", 1, "a")
                },
                from_phone("INVITE", 1, "a").with("Record-Route: <sip:edge;lr>"),
            ];
        }
        for invite in variants {
            let w = World::new();
            w.policy.set(policy);
            w.learn(PHONE, &invite);
            w.send(PHONE, &invite.answer(200));
            assert_eq!(w.reinvite("r").1, [verdict], "{policy} {direct}");
        }
    }
}

#[test]
fn a_response_with_more_record_routes_came_through_a_proxy() {
    let w = World::new();
    let invite = call_phone("i");
    w.send(PHONE, &invite);
    let answer = Sip {
        to: "<sip:1000@pbx>;tag=phone".into(),
        ..invite.answer(200)
    };
    w.learn(PHONE, &answer.with("Record-Route: <sip:edge;lr>"));
    let bye = from_pbx("BYE", 2, "b").call("incoming");
    assert_eq!(
        w.send(ADVERTISED, &bye),
        (ADVERTISED, vec![Counter::OutNotDirect])
    );
}

#[test]
fn a_route_is_aimed_at_another_hop() {
    let w = World::new();
    w.call();
    let m = from_pbx("BYE", 2, "b").with("Route: <sip:edge;lr>");
    assert_eq!(
        w.send(ADVERTISED, &m),
        (ADVERTISED, vec![Counter::OutRoute])
    );
}

#[test]
fn what_needs_nothing_is_left() {
    let w = World::new();
    w.call();
    assert_eq!(
        w.send(PHONE, &from_pbx("BYE", 2, "b")),
        (PHONE, vec![Counter::OutAlreadyThere])
    );
}

#[test]
fn a_full_table_is_counted() {
    let w = World::new();
    w.full.set(true);
    let invite = from_phone("INVITE", 1, "a");
    w.learn(PHONE, &invite);
    assert_eq!(w.send(PHONE, &invite.answer(200)).1[0], Counter::TableFull);
}

// Self-correction.

/// The PBX sends a request of the phone's dialog `times` times. Where each transmission went, and why.
fn transmissions(w: &World, m: &Sip, times: usize) -> Vec<(Address, Counter)> {
    let send = |_| {
        let (to, counted) = w.send(ADVERTISED, m);
        (to, *counted.last().unwrap())
    };
    (0..times).map(send).collect()
}

const REDIRECTED: (Address, Counter) = (PHONE, Counter::OutRedirectedDialog);
const UNANSWERED: (Address, Counter) = (ADVERTISED, Counter::OutUnanswered);
const LEFT_ALONE: (Address, Counter) = (ADVERTISED, Counter::OutLeftAlone);

#[test]
fn the_fifth_transmission_goes_where_the_pbx_means() {
    let w = World::new();
    w.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    assert_eq!(
        transmissions(&w, &m, 8),
        [
            REDIRECTED, REDIRECTED, REDIRECTED, REDIRECTED, UNANSWERED, REDIRECTED, UNANSWERED,
            REDIRECTED
        ]
    );
    // Nobody answered: the next request is redirected at first.
    assert_eq!(w.reinvite("next"), (PHONE, vec![REDIRECTED.1]));
    // `force` knows no doubt.
    w.policy.set(Policy::Force);
    let m = from_pbx("UPDATE", 103, "update");
    assert_eq!(transmissions(&w, &m, 6), [REDIRECTED; 6]);
}

#[test]
fn a_terminal_that_answers_there_is_left_alone() {
    let w = World::new();
    w.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&w, &m, 5);
    assert_eq!(
        w.learn(PHONE, &m.answer(200)),
        [
            Counter::PeerLeftAlone,
            Counter::DialogRefreshed,
            Counter::InResponse
        ]
    );
    let binding = w.active()[0];
    assert!(binding.has(flag::LEFT_ALONE));
    assert_eq!(binding.learned, Endpoint::v4(PHONE.0, PHONE.1));
    // Also in other dialogs, and its registration.
    let m = from_pbx("BYE", 103, "bye");
    assert_eq!(transmissions(&w, &m, 4), [LEFT_ALONE; 4]);
    // Until that draws no answer either, and the learned address does.
    assert_eq!(transmissions(&w, &m, 1), [REDIRECTED]);
    assert_eq!(w.learn(PHONE, &m.answer(200))[0], Counter::PeerProven);
    assert_eq!(w.reinvite("again"), (PHONE, vec![REDIRECTED.1]));
    assert!(!w.active()[0].has(flag::LEFT_ALONE));
}

#[test]
fn a_terminal_is_left_alone_in_all_its_dialogs_and_contacts() {
    let w = World::new();
    w.call();
    w.register();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&w, &m, 5);
    w.learn(PHONE, &m.answer(200));
    let (to, counted) = w.send(ADVERTISED, &call_phone("incoming"));
    assert_eq!((to, counted), (ADVERTISED, vec![Counter::OutLeftAlone]));
    assert!(w.contacts().values().any(|c| c.has(flag::LEFT_ALONE)));
    // Another address that the PBX may mean has not answered.
    let elsewhere = ([192, 168, 1, 10], 5060);
    let (to, _) = w.send(elsewhere, &from_pbx("INFO", 104, "info"));
    assert_eq!(to, PHONE);
}

#[test]
fn a_terminal_that_has_answered_where_it_was_learned_is_not_doubted() {
    let w = World::new();
    w.call();
    let m = from_pbx("OPTIONS", 102, "options");
    transmissions(&w, &m, 1);
    assert_eq!(w.learn(PHONE, &m.answer(200))[0], Counter::PeerProven);
    let m = from_pbx("INVITE", 103, "reinvite");
    assert_eq!(transmissions(&w, &m, 9), [REDIRECTED; 9]);
    // For half a day.
    w.wait(13 * 3600);
    w.call();
    let m = from_pbx("INFO", 104, "info");
    assert_eq!(transmissions(&w, &m, 5)[4], UNANSWERED);
}

/// The source of a phone that has no NAT, and listens on another port.
const PUBLIC: Address = ([60, 17, 196, 2], 40000);

#[test]
fn a_repeated_request_draws_a_response_where_its_via_says() {
    let w = World::new();
    let m = register(1, "r1", "<sip:1000@60.17.196.2>");
    let answer = m.answer(401);
    let next = |w: &World| w.send(ADVERTISED, &answer).0;
    assert_eq!(w.learn(PUBLIC, &m), [Counter::InRequest]);
    for _ in 0..2 {
        assert_eq!(next(&w), PUBLIC);
        w.learn(PUBLIC, &m);
    }
    // Two responses did not arrive. Only the third goes there, once.
    assert_eq!(next(&w), ADVERTISED);
    assert_eq!(next(&w), PUBLIC);
    // That it sends another one is no proof: anybody can.
    let again = register(2, "r2", "<sip:1000@60.17.196.2>");
    w.learn(PUBLIC, &again);
    assert_eq!(w.send(ADVERTISED, &again.answer(200)).0, PUBLIC);
}

#[test]
fn a_private_address_is_not_believed_to_get_responses() {
    let w = World::new();
    let via = ([192, 168, 1, 10], 5060);
    let m = register(1, "r1", "<sip:1000@192.168.1.10>");
    w.learn(PHONE, &m);
    for _ in 0..4 {
        assert_eq!(w.send(via, &m.answer(401)).0, PHONE);
        w.learn(PHONE, &m);
    }
}

/// Somebody at the private address that a phone advertises, in the PBX's own network, is not that phone.
#[test]
fn a_private_address_is_not_believed_to_get_requests() {
    let w = World::new();
    w.call();
    let office = ([192, 168, 1, 10], 5060);
    let m = from_pbx("INVITE", 102, "reinvite");
    for _ in 0..9 {
        assert_eq!(w.send(office, &m).0, PHONE);
    }
}

/// A phone whose radio sleeps answers the first transmissions after the fifth took the other way.
#[test]
fn a_slow_answer_tells_nothing_of_the_way() {
    let w = World::new();
    w.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&w, &m, 5);
    w.wait(4);
    let counted = w.learn(PHONE, &m.answer(200));
    assert!(!counted.contains(&Counter::PeerLeftAlone), "{counted:?}");
    let ack = from_pbx("ACK", 102, "ack");
    assert_eq!(w.send(ADVERTISED, &ack).0, PHONE);
}

/// A response of the PBX to a request whose transaction was pushed out.
#[test]
fn a_late_response_goes_to_the_dialog_end() {
    let w = World::new();
    w.call();
    let bye = from_phone("BYE", 2, "never-seen").tagged("pbx");
    let (to, counted) = w.send(ADVERTISED, &bye.answer(200));
    assert_eq!((to, counted), (PHONE, vec![Counter::OutRedirectedResponse]));
    let other = bye.call("other");
    assert_eq!(
        w.send(ADVERTISED, &other.answer(200)).1,
        [Counter::OutUnknownResponse]
    );
}

// What is kept for people.

#[test]
fn shadow_decides_and_redirects_nothing() {
    let w = World::new();
    w.shadow.set(true);
    w.call();
    w.wait(1);
    let m = from_pbx("INVITE", 102, "reinvite");
    for _ in 0..9 {
        let (to, counted) = w.send(ADVERTISED, &m);
        assert_eq!((to, counted), (ADVERTISED, vec![REDIRECTED.1]));
    }
    let cancel = from_pbx("CANCEL", 102, "reinvite");
    assert_eq!(w.send(ADVERTISED, &cancel).1, [REDIRECTED.1]);
    // An answer shows where the request really went.
    w.learn(PHONE, &m.answer(200));
    assert_eq!(
        w.active()[0].learned,
        Endpoint::v4(ADVERTISED.0, ADVERTISED.1)
    );
}

#[test]
fn history_tells_what_was_learned_and_why_a_packet_went_where() {
    let w = World::new();
    w.call();
    w.reinvite("reinvite");
    w.learn(PHONE, &from_pbx("INVITE", 102, "reinvite").answer(200));
    let history = w.history.borrow();
    let told: Vec<_> = history
        .iter()
        .map(|r| {
            (
                r.status,
                r.cseq,
                Counter::ALL[usize::from(r.verdict)],
                r.meant().port,
                r.learned().port,
                r.events,
            )
        })
        .collect();
    let (advertised, phone) = (u32::from(ADVERTISED.1), u32::from(PHONE.1));
    assert_eq!(
        told,
        [
            (
                200,
                1,
                Counter::OutAlreadyThere,
                phone,
                phone,
                Counter::DialogActivated.event_bit()
            ),
            (0, 102, Counter::OutRedirectedDialog, advertised, phone, 0),
            (
                200,
                102,
                Counter::InResponse,
                phone,
                phone,
                Counter::PeerProven.event_bit() | Counter::DialogRefreshed.event_bit()
            ),
        ]
    );
    assert!(
        history
            .iter()
            .all(|r| r.call == history[0].call && r.tag == history[0].tag)
    );
}

/// The kernel may give the memory of a removed binding to another while it is read.
#[test]
fn a_binding_of_another_key_is_not_used() {
    let w = World::new();
    w.call();
    w.register();
    for binding in w.dialogs().values_mut().chain(w.contacts().values_mut()) {
        binding.key[1] ^= 1;
    }
    assert_eq!(
        w.reinvite("reinvite"),
        (ADVERTISED, vec![Counter::OutUnknownRequest])
    );
    assert_eq!(
        w.send(ADVERTISED, &call_phone("incoming")).1,
        [Counter::OutUnknownRequest]
    );
}

/// A request of the PBX may go to several terminals under one Call-ID: one of them answers with another's tag.
#[test]
fn an_answer_to_a_new_request_does_not_take_a_live_dialog_end_over() {
    let w = World::new();
    let forked = |branch| call_phone(branch).answer(200);
    let victims = |branch| {
        let mut answer = forked(branch);
        answer.to = "<sip:1000@pbx>;tag=phone".into();
        answer
    };
    w.send(PHONE, &call_phone("a"));
    w.send(STRANGER, &call_phone("b"));
    assert_eq!(w.learn(PHONE, &victims("a"))[0], Counter::DialogActivated);
    assert_eq!(
        w.learn(STRANGER, &victims("b")),
        [Counter::DialogGuarded, Counter::InResponse]
    );
    assert_eq!(w.active()[0].learned, Endpoint::v4(PHONE.0, PHONE.1));
}

/// What the user removes stays away, though it was pending shortly before.
#[test]
fn what_was_accepted_is_no_more_pending() {
    let w = World::new();
    let m = from_phone("SUBSCRIBE", 1, "s");
    w.learn(PHONE, &m);
    w.send(PHONE, &m.answer(200));
    w.dialogs().clear();
    assert_eq!(w.reinvite("reinvite").1, [Counter::OutUnknownRequest]);
}

/// Transmissions to where the terminal was before do not count against where it is now.
#[test]
fn a_terminal_that_moved_is_not_doubted() {
    let w = World::new();
    w.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    assert_eq!(transmissions(&w, &m, 4), [REDIRECTED; 4]);
    let moves = from_phone("UPDATE", 2, "moves").tagged("pbx");
    w.learn(MOVED, &moves);
    w.send(MOVED, &moves.answer(200));
    let moved = (MOVED, Counter::OutRedirectedDialog);
    assert_eq!(transmissions(&w, &m, 4), [moved; 4]);
    assert_eq!(transmissions(&w, &m, 1), [UNANSWERED]);
}

/// An ACK within a dialog goes where the terminal is now, though its INVITE went elsewhere.
#[test]
fn an_ack_follows_a_terminal_that_moved() {
    let w = World::new();
    w.call();
    w.reinvite("reinvite");
    let moves = from_phone("UPDATE", 2, "moves").tagged("pbx");
    w.learn(MOVED, &moves);
    w.send(MOVED, &moves.answer(200));
    let (to, _) = w.send(ADVERTISED, &from_pbx("ACK", 102, "reinvite"));
    assert_eq!(to, MOVED);
}

/// The PBX calls a registered phone, whose mapping changes before it answers.
#[test]
fn an_answer_from_elsewhere_shows_a_new_mapping() {
    let w = World::new();
    w.register();
    let invite = call_phone("a");
    assert_eq!(w.send(ADVERTISED, &invite).0, PHONE);
    let answer = |status| {
        let mut answer = invite.answer(status);
        answer.to = "<sip:1000@pbx>;tag=callee".into();
        answer
    };
    w.learn(PHONE, &answer(180));
    w.wait(1);
    assert_eq!(
        w.learn(MOVED, &answer(200)),
        [Counter::DialogMoved, Counter::InResponse]
    );
    let mut ack = call_phone("b");
    ack.start = ack.start.replace("INVITE", "ACK");
    ack.cseq.1 = "ACK";
    ack.to = "<sip:1000@pbx>;tag=callee".into();
    assert_eq!(w.send(ADVERTISED, &ack).0, MOVED);
    // A late one from the old mapping brings nothing back.
    w.wait(1);
    w.learn(PHONE, &answer(200));
    assert_eq!(w.send(ADVERTISED, &ack).0, MOVED);
    // A request that was not redirected went where the terminal listens, wherever it sends from.
    let w = World::new();
    assert_eq!(w.send(ADVERTISED, &invite).0, ADVERTISED);
    w.learn(PHONE, &answer(200));
    assert_eq!(
        w.active()[0].learned,
        Endpoint::v4(ADVERTISED.0, ADVERTISED.1)
    );
}

/// A router hands what comes to its port 5060 to another phone, which refuses what is not for it.
#[test]
fn a_refusal_from_where_the_pbx_means_is_not_believed() {
    let w = World::new();
    w.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&w, &m, 5);
    let counted = w.learn(ADVERTISED, &m.answer(481));
    assert!(!counted.contains(&Counter::PeerLeftAlone), "{counted:?}");
    assert!(!w.active()[0].has(flag::LEFT_ALONE));
    assert_eq!(w.reinvite("again"), (PHONE, vec![REDIRECTED.1]));
}

/// A response of a PBX that answers to where a request came from, after its transaction was pushed out, or through
/// another proxy.
#[test]
fn a_late_response_is_left_where_the_pbx_knows_better() {
    let w = World::new();
    w.call();
    let bye = from_phone("BYE", 2, "never-seen").tagged("pbx");
    assert_eq!(w.send(MOVED, &bye.answer(200)).0, MOVED);
    let mut proxied = bye.answer(200);
    proxied.vias.push("edge");
    assert_eq!(w.send(ADVERTISED, &proxied).0, ADVERTISED);
}

/// The same answer again, after the terminal moved on.
#[test]
fn a_repeated_answer_from_elsewhere_brings_nothing_back() {
    const NEWER: Address = ([60, 17, 196, 2], 52000);
    let w = World::new();
    w.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&w, &m, 1);
    w.wait(1);
    assert_eq!(w.learn(MOVED, &m.answer(200))[0], Counter::DialogMoved);
    w.wait(1);
    let update = from_phone("UPDATE", 2, "update").tagged("pbx");
    w.learn(NEWER, &update);
    w.send(NEWER, &update.answer(200));
    w.learn(MOVED, &m.answer(200));
    assert_eq!(w.reinvite("next").0, NEWER);
    // Nor does one that comes after any phone has stopped ringing.
    w.wait(301);
    assert_eq!(
        w.learn(STRANGER, &m.answer(200)),
        [Counter::InResponseUnasked]
    );
}
