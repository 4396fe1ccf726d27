//! 2xx to REGISTER that is the PBX's own, and 2xx that it only relays.

use nat_common::abi::{Binding, BindingFlags, Counter, address};
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Checksum;
use nat_common::engine::names_domain;
use nat_common::sip::Field;

use crate::{
    ADVERTISED, Address, MOVED, Network, PHONE, STRANGER, Sip, call_phone, from_pbx, register,
};

/// Host to which the PBX sends a REGISTER on.
const UPSTREAM: Address = ([198, 51, 100, 9], 5060);

/// A neighbour behind the phone's NAT.
const NEIGHBOUR: Address = ([60, 17, 196, 2], 41000);

/// REGISTER of a stranger that names the victim's address-of-record and Contact.
fn forged() -> Sip {
    register(9, "evil", "<sip:1000@192.168.1.10>").call("evil")
}

/// The PBX sends a REGISTER on, and relays the 2xx to it. Returns the events.
fn relay(net: &Network, source: Address, m: &Sip) -> Vec<Counter> {
    net.arrives(source, m);
    let onward = Sip {
        vias: vec!["proxy", m.vias[0]],
        ..m.clone()
    };
    let mut counted = net.sends(UPSTREAM, &onward).1;
    counted.extend(net.sends(source, &m.answer(200)).1);
    counted
}

#[test]
fn a_relayed_2xx_moves_nothing() {
    let net = Network::new();
    net.register();
    let counted = relay(&net, STRANGER, &forged());
    assert!(counted.contains(&Counter::RegisterSentOn), "{counted:?}");
    assert!(counted.contains(&Counter::RegisterNotOwn), "{counted:?}");
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
    // Nor with the PBX's answer to a request within a dialog, which a REGISTER never is.
    let tagged = forged().call("tagged").tagged("invented");
    net.arrives(STRANGER, &tagged);
    let counted = net.sends(STRANGER, &tagged.answer(200)).1;
    assert_eq!(counted[0], Counter::RegisterNotOwn);
    assert_eq!(net.sends(ADVERTISED, &call_phone("j")).0, PHONE);
}

/// An entry that a flood pushed out is no consent.
#[test]
fn without_the_entry_of_the_register_nothing_is_believed() {
    let net = Network::new();
    let m = register(1, "r", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &m);
    let other_tag = Sip {
        from: "<sip:1000@pbx>;tag=other".into(),
        ..m.answer(200)
    };
    let counted = net.sends(PHONE, &other_tag).1;
    assert_eq!(counted[0], Counter::RegisterNotOwn);
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, ADVERTISED);
}

#[test]
fn a_registrar_that_the_user_named_is_as_good_as_the_pbx() {
    let net = Network::new();
    let upstream = Endpoint::v4(UPSTREAM.0, UPSTREAM.1);
    net.kinds.replace(vec![(upstream, address::REGISTRAR)]);
    let m = register(1, "r", "<sip:1000@192.168.1.10>");
    let counted = relay(&net, PHONE, &m);
    assert!(counted.contains(&Counter::ContactActivated), "{counted:?}");
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
}

/// The PBX registers with a provider by itself. That is nobody's REGISTER that it sent on.
#[test]
fn the_pbx_s_own_registration_is_its_own() {
    let net = Network::new();
    let own = register(1, "own", "<sip:pbx@203.0.113.10>").call("trunk");
    let counted = net.sends(UPSTREAM, &own).1;
    assert_eq!(counted, [Counter::OutUnknownRequest]);
    net.register();
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
}

/// A proxy relays a response that it never asked for, and recognises one by its branch alone.
#[test]
fn a_register_to_which_a_response_arrives_is_not_the_pbx_s_to_accept() {
    let net = Network::new();
    net.register();
    net.wait(1);
    let m = forged();
    net.arrives(STRANGER, &m);
    let unasked = Sip {
        vias: vec!["proxy", "evil"],
        ..m.answer(200)
    };
    let counted = net.arrives(STRANGER, &unasked);
    assert_eq!(
        counted,
        [Counter::RegisterSentOn, Counter::InResponseUnasked]
    );
    let counted = net.sends(STRANGER, &m.answer(200)).1;
    assert_eq!(counted[0], Counter::RegisterNotOwn);
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
}

