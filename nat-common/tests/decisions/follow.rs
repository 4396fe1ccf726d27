//! Dialogs that follow their terminals: the mapping changes, and the terminal only registers again.

use nat_common::abi::{Counter, SECOND, TICK_SHIFT};
use nat_common::endpoint::Endpoint;
use nat_common::engine::lifetimes::T1;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, NO_BRANCH, Network, PHONE, STRANGER, Sip, call_phone,
    from_pbx, from_phone, register,
};

/// The phone's address after its router got another one from the provider.
const RENUMBERED: Address = ([60, 17, 196, 99], 49163);

/// Address of the phone after a second change.
const THIRD: Address = ([60, 17, 196, 2], 52000);

const CONTACT: &str = "<sip:1000@192.168.1.10>";

/// REGISTER of an account: its user, the Call-ID of its registration, and its Contact.
fn registration(user: &str, call: &'static str, contact: &str) -> Sip {
    Sip {
        from: format!("<sip:{user}@pbx>;tag={call}"),
        to: format!("<sip:{user}@pbx>"),
        ..register(1, NO_BRANCH, contact).call(call)
    }
}

impl Network {
    /// The phone has registered, and called.
    fn in_a_call() -> Self {
        let net = Self::new();
        net.registers(PHONE);
        net.call();
        net
    }

    /// The phone has registered, and sent an INVITE.
    fn calling() -> (Self, Sip) {
        let net = Self::new();
        net.registers(PHONE);
        let invite = from_phone("INVITE", 1, "invite");
        net.arrives(PHONE, &invite);
        (net, invite)
    }

    /// A REGISTER comes from an address a minute later, and the PBX accepts it.
    fn accepts(&self, source: Address, mut m: Sip) -> Vec<Counter> {
        self.wait(60);
        m.cseq.0 = (self.now.get() >> 30) as u32;
        self.arrives(source, &m);
        self.sends(source, &m.answer(200).with("Expires: 3600")).1
    }

    /// The phone registers from an address.
    fn registers(&self, source: Address) {
        self.accepts(source, registration("1000", "registration", CONTACT));
    }

    /// The PBX calls the phone, and the phone answers from where it registered.
    fn call_by_pbx(&self, source: Address) {
        let invite = call_phone("invite").call("call");
        assert_eq!(self.sends(ADVERTISED, &invite).0, source);
        self.arrives(source, &invite.answer(200).tagged_as("phone"));
        self.sends(ADVERTISED, &from_pbx("ACK", 1, "ack"));
    }

    /// Where the PBX's next request in the dialog goes.
    fn next(&self, branch: &'static str) -> Address {
        self.sends(ADVERTISED, &from_pbx("BYE", 102, branch)).0
    }
}

#[test]
fn a_call_follows_a_registration_that_goes_on_elsewhere() {
    for (called, moved) in [
        (false, MOVED),
        (true, MOVED),
        (false, RENUMBERED),
        (true, RENUMBERED),
    ] {
        let net = Network::new();
        net.registers(PHONE);
        if called {
            net.call_by_pbx(PHONE);
        } else {
            net.call();
        }
        net.registers(PHONE);
        assert_eq!(net.next("stays"), PHONE);
        let counted = net.accepts(moved, registration("1000", "registration", CONTACT));
        assert!(counted.contains(&Counter::ContactMoved), "{counted:?}");
        let invite = from_pbx("INVITE", 103, "hold");
        let (to, counted) = net.sends(ADVERTISED, &invite);
        assert_eq!((to, counted[0]), (moved, Counter::DialogFollowed));
        assert_eq!(net.sends(ADVERTISED, &from_pbx("ACK", 103, "ack")).0, moved);
        // The answer moves the dialog end: from now on it needs no registration.
        net.arrives(moved, &invite.answer(200));
        let (to, counted) = net.sends(ADVERTISED, &from_pbx("BYE", 104, "bye"));
        assert_eq!((to, counted), (moved, vec![Counter::OutRedirectedDialog]));
    }
}

/// Whatever registers within a round trip of an INVITE, its caller is where that came from.
#[test]
fn an_answer_at_once_follows_nobody() {
    let (net, invite) = Network::calling();
    let m = Sip {
        cseq: (9_000, "REGISTER"),
        ..registration("1000", "registration", CONTACT)
    };
    net.now.set(net.now.get() + SECOND / 10);
    net.arrives(MOVED, &m);
    net.sends(MOVED, &m.answer(200));
    for (tenths, to) in [(3, PHONE), (0, PHONE), (1, MOVED)] {
        net.now.set(net.now.get() + tenths * SECOND / 10);
        assert_eq!(net.sends(ADVERTISED, &invite.answer(180)).0, to);
    }
}

