//! Senders of responses to the PBX: which of two addresses answered, and what that makes of a dialog.

use nat_common::abi::{
    BindingFlags, Counter, OutboundFlags, OutboundTransaction, Policy, SECOND, ticks,
};
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::sip::Direction;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, STRANGER, Sip, call_phone, endpoint,
    from_pbx, from_phone, register,
};

const HEARD: Counter = Counter::InResponse;
const ELSEWHERE: Counter = Counter::InResponseElsewhere;

fn heard(net: &Network, from: Address, m: &Sip) -> Counter {
    *net.arrives(from, m).last().expect("a verdict")
}

/// The PBX sends to the learned address by itself, and the phone answers from another port.
#[test]
fn a_port_counts_if_the_contact_names_it() {
    for (contact, learned) in [
        ("60.17.196.2:51000", MOVED),
        ("60.17.196.2:51001", PHONE),
        ("60.17.196.3:51000", PHONE),
        ("192.168.1.10:5060", PHONE),
    ] {
        let net = Network::new();
        net.call();
        net.wait(1);
        let m = from_pbx("INVITE", 102, "a");
        net.sends(PHONE, &m);
        let answer = m
            .answer(200)
            .with(&format!("Contact: <sip:1000@{contact}>"));
        net.wait(1);
        assert_eq!(heard(&net, MOVED, &answer), HEARD);
        assert_eq!(net.active()[0].learned, endpoint(learned), "{contact}");
    }
    // Where the PBX was not sending to the learned address, it says nothing.
    let net = Network::new();
    net.call();
    net.wait(1);
    let m = from_pbx("INVITE", 102, "a");
    assert_eq!(net.sends(FORGOTTEN, &m).0, FORGOTTEN);
    heard(
        &net,
        MOVED,
        &m.answer(200).with("Contact: <sip:1000@60.17.196.2:51000>"),
    );
    assert_eq!(net.active()[0].learned, endpoint(PHONE));
    // The same port is not a new one: the answer is as old as its request.
    let net = Network::new();
    net.call();
    net.wait(1);
    let m = from_pbx("INVITE", 102, "a");
    net.sends(PHONE, &m);
    let asked = ticks(net.now.get());
    net.wait(1);
    heard(
        &net,
        PHONE,
        &m.answer(200).with("Contact: <sip:1000@60.17.196.2:49163>"),
    );
    assert_eq!(net.active()[0].arrived, asked);
}

/// The same with IPv6, of which each half of an address counts.
#[test]
fn a_port_counts_if_the_contact_names_it_with_ipv6() {
    let phone = |port| Endpoint {
        addr: [
            u64::from_ne_bytes([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 5]),
            u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 9]),
        ],
        port,
        reserved: 0,
    };
    for (contact, port) in [
        ("[2001:db8:0:5::9]:51000", 51000),
        ("[2001:db8:0:6::9]:51000", 49163),
        ("[2001:db8:0:5::8]:51000", 49163),
    ] {
        let net = Network::new();
        let hears = |from: &Endpoint, m: &Sip| {
            let message = net.scan(m, Direction::In);
            engine::ingress(&net.0, &message, from);
        };
        let sends = |m: &Sip| {
            let message = net.scan(m, Direction::Out);
            let mut to = phone(49163);
            let datagram = Datagram {
                destination: to,
                ..Datagram::default()
            };
            engine::egress(&net.0, &message, &datagram, &mut to);
        };
        let invite = from_phone("INVITE", 1, "i");
        hears(&phone(49163), &invite);
        sends(&invite.answer(200));
        net.wait(1);
        let m = from_pbx("INVITE", 102, "a");
        sends(&m);
        net.wait(1);
        let answer = m
            .answer(200)
            .with(&format!("Contact: <sip:1000@{contact}>"));
        hears(&phone(51000), &answer);
        assert_eq!(net.active()[0].learned, phone(port), "{contact}");
    }
}

/// A contact that is at one of two hosts.
fn at_two_hosts() -> Network {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    for (from, call) in [(PHONE, "a"), (STRANGER, "b")] {
        net.registers_from(from, call);
    }
    net
}

