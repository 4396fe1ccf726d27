//! States of a dialog end: what each message makes of it, and for how long it lasts then.

use nat_common::abi::{Binding, BindingFlags, Counter, Peer, PeerFlags, SECOND, ticks};
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::sip::Direction;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, REDIRECTED, Sip, call_phone, endpoint,
    from_pbx, from_phone, register,
};

const HALF_A_DAY: u64 = 12 * 3600;

/// Flags of the phone's call. The PBX's answer went to where the phone is.
const CALL: BindingFlags = BindingFlags::DIRECT.union(BindingFlags::TOLD);

/// Returns the only dialog end.
fn end(net: &Network) -> Binding {
    other_end(net, &[])
}

/// Returns the only dialog end whose key is none of these.
fn other_end(net: &Network, known: &[[u64; 2]]) -> Binding {
    let all = net.dialogs().into_values();
    let others: Vec<_> = all.filter(|end| !known.contains(&end.key)).collect();
    let [end] = others[..] else {
        panic!("{} dialog ends", others.len());
    };
    end
}

/// Checks the flags of the only dialog end, which a message has just confirmed, and the seconds for which it lasts.
fn check(net: &Network, flags: BindingFlags, seconds: u64) {
    let end = end(net);
    let now = net.now.get();
    assert_eq!(end.flags, flags);
    assert_eq!([end.seen, end.expires], [now, now + seconds * SECOND]);
}

/// The phone sends a request in its dialog, and the PBX accepts it. Returns the counters of that.
fn accepted(net: &Network, from: Address, m: &Sip) -> Vec<Counter> {
    net.arrives(from, m);
    net.sends(from, &m.answer(200)).1
}

fn within(method: &'static str, cseq: u32) -> Sip {
    from_phone(method, cseq, method).tagged("pbx")
}

#[test]
fn a_call_of_the_phone() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    let arrived = ticks(net.now.get());
    net.wait(1);
    let created = net.now.get();
    let counted = net.sends(PHONE, &invite.answer(180)).1;
    assert_eq!(
        counted,
        [Counter::DialogActivated, Counter::OutAlreadyThere]
    );
    check(&net, CALL | BindingFlags::EARLY, 300);
    net.wait(1);
    net.sends(PHONE, &invite.answer(200));
    check(&net, CALL | BindingFlags::UNACKNOWLEDGED, HALF_A_DAY);
    let begun = end(&net);
    assert_eq!([begun.created, begun.arrived], [created, arrived]);
    net.wait(1);
    net.acknowledge();
    check(&net, CALL | BindingFlags::PROVEN, HALF_A_DAY);
    let resident = net
        .entries::<Peer>()
        .into_iter()
        .find(|e| e.value.flags == PeerFlags::LEARNED);
    let resident = resident.expect("a resident").value;
    assert_eq!(
        (resident.learned(), resident.owner),
        (endpoint(PHONE), end(&net).aor)
    );
    assert_ne!(resident.owner, 0);
    // Within it, each request is counted once.
    net.wait(1);
    let counted = accepted(&net, PHONE, &within("UPDATE", 2));
    assert_eq!(
        counted,
        [Counter::DialogRefreshed, Counter::OutAlreadyThere]
    );
    check(&net, CALL | BindingFlags::PROVEN, HALF_A_DAY);
    net.wait(1);
    let counted = accepted(&net, PHONE, &within("BYE", 3));
    assert_eq!(counted, [Counter::DialogEnded, Counter::OutAlreadyThere]);
    let ended = CALL | BindingFlags::PROVEN | BindingFlags::ENDED;
    check(&net, ended, 32);
    assert_eq!(
        [end(&net).created, end(&net).arrived],
        [created, ticks(net.now.get())]
    );
    // Nothing makes it last longer.
    let expires = end(&net).expires;
    net.wait(1);
    accepted(&net, PHONE, &within("INFO", 4));
    assert_eq!((end(&net).flags, end(&net).expires), (ended, expires));
}

/// Only the ACK acknowledges.
#[test]
fn a_call_that_waits_for_its_ack() {
    let net = Network::new();
    net.call();
    net.arrives(PHONE, &within("INFO", 2));
    assert!(end(&net).flags.contains(BindingFlags::UNACKNOWLEDGED));
    net.acknowledge();
    assert!(!end(&net).flags.contains(BindingFlags::UNACKNOWLEDGED));
}

/// A phone that hangs up before its ACK came.
#[test]
fn a_call_that_ends_unacknowledged() {
    let net = Network::new();
    net.call();
    accepted(&net, PHONE, &within("BYE", 2));
    let flags = end(&net).flags;
    assert!(flags.contains(BindingFlags::ENDED) && !flags.contains(BindingFlags::UNACKNOWLEDGED));
}

/// Nothing of an earlier message is left in a new dialog end.
#[test]
fn a_new_end_has_nothing_of_another() {
    let net = Network::new();
    net.register();
    for branch in ["a", "b", "c"] {
        net.sends(ADVERTISED, &call_phone(branch));
    }
    net.change_bindings(|binding| binding.contested = 7);
    net.sends(ADVERTISED, &call_phone("d"));
    let mut invite = from_phone("INVITE", 1, "i");
    invite.more.clear();
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(200));
    let end = end(&net);
    assert_eq!([end.redirected, end.contested, end.call], [0; 3]);
    assert_eq!((end.advertised, end.pbx), (Endpoint::UNKNOWN, 0));
}

/// sipnat began in the middle of a call.
#[test]
fn a_call_that_was_not_seen_to_begin() {
    let early = BindingFlags::DIRECT | BindingFlags::EARLY | BindingFlags::TOLD;
    let net = Network::new();
    accepted(&net, PHONE, &within("INFO", 2));
    check(&net, early, 300);
    // One that the phone ends is over, and does not wait for more.
    let net = Network::new();
    accepted(&net, PHONE, &within("BYE", 2));
    check(&net, CALL | BindingFlags::ENDED, 32);
    // The PBX speaks first, and the phone answers: it lasts once the phone has answered another request.
    let net = Network::new();
    net.register();
    let confirmed = BindingFlags::DIRECT | BindingFlags::PROVEN;
    for (cseq, branch, flags, seconds) in [
        (102, "a", confirmed | BindingFlags::EARLY, 300),
        (103, "b", confirmed, HALF_A_DAY),
    ] {
        let m = from_pbx("INVITE", cseq, branch);
        for _ in 0..2 {
            net.sends(ADVERTISED, &m);
            net.wait(1);
            net.arrives(PHONE, &m.answer(200));
            check(&net, flags, seconds);
        }
    }
}

