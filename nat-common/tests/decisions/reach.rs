//! Reach, row by row: which of two addresses a packet goes to, the learned one or the original destination.

use nat_common::abi::{BindingFlags, Counter, Policy, address};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Checksum;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, REDIRECTED, STRANGER, Sip, call_phone,
    endpoint, from_pbx, from_phone, register, transmissions_to,
};

/// Another public host, which the terminal's Contact names.
const CARRIER: Address = ([198, 51, 100, 7], 5060);

/// Another host of it.
const FRONT: Address = ([198, 51, 100, 9], 5060);

/// First transmission to an original destination of which nothing is known.
const FIRST: Counter = Counter::OutOriginalFirst;

/// Transmission to the original destination, after some to the learned address.
const UNANSWERED: Counter = Counter::OutUnanswered;

const LEFT_ALONE: Counter = Counter::OutLeftAlone;

const CALLED: Counter = Counter::OutRedirectedContact;

/// The PBX sends a request `times` times to one address. Returns the verdicts.
fn sent(net: &Network, to: Address, m: &Sip, times: usize) -> Vec<Counter> {
    let sent = transmissions_to(net, to, m, times).into_iter();
    sent.map(|(_, verdict)| verdict).collect()
}

/// A registered phone whose Contact is its public address without the port.
fn behind_alg() -> Network {
    let net = Network::new();
    net.register();
    net
}

/// The phone answers a request of the PBX outside of dialogs.
fn answer(m: &Sip, status: u16) -> Sip {
    Sip {
        to: "<sip:1000@pbx>;tag=callee".into(),
        ..m.answer(status)
    }
}

#[test]
fn an_address_that_cannot_be_reached_from_here() {
    for unreachable in [
        [10, 0, 0, 5],
        [172, 16, 0, 5],
        [192, 168, 1, 10],
        [100, 64, 0, 5],
        [169, 254, 0, 5],
        [192, 0, 0, 4],
        [198, 18, 0, 5],
        [127, 0, 0, 1],
        [0, 0, 0, 0],
    ] {
        let net = behind_alg();
        assert_eq!(
            sent(&net, (unreachable, 5060), &call_phone("i"), 9),
            [CALLED; 9],
            "{unreachable:?}"
        );
    }
}

/// On link, by a route of its own, named as a peer, or in the private network in which the phone itself is.
#[test]
fn a_private_address_that_can_be_reached_comes_first() {
    let office: Address = ([10, 0, 0, 5], 5060);
    for kind in [
        address::on_link(2),
        address::LOCAL,
        address::ROUTED,
        address::PEER,
    ] {
        let net = behind_alg();
        net.kinds
            .replace(vec![(Endpoint::v4(office.0, office.1), kind)]);
        let verdicts = sent(&net, office, &call_phone("i"), 3);
        assert_eq!(verdicts, [FIRST, CALLED, FIRST], "{kind}");
    }
    let net = Network::new();
    let inside = ([10, 9, 9, 9], 40000);
    let m = register(1, "r1", "<sip:1000@10.0.0.5>");
    net.arrives(inside, &m);
    net.sends(inside, &m.answer(200));
    let invite = Sip {
        start: "INVITE sip:1000@10.0.0.5 SIP/2.0".into(),
        ..call_phone("i")
    };
    assert_eq!(sent(&net, office, &invite, 2), [FIRST, CALLED]);
}

#[test]
fn the_same_host_with_another_port_is_tried_in_turn() {
    let net = behind_alg();
    let invite = call_phone("i");
    let turns = [FIRST, CALLED, FIRST, CALLED, FIRST];
    assert_eq!(sent(&net, FORGOTTEN, &invite, 5), turns);
    // The count is the terminal's: the next request goes on with it, though it is sent once only. A request within T1
    // goes where the one before went, whose answer may be on its way.
    for (branches, turn) in [(["j", "k"], CALLED), (["l", "m"], FIRST)] {
        net.wait(1);
        for branch in branches {
            assert_eq!(sent(&net, FORGOTTEN, &call_phone(branch), 1), [turn]);
        }
    }
    net.policy.set(Policy::Force);
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("n"), 4), [CALLED; 4]);
}

/// A phone with two ports was off while the PBX pinged it.
#[test]
fn a_terminal_that_returns_is_not_slower_for_its_absence() {
    let net = Network::new();
    let register = |cseq, branch| register(cseq, branch, "<sip:1000@60.17.196.2>");
    let invite = |branch| Sip {
        start: "INVITE sip:1000@60.17.196.2 SIP/2.0".into(),
        ..call_phone(branch)
    };
    let m = register(1, "r1");
    net.arrives(PHONE, &m);
    net.sends(FORGOTTEN, &m.answer(200));
    sent(&net, FORGOTTEN, &invite("ping"), 3);
    let m = register(2, "r2");
    net.wait(1);
    net.arrives(PHONE, &m);
    assert_eq!(net.sends(FORGOTTEN, &m.answer(200)).0, FORGOTTEN);
    assert_eq!(sent(&net, FORGOTTEN, &invite("i"), 1), [FIRST]);
}

/// Another account registers the address on which the phone listens. What it draws there says nothing of the phone.
#[test]
fn an_answer_to_another_owner_changes_nothing() {
    let net = behind_alg();
    let invite = call_phone("i");
    sent(&net, FORGOTTEN, &invite, 1);
    net.arrives(FORGOTTEN, &answer(&invite, 200));
    let evil = Sip {
        to: "<sip:2000@pbx>".into(),
        ..register(1, "evil", "<sip:evil@60.17.196.2>").call("evil")
    };
    net.arrives(MOVED, &evil);
    net.sends(MOVED, &evil.answer(200));
    let ping = Sip {
        start: "OPTIONS sip:evil@60.17.196.2 SIP/2.0".into(),
        to: "<sip:2000@pbx>".into(),
        cseq: (1, "OPTIONS"),
        ..call_phone("ping")
    };
    assert_eq!(sent(&net, FORGOTTEN, &ping, 1), [FIRST]);
    net.arrives(FORGOTTEN, &ping.answer(200));
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("j"), 1), [LEFT_ALONE]);
}

#[test]
fn an_answer_at_the_learned_address_proves_it() {
    for status in [100, 180, 200, 302, 486] {
        let net = behind_alg();
        let invite = call_phone("i");
        sent(&net, FORGOTTEN, &invite, 2);
        let counted = net.arrives(PHONE, &answer(&invite, status));
        assert_eq!(counted[0], Counter::PeerProven, "{status}");
        let next = call_phone("j");
        // It may have answered the first transmission.
        assert_eq!(
            sent(&net, FORGOTTEN, &next, 4),
            [CALLED, UNANSWERED, CALLED, UNANSWERED]
        );
        net.wait(1);
        let next = call_phone("l");
        assert_eq!(sent(&net, FORGOTTEN, &next, 1), [CALLED]);
        net.arrives(PHONE, &answer(&next, status));
        // Now it has not. The third transmission is for a terminal that listens elsewhere by now.
        assert_eq!(
            sent(&net, FORGOTTEN, &call_phone("m"), 6),
            [CALLED, CALLED, UNANSWERED, CALLED, UNANSWERED, CALLED]
        );
        // Another port of the terminal is another pair.
        net.wait(13 * 3600);
        net.register();
        assert_eq!(sent(&net, FORGOTTEN, &call_phone("k"), 1), [FIRST]);
    }
}

/// A phone that watches ten others gets ten NOTIFY requests in one moment.
#[test]
fn requests_in_one_moment_go_one_way() {
    for proven in [true, false] {
        let net = behind_alg();
        let other = if proven {
            let invite = call_phone("i");
            sent(&net, FORGOTTEN, &invite, 2);
            net.arrives(PHONE, &answer(&invite, 200));
            CALLED
        } else {
            FIRST
        };
        net.wait(10);
        for branch in ["a", "b", "c", "d", "e"] {
            let m = call_phone(branch);
            assert_eq!(sent(&net, FORGOTTEN, &m, 1), [other], "{proven} {branch}");
        }
    }
}