/// A host answers if the request was sent there, at the last time or before.
#[test]
fn a_host_that_was_not_asked_is_not_heard() {
    for (times, from, verdict) in [
        (1, PHONE, HEARD),
        (1, STRANGER, ELSEWHERE),
        (2, STRANGER, HEARD),
        (2, PHONE, HEARD),
        (3, PHONE, HEARD),
        (3, STRANGER, HEARD),
        (3, ([203, 0, 113, 1], 5060), ELSEWHERE),
    ] {
        let net = at_two_hosts();
        let invite = call_phone("i");
        for _ in 0..times {
            net.sends(ADVERTISED, &invite);
        }
        let answer = invite.answer(180).tagged_as("callee");
        assert_eq!(heard(&net, from, &answer), verdict, "{times} {from:?}");
        if verdict == HEARD {
            // From now on the request is one that went there once.
            let all = net.entries::<OutboundTransaction>().into_iter();
            let mut answered = all.filter(|e| e.value.flags.contains(OutboundFlags::PROCEEDING));
            let value = answered.next().expect("a transaction").value;
            assert_eq!(value.destination(), endpoint(from), "{times} {from:?}");
            let other = if from == PHONE { STRANGER } else { PHONE };
            assert_eq!(value.alternative(), endpoint(other), "{times} {from:?}");
            let late = times == 2 && from == PHONE || times == 3 && from == STRANGER;
            let count = if late { 0 } else { times - 1 };
            assert_eq!(value.retransmissions, count, "{times} {from:?}");
        }
    }
}

/// The host before is silent, and the new one refuses: the terminal is there. The same refusal at a carrier's other host says nothing.
#[test]
fn a_refusal_of_the_new_host_proves_it() {
    let net = at_two_hosts();
    let invite = call_phone("i");
    let went = [(); 2].map(|()| net.sends(ADVERTISED, &invite).0);
    assert_eq!(went, [PHONE, STRANGER]);
    let counted = net.arrives(STRANGER, &invite.answer(404).tagged_as("callee"));
    assert_eq!(counted[0], Counter::PeerProven);
    net.wait(1);
    assert_eq!(net.sends(ADVERTISED, &call_phone("j")).0, STRANGER);
    // In a dialog, whoever does not know that refuses.
    let net = at_two_hosts();
    let bye = from_pbx("BYE", 2, "b").call("unknown").tagged_as("callee");
    let went = [(); 2].map(|()| net.sends(ADVERTISED, &bye).0);
    assert_eq!(went, [PHONE, STRANGER]);
    net.arrives(STRANGER, &bye.answer(481));
    net.wait(1);
    assert_eq!(net.sends(ADVERTISED, &call_phone("j")).0, PHONE);
}

/// The user has a request redirected from another public host at once: that host has not got it.
#[test]
fn a_host_from_which_a_request_was_redirected_is_not_heard() {
    let net = Network::new();
    let front: Address = ([198, 51, 100, 9], 5060);
    let m = register(1, "r", "<sip:1000@198.51.100.9>");
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    net.policy.set(Policy::Force);
    let invite = Sip {
        start: "INVITE sip:1000@198.51.100.9 SIP/2.0".into(),
        ..call_phone("i")
    };
    assert_eq!(net.sends(front, &invite).0, PHONE);
    assert_eq!(heard(&net, front, &invite.answer(180)), ELSEWHERE);
}

/// A dialog begins with 101 to 299 to a request that creates one, and with a tag.
#[test]
fn an_answer_begins_a_dialog() {
    for (method, status, tag, ends) in [
        ("INVITE", 100, true, 0),
        ("INVITE", 101, true, 1),
        ("INVITE", 180, false, 0),
        ("INVITE", 180, true, 1),
        ("INVITE", 299, true, 1),
        ("INVITE", 300, true, 0),
        ("INVITE", 486, true, 0),
        ("SUBSCRIBE", 200, true, 1),
        ("SUBSCRIBE", 300, true, 0),
        ("SUBSCRIBE", 403, true, 0),
        ("MESSAGE", 200, true, 0),
        ("OPTIONS", 200, true, 0),
    ] {
        let net = Network::new();
        net.register();
        let m = Sip {
            start: format!("{method} sip:1000@192.168.1.10 SIP/2.0"),
            cseq: (1, method),
            ..call_phone("m")
        };
        net.sends(ADVERTISED, &m);
        let mut answer = m.answer(status);
        answer.to = m.to.clone();
        if tag {
            answer = answer.tagged("callee");
        }
        net.arrives(PHONE, &answer);
        assert_eq!(net.dialogs().len(), ends, "{method} {status} {tag}");
    }
}

/// A provisional response within a dialog does not make it an early one.
#[test]
fn a_provisional_answer_within_a_dialog() {
    let net = Network::new();
    net.call();
    net.acknowledge();
    net.wait(1);
    let m = from_pbx("INVITE", 102, "reinvite");
    net.sends(ADVERTISED, &m);
    net.arrives(PHONE, &m.answer(180));
    let [end] = net.active()[..] else { panic!() };
    assert!(!end.flags.contains(BindingFlags::EARLY));
    assert_eq!(end.expires, net.now.get() + 12 * 3600 * SECOND);
}