/// Counts the dialog ends that are confirmed.
fn confirmed(net: &Network) -> usize {
    let unconfirmed = BindingFlags::EARLY | BindingFlags::UNACKNOWLEDGED | BindingFlags::ENDED;
    let all = net.dialogs().into_values();
    all.filter(|end| !end.flags.intersects(unconfirmed)).count()
}

/// A proxy relays requests with invented tags to a friend of their sender, who answers anything.
#[test]
fn what_a_friend_answers_confirms_nothing() {
    for method in [
        "OPTIONS", "MESSAGE", "INFO", "UPDATE", "PRACK", "NOTIFY", "REFER",
    ] {
        for status in [200, 481] {
            let net = Network::new();
            for (cseq, branch) in [(1, "a"), (2, "b"), (3, "c")] {
                let m = Sip {
                    vias: vec![branch, "friend"],
                    ..from_pbx(method, cseq, branch)
                };
                net.sends(PHONE, &m);
                net.arrives(PHONE, &m.answer(status));
                net.wait(1);
            }
            assert_eq!(net.dialogs().len(), 1, "{method} {status}");
            assert_eq!(confirmed(&net), 0, "{method} {status}");
            // It is forgotten soon.
            net.wait(3600);
            assert!(net.active().is_empty(), "{method} {status}");
        }
    }
    // One answer, as often as it is sent.
    for method in ["INVITE", "SUBSCRIBE"] {
        let net = Network::new();
        let m = from_pbx(method, 1, "i");
        for _ in 0..3 {
            net.sends(PHONE, &m);
            net.arrives(PHONE, &m.answer(200));
            net.wait(1);
        }
        assert_eq!(confirmed(&net), 0, "{method}");
    }
}

/// Who is called answers once for each of many forks, which he invents. The PBX acknowledges one.
#[test]
fn many_answers_to_one_call_wait_for_their_ack() {
    const FORKS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    for tag in FORKS {
        net.arrives(PHONE, &invite.answer(200).tagged_as(tag));
    }
    assert_eq!((net.dialogs().len(), confirmed(&net)), (6, 0));
    let ack = from_pbx("ACK", 1, "k").call("incoming").tagged_as("c");
    assert_eq!(net.sends(ADVERTISED, &ack).0, PHONE);
    assert_eq!(confirmed(&net), 1);
    // The 200 again changes nothing.
    net.arrives(PHONE, &invite.answer(200).tagged_as("c"));
    assert_eq!(confirmed(&net), 1);
    // A SUBSCRIBE is accepted once (RFC 6665 4.4.1).
    for method in ["SUBSCRIBE", "REFER"] {
        let net = Network::new();
        net.register();
        let m = Sip {
            to: "<sip:1000@pbx>".into(),
            ..from_pbx(method, 1, "s")
        };
        net.sends(ADVERTISED, &m);
        for tag in FORKS {
            net.arrives(PHONE, &m.answer(200).tagged_as(tag));
        }
        assert_eq!(net.dialogs().len(), 1, "{method}");
    }
}

/// The phone answers at the learned address, or at the original destination.
#[test]
fn an_answer_within_a_call() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "a");
    net.sends(ADVERTISED, &m);
    net.arrives(PHONE, &m.answer(200));
    assert!(end(&net).flags.contains(BindingFlags::PROVEN));
    assert!(!end(&net).flags.contains(BindingFlags::LEFT_ALONE));

    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "a");
    assert_eq!(net.sends(FORGOTTEN, &m).0, FORGOTTEN);
    net.arrives(FORGOTTEN, &m.answer(200));
    assert_eq!(end(&net).flags, CALL | BindingFlags::LEFT_ALONE);
    assert_eq!(end(&net).learned, endpoint(PHONE));
    // What the phone sends says nothing of that.
    net.wait(1);
    accepted(&net, PHONE, &within("UPDATE", 2));
    assert!(end(&net).flags.contains(BindingFlags::LEFT_ALONE));
    // An answer at the learned address, to which the PBX sends by itself, does.
    net.wait(1);
    let m = from_pbx("UPDATE", 103, "b");
    net.sends(PHONE, &m);
    net.arrives(PHONE, &m.answer(200));
    assert!(!end(&net).flags.contains(BindingFlags::LEFT_ALONE));
}

/// The last answer of the PBX says whether its tag went to the learned address: under shadow it did not.
#[test]
fn an_answer_that_went_elsewhere() {
    let net = Network::new();
    net.call();
    assert!(end(&net).flags.contains(BindingFlags::TOLD));
    net.wait(1);
    net.shadow.set(true);
    let m = within("UPDATE", 2);
    net.arrives(PHONE, &m);
    net.sends(ADVERTISED, &m.answer(200));
    assert!(!end(&net).flags.contains(BindingFlags::TOLD));
}

/// A dialog that has ended is no obstacle to one with the same names.
#[test]
fn a_call_after_the_end_of_one() {
    let net = Network::new();
    net.call();
    accepted(&net, PHONE, &within("BYE", 2));
    // A message of the dialog that has ended, from the phone's new address, does not bring it back.
    net.wait(1);
    let expires = end(&net).expires;
    accepted(&net, MOVED, &within("INFO", 3));
    assert_eq!(end(&net).learned, endpoint(MOVED));
    assert!(end(&net).flags.contains(BindingFlags::ENDED));
    assert_eq!(end(&net).expires, expires);
    // A new one does.
    net.wait(1);
    let invite = from_phone("INVITE", 9, "again");
    net.arrives(PHONE, &invite);
    let counted = net.sends(PHONE, &invite.answer(200)).1;
    assert_eq!(counted, [Counter::DialogMoved, Counter::OutAlreadyThere]);
    check(&net, CALL | BindingFlags::UNACKNOWLEDGED, HALF_A_DAY);
}

