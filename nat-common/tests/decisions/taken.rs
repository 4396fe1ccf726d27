//! A NAT's port that was given to another terminal: what is meant for the terminal before does not go there.

use nat_common::abi::{Counter, Peer, PeerFlags, Policy, SECOND};

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, STRANGER, Sip, call_phone, endpoint,
    from_phone, register, transmissions_to,
};

const TAKEN: Counter = Counter::OutTaken;
const CALLED: Counter = Counter::OutRedirectedContact;

/// Contact of another terminal behind the same NAT.
const OTHERS: &str = "<sip:2000@192.168.1.11>";

/// Contact of the phone.
const OWN: &str = "<sip:1000@192.168.1.10>";

const CREDENTIALS: &str = "Authorization: Digest x";

/// The phone has registered, and nobody has sent anything for longer than NATs keep a mapping.
fn silent() -> Network {
    let net = Network::new();
    net.registers_as(PHONE, "1000", OWN, "phone");
    net.wait(300);
    net
}

#[test]
fn another_phone_gets_no_calls_of_the_one_before() {
    let net = silent();
    net.registers_as(PHONE, "2000", OTHERS, "other");
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("i"), 3),
        [(ADVERTISED, TAKEN); 3]
    );
    // It gets its own.
    let own = Sip {
        start: "INVITE sip:2000@192.168.1.11 SIP/2.0".into(),
        to: "<sip:2000@pbx>".into(),
        ..call_phone("j")
    };
    let inside = ([192, 168, 1, 11], 5060);
    assert_eq!(
        transmissions_to(&net, inside, &own, 3),
        [(PHONE, CALLED); 3]
    );
    // The history says so.
    net.sends(ADVERTISED, &call_phone("k"));
    let history = net.history.borrow();
    let record = history.last().expect("a record");
    assert_eq!(record.verdict, TAKEN as u8);
    assert_eq!((record.learned(), record.ground), (endpoint(PHONE), 0));
}

/// The public address without the port, as an ALG writes it.
#[test]
fn another_phone_gets_no_second_transmission() {
    let net = Network::new();
    net.registers_as(PHONE, "1000", "<sip:1000@60.17.196.2>", "phone");
    net.wait(300);
    let invite = |branch| Sip {
        start: "INVITE sip:1000@60.17.196.2 SIP/2.0".into(),
        ..call_phone(branch)
    };
    assert_eq!(
        transmissions_to(&net, FORGOTTEN, &invite("a"), 2)[1].0,
        PHONE
    );
    net.registers_as(PHONE, "2000", OTHERS, "other");
    assert_eq!(
        transmissions_to(&net, FORGOTTEN, &invite("b"), 3),
        [(FORGOTTEN, TAKEN); 3]
    );
}

/// It names the phone by its Contact alone.
#[test]
fn another_phone_gets_no_calls_that_name_no_owner() {
    let net = silent();
    net.settled.set(true);
    let by_uri = |branch| Sip {
        to: "<sip:1000@192.168.1.10>".into(),
        ..call_phone(branch)
    };
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &by_uri("a"), 2)[1].0,
        PHONE
    );
    net.registers_as(PHONE, "2000", OTHERS, "other");
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &by_uri("b"), 3),
        [(ADVERTISED, Counter::OutForeignContact); 3]
    );
}

/// The accounts of one phone, a phone whose Contact is a name, and a phone with a new private address.
#[test]
fn an_address_stays_its_terminal_s() {
    for (user, contact) in [
        ("2000", "<sip:2000@192.168.1.10>"),
        ("2000", "<sip:2000@192.168.1.10:5062>"),
        ("2000", "<sip:2000@phone.example>"),
        ("1000", "<sip:1000@192.168.1.11>"),
    ] {
        let net = silent();
        net.registers_as(PHONE, user, contact, "other");
        let goes = transmissions_to(&net, ADVERTISED, &call_phone("i"), 3);
        assert_eq!(goes, [(PHONE, CALLED); 3], "{contact}");
    }
}