/// The proxy sends the REGISTER on from another of its sockets.
#[test]
fn a_register_is_known_on_every_socket() {
    let net = Network::new();
    net.register();
    net.wait(1);
    let m = forged();
    net.arrives(STRANGER, &m);
    let socket = net.socket.replace(Endpoint::v4([203, 0, 113, 11], 5070));
    let onward = Sip {
        vias: vec!["proxy", "evil"],
        ..m.clone()
    };
    net.sends(UPSTREAM, &onward);
    net.socket.set(socket);
    let counted = net.sends(STRANGER, &m.answer(200)).1;
    assert_eq!(counted[0], Counter::RegisterNotOwn);
}

/// A final response is the last one (RFC 3261 17.2.2).
#[test]
fn a_register_that_was_refused_is_not_accepted_later() {
    for status in [302, 401, 403, 503] {
        let net = Network::new();
        net.register();
        net.wait(1);
        let m = forged();
        net.arrives(STRANGER, &m);
        net.sends(STRANGER, &m.answer(status));
        let counted = net.sends(STRANGER, &m.answer(200)).1;
        assert_eq!(counted[0], Counter::RegisterNotOwn, "{status}");
    }
}

/// The PBX never sees a REGISTER whose checksum is wrong, or may see another one in its place.
#[test]
fn a_register_that_the_pbx_may_not_have_seen_counts_for_nothing() {
    for checksum in [Checksum::Wrong, Checksum::Unknown] {
        let net = Network::new();
        net.checksum.set(checksum);
        let m = forged();
        net.arrives(STRANGER, &m);
        let counted = net.sends(STRANGER, &m.answer(200)).1;
        assert!(!counted.contains(&Counter::ContactActivated), "{counted:?}");
    }
}

/// The PBX accepts another REGISTER of that name than the first, which it has not seen.
#[test]
fn contacts_that_the_pbx_has_not_seen_are_not_what_it_accepts() {
    let own = "<sip:6666@198.51.100.66:6666>";
    let victims = "<sip:1000@192.168.1.10>";
    for checksum in [Checksum::Wrong, Checksum::Unknown] {
        for contacts in [victims.into(), format!("{own}, {victims}"), "*".into()] {
            let account = |contacts: &str, cseq, branch| Sip {
                to: "<sip:6666@pbx>".into(),
                ..register(cseq, branch, contacts).call("account")
            };
            let net = Network::new();
            let m = account("<sip:6666@10.0.0.5>", 1, "before");
            net.arrives(STRANGER, &m);
            net.sends(STRANGER, &m.answer(200));
            net.wait(1);
            net.checksum.set(checksum);
            net.arrives(STRANGER, &account(&contacts, 2, "same"));
            net.checksum.set(Checksum::Right);
            let m = account(own, 2, "same");
            net.arrives(STRANGER, &m);
            net.sends(STRANGER, &m.answer(200));
            let call = |host: &str| Sip {
                start: format!("INVITE sip:{host} SIP/2.0"),
                to: "<sip:6666@pbx>".into(),
                ..call_phone("call")
            };
            let counted = net.sends(ADVERTISED, &call("1000@192.168.1.10")).1;
            assert_eq!(counted, [Counter::OutUnknownRequest], "{contacts}");
            let place = ([10, 0, 0, 5], 5060);
            let to = net.sends(place, &call("6666@10.0.0.5")).0;
            assert_eq!(to, STRANGER, "{contacts}");
        }
    }
}

/// A REGISTER that the kernel drops disputes none of the same name.
#[test]
fn a_register_with_a_wrong_checksum_disputes_none() {
    let net = Network::new();
    let m = register(1, "r", "<sip:1000@192.168.1.10>");
    net.checksum.set(Checksum::Wrong);
    assert_eq!(net.arrives(STRANGER, &m), [Counter::InChecksum]);
    net.checksum.set(Checksum::Right);
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
}

/// Of two REGISTERs of one name, the PBX ignores one, and sipnat cannot tell which.
#[test]
fn two_registers_of_one_name_with_other_contacts_count_for_nothing() {
    let own = "<sip:6666@198.51.100.66:6666>";
    let victims = "<sip:1000@192.168.1.10>";
    let other = "<sip:1000@192.168.1.11>";
    let both = |a: &str, b: &str| format!("{a}, {b}");
    for branch in ["same", "other"] {
        for contacts in [
            [own.into(), victims.into()],
            [both(own, other), both(own, victims)],
            [own.into(), both(own, victims)],
        ] {
            for swapped in [false, true] {
                let mut contacts = contacts.clone();
                if swapped {
                    contacts.reverse();
                }
                let [first, second] = contacts;
                let account = |contacts: &str, branch| Sip {
                    to: "<sip:6666@pbx>".into(),
                    ..register(1, branch, contacts).call("account")
                };
                let net = Network::new();
                net.arrives(STRANGER, &account(&first, "same"));
                let m = account(&second, branch);
                net.arrives(STRANGER, &m);
                let counted = net.sends(STRANGER, &m.answer(200)).1;
                assert_eq!(counted[0], Counter::RegisterNotOwn, "{first} {second}");
            }
        }
    }
    // The same one again counts.
    let net = Network::new();
    let m = register(1, "r", &both(own, victims));
    net.arrives(PHONE, &m);
    net.arrives(PHONE, &m);
    let counted = net.sends(PHONE, &m.answer(200)).1;
    assert!(counted.contains(&Counter::ContactActivated), "{counted:?}");
}

