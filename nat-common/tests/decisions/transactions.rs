//! Requests and their responses: the source of a transaction, and the destination of a response, CANCEL or ACK.

use nat_common::abi::{Counter, SECOND};

use nat_test_oracle::env::SLOTS;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, NO_BRANCH, Network, PHONE, STRANGER, Sip, call_phone,
    from_pbx, from_phone, register,
};

#[test]
fn a_request_is_noted_and_counts_for_nothing() {
    let net = Network::new();
    for (method, counted) in [
        ("INVITE", &[Counter::InRequest][..]),
        ("SUBSCRIBE", &[Counter::PendingNoted, Counter::InRequest]),
    ] {
        assert_eq!(net.arrives(PHONE, &from_phone(method, 1, "a")), counted);
    }
    assert_eq!(net.active(), []);
    assert_eq!(
        net.arrives(PHONE, &from_phone("ACK", 1, "b")),
        [Counter::InAck]
    );
}

#[test]
fn nobody_is_believed_where_two_sources_sent_a_request() {
    let net = Network::new();
    let m = from_phone("OPTIONS", 1, "a");
    assert_eq!(net.arrives(PHONE, &m), [Counter::InRequest]);
    assert_eq!(net.arrives(PHONE, &m), [Counter::InRepeat]);
    assert_eq!(net.arrives(STRANGER, &m), [Counter::InOtherSource]);
    assert_eq!(
        net.sends(ADVERTISED, &m.answer(200)),
        (ADVERTISED, vec![Counter::OutDisputed])
    );
    net.wait(33);
    assert_eq!(net.arrives(MOVED, &m), [Counter::InRequest]);
    assert_eq!(net.sends(ADVERTISED, &m.answer(200)).0, MOVED);
}

#[test]
fn a_response_goes_to_the_source_of_its_request() {
    let net = Network::new();
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
        net.arrives(PHONE, &m);
        for status in [100, 183, 200, 302, 404, 503, 603] {
            let (to, counted) = net.sends(ADVERTISED, &m.answer(status));
            assert_eq!(to, PHONE, "{method} {status}");
            assert_eq!(*counted.last().unwrap(), Counter::OutRedirectedResponse);
        }
    }
    assert_eq!(
        net.sends(PHONE, &from_phone("BYE", 7, "x").answer(200))
            .1
            .last(),
        Some(&Counter::OutAlreadyThere)
    );
}

/// Strangers send requests that the PBX refuses, or does not answer, ten times as many as the table holds.
#[test]
fn a_flood_pushes_out_no_call_that_is_answered() {
    for status in [Some(401), Some(403), Some(200), None] {
        let net = Network::new();
        let calls = ["a", "b", "c"].map(|branch| from_phone("INVITE", 1, branch).call(branch));
        for m in &calls {
            net.arrives(PHONE, m);
            assert_eq!(net.sends(ADVERTISED, &m.answer(100)).0, PHONE);
        }
        for n in 0..10 * SLOTS {
            let junk = from_phone("OPTIONS", n, "junk");
            net.arrives(STRANGER, &junk);
            if let Some(status) = status {
                net.sends(STRANGER, &junk.answer(status));
            }
        }
        for m in &calls {
            assert_eq!(net.sends(ADVERTISED, &m.answer(200)).0, PHONE, "{status:?}");
        }
    }
}

/// A flood pushes out a REGISTER before the phone repeats it, so that each copy looks like the first one. One of two
/// addresses must not get all responses: the NAT has one of them. Copies come later than they should, by the time that
/// the phone takes, and the flood may begin after the first one.
#[test]
fn in_a_flood_the_responses_to_a_register_take_turns() {
    // The choice is the same again after 8 s.
    for start in (1..=16).map(|n| n * SECOND / 2 - 1) {
        for late in [0, 8 * SECOND / 1000] {
            for (quiet, status) in [(0, 401), (1, 200)] {
                let went = register_in_a_flood(start, late, quiet, status);
                assert!(
                    went.contains(&PHONE) && went.contains(&FORGOTTEN),
                    "{status} from {start}, {late} late, {quiet} before the flood: {went:?}"
                );
            }
        }
    }
}