/// The mapping changes twice while the call is silent.
#[test]
fn a_call_follows_over_several_changes() {
    let net = Network::in_a_call();
    net.registers(MOVED);
    net.registers(THIRD);
    assert_eq!(net.next("a"), THIRD);
    net.registers(PHONE);
    let (to, counted) = net.sends(ADVERTISED, &from_pbx("BYE", 102, "b"));
    assert_eq!((to, counted), (PHONE, vec![Counter::OutRedirectedDialog]));
}

/// Refreshes of the registration keep it where it is, for as long as it lasts.
#[test]
fn a_call_follows_for_as_long_as_the_registration_lasts() {
    let net = Network::in_a_call();
    net.registers(MOVED);
    for _ in 0..60 {
        net.registers(MOVED);
    }
    assert_eq!(net.next("a"), MOVED);
    net.wait(3601);
    assert_eq!(net.next("b"), PHONE);
}

/// Whoever sends an accepted message in the dialog after that is where that came from.
#[test]
fn a_dialog_heard_since_does_not_follow() {
    let net = Network::in_a_call();
    net.registers(MOVED);
    net.wait(1);
    let info = from_phone("INFO", 2, "i").tagged("pbx");
    net.arrives(PHONE, &info);
    net.sends(PHONE, &info.answer(200));
    assert_eq!(net.next("a"), PHONE);
}

/// One phone with two accounts: the calls of each follow.
#[test]
fn each_account_of_a_phone_follows() {
    let net = Network::new();
    let other = || registration("2000", "other", "<sip:2000@192.168.1.10>");
    net.registers(PHONE);
    net.accepts(PHONE, other());
    net.call();
    net.registers(MOVED);
    net.accepts(MOVED, other());
    assert_eq!(net.next("a"), MOVED);
}

/// Another terminal's first registration says nothing of this one's.
#[test]
fn a_first_registration_moves_nothing() {
    let net = Network::new();
    // Without an address, it is stored under its URI last.
    let m = || registration("1000", "registration", "<sip:1000@phone.local>");
    net.accepts(PHONE, m());
    net.call();
    net.accepts(MOVED, m());
    let info = from_phone("INFO", 2, "i").tagged("pbx");
    net.arrives(PHONE, &info);
    net.sends(PHONE, &info.answer(200));
    net.accepts(STRANGER, registration("2000", "other", CONTACT));
    assert_eq!(net.next("a"), PHONE);
}

/// An account registers from the victim's address, which it forges, and then from its own. The dialog is another owner's,
/// whatever Contact URI the account names.
#[test]
fn another_account_moves_nothing() {
    for contact in [CONTACT, "<sip:2000@198.51.100.66:6666>"] {
        for called in [false, true] {
            for victim_registers in [false, true] {
                let net = Network::new();
                net.registers(PHONE);
                if called {
                    net.call_by_pbx(PHONE);
                } else {
                    net.call();
                }
                net.accepts(PHONE, registration("2000", "evil", contact));
                if victim_registers {
                    net.registers(PHONE);
                }
                net.accepts(STRANGER, registration("2000", "evil", contact));
                assert_eq!(net.next("a"), PHONE, "{contact} {called}");
                assert_eq!(
                    net.sends(ADVERTISED, &call_phone("b")).0,
                    PHONE,
                    "{contact}"
                );
            }
        }
    }
}

/// Only the terminal and the PBX know the Call-ID of its registration (RFC 3261 10.2.4). Under another one, another phone of
/// the account with the same Contact URI may have registered, at another site.
#[test]
fn another_registration_moves_nothing() {
    let other = || registration("1000", "other", CONTACT);
    for proxy in [true, false] {
        for moved in [MOVED, RENUMBERED, STRANGER] {
            let net = Network::new();
            if !proxy {
                net.sends(STRANGER, &call_phone("own").call("own"));
            }
            net.registers(PHONE);
            net.call();
            net.accepts(moved, other());
            assert_eq!(net.next("a"), PHONE);
            // It is not the one that left.
            net.registers(MOVED);
            net.accepts(moved, other());
            assert_eq!(net.next("b"), PHONE, "{moved:?}");
            // That one goes on.
            net.registers(THIRD);
            assert_eq!(net.next("c"), THIRD, "{moved:?}");
        }
    }
}