/// The phone moved in the tick in which the PBX asked it where it was before.
#[test]
fn an_answer_that_crosses_a_move() {
    let net = Network::new();
    net.call();
    net.wait(1);
    let m = from_pbx("INVITE", 102, "a");
    net.sends(ADVERTISED, &m);
    accepted(&net, MOVED, &within("INFO", 2));
    net.wait(1);
    let counted = net.arrives(PHONE, &m.answer(200));
    assert!(counted.contains(&Counter::DialogStale), "{counted:?}");
    assert_eq!(end(&net).learned, endpoint(MOVED));
}

/// A message without a Contact does not take the known one away.
#[test]
fn a_move_without_a_contact() {
    let net = Network::new();
    net.call();
    net.wait(1);
    let mut m = within("INFO", 2);
    m.more.clear();
    accepted(&net, MOVED, &m);
    let end = end(&net);
    assert_eq!(
        (end.learned, end.advertised),
        (endpoint(MOVED), endpoint(ADVERTISED))
    );
}

/// The PBX knows a dialog no more (RFC 3261 12.2.2).
#[test]
fn a_bye_that_is_refused() {
    let net = Network::new();
    net.call();
    net.wait(1);
    let bye = within("BYE", 2);
    net.arrives(PHONE, &bye);
    let refusal = bye.answer(481);
    assert!(net.sends(PHONE, &refusal).1.contains(&Counter::DialogEnded));
    let expires = end(&net).expires;
    assert_eq!(expires, net.now.get() + 32 * SECOND);
    // The refusal again makes it last no longer, and is not counted.
    net.wait(1);
    assert_eq!(net.sends(PHONE, &refusal).1, [Counter::OutAlreadyThere]);
    assert_eq!(end(&net).expires, expires);
    // Another refusal, and one of another request, end nothing.
    for (method, status) in [("BYE", 404), ("INFO", 481)] {
        let net = Network::new();
        net.call();
        let m = within(method, 2);
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(status));
        assert!(
            !end(&net).flags.contains(BindingFlags::ENDED),
            "{method} {status}"
        );
    }
}

/// Returns an address of a phone with IPv6.
fn ipv6(network: u8, host: u8, port: u32) -> Endpoint {
    Endpoint {
        addr: [
            u64::from_ne_bytes([0x20, 1, 0x0d, 0xb8, 0, 0, 0, network]),
            u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, host]),
        ],
        port,
        reserved: 0,
    }
}

fn hears(net: &Network, from: &Endpoint, m: &Sip) {
    let message = net.scan(m, Direction::In);
    engine::ingress(&net.0, &message, from);
}

/// The PBX sends a message. Returns its destination and the verdict.
fn goes(net: &Network, to: &Endpoint, m: &Sip) -> (Endpoint, Counter) {
    let message = net.scan(m, Direction::Out);
    let datagram = Datagram {
        destination: *to,
        ..Datagram::default()
    };
    let mut destination = *to;
    let decision = engine::egress(&net.0, &message, &datagram, &mut destination);
    (destination, decision.counter())
}

/// Only the terminal itself ends its dialog so, not another host or port.
#[test]
fn a_bye_with_ipv6_that_is_refused() {
    let phone = ipv6(5, 9, 49163);
    for (from, ends) in [
        (phone, true),
        (ipv6(6, 9, 49163), false),
        (ipv6(5, 8, 49163), false),
        (ipv6(5, 9, 49164), false),
    ] {
        let net = Network::new();
        let invite = from_phone("INVITE", 1, "i");
        hears(&net, &phone, &invite);
        goes(&net, &phone, &invite.answer(200));
        let bye = within("BYE", 2);
        hears(&net, &from, &bye);
        goes(&net, &from, &bye.answer(481));
        assert_eq!(
            end(&net).flags.contains(BindingFlags::ENDED),
            ends,
            "{from:?}"
        );
    }
}

/// sipnat does not translate.
#[test]
fn a_packet_of_another_ip_version_is_left() {
    let net = Network::new();
    net.call();
    let to = ipv6(5, 9, 5060);
    let m = from_pbx("INVITE", 102, "a");
    assert_eq!(goes(&net, &to, &m), (to, Counter::OutOtherFamily));
}

/// Requests that nobody answered say nothing of an ACK, which nobody answers.
#[test]
fn an_ack_is_not_late_for_other_requests() {
    let net = Network::new();
    net.call();
    assert_eq!(
        net.sends(FORGOTTEN, &from_pbx("UPDATE", 102, "u")).0,
        FORGOTTEN
    );
    net.wait(1);
    assert_eq!(
        net.sends(FORGOTTEN, &from_pbx("ACK", 103, "a")).0,
        FORGOTTEN
    );
    assert_eq!(net.sends(FORGOTTEN, &from_pbx("UPDATE", 104, "v")).0, PHONE);
}

/// Requests that were overdue before a dialog say nothing of its terminal, which has shown where it hears.
#[test]
fn progress_ends_what_was_overdue() {
    let net = Network::new();
    net.register();
    assert_eq!(net.sends(FORGOTTEN, &call_phone("i")).0, FORGOTTEN);
    net.wait(1);
    net.call();
    net.acknowledge();
    net.wait(1);
    let (to, counted) = net.sends(FORGOTTEN, &from_pbx("INVITE", 102, "a"));
    assert_eq!((to, counted), (REDIRECTED.0, vec![REDIRECTED.1]));
}

/// A dialog without an owner is not that of whoever answered at the original destination.
#[test]
fn an_answer_to_others_says_nothing_of_a_dialog_without_owner() {
    let net = Network::new();
    net.registers_as(PHONE, "1000", "<sip:1000@60.17.196.2>", "one");
    let invite = Sip {
        start: "INVITE sip:1000@60.17.196.2 SIP/2.0".into(),
        to: "<sip:1000@60.17.196.2>".into(),
        ..call_phone("i")
    };
    assert_eq!(net.sends(FORGOTTEN, &invite).0, FORGOTTEN);
    assert_eq!(net.sends(FORGOTTEN, &invite).0, PHONE);
    net.arrives(PHONE, &invite.answer(200).tagged_as("callee"));
    assert_eq!(end(&net).aor, 0);
    net.wait(1);
    net.registers_as(MOVED, "2000", "<sip:2000@60.17.196.2>", "two");
    let ping = Sip {
        start: "OPTIONS sip:2000@60.17.196.2 SIP/2.0".into(),
        to: "<sip:2000@pbx>".into(),
        cseq: (1, "OPTIONS"),
        ..call_phone("ping")
    };
    assert_eq!(net.sends(FORGOTTEN, &ping).0, FORGOTTEN);
    net.arrives(FORGOTTEN, &ping.answer(200));
    net.wait(1);
    let bye = Sip {
        start: "BYE sip:1000@60.17.196.2 SIP/2.0".into(),
        cseq: (2, "BYE"),
        ..invite.clone().tagged("callee")
    };
    assert_eq!(net.sends(FORGOTTEN, &bye).0, PHONE);
}