/// A proxy relays a REGISTER for another domain by TCP, which sipnat does not see, and its registrar accepts it.
#[test]
fn a_proxy_accepts_for_its_own_domain_only() {
    let claim = |net: &Network, start: &str| {
        net.wait(1);
        let m = Sip {
            start: format!("REGISTER {start} SIP/2.0"),
            ..forged()
        };
        net.arrives(NEIGHBOUR, &m);
        net.sends(NEIGHBOUR, &m.answer(200)).1[0]
    };
    for (proxy, known, start, counted) in [
        // Nothing is known of the PBX yet.
        (None, false, "sip:friend", Counter::RegisterOtherDomain),
        (
            Some(true),
            false,
            "sip:friend",
            Counter::RegisterOtherDomain,
        ),
        (
            Some(true),
            true,
            "sip:friend:5060;transport=tcp",
            Counter::RegisterOtherDomain,
        ),
        (
            Some(true),
            true,
            "sip:198.51.100.9",
            Counter::RegisterOtherDomain,
        ),
        (
            Some(true),
            true,
            "sip:pbx@friend",
            Counter::RegisterOtherDomain,
        ),
        (
            Some(true),
            true,
            "sip:friend;x=@pbx",
            Counter::RegisterOtherDomain,
        ),
        (
            Some(true),
            true,
            "sip:pbx;x@friend",
            Counter::RegisterOtherDomain,
        ),
        // Its own domain, as text or by its address; or what is no proxy accepts it.
        (
            Some(true),
            false,
            "sip:PBX:5060;transport=udp",
            Counter::ContactActivated,
        ),
        (
            Some(true),
            false,
            "sip:203.0.113.10:5060",
            Counter::ContactActivated,
        ),
        (Some(false), false, "sip:friend", Counter::ContactActivated),
        (Some(false), true, "sip:friend", Counter::ContactMoved),
    ] {
        let net = Network::new();
        match proxy {
            Some(true) => send_on(&net),
            Some(false) => _ = net.sends(UPSTREAM, &call_phone("own")),
            None => {}
        }
        if known {
            net.register();
        }
        assert_eq!(claim(&net, start), counted, "{proxy:?} {start}");
        let accepted = counted != Counter::RegisterOtherDomain;
        let to = match (accepted, known) {
            (true, _) => NEIGHBOUR,
            (false, true) => PHONE,
            (false, false) => ADVERTISED,
        };
        assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, to, "{start}");
    }
}

