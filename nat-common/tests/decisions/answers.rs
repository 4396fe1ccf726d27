//! Dialog ends: made and moved by the phone's answers to requests of the PBX.

use nat_common::abi::Counter;
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Checksum;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, STRANGER, Sip, call_phone, from_pbx,
    from_phone, register, transmissions,
};

#[test]
fn an_answer_binds_the_end_that_gave_it_to_where_the_request_went() {
    for (status, active) in [(100, 0), (180, 1), (200, 1), (302, 0), (486, 0)] {
        let net = Network::new();
        net.register();
        let invite = call_phone("i");
        assert_eq!(
            net.sends(ADVERTISED, &invite),
            (PHONE, vec![Counter::OutRedirectedContact])
        );
        let answer = Sip {
            to: "<sip:1000@pbx>;tag=phone".into(),
            ..invite.answer(status)
        };
        net.arrives(PHONE, &answer.with("Contact: <sip:1000@192.168.1.10>"));
        assert_eq!(net.active().len(), active, "{status}");
        if active > 0 {
            let (to, counted) = net.sends(ADVERTISED, &from_pbx("BYE", 2, "b").call("incoming"));
            assert_eq!((to, counted), (PHONE, vec![Counter::OutRedirectedDialog]));
        }
    }
}

/// A phone asks a STUN server before each message, and its mapping changes while it rings.
#[test]
fn a_phone_that_names_its_new_address_is_reached_there() {
    let contact =
        |(ip, port): Address| format!("<sip:1000@{}:{port}>", ip.map(|b| b.to_string()).join("."));
    let net = Network::new();
    let m = register(1, "r", &contact(PHONE));
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    let invite = Sip {
        start: "INVITE sip:1000@60.17.196.2:49163 SIP/2.0".into(),
        ..call_phone("i")
    };
    assert_eq!(net.sends(PHONE, &invite).0, PHONE);
    for (source, status) in [(PHONE, 180), (MOVED, 200)] {
        let answer = Sip {
            to: "<sip:1000@pbx>;tag=phone".into(),
            ..invite.answer(status)
        };
        net.wait(1);
        net.arrives(
            source,
            &answer.with(&format!("Contact: {}", contact(source))),
        );
    }
    for method in ["ACK", "BYE"] {
        let m = from_pbx(method, 1, method).call("incoming");
        assert_eq!(net.sends(MOVED, &m).0, MOVED, "{method}");
    }
}

#[test]
fn an_answer_to_nothing_teaches_nothing() {
    let net = Network::new();
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    for m in [call_phone("other"), call_phone("i").call("other")] {
        let answer = Sip {
            to: "<sip:1000@pbx>;tag=phone".into(),
            ..m.answer(200)
        };
        assert_eq!(net.arrives(STRANGER, &answer), [Counter::InResponseUnasked]);
    }
    assert_eq!(net.active(), []);
}

#[test]
fn a_proxy_has_one_call_id_on_both_legs() {
    let net = Network::new();
    let callee = ([60, 17, 197, 2], 50000);
    // 1000 calls. The PBX forwards the INVITE with its own Via on top.
    let invite = from_phone("INVITE", 1, "a");
    net.arrives(PHONE, &invite);
    let onward = Sip {
        vias: vec!["proxy", "a"],
        ..invite.clone()
    }
    .with("Record-Route: <sip:pbx;lr>");
    net.sends(callee, &onward);
    let answer = Sip {
        to: "<sip:1002@pbx>;tag=callee".into(),
        ..onward.answer(200)
    };
    net.arrives(callee, &answer.clone().with("Record-Route: <sip:pbx;lr>"));
    net.sends(
        PHONE,
        &Sip {
            vias: vec!["a"],
            ..answer
        },
    );
    // Which of the two ends a request is for shows in which of the two tags is To's.
    let [caller_s, callee_s] = ["<sip:1000@pbx>;tag=phone", "<sip:1002@pbx>;tag=callee"];
    for (from, to, branch, place) in [
        (caller_s, callee_s, "x", callee),
        (callee_s, caller_s, "y", PHONE),
    ] {
        let bye = Sip {
            from: from.into(),
            to: to.into(),
            ..from_pbx("BYE", 3, branch)
        };
        assert_eq!(net.sends(ADVERTISED, &bye).0, place);
    }
}