/// Only a NOTIFY may come ahead of the answer to a SUBSCRIBE.
#[test]
fn a_pending_subscription_is_for_its_notify() {
    let net = Network::new();
    net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    for method in ["INVITE", "BYE", "INFO", "MESSAGE"] {
        let counted = net.sends(ADVERTISED, &from_pbx(method, 1, method)).1;
        assert_eq!(counted, [Counter::OutUnknownRequest], "{method}");
    }
    // The answer to another request of that name does not end it.
    let invite = from_phone("INVITE", 2, "i");
    net.arrives(PHONE, &invite);
    assert_eq!(
        net.sends(PHONE, &invite.answer(404)).1,
        [Counter::OutAlreadyThere]
    );
    assert_eq!(net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0, PHONE);
}

/// Somebody who knows the names of a live dialog sends a SUBSCRIBE with them.
#[test]
fn a_pending_subscription_is_not_asked_where_the_dialog_is_known() {
    let net = Network::new();
    net.call();
    net.arrives(MOVED, &from_phone("SUBSCRIBE", 1, "s"));
    let (to, counted) = net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n"));
    assert_eq!((to, counted), (PHONE, vec![Counter::OutRedirectedDialog]));
}

#[test]
fn a_subscription_that_is_refused_is_no_more_pending() {
    let net = Network::new();
    let m = from_phone("SUBSCRIBE", 1, "s");
    net.arrives(PHONE, &m);
    let counted = net.sends(PHONE, &m.answer(403)).1;
    assert_eq!(counted, [Counter::PendingDropped, Counter::OutAlreadyThere]);
    assert_eq!(
        net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0,
        ADVERTISED
    );
}

#[test]
fn a_call_to_the_phone() {
    let net = Network::new();
    net.register();
    let aor = net
        .contacts()
        .into_keys()
        .map(|key| key.aor)
        .max()
        .expect("an owner");
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    let asked = ticks(net.now.get());
    net.wait(1);
    let ringing = invite
        .answer(180)
        .tagged_as("callee")
        .with("Contact: <sip:1000@192.168.1.20:5062>");
    net.arrives(PHONE, &ringing);
    let flags = BindingFlags::DIRECT | BindingFlags::PROVEN;
    check(&net, flags | BindingFlags::EARLY, 300);
    net.wait(1);
    net.arrives(PHONE, &invite.answer(200).tagged_as("callee"));
    check(&net, flags | BindingFlags::UNACKNOWLEDGED, HALF_A_DAY);
    let expires = end(&net).expires;
    let ack = from_pbx("ACK", 1, "k").call("incoming").tagged_as("callee");
    assert_eq!(net.sends(ADVERTISED, &ack).0, PHONE);
    let end = end(&net);
    assert_eq!((end.flags, end.expires), (flags, expires));
    assert_eq!(
        (end.learned, end.advertised),
        (endpoint(PHONE), endpoint(([192, 168, 1, 20], 5062)))
    );
    assert_eq!((end.arrived, end.aor), (asked, aor));
    assert_ne!(end.call, 0);
    // The phone's own call has nothing of that.
    let mut m = from_phone("INVITE", 1, "j");
    m.from = "<sip:1000@pbx>;tag=caller".into();
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    let own: Vec<_> = net
        .dialogs()
        .into_values()
        .filter(|b| b.key != end.key)
        .collect();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].call, 0);
}

/// A subscription that the PBX uses before it answers, after a call to the phone.
#[test]
fn a_subscription_before_its_answer() {
    for (vias, flags) in [
        (vec!["s"], BindingFlags::DIRECT | BindingFlags::EARLY),
        (vec!["s", "t"], BindingFlags::EARLY),
    ] {
        let net = Network::new();
        net.register();
        let invite = call_phone("i");
        net.sends(ADVERTISED, &invite);
        net.arrives(PHONE, &invite.answer(200).tagged_as("callee"));
        let of_call = end(&net).key;
        net.wait(1);
        let m = Sip {
            vias,
            ..from_phone("SUBSCRIBE", 1, "s")
        };
        net.arrives(PHONE, &m);
        let arrived = ticks(net.now.get());
        net.wait(1);
        net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n"));
        let end = other_end(&net, &[of_call]);
        assert_eq!(end.flags, flags);
        assert_eq!(end.expires, net.now.get() + 300 * SECOND);
        assert_eq!(end.arrived, arrived);
        assert_eq!(
            (end.learned, end.advertised),
            (endpoint(PHONE), endpoint(ADVERTISED))
        );
        assert_eq!([end.aor, end.call], [0; 2]);
    }
}

/// An answer that is redirected to its request's source tells the terminal the PBX's tag, too.
#[test]
fn an_answer_that_is_redirected() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    assert_eq!(net.sends(ADVERTISED, &invite.answer(200)).0, PHONE);
    assert!(end(&net).flags.contains(BindingFlags::TOLD));
    // Under shadow, the PBX's next answer goes where the PBX sends it.
    let net = Network::new();
    net.shadow.set(true);
    net.arrives(PHONE, &invite);
    net.sends(ADVERTISED, &invite.answer(200));
    assert!(!end(&net).flags.contains(BindingFlags::TOLD));
}

/// Only the 2xx to an INVITE waits for an ACK, and only the first in a dialog.
#[test]
fn an_answer_that_waits_for_no_ack() {
    let net = Network::new();
    subscribed(&net, &from_phone("SUBSCRIBE", 1, "s"), "Expires: 600");
    check(&net, CALL, 632);
    let net = Network::new();
    accepted(&net, PHONE, &within("INVITE", 2));
    check(&net, CALL | BindingFlags::EARLY, 300);
}

