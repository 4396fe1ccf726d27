//! Contacts: made, moved and removed by REGISTER, and used by requests outside of a dialog.

use std::collections::HashSet;

use nat_common::abi::{Binding, BindingFlags, ContactKey, Counter};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::{Bindings as _, Buffer};
use nat_common::tables::bindings::GROUPS;

use crate::{
    ADVERTISED, Address, MOVED, NO_BRANCH, Network, PHONE, STRANGER, Sip, call_phone, endpoint,
    from_pbx, register,
};

#[test]
fn only_2xx_activates_a_contact() {
    for (status, to) in [
        (100, ADVERTISED),
        (200, PHONE),
        (401, ADVERTISED),
        (403, ADVERTISED),
    ] {
        let net = Network::new();
        let m = register(1, "r", "<sip:1000@192.168.1.10>");
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(status));
        assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, to, "{status}");
    }
}

#[test]
fn a_contact_lasts_as_long_as_granted() {
    for (headers, seconds) in [
        (
            &["Contact: <sip:1000@192.168.1.10>;expires=60", "Expires: 90"][..],
            60,
        ),
        (
            &[
                "Contact: <sip:x@y>;expires=20, <sip:1000@192.168.1.10>;expires=70",
                "Expires: 90",
            ],
            70,
        ),
        (&["Contact: <sip:1000@192.168.1.10>", "Expires: 90"], 90),
        (&["Contact: <sip:1000@192.168.1.10>"], 3600),
        (&["Expires: 80"], 80),
        (&[], 3600),
    ] {
        let net = Network::new();
        let m = register(1, "r", "<sip:1000@192.168.1.10>");
        net.arrives(PHONE, &m);
        let answer = headers.iter().fold(m.answer(200), |a, h| a.with(h));
        assert_eq!(net.sends(PHONE, &answer).1[0], Counter::ContactActivated);
        net.wait(seconds - 1);
        assert_eq!(
            net.sends(ADVERTISED, &call_phone("i")).0,
            PHONE,
            "{headers:?}"
        );
        net.wait(1);
        assert_eq!(
            net.sends(ADVERTISED, &call_phone("j")).0,
            ADVERTISED,
            "{headers:?}"
        );
    }
}

#[test]
fn expires_0_and_a_star_remove() {
    for (contact, headers) in [
        ("<sip:1000@192.168.1.10>;expires=0", &[][..]),
        ("<sip:1000@192.168.1.10>", &["Expires: 0"]),
        ("*", &["Expires: 0"]),
    ] {
        let net = Network::new();
        net.register();
        net.wait(1);
        let m = headers
            .iter()
            .fold(register(2, "r2", contact), |m, h| m.with(h));
        net.arrives(PHONE, &m);
        assert_eq!(
            net.sends(ADVERTISED, &call_phone("i")).0,
            PHONE,
            "{contact}: not before it is accepted"
        );
        assert_eq!(
            net.sends(PHONE, &m.answer(200)).1[0],
            Counter::ContactRemoved
        );
        assert_eq!(
            net.sends(ADVERTISED, &call_phone("j")).0,
            ADVERTISED,
            "{contact}"
        );
        // The contact comes back with the next REGISTER.
        net.wait(1);
        let m = register(3, "r3", "<sip:1000@192.168.1.10>");
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        assert_eq!(
            net.sends(ADVERTISED, &call_phone("k")).0,
            PHONE,
            "{contact}"
        );
    }
}