/// A REGISTER for the proxy's own domain that its Route, port or `maddr` leads elsewhere. A Route may name an outbound proxy:
/// the proxy itself.
#[test]
fn a_proxy_accepts_what_nothing_leads_elsewhere() {
    let (own, friend) = (Counter::ContactActivated, Counter::RegisterOtherDomain);
    for (uri, routes, counted) in [
        ("pbx", &[" <sip:pbx;lr>"][..], own),
        ("pbx", &[" <sip:PBX:5060;lr;transport=UDP>"], own),
        ("203.0.113.10", &[" <sip:203.0.113.10;lr>"], own),
        ("pbx", &[" <sip:203.0.113.10;lr>"], own),
        ("pbx", &["<sip:pbx;lr=on>"], own),
        ("pbx", &[" <sip:friend;lr>"], friend),
        ("pbx", &[" <sip:pbx;lr>", " <sip:friend;lr>"], friend),
        ("pbx", &[" <sip:friend;lr>", " <sip:pbx;lr>"], friend),
        ("pbx", &[" <sip:pbx;lr>,<sip:friend;lr>"], friend),
        ("pbx", &[" <sip:pbx;lr>;x,<sip:friend;lr>"], friend),
        ("pbx", &[" <sip:pbx;lr>\r\n ,<sip:friend;lr>"], friend),
        ("pbx", &[" <sip:pbx ,<sip:friend;lr>"], friend),
        ("pbx", &[" sip:friend;x=<sip:pbx>"], friend),
        ("pbx", &[" \"x\" <sip:pbx;lr>"], friend),
        ("pbx", &[" <abc:pbx;lr>"], friend),
        ("pbx", &["<abc:pbx;lr>"], friend),
        ("pbx", &[" <sip:pbx;maddr=friend;lr>"], friend),
        ("pbx", &[" <sip:pbx:5080;lr>"], friend),
        ("pbx", &[" <sip:x@friend;lr>"], friend),
        ("x@pbx", &[], friend),
        ("pbx;x@friend", &[], friend),
        ("pbx]", &[], friend),
        ("pbx;maddr=friend", &[], friend),
        ("pbx:5080", &[], friend),
        ("pbx;transport=tcp", &[], friend),
        ("pbx?Route=friend", &[], friend),
    ] {
        let net = Network::new();
        send_on(&net);
        let mut m = forged();
        m.start = format!("REGISTER sip:{uri} SIP/2.0");
        for route in routes {
            m = m.with(&format!("Route:{route}"));
        }
        net.arrives(NEIGHBOUR, &m);
        let counters = net.sends(NEIGHBOUR, &m.answer(200)).1;
        assert_eq!(counters[0], counted, "{uri} {routes:?}");
    }
}

/// The last bytes of an IPv6 address are no IPv4 address.
#[test]
fn a_proxy_with_ipv6_has_no_ipv4_address() {
    let text = b"203.0.113.10 pbx>";
    let (end, domain) = (12, 13);
    let mut ours = Endpoint::v4([203, 0, 113, 10], 5060);
    let named = |ours: &Endpoint| names_domain(&text[..], Field::RequestUri, 0, end, domain, ours);
    assert!(named(&ours));
    ours.addr[0] = 1;
    assert!(!named(&ours));
}

/// The far end of a relayed REGISTER writes branch and To of its 2xx. Another REGISTER of the same name that the proxy ignored,
/// or never saw, is not the one that it answers.
#[test]
fn the_far_end_of_a_relayed_register_cannot_make_it_another_one() {
    let start = |uri: &str| format!("REGISTER sip:{uri} SIP/2.0");
    let evil = Sip {
        start: start("friend"),
        ..forged()
    };
    let claims = |first: &Sip, second: &Sip, seen: Checksum, answer: Sip| {
        let net = Network::new();
        send_on(&net);
        net.arrives(NEIGHBOUR, first);
        net.checksum.set(seen);
        net.arrives(NEIGHBOUR, second);
        net.checksum.set(Checksum::Right);
        net.sends(NEIGHBOUR, &answer).1[0]
    };
    let own = forged();
    let own_branch = Sip {
        vias: vec!["other"],
        ..own.clone()
    };
    for (first, second, seen) in [
        (&evil, &own_branch, Checksum::Wrong),
        (&evil, &own_branch, Checksum::Right),
        (&own_branch, &evil, Checksum::Right),
        // With one branch.
        (&evil, &own, Checksum::Right),
        (&own, &evil, Checksum::Right),
    ] {
        for answer in [&evil, &own, &own_branch] {
            let counted = claims(first, second, seen, answer.answer(200));
            let refused = [Counter::RegisterOtherDomain, Counter::OutUnknownResponse];
            assert!(refused.contains(&counted), "{counted:?}");
        }
    }
    // The 2xx names another To than the REGISTER.
    let friends = Sip {
        to: "<sip:1000@friend>".into(),
        ..evil.clone()
    };
    let counted = claims(&friends, &friends, Checksum::Right, evil.answer(200));
    assert_eq!(counted, Counter::RegisterNotOwn);
}

/// Host to which a terminal moves.
const ELSEWHERE: Address = ([198, 51, 100, 66], 40000);

/// Host to which it moves next.
const THIRD: Address = ([192, 0, 2, 77], 40000);

/// The Call-ID of a registration is known to the terminal and the PBX only (RFC 3261 10.2.4).
#[test]
fn a_terminal_is_known_at_another_host_by_its_call_id() {
    for proxy in [false, true] {
        let net = Network::new();
        if proxy {
            send_on(&net);
        }
        net.register();
        net.wait(1);
        let m = register(2, "r2", "<sip:1000@192.168.1.10>");
        net.arrives(ELSEWHERE, &m);
        let counted = net.sends(ELSEWHERE, &m.answer(200)).1;
        assert_eq!(counted[0], Counter::ContactMoved);
        assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, ELSEWHERE);
    }
}