#[test]
fn who_registers_again_has_the_address_again() {
    for from in [PHONE, MOVED] {
        let net = silent();
        net.registers_as(PHONE, "2000", OTHERS, "other");
        net.wait(300);
        net.registers_as(from, "1000", OWN, "phone");
        let goes = transmissions_to(&net, ADVERTISED, &call_phone("i"), 1);
        assert_eq!(goes, [(from, CALLED)]);
        // Each time that the NAT gives the port to the other.
        let other = Sip {
            start: "INVITE sip:2000@192.168.1.11 SIP/2.0".into(),
            to: "<sip:2000@pbx>".into(),
            ..call_phone("j")
        };
        let inside = ([192, 168, 1, 11], 5060);
        let goes = transmissions_to(&net, inside, &other, 1)[0];
        let expected = if from == PHONE {
            (inside, TAKEN)
        } else {
            (PHONE, CALLED)
        };
        assert_eq!(goes, expected);
    }
}

/// The phone's own call comes from there after the other one's registration, and the phone got what was sent to it.
#[test]
fn who_is_heard_there_again_has_the_address_again() {
    let net = silent();
    net.registers_as(PHONE, "2000", OTHERS, "other");
    net.wait(300);
    net.call();
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1,
        TAKEN
    );
    net.acknowledge();
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("j"), 1)[0].1,
        CALLED
    );
    // What another calls from there does not say whose Contact is there.
    let net = silent();
    net.registers_as(PHONE, "2000", OTHERS, "other");
    let other = |m: Sip| Sip {
        from: "<sip:3000@pbx>;tag=phone".into(),
        ..m
    };
    let invite = other(from_phone("INVITE", 1, "invite"));
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(200));
    net.arrives(PHONE, &other(from_phone("ACK", 1, "ack")).tagged("pbx"));
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("k"), 1)[0].1,
        TAKEN
    );
}

/// Another account of the phone registers, or the phone itself with credentials that it had from before.
#[test]
fn what_shows_that_the_phone_has_its_port_again() {
    let net = silent();
    net.registers_as(PHONE, "2000", OTHERS, "other");
    net.wait(300);
    net.registers_as(PHONE, "3000", "<sip:3000@192.168.1.10>", "third");
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1,
        CALLED
    );
    let net = silent();
    net.registers_as(PHONE, "2000", OTHERS, "other");
    net.wait(300);
    // Then its other account does.
    for (user, contact, call) in [
        ("1000", OWN, "phone"),
        ("3000", "<sip:3000@192.168.1.10>", "third"),
    ] {
        let m = Sip {
            to: format!("<sip:{user}@pbx>"),
            ..register(9, call, contact).call(call).with(CREDENTIALS)
        };
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        assert_eq!(
            transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1,
            CALLED
        );
    }
}

/// A terminal registers from the phone's address, for a day.
fn registers_for_a_day(net: &Network, user: &str, contact: &str, call: &'static str) {
    let m = Sip {
        to: format!("<sip:{user}@pbx>"),
        ..register(1, call, contact).call(call)
    };
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200).with("Expires: 86400"));
}

/// What is known of an address lasts for half a day.
#[test]
fn who_was_there_long_ago_is_forgotten() {
    let net = Network::new();
    let registers = |user, contact, call| registers_for_a_day(&net, user, contact, call);
    registers("1000", OWN, "phone");
    net.wait(300);
    registers("2000", OTHERS, "other");
    for (hours, verdict) in [(11, TAKEN), (1, CALLED)] {
        net.wait(hours * 3600);
        let goes = transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1;
        assert_eq!(goes, verdict, "{hours}");
    }
}

/// A phone whose Contact is a name, which the PBX resolves.
#[test]
fn who_names_no_address_is_not_replaced() {
    let net = Network::new();
    net.registers_as(PHONE, "1000", "<sip:1000@phone.example>", "phone");
    net.wait(300);
    net.registers_as(PHONE, "2000", OTHERS, "other");
    let m = Sip {
        start: "INVITE sip:1000@phone.example SIP/2.0".into(),
        ..call_phone("i")
    };
    assert_eq!(transmissions_to(&net, ADVERTISED, &m, 1), [(PHONE, CALLED)]);
}