/// A phone whose address has changed removes its old Contact and adds the new one in one REGISTER.
#[test]
fn the_first_contact_that_is_not_removed_counts() {
    const OLD: &str = "<sip:1000@192.168.1.9:5062>";
    const NEW: &str = "<sip:1000@192.168.1.10>";
    for (contacts, expires) in [
        (format!("{NEW};expires=600, {OLD};expires=0"), "60"),
        (format!("{OLD};expires=0, {NEW};expires=600"), "60"),
        (format!("{OLD};expires=0\r\nContact: {NEW}"), "60"),
        (
            format!("{OLD};expires=0, <sip:9@[2001:db8::9]>;expires=0, {NEW}"),
            "60",
        ),
    ] {
        let net = Network::new();
        let m = register(1, "r", &contacts).with(&format!("Expires: {expires}"));
        net.arrives(PHONE, &m);
        let accepted = m.answer(200).with(&format!("Contact: {NEW};expires=600"));
        assert_eq!(net.sends(PHONE, &accepted).1[0], Counter::ContactActivated);
        let invite = call_phone("i");
        assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE, "{contacts}");
        let known = net.contacts().into_values();
        for contact in known {
            assert_eq!(contact.advertised, Endpoint::v4(ADVERTISED.0, ADVERTISED.1));
        }
    }
    // All are removed.
    let net = Network::new();
    net.register();
    let m = register(2, "r", &format!("{OLD};expires=0, {NEW};expires=0"));
    net.arrives(PHONE, &m);
    assert_eq!(
        net.sends(PHONE, &m.answer(200)).1[0],
        Counter::ContactRemoved
    );
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, ADVERTISED);
}

/// Registers Contacts, which the PBX grants for ten minutes each, but those with `expires=0`. Returns the counters.
fn register_all(net: &Network, cseq: u32, branch: &'static str, contacts: &[&str]) -> Vec<Counter> {
    let m = register(cseq, branch, &contacts.join(", "));
    net.arrives(PHONE, &m);
    let listed: Vec<_> = contacts
        .iter()
        .filter(|contact| !contact.contains("expires=0"))
        .map(|contact| format!("{contact};expires=600"))
        .collect();
    let accepted = m
        .answer(200)
        .with(&format!("Contact: {}", listed.join(", ")));
    net.sends(PHONE, &accepted).1
}

/// Returns where a call to a Contact URI goes, whose address is `to`.
fn call(net: &Network, branch: &'static str, uri: &str, to: Address) -> (Address, Counter) {
    let invite = Sip {
        start: format!("INVITE {uri} SIP/2.0"),
        ..call_phone(branch)
    };
    let (went, counted) = net.sends(to, &invite);
    (went, *counted.last().unwrap())
}

/// A gateway registers two of its users, a phone two of its ports, or a TCP Contact beside that of UDP, in one REGISTER.
#[test]
fn each_contact_of_a_register_counts() {
    const CALLED: (Address, Counter) = (PHONE, Counter::OutRedirectedContact);
    let port = |port| (ADVERTISED.0, port);
    for (contacts, called) in [
        (
            &["<sip:100@192.168.1.10>", "<sip:101@192.168.1.10>"][..],
            &[
                ("sip:100@192.168.1.10", port(5060)),
                ("sip:101@192.168.1.10", port(5060)),
            ][..],
        ),
        (
            &[
                "<sip:1000@192.168.1.10:5060>",
                "<sip:1000@192.168.1.10:5062>",
            ],
            &[
                ("sip:1000@192.168.1.10:5060", port(5060)),
                ("sip:1000@192.168.1.10:5062", port(5062)),
            ],
        ),
        (
            &[
                "<sip:1000@192.168.1.10;transport=tcp>",
                "<sip:1000@192.168.1.10;transport=udp>",
            ],
            &[("sip:1000@192.168.1.10;transport=udp", port(5060))],
        ),
        (
            &["<sip:1000@[2001:db8::5]>", "<sip:1000@192.168.1.10>"],
            &[("sip:1000@192.168.1.10", port(5060))],
        ),
        (
            &[
                "<sip:9@192.168.1.9>;expires=0",
                "<sip:1@192.168.1.10:1>",
                "<sip:2@192.168.1.10:2>",
                "<sip:3@192.168.1.10:3>",
            ],
            &[
                ("sip:1@192.168.1.10:1", port(1)),
                ("sip:2@192.168.1.10:2", port(2)),
                ("sip:3@192.168.1.10:3", port(3)),
            ],
        ),
    ] {
        let net = Network::new();
        let counted = register_all(&net, 1, "r", contacts);
        let activated = counted.iter().filter(|c| **c == Counter::ContactActivated);
        let lasting = contacts.iter().filter(|c| !c.contains("expires=0"));
        assert_eq!(activated.count(), lasting.count(), "{contacts:?}");
        for (key, contact) in net.contacts() {
            let by_address = contact.flags.contains(BindingFlags::BY_ADDRESS);
            assert!(key.aor == 0 || !by_address, "{contacts:?}");
        }
        for ((uri, to), branch) in called.iter().zip(["a", "b", "c"]) {
            assert_eq!(
                call(&net, branch, uri, *to),
                CALLED,
                "{uri} of {contacts:?}"
            );
        }
        net.wait(601);
        for ((uri, to), branch) in called.iter().zip(["d", "e", "f"]) {
            assert_eq!(
                call(&net, branch, uri, *to).0,
                *to,
                "{uri} of {contacts:?}, expired"
            );
        }
    }
}