/// A PBX may send a request to several terminals under one Call-ID. One of them answers with the tag of another.
#[test]
fn an_answer_to_a_new_request_does_not_take_a_live_dialog_end_over() {
    let net = Network::new();
    let forked = |branch| call_phone(branch).answer(200);
    let victims = |branch| {
        let mut answer = forked(branch);
        answer.to = "<sip:1000@pbx>;tag=phone".into();
        answer
    };
    net.sends(PHONE, &call_phone("a"));
    net.sends(STRANGER, &call_phone("b"));
    assert_eq!(
        net.arrives(PHONE, &victims("a"))[1],
        Counter::DialogActivated
    );
    assert_eq!(
        net.arrives(STRANGER, &victims("b")),
        [
            Counter::PeerLeftAlone,
            Counter::DialogGuarded,
            Counter::InResponse
        ]
    );
    assert_eq!(net.active()[0].learned, Endpoint::v4(PHONE.0, PHONE.1));
}

/// The mapping of a registered phone changes before it answers a call.
#[test]
fn an_answer_from_elsewhere_shows_a_new_mapping() {
    let net = Network::new();
    net.register();
    let invite = call_phone("a");
    assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
    let answer = |status| {
        let mut answer = invite.answer(status);
        answer.to = "<sip:1000@pbx>;tag=callee".into();
        answer
    };
    net.arrives(PHONE, &answer(180));
    net.wait(1);
    assert_eq!(
        net.arrives(MOVED, &answer(200)),
        [Counter::DialogMoved, Counter::InResponse]
    );
    let mut ack = call_phone("b");
    ack.start = ack.start.replace("INVITE", "ACK");
    ack.cseq.1 = "ACK";
    ack.to = "<sip:1000@pbx>;tag=callee".into();
    assert_eq!(net.sends(ADVERTISED, &ack).0, MOVED);
    // A late answer from the old mapping does not bring it back.
    net.wait(1);
    net.arrives(PHONE, &answer(200));
    assert_eq!(net.sends(ADVERTISED, &ack).0, MOVED);
    // Nor does one that is another answer, and was on its way longer.
    let net = Network::new();
    net.register();
    assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
    net.arrives(MOVED, &answer(200));
    net.wait(1);
    net.arrives(PHONE, &answer(180));
    assert_eq!(net.sends(ADVERTISED, &ack).0, MOVED);
    // A request that was not redirected went to the address on which the terminal listens.
    let net = Network::new();
    assert_eq!(net.sends(FORGOTTEN, &invite).0, FORGOTTEN);
    net.arrives(PHONE, &answer(200));
    assert_eq!(
        net.active()[0].learned,
        Endpoint::v4(FORGOTTEN.0, FORGOTTEN.1)
    );
}

/// A neighbour behind the same NAT gives an answer as well, before the terminal does or after it, which the PBX may ignore. It moves its
/// own dialog end.
#[test]
fn an_answer_from_elsewhere_moves_no_end_of_another_tag() {
    let phone = (PHONE, ";tag=callee", 200);
    for neighbour in [(MOVED, ";tag=neighbour", 180), (MOVED, "", 200)] {
        for answers in [&[neighbour, phone][..], &[phone, neighbour, phone]] {
            let net = Network::new();
            net.register();
            let invite = call_phone("a");
            assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
            for (source, tag, status) in answers {
                let answer = Sip {
                    to: format!("<sip:1000@pbx>{tag}"),
                    ..invite.answer(*status)
                };
                net.arrives(*source, &answer);
                net.wait(1);
            }
            let bye = from_pbx("BYE", 2, "b").call("incoming");
            let went = net.sends(ADVERTISED, &bye.tagged_as("callee")).0;
            assert_eq!(went, PHONE, "{answers:?}");
        }
    }
}

/// A PBX calculates its tag from Call-ID and the caller's tag. An account begins a dialog of the same name, and answers the PBX's NOTIFY
/// at its Contact, another host than the terminal's and than that in the terminal's Contact. So may a third host, by a refusal.
#[test]
fn an_answer_in_a_dialog_of_the_same_name_moves_nothing() {
    const OTHER: Address = ([45, 1, 0, 8], 5060);
    for (contact, status, to) in [
        ("<sip:1000@192.168.1.10>", 200, PHONE),
        ("<sip:1000@192.168.1.10>", 481, PHONE),
        ("<sip:1000@host.example>", 481, PHONE),
        // Its Contact names that host, or one that sipnat does not know.
        ("<sip:1000@45.1.0.8>", 200, OTHER),
        ("<sip:1000@host.example>", 200, OTHER),
    ] {
        let net = Network::new();
        let mut invite = from_phone("INVITE", 1, "i");
        invite.more = vec![format!("Contact: {contact}")];
        net.arrives(PHONE, &invite);
        net.sends(PHONE, &invite.answer(200));
        net.acknowledge();
        net.wait(1);
        let notify = from_pbx("NOTIFY", 1, "n");
        assert_eq!(net.sends(OTHER, &notify).0, OTHER);
        net.arrives(OTHER, &notify.answer(status));
        net.wait(1);
        let learned = net.active()[0].learned;
        assert_eq!(learned, Endpoint::v4(to.0, to.1), "{contact} {status}");
        assert_eq!(net.reinvite("next").0, to, "{contact} {status}");
    }
}