/// Records of live bindings are kept before others.
#[test]
fn a_record_says_when_and_whether_it_belongs_to_a_binding() {
    let net = Network::new();
    let last = |net: &Network| *net.history.borrow().last().expect("a record");
    net.call();
    let call = last(&net);
    assert_eq!((call.at, call.bound), (net.now.get(), 1));
    assert!(call.call != 0 && call.pbx != 0);
    net.wait(1);
    let other = Sip {
        start: "REGISTER sip:elsewhere SIP/2.0".into(),
        ..register(2, "r2", "<sip:1000@192.168.1.10>")
    };
    net.arrives(PHONE, &other);
    net.sends(PHONE, &other.answer(200));
    let record = last(&net);
    assert_eq!((record.at, record.bound), (net.now.get(), 0));
    assert_ne!(record.events, 0);
    assert_ne!(record.call, call.call);
}

/// Both hosts ring. The INVITE is then one that went to the host that rang last, and so does its CANCEL.
#[test]
fn a_cancel_goes_to_the_host_that_rang_last() {
    let net = at_two_hosts();
    let invite = call_phone("i");
    let went = [(); 2].map(|()| net.sends(ADVERTISED, &invite).0);
    assert_eq!(went, [PHONE, STRANGER]);
    for from in [STRANGER, PHONE] {
        let ringing = invite.answer(180).tagged_as("callee");
        assert_eq!(heard(&net, from, &ringing), HEARD);
    }
    let cancel = Sip {
        start: invite.start.replace("INVITE", "CANCEL"),
        cseq: (1, "CANCEL"),
        ..invite
    };
    assert_eq!(net.sends(ADVERTISED, &cancel).0, PHONE);
}

/// The terminal has answered from a new port. The host of the original destination, where the request went before, is none that
/// was asked any more.
#[test]
fn the_original_host_is_not_heard_after_an_answer_from_a_new_port() {
    let carrier: Address = ([198, 51, 100, 7], 5060);
    for (from, verdict) in [(MOVED, HEARD), (carrier, ELSEWHERE)] {
        let net = Network::new();
        net.register();
        let invite = call_phone("i");
        let went = [(); 2].map(|()| net.sends(carrier, &invite).0);
        assert_eq!(went, [carrier, PHONE]);
        let answer = |status| invite.answer(status).tagged_as("callee");
        assert_eq!(heard(&net, MOVED, &answer(180)), HEARD);
        assert_eq!(heard(&net, from, &answer(200)), verdict, "{from:?}");
    }
}

/// The contact is known to be reached by its URI. The host to which it has moved answers what the host before did not: it is the
/// one from then on.
#[test]
fn the_new_host_is_proven_by_the_uri_too() {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    let went = |m: &Sip, times: usize| -> Vec<_> {
        (0..times).map(|_| net.sends(ADVERTISED, m).0).collect()
    };
    let by_uri = |branch| Sip {
        to: "<sip:1000@192.168.1.10>".into(),
        ..call_phone(branch).call(branch)
    };
    net.registers_from(PHONE, "a");
    let m = by_uri("x");
    assert_eq!(went(&m, 2), [ADVERTISED, PHONE]);
    net.arrives(PHONE, &m.answer(200).tagged_as("callee"));
    net.registers_from(STRANGER, "b");
    let m = by_uri("y");
    assert_eq!(went(&m, 2), [PHONE, STRANGER]);
    let counted = net.arrives(STRANGER, &m.answer(200).tagged_as("callee"));
    assert_eq!(counted[0], Counter::PeerProven);
    net.wait(1);
    assert_eq!(went(&by_uri("z"), 1), [STRANGER]);
    assert_eq!(went(&call_phone("i"), 1), [STRANGER]);
}

/// INVITE to the contact behind an ALG, which is a public address: the original destination may be reached.
fn call_behind_alg(branch: &'static str) -> Sip {
    Sip {
        start: "INVITE sip:1000@60.17.196.2 SIP/2.0".into(),
        ..call_phone(branch).call(branch)
    }
}

/// The phone registers that contact from a host, by a Call-ID of its own.
fn registers_behind_alg(net: &Network, from: Address, call: &'static str) {
    net.registers_as(from, "1000", "<sip:1000@60.17.196.2>", call);
    net.wait(1);
}

/// The contact behind an ALG, at one of two hosts.
fn at_two_hosts_behind_alg() -> Network {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    registers_behind_alg(&net, PHONE, "a");
    registers_behind_alg(&net, STRANGER, "b");
    net
}