/// Each further Contact has its own time: that of the response, its own, or that of Expires.
#[test]
fn each_contact_has_its_own_time() {
    let net = Network::new();
    let uris = [
        "sip:1@192.168.1.10",
        "sip:2@192.168.1.10",
        "sip:3@192.168.1.10",
    ];
    let m = register(
        1,
        "r",
        "<sip:1@192.168.1.10>, <sip:2@192.168.1.10>, <sip:3@192.168.1.10>",
    );
    net.arrives(PHONE, &m);
    let listed = "Contact: <sip:3@192.168.1.10>;expires=30, <sip:1@192.168.1.10>;expires=60";
    net.sends(PHONE, &m.answer(200).with(listed).with("Expires: 90"));
    net.settled.set(false);
    for (seconds, branches, alive) in [
        (29, ["a", "b", "c"], [true; 3]),
        (2, ["d", "e", "f"], [true, true, false]),
        (30, ["g", "h", "i"], [false, true, false]),
        (30, ["j", "k", "l"], [false; 3]),
    ] {
        net.wait(seconds);
        for ((uri, branch), alive) in uris.into_iter().zip(branches).zip(alive) {
            let went = call(&net, branch, uri, ADVERTISED).0;
            assert_eq!(went == PHONE, alive, "{uri} after {seconds}");
        }
    }
}

/// Each Contact with `expires=0` is removed, whatever else the REGISTER brings.
#[test]
fn each_contact_that_is_removed_is_gone() {
    let both = ["<sip:1@192.168.1.10>", "<sip:2@192.168.1.10:5062>"];
    let gone = |contact: &str| format!("{contact};expires=0");
    let [first, second] = both.map(gone);
    let new = "<sip:3@192.168.1.10:5064>";
    for contacts in [
        [&*first, &*second, new],
        [&first, new, &second],
        [new, &first, &second],
    ] {
        let net = Network::new();
        register_all(&net, 1, "r", &both);
        net.wait(1);
        let counted = register_all(&net, 2, "s", &contacts);
        let removed = counted.iter().filter(|c| **c == Counter::ContactRemoved);
        assert_eq!(removed.count(), 2, "{contacts:?}");
        net.settled.set(false);
        for (branch, uri, port, to) in [
            ("a", "sip:1@192.168.1.10", 5060, (ADVERTISED.0, 5060)),
            ("b", "sip:2@192.168.1.10:5062", 5062, (ADVERTISED.0, 5062)),
            ("c", "sip:3@192.168.1.10:5064", 5064, PHONE),
        ] {
            let went = call(&net, branch, uri, (ADVERTISED.0, port)).0;
            assert_eq!(went, to, "{uri} after {contacts:?}");
        }
    }
}