/// Who registers is challenged, or comes with credentials: the nonce went to the phone's address alone, and was heard there.
#[test]
fn who_has_not_heard_its_challenge_takes_nothing() {
    let other = |cseq, branch| Sip {
        to: "<sip:2000@pbx>".into(),
        ..register(cseq, branch, OTHERS).call("other")
    };
    // Source of the first REGISTER, destinations of the responses to it and to its repetitions, and the time until the second.
    let cases: [(Address, &[Address], u64, bool); 8] = [
        (PHONE, &[PHONE], 1, true),
        (PHONE, &[PHONE], 31, true),
        (PHONE, &[PHONE], 33, false),
        (PHONE, &[ADVERTISED], 1, true),
        (PHONE, &[STRANGER], 1, false),
        // The second one is redirected.
        (PHONE, &[STRANGER, STRANGER], 1, false),
        // From his own address, and then from the forged one.
        (STRANGER, &[STRANGER], 1, false),
        (PHONE, &[], 1, false),
    ];
    for (source, responses, seconds, takes) in cases {
        let net = silent();
        let first = other(1, "a");
        for to in responses {
            net.arrives(source, &first);
            net.sends(*to, &first.answer(401));
        }
        net.wait(seconds);
        let second = other(2, "b").with(CREDENTIALS);
        net.arrives(PHONE, &second);
        net.sends(PHONE, &second.answer(200));
        let verdict = transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1;
        let expected = if takes { TAKEN } else { CALLED };
        assert_eq!(verdict, expected, "{source:?} {responses:?} {seconds}");
    }
    // Another registrar wrote the challenge.
    let net = silent();
    let first = other(1, "a");
    net.arrives(PHONE, &first);
    let on = Sip {
        vias: vec!["p", "a"],
        ..first.clone()
    };
    net.sends(STRANGER, &on);
    net.sends(PHONE, &first.answer(401));
    let second = other(2, "b").with(CREDENTIALS);
    net.arrives(PHONE, &second);
    net.sends(PHONE, &second.answer(200));
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1,
        CALLED
    );
}

/// An account that forges the phone's address names a host on the Internet.
#[test]
fn a_host_on_the_internet_is_not_behind_the_nat() {
    let net = silent();
    net.registers_as(PHONE, "2000", "<sip:2000@198.51.100.66:6666>", "other");
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1,
        CALLED
    );
    // One behind an ALG, or with STUN, is.
    for contact in ["<sip:2000@60.17.196.2>", "<sip:2000@60.17.196.2:49163>"] {
        let net = silent();
        net.registers_as(PHONE, "2000", contact, "other");
        let verdict = transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1;
        assert_eq!(verdict, TAKEN, "{contact}");
    }
}

/// The other phone registers nothing, or removes what it has registered.
#[test]
fn who_removes_a_contact_takes_nothing() {
    let net = silent();
    net.registers_as(PHONE, "2000", "<sip:2000@192.168.1.11>;expires=0", "other");
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1,
        CALLED
    );
}

/// Only the address of the contact is another's, not that of a dialog, in which the tags name the terminal.
#[test]
fn a_call_goes_on_where_it_was() {
    let net = silent();
    net.call();
    net.acknowledge();
    net.wait(300);
    net.registers_as(PHONE, "2000", OTHERS, "other");
    assert_eq!(net.reinvite("r").0, PHONE);
}

/// A device that registers for several, or one whose accounts name it in several ways, registers them together.
#[test]
fn terminals_that_register_at_once_share_their_address() {
    let goes = |net: &Network| transmissions_to(net, ADVERTISED, &call_phone("i"), 1)[0];
    for (seconds, expected) in [
        (0, (PHONE, CALLED)),
        (19, (PHONE, CALLED)),
        (20, (ADVERTISED, TAKEN)),
    ] {
        let net = Network::new();
        net.registers_as(PHONE, "1000", OWN, "phone");
        net.wait(seconds);
        net.registers_as(PHONE, "2000", OTHERS, "other");
        net.wait(1);
        assert_eq!(goes(&net), expected, "{seconds}");
        // For as long as they register.
        for _ in 0..20 {
            net.wait(1800);
            net.registers_as(PHONE, "2000", OTHERS, "other");
            if expected.0 == PHONE {
                assert_eq!(goes(&net), expected, "{seconds}");
            }
            net.registers_as(PHONE, "1000", OWN, "phone");
            assert_eq!(goes(&net).0, PHONE, "{seconds}");
        }
    }
}