/// The registration goes on through another proxy: the phone is not reached directly any more.
#[test]
fn a_registration_through_a_proxy_moves_nothing() {
    let net = Network::in_a_call();
    let through = Sip {
        vias: vec![NO_BRANCH, "phone"],
        ..registration("1000", "registration", CONTACT)
    };
    net.accepts(MOVED, through);
    assert_eq!(net.next("a"), PHONE);
}

/// A contact that was never where the dialog is says nothing of it: one of two phones of an account.
#[test]
fn a_contact_from_elsewhere_moves_nothing() {
    let net = Network::new();
    net.registers(THIRD);
    net.call();
    net.registers(MOVED);
    assert_eq!(net.next("a"), PHONE);
    // Nor does one that left before the dialog began there: the router gave the port to another phone of the account.
    let net = Network::new();
    net.registers(PHONE);
    net.registers(MOVED);
    net.call();
    assert_eq!(net.next("b"), PHONE);
}

/// The registration has ended since.
#[test]
fn a_registration_that_is_removed_moves_nothing() {
    for contact in ["<sip:1000@192.168.1.10>;expires=0", "*"] {
        let net = Network::in_a_call();
        net.registers(MOVED);
        let m = registration("1000", "registration", contact).with("Expires: 0");
        net.accepts(MOVED, m);
        assert_eq!(net.next("a"), PHONE);
    }
}

/// Another socket of the host is another PBX.
#[test]
fn a_registration_at_another_socket_moves_nothing() {
    let net = Network::in_a_call();
    let other = Endpoint::v4([203, 0, 113, 10], 5080);
    let pbx = net.socket.replace(other);
    net.registers(PHONE);
    net.registers(STRANGER);
    net.socket.set(pbx);
    assert_eq!(net.next("a"), PHONE);
}

/// Where the PBX itself sends to the address that the terminal has left, that address comes first: a terminal may have two.
#[test]
fn the_address_that_was_left_comes_first_where_the_pbx_sends_there() {
    let net = Network::in_a_call();
    net.acknowledge();
    net.registers(MOVED);
    let bye = from_pbx("BYE", 102, "bye");
    let sent = [(); 2].map(|()| net.sends(PHONE, &bye).0);
    assert_eq!(sent, [PHONE, MOVED]);
}

/// What the dialog has proven against the forgotten port holds for the new address.
#[test]
fn a_proof_of_the_dialog_goes_along() {
    let forgotten = "<sip:1000@60.17.196.2>";
    let net = Network::new();
    let m = || registration("1000", "registration", forgotten);
    net.accepts(PHONE, m());
    let invite = Sip {
        more: vec![format!("Contact: {forgotten}")],
        ..from_phone("INVITE", 1, "invite")
    };
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(200));
    net.acknowledge();
    assert_eq!(net.sends(FORGOTTEN, &from_pbx("INFO", 102, "a")).0, PHONE);
    net.accepts(MOVED, m());
    assert_eq!(net.sends(FORGOTTEN, &from_pbx("INFO", 103, "b")).0, MOVED);
}

/// The phone calls, it rings, and the phone registers from elsewhere. The PBX's answer goes there.
#[test]
fn the_answer_to_a_ringing_call_follows() {
    let (net, invite) = Network::calling();
    assert_eq!(net.sends(ADVERTISED, &invite.answer(180)).0, PHONE);
    net.registers(MOVED);
    let (to, counted) = net.sends(ADVERTISED, &invite.answer(200));
    assert_eq!((to, counted[0]), (MOVED, Counter::DialogFollowed));
    assert_eq!(net.next("bye"), MOVED);
    // What the phone says from there, having heard that, proves nothing of the address that it has left.
    net.arrives(MOVED, &from_phone("ACK", 1, "ack").tagged("pbx"));
    let [b] = net.active()[..] else { panic!() };
    assert!(!b.flags.contains(nat_common::abi::BindingFlags::PROVEN));
}