#[test]
fn an_original_that_answers_is_left_alone() {
    let net = behind_alg();
    let invite = call_phone("i");
    sent(&net, FORGOTTEN, &invite, 1);
    // From the port from which it sends, or from that on which it listens.
    let counted = net.arrives(PHONE, &answer(&invite, 200));
    assert_eq!(
        counted,
        [
            Counter::PeerLeftAlone,
            Counter::DialogActivated,
            Counter::InResponse
        ]
    );
    // For its calls and its dialogs, from whatever port it registers next.
    let m = register(2, "r2", "<sip:1000@192.168.1.10>");
    net.wait(1);
    net.arrives(MOVED, &m);
    net.sends(MOVED, &m.answer(200));
    assert_eq!(
        sent(&net, FORGOTTEN, &call_phone("j"), 5),
        [LEFT_ALONE, LEFT_ALONE, CALLED, LEFT_ALONE, CALLED]
    );
    let bye = from_pbx("BYE", 2, "b").call("incoming").tagged_as("callee");
    assert_eq!(sent(&net, FORGOTTEN, &bye, 1), [LEFT_ALONE]);
    let left = |b: &nat_common::abi::Binding| b.flags.contains(BindingFlags::LEFT_ALONE);
    assert!(net.active().iter().all(left));
    // A day later it is open again.
    net.wait(25 * 3600);
    net.register();
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("k"), 1), [FIRST]);
}

/// Another phone may have the original destination. It refuses what is not for it.
#[test]
fn a_refusal_at_the_original_proves_nothing() {
    let net = behind_alg();
    let invite = call_phone("i");
    sent(&net, FORGOTTEN, &invite, 1);
    net.arrives(FORGOTTEN, &answer(&invite, 404));
    net.wait(1);
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("j"), 1), [CALLED]);
}

/// A phone that is busy or declines has answered: the next call starts there, however late it comes.
#[test]
fn a_phone_that_is_busy_has_answered() {
    for status in [180, 480, 486, 603] {
        let net = behind_alg();
        let invite = call_phone("i");
        sent(&net, FORGOTTEN, &invite, 1);
        net.arrives(PHONE, &answer(&invite, status));
        net.wait(5);
        assert_eq!(
            sent(&net, FORGOTTEN, &call_phone("j"), 1),
            [LEFT_ALONE],
            "{status}"
        );
    }
}

/// The phone answers a call at its learned address, after a transmission to the original destination, and another one
/// without.
fn prove(net: &Network, branches: [&'static str; 2]) {
    for branch in branches {
        let invite = call_phone(branch);
        while sent(net, FORGOTTEN, &invite, 1) != [CALLED] {}
        net.arrives(PHONE, &answer(&invite, 200));
    }
}

/// The phone is silent, and a neighbour behind the same NAT, who has its port 5060, answers the call.
fn answered_by_neighbour(net: &Network, branch: &'static str, status: u16) -> Sip {
    let invite = call_phone(branch).call(branch);
    sent(net, FORGOTTEN, &invite, 3);
    net.arrives(FORGOTTEN, &answer(&invite, status));
    invite
}

#[test]
fn one_answer_at_the_original_does_not_end_a_proof() {
    let net = behind_alg();
    prove(&net, ["a", "a2"]);
    answered_by_neighbour(&net, "b", 200);
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("c"), 1), [CALLED]);
    prove(&net, ["d", "d2"]);
    answered_by_neighbour(&net, "e", 200);
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("f"), 1), [CALLED]);
    // It answers again, and the phone never does: the original destination is what works.
    answered_by_neighbour(&net, "g", 200);
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("h"), 1), [LEFT_ALONE]);
}

#[test]
fn an_answer_at_the_original_does_not_prolong_a_proof() {
    let net = behind_alg();
    prove(&net, ["a", "a2"]);
    net.wait(11 * 3600);
    net.register();
    answered_by_neighbour(&net, "b", 200);
    net.wait(2 * 3600);
    net.register();
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("c"), 1), [LEFT_ALONE]);
}

/// A neighbour's phone rings before it answers, and answers again while the ACK is lost.
#[test]
fn two_responses_to_one_request_are_one_answer() {
    let net = behind_alg();
    prove(&net, ["a", "a2"]);
    let invite = answered_by_neighbour(&net, "b", 180);
    for status in [200, 200] {
        net.arrives(FORGOTTEN, &answer(&invite, status));
    }
    let invite = call_phone("c");
    assert_eq!(sent(&net, FORGOTTEN, &invite, 3)[0], CALLED);
    // The next one is another answer.
    net.arrives(FORGOTTEN, &answer(&invite, 180));
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("d"), 1), [LEFT_ALONE]);
}

/// Between the two responses, the transmissions of another call are counted, and the phone registers.
#[test]
fn what_comes_between_two_responses_to_one_request_makes_them_no_two_answers() {
    for registers in [false, true] {
        let net = behind_alg();
        prove(&net, ["a", "a2"]);
        let invite = answered_by_neighbour(&net, "b", 180);
        for _ in 0..2 {
            net.sends(FORGOTTEN, &call_phone("c").call("c"));
        }
        if registers {
            let m = register(3, "r3", "<sip:1000@60.17.196.2>");
            net.arrives(PHONE, &m);
            net.sends(FORGOTTEN, &m.answer(200));
        }
        net.arrives(FORGOTTEN, &answer(&invite, 200));
        // The proof stands, although a transmission to it is overdue.
        let next = sent(&net, FORGOTTEN, &call_phone("d"), 1)[0];
        assert!([CALLED, UNANSWERED].contains(&next), "{next:?}");
    }
}

/// A phone whose radio sleeps answers the first transmission after the second took the other path.
#[test]
fn a_slow_answer_tells_nothing() {
    let net = behind_alg();
    let invite = call_phone("i");
    sent(&net, FORGOTTEN, &invite, 2);
    net.wait(4);
    let counted = net.arrives(PHONE, &answer(&invite, 180));
    assert!(!counted.contains(&Counter::PeerProven), "{counted:?}");
    let net = behind_alg();
    sent(&net, FORGOTTEN, &invite, 3);
    net.wait(4);
    let counted = net.arrives(PHONE, &answer(&invite, 180));
    assert!(!counted.contains(&Counter::PeerLeftAlone), "{counted:?}");
}

/// A phone takes its time with a request that began at its learned address. A phone with two ports, which needs no sipnat, answers the
/// second transmission from there, too. So the original destination is first then, and tells by a prompt answer which one it is.
#[test]
fn a_slow_answer_within_a_call_does_not_say_that_the_original_answers() {
    for two_ports in [false, true] {
        let net = behind_alg();
        net.call();
        net.acknowledge();
        net.wait(1);
        let m = from_pbx("INVITE", 102, "a");
        assert_eq!(sent(&net, FORGOTTEN, &m, 2), [REDIRECTED.1, UNANSWERED]);
        net.arrives(PHONE, &m.answer(200));
        net.wait(5);
        let m = from_pbx("INFO", 103, "b");
        assert_eq!(sent(&net, FORGOTTEN, &m, 1), [FIRST]);
        if two_ports {
            net.arrives(PHONE, &m.answer(200));
        } else {
            assert_eq!(sent(&net, FORGOTTEN, &m, 1), [REDIRECTED.1]);
            net.arrives(PHONE, &m.answer(200));
        }
        net.wait(5);
        let then = sent(&net, FORGOTTEN, &call_phone("c").call("c"), 2);
        let [first, second] = if two_ports {
            [LEFT_ALONE; 2]
        } else {
            [FIRST, CALLED]
        };
        assert_eq!(then, [first, second]);
    }
}

/// The router makes a new mapping while the phone takes its time. The answer comes from a port of which nothing is known, so it may
/// be one to any transmission. A phone with two ports, which needs no sipnat, answers the first.
#[test]
fn an_answer_from_a_new_mapping_tells_nothing_of_the_original() {
    let net = behind_alg();
    net.call();
    net.acknowledge();
    net.wait(1);
    let m = from_pbx("INVITE", 102, "a");
    assert_eq!(sent(&net, FORGOTTEN, &m, 2), [REDIRECTED.1, UNANSWERED]);
    net.arrives(MOVED, &m.answer(200));
    net.wait(5);
    let m = call_phone("b").call("b");
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [FIRST]);
    let net = behind_alg();
    let m = call_phone("a");
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [FIRST]);
    net.arrives(MOVED, &answer(&m, 200));
    net.wait(5);
    let m = call_phone("b").call("b");
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [LEFT_ALONE]);
}