/// The first one to register shares its address with nobody, though the host has just started.
#[test]
fn the_first_at_an_address_is_alone() {
    let net = Network::new();
    net.now.set(5 * SECOND);
    net.registers_as(PHONE, "1000", OWN, "phone");
    net.wait(300);
    net.registers_as(PHONE, "2000", OTHERS, "other");
    let goes = transmissions_to(&net, ADVERTISED, &call_phone("i"), 1);
    assert_eq!(goes, [(ADVERTISED, TAKEN)]);
}

/// For half a day after the last registration.
#[test]
fn that_two_share_an_address_is_forgotten() {
    for (hours, verdict) in [(11, CALLED), (12, TAKEN)] {
        let net = Network::new();
        let registers = |user, contact, call| registers_for_a_day(&net, user, contact, call);
        registers("1000", OWN, "phone");
        registers("2000", OTHERS, "other");
        net.wait(hours * 3600);
        registers("2000", OTHERS, "again");
        let goes = transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1;
        assert_eq!(goes, verdict, "{hours}");
    }
}

/// In shadow mode, a challenge goes where it goes without sipnat, and was not heard at the phone's address.
#[test]
fn who_is_challenged_in_shadow_takes_nothing() {
    for (shadow, verdict) in [(true, CALLED), (false, TAKEN)] {
        let net = silent();
        let m = |cseq, branch| Sip {
            to: "<sip:2000@pbx>".into(),
            ..register(cseq, branch, OTHERS).call("other")
        };
        net.shadow.set(shadow);
        net.arrives(PHONE, &m(1, "a"));
        net.sends(ADVERTISED, &m(1, "a").answer(401));
        net.shadow.set(false);
        let second = m(2, "b").with(CREDENTIALS);
        net.arrives(PHONE, &second);
        net.sends(PHONE, &second.answer(200));
        let goes = transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1;
        assert_eq!(goes, verdict, "{shadow}");
    }
}

/// A proxy registers terminals of many hosts from its own address, which a terminal of its host has, too.
#[test]
fn a_proxy_takes_nothing() {
    let net = silent();
    let relayed = Sip {
        vias: vec!["a", "b"],
        to: "<sip:2000@pbx>".into(),
        ..register(9, "r", OTHERS).call("relayed")
    };
    net.arrives(PHONE, &relayed);
    net.sends(PHONE, &relayed.answer(200));
    assert_eq!(
        transmissions_to(&net, ADVERTISED, &call_phone("i"), 1)[0].1,
        CALLED
    );
    // Those behind it are reached by `force`, whoever registered last.
    net.policy.set(Policy::Force);
    net.wait(300);
    net.registers_as(PHONE, "3000", "<sip:3000@192.168.1.12>", "third");
    for (user, host) in [("1000", 10), ("2000", 11), ("3000", 12)] {
        let to = ([192, 168, 1, host], 5060);
        let m = Sip {
            start: format!("INVITE sip:{user}@192.168.1.{host} SIP/2.0"),
            to: format!("<sip:{user}@pbx>"),
            ..call_phone("f").call("force")
        };
        assert_eq!(
            transmissions_to(&net, to, &m, 1),
            [(PHONE, CALLED)],
            "{user}"
        );
    }
}

/// A phone whose Contact is right needs no help.
#[test]
fn who_is_reached_without_sipnat_is_not_touched() {
    let net = Network::new();
    net.registers_as(PHONE, "1000", "<sip:1000@60.17.196.2:49163>", "phone");
    net.wait(300);
    net.registers_as(PHONE, "2000", OTHERS, "other");
    let m = Sip {
        start: "INVITE sip:1000@60.17.196.2:49163 SIP/2.0".into(),
        ..call_phone("i")
    };
    let there = Counter::OutAlreadyThere;
    assert_eq!(transmissions_to(&net, PHONE, &m, 2), [(PHONE, there); 2]);
}