/// A PBX that sends to the source of the request sends its answer there first, and the next transmission to the new address.
#[test]
fn the_answer_to_a_ringing_call_follows_in_turn() {
    for status in [200, 486] {
        let (net, invite) = Network::calling();
        assert_eq!(net.sends(PHONE, &invite.answer(180)).0, PHONE);
        net.registers(MOVED);
        let answer = invite.answer(status);
        let sent = [(); 4].map(|()| net.sends(PHONE, &answer).0);
        assert_eq!(sent, [PHONE, MOVED, PHONE, MOVED], "{status}");
    }
}

/// A phone that sends each request from another port, and listens on one. The PBX repeats its answers to older requests.
#[test]
fn answers_to_other_requests_do_not_follow() {
    let first = registration("1000", "registration", "<sip:1000@60.17.196.2>");
    let second = Sip {
        cseq: (2, "REGISTER"),
        ..first.clone()
    };
    for older in [second, from_phone("MESSAGE", 1, "message")] {
        let net = Network::new();
        net.accepts(PHONE, first.clone());
        net.arrives(PHONE, &older);
        net.sends(FORGOTTEN, &older.answer(200));
        net.accepts(MOVED, first.clone());
        for _ in 0..3 {
            let (to, counted) = net.sends(FORGOTTEN, &older.answer(200));
            assert_eq!(to, FORGOTTEN, "{}", older.start);
            assert!(!counted.contains(&Counter::DialogFollowed), "{counted:?}");
        }
    }
}

/// Two sources sent the call's INVITE. Its answer goes where it went, and nothing says that it follows.
#[test]
fn the_answer_to_a_disputed_call_does_not_follow() {
    let (net, invite) = Network::calling();
    net.arrives(STRANGER, &invite);
    net.registers(MOVED);
    let answer = net.sends(ADVERTISED, &invite.answer(200));
    assert_eq!(answer, (ADVERTISED, vec![Counter::OutDisputed]));
}

/// Another account, another registration, or one that left before the call say nothing of where its answer goes.
#[test]
fn the_answer_to_a_ringing_call_follows_nobody_else() {
    for (user, call) in [("2000", "evil"), ("1000", "other")] {
        let (net, invite) = Network::calling();
        if user == "2000" {
            net.accepts(PHONE, registration(user, call, CONTACT));
        }
        net.accepts(STRANGER, registration(user, call, CONTACT));
        assert_eq!(
            net.sends(ADVERTISED, &invite.answer(200)).0,
            PHONE,
            "{user}"
        );
    }
    let net = Network::new();
    net.registers(PHONE);
    net.registers(MOVED);
    let invite = from_phone("INVITE", 1, "invite");
    net.arrives(PHONE, &invite);
    net.wait(10);
    assert_eq!(net.sends(ADVERTISED, &invite.answer(200)).0, PHONE);
}

/// The PBX rings the phone and gives up, after the phone has registered from elsewhere.
#[test]
fn a_cancel_follows() {
    let cancel = || Sip {
        start: "CANCEL sip:1000@192.168.1.10 SIP/2.0".into(),
        cseq: (1, "CANCEL"),
        ..call_phone("ring")
    };
    let ring = |net: &Network| {
        net.registers(PHONE);
        let invite = call_phone("ring");
        net.sends(ADVERTISED, &invite);
        net.arrives(PHONE, &invite.answer(180).tagged_as("phone"));
    };
    let net = Network::new();
    ring(&net);
    net.registers(MOVED);
    assert_eq!(net.sends(ADVERTISED, &cancel()).0, MOVED);
    let net = Network::new();
    ring(&net);
    net.accepts(PHONE, registration("2000", "evil", CONTACT));
    net.accepts(STRANGER, registration("2000", "evil", CONTACT));
    assert_eq!(net.sends(ADVERTISED, &cancel()).0, PHONE);
    // Where only the URI names the phone.
    for (victim, to) in [("1000", MOVED), ("1010", PHONE)] {
        let net = Network::new();
        net.accepts(PHONE, registration(victim, "registration", CONTACT));
        net.call_by_uri(PHONE);
        net.sends(ADVERTISED, &weak_invite("again").call("again"));
        net.settled.set(false);
        net.accepts(MOVED, registration(victim, "registration", CONTACT));
        let cancel = Sip {
            start: "CANCEL sip:1000@192.168.1.10 SIP/2.0".into(),
            cseq: (1, "CANCEL"),
            ..weak_invite("again").call("again")
        };
        assert_eq!(net.sends(ADVERTISED, &cancel).0, to, "{victim}");
    }
}