/// The same URI twice is one Contact. One that is removed leaves alone what lasts, and the entry of their address.
#[test]
fn a_removed_contact_takes_no_other_along() {
    for contacts in [
        [
            "<sip:1000@192.168.1.10>",
            "<sip:1000@192.168.1.10:5060>;expires=0",
        ],
        [
            "<sip:1000@192.168.1.10>",
            "<sip:%31000@192.168.1.10>;expires=0",
        ],
        [
            "<sip:1000@192.168.1.10>",
            "<sip:1000@192.168.1.10;ob>;expires=0",
        ],
    ] {
        let net = Network::new();
        register_all(&net, 1, "r", &contacts);
        assert_eq!(
            call(&net, "a", "sip:1000@192.168.1.10", ADVERTISED).0,
            PHONE,
            "{contacts:?}"
        );
        let number = Sip {
            to: "<sip:0401234567@192.168.1.10>".into(),
            start: "INVITE sip:0401234567@192.168.1.10 SIP/2.0".into(),
            ..call_phone("b")
        };
        net.sends(ADVERTISED, &number);
        assert_eq!(
            net.sends(ADVERTISED, &number).0,
            PHONE,
            "by its address: {contacts:?}"
        );
    }
}

/// So it is where the PBX lists no contact.
#[test]
fn one_uri_twice_is_one_contact() {
    for contacts in [
        "<sip:1000@192.168.1.10>, <sip:%31000@192.168.1.10>;expires=0",
        "<sip:%31000@192.168.1.10>;expires=0, <sip:1000@192.168.1.10>",
    ] {
        let net = Network::new();
        let m = register(1, "r", contacts);
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        // Not by its address.
        net.settled.set(false);
        let uri = "sip:1000@192.168.1.10";
        assert_eq!(call(&net, "a", uri, ADVERTISED).0, PHONE, "{contacts}");
    }
}

/// Somebody who repeats a REGISTER with other Contacts, from anywhere, adds none.
#[test]
fn further_contacts_come_with_the_register_alone() {
    let both = "<sip:1@192.168.1.10>, <sip:2@192.168.1.10>";
    let other = "<sip:1@192.168.1.10>, <sip:3@192.168.1.10>";
    for source in [PHONE, STRANGER] {
        let net = Network::new();
        let m = register(1, "r", both);
        net.arrives(PHONE, &m);
        net.arrives(source, &register(1, "r", other));
        net.sends(PHONE, &m.answer(200));
        net.settled.set(false);
        for (branch, uri) in [
            ("a", "sip:1@192.168.1.10"),
            ("b", "sip:2@192.168.1.10"),
            ("c", "sip:3@192.168.1.10"),
        ] {
            let went = call(&net, branch, uri, ADVERTISED).0;
            assert_eq!(went, ADVERTISED, "{uri} after a copy from {source:?}");
        }
    }
    // The PBX refuses it, or another domain is meant.
    let net = Network::new();
    let m = register(1, "r", both);
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(403));
    net.sends(PHONE, &m.answer(200));
    assert_eq!(net.contacts().len(), 0);
    // A later REGISTER with less Contacts brings no other along, though Call-ID, branch and CSeq are the same again.
    for (source, seconds) in [(PHONE, 100), (STRANGER, 100), (STRANGER, 0)] {
        let net = Network::new();
        let more = format!("{both}, <sip:3@192.168.1.10>");
        net.arrives(source, &register(1, "r", &more));
        net.wait(seconds);
        let m = register(1, "r", both);
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        net.settled.set(false);
        let went = call(&net, "a", "sip:3@192.168.1.10", ADVERTISED).0;
        assert_eq!(went, ADVERTISED, "{seconds} s after {source:?}");
    }
    // Nor do devices without a branch lose the first one.
    let net = Network::new();
    let m = register(1, NO_BRANCH, both);
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    for (branch, uri) in [("a", "sip:1@192.168.1.10"), ("b", "sip:2@192.168.1.10")] {
        assert_eq!(call(&net, branch, uri, ADVERTISED).0, PHONE, "{uri}");
    }
}