/// The phone's ACK holds the PBX's tag, which it got at its learned address.
#[test]
fn progress_proves_the_learned_address_in_its_dialog() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "a");
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [FIRST]);
    assert_eq!(
        net.acknowledge(),
        [
            Counter::DialogProven,
            Counter::DialogRefreshed,
            Counter::InAck
        ],
        "once"
    );
    assert_eq!(net.acknowledge(), [Counter::InAck]);
    net.wait(1);
    let m = from_pbx("INVITE", 103, "b");
    assert_eq!(
        sent(&net, FORGOTTEN, &m, 3),
        [REDIRECTED.1, UNANSWERED, REDIRECTED.1],
        "what went unanswered before does not count"
    );
    net.arrives(PHONE, &from_pbx("INVITE", 102, "a").answer(481));
    // Not in the next call, in which nothing is shown yet, and not for another host.
    assert_eq!(sent(&net, CARRIER, &from_pbx("INFO", 104, "c"), 1), [FIRST]);
}

#[test]
fn the_first_request_after_the_ack_is_redirected_at_once() {
    for method in ["ACK", "PRACK", "UPDATE", "INFO"] {
        let net = Network::new();
        net.call();
        net.arrives(PHONE, &from_phone(method, 2, "p").tagged("pbx"));
        assert_eq!(net.reinvite("r").0, PHONE, "{method}");
        let m = from_pbx("INVITE", 103, "b");
        assert_eq!(sent(&net, FORGOTTEN, &m, 1), [REDIRECTED.1], "{method}");
    }
}

/// Who does not know the PBX's tag, or did not get it at the learned address, proves nothing.
#[test]
fn an_ack_without_the_tag_or_from_another_host_proves_nothing() {
    let proves = |source: Address, tag, answered_at: Address| {
        let net = Network::new();
        let invite = from_phone("INVITE", 1, "invite");
        net.arrives(PHONE, &invite);
        net.sends(answered_at, &invite.answer(200));
        let ack = from_phone("ACK", 1, "ack").tagged(tag);
        net.arrives(source, &ack).contains(&Counter::DialogProven)
    };
    assert!(proves(PHONE, "pbx", PHONE));
    assert!(proves(MOVED, "pbx", PHONE), "another port of the phone");
    assert!(!proves(CARRIER, "pbx", PHONE));
    assert!(!proves(PHONE, "guess", PHONE));
    // The 200 went to the address in Via, and arrived there.
    assert!(!proves(PHONE, "pbx", FORGOTTEN));
}

/// The tags of a REGISTER are its own, and not those of the message before.
#[test]
fn a_register_proves_nothing_by_the_tag_of_another_message() {
    for (tag, proves) in [("guess", false), ("pbx", true)] {
        let net = Network::new();
        net.call();
        let other = from_phone("INFO", 9, "other").call("other");
        net.arrives(CARRIER, &other.tagged("pbx"));
        let m = register(1, "r1", "<sip:1000@192.168.1.10>").call("call");
        let counted = net.arrives(PHONE, &m.tagged(tag));
        assert_eq!(counted.contains(&Counter::DialogProven), proves, "{tag}");
    }
}

/// Somebody forges the source of an INVITE, which the PBX answers: the address at which a phone listens that sends from another
/// port. It is another terminal's once that has got the answer.
#[test]
fn a_forged_call_does_not_make_an_address_another_terminal_s() {
    for (method, status, confirmed, verdict) in [
        ("INVITE", 180, false, FIRST),
        ("INVITE", 200, false, FIRST),
        ("SUBSCRIBE", 200, false, FIRST),
        ("INVITE", 200, true, CALLED),
        ("SUBSCRIBE", 200, true, CALLED),
    ] {
        let net = behind_alg();
        let other = |m: Sip| Sip {
            from: "<sip:1001@pbx>;tag=phone".into(),
            ..m.call("forged")
        };
        let m = other(from_phone(method, 1, "f"));
        net.arrives(FORGOTTEN, &m);
        net.sends(FORGOTTEN, &m.answer(status));
        if confirmed {
            let method = if method == "INVITE" { "ACK" } else { method };
            net.arrives(FORGOTTEN, &other(from_phone(method, 2, "g")).tagged("pbx"));
        } else {
            // He does not know the PBX's tag.
            net.arrives(FORGOTTEN, &other(from_phone("ACK", 1, "g")).tagged("guess"));
        }
        assert_eq!(
            sent(&net, FORGOTTEN, &call_phone("i"), 1),
            [verdict],
            "{method} {status} {confirmed}"
        );
    }
}

/// The PBX answers by Via, which leads to him who forged the source, so that he can acknowledge.
#[test]
fn a_forged_call_whose_answer_went_elsewhere_makes_no_address_another_terminal_s() {
    let net = behind_alg();
    let other = |m: Sip| Sip {
        from: "<sip:1001@pbx>;tag=phone".into(),
        ..m.call("forged")
    };
    let m = other(from_phone("INVITE", 1, "f"));
    net.arrives(FORGOTTEN, &m);
    assert_eq!(net.sends(STRANGER, &m.answer(200)).0, STRANGER);
    net.arrives(FORGOTTEN, &other(from_phone("ACK", 1, "g")).tagged("pbx"));
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("i"), 1), [FIRST]);
}

/// A dialog whose terminal only the Contact URI names has no owner. What the terminal gets there makes its address nobody else's.
#[test]
fn an_address_stays_its_owner_s_in_a_dialog_without_owner() {
    let net = behind_alg();
    let registers = |cseq, branch, from, contact| {
        let m = register(cseq, branch, contact);
        net.wait(1);
        net.arrives(from, &m);
        net.sends(from, &m.answer(200));
    };
    registers(2, "r2", PHONE, "<sip:1000@60.17.196.2>");
    let invite = |uri: &str| Sip {
        start: format!("INVITE {uri} SIP/2.0"),
        to: format!("<{uri}>"),
        ..call_phone("i")
    };
    let m = invite("sip:1000@60.17.196.2");
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [FIRST]);
    net.arrives(PHONE, &m.answer(200).tagged_as("phone"));
    let update = from_phone("UPDATE", 1, "u").tagged("pbx").call("incoming");
    net.arrives(PHONE, &update);
    net.sends(PHONE, &update.answer(200));
    let info = from_phone("INFO", 2, "n").tagged("pbx").call("incoming");
    assert_eq!(net.arrives(PHONE, &info)[0], Counter::DialogProven);
    // Its mapping changes, and its Contact is that of before.
    registers(3, "r3", MOVED, "<sip:1000@60.17.196.2:49163>");
    let next = Sip {
        to: "<sip:1000@pbx>".into(),
        ..invite("sip:1000@60.17.196.2:49163").call("next")
    };
    assert_eq!(sent(&net, PHONE, &next, 1), [FIRST]);
}

/// The original destination is another terminal's address: that one would ring.
#[test]
fn an_address_of_another_terminal_does_not_come_first() {
    let net = behind_alg();
    net.registers_as(FORGOTTEN, "1001", "<sip:1001@60.17.196.2>", "neighbour");
    assert_eq!(
        sent(&net, FORGOTTEN, &call_phone("i"), 3),
        [CALLED, UNANSWERED, CALLED]
    );
    // Also one that has sent credentials, and of whose challenge sipnat knows nothing.
    let net = behind_alg();
    let m = Sip {
        to: "<sip:1001@pbx>".into(),
        ..register(2, "n", "<sip:1001@60.17.196.2>").with("Authorization: Digest username=\"1001\"")
    };
    let m = m.call("neighbour");
    net.arrives(FORGOTTEN, &m);
    net.sends(FORGOTTEN, &m.answer(200));
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("i"), 1), [CALLED]);
    // On another host, it is no sign of a NAT.
    let net = behind_alg();
    net.registers_as(CARRIER, "1001", "<sip:1001@198.51.100.7>", "carrier");
    assert_eq!(sent(&net, CARRIER, &call_phone("i"), 1), [FIRST]);
    // Its own address is its own.
    let own = Sip {
        to: "<sip:1000@pbx>".into(),
        ..register(2, "r2", "<sip:1000@192.168.1.10>")
    };
    let net = Network::new();
    net.arrives(FORGOTTEN, &own);
    net.sends(FORGOTTEN, &own.answer(200));
    net.wait(1);
    net.register();
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("i"), 1), [FIRST]);
}