/// A refresh that is refused says nothing of a subscription that is pending.
#[test]
fn a_refusal_within_a_dialog_drops_nothing_that_is_pending() {
    let net = Network::new();
    net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    let refresh = within("SUBSCRIBE", 2);
    net.arrives(PHONE, &refresh);
    assert_eq!(
        net.sends(PHONE, &refresh.answer(404)).1,
        [Counter::OutAlreadyThere]
    );
    assert_eq!(net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0, PHONE);
}

/// A response whose request is forgotten goes to its dialog end if its destination is the advertised address, its port at the
/// learned host, or a private one.
#[test]
fn a_late_response_to_the_advertised_address_or_a_private_one() {
    for (contact, to, verdict) in [
        (
            "<sip:1000@60.17.196.2>",
            FORGOTTEN,
            Counter::OutOriginalFirst,
        ),
        (
            "<sip:1000@60.17.196.2>",
            ([10, 9, 9, 9], 5060),
            Counter::OutRedirectedResponse,
        ),
        // The ALG writes into Via only.
        (
            "<sip:1000@192.168.1.10>",
            FORGOTTEN,
            Counter::OutOriginalFirst,
        ),
        (
            "<sip:1000@192.168.1.10:5062>",
            FORGOTTEN,
            Counter::OutUnknownResponse,
        ),
        (
            "<sip:1000@192.168.1.10>",
            ([198, 51, 100, 66], 5060),
            Counter::OutUnknownResponse,
        ),
    ] {
        let net = Network::new();
        let mut invite = from_phone("INVITE", 1, "i");
        invite.more = vec![format!("Contact: {contact}")];
        net.arrives(PHONE, &invite);
        net.sends(PHONE, &invite.answer(200));
        let late = within("UPDATE", 2).answer(200);
        assert_eq!(net.sends(to, &late).1, [verdict], "{contact} {to:?}");
        let history = net.history.borrow();
        let record = history.last().expect("a record");
        assert_eq!((record.tag, record.bound), (end(&net).key[1], 1));
    }
}

/// A REGISTER belongs to no dialog, whatever tags it has.
#[test]
fn a_late_response_to_a_register() {
    let net = Network::new();
    net.call();
    let late = within("REGISTER", 2).answer(200);
    assert_eq!(
        net.sends(ADVERTISED, &late).1,
        [Counter::OutUnknownResponse]
    );
}

/// A device of RFC 2543 has no tag: it cannot be told from others in the same call.
#[test]
fn a_call_without_a_tag() {
    let net = Network::new();
    let mut invite = from_phone("INVITE", 1, "i");
    invite.from = "<sip:1000@pbx>".into();
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(200));
    assert!(net.dialogs().is_empty());
}

/// The phone sends a SUBSCRIBE, and the PBX accepts it with that header.
fn subscribed(net: &Network, m: &Sip, granted: &str) {
    net.arrives(PHONE, m);
    net.sends(PHONE, &m.answer(200).with(granted));
}

/// The PBX sends a NOTIFY, and the phone answers.
fn notified(net: &Network, cseq: u32) {
    let m = from_pbx("NOTIFY", cseq, "n");
    net.sends(ADVERTISED, &m);
    net.arrives(PHONE, &m.answer(200));
}

/// A subscription lasts for what was granted, and for its last NOTIFY after that; longer than a dialog without messages, too.
#[test]
fn a_subscription() {
    for (granted, seconds) in [
        ("Expires: 60", 60),
        ("Expires: 86400", 86400),
        ("Expires: 604800", 86400),
    ] {
        let net = Network::new();
        subscribed(&net, &from_phone("SUBSCRIBE", 1, "s"), granted);
        check(&net, CALL, seconds + 32);
        let expires = end(&net).expires;
        net.wait(1);
        notified(&net, 1);
        assert_eq!(end(&net).expires, expires, "{granted}");
        // A refresh makes it last longer, its end not shorter.
        net.wait(1);
        subscribed(&net, &within("SUBSCRIBE", 2), granted);
        let expires = end(&net).expires;
        net.wait(1);
        subscribed(&net, &within("SUBSCRIBE", 3), "Expires: 0");
        assert_eq!(end(&net).expires, expires, "{granted}");
        assert!(!end(&net).flags.contains(BindingFlags::EARLY), "{granted}");
        // Its last NOTIFY comes when it ends, and is repeated.
        net.now.set(expires - SECOND);
        notified(&net, 2);
        assert_eq!(end(&net).expires, expires + 31 * SECOND);
    }
    let net = Network::new();
    subscribed(
        &net,
        &from_phone("SUBSCRIBE", 1, "s"),
        "Expires: 4294967295",
    );
    check(&net, CALL, 86432);
    // RFC 6665 4.2.1.1 demands the header.
    let net = Network::new();
    subscribed(&net, &from_phone("SUBSCRIBE", 1, "s"), "Event: dialog");
    check(&net, CALL, HALF_A_DAY);
    // It is pending (4.1.2.2 of RFC 3265).
    let net = Network::new();
    let m = from_phone("SUBSCRIBE", 1, "s");
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(183).with("Expires: 3600"));
    check(&net, CALL | BindingFlags::EARLY, 300);
}

/// The PBX sends the NOTIFY first, and the phone answers it before the 2xx to its SUBSCRIBE leaves.
#[test]
fn a_subscription_whose_notify_is_answered_before_its_2xx() {
    for (m, flags) in [
        (from_phone("SUBSCRIBE", 1, "s"), BindingFlags::EARLY),
        (within("SUBSCRIBE", 2), BindingFlags::empty()),
    ] {
        let net = Network::new();
        if flags.is_empty() {
            subscribed(&net, &from_phone("SUBSCRIBE", 1, "f"), "Expires: 60");
        }
        net.arrives(PHONE, &m);
        net.wait(1);
        notified(&net, 1);
        assert_eq!(end(&net).flags & BindingFlags::EARLY, flags);
        let arrived = end(&net).arrived;
        net.wait(1);
        net.sends(PHONE, &m.answer(200).with("Expires: 600"));
        assert!(!end(&net).flags.contains(BindingFlags::EARLY));
        assert_eq!(end(&net).expires, net.now.get() + 632 * SECOND);
        assert_eq!(end(&net).arrived, arrived);
    }
}