/// INVITE of a PBX that writes the Contact URI into To, as Asterisk does.
fn weak_invite(branch: &'static str) -> Sip {
    Sip {
        to: CONTACT.into(),
        ..call_phone(branch)
    }
    .call("call")
}

impl Network {
    /// The PBX calls the phone by its Contact URI, and the phone answers the second transmission.
    fn call_by_uri(&self, source: Address) {
        let invite = weak_invite("weak");
        self.sends(ADVERTISED, &invite);
        assert_eq!(self.sends(ADVERTISED, &invite).0, source);
        let counted = self.arrives(source, &invite.answer(200).tagged_as("phone"));
        assert!(counted.contains(&Counter::WeakProven), "{counted:?}");
        self.sends(ADVERTISED, &self.weak("ACK", 1));
    }

    fn weak(&self, method: &'static str, cseq: u32) -> Sip {
        Sip {
            to: CONTACT.into(),
            ..from_pbx(method, cseq, method)
        }
        .tagged("phone")
    }
}

/// At Asterisk, To of a call to the phone is its Contact URI; `chan_pjsip` leaves the port out. The call follows where a new
/// one by that URI would go.
#[test]
fn a_call_by_the_uri_follows() {
    let contact = "<sip:1000@192.168.1.10:5060>";
    let net = Network::new();
    let m = || registration("1000", "registration", contact);
    net.accepts(PHONE, m());
    let spelled = |m: Sip| Sip {
        start: m.start.replace("192.168.1.10", "192.168.1.10:5060"),
        ..m
    };
    let invite = spelled(weak_invite("weak"));
    net.sends(ADVERTISED, &invite);
    assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
    net.arrives(PHONE, &invite.answer(200).tagged_as("phone"));
    net.accepts(MOVED, m());
    let bye = spelled(net.weak("BYE", 102));
    assert_eq!(net.sends(ADVERTISED, &bye).0, MOVED);

    for moved in [MOVED, RENUMBERED] {
        let net = Network::new();
        net.registers(PHONE);
        net.call_by_uri(PHONE);
        assert_eq!(net.sends(ADVERTISED, &net.weak("INFO", 101)).0, PHONE);
        net.registers(moved);
        let (to, counted) = net.sends(ADVERTISED, &net.weak("BYE", 102));
        assert_eq!((to, counted[0]), (moved, Counter::DialogFollowed));
    }
}

/// Another account registers the victim's Contact URI from the victim's address, which it forges, and then from its own.
#[test]
fn another_account_moves_no_call_by_the_uri() {
    // Where the user of the URI is not that of the victim's address-of-record, both have an equal claim.
    for victim in ["1000", "1010"] {
        for victim_registers in [false, true] {
            let net = Network::new();
            let m = || registration(victim, "registration", CONTACT);
            net.accepts(PHONE, m());
            net.call_by_uri(PHONE);
            net.accepts(PHONE, registration("2000", "evil", CONTACT));
            if victim_registers {
                net.accepts(PHONE, m());
            }
            net.accepts(STRANGER, registration("2000", "evil", CONTACT));
            assert_eq!(
                net.sends(ADVERTISED, &net.weak("BYE", 102)).0,
                PHONE,
                "{victim} {victim_registers}"
            );
        }
    }
}

/// Evidence that keeps a new call by the URI at its original destination keeps this one where it is.
#[test]
fn a_call_by_the_uri_follows_on_weak_evidence_only() {
    // Another account has the same URI elsewhere: ambiguous.
    let net = Network::new();
    net.accepts(PHONE, registration("1010", "registration", CONTACT));
    net.call_by_uri(PHONE);
    net.accepts(STRANGER, registration("2000", "other", CONTACT));
    net.accepts(MOVED, registration("1010", "registration", CONTACT));
    assert_eq!(net.sends(ADVERTISED, &net.weak("BYE", 102)).0, PHONE);
    // The original destination answers by itself.
    let net = Network::new();
    net.registers(PHONE);
    net.call_by_uri(PHONE);
    let options = Sip {
        start: "OPTIONS sip:trunk@192.168.1.10 SIP/2.0".into(),
        to: "<sip:trunk@192.168.1.10>".into(),
        cseq: (1, "OPTIONS"),
        ..call_phone("options")
    };
    net.settled.set(false);
    net.sends(ADVERTISED, &options);
    net.arrives(ADVERTISED, &options.answer(200));
    net.registers(MOVED);
    assert_eq!(net.sends(ADVERTISED, &net.weak("BYE", 102)).0, PHONE);
    // Nothing shows that requests by that URI reach the phone.
    let net = Network::new();
    net.registers(PHONE);
    net.call_by_uri(PHONE);
    let other = || registration("1000", "another", CONTACT);
    net.accepts(
        PHONE,
        registration("1000", "registration", "*").with("Expires: 0"),
    );
    net.accepts(PHONE, other());
    net.accepts(MOVED, other());
    assert_eq!(net.sends(ADVERTISED, &net.weak("BYE", 102)).0, PHONE);
}