/// The phone registers from its new mapping, and answers then what it got at the old one.
#[test]
fn an_answer_after_a_registration_tells_nothing_of_the_original() {
    let net = behind_alg();
    let m = call_phone("a");
    assert_eq!(sent(&net, FORGOTTEN, &m, 2), [FIRST, CALLED]);
    net.wait(1);
    let again = register(2, "r2", "<sip:1000@192.168.1.10>");
    net.arrives(MOVED, &again);
    net.sends(MOVED, &again.answer(200));
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [FIRST]);
    net.arrives(MOVED, &answer(&m, 180));
    net.wait(5);
    let m = call_phone("b").call("b");
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [FIRST]);
    assert_eq!(net.sends(FORGOTTEN, &m).0, MOVED);
}

/// One of two requests is answered late. The other one has proven the learned address meanwhile.
#[test]
fn a_slow_answer_does_not_end_a_proof() {
    let net = behind_alg();
    net.call();
    net.acknowledge();
    net.wait(1);
    let slow = from_pbx("INFO", 102, "a");
    assert_eq!(sent(&net, FORGOTTEN, &slow, 2), [REDIRECTED.1, UNANSWERED]);
    let prompt = from_pbx("INFO", 103, "b");
    assert_eq!(sent(&net, FORGOTTEN, &prompt, 1), [REDIRECTED.1]);
    net.arrives(PHONE, &prompt.answer(200));
    net.arrives(PHONE, &slow.answer(200));
    net.wait(5);
    let m = call_phone("c").call("c");
    assert_eq!(sent(&net, FORGOTTEN, &m, 1), [CALLED]);
}

/// A phone listens at a port that was another phone's before, and sends from a second one. It is late for one call only.
#[test]
fn a_phone_with_two_ports_at_an_address_of_another_terminal_is_late_once() {
    let net = behind_alg();
    net.registers_as(FORGOTTEN, "1001", "<sip:1001@60.17.196.2>", "before");
    for (branch, then) in [
        ("a", &[CALLED, UNANSWERED][..]),
        ("b", &[FIRST]),
        ("c", &[LEFT_ALONE]),
    ] {
        let m = call_phone(branch).call(branch);
        assert_eq!(sent(&net, FORGOTTEN, &m, then.len()), then, "{branch}");
        net.arrives(PHONE, &answer(&m, 180));
        net.wait(5);
    }
}

/// A carrier, or a cluster: its Contact is another public host than the source of its packets.
#[test]
fn another_public_host_is_left_alone() {
    // It calls.
    let net = Network::new();
    net.call();
    net.acknowledge();
    for method in ["INVITE", "UPDATE", "BYE", "ACK"] {
        let m = from_pbx(method, 102, method);
        assert_eq!(net.sends(CARRIER, &m).0, CARRIER, "{method}");
        net.arrives(CARRIER, &m.answer(200));
    }
    // It is called, as a terminal that registers or as one of which nothing is known.
    for registered in [true, false] {
        let net = Network::new();
        if registered {
            net.register();
        }
        let invite = call_phone("i");
        assert_eq!(net.sends(CARRIER, &invite).0, CARRIER);
        net.arrives(CARRIER, &answer(&invite, 200));
        for method in ["ACK", "INVITE", "BYE"] {
            for (to, branch, cseq) in [(CARRIER, method, 2), (FRONT, "front", 3)] {
                let m = from_pbx(method, cseq, branch)
                    .call("incoming")
                    .tagged_as("callee");
                assert_eq!(net.sends(to, &m).0, to, "{method} {registered}");
                net.arrives(to, &m.answer(200));
            }
        }
    }
    // The learned address comes second, for a phone whose Contact has an old address.
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    assert_eq!(sent(&net, CARRIER, &invite, 3), [FIRST, CALLED, FIRST]);
    let net = Network::new();
    net.register();
    sent(&net, CARRIER, &invite, 2);
    net.arrives(PHONE, &answer(&invite, 200));
    assert_eq!(sent(&net, CARRIER, &call_phone("j"), 1), [CALLED]);
}

/// A carrier calls for many callers, each under a name of its own, some hours after one another.
#[test]
fn another_public_host_that_answers_is_left_alone_for_every_caller() {
    for answerer in [CARRIER, PHONE] {
        let net = Network::new();
        for (call, from, first) in [
            ("one", "<sip:+4930@carrier>;tag=phone", FIRST),
            ("two", "<sip:+4940@carrier>;tag=phone", LEFT_ALONE),
            ("three", "<sip:+4989@carrier>;tag=phone", LEFT_ALONE),
        ] {
            net.wait(7 * 3600);
            let caller = |m: Sip| Sip {
                from: from.into(),
                ..m.call(call)
            };
            let invite = caller(from_phone("INVITE", 1, call));
            net.arrives(PHONE, &invite);
            net.sends(PHONE, &invite.answer(200));
            net.arrives(PHONE, &caller(from_phone("ACK", 1, "ack")).tagged("pbx"));
            let within = |method, cseq| Sip {
                to: from.into(),
                ..from_pbx(method, cseq, method).call(call)
            };
            // It answers slowly at last.
            for (cseq, method, times) in [(101, "INFO", 1), (102, "UPDATE", 2), (103, "BYE", 2)] {
                let times = if call == "three" { times } else { 1 };
                let m = within(method, cseq);
                let verdict = match (method, answerer) {
                    ("INFO", _) => first,
                    _ => LEFT_ALONE,
                };
                assert_eq!(
                    sent(&net, CARRIER, &m, times),
                    vec![verdict; times],
                    "{answerer:?} {call} {method}"
                );
                net.arrives(answerer, &m.answer(200));
                net.wait(1);
            }
        }
    }
}

/// An old address in the phone's Contact is another terminal's by now, which answers for an account that registers it. That
/// says nothing of the phone.
#[test]
fn another_public_host_that_answers_another_is_not_left_alone() {
    let net = Network::new();
    net.register();
    let evil = Sip {
        to: "<sip:2000@pbx>".into(),
        ..register(1, "evil", "<sip:evil@198.51.100.7>").call("evil")
    };
    net.arrives(MOVED, &evil);
    net.sends(MOVED, &evil.answer(200));
    for (method, status) in [("OPTIONS", 200), ("INVITE", 200), ("INVITE", 486)] {
        let m = Sip {
            start: format!("{method} sip:evil@198.51.100.7 SIP/2.0"),
            to: "<sip:2000@pbx>".into(),
            cseq: (u32::from(status), method),
            ..call_phone("evil").call("evil")
        };
        net.sends(CARRIER, &m);
        net.arrives(CARRIER, &m.answer(status).tagged_as("evil"));
        net.wait(1);
    }
    assert_eq!(
        sent(&net, CARRIER, &call_phone("i"), 3),
        [FIRST, CALLED, FIRST]
    );
}

/// A carrier is away for a while. The first transmission of the next request in a call goes to its Contact, as without sipnat: the host that
/// called may refuse it, and the PBX would take that for the end of the call.
#[test]
fn nothing_is_overdue_in_a_call_with_another_public_host() {
    for (answered, times) in [(false, 11), (false, 10), (true, 11), (true, 10)] {
        let net = Network::new();
        net.call();
        net.acknowledge();
        if answered {
            let m = from_pbx("INFO", 101, "a");
            net.sends(CARRIER, &m);
            net.arrives(CARRIER, &m.answer(200));
            net.wait(1);
        }
        sent(&net, CARRIER, &from_pbx("INFO", 102, "b"), times);
        net.wait(1);
        let first = if answered { LEFT_ALONE } else { FIRST };
        let bye = from_pbx("BYE", 103, "c");
        let verdicts = sent(&net, CARRIER, &bye, 3);
        assert_eq!(verdicts, [first, first, REDIRECTED.1], "{answered} {times}");
    }
    // Another port of the terminal's own host is tried in turn.
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "invite");
    net.arrives(PHONE, &invite);
    net.sends(FORGOTTEN, &invite.answer(200));
    sent(&net, FORGOTTEN, &from_pbx("INFO", 102, "b"), 11);
    net.wait(1);
    let bye = from_pbx("BYE", 103, "c");
    assert_eq!(sent(&net, FORGOTTEN, &bye, 1), [REDIRECTED.1]);
}