/// The same answer comes again after the terminal has moved on.
#[test]
fn a_repeated_answer_from_elsewhere_brings_nothing_back() {
    const NEWER: Address = ([60, 17, 196, 2], 52000);
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&net, &m, 1);
    net.wait(1);
    assert_eq!(net.arrives(MOVED, &m.answer(200))[0], Counter::DialogMoved);
    net.wait(1);
    let update = from_phone("UPDATE", 2, "update").tagged("pbx");
    net.arrives(NEWER, &update);
    net.sends(NEWER, &update.answer(200));
    net.arrives(MOVED, &m.answer(200));
    assert_eq!(net.reinvite("next").0, NEWER);
    // An answer that comes after the time in which a phone can ring does not bring it back either.
    net.wait(301);
    assert_eq!(
        net.arrives(MOVED, &m.answer(200)),
        [Counter::InResponseUnasked]
    );
}

/// So does one that names the terminal's new port in its Contact.
#[test]
fn a_repeated_answer_that_names_a_port_brings_nothing_back() {
    const NEWER: Address = ([60, 17, 196, 2], 52000);
    let net = Network::new();
    net.call();
    net.acknowledge();
    let m = from_pbx("INVITE", 102, "reinvite");
    assert_eq!(net.sends(PHONE, &m).0, PHONE);
    net.wait(1);
    let contact = format!("Contact: <sip:1000@60.17.196.2:{}>", MOVED.1);
    let named = m.answer(200).with(&contact);
    assert_eq!(net.arrives(MOVED, &named)[0], Counter::DialogMoved);
    net.wait(1);
    let update = from_phone("UPDATE", 2, "update").tagged("pbx");
    net.arrives(NEWER, &update);
    net.sends(NEWER, &update.answer(200));
    assert_eq!(net.reinvite("next").0, NEWER);
    net.wait(1);
    assert_eq!(net.arrives(MOVED, &named)[0], Counter::DialogStale);
    assert_eq!(net.reinvite("last").0, NEWER);
}

/// A response of another host than the request was sent to shows nothing, and neither does one that the kernel drops.
#[test]
fn an_answer_of_another_host_or_with_a_wrong_checksum_teaches_nothing() {
    let net = Network::new();
    net.register();
    let invite = call_phone("a");
    assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
    let answer = |status| Sip {
        to: "<sip:1000@pbx>;tag=callee".into(),
        ..invite.answer(status)
    };
    let cancel = || Sip {
        start: invite.start.replace("INVITE", "CANCEL"),
        cseq: (1, "CANCEL"),
        ..invite.clone()
    };
    for status in [100, 180, 200] {
        let answer = Sip {
            to: "<sip:1000@pbx>;tag=callee".into(),
            ..invite.answer(status)
        };
        assert_eq!(
            net.arrives(STRANGER, &answer),
            [Counter::InResponseElsewhere]
        );
        for source in [PHONE, MOVED] {
            net.checksum.set(Checksum::Wrong);
            assert_eq!(net.arrives(source, &answer), [Counter::InChecksum]);
        }
        // A fragment may be one that never becomes a datagram.
        net.checksum.set(Checksum::Unknown);
        assert_eq!(net.arrives(MOVED, &answer), [Counter::InChecksum]);
        net.checksum.set(Checksum::Right);
        assert_eq!(net.sends(ADVERTISED, &cancel()).0, PHONE, "{status}");
    }
    assert_eq!(net.active(), []);
    net.checksum.set(Checksum::Unknown);
    assert!(
        net.arrives(PHONE, &answer(180))
            .contains(&Counter::DialogActivated)
    );
    net.checksum.set(Checksum::Right);
    net.wait(1);
    assert_eq!(net.arrives(MOVED, &answer(200))[0], Counter::DialogMoved);
    assert_eq!(net.sends(ADVERTISED, &cancel()).0, MOVED);
}

/// A call that only rings is forgotten after five minutes, one that is answered is not.
#[test]
fn a_call_that_only_rings_is_forgotten_soon() {
    for (statuses, lives) in [(&[180][..], false), (&[180, 200], true)] {
        let net = Network::new();
        net.register();
        let invite = call_phone("i");
        net.sends(ADVERTISED, &invite);
        for status in statuses {
            net.arrives(PHONE, &invite.answer(*status).tagged_as("phone"));
        }
        net.wait(301);
        assert_eq!(net.active().len(), usize::from(lives), "{statuses:?}");
    }
}