/// Returns where the responses to the copies of a REGISTER go. The first one arrives at a time, each next one a time later
/// than it should, and so many of them before the flood.
fn register_in_a_flood(start: u64, late: u64, quiet: u32, status: u16) -> Vec<Address> {
    // Timer E (RFC 3261 17.1.2.2), in units of T1.
    const REPEATED: [u64; 6] = [0, 1, 3, 7, 15, 23];
    let net = Network::new();
    let start = net.now.get() + start;
    let register = from_phone("REGISTER", 1, "a");
    (0..)
        .zip(REPEATED)
        .map(|(copy, at)| {
            net.now
                .set(start + at * (SECOND / 2) + u64::from(copy) * late);
            if copy >= quiet {
                for n in copy * 3 * SLOTS..(copy + 1) * 3 * SLOTS {
                    net.arrives(STRANGER, &from_phone("OPTIONS", n, "junk"));
                }
            }
            net.arrives(PHONE, &register);
            net.sends(FORGOTTEN, &register.answer(status)).0
        })
        .collect()
}

/// A flood that the PBX does not answer pushes out a call that it has accepted. The PBX repeats its 2xx until the ACK comes.
#[test]
fn in_a_flood_the_repetitions_of_a_2xx_take_turns() {
    for start in (1..=16).map(|n| n * SECOND / 2 - 1) {
        let net = Network::new();
        let start = net.now.get() + start;
        let invite = Sip {
            more: vec!["Contact: <sip:1000@60.17.196.2>".into()],
            ..from_phone("INVITE", 1, "a")
        };
        net.arrives(PHONE, &invite);
        // RFC 3261 13.3.1.4, in units of T1.
        let went: Vec<_> = (0..)
            .zip([0, 1, 3, 7, 15, 23])
            .map(|(copy, at)| {
                net.now.set(start + at * (SECOND / 2));
                let to = net.sends(FORGOTTEN, &invite.answer(200)).0;
                for n in copy * 3 * SLOTS..(copy + 1) * 3 * SLOTS {
                    net.arrives(STRANGER, &from_phone("OPTIONS", n, "junk"));
                }
                to
            })
            .collect();
        assert!(
            went.contains(&PHONE) && went.contains(&FORGOTTEN),
            "from {start}: {went:?}"
        );
    }
}

/// In a dialog whose terminal has shown that it gets what is sent to its learned address, they all go there.
#[test]
fn in_a_flood_a_proven_dialog_has_the_repetitions_of_a_2xx() {
    for start in (1..=16).map(|n| n * SECOND / 2 - 1) {
        let net = Network::new();
        net.now.set(net.now.get() + start);
        let contact = vec!["Contact: <sip:1000@60.17.196.2>".into()];
        let invite = Sip {
            more: contact.clone(),
            ..from_phone("INVITE", 1, "a")
        };
        net.arrives(PHONE, &invite);
        net.sends(PHONE, &invite.answer(200));
        net.wait(1);
        net.acknowledge();
        let again = Sip {
            more: contact,
            ..from_phone("INVITE", 2, "b").tagged("pbx")
        };
        net.arrives(PHONE, &again);
        for n in 0..3 * SLOTS {
            net.arrives(STRANGER, &from_phone("OPTIONS", n, "junk"));
        }
        assert_eq!(net.sends(FORGOTTEN, &again.answer(200)).0, PHONE, "{start}");
    }
}

/// Without a flood, the original destination has the first response, whenever it is sent.
#[test]
fn without_a_flood_the_original_destination_comes_first() {
    let net = Network::new();
    for n in 0..SLOTS {
        net.now.set(net.now.get() + SECOND / 2);
        let m = from_phone("REGISTER", n, "a").call("other");
        net.arrives(PHONE, &m);
        assert_eq!(net.sends(FORGOTTEN, &m.answer(200)).0, FORGOTTEN, "{n}");
    }
}

/// While strangers' requests are refused, a call that the PBX has not answered yet stays.
#[test]
fn a_flood_of_refused_requests_pushes_out_no_call_that_waits() {
    let net = Network::new();
    let m = from_phone("INVITE", 1, "a");
    net.arrives(PHONE, &m);
    for n in 0..10 * SLOTS {
        let junk = from_phone("OPTIONS", n, "junk");
        net.arrives(STRANGER, &junk);
        net.sends(STRANGER, &junk.answer(401));
    }
    assert_eq!(net.sends(ADVERTISED, &m.answer(200)).0, PHONE);
}