/// A call that begins with an INVITE from the phone's address.
fn in_a_call() -> Network {
    let net = Network::new();
    net.call();
    net.acknowledge();
    net
}

/// The same, and the phone has answered two requests of the PBX at its learned address. The original destination is another host, which had
/// the first one before.
fn proven_in_a_call() -> Network {
    let net = in_a_call();
    for (cseq, branch, verdicts) in [
        (102, "a", &[FIRST, FIRST, REDIRECTED.1][..]),
        (103, "b", &[REDIRECTED.1]),
    ] {
        let m = from_pbx("INFO", cseq, branch);
        assert_eq!(sent(&net, CARRIER, &m, verdicts.len()), verdicts);
        net.arrives(PHONE, &m.answer(200));
        net.wait(1);
    }
    net
}

/// One packet to a carrier, or to a gateway in a private network, or its answer, is lost. The host that called does not hear of it: it would
/// refuse the request, and so end the call.
#[test]
fn one_lost_packet_does_not_reach_the_host_that_called() {
    let gateway: Address = ([10, 0, 0, 5], 5060);
    for contact in [CARRIER, gateway] {
        for answerer in [contact, PHONE, FRONT] {
            for method in ["INVITE", "UPDATE", "INFO", "BYE"] {
                let net = in_a_call();
                let routed = vec![(endpoint(gateway), address::ROUTED)];
                net.kinds.replace(routed);
                for cseq in 102..105 {
                    let m = from_pbx(method, cseq, method);
                    for _ in 0..2 {
                        let went = net.sends(contact, &m).0;
                        assert_eq!(went, contact, "{answerer:?} {method} {cseq}");
                    }
                    net.arrives(answerer, &m.answer(200));
                    net.wait(1);
                }
            }
        }
    }
}

/// An ALG, or a NAT with several public addresses, makes a phone's Contact another public host, where nobody is. Its requests in a call
/// arrive at the third transmission, and then at once: a PBX may send no more than three.
#[test]
fn a_wrong_public_contact_is_late_once_in_a_call() {
    let net = in_a_call();
    let turns = [
        FIRST,
        FIRST,
        REDIRECTED.1,
        FIRST,
        REDIRECTED.1,
        FIRST,
        REDIRECTED.1,
    ];
    // Each request has them anew: nothing is overdue.
    for (cseq, branch) in [(102, "a"), (103, "b")] {
        let m = from_pbx("INVITE", cseq, branch);
        assert_eq!(sent(&net, CARRIER, &m, 7), turns, "{branch}");
        net.wait(1);
    }
    let m = from_pbx("UPDATE", 104, "c");
    assert_eq!(sent(&net, CARRIER, &m, 3), turns[..3]);
    let counted = net.arrives(PHONE, &m.answer(200));
    assert!(counted.contains(&Counter::PeerProven), "{counted:?}");
    net.wait(1);
    // It may have answered the second transmission, which the other host has passed on.
    let m = from_pbx("UPDATE", 105, "d");
    assert_eq!(sent(&net, CARRIER, &m, 1), [REDIRECTED.1]);
    net.arrives(PHONE, &m.answer(200));
    net.wait(1);
    let m = from_pbx("UPDATE", 106, "e");
    let turns = [REDIRECTED.1, REDIRECTED.1, UNANSWERED, REDIRECTED.1];
    assert_eq!(sent(&net, CARRIER, &m, 4), turns);
    // A phone that is called, too.
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    assert_eq!(sent(&net, CARRIER, &invite, 2), [FIRST, CALLED]);
    net.wait(4);
    net.arrives(PHONE, &answer(&invite, 200));
    let within = |method, branch| {
        let m = from_pbx(method, 2, branch).call("incoming");
        m.tagged_as("callee")
    };
    // ACKs draw no answer. They take turns.
    assert_eq!(
        sent(&net, CARRIER, &within("ACK", "k"), 3),
        [FIRST, REDIRECTED.1, FIRST]
    );
    let bye = within("BYE", "b");
    assert_eq!(
        sent(&net, CARRIER, &bye, 4),
        [FIRST, FIRST, REDIRECTED.1, FIRST]
    );
}

/// A phone goes from one public host to another in a call, and its Contact is the one before. The count begins anew at the new host.
#[test]
fn a_phone_that_moves_in_a_call_has_the_third_transmission() {
    let net = in_a_call();
    let m = from_pbx("INVITE", 102, "a");
    assert_eq!(sent(&net, CARRIER, &m, 2), [FIRST, FIRST]);
    let moves = from_phone("UPDATE", 2, "moves").tagged("pbx");
    net.arrives(STRANGER, &moves);
    net.sends(STRANGER, &moves.answer(200));
    let turns = [FIRST, FIRST, REDIRECTED.1];
    assert_eq!(sent(&net, CARRIER, &m, 3), turns);
}

/// Another public host refuses what it does not support. The next request of the call, mostly the BYE, goes there as well: the host
/// that called may refuse it, and the call would go on.
#[test]
fn what_another_public_host_refuses_is_not_overdue() {
    for (method, status) in [
        ("INFO", 415),
        ("INFO", 481),
        ("UPDATE", 405),
        ("UPDATE", 501),
        ("INVITE", 503),
    ] {
        let net = Network::new();
        net.call();
        net.acknowledge();
        let m = from_pbx(method, 102, "a");
        assert_eq!(sent(&net, CARRIER, &m, 1), [FIRST]);
        net.arrives(CARRIER, &m.answer(status));
        net.wait(1);
        // A refusal proves nothing: the learned address comes third.
        let bye = from_pbx("BYE", 103, "b");
        let turns = [FIRST, FIRST, REDIRECTED.1];
        assert_eq!(sent(&net, CARRIER, &bye, 3), turns, "{method} {status}");
    }
}

/// A cluster: what is sent to the Contact is answered from a third host. The next request goes there again.
#[test]
fn what_a_third_host_answers_is_not_overdue() {
    let net = Network::new();
    net.call();
    net.acknowledge();
    for (cseq, method) in [(102, "INVITE"), (103, "UPDATE"), (104, "BYE")] {
        let m = from_pbx(method, cseq, method);
        assert_eq!(sent(&net, CARRIER, &m, 1), [FIRST], "{method}");
        let counted = net.arrives(FRONT, &m.answer(200));
        assert_eq!(counted, [Counter::InResponseElsewhere]);
        net.wait(1);
    }
    // Outside of a dialog. The PBX must have seen the answer.
    for (checksum, next) in [
        (Checksum::Right, FIRST),
        (Checksum::Wrong, CALLED),
        (Checksum::Unknown, CALLED),
    ] {
        let net = Network::new();
        net.register();
        let invite = call_phone("a");
        assert_eq!(sent(&net, CARRIER, &invite, 1), [FIRST]);
        net.checksum.set(checksum);
        net.arrives(FRONT, &answer(&invite, 200));
        net.wait(1);
        assert_eq!(sent(&net, CARRIER, &call_phone("b"), 1), [next]);
    }
    // It proves no address, and an answer to a request by the URI ends no count of others.
    let net = Network::new();
    let m = register(1, "r1", "<sip:1000@60.17.196.2>");
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    let invite = |to: &str, branch| Sip {
        start: "INVITE sip:1000@60.17.196.2 SIP/2.0".into(),
        to: to.into(),
        ..call_phone(branch)
    };
    let (owner, uri) = ("<sip:1000@pbx>", "<sip:1000@60.17.196.2>");
    for (to, branch, answered, verdict) in [
        (owner, "a", true, FIRST),
        (owner, "b", false, FIRST),
        (uri, "c", true, FIRST),
        (owner, "d", true, CALLED),
    ] {
        let m = invite(to, branch);
        assert_eq!(sent(&net, FORGOTTEN, &m, 1), [verdict], "{branch}");
        if answered {
            net.arrives(FRONT, &answer(&m, 200));
        }
        net.wait(1);
    }
    let m = invite(owner, "e");
    assert_eq!(sent(&net, FORGOTTEN, &m, 3), [FIRST, CALLED, FIRST]);
}