/// Within T1, the caller is where the INVITE came from.
#[test]
fn an_answer_follows_from_t1_on() {
    for (wait, to) in [(T1 - 1, PHONE), (T1, MOVED)] {
        let (net, invite) = Network::calling();
        let arrived = net.now.get();
        net.now.set(arrived + (1 << TICK_SHIFT));
        let m = Sip {
            cseq: (9_000, "REGISTER"),
            ..registration("1000", "registration", CONTACT)
        };
        net.arrives(MOVED, &m);
        net.sends(MOVED, &m.answer(200));
        net.now.set(arrived + (wait << TICK_SHIFT));
        assert_eq!(net.sends(ADVERTISED, &invite.answer(180)).0, to, "{wait}");
    }
}

/// The PBX answers another caller in between. Each answer follows its own caller.
#[test]
fn the_answer_to_a_ringing_call_follows_its_own_caller() {
    let (net, invite) = Network::calling();
    assert_eq!(net.sends(ADVERTISED, &invite.answer(180)).0, PHONE);
    net.registers(MOVED);
    let other = Sip {
        from: "<sip:1001@pbx>;tag=other".into(),
        ..from_phone("INVITE", 1, "other").call("other")
    };
    net.arrives(THIRD, &other);
    let counted = net.sends(THIRD, &other.answer(200)).1;
    assert_eq!(counted[0], Counter::DialogActivated);
    assert_eq!(net.sends(ADVERTISED, &invite.answer(200)).0, MOVED);
}

/// Nothing shows that requests by that URI reach the phone: a CANCEL stays where its INVITE went.
#[test]
fn a_cancel_by_a_uri_that_is_not_proven_does_not_follow() {
    let net = Network::new();
    net.registers(PHONE);
    let invite = weak_invite("again").call("again");
    let went = [(); 2].map(|()| net.sends(ADVERTISED, &invite).0);
    assert_eq!(went, [ADVERTISED, PHONE]);
    net.registers(MOVED);
    let cancel = Sip {
        start: "CANCEL sip:1000@192.168.1.10 SIP/2.0".into(),
        cseq: (1, "CANCEL"),
        ..invite
    };
    assert_eq!(net.sends(ADVERTISED, &cancel).0, PHONE);
}

/// The owner has two contacts at one address, and one of them moves. A call by the URI of the other one stays.
#[test]
fn a_call_by_the_uri_stays_where_its_own_contact_is() {
    let other = || registration("1000", "other", "<sip:2@192.168.1.10>");
    let net = Network::new();
    net.accepts(PHONE, other());
    net.registers(PHONE);
    net.call_by_uri(PHONE);
    net.accepts(MOVED, other());
    assert_eq!(net.sends(ADVERTISED, &net.weak("INFO", 101)).0, PHONE);
    // Until its own contact moves, too.
    net.registers(MOVED);
    assert_eq!(net.sends(ADVERTISED, &net.weak("BYE", 102)).0, MOVED);
}

/// The PBX sends something to another URI in between.
#[test]
fn a_call_by_the_uri_follows_that_uri_only() {
    let net = Network::new();
    net.registers(PHONE);
    net.call_by_uri(PHONE);
    net.registers(MOVED);
    let elsewhere = Sip {
        start: "INVITE sip:9@198.51.100.66 SIP/2.0".into(),
        to: "<sip:9@pbx>".into(),
        ..call_phone("elsewhere").call("elsewhere")
    };
    assert_eq!(net.sends(STRANGER, &elsewhere).0, STRANGER);
    assert_eq!(net.sends(ADVERTISED, &net.weak("BYE", 102)).0, MOVED);
}