/// A REGISTER with several Contacts has an entry for each, which are worth less than calls that wait.
#[test]
fn further_contacts_push_out_no_call_that_waits() {
    let kept = |contacts: &[&str]| {
        let net = Network::new();
        let call = |n| from_phone("INVITE", n, "a");
        let calls = 1..SLOTS / 4;
        for n in calls.clone() {
            net.arrives(PHONE, &call(n));
        }
        for n in 0..SLOTS / 4 {
            net.arrives(STRANGER, &register(n, "junk", &contacts.join(", ")));
        }
        let is_kept = |n: &u32| net.sends(ADVERTISED, &call(*n).answer(100)).0 == PHONE;
        calls.filter(is_kept).count()
    };
    let contacts = ["a", "b", "c", "d"].map(|user| format!("<sip:{user}@192.168.1.10>"));
    let contacts = contacts.each_ref().map(String::as_str);
    // A set in which all others wait loses one of them.
    let [one, four] = [kept(&contacts[..1]), kept(&contacts)];
    assert!(four * 10 > one * 9, "{four} of {one}");
}

#[test]
fn a_response_to_an_unknown_transaction_is_left() {
    let net = Network::new();
    net.arrives(PHONE, &from_phone("INVITE", 1, "a"));
    for m in [
        from_phone("INVITE", 1, "b"),
        from_phone("INVITE", 2, "a"),
        from_phone("OPTIONS", 1, "a"),
        from_phone("INVITE", 1, "a").call("other"),
    ] {
        assert_eq!(
            net.sends(ADVERTISED, &m.answer(200)),
            (ADVERTISED, vec![Counter::OutUnknownResponse])
        );
    }
}

/// The PBX responds to a request whose transaction was evicted.
#[test]
fn a_late_response_goes_to_the_dialog_end() {
    let net = Network::new();
    net.call();
    let bye = from_phone("BYE", 2, "never-seen").tagged("pbx");
    let (to, counted) = net.sends(ADVERTISED, &bye.answer(200));
    assert_eq!((to, counted), (PHONE, vec![Counter::OutRedirectedResponse]));
    let other = bye.call("other");
    assert_eq!(
        net.sends(ADVERTISED, &other.answer(200)).1,
        [Counter::OutUnknownResponse]
    );
}

/// The terminal's Contact is another public host, to which the PBX responds.
#[test]
fn a_late_response_to_another_public_host_is_one_to_the_dialog_end() {
    let net = Network::new();
    let carrier: Address = ([198, 51, 100, 7], 5060);
    let mut invite = from_phone("INVITE", 1, "invite");
    invite.more = vec!["Contact: <sip:1000@198.51.100.7>".into()];
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(200));
    let bye = from_phone("BYE", 2, "never-seen").tagged("pbx");
    for (to, unknown) in [(carrier, false), (([198, 51, 100, 8], 5060), true)] {
        let counted = net.sends(to, &bye.answer(200)).1;
        let verdict = counted.last() == Some(&Counter::OutUnknownResponse);
        assert_eq!(verdict, unknown, "{counted:?}");
    }
}

/// A PBX that responds to the source of a request is right, even if the transaction was evicted or another proxy is
/// on the path.
#[test]
fn a_late_response_is_left_where_the_pbx_knows_better() {
    let net = Network::new();
    net.call();
    let bye = from_phone("BYE", 2, "never-seen").tagged("pbx");
    let left = (MOVED, vec![Counter::OutUnknownResponse]);
    assert_eq!(net.sends(MOVED, &bye.answer(200)), left);
    let mut proxied = bye.answer(200);
    proxied.vias.push("edge");
    assert_eq!(net.sends(ADVERTISED, &proxied).0, ADVERTISED);
}

#[test]
fn cancel_and_ack_go_where_their_invite_went() {
    let net = Network::new();
    net.register();
    net.sends(ADVERTISED, &call_phone("i"));
    // The contact is gone; the transaction is not.
    net.forget_bindings();
    for method in ["CANCEL", "ACK"] {
        let m = Sip {
            cseq: (1, method),
            ..call_phone("i")
        };
        let m = Sip {
            start: format!("{method} sip:1000@192.168.1.10 SIP/2.0"),
            ..m
        };
        assert_eq!(
            net.sends(ADVERTISED, &m),
            (PHONE, vec![Counter::OutRedirectedInvite]),
            "{method}"
        );
        assert_eq!(
            net.sends(PHONE, &m),
            (PHONE, vec![Counter::OutAlreadyThere]),
            "{method}"
        );
    }
}