/// A front address, or a cluster: what is sent to the Contact is answered from the host that also sends requests.
#[test]
fn another_public_host_is_left_alone_if_the_learned_one_answers() {
    for status in [180, 200, 404, 486] {
        let net = Network::new();
        net.register();
        for branch in ["a", "b", "c"] {
            let invite = call_phone(branch).call(branch);
            assert_eq!(net.sends(CARRIER, &invite).0, CARRIER, "{status} {branch}");
            let counted = net.arrives(PHONE, &answer(&invite, status));
            assert_eq!(*counted.last().unwrap(), Counter::InResponse);
            if status < 300 {
                let ack = from_pbx("ACK", 1, "k").call(branch).tagged_as("callee");
                assert_eq!(net.sends(CARRIER, &ack).0, CARRIER, "{status} {branch}");
            }
            // An answer that did not count would be overdue.
            net.wait(1);
        }
    }
    // In a call of its own.
    let net = Network::new();
    net.call();
    net.acknowledge();
    for (cseq, method) in [(102, "INVITE"), (103, "UPDATE"), (104, "BYE")] {
        let m = from_pbx(method, cseq, method);
        assert_eq!(net.sends(CARRIER, &m).0, CARRIER, "{method}");
        net.arrives(PHONE, &m.answer(200));
        net.wait(1);
    }
    // A third host does not answer for it.
    let net = Network::new();
    net.register();
    let invite = call_phone("a");
    net.sends(CARRIER, &invite);
    assert_eq!(
        net.arrives(FRONT, &answer(&invite, 200)),
        [Counter::InResponseElsewhere]
    );
    // If both were tried, an answer that is late tells nothing of which of them got it.
    let net = Network::new();
    net.register();
    let invite = call_phone("a");
    sent(&net, CARRIER, &invite, 3);
    net.wait(4);
    let counted = net.arrives(PHONE, &answer(&invite, 200));
    assert!(!counted.contains(&Counter::PeerProven), "{counted:?}");
    assert!(!counted.contains(&Counter::PeerLeftAlone), "{counted:?}");
}

/// The answer comes from the host that was tried before the last one.
#[test]
fn a_late_answer_of_the_other_host_is_its_own() {
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    sent(&net, CARRIER, &invite, 2);
    let counted = net.arrives(CARRIER, &answer(&invite, 200));
    assert_eq!(counted[0], Counter::PeerLeftAlone);
    assert_eq!(sent(&net, CARRIER, &call_phone("j"), 1), [LEFT_ALONE]);
    let cancel = Sip {
        start: invite.start.replace("INVITE", "CANCEL"),
        cseq: (1, "CANCEL"),
        ..invite
    };
    assert_eq!(net.sends(CARRIER, &cancel).0, CARRIER);
}

/// A repeated request says that its answer did not arrive.
#[test]
fn responses_go_by_the_same_rules() {
    let net = Network::new();
    let m = register(1, "r1", "<sip:1000@60.17.196.2>");
    let next = |net: &Network| net.sends(FORGOTTEN, &m.answer(401)).0;
    net.arrives(PHONE, &m);
    assert_eq!(next(&net), FORGOTTEN);
    assert_eq!(next(&net), FORGOTTEN, "not repeated yet");
    net.arrives(PHONE, &m);
    assert_eq!(next(&net), PHONE);
    net.arrives(PHONE, &m);
    assert_eq!(next(&net), FORGOTTEN);
    // Where the original destination cannot be reached, it is never tried.
    for _ in 0..4 {
        assert_eq!(net.sends(ADVERTISED, &m.answer(401)).0, PHONE);
        net.arrives(PHONE, &m);
    }
}

/// The phone gets the challenge, and registers with credentials. Without them, it has not got the challenge, and begins anew.
#[test]
fn a_registration_that_follows_its_challenge_proves_the_address() {
    let challenged_with = |earlier: &str, at: usize, credentials: &str| {
        let net = Network::new();
        let m = register(1, "r1", "<sip:1000@60.17.196.2>").with(earlier);
        for _ in 0..at {
            net.arrives(PHONE, &m);
            net.sends(FORGOTTEN, &m.answer(401));
        }
        let again = register(2, "r2", "<sip:1000@60.17.196.2>").with(credentials);
        net.arrives(PHONE, &again);
        net.sends(FORGOTTEN, &again.answer(200)).0
    };
    let challenged = |at, credentials| challenged_with("Supported: path", at, credentials);
    for credentials in [
        "Authorization: Digest username=\"1000\"",
        "proxy-authorization : Digest username=\"1000\"",
    ] {
        assert_eq!(challenged(1, credentials), FORGOTTEN, "it arrived there");
        assert_eq!(challenged(2, credentials), PHONE, "{credentials}");
        let last = challenged(3, credentials);
        assert_eq!(last, FORGOTTEN, "the last one arrived there");
    }
    for none in ["Supported: path", "Author: Digest", "Proxy-Require: x"] {
        assert_eq!(challenged(2, none), FORGOTTEN, "{none}");
    }
    // It sends those of an earlier challenge each time.
    let stale = "Authorization: Digest username=\"1000\"";
    assert_eq!(challenged_with(stale, 2, stale), FORGOTTEN);
}

/// A phone at a distance repeats its INVITE before the first answer can have arrived, and listens at its other port. The
/// PBX repeats its final answer until an ACK comes (RFC 3261 13.3.1.4, 17.2.1).
#[test]
fn a_final_answer_that_is_not_acknowledged_goes_to_the_other_port() {
    for (repetitions, status, to) in [
        (0, 200, [FORGOTTEN, FORGOTTEN, FORGOTTEN]),
        (1, 200, [PHONE, FORGOTTEN, PHONE]),
        (1, 486, [PHONE, FORGOTTEN, PHONE]),
        (2, 200, [FORGOTTEN, PHONE, FORGOTTEN]),
        // Provisional answers are not repeated.
        (1, 180, [PHONE, PHONE, PHONE]),
        (1, 100, [PHONE, PHONE, PHONE]),
    ] {
        let net = Network::new();
        let invite = from_phone("INVITE", 1, "i");
        net.arrives(PHONE, &invite);
        assert_eq!(net.sends(FORGOTTEN, &invite.answer(100)).0, FORGOTTEN);
        for repetition in 0..repetitions {
            net.arrives(PHONE, &invite);
            if repetition + 1 < repetitions {
                net.sends(FORGOTTEN, &invite.answer(100));
            }
        }
        let went = to.map(|_| net.sends(FORGOTTEN, &invite.answer(status)).0);
        assert_eq!(went, to, "{status} after {repetitions}");
    }
}

/// Other branches of a forked call answer, too (RFC 3261 13.2.2.4). Their 2xx is no repetition of the first one.
#[test]
fn another_answer_is_no_repetition() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    assert_eq!(net.sends(FORGOTTEN, &invite.answer(100)).0, FORGOTTEN);
    net.arrives(PHONE, &invite);
    let [one, two] = ["one", "two"].map(|tag| invite.answer(200).tagged_as(tag));
    assert_eq!(net.sends(FORGOTTEN, &one).0, PHONE);
    assert_eq!(net.sends(FORGOTTEN, &two).0, PHONE);
    assert_eq!(net.sends(FORGOTTEN, &two).0, PHONE);
    // The first one again.
    assert_eq!(net.sends(FORGOTTEN, &one).0, FORGOTTEN);
}

/// Transmissions to the old address of a terminal do not count against its new address.
#[test]
fn a_terminal_that_moved_is_not_doubted() {
    let net = Network::new();
    net.call();
    net.acknowledge();
    let m = from_pbx("INVITE", 102, "reinvite");
    sent(&net, FORGOTTEN, &m, 1);
    let moves = from_phone("UPDATE", 2, "moves").tagged("pbx");
    net.arrives(MOVED, &moves);
    net.sends(MOVED, &moves.answer(200));
    net.arrives(MOVED, &from_phone("INFO", 3, "info").tagged("pbx"));
    assert_eq!(net.sends(FORGOTTEN, &m).0, MOVED);
}

