//! Packets that are left alone: by policy, behind a proxy, with a Route, or already at the right address.

use nat_common::abi::{Counter, Policy};

use crate::{ADVERTISED, Network, PHONE, Sip, call_phone, from_pbx, from_phone};

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
            let net = Network::new();
            net.policy.set(policy);
            net.arrives(PHONE, &invite);
            net.sends(PHONE, &invite.answer(200));
            assert_eq!(net.reinvite("r").1, [verdict], "{policy} {direct}");
        }
    }
}

#[test]
fn a_response_with_more_record_routes_came_through_a_proxy() {
    let net = Network::new();
    let invite = call_phone("i");
    net.sends(PHONE, &invite);
    let answer = Sip {
        to: "<sip:1000@pbx>;tag=phone".into(),
        ..invite.answer(200)
    };
    net.arrives(PHONE, &answer.with("Record-Route: <sip:edge;lr>"));
    let bye = from_pbx("BYE", 2, "b").call("incoming");
    assert_eq!(
        net.sends(ADVERTISED, &bye),
        (ADVERTISED, vec![Counter::OutNotDirect])
    );
}

#[test]
fn a_route_is_aimed_at_another_hop() {
    let net = Network::new();
    net.call();
    let m = from_pbx("BYE", 2, "b").with("Route: <sip:edge;lr>");
    assert_eq!(
        net.sends(ADVERTISED, &m),
        (ADVERTISED, vec![Counter::OutRoute])
    );
}

/// FreeSWITCH repeats the Request-URI in a Route.
#[test]
fn a_route_that_names_the_target_is_no_other_hop() {
    for (route, to, leads) in [
        (" <sip:1000@192.168.1.10>", ADVERTISED, true),
        ("<sip:192.168.1.10:5060;lr>", ADVERTISED, true),
        (
            " <sip:1000@192.168.1.10:5060;transport=udp>",
            ADVERTISED,
            true,
        ),
        // To another port, another host, or to two of them.
        (" <sip:192.168.1.10:5080;lr>", ADVERTISED, false),
        (
            " <sip:192.168.1.10:5080;lr>",
            ([192, 168, 1, 10], 5080),
            true,
        ),
        (" <sip:192.168.1.1;lr>", ADVERTISED, false),
        (" <sip:192.168.1.100;lr>", ADVERTISED, false),
        (" <sip:192.168.1.10;maddr=192.0.2.1>", ADVERTISED, false),
        (" <sip:192.168.1.10;lr>, <sip:edge;lr>", ADVERTISED, false),
        (
            " <sip:192.168.1.10;lr>\r\n ,<sip:edge;lr>",
            ADVERTISED,
            false,
        ),
        (
            " <sip:192.168.1.10;lr>\r\nRoute: <sip:edge;lr>",
            ADVERTISED,
            false,
        ),
        (
            " <sip:edge;lr>\r\nRoute: <sip:192.168.1.10;lr>",
            ADVERTISED,
            false,
        ),
        (" sip:192.168.1.10;lr", ADVERTISED, false),
        (" <abc:192.168.1.10;lr>", ADVERTISED, false),
    ] {
        let net = Network::new();
        net.call();
        let m = from_pbx("OPTIONS", 2, "o").with(&format!("Route:{route}"));
        let counter = if leads {
            Counter::OutRedirectedDialog
        } else {
            Counter::OutRoute
        };
        let went = (if leads { PHONE } else { to }, vec![counter]);
        assert_eq!(net.sends(to, &m), went, "{route}");
    }
}

#[test]
fn what_needs_nothing_is_left() {
    let net = Network::new();
    net.call();
    assert_eq!(
        net.sends(PHONE, &from_pbx("BYE", 2, "b")),
        (PHONE, vec![Counter::OutAlreadyThere])
    );
}

/// In shadow mode, an INVITE went to its original destination: that says nothing of where a CANCEL would go.
#[test]
fn a_cancel_in_shadow_mode_goes_by_its_contact() {
    let net = Network::new();
    net.register();
    net.shadow.set(true);
    let invite = call_phone("i");
    let cancel = Sip {
        start: invite.start.replace("INVITE", "CANCEL"),
        cseq: (1, "CANCEL"),
        ..invite.clone()
    };
    for m in [invite, cancel] {
        let went = net.sends(ADVERTISED, &m);
        assert_eq!(went, (ADVERTISED, vec![Counter::OutRedirectedContact]));
    }
}