/// A device of RFC 2543 sends no branch: Call-ID, CSeq number and method name its transactions.
#[test]
fn a_device_without_branches_is_served() {
    let net = Network::new();
    let m = register(1, NO_BRANCH, "<sip:1000@192.168.1.10>");
    assert_eq!(net.arrives(PHONE, &m), [Counter::InRequest]);
    let (to, counted) = net.sends(ADVERTISED, &m.answer(200));
    assert_eq!(
        (to, counted),
        (
            PHONE,
            vec![Counter::ContactActivated, Counter::OutRedirectedResponse]
        )
    );
    assert_eq!(net.sends(ADVERTISED, &call_phone("a")).0, PHONE);
    let invite = from_phone("INVITE", 2, NO_BRANCH);
    assert_eq!(net.arrives(PHONE, &invite), [Counter::InRequest]);
    assert_eq!(net.sends(ADVERTISED, &invite.answer(200)).0, PHONE);
    assert_eq!(
        net.sends(ADVERTISED, &from_pbx("INVITE", 102, "b")).0,
        PHONE
    );
    // Another method is another transaction, and so is another number.
    for (method, cseq) in [("CANCEL", 2), ("BYE", 3), ("BYE", 4)] {
        let m = from_phone(method, cseq, NO_BRANCH);
        assert_eq!(
            net.arrives(MOVED, &m),
            [Counter::InRequest],
            "{method} {cseq}"
        );
        assert_eq!(
            net.sends(ADVERTISED, &m.answer(481)).0,
            MOVED,
            "{method} {cseq}"
        );
    }
    // The same from two sources.
    assert_eq!(net.arrives(STRANGER, &invite), [Counter::InOtherSource]);
    let (to, counted) = net.sends(ADVERTISED, &invite.answer(200));
    assert_eq!(
        (to, *counted.last().unwrap()),
        (ADVERTISED, Counter::OutDisputed)
    );
}

/// The call of a phone rings for longer than requests are repeated. One of those whom a proxy rings knows its branch, and sends the
/// INVITE again from his own host.
#[test]
fn a_call_that_rings_is_its_caller_s_alone() {
    for wait in [31, 33, 290] {
        for to in [ADVERTISED, FORGOTTEN, PHONE] {
            let net = Network::new();
            let invite = from_phone("INVITE", 1, "a");
            net.arrives(PHONE, &invite);
            net.sends(to, &invite.answer(180));
            net.wait(wait);
            for _ in 0..3 {
                assert_eq!(net.arrives(STRANGER, &invite), [Counter::InOtherSource]);
                assert_eq!(net.sends(to, &invite.answer(180)).0, to, "{wait}");
                assert_eq!(net.sends(to, &invite.answer(200)).0, to, "{wait}");
            }
        }
        // Without him, it is answered where it came from, also if the phone repeats it.
        for repeats in [false, true] {
            let net = Network::new();
            let invite = from_phone("INVITE", 1, "a");
            net.arrives(PHONE, &invite);
            net.sends(ADVERTISED, &invite.answer(180));
            net.wait(wait);
            if repeats {
                assert_eq!(net.arrives(PHONE, &invite), [Counter::InRepeat]);
            }
            assert_eq!(net.sends(ADVERTISED, &invite.answer(200)).0, PHONE);
        }
    }
}

/// He sends it before the PBX has answered anything, and once more later.
#[test]
fn a_call_that_is_disputed_stays_so_while_it_rings() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "a");
    net.arrives(PHONE, &invite);
    for wait in [0, 33, 200] {
        net.wait(wait);
        net.arrives(STRANGER, &invite);
        let (to, counted) = net.sends(ADVERTISED, &invite.answer(200));
        assert_eq!((to, counted), (ADVERTISED, vec![Counter::OutDisputed]));
    }
    assert_eq!(net.active(), []);
}

/// A call that rings for longer than a phone does is over: its name may come again.
#[test]
fn a_call_that_rings_no_more_is_not_kept_from_others() {
    for (wait, heard) in [(299, Counter::InOtherSource), (301, Counter::InRequest)] {
        let net = Network::new();
        let invite = from_phone("INVITE", 1, "a");
        net.arrives(PHONE, &invite);
        net.wait(wait);
        assert_eq!(net.arrives(MOVED, &invite), [heard], "{wait}");
    }
}