/// Destinations of transmissions to the contact behind an ALG.
fn went<const N: usize>(net: &Network, m: &Sip) -> [Address; N] {
    [(); N].map(|()| net.sends(FORGOTTEN, m).0)
}

/// Three addresses take turns: the original destination, the host before, and the new one.
#[test]
fn two_hosts_take_turns_with_the_original_destination() {
    let net = at_two_hosts_behind_alg();
    let turns = [
        FORGOTTEN, PHONE, STRANGER, FORGOTTEN, PHONE, STRANGER, FORGOTTEN,
    ];
    assert_eq!(went(&net, &call_behind_alg("i")), turns);
    // One host.
    let net = Network::new();
    registers_behind_alg(&net, PHONE, "a");
    let turns = [FORGOTTEN, PHONE, FORGOTTEN, PHONE];
    assert_eq!(went(&net, &call_behind_alg("i")), turns);
}

/// A host that is proven has two transmissions before the original destination has one, and keeps no other from its turn.
#[test]
fn two_hosts_take_turns_if_one_of_them_is_proven() {
    let proven = |host, call| {
        let net = Network::new();
        net.sends(ADVERTISED, &call_phone("own"));
        registers_behind_alg(&net, host, call);
        // The second answer alone proves that the first one was not slow.
        for (branch, turns) in [("x", &[FORGOTTEN, host] as &[_]), ("y", &[host])] {
            let m = call_behind_alg(branch);
            for to in turns {
                assert_eq!(net.sends(FORGOTTEN, &m).0, *to);
            }
            net.arrives(host, &m.answer(486).tagged_as("callee"));
            net.wait(1);
        }
        net
    };
    let net = proven(PHONE, "a");
    registers_behind_alg(&net, STRANGER, "b");
    let turns = [PHONE, STRANGER, PHONE, STRANGER, FORGOTTEN, PHONE, STRANGER];
    assert_eq!(went(&net, &call_behind_alg("i")), turns);
    // The proof of the new one is from before: the host before has registered since, and then the new one again.
    let net = proven(STRANGER, "b");
    net.registers_as(STRANGER, "1000", "<sip:1000@60.17.196.2>;expires=0", "b");
    registers_behind_alg(&net, PHONE, "c");
    registers_behind_alg(&net, STRANGER, "d");
    let turns = [
        FORGOTTEN, PHONE, STRANGER, FORGOTTEN, PHONE, STRANGER, FORGOTTEN,
    ];
    assert_eq!(went(&net, &call_behind_alg("i")), turns);
}

/// One of the two is at the original destination: the other one has the other turns.
#[test]
fn one_of_two_hosts_is_the_original_destination() {
    let [to_new, to_before] = [(FORGOTTEN, STRANGER), (STRANGER, FORGOTTEN)];
    for ((before, new), turns) in [(to_new, [0, 1, 0, 1, 0]), (to_before, [0, 1, 0, 0, 1])] {
        let net = Network::new();
        net.sends(ADVERTISED, &call_phone("own"));
        registers_behind_alg(&net, before, "a");
        registers_behind_alg(&net, new, "b");
        let turns = turns.map(|turn| [FORGOTTEN, STRANGER][turn]);
        assert_eq!(went(&net, &call_behind_alg("i")), turns, "{before:?}");
    }
}

/// The host before answers: it is not silent, and comes first again.
#[test]
fn a_host_before_that_answers_comes_first_again() {
    for answers in [true, false] {
        let net = at_two_hosts();
        for branch in ["i", "j", "k"] {
            let invite = call_phone(branch).call(branch);
            let to = net.sends(ADVERTISED, &invite).0;
            assert_eq!(to == PHONE, answers || branch != "j", "{answers} {branch}");
            if answers {
                net.arrives(PHONE, &invite.answer(486).tagged_as("callee"));
            }
            net.wait(1);
        }
    }
}

/// The new host answers slowly, when the original destination has had its turn again: that says nothing of the latter.
#[test]
fn a_slow_answer_of_one_of_two_hosts() {
    for (times, answers) in [(4, false), (1, true)] {
        let net = at_two_hosts_behind_alg();
        let invite = call_behind_alg("i");
        for _ in 0..times {
            net.sends(FORGOTTEN, &invite);
        }
        let answer = invite.answer(486).tagged_as("callee");
        net.arrives(STRANGER, &answer);
        net.wait(1);
        let verdict = *net
            .sends(FORGOTTEN, &call_behind_alg("j"))
            .1
            .last()
            .unwrap();
        assert_eq!(verdict == Counter::OutLeftAlone, answers, "{times}");
    }
}