/// The phone went to another network, and somebody behind its old NAT got its port.
#[test]
fn the_host_before_may_be_another_s_by_now() {
    for first_moves in [true, false] {
        let net = Network::new();
        net.sends(PHONE, &call_phone("single"));
        net.registers_from(PHONE, "first");
        net.wait(300);
        if first_moves {
            net.registers_from(STRANGER, "second");
            net.wait(300);
        }
        net.registers_as(PHONE, "2000", OTHERS, "other");
        if !first_moves {
            net.wait(300);
            net.registers_from(STRANGER, "second");
        }
        let goes = transmissions_to(&net, ADVERTISED, &call_phone("i"), 4);
        let wrong = goes.iter().filter(|(to, _)| *to == PHONE).count();
        assert_eq!(wrong, 0, "{goes:?}");
        assert_eq!(goes[1], (STRANGER, CALLED), "{goes:?}");
    }
}

/// The same where the original destination may be reached: that and the new host take turns.
#[test]
fn a_host_before_that_is_taken_has_no_turn() {
    let net = Network::new();
    net.sends(PHONE, &call_phone("single"));
    let contact = "<sip:1000@60.17.196.2>";
    net.registers_as(PHONE, "1000", contact, "first");
    net.wait(300);
    net.registers_as(PHONE, "2000", OTHERS, "other");
    net.wait(300);
    net.registers_as(STRANGER, "1000", contact, "second");
    let m = Sip {
        start: "INVITE sip:1000@60.17.196.2 SIP/2.0".into(),
        ..call_phone("i")
    };
    let goes: Vec<_> = transmissions_to(&net, FORGOTTEN, &m, 4)
        .into_iter()
        .map(|(to, _)| to)
        .collect();
    assert_eq!(goes, [FORGOTTEN, STRANGER, FORGOTTEN, STRANGER]);
}

/// The PBX removes the contact while its call rings, and sends the INVITE once more, and two CANCELs.
#[test]
fn a_call_to_a_contact_that_is_gone_is_cancelled_where_it_went() {
    let net = Network::new();
    net.register();
    let cancel = Sip {
        start: "CANCEL sip:1000@192.168.1.10 SIP/2.0".into(),
        cseq: (1, "CANCEL"),
        ..call_phone("i")
    };
    net.sends(ADVERTISED, &call_phone("i"));
    net.sends(ADVERTISED, &call_phone("i"));
    assert_eq!(net.sends(ADVERTISED, &cancel).0, PHONE);
    net.wait(1);
    net.registers_as(
        PHONE,
        "1000",
        "<sip:1000@192.168.1.10>;expires=0",
        "registration",
    );
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, ADVERTISED);
    for _ in 0..3 {
        assert_eq!(net.sends(ADVERTISED, &cancel).0, ADVERTISED);
    }
}

/// The fact of an address says since when whose Contact host is there.
#[test]
fn the_fact_says_whose_host_is_there_and_since_when() {
    let net = silent();
    let fact = |net: &Network| {
        let facts = net.entries::<Peer>().into_iter().map(|entry| entry.value);
        let mut facts = facts.filter(|peer| peer.flags.contains(PeerFlags::LEARNED));
        let fact = facts.next().expect("a fact");
        assert!(facts.next().is_none());
        (fact.holder(), fact.flags)
    };
    let before = fact(&net);
    // It is the first registration that counts, of whatever account.
    net.registers_as(PHONE, "1000", OWN, "phone");
    net.registers_as(PHONE, "2000", "<sip:2000@192.168.1.10:5062>", "other");
    net.call();
    net.acknowledge();
    assert_eq!(fact(&net), before);
    net.registers_as(PHONE, "2000", "<sip:2000@phone.example>", "name");
    assert_eq!(fact(&net), before);
    net.registers_as(PHONE, "2000", OTHERS, "third");
    let [host, since] = fact(&net).0;
    assert_ne!(host, before.0[0]);
    assert!(since > before.0[1]);
    assert_eq!(fact(&net).1, PeerFlags::LEARNED);
}