/// A call is put through by a REFER outside of a dialog, and the PBX tells how it goes.
#[test]
fn a_refer_whose_call_rings_for_long() {
    let net = Network::new();
    accepted(&net, PHONE, &from_phone("REFER", 1, "r"));
    for cseq in 1..10 {
        net.wait(290);
        notified(&net, cseq);
        assert_eq!(end(&net).expires, net.now.get() + 300 * SECOND);
    }
}

/// A state that is only asked for (RFC 6665 4.4.3): the one NOTIFY reaches the phone, before the 2xx or after it, and nothing
/// is confirmed.
#[test]
fn a_subscription_of_no_time() {
    let m = from_phone("SUBSCRIBE", 1, "s");
    let net = Network::new();
    subscribed(&net, &m, "Expires: 0");
    let early = BindingFlags::EARLY;
    check(&net, CALL | early, 32);
    net.wait(1);
    let notify = from_pbx("NOTIFY", 1, "n");
    assert_eq!(net.sends(ADVERTISED, &notify).0, PHONE);
    net.arrives(PHONE, &notify.answer(200));
    check(&net, CALL | early | BindingFlags::PROVEN, 300);

    let net = Network::new();
    net.arrives(PHONE, &m);
    assert_eq!(net.sends(ADVERTISED, &notify).0, PHONE);
    net.arrives(PHONE, &notify.answer(200));
    net.sends(PHONE, &m.answer(200).with("Expires: 0"));
    assert!(end(&net).flags.contains(early));
    assert_eq!(end(&net).expires, net.now.get() + 300 * SECOND);
}

/// One that sipnat has not seen to begin.
#[test]
fn a_subscription_that_was_not_seen_to_begin() {
    let net = Network::new();
    net.register();
    notified(&net, 1);
    assert!(end(&net).flags.contains(BindingFlags::EARLY));
    assert_eq!(end(&net).expires, net.now.get() + 3600 * SECOND);
    net.wait(1);
    subscribed(&net, &within("SUBSCRIBE", 2), "Expires: 7200");
    assert!(!end(&net).flags.contains(BindingFlags::EARLY));
    assert_eq!(end(&net).expires, net.now.get() + 7232 * SECOND);

    let net = Network::new();
    subscribed(&net, &within("SUBSCRIBE", 2), "Expires: 600");
    check(&net, CALL | BindingFlags::EARLY, 632);
    net.wait(600);
    subscribed(&net, &within("SUBSCRIBE", 3), "Expires: 600");
    check(&net, CALL | BindingFlags::PROVEN, 632);
}

/// A request within a subscription that lasts longer than a call makes it no shorter.
#[test]
fn a_long_subscription_with_other_requests() {
    let net = Network::new();
    subscribed(&net, &from_phone("SUBSCRIBE", 1, "s"), "Expires: 86400");
    let expires = end(&net).expires;
    net.wait(1);
    accepted(&net, PHONE, &within("INFO", 2));
    assert_eq!(end(&net).expires, expires);
    net.wait(1);
    accepted(&net, MOVED, &within("INFO", 3));
    assert_eq!(
        (end(&net).learned, end(&net).expires),
        (endpoint(MOVED), expires)
    );
    net.wait(1);
    let m = from_pbx("INFO", 1, "p");
    net.sends(ADVERTISED, &m);
    net.arrives(MOVED, &m.answer(200));
    assert_eq!(end(&net).expires, expires);
    // Its end is one.
    net.wait(1);
    accepted(&net, MOVED, &within("BYE", 4));
    assert_eq!(end(&net).expires, net.now.get() + 32 * SECOND);
}

/// A subscription within a call makes it no shorter.
#[test]
fn a_subscription_within_a_call() {
    let net = Network::new();
    net.call();
    net.acknowledge();
    let (flags, expires) = (end(&net).flags, end(&net).expires);
    net.wait(1);
    accepted(&net, PHONE, &within("REFER", 2));
    assert_eq!(end(&net).expires, expires + SECOND);
    subscribed(&net, &within("SUBSCRIBE", 3), "Expires: 60");
    notified(&net, 1);
    assert_eq!(
        (end(&net).flags, end(&net).expires),
        (flags, expires + SECOND)
    );
}

/// A phone that moves, and first sends what confirms no call: the call stays confirmed.
#[test]
fn a_move_of_a_confirmed_call() {
    let net = Network::new();
    net.call();
    net.acknowledge();
    net.wait(1);
    accepted(&net, MOVED, &within("INFO", 2));
    assert_eq!(end(&net).learned, endpoint(MOVED));
    assert!(!end(&net).flags.contains(BindingFlags::EARLY));
    assert_eq!(end(&net).expires, net.now.get() + HALF_A_DAY * SECOND);
}

/// The phone calls, and sends a request from `source` while the call rings, which the PBX accepts. Returns the INVITE.
fn ringing(source: Address, method: &'static str) -> (Network, Sip) {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(183));
    net.wait(1);
    accepted(&net, source, &within(method, 2));
    (net, invite)
}

/// The phone is called and rings, and the PBX acknowledges its provisional response (RFC 3262). Returns the INVITE.
fn rung() -> (Network, Sip) {
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    net.arrives(PHONE, &invite.answer(183).tagged_as("phone"));
    assert!(end(&net).flags.contains(BindingFlags::EARLY));
    net.wait(1);
    let prack = from_pbx("PRACK", 2, "p").call("incoming");
    net.sends(ADVERTISED, &prack);
    net.arrives(PHONE, &prack.answer(200));
    (net, invite)
}

/// While a call rings, nothing confirms it but the 2xx to its INVITE. A refusal ends it.
#[test]
fn a_call_that_rings_and_is_refused() {
    for method in ["PRACK", "UPDATE", "INFO"] {
        let (net, invite) = ringing(PHONE, method);
        let proven = end(&net).flags & BindingFlags::PROVEN;
        let early = CALL | BindingFlags::EARLY | proven;
        check(&net, early, 300);
        net.sends(PHONE, &invite.answer(486));
        let ended = early | BindingFlags::ENDED;
        check(&net, ended, 32);
        // The 183 again, on its way when the refusal was sent, brings nothing back.
        net.wait(1);
        net.sends(PHONE, &invite.answer(183));
        assert_eq!(end(&net).flags, ended, "{method}");
        // The phone calls again with the same Call-ID and tag (RFC 3261 8.1.3.5).
        let invite = from_phone("INVITE", 3, "j");
        net.arrives(PHONE, &invite);
        net.sends(PHONE, &invite.answer(200));
        check(&net, CALL | BindingFlags::UNACKNOWLEDGED, HALF_A_DAY);
    }
    // A call that is up is no early one: somebody who knows its Call-ID and tag, and forges the phone's address, ends nothing.
    let net = Network::new();
    net.call();
    net.acknowledge();
    let (flags, expires) = (end(&net).flags, end(&net).expires);
    let forged = from_phone("INVITE", 9, "forged");
    net.arrives(PHONE, &forged);
    net.sends(PHONE, &forged.answer(482));
    assert_eq!((end(&net).flags, end(&net).expires), (flags, expires));
}