/// A phone that starts anew counts from 1 again, and may use the same Call-ID. The PBX accepts that, or it does not.
#[test]
fn a_lower_cseq_that_the_pbx_accepts_moves_a_contact() {
    let net = Network::new();
    let before = register(4711, "before", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &before);
    net.sends(PHONE, &before.answer(200));
    net.wait(1);
    let after = register(1, "after", "<sip:1000@192.168.1.10>");
    net.arrives(MOVED, &after);
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
    assert_eq!(
        net.sends(MOVED, &after.answer(200)).1[0],
        Counter::ContactMoved
    );
    assert_eq!(net.sends(ADVERTISED, &call_phone("j")).0, MOVED);
}

/// A PBX writes the Contact URI otherwise than the terminal did, in its response and in its calls (RFC 3261 19.1.4).
#[test]
fn a_contact_is_found_in_any_spelling() {
    for (contact, spelling) in [
        (
            "sip:1000@192.168.1.10:5060;rinstance=ab12;transport=UDP",
            "sip:1000@192.168.1.10:5060;transport=UDP;rinstance=ab12",
        ),
        (
            "sip:1000@192.168.1.10;Ob;USER=Phone;lr",
            "sip:1000@192.168.1.10;user=phone;ob",
        ),
        ("sip:%2B49@192.168.1.10", "sip:+49@192.168.1.10"),
        ("sip:*21#@192.168.1.10", "sip:*21%23@192.168.1.10"),
        ("sip:1000@Phone.Local", "sip:1000@phone.local"),
    ] {
        let net = Network::new();
        let m = register(1, "r", &format!("<{contact}>"));
        net.arrives(PHONE, &m);
        let listed = format!("Contact: <sip:9@9>;expires=9, <{spelling}>;expires=60");
        let counted = net.sends(PHONE, &m.answer(200).with(&listed)).1;
        assert_eq!(counted[0], Counter::ContactActivated);
        let invite = |branch, user: &str, uri: &str| Sip {
            start: format!("INVITE {uri} SIP/2.0"),
            to: format!("<sip:{user}@PBX>"),
            ..call_phone(branch)
        };
        net.wait(59);
        let user = if contact.contains("%2B") {
            "%31000"
        } else {
            "1000"
        };
        for (branch, uri) in [("a", contact), ("b", spelling)] {
            let went = net.sends(ADVERTISED, &invite(branch, user, uri)).0;
            assert_eq!(went, PHONE, "{uri}");
        }
        // Another user is another contact.
        net.settled.set(false);
        let went = net.sends(ADVERTISED, &invite("c", "1000", "sip:9@192.168.1.10"));
        assert_eq!(went.0, ADVERTISED);
        net.wait(2);
        let went = net.sends(ADVERTISED, &invite("d", "1000", spelling)).0;
        assert_eq!(
            went, ADVERTISED,
            "the time that the response grants to {spelling}"
        );
    }
}

#[test]
fn a_contact_follows_its_owner() {
    let net = Network::new();
    net.register();
    let m = register(2, "r2", "<sip:1000@192.168.1.10>");
    net.arrives(MOVED, &m);
    assert_eq!(net.sends(MOVED, &m.answer(200)).1[0], Counter::ContactMoved);
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, MOVED);
    // The PBX repeats its answer to a REGISTER that arrived before.
    let late = register(9, "r9", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &late);
    net.wait(1);
    let newer = register(3, "r3", "<sip:1000@192.168.1.10>");
    net.arrives(MOVED, &newer);
    net.sends(MOVED, &newer.answer(200));
    net.sends(PHONE, &late.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("j")).0, MOVED);
    // After a reboot a phone may count from 1 again. What the PBX accepts is what it believes.
    net.wait(1);
    let rebooted = register(1, "r10", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &rebooted);
    net.sends(PHONE, &rebooted.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("k")).0, PHONE);
}