/// The PBX is a proxy: it sends a request on.
fn send_on(net: &Network) {
    let onward = Sip {
        vias: vec!["proxy", "caller"],
        to: "<sip:1000@pbx>".into(),
        ..from_pbx("OPTIONS", 1, "o")
    };
    net.sends(UPSTREAM, &onward);
}

/// A proxy relays answers that others write. A claim under another Call-ID from another host, and the one before, are then
/// in conflict: the PBX's packets are left alone. Whichever came first.
#[test]
fn a_proxy_s_2xx_does_not_move_a_contact_to_another_host() {
    let claims = |net: &Network, known: bool| {
        net.wait(1);
        let m = forged();
        net.arrives(STRANGER, &m);
        // A day at a proxy: that puts the terminal's own contact in doubt for an hour only.
        let granted = if known {
            "Expires: 86400"
        } else {
            "Expires: 3600"
        };
        net.sends(STRANGER, &m.answer(200).with(granted)).1
    };
    let called = |net: &Network, branch| {
        let invite = call_phone(branch).call(branch);
        [0; 4].map(|_| net.sends(ADVERTISED, &invite).0)
    };
    for (stranger_first, known) in [(false, false), (false, true), (true, false), (true, true)] {
        let net = Network::new();
        if known {
            send_on(&net);
        }
        if stranger_first {
            claims(&net, known);
            net.wait(1);
            net.register();
        } else {
            net.register();
            let counted = claims(&net, known);
            assert_eq!(counted[0], Counter::ContactAmbiguous);
        }
        assert_eq!(called(&net, "a"), [ADVERTISED; 4]);
        // The terminal goes on, and the stranger does not.
        for minute in 2..65 {
            net.wait(59);
            let m = register(minute, "again", "<sip:1000@192.168.1.10>");
            net.arrives(PHONE, &m);
            let granted = "Contact: <sip:1000@192.168.1.10>;expires=60";
            net.sends(PHONE, &m.answer(200).with(granted));
        }
        assert_eq!(called(&net, "b")[0], PHONE);
    }
}

#[test]
fn a_proxy_s_2xx_does_not_remove_a_contact() {
    for contact in ["*", "<sip:1000@192.168.1.10>"] {
        for source in [STRANGER, PHONE] {
            let net = Network::new();
            send_on(&net);
            net.register();
            net.wait(1);
            let m = register(9, "evil", contact).with("Expires: 0").call("evil");
            net.arrives(source, &m);
            net.sends(source, &m.answer(200));
            assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, PHONE);
            // The terminal itself does.
            net.wait(1);
            let m = register(2, "r2", contact).with("Expires: 0");
            net.arrives(PHONE, &m);
            net.sends(PHONE, &m.answer(200));
            assert_eq!(net.sends(ADVERTISED, &call_phone("j")).0, ADVERTISED);
        }
    }
}