/// A carrier's Contact is another host, which is slow once. So the host from which the carrier calls gets the third transmission,
/// and knows no such dialog. That must not send every request there from now on.
#[test]
fn a_refusal_of_another_host_within_a_dialog_proves_nothing() {
    for (status, next) in [
        (404, FIRST),
        (481, FIRST),
        (500, FIRST),
        (200, REDIRECTED.1),
        (488, REDIRECTED.1),
    ] {
        let net = Network::new();
        net.call();
        net.acknowledge();
        let m = from_pbx("UPDATE", 102, "u");
        assert_eq!(sent(&net, CARRIER, &m, 3), [FIRST, FIRST, REDIRECTED.1]);
        net.arrives(PHONE, &m.answer(status));
        net.wait(1);
        let m = from_pbx("BYE", 103, "b");
        let turns = [next, FIRST, REDIRECTED.1];
        let turns = if next == FIRST {
            &turns[..]
        } else {
            &turns[..1]
        };
        assert_eq!(sent(&net, CARRIER, &m, turns.len()), turns, "{status}");
    }
    // Nor outside of one. A host may have two SIP sockets, and one of them knows no user.
    let office: Address = ([10, 0, 0, 5], 5060);
    for to in [FORGOTTEN, office, CARRIER] {
        for status in [400, 404, 405, 503] {
            let net = Network::new();
            net.kinds.replace(vec![(endpoint(office), address::ROUTED)]);
            net.register();
            let invite = call_phone("i");
            sent(&net, to, &invite, 2);
            net.arrives(PHONE, &answer(&invite, status));
            net.wait(1);
            let verdicts = sent(&net, to, &call_phone("j"), 1);
            assert_eq!(verdicts, [FIRST], "{to:?} {status}");
        }
    }
    // A phone with an old address in its Contact, which is busy.
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    sent(&net, CARRIER, &invite, 2);
    net.arrives(PHONE, &answer(&invite, 486));
    net.wait(1);
    assert_eq!(sent(&net, CARRIER, &call_phone("j"), 1), [CALLED]);
}

/// The host that called accepts an OPTIONS in the call, as many do whatever its tags. It refuses all else of a dialog that it does not
/// know: that must not be so for twelve hours.
#[test]
fn a_refusal_of_another_host_within_a_dialog_ends_what_was_proven() {
    let turns = [FIRST, FIRST, REDIRECTED.1];
    for (alone, status) in [(false, 481), (false, 404), (true, 481), (true, 503)] {
        let net = in_a_call();
        let m = from_pbx("OPTIONS", 102, "a");
        assert_eq!(sent(&net, CARRIER, &m, 3), turns);
        net.arrives(PHONE, &m.answer(200));
        net.wait(1);
        if alone {
            let m = from_pbx("OPTIONS", 103, "b");
            assert_eq!(sent(&net, CARRIER, &m, 1), [REDIRECTED.1]);
            net.arrives(PHONE, &m.answer(200));
            net.wait(1);
        }
        let m = from_pbx("INVITE", 104, "c");
        assert_eq!(sent(&net, CARRIER, &m, 1), [REDIRECTED.1]);
        net.arrives(PHONE, &m.answer(status));
        net.wait(1);
        let m = from_pbx("INFO", 105, "d");
        assert_eq!(sent(&net, CARRIER, &m, 3), turns, "{alone} {status}");
        // If it was the terminal, it is late once.
        net.arrives(PHONE, &m.answer(200));
        net.wait(1);
        let m = from_pbx("INFO", 106, "e");
        assert_eq!(sent(&net, CARRIER, &m, 1), [REDIRECTED.1]);
        // It is busy with a request of its own, and there.
        net.arrives(PHONE, &m.answer(491));
        net.wait(1);
        let m = from_pbx("BYE", 107, "f");
        assert_eq!(sent(&net, CARRIER, &m, 1), [REDIRECTED.1]);
    }
    // What it accepts late ends no proof.
    let net = proven_in_a_call();
    let m = from_pbx("INFO", 104, "c");
    assert_eq!(sent(&net, CARRIER, &m, 2), [REDIRECTED.1; 2]);
    net.wait(1);
    net.arrives(PHONE, &m.answer(200));
    let m = from_pbx("BYE", 105, "d");
    assert_eq!(sent(&net, CARRIER, &m, 1), [REDIRECTED.1]);
    // Outside of one it ends no proof: a terminal may accept calls, and no OPTIONS.
    let net = Network::new();
    net.register();
    for (branch, status, verdicts) in [
        ("a", 200, &[FIRST, CALLED][..]),
        ("b", 405, &[CALLED]),
        ("c", 405, &[CALLED]),
    ] {
        let m = call_phone(branch).call(branch);
        assert_eq!(sent(&net, CARRIER, &m, verdicts.len()), verdicts);
        net.arrives(PHONE, &answer(&m, status));
        net.wait(1);
    }
    // Another port of the terminal's own host is the terminal's: its refusal neither proves that nor ends a proof.
    for (statuses, verdict) in [(&[481][..], FIRST), (&[200, 481], CALLED)] {
        let net = behind_alg();
        net.call();
        for (status, branch) in statuses.iter().zip(["a", "b"]) {
            let m = from_pbx("INFO", u32::from(*status), branch);
            while sent(&net, FORGOTTEN, &m, 1) != [REDIRECTED.1] {}
            net.arrives(PHONE, &m.answer(*status));
            net.wait(1);
        }
        assert_eq!(sent(&net, FORGOTTEN, &call_phone("i"), 1), [verdict]);
    }
}

/// A terminal at another host than its Contact was proven there, and has gone since. What it did not answer is overdue: one of the next
/// requests begins at the Contact.
#[test]
fn what_a_proven_terminal_does_not_answer_is_overdue_in_a_dialog() {
    let net = proven_in_a_call();
    let m = from_pbx("INFO", 104, "c");
    assert_eq!(
        sent(&net, CARRIER, &m, 3),
        [REDIRECTED.1, REDIRECTED.1, UNANSWERED]
    );
    net.wait(1);
    let m = from_pbx("INFO", 105, "d");
    assert_eq!(sent(&net, CARRIER, &m, 1), [UNANSWERED]);
}

/// The terminal has shown that it is not at its learned address, though it answered from there. A refusal does not change that, and its
/// transmissions are not overdue.
#[test]
fn a_refusal_of_another_host_leaves_a_terminal_deaf() {
    let net = in_a_call();
    net.register();
    let turns = [FIRST, FIRST, REDIRECTED.1];
    for (cseq, branch, status, verdicts) in [
        (102, "a", 200, &turns[..]),
        (103, "b", 200, &[REDIRECTED.1, UNANSWERED]),
        (104, "c", 481, &turns),
        (105, "d", 200, &turns),
        (106, "e", 481, &turns),
    ] {
        let m = from_pbx("INFO", cseq, branch);
        let went = sent(&net, CARRIER, &m, verdicts.len());
        assert_eq!(went, verdicts, "{branch}");
        net.arrives(PHONE, &m.answer(status));
        net.wait(1);
    }
    assert_eq!(sent(&net, CARRIER, &call_phone("i"), 1), [FIRST]);
}

/// A node of a cluster answers for the front address, from a port of which nothing is known. Whatever it says, the front address got the
/// request.
#[test]
fn a_refusal_from_another_port_of_the_learned_host_is_an_answer() {
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    assert_eq!(sent(&net, CARRIER, &invite, 1), [FIRST]);
    net.arrives((PHONE.0, 52000), &answer(&invite, 404));
    net.wait(1);
    assert_eq!(sent(&net, CARRIER, &call_phone("j"), 1), [LEFT_ALONE]);
}

/// A carrier that registers refuses a call, or is slow once. So the host from which it registers gets a transmission, and refuses any
/// call. That must not send every call there from now on.
#[test]
fn a_carrier_that_registers_keeps_its_calls() {
    // The last one registers from a public host, and its Contact is a host of a private network that this host reaches. It may be a phone
    // at home, and a refusal there that of another one in the office. So the next call goes to the phone.
    let [inside, gateway, office] = [[10, 2, 0, 6], [172, 16, 5, 1], [10, 0, 0, 5]];
    for (source, contact, calls) in [
        (PHONE, CARRIER, [4, 4]),
        ((inside, 5060), (gateway, 5060), [4, 4]),
        (PHONE, (office, 5060), [3, 4]),
    ] {
        for (is_slow, calls) in [false, true].into_iter().zip(calls) {
            let net = Network::new();
            let kinds = vec![(Endpoint::v4(office, 5060), address::ROUTED)];
            net.kinds.replace(kinds);
            net.registers_from(source, "registration");
            let mut taken = 0;
            for branch in ["a", "b", "c", "d", "e"] {
                let invite = call_phone(branch).call(branch);
                let is_late = is_slow && branch == "a";
                for _ in 0..=u32::from(is_late) {
                    let (to, _) = net.sends(contact, &invite);
                    let status = match (to == contact, branch) {
                        (true, "a") => 404,
                        (true, _) => 200,
                        (false, _) => 403,
                    };
                    if to != contact || !is_late {
                        net.arrives(to, &answer(&invite, status));
                    }
                    taken += u32::from(status == 200);
                }
                net.wait(1);
            }
            assert_eq!(taken, calls, "{contact:?} {is_slow}");
        }
    }
}