/// Both REGISTERs come within one tick of the clock, which is some milliseconds long.
#[test]
fn a_star_voids_what_was_there_at_the_same_tick() {
    let net = Network::new();
    net.register();
    let star = register(2, "r2", "*").with("Expires: 0");
    net.arrives(PHONE, &star);
    net.sends(PHONE, &star.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, ADVERTISED);
    let again = register(3, "r3", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &again);
    net.sends(PHONE, &again.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("j")).0, PHONE);
}

#[test]
fn a_repeated_answer_to_a_star_voids_nothing_new() {
    let net = Network::new();
    net.register();
    let star = register(2, "r2", "*").with("Expires: 0");
    net.arrives(PHONE, &star);
    net.sends(PHONE, &star.answer(200));
    // Within one tick of the clock.
    let again = register(3, "r3", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &again);
    net.sends(PHONE, &again.answer(200));
    net.wait(1);
    net.sends(PHONE, &star.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("k")).0, PHONE);
    // Nor does it bring back what a later one voids.
    net.wait(1);
    let later = register(4, "r4", "*").with("Expires: 0");
    net.arrives(PHONE, &later);
    net.sends(PHONE, &later.answer(200));
    net.sends(PHONE, &star.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("l")).0, ADVERTISED);
}

#[test]
fn a_request_without_to_tag_goes_to_the_contact() {
    let net = Network::new();
    net.register();
    for method in ["INVITE", "MESSAGE", "OPTIONS", "NOTIFY"] {
        let m = Sip {
            to: "<sip:1000@pbx>".into(),
            ..from_pbx(method, 1, method)
        };
        assert_eq!(
            net.sends(ADVERTISED, &m),
            (PHONE, vec![Counter::OutRedirectedContact]),
            "{method}"
        );
    }
    // A request within an unknown dialog falls back on the contact.
    assert_eq!(
        net.reinvite("y"),
        (PHONE, vec![Counter::OutRedirectedContact])
    );
}

/// A contact that gives way to the next of its owner takes its entries without owner along. One account registers 300
/// contacts.
#[test]
fn a_contact_that_gives_way_leaves_nothing() {
    let net = Network::new();
    // Its only Via shows that the PBX is no proxy, where contacts have no quota.
    net.sends(ADVERTISED, &call_phone("i"));
    for n in 0..300 {
        let contact = format!("<sip:1000@192.168.1.10:{}>", 10_000 + n);
        let m = register(n + 1, format!("r{n}").leak(), &contact);
        net.arrives(PHONE, &m);
        let accepted = m
            .answer(200)
            .with(&format!("Contact: {contact};expires=600"));
        net.sends(PHONE, &accepted);
        net.wait(1);
    }
    let contacts = net.contacts();
    let is_by_address = |binding: &Binding| binding.flags.contains(BindingFlags::BY_ADDRESS);
    let uris = |of_uri: bool| -> HashSet<u64> {
        let of_kind = contacts
            .iter()
            .filter(|(key, binding)| (key.aor == 0) == of_uri && !is_by_address(binding));
        of_kind.map(|(key, _)| key.uri).collect()
    };
    let by_address = contacts.values().filter(|binding| is_by_address(binding));
    assert!((1..=uris(false).len()).contains(&by_address.count()));
    // This small table has no room for some entries by URI alone.
    assert!(uris(true).is_subset(&uris(false)));
    let kept = uris(false).len();
    assert!((50..=128).contains(&kept), "{kept}");
}

/// A proxy relays answers that others write: a stranger registers for the phone's address-of-record, again and again.
#[test]
fn a_stranger_behind_a_proxy_pushes_no_contact_out() {
    let net = Network::new();
    net.register();
    net.wait(20);
    for n in 0..300 {
        let contact = format!("<sip:1000@198.51.100.9;n={n}>");
        let m = Sip {
            call: format!("call-{n}").leak(),
            ..register(n + 1, format!("r{n}").leak(), &contact)
        };
        net.arrives(STRANGER, &m);
        let accepted = m
            .answer(200)
            .with(&format!("Contact: {contact};expires=600"));
        net.sends(STRANGER, &accepted);
    }
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
}