/// So it is if nothing came in the early dialog: the 183 again is of the time of the call that has ended.
#[test]
fn a_response_again_brings_no_call_back_that_is_refused() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    for status in [183, 486, 183] {
        net.sends(PHONE, &invite.answer(status));
        net.wait(1);
    }
    let flags = CALL | BindingFlags::EARLY | BindingFlags::ENDED;
    assert_eq!(end(&net).flags, flags);
}

/// Expires in the 2xx to another request than SUBSCRIBE says nothing of the dialog.
#[test]
fn a_call_lasts_whatever_expires() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(200).with("Expires: 60"));
    check(&net, CALL | BindingFlags::UNACKNOWLEDGED, HALF_A_DAY);
}

/// A subscription of the PBX waits for no ACK.
#[test]
fn a_subscription_of_the_pbx_is_confirmed_by_its_answer() {
    let net = Network::new();
    net.register();
    let m = Sip {
        start: "SUBSCRIBE sip:1000@192.168.1.10 SIP/2.0".into(),
        cseq: (1, "SUBSCRIBE"),
        ..call_phone("s")
    };
    net.sends(ADVERTISED, &m);
    net.arrives(PHONE, &m.answer(200).tagged_as("callee"));
    assert!(!end(&net).flags.contains(BindingFlags::UNACKNOWLEDGED));
}

/// The PBX's 2xx answers an INVITE that is older than what it has accepted in the early dialog.
#[test]
fn a_call_that_is_answered_after_a_prack() {
    for method in ["PRACK", "UPDATE", "INFO"] {
        let (net, invite) = ringing(PHONE, method);
        let arrived = end(&net).arrived;
        // Another provisional response makes it last longer.
        net.wait(1);
        net.sends(PHONE, &invite.answer(180));
        check(&net, end(&net).flags, 300);
        net.wait(1);
        net.sends(PHONE, &invite.answer(200));
        let flags = end(&net).flags;
        assert!(flags.contains(BindingFlags::UNACKNOWLEDGED), "{method}");
        assert!(!flags.contains(BindingFlags::EARLY), "{method}");
        check(&net, flags, HALF_A_DAY);
        assert_eq!(end(&net).arrived, arrived);
        net.wait(1);
        net.acknowledge();
        check(&net, CALL | BindingFlags::PROVEN, HALF_A_DAY);
        net.wait(3600);
        assert_eq!(net.reinvite("r").0, PHONE, "{method}");
    }
    // A call to the phone.
    let (net, invite) = rung();
    net.wait(1);
    net.arrives(PHONE, &invite.answer(200).tagged_as("phone"));
    assert!(!end(&net).flags.contains(BindingFlags::EARLY));
    assert_eq!(end(&net).expires, net.now.get() + HALF_A_DAY * SECOND);
    // What moves a dialog end is late as before.
    let (net, invite) = ringing(MOVED, "UPDATE");
    let counted = net.sends(PHONE, &invite.answer(200)).1;
    assert!(counted.contains(&Counter::DialogStale), "{counted:?}");
    assert_eq!(end(&net).learned, endpoint(MOVED));
}

/// The same for a call to the phone: with a provisional response that the PBX acknowledges (RFC 3262), and a CANCEL.
#[test]
fn a_call_to_the_phone_that_rings_and_is_refused() {
    let (net, invite) = rung();
    assert!(end(&net).flags.contains(BindingFlags::EARLY));
    assert_eq!(end(&net).expires, net.now.get() + 300 * SECOND);
    net.arrives(PHONE, &invite.answer(487).tagged_as("phone"));
    assert!(end(&net).flags.contains(BindingFlags::ENDED));
    assert_eq!(end(&net).expires, net.now.get() + 32 * SECOND);
    // It may be called again, and give the same tag.
    net.wait(1);
    let again = call_phone("j");
    net.sends(ADVERTISED, &again);
    net.arrives(PHONE, &again.answer(200).tagged_as("phone"));
    assert!(!end(&net).flags.contains(BindingFlags::ENDED));
    assert_eq!(end(&net).expires, net.now.get() + HALF_A_DAY * SECOND);
    // A refusal of a copy of its INVITE does not end the call that it has answered.
    let copy = call_phone("k");
    net.sends(ADVERTISED, &copy);
    net.arrives(PHONE, &copy.answer(482).tagged_as("phone"));
    assert!(!end(&net).flags.contains(BindingFlags::ENDED));
    // A refusal without a provisional response makes no dialog end.
    let net = Network::new();
    net.register();
    net.sends(ADVERTISED, &invite);
    net.arrives(PHONE, &invite.answer(486).tagged_as("phone"));
    assert!(net.dialogs().is_empty());
}

/// Only a refusal of the INVITE ends the early dialog (RFC 3261 12.3), by any status from 300 on.
#[test]
fn a_call_of_the_phone_that_rings_ends_by_a_refusal_of_its_invite() {
    for (method, status, ends) in [
        ("INVITE", 300, true),
        ("SUBSCRIBE", 489, false),
        ("CANCEL", 481, false),
        ("OPTIONS", 405, false),
    ] {
        let (net, _) = ringing(PHONE, "UPDATE");
        let m = from_phone(method, 1, "i");
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(status));
        let ended = end(&net).flags.contains(BindingFlags::ENDED);
        assert_eq!(ended, ends, "{method} {status}");
    }
    // That of a request within the dialog does not.
    let (net, _) = ringing(PHONE, "UPDATE");
    let m = within("INVITE", 3);
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(500));
    assert!(!end(&net).flags.contains(BindingFlags::ENDED));
}