/// The rightful owner has gone to another network, and its phone has started anew.
#[test]
fn the_host_before_comes_first_until_it_is_silent() {
    let registers = |net: &Network, source, cseq, branch| {
        net.wait(1);
        let m = register(cseq, branch, "<sip:1000@192.168.1.10>");
        let m = if source == ELSEWHERE {
            m.call("anew")
        } else {
            m
        };
        net.arrives(source, &m);
        net.sends(source, &m.answer(200));
    };
    let moved = || {
        let net = Network::new();
        // The PBX is no proxy: it calls by itself.
        let call = Sip {
            start: "INVITE sip:1001@192.0.2.1 SIP/2.0".into(),
            ..call_phone("first")
        };
        net.sends(UPSTREAM, &call);
        registers(&net, PHONE, 1, "r1");
        registers(&net, ELSEWHERE, 2, "r2");
        net
    };
    let answered = |net: &Network, from, m: &Sip| {
        let answer = Sip {
            to: format!("{};tag=callee", m.to),
            ..m.answer(200)
        };
        net.arrives(from, &answer)
    };
    let to_owner = |branch| call_phone(branch);
    let to_uri = |branch| Sip {
        to: "<sip:1000@192.168.1.10>".into(),
        ..call_phone(branch)
    };
    for (call, first) in [(&to_owner as &dyn Fn(_) -> Sip, 0), (&to_uri, 1)] {
        let net = moved();
        let goes = |m: &Sip| net.sends(ADVERTISED, m).0;
        // The host before answers: it stays, in the dialog as well.
        let invite = call("a");
        for _ in 0..first {
            goes(&invite);
        }
        if first == 0 {
            assert_eq!(goes(&invite), PHONE);
            answered(&net, PHONE, &invite);
            let left = |b: &Binding| b.flags.contains(BindingFlags::LEFT_ALONE);
            assert!(!net.active().iter().any(left));
            let bye = from_pbx("BYE", 2, "b").call("incoming").tagged_as("callee");
            assert_eq!(goes(&bye), PHONE);
            // It is silent.
            let invite = call("c").call("c");
            assert_eq!([goes(&invite), goes(&invite)], [PHONE, ELSEWHERE]);
            assert_eq!(answered(&net, ELSEWHERE, &invite)[0], Counter::PeerProven);
            assert_eq!(goes(&call("d").call("d")), ELSEWHERE);
            // It returns, and is left again: what was proven before says nothing.
            registers(&net, PHONE, 3, "r3");
            registers(&net, ELSEWHERE, 4, "r4");
            let invite = call("e").call("e");
            assert_eq!([goes(&invite), goes(&invite)], [PHONE, ELSEWHERE]);
            // A CANCEL goes to the host that had the INVITE last.
            let cancel = Sip {
                start: invite.start.replace("INVITE", "CANCEL"),
                cseq: (1, "CANCEL"),
                ..invite.clone()
            };
            assert_eq!([goes(&cancel), goes(&cancel)], [ELSEWHERE; 2]);
            net.wait(1);
            assert_eq!(goes(&call("f").call("f")), PHONE);
        }
        if first == 0 {
            // Of requests that the PBX sends once, the two hosts take turns. One that comes at once goes where the one before went.
            let net = moved();
            let goes = |branch| net.sends(ADVERTISED, &call(branch).call(branch)).0;
            for (branches, host) in [
                (["g", "h"], PHONE),
                (["i", "j"], ELSEWHERE),
                (["k", "l"], PHONE),
            ] {
                net.wait(1);
                assert_eq!(branches.map(goes), [host; 2], "{branches:?}");
            }
        }
        if first == 0 {
            // In shadow mode it went to neither of them: only the terminal at the original destination can answer.
            let net = moved();
            net.shadow.set(true);
            let invite = call("s");
            assert_eq!(net.sends(ADVERTISED, &invite).0, ADVERTISED);
            let counted = answered(&net, ADVERTISED, &invite);
            assert_eq!(counted[0], Counter::PeerLeftAlone);
        }
        if first == 0 {
            // It goes on to a third host: the first one stays the one that is asked first.
            let net = moved();
            net.wait(1);
            let m = register(3, "r3", "<sip:1000@192.168.1.10>").call("third");
            net.arrives(THIRD, &m);
            net.sends(THIRD, &m.answer(200));
            let invite = call("t");
            let went = [0; 2].map(|_| net.sends(ADVERTISED, &invite).0);
            assert_eq!(went, [PHONE, THIRD]);
        }
        // It registers again: it has never left.
        let net = moved();
        registers(&net, PHONE, 3, "r3");
        let invite = call("e");
        let went = [0; 4].map(|_| net.sends(ADVERTISED, &invite).0);
        assert!(!went.contains(&ELSEWHERE), "{went:?}");
        // Its registration has ended.
        let net = moved();
        net.wait(3599);
        let invite = call("f");
        let went = [0; 4].map(|_| net.sends(ADVERTISED, &invite).0);
        assert!(!went.contains(&PHONE), "{went:?}");
    }
    // Another port of the same host is followed at once.
    let net = Network::new();
    registers(&net, PHONE, 1, "r1");
    registers(&net, MOVED, 2, "r2");
    assert_eq!(net.sends(ADVERTISED, &call_phone("g")).0, MOVED);
}

/// A line that lacks the colon after `Route` is none that could be read: it does not lead to the PBX itself.
#[test]
fn a_route_without_a_colon_names_nobody() {
    for (line, counted) in [
        ("Route: <sip:pbx;lr>", Counter::ContactActivated),
        ("Route <sip:pbx;lr>", Counter::RegisterOtherDomain),
        ("Route  <sip:pbx;lr>", Counter::RegisterOtherDomain),
    ] {
        let net = Network::new();
        send_on(&net);
        let m = forged().with(line);
        net.arrives(NEIGHBOUR, &m);
        let counters = net.sends(NEIGHBOUR, &m.answer(200)).1;
        assert_eq!(counters[0], counted, "{line}");
    }
}
