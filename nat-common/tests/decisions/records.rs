//! Shadow mode and the history of decisions: for people, not for packets.

use nat_common::abi::{Counter, Ground, Policy};
use nat_common::endpoint::Endpoint;

use nat_common::engine::REQUEST_URI;

use crate::{
    ADVERTISED, FORGOTTEN, Network, PHONE, REDIRECTED, Sip, call_phone, from_pbx, from_phone,
    register,
};

#[test]
fn shadow_decides_and_redirects_nothing() {
    let net = Network::new();
    net.shadow.set(true);
    net.call();
    net.wait(1);
    let m = from_pbx("INVITE", 102, "reinvite");
    for _ in 0..9 {
        let (to, counted) = net.sends(FORGOTTEN, &m);
        assert_eq!((to, counted), (FORGOTTEN, vec![REDIRECTED.1]));
    }
    let cancel = from_pbx("CANCEL", 102, "reinvite");
    assert_eq!(net.sends(FORGOTTEN, &cancel).1, [REDIRECTED.1]);
    // The answer shows that the request went to the original destination.
    net.arrives(PHONE, &m.answer(200));
    assert_eq!(
        net.active()[0].learned,
        Endpoint::v4(FORGOTTEN.0, FORGOTTEN.1)
    );
}

#[test]
fn history_tells_what_was_learned_and_why_a_packet_went_where() {
    let net = Network::new();
    net.call();
    net.reinvite("reinvite");
    net.arrives(PHONE, &from_pbx("INVITE", 102, "reinvite").answer(200));
    let history = net.history.borrow();
    let told: Vec<_> = history
        .iter()
        .map(|r| {
            (
                r.status,
                r.cseq,
                Counter::ALL[usize::from(r.verdict)],
                r.original().port,
                r.learned().port,
                r.events,
            )
        })
        .collect();
    let (advertised, phone) = (u32::from(ADVERTISED.1), u32::from(PHONE.1));
    assert_eq!(
        told,
        [
            (
                200,
                1,
                Counter::OutAlreadyThere,
                phone,
                phone,
                Counter::DialogActivated.event_bit()
            ),
            (0, 102, Counter::OutRedirectedDialog, advertised, phone, 0),
            (
                200,
                102,
                Counter::InResponse,
                phone,
                phone,
                Counter::PeerProven.event_bit() | Counter::DialogRefreshed.event_bit()
            ),
        ]
    );
    assert!(
        history
            .iter()
            .all(|r| r.call == history[0].call && r.tag == history[0].tag)
    );
}

#[test]
fn a_record_says_which_evidence_chose() {
    let net = Network::new();
    net.register();
    let ground = || {
        let history = net.history.borrow();
        let last = history.last().unwrap();
        (Ground::from(last.ground), last.transmission, last.weak)
    };
    net.sends(ADVERTISED, &call_phone("a"));
    assert_eq!(ground(), (Ground::Unreachable, 0, 0));
    let invite = call_phone("b");
    net.sends(FORGOTTEN, &invite);
    assert_eq!(ground(), (Ground::First, 1, 0));
    net.sends(FORGOTTEN, &invite);
    assert_eq!(ground(), (Ground::Turn, 2, 0));
    let weak = Sip {
        to: "<sip:1000@192.168.1.10>".into(),
        ..call_phone("c")
    };
    net.sends(ADVERTISED, &weak);
    assert_eq!(ground(), (Ground::First, 1, 1));
    net.policy.set(Policy::Force);
    net.sends(FORGOTTEN, &call_phone("d"));
    assert_eq!(ground(), (Ground::Forced, 0, 0));
}

/// A request without a terminal, or with one in doubt, leaves its Request-URI; one that was redirected does not.
#[test]
fn the_request_uri_of_an_unmatched_request_is_kept() {
    let net = Network::new();
    net.register();
    let call = |branch, uri: &str, to: &str| Sip {
        start: format!("INVITE {uri} SIP/2.0"),
        to: to.into(),
        ..call_phone(branch)
    };
    let long = format!("sip:1000@192.168.1.10;{}", "x".repeat(48));
    for (branch, uri, to, address, kept) in [
        (
            "a",
            "sip:1000@192.168.1.10",
            "<sip:1000@pbx>",
            ADVERTISED,
            None,
        ),
        (
            "b",
            "sip:1000@192.168.1.10;ob",
            "<sip:1000@pbx>",
            FORGOTTEN,
            Some("1000@192.168.1.10;ob"),
        ),
        ("c", &long, "<sip:1000@pbx>", FORGOTTEN, Some(&long[4..52])),
        // The packet goes to another address than the Contact's.
        (
            "d",
            "sip:1000@192.168.1.10",
            "<sip:1000@192.168.1.10>",
            ([198, 51, 100, 9], 5060),
            Some("1000@192.168.1.10"),
        ),
    ] {
        net.history.borrow_mut().clear();
        net.sends(address, &call(branch, uri, to));
        let history = net.history.borrow();
        let last = history.last().unwrap();
        assert_eq!(history.len(), 1 + usize::from(kept.is_some()), "{uri}");
        let text = (last.verdict == REQUEST_URI).then(|| str::from_utf8(last.text()).unwrap());
        assert_eq!(text, kept, "{uri}");
        let first = history[0];
        assert_eq!(
            (first.call, first.at, first.cseq),
            (last.call, last.at, last.cseq)
        );
        assert_ne!(first.verdict, REQUEST_URI);
    }
}