/// The same by the numbers of calls: each ends where the carrier is, however often it was slow.
#[test]
fn a_carrier_that_was_slow_once_keeps_its_calls() {
    let net = Network::new();
    for call in ["one", "two", "three"] {
        let within = |method, cseq| from_pbx(method, cseq, method).call(call);
        let invite = from_phone("INVITE", 1, call).call(call);
        net.arrives(PHONE, &invite);
        net.sends(PHONE, &invite.answer(200));
        net.arrives(PHONE, &from_phone("ACK", 1, "ack").tagged("pbx").call(call));
        let m = within("UPDATE", 102);
        if call == "one" {
            assert_eq!(sent(&net, CARRIER, &m, 3), [FIRST, FIRST, REDIRECTED.1]);
            net.arrives(PHONE, &m.answer(481));
        } else {
            assert_eq!(net.sends(CARRIER, &m).0, CARRIER, "{call}");
        }
        net.arrives(CARRIER, &m.answer(200));
        net.wait(1);
        assert_eq!(net.sends(CARRIER, &within("BYE", 103)).0, CARRIER, "{call}");
        net.arrives(CARRIER, &within("BYE", 103).answer(200));
        net.wait(60);
    }
}

/// This host has one route, and a gateway that is reached by it has addresses in two private networks: it calls from one, and its
/// Contact lies in the other.
#[test]
fn a_gateway_in_two_private_networks_is_left_alone() {
    let networks: [Address; 3] = [
        ([10, 2, 0, 6], 5060),
        ([172, 16, 5, 1], 5060),
        ([192, 168, 7, 9], 5060),
    ];
    for source in networks {
        for contact in networks {
            if source == contact {
                continue;
            }
            let net = Network::new();
            let invite = from_phone("INVITE", 1, "i");
            net.arrives(source, &invite);
            assert_eq!(net.sends(source, &invite.answer(200)).0, source);
            net.arrives(source, &from_phone("ACK", 1, "ack").tagged("pbx"));
            let m = from_pbx("UPDATE", 102, "u");
            assert_eq!(sent(&net, contact, &m, 1), [FIRST], "{source:?}");
            net.arrives(contact, &m.answer(200));
            net.wait(1);
            assert_eq!(net.sends(contact, &from_pbx("BYE", 103, "b")).0, contact);
            // A terminal behind NAT in there is reached by the third transmission, and then at once.
            let net = Network::new();
            let invite = from_phone("INVITE", 1, "i");
            net.arrives(source, &invite);
            net.sends(source, &invite.answer(200));
            let m = from_pbx("UPDATE", 102, "u");
            assert_eq!(sent(&net, contact, &m, 3), [FIRST, FIRST, REDIRECTED.1]);
            net.arrives(source, &m.answer(200));
            net.wait(1);
            let m = from_pbx("BYE", 103, "b");
            assert_eq!(sent(&net, contact, &m, 1), [REDIRECTED.1]);
        }
    }
}

/// A phone that sends from one port and listens on another redirects each call, or refuses a ping from the port that it sends
/// from. Both are its own answers.
#[test]
fn a_phone_that_redirects_has_answered() {
    for (from, method, status) in [
        (FORGOTTEN, "INVITE", 300),
        (FORGOTTEN, "INVITE", 302),
        (PHONE, "INVITE", 302),
        (PHONE, "OPTIONS", 404),
        (PHONE, "OPTIONS", 405),
        (PHONE, "OPTIONS", 501),
    ] {
        let net = behind_alg();
        for (branch, verdict) in [("a", FIRST), ("b", LEFT_ALONE), ("c", LEFT_ALONE)] {
            let m = Sip {
                start: format!("{method} sip:1000@192.168.1.10 SIP/2.0"),
                cseq: (1, method),
                ..call_phone(branch).call(branch)
            };
            assert_eq!(
                sent(&net, FORGOTTEN, &m, 1),
                [verdict],
                "{from:?} {method} {status} {branch}"
            );
            net.arrives(from, &answer(&m, status));
            net.wait(5);
        }
    }
    // What may be a slow answer to the transmission before says nothing, also of a phone of which nothing is proven.
    let net = behind_alg();
    sent(&net, FORGOTTEN, &call_phone("a"), 1);
    net.wait(1);
    let invite = call_phone("b");
    assert_eq!(sent(&net, FORGOTTEN, &invite, 2), [CALLED, FIRST]);
    net.arrives(PHONE, &answer(&invite, 404));
    net.wait(1);
    let next = sent(&net, FORGOTTEN, &call_phone("c"), 2);
    assert!(!next.contains(&LEFT_ALONE), "{next:?}");
    let net = behind_alg();
    prove(&net, ["a", "a2"]);
    let invite = call_phone("b");
    assert_eq!(
        sent(&net, FORGOTTEN, &invite, 3),
        [CALLED, CALLED, UNANSWERED]
    );
    net.arrives(PHONE, &answer(&invite, 404));
    net.wait(1);
    assert_eq!(sent(&net, FORGOTTEN, &call_phone("c"), 1), [CALLED]);
}

/// A proxy relays a provisional answer that comes late, after the final one.
#[test]
fn a_provisional_answer_after_the_final_one_is_no_repetition() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    assert_eq!(net.sends(FORGOTTEN, &invite.answer(100)).0, FORGOTTEN);
    net.arrives(PHONE, &invite);
    let went = [200, 180].map(|status| net.sends(FORGOTTEN, &invite.answer(status)).0);
    assert_eq!(went, [PHONE; 2]);
}

/// A terminal repeats its REGISTER twice before the PBX answers, which answers each copy. The answers take turns.
#[test]
fn two_answers_to_a_register_go_to_both_ports() {
    for status in [401, 200] {
        let net = Network::new();
        let m = register(1, "r1", "<sip:1000@60.17.196.2>");
        net.arrives(PHONE, &m);
        assert_eq!(net.sends(FORGOTTEN, &m.answer(status)).0, FORGOTTEN);
        for _ in 0..2 {
            net.arrives(PHONE, &m);
        }
        let went = [(); 2].map(|()| net.sends(FORGOTTEN, &m.answer(status)).0);
        assert_eq!(went, [PHONE, FORGOTTEN], "{status}");
    }
}

/// Its own host is reached as the terminal's packets came from there, whatever network that is: only the port may be wrong.
#[test]
fn another_port_of_a_private_host_comes_first() {
    for host in [
        [10, 0, 0, 5],
        [100, 64, 0, 5],
        [169, 254, 0, 5],
        [192, 0, 0, 4],
        [198, 18, 0, 5],
    ] {
        let net = Network::new();
        let [source, to] = [49163, 5060].map(|port| (host, port));
        let uri = format!("sip:1000@{}", host.map(|byte| byte.to_string()).join("."));
        let m = register(1, "r1", &format!("<{uri}>"));
        net.arrives(source, &m);
        net.sends(source, &m.answer(200));
        let invite = Sip {
            start: format!("INVITE {uri} SIP/2.0"),
            ..call_phone("i")
        };
        assert_eq!(sent(&net, to, &invite, 3), [FIRST, CALLED, FIRST], "{uri}");
    }
}

/// It is noted, and counted, once in six hours.
#[test]
fn an_answer_of_its_own_is_counted_once() {
    let net = Network::new();
    net.register();
    for (branch, hours, counts) in [("a", 0, true), ("b", 5, false), ("c", 2, true)] {
        net.wait(hours * 3600);
        net.register();
        let invite = call_phone(branch).call(branch);
        net.sends(CARRIER, &invite);
        let counted = net.arrives(CARRIER, &answer(&invite, 200));
        let noted = counted.contains(&Counter::PeerLeftAlone);
        assert_eq!(noted, counts, "{branch}: {counted:?}");
    }
}