/// The same for a call to the phone.
#[test]
fn a_call_to_the_phone_that_rings_ends_by_a_refusal_of_its_invite() {
    for (method, status, ends) in [
        ("INVITE", 300, true),
        ("CANCEL", 481, false),
        ("OPTIONS", 405, false),
    ] {
        let (net, invite) = rung();
        let m = Sip {
            start: invite.start.replace("INVITE", method),
            cseq: (1, method),
            ..invite
        };
        net.sends(ADVERTISED, &m);
        net.arrives(PHONE, &m.answer(status).tagged_as("phone"));
        let ended = end(&net).flags.contains(BindingFlags::ENDED);
        assert_eq!(ended, ends, "{method} {status}");
    }
    // That of a request within a dialog ends none, if one answer is all that was seen of it.
    let net = Network::new();
    accepted(&net, PHONE, &within("UPDATE", 2));
    assert!(end(&net).flags.contains(BindingFlags::EARLY));
    let m = from_pbx("INVITE", 102, "a");
    net.sends(ADVERTISED, &m);
    net.arrives(PHONE, &m.answer(488));
    assert!(!end(&net).flags.contains(BindingFlags::ENDED));
}

/// A call that only rings stays unconfirmed when its terminal moves, and one that begins again is unconfirmed, too.
#[test]
fn a_call_that_moves_is_as_confirmed_as_before() {
    let (net, _) = ringing(MOVED, "PRACK");
    assert_eq!(end(&net).learned, endpoint(MOVED));
    assert!(end(&net).flags.contains(BindingFlags::EARLY));

    let net = Network::new();
    net.call();
    net.acknowledge();
    accepted(&net, PHONE, &within("BYE", 2));
    net.wait(1);
    let again = from_phone("INVITE", 3, "again");
    net.arrives(PHONE, &again);
    net.sends(PHONE, &again.answer(180));
    check(&net, CALL | BindingFlags::EARLY, 300);
}

/// What was granted to a subscription says nothing of another dialog.
#[test]
fn a_call_does_not_last_as_a_subscription() {
    let net = Network::new();
    net.register();
    subscribed(&net, &from_phone("SUBSCRIBE", 1, "s"), "Expires: 7200");
    let first = end(&net).key;
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    net.arrives(PHONE, &invite.answer(180).tagged_as("callee"));
    let called = other_end(&net, &[first]);
    assert_eq!(called.expires, net.now.get() + 300 * SECOND);
    // Nor of one that the PBX uses before it answers.
    subscribed(&net, &within("SUBSCRIBE", 2), "Expires: 7200");
    let m = from_phone("SUBSCRIBE", 1, "t").call("next");
    net.arrives(PHONE, &m);
    net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n").call("next"));
    let notified = other_end(&net, &[first, called.key]);
    assert_eq!(notified.expires, net.now.get() + 300 * SECOND);
}

/// A provisional response that comes after the 2xx does not make the call an early one again.
#[test]
fn a_call_that_rings_after_its_answer() {
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    for status in [200, 180] {
        net.wait(1);
        net.arrives(PHONE, &invite.answer(status).tagged_as("callee"));
        let flags = BindingFlags::DIRECT | BindingFlags::PROVEN | BindingFlags::UNACKNOWLEDGED;
        check(&net, flags, HALF_A_DAY);
    }
}

/// The caller came through another proxy. That it answers the PBX does not say that it is reached without.
#[test]
fn an_answer_of_a_terminal_behind_a_proxy() {
    let net = Network::new();
    let invite = Sip {
        vias: vec!["i", "edge"],
        ..from_phone("INVITE", 1, "i")
    };
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(200));
    let m = from_pbx("INVITE", 102, "a");
    net.sends(PHONE, &m);
    net.arrives(PHONE, &m.answer(200));
    assert!(!end(&net).flags.contains(BindingFlags::DIRECT));
    let counted = net.sends(ADVERTISED, &from_pbx("BYE", 103, "b")).1;
    assert_eq!(counted, [Counter::OutNotDirect]);
}

/// The address in the Contact of an answer, of which each half counts with IPv6.
#[test]
fn an_answer_with_ipv6_names_an_address() {
    let net = Network::new();
    let phone = ipv6(5, 9, 49163);
    let invite = call_phone("i");
    goes(&net, &phone, &invite);
    let answer = invite.answer(200).tagged_as("callee");
    let named = answer.with("Contact: <sip:1000@[2001:db8:0:7::8]:5062>");
    hears(&net, &phone, &named);
    assert_eq!(end(&net).learned, phone);
    assert_eq!(end(&net).advertised, ipv6(7, 8, 5062));
}

/// A call that ends while it rings is kept for retransmissions, too.
#[test]
fn a_call_that_ends_early() {
    let net = Network::new();
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    net.sends(PHONE, &invite.answer(180));
    net.wait(1);
    accepted(&net, PHONE, &within("BYE", 2));
    let ended = CALL | BindingFlags::EARLY | BindingFlags::PROVEN | BindingFlags::ENDED;
    check(&net, ended, 32);
}

/// An answer at the original destination, with IPv6: another port of the terminal's own host, or another host of which one half
/// of the address is the same.
#[test]
fn an_answer_at_the_original_with_ipv6() {
    let phone = ipv6(5, 9, 49163);
    for (contact, to, learned) in [
        ("[2001:db8:0:5::9]", ipv6(5, 9, 5060), phone),
        ("[2001:db8:0:6::9]", ipv6(6, 9, 5060), ipv6(6, 9, 5060)),
        ("[2001:db8:0:5::8]", ipv6(5, 8, 5060), ipv6(5, 8, 5060)),
    ] {
        let net = Network::new();
        let uri = format!("sip:1000@{contact}");
        let m = register(1, "r", &format!("<{uri}>"));
        hears(&net, &phone, &m);
        goes(&net, &phone, &m.answer(200));
        let invite = Sip {
            start: format!("INVITE {uri} SIP/2.0"),
            ..call_phone("i")
        };
        let first = (to, Counter::OutOriginalFirst);
        assert_eq!(goes(&net, &to, &invite), first);
        hears(&net, &to, &invite.answer(200).tagged_as("callee"));
        assert_eq!(end(&net).learned, learned, "{contact}");
    }
}