/// Records of messages that belong to a live binding have a ring of their own, which junk does not reach. They have no dialog end, so
/// the INVITE says whose they are.
#[test]
fn a_cancel_and_an_ack_to_a_refusal_belong_to_the_terminal_of_their_invite() {
    for (known, to, bound) in [
        (true, ADVERTISED, 1),
        (true, PHONE, 1),
        (false, ADVERTISED, 0),
    ] {
        let net = Network::new();
        if known {
            net.register();
        }
        let invite = call_phone("a");
        net.sends(to, &invite);
        let of_invite = |method, tag| Sip {
            start: invite.start.replace("INVITE", method),
            cseq: (1, method),
            to: format!("{}{tag}", invite.to),
            ..invite.clone()
        };
        for follows in [of_invite("CANCEL", ""), of_invite("ACK", ";tag=phone")] {
            net.sends(to, &follows);
            let last = *net.history.borrow().last().unwrap();
            let cseq = follows.cseq.1;
            assert_eq!(last.bound, bound, "{cseq}, to {to:?}, known: {known}");
        }
    }
}

/// The entries of a contact without owner have its URI as the PBX lists it; that of the owner has the address-of-record.
#[test]
fn the_listed_uri_is_kept() {
    let net = Network::new();
    let m = register(1, "r", "<sip:1000@192.168.1.10;ob>");
    net.arrives(PHONE, &m);
    let listed = "Contact: <sip:9@9>;expires=9, <sip:1000@192.168.1.10;OB>;expires=60";
    net.sends(PHONE, &m.answer(200).with(listed));
    let contacts = net.contacts();
    assert_eq!(contacts.len(), 3);
    for (key, binding) in contacts {
        let text = &binding.text[..usize::from(binding.text_len)];
        let uri = if key.aor == 0 {
            "1000@192.168.1.10;OB"
        } else {
            "1000@pbx"
        };
        assert_eq!(str::from_utf8(text).unwrap(), uri);
    }
}

/// A response to nothing leaves no record: junk would fill the history.
#[test]
fn a_response_to_nothing_leaves_no_record() {
    for (asked, records) in [(true, 1), (false, 0)] {
        let net = Network::new();
        let invite = call_phone("a");
        if asked {
            net.sends(PHONE, &invite);
        }
        net.history.borrow_mut().clear();
        net.arrives(PHONE, &invite.answer(180).tagged_as("callee"));
        assert_eq!(net.history.borrow().len(), records, "{asked}");
    }
}

/// A response without From's tag names no dialog end, and neither does its record.
#[test]
fn a_response_without_a_tag_names_no_dialog() {
    for (from, named) in [
        ("<sip:1000@pbx>;tag=phone", true),
        ("<sip:1000@pbx>", false),
    ] {
        let net = Network::new();
        let m = Sip {
            from: from.into(),
            ..from_phone("INVITE", 1, "unknown")
        };
        let counted = net.sends(ADVERTISED, &m.answer(200)).1;
        assert_eq!(counted, [Counter::OutUnknownResponse]);
        let tag = net.history.borrow().last().expect("a record").tag;
        assert_eq!(tag != 0, named, "{from}");
    }
}

/// What ends a dialog belongs to it.
#[test]
fn the_end_of_a_dialog_belongs_to_it() {
    let net = Network::new();
    net.call();
    let bye = from_phone("BYE", 2, "b").tagged("pbx");
    net.arrives(PHONE, &bye);
    let counted = net.sends(PHONE, &bye.answer(200)).1;
    assert_eq!(counted, [Counter::DialogEnded, Counter::OutAlreadyThere]);
    assert_eq!(net.history.borrow().last().expect("a record").bound, 1);
}

/// A ping goes to the learned address at once, after the one before was answered there.
#[test]
fn a_record_says_that_a_ping_was_answered() {
    let net = Network::new();
    net.register();
    for (branch, ground, transmission) in [
        ("a", Ground::First, 1),
        ("b", Ground::Turn, 2),
        ("c", Ground::Proven, 1),
    ] {
        let ping = Sip {
            start: "OPTIONS sip:1000@192.168.1.10 SIP/2.0".into(),
            to: "<sip:1000@192.168.1.10>".into(),
            cseq: (1, "OPTIONS"),
            ..call_phone(branch)
        };
        let to = net.sends(ADVERTISED, &ping).0;
        let last = *net.history.borrow().last().expect("a record");
        let told = (Ground::from(last.ground), last.transmission);
        assert_eq!(told, (ground, transmission), "{branch}");
        if to == PHONE {
            net.arrives(PHONE, &ping.answer(200).tagged_as("callee"));
        }
        net.wait(1);
    }
}