/// A REGISTER without a Contact asks what is registered (RFC 3261 10.2.3). It changes nothing, and brings nothing back that
/// `Contact: *` has removed.
#[test]
fn a_query_changes_nothing() {
    for (removed, to) in [(false, PHONE), (true, ADVERTISED)] {
        let net = Network::new();
        net.register();
        net.wait(1);
        if removed {
            let star = register(2, "r2", "*").with("Expires: 0");
            net.arrives(PHONE, &star);
            net.sends(PHONE, &star.answer(200));
            net.wait(1);
        }
        let mut query = register(3, "r3", "");
        query.more.clear();
        net.arrives(PHONE, &query);
        let counted = net.sends(PHONE, &query.answer(200)).1;
        assert_eq!(counted, [Counter::OutAlreadyThere]);
        assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, to);
    }
}

/// An owner registers further contacts until the entry of a key gives way to one of them.
fn push_out(net: &Network, key: ContactKey, source: Address, owner: &str) {
    for n in 1..300 {
        if !net.contacts().contains_key(&key) {
            return;
        }
        net.wait(1);
        let m = Sip {
            to: format!("<sip:{owner}@pbx>"),
            ..register(
                n,
                format!("p{n}").leak(),
                &format!("<sip:{owner}@host-{n}.example>"),
            )
            .call("others")
        };
        net.arrives(source, &m);
        net.sends(source, &m.answer(200));
        // This small table has room for those that lie together.
        for other in net.contacts().into_keys() {
            if !(other.uri ^ key.uri).is_multiple_of(GROUPS)
                && let Some(found) = net.find(&other, Buffer::Other)
            {
                net.remove_contact(&other, found);
            }
        }
    }
    panic!("nothing gives way");
}

/// A contact has moved to another host, and what is known of the one before gives way. The contact itself stays, and so does its
/// entry by the URI.
#[test]
fn a_host_before_that_gives_way_takes_no_contact_along() {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    for (source, call) in [(PHONE, "a"), (STRANGER, "b")] {
        net.registers_from(source, call);
    }
    let all = net.contacts();
    let (key, _) = all
        .iter()
        .find(|(key, binding)| key.aor == binding.aor)
        .expect("a contact");
    push_out(&net, key.before(), STRANGER, "1000");
    let all = net.contacts();
    assert!(all.contains_key(key));
    assert!(all.contains_key(&ContactKey { aor: 0, ..*key }));
}

/// An account registers the Contact URI of another owner, and then so many contacts that this one gives way. The claim by the URI
/// stays the other owner's.
#[test]
fn a_contact_that_gives_way_takes_no_claim_of_another_owner_along() {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    let contact = "<sip:1000@192.168.1.10>";
    for (source, owner) in [(PHONE, "1000"), (STRANGER, "2000")] {
        let m = Sip {
            to: format!("<sip:{owner}@pbx>"),
            ..register(1, owner.to_owned().leak(), contact)
        };
        net.arrives(source, &m.clone().call(m.vias[0]));
        net.sends(source, &m.clone().call(m.vias[0]).answer(200));
        net.wait(1);
    }
    let of_stranger = |(key, binding): &(ContactKey, Binding)| {
        key.aor == binding.aor && binding.learned == endpoint(STRANGER)
    };
    let mut all = net.contacts().into_iter();
    let (key, _) = all.find(of_stranger).expect("a contact");
    push_out(&net, key, STRANGER, "2000");
    let by_uri = Sip {
        to: contact.into(),
        ..call_phone("w")
    };
    let went = [(); 2].map(|()| net.sends(ADVERTISED, &by_uri).0);
    assert_eq!(went, [ADVERTISED, PHONE]);
}
