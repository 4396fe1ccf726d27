//! Weak evidence: only its Contact URI names the terminal, as where a PBX writes that URI into To.

use nat_common::abi::{Counter, address};
use nat_common::endpoint::Endpoint;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, STRANGER, Sip, call_phone, from_pbx,
    from_phone, register,
};

const FIRST: Counter = Counter::OutOriginalFirst;
const CALLED: Counter = Counter::OutRedirectedContact;
const FOREIGN: Counter = Counter::OutForeignContact;

/// A trunk that does not register, with a private address.
const TRUNK: Address = ([10, 0, 0, 5], 5060);

/// `owner` registers a Contact from `source`, and the PBX accepts.
fn registers(net: &Network, source: Address, owner: &str, contact: &str) -> Vec<Counter> {
    net.wait(1);
    let domain = if owner.contains('@') { "" } else { "@pbx" };
    let m = Sip {
        to: format!("<sip:{owner}{domain}>"),
        from: format!("<sip:{owner}{domain}>;tag=phone"),
        ..register(1, "r", contact).call(match owner {
            "1000" => "one",
            "2000" => "two",
            _ => "other",
        })
    };
    net.wait(33);
    net.arrives(source, &m);
    net.sends(
        source,
        &m.answer(200)
            .with(&format!("Contact: {contact};expires=3600")),
    )
    .1
}

/// The stranger removes a Contact of `owner`, and the PBX accepts.
fn removes(net: &Network, owner: &str, contact: &str) {
    let m = Sip {
        to: format!("<sip:{owner}@pbx>"),
        ..register(7, "away", &format!("{contact};expires=0")).call(match owner {
            "2000" => "two",
            _ => "other",
        })
    };
    net.arrives(STRANGER, &m);
    net.sends(STRANGER, &m.answer(200));
}

/// INVITE with the Contact URI in To.
fn call(uri: &str, branch: &'static str) -> Sip {
    Sip {
        start: format!("INVITE sip:{uri} SIP/2.0"),
        to: format!("<sip:{uri}>"),
        ..call_phone(branch)
    }
}

fn sent(net: &Network, to: Address, m: &Sip, times: usize) -> Vec<Counter> {
    let send = |_| *net.sends(to, m).1.last().unwrap();
    (0..times).map(send).collect()
}

fn answers(net: &Network, from: Address, m: &Sip) -> Vec<Counter> {
    let answer = Sip {
        to: format!("{};tag=callee", m.to),
        ..m.answer(200)
    };
    net.arrives(from, &answer)
}

const URI: &str = "1000@192.168.1.10";
const CONTACT: &str = "<sip:1000@192.168.1.10>";

#[test]
fn the_original_comes_first_until_the_learned_address_is_proven() {
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    let invite = call(URI, "a");
    assert_eq!(sent(&net, ADVERTISED, &invite, 2), [FIRST, CALLED]);
    assert_eq!(answers(&net, PHONE, &invite)[0], Counter::WeakProven);
    assert_eq!(sent(&net, ADVERTISED, &call(URI, "b"), 1), [CALLED]);
    // The proof moves with its owner.
    registers(&net, MOVED, "1000", CONTACT);
    assert_eq!(net.sends(ADVERTISED, &call(URI, "c")).0, MOVED);
}

/// An answer to the first transmission at the learned address would prove nothing: there is none.
#[test]
fn an_original_that_answers_is_never_followed_again() {
    // Whoever refuses is there, too.
    for status in [200, 404] {
        let net = Network::new();
        registers(&net, PHONE, "1000", CONTACT);
        let invite = call(URI, "a");
        sent(&net, ADVERTISED, &invite, 1);
        net.arrives(ADVERTISED, &invite.answer(status));
        let went = sent(&net, ADVERTISED, &call(URI, "b"), 3);
        assert_eq!(went, [FOREIGN; 3], "{status}");
        // For a day.
        net.wait(25 * 3600);
        registers(&net, PHONE, "1000", CONTACT);
        assert_eq!(sent(&net, ADVERTISED, &call(URI, "c"), 2), [FIRST, CALLED]);
    }
}

/// An account names the victim's address as its own, and answers what the PBX sends there from its own host. That says
/// nothing of the victim's address.
#[test]
fn an_answer_of_another_host_does_not_count_for_an_address() {
    let net = Network::new();
    registers(&net, PHONE, "1000", "<sip:1000@60.17.196.2>");
    registers(&net, STRANGER, "2000", "<sip:2000@60.17.196.2>");
    for status in [100, 200, 404] {
        let options = Sip {
            to: "<sip:2000@pbx>".into(),
            ..call("2000@60.17.196.2", "o")
        };
        assert_eq!(net.sends(FORGOTTEN, &options).0, FORGOTTEN, "{status}");
        net.arrives(STRANGER, &options.answer(status));
        let invite = call("1000@60.17.196.2", "i");
        assert_eq!(
            sent(&net, FORGOTTEN, &invite, 2),
            [FIRST, CALLED],
            "{status}"
        );
        net.wait(33);
    }
}

/// Somebody forges the source of an INVITE, which the PBX answers: the phone's private address.
#[test]
fn a_forged_call_does_not_keep_requests_from_the_phone() {
    for (confirmed, verdicts) in [(false, [FIRST, CALLED]), (true, [FOREIGN; 2])] {
        let net = Network::new();
        registers(&net, PHONE, "1000", CONTACT);
        let other = |m: Sip| Sip {
            from: "<sip:1001@pbx>;tag=phone".into(),
            ..m.call("forged")
        };
        let m = other(from_phone("INVITE", 1, "f"));
        net.arrives(ADVERTISED, &m);
        net.sends(ADVERTISED, &m.answer(200));
        if confirmed {
            net.arrives(ADVERTISED, &other(from_phone("ACK", 1, "g")).tagged("pbx"));
        }
        assert_eq!(sent(&net, ADVERTISED, &call(URI, "i"), 2), verdicts);
    }
}

/// An account registers a trunk's number and address.
#[test]
fn a_trunk_keeps_its_calls() {
    const NUMBER: &str = "+4930@10.0.0.5";
    const CLAIM: &str = "<sip:+4930@10.0.0.5>";
    // On link, routed, a peer: never.
    for kind in [
        address::on_link(2),
        address::LOCAL,
        address::ROUTED,
        address::PEER,
    ] {
        let net = Network::new();
        net.kinds
            .replace(vec![(Endpoint::v4(TRUNK.0, TRUNK.1), kind)]);
        registers(&net, STRANGER, "2000", CLAIM);
        assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 3), [FOREIGN; 3]);
    }
    // It has answered the PBX.
    let net = Network::new();
    let options = call(NUMBER, "o");
    sent(&net, TRUNK, &options, 1);
    answers(&net, TRUNK, &options);
    registers(&net, STRANGER, "2000", CLAIM);
    assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 3), [FOREIGN; 3]);
    // It has called the PBX.
    let net = Network::new();
    registers(&net, TRUNK, "trunk", "<sip:trunk@10.0.0.5>");
    registers(&net, STRANGER, "2000", CLAIM);
    assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 3), [FOREIGN; 3]);
    // It has answered the PBX in a dialog of its own, where sipnat has nothing to choose.
    let net = Network::new();
    let subscribe = from_phone("SUBSCRIBE", 1, "s");
    net.arrives(TRUNK, &subscribe);
    net.sends(TRUNK, &subscribe.answer(200));
    let notify = from_pbx("NOTIFY", 1, "n");
    assert_eq!(sent(&net, TRUNK, &notify, 1), [Counter::OutAlreadyThere]);
    net.arrives(TRUNK, &notify.answer(200));
    registers(&net, STRANGER, "2000", CLAIM);
    assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 3), [FOREIGN; 3]);
    // The account proves its own address for its own address-of-record: that lends it nothing.
    let net = Network::new();
    registers(&net, STRANGER, "2000", CLAIM);
    let own = Sip {
        to: "<sip:2000@pbx>".into(),
        ..call(NUMBER, "own")
    };
    assert_eq!(sent(&net, TRUNK, &own, 1), [CALLED]);
    answers(&net, STRANGER, &own);
    assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 1), [FIRST]);
}

/// An answer that may be one to the first transmission, which went to the original destination, proves nothing.
#[test]
fn a_slow_answer_does_not_prove_the_learned_address() {
    for (seconds, expected) in [(0, CALLED), (1, FIRST)] {
        let net = Network::new();
        registers(&net, PHONE, "1000", CONTACT);
        let invite = call(URI, "a");
        sent(&net, ADVERTISED, &invite, 2);
        net.wait(seconds);
        answers(&net, PHONE, &invite);
        net.wait(1);
        assert_eq!(sent(&net, ADVERTISED, &call(URI, "b"), 1), [expected]);
    }
}

/// Through another proxy, the PBX knows better.
#[test]
fn a_terminal_behind_another_proxy_is_not_followed_by_its_uri() {
    let net = Network::new();
    let m = Sip {
        vias: vec!["r", "phone"],
        ..register(1, "r", CONTACT)
    };
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    let verdicts = sent(&net, ADVERTISED, &call(URI, "a"), 2);
    assert_eq!(verdicts, [Counter::OutNotDirect; 2]);
}

/// A terminal's own public address is that of its NAT, whatever route leads there. One on link, or named, answers by itself.
#[test]
fn a_route_says_nothing_of_a_terminal_s_own_public_address() {
    for (kind, expected) in [
        (address::ROUTED, [FIRST, CALLED]),
        (address::on_link(2), [FOREIGN; 2]),
        (address::PEER, [FOREIGN; 2]),
    ] {
        let net = Network::new();
        let host = Endpoint::v4(FORGOTTEN.0, FORGOTTEN.1);
        net.kinds.replace(vec![(host, kind)]);
        registers(&net, PHONE, "1000", "<sip:1000@60.17.196.2>");
        let invite = call("1000@60.17.196.2", "a");
        assert_eq!(sent(&net, FORGOTTEN, &invite, 2), expected, "{kind}");
    }
}

/// A public address that is not the terminal's own shows no NAT.
#[test]
fn a_public_address_of_another_host_is_never_followed() {
    let net = Network::new();
    let trunk = ([203, 0, 113, 9], 5060);
    registers(&net, STRANGER, "2000", "<sip:+4930@203.0.113.9>");
    for to in [trunk, ([203, 0, 113, 9], 5070)] {
        let m = call("+4930@203.0.113.9", "a");
        assert_eq!(sent(&net, to, &m, 3), [FOREIGN; 3]);
    }
}

#[test]
fn an_owner_with_the_uri_s_user_outranks_one_without() {
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    let counted = registers(&net, STRANGER, "2000", CONTACT);
    assert!(counted.contains(&Counter::ContactOutranked), "{counted:?}");
    let invite = call(URI, "a");
    assert_eq!(net.sends(ADVERTISED, &invite).0, ADVERTISED);
    assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
    // Each is reached by its own address-of-record.
    for (owner, place) in [("1000", PHONE), ("2000", STRANGER)] {
        let m = Sip {
            to: format!("<sip:{owner}@pbx>"),
            ..call(URI, "b")
        };
        assert_eq!(net.sends(ADVERTISED, &m).0, place, "{owner}");
    }
    // In the other order.
    let net = Network::new();
    registers(&net, STRANGER, "2000", CONTACT);
    registers(&net, PHONE, "1000", CONTACT);
    let invite = call(URI, "a");
    net.sends(ADVERTISED, &invite);
    assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE);
}

/// The rightful owner may not have registered again since sipnat started.
#[test]
fn one_without_the_uri_s_user_is_not_followed_in_the_first_hour() {
    let net = Network::new();
    net.settled.set(false);
    registers(&net, STRANGER, "2000", CONTACT);
    assert_eq!(sent(&net, ADVERTISED, &call(URI, "a"), 3), [FOREIGN; 3]);
    registers(&net, PHONE, "1000", CONTACT);
    assert_eq!(sent(&net, ADVERTISED, &call(URI, "b"), 2), [FIRST, CALLED]);
}

/// The PBX looks only at the password, and an account registers a Contact URI as address-of-record. To that is the Contact
/// URI still names no owner, and the user of both is nobody's.
#[test]
fn a_contact_uri_as_address_of_record_is_no_owner() {
    for (uri, contact, to) in [
        ("+4930@10.0.0.5", "<sip:+4930@10.0.0.5>", TRUNK),
        (URI, CONTACT, ADVERTISED),
    ] {
        for settled in [false, true] {
            let net = Network::new();
            net.settled.set(settled);
            // The PBX is no proxy: that would accept it for its own domain only.
            net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
            net.wait(33);
            let m = Sip {
                to: contact.into(),
                ..register(1, "r", contact).call("two")
            };
            net.arrives(STRANGER, &m);
            net.sends(STRANGER, &m.answer(200));
            let went = sent(&net, to, &call(uri, "a"), 2);
            if settled {
                assert_eq!(went, [FIRST, CALLED], "{uri}");
            } else {
                assert_eq!(went, [FOREIGN; 2], "{uri}");
            }
            // The owner of the URI's user outranks it.
            if to == ADVERTISED {
                registers(&net, PHONE, "1000", contact);
                let invite = call(uri, "b");
                let places = [(); 2].map(|()| net.sends(to, &invite).0);
                assert_eq!(places, [to, PHONE]);
            }
        }
    }
}

#[test]
fn equals_at_different_addresses_are_ambiguous_until_one_expires() {
    let net = Network::new();
    const SHARED: &str = "<sip:pbx@192.168.1.10>";
    registers(&net, PHONE, "1000", SHARED);
    let counted = registers(&net, STRANGER, "2000", SHARED);
    assert!(counted.contains(&Counter::ContactAmbiguous), "{counted:?}");
    let invite = call("pbx@192.168.1.10", "a");
    assert_eq!(
        sent(&net, ADVERTISED, &invite, 2),
        [Counter::OutAmbiguous; 2]
    );
    net.wait(3599);
    let invite = call("pbx@192.168.1.10", "b");
    net.sends(ADVERTISED, &invite);
    assert_eq!(net.sends(ADVERTISED, &invite).0, STRANGER);
    // One phone with two accounts is no contradiction.
    let net = Network::new();
    registers(&net, PHONE, "1000", SHARED);
    registers(&net, PHONE, "2000", SHARED);
    assert_eq!(
        sent(&net, ADVERTISED, &call("pbx@192.168.1.10", "a"), 2),
        [FIRST, CALLED]
    );
}

/// INVITE for a number behind a gateway: its host and port, another user.
fn number(branch: &'static str) -> Sip {
    call("0401234567@192.168.1.10", branch)
}

/// A gateway registers. The PBX calls the numbers behind it at its address.
#[test]
fn a_number_behind_a_gateway_is_called_at_its_address() {
    for contact in [
        "<sip:gw1@192.168.1.10>",
        "<sip:gw1@192.168.1.10:5060;line=7>",
        "<sip:192.168.1.10>",
    ] {
        let net = Network::new();
        registers(&net, PHONE, "gw1", contact);
        let first = number("a");
        assert_eq!(sent(&net, ADVERTISED, &first, 2), [FIRST, CALLED]);
        assert!(answers(&net, PHONE, &first).contains(&Counter::WeakProven));
        assert_eq!(sent(&net, ADVERTISED, &number("b"), 1), [CALLED]);
        // To that names the gateway's address-of-record is no weak evidence.
        let named = Sip {
            to: "<sip:gw1@pbx>".into(),
            ..number("c")
        };
        assert_eq!(sent(&net, ADVERTISED, &named, 1), [CALLED]);
        // At another port there is nobody.
        let elsewhere = (ADVERTISED.0, 5070);
        let unknown = Counter::OutUnknownRequest;
        assert_eq!(sent(&net, elsewhere, &number("d"), 2), [unknown; 2]);
        // It is gone with the registration.
        let m = Sip {
            to: "<sip:gw1@pbx>".into(),
            ..register(2, "away", &format!("{contact};expires=0")).call("other")
        };
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        assert_eq!(sent(&net, ADVERTISED, &number("e"), 2), [unknown; 2]);
    }
}

/// Two private networks have the same addresses: which of the two is meant, nobody can tell. The URIs of both are known.
#[test]
fn two_terminals_at_one_address_are_called_by_their_uris_only() {
    let net = Network::new();
    for (source, owner) in [(PHONE, "1000"), (STRANGER, "2000")] {
        let contact = format!("<sip:{owner}@192.168.1.10>");
        let counted = registers(&net, source, owner, &contact);
        assert!(!counted.contains(&Counter::ContactAmbiguous));
    }
    assert_eq!(
        sent(&net, ADVERTISED, &number("a"), 2),
        [Counter::OutUnknownRequest; 2]
    );
    assert_eq!(
        sent(&net, ADVERTISED, &call("2000@192.168.1.10", "b"), 2),
        [FIRST, CALLED]
    );
    // Each of the two may have the user of its URI: neither has a better claim to the address.
    let net = Network::new();
    registers(&net, PHONE, "1000", "<sip:1000@192.168.1.10>");
    registers(&net, STRANGER, "gw1", "<sip:trunk@192.168.1.10>");
    assert_eq!(
        sent(&net, ADVERTISED, &number("a"), 2),
        [Counter::OutUnknownRequest; 2]
    );
}

/// In the first hour another terminal at that address may not have registered yet.
#[test]
fn an_address_is_not_followed_in_the_first_hour() {
    let net = Network::new();
    net.settled.set(false);
    registers(&net, PHONE, "gw1", "<sip:gw1@192.168.1.10>");
    assert_eq!(
        sent(&net, ADVERTISED, &number("a"), 2),
        [Counter::OutUnknownRequest; 2]
    );
    assert_eq!(
        sent(&net, ADVERTISED, &call("gw1@192.168.1.10", "b"), 2),
        [FIRST, CALLED]
    );
}

/// An account registers a trunk's address, without a number of it.
#[test]
fn a_trunk_keeps_the_calls_to_its_address() {
    const NUMBER: &str = "+4930@10.0.0.5";
    const CLAIM: &str = "<sip:2000@10.0.0.5>";
    for kind in [address::on_link(2), address::ROUTED, address::PEER] {
        let net = Network::new();
        net.kinds
            .replace(vec![(Endpoint::v4(TRUNK.0, TRUNK.1), kind)]);
        registers(&net, STRANGER, "2000", CLAIM);
        assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 3), [FOREIGN; 3]);
    }
    let net = Network::new();
    let options = call(NUMBER, "o");
    sent(&net, TRUNK, &options, 1);
    answers(&net, TRUNK, &options);
    registers(&net, STRANGER, "2000", CLAIM);
    assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 3), [FOREIGN; 3]);
}

/// An account registers the number itself, at the gateway's address: the number has no owner, and so names none.
#[test]
fn a_number_behind_a_gateway_is_nobody_s_to_register() {
    let net = Network::new();
    registers(&net, PHONE, "gw1", "<sip:gw1@192.168.1.10>");
    registers(&net, STRANGER, "2000", "<sip:0401234567@192.168.1.10>");
    let invite = number("a");
    let places = [(); 4].map(|()| net.sends(ADVERTISED, &invite).0);
    assert_eq!(places, [ADVERTISED; 4]);
}

/// Phones that share an address are called by their own URIs still: those of their users, names, and those of one NAT.
#[test]
fn a_contact_that_is_no_number_of_another_is_called_by_its_uri() {
    const OTHER: Address = (PHONE.0, 49200);
    for (owner, uri, to, neighbour) in [
        (
            "0401234567",
            "0401234567@192.168.1.10",
            ADVERTISED,
            STRANGER,
        ),
        ("gw1", "s@192.168.1.10", ADVERTISED, STRANGER),
        ("gw1", "0401234567-0x55@192.168.1.10", ADVERTISED, STRANGER),
        ("gw1", "0401234567@60.17.196.2", FORGOTTEN, OTHER),
    ] {
        let net = Network::new();
        let host = uri.split_once('@').unwrap().1;
        registers(&net, PHONE, owner, &format!("<sip:{uri}>"));
        registers(&net, neighbour, "2000", &format!("<sip:2000@{host}>"));
        assert_eq!(sent(&net, to, &call(uri, "a"), 2), [FIRST, CALLED], "{uri}");
    }
    // A number that nobody else's gateway can be meant by: the owner is alone, or another one has been there.
    let net = Network::new();
    const NUMBER: &str = "<sip:0401234567@192.168.1.10>";
    registers(&net, PHONE, "gw1", NUMBER);
    assert_eq!(sent(&net, ADVERTISED, &number("a"), 2), [FIRST, CALLED]);
    registers(&net, STRANGER, "2000", "<sip:2000@192.168.1.10>");
    let ambiguous = Counter::OutAmbiguous;
    assert_eq!(sent(&net, ADVERTISED, &number("b"), 2), [ambiguous; 2]);
    net.wait(3600);
    registers(&net, PHONE, "gw1", NUMBER);
    assert_eq!(sent(&net, ADVERTISED, &number("c"), 2), [FIRST, CALLED]);
}

/// sipnat knows nothing of a dialog, as where somebody disputed its INVITE. The caller has never registered, and another
/// account has a contact with its URI, or its address.
#[test]
fn a_request_within_an_unknown_dialog_goes_to_no_other_account() {
    for (owner, contact) in [
        ("2000", CONTACT),
        ("2000", "<sip:2000@192.168.1.10>"),
        // An account of another domain with the same user.
        ("1000@other", CONTACT),
    ] {
        let net = Network::new();
        // The PBX is no proxy: that would accept a REGISTER for its own domain only.
        net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
        net.wait(33);
        registers(&net, STRANGER, owner, contact);
        let inner = Sip {
            to: "<sip:1000@pbx>;tag=caller".into(),
            ..call(URI, "a")
        };
        let unknown = Counter::OutUnknownRequest;
        assert_eq!(sent(&net, ADVERTISED, &inner, 4), [unknown; 4], "{owner}");
        if owner == "2000" {
            let inner = Sip {
                to: format!("<sip:{URI}>;tag=callee"),
                ..call(URI, "c")
            };
            assert_eq!(sent(&net, ADVERTISED, &inner, 4), [unknown; 4]);
        }
        // The owner of the URI's user has a better claim: a call may have been up when sipnat started.
        registers(&net, PHONE, "1000", CONTACT);
        let inner = Sip {
            to: format!("<sip:{URI}>;tag=callee"),
            ..call(URI, "b")
        };
        if owner == "2000" {
            assert_eq!(sent(&net, ADVERTISED, &inner, 2), [FIRST, CALLED]);
        }
    }
}

/// sipnat could not follow the victim's REGISTERs: somebody disputed them. To names the victim by its address-of-record. No
/// other account has a claim to its contact, be it by the URI or by the address.
#[test]
fn a_contact_of_another_is_not_that_of_the_user_in_to() {
    for contact in [CONTACT, "<sip:2000@192.168.1.10>"] {
        let net = Network::new();
        registers(&net, STRANGER, "2000", contact);
        let unknown = Counter::OutUnknownRequest;
        assert_eq!(sent(&net, ADVERTISED, &call_phone("a"), 4), [unknown; 4]);
    }
    // A group is called: To names another user.
    let net = Network::new();
    registers(&net, PHONE, "2000", CONTACT);
    let group = Sip {
        to: "<sip:5000@pbx>".into(),
        ..call(URI, "b")
    };
    assert_eq!(sent(&net, ADVERTISED, &group, 2), [FIRST, CALLED]);
}

/// An account registers the victim's Contact URI from the victim's address, which it forges, and then from its own.
#[test]
fn who_registers_from_a_forged_address_first_takes_no_claim_over() {
    // Where the user of the URI is not that of the victim's address-of-record, both claims are equal.
    for (victim, left) in [("1000", CALLED), ("1010", Counter::OutAmbiguous)] {
        let net = Network::new();
        registers(&net, PHONE, victim, CONTACT);
        let invite = call(URI, "a");
        sent(&net, ADVERTISED, &invite, 2);
        answers(&net, PHONE, &invite);
        registers(&net, PHONE, "2000", CONTACT);
        // The claim and its proof are the victim's still.
        let (to, counted) = net.sends(ADVERTISED, &call(URI, "b"));
        assert_eq!((to, counted), (PHONE, vec![CALLED]), "{victim}");
        registers(&net, STRANGER, "2000", CONTACT);
        let invite = call(URI, "c");
        assert_eq!(sent(&net, ADVERTISED, &invite, 1), [left], "{victim}");
        assert_ne!(net.sends(ADVERTISED, &invite).0, STRANGER);
        // Nor does it take the claim by the address over.
        let number = call("0401234567@192.168.1.10", "d");
        for _ in 0..3 {
            assert_ne!(net.sends(ADVERTISED, &number).0, STRANGER, "{victim}");
        }
    }
}

/// One phone with two accounts, which have one Contact URI. The claim outlasts the account that registered first.
#[test]
fn two_accounts_of_one_phone_share_a_claim() {
    for second in ["2000", "1000"] {
        let net = Network::new();
        registers(&net, PHONE, "1010", CONTACT);
        registers(&net, PHONE, second, CONTACT);
        assert_eq!(sent(&net, ADVERTISED, &call(URI, "a"), 2), [FIRST, CALLED]);
        net.wait(3600 - 34);
        registers(&net, PHONE, second, CONTACT);
        net.wait(3500);
        let invite = call(URI, "b");
        net.sends(ADVERTISED, &invite);
        assert_eq!(net.sends(ADVERTISED, &invite).0, PHONE, "{second}");
    }
}

/// A PBX's OPTIONS that it sends once, as Kamailio's nathelper does.
fn ping(branch: &'static str) -> Sip {
    Sip {
        start: format!("OPTIONS sip:{URI} SIP/2.0"),
        cseq: (1, "OPTIONS"),
        ..call(URI, branch).call(branch)
    }
}

/// Sends pings, each a second after the one before and answered where `answered` says. Returns where they went.
fn pings(net: &Network, branches: &[&'static str], answered: &[Address]) -> Vec<Address> {
    let send = |branch| {
        net.wait(1);
        let m = ping(branch);
        let to = net.sends(ADVERTISED, &m).0;
        if answered.contains(&to) {
            answers(net, to, &m);
        }
        to
    };
    branches.iter().map(|branch| send(*branch)).collect()
}

/// The next ping goes where the one before was not sent, until one is answered.
#[test]
fn pings_take_turns_until_one_is_answered() {
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    let went = pings(&net, &["a", "b", "c", "d"], &[]);
    assert_eq!(went, [ADVERTISED, PHONE, ADVERTISED, PHONE]);
    let went = pings(&net, &["e", "f", "g"], &[PHONE]);
    assert_eq!(went, [ADVERTISED, PHONE, PHONE]);
    // The phone is gone: in turn again.
    let went = pings(&net, &["h", "i", "j"], &[]);
    assert_eq!(went, [PHONE, ADVERTISED, PHONE]);
    // It moves, and is asked there next.
    registers(&net, MOVED, "1000", CONTACT);
    let went = pings(&net, &["k", "l", "m"], &[MOVED]);
    assert_eq!(went, [ADVERTISED, MOVED, MOVED]);
}

#[test]
fn an_original_that_answers_pings_gets_them() {
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    let went = pings(&net, &["a", "b", "c"], &[ADVERTISED]);
    assert_eq!(went, [ADVERTISED; 3]);
    // The same if the phone's own host answers for it: the ping has arrived.
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    for branch in ["a", "b", "c"] {
        net.wait(1);
        let m = ping(branch);
        assert_eq!(net.sends(ADVERTISED, &m).0, ADVERTISED);
        answers(&net, PHONE, &m);
    }
    // The answer to the ping before may still be on its way.
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    net.sends(ADVERTISED, &ping("a"));
    assert_eq!(net.sends(ADVERTISED, &ping("b")).0, ADVERTISED);
}

/// A trunk that does not answer OPTIONS, and that an account claims and answers for. Its calls stay its own.
#[test]
fn pings_lend_no_calls() {
    let net = Network::new();
    registers(&net, STRANGER, "2000", CONTACT);
    let went = pings(&net, &["a", "b", "c"], &[STRANGER]);
    assert_eq!(went, [ADVERTISED, STRANGER, STRANGER]);
    assert_eq!(sent(&net, ADVERTISED, &call(URI, "i"), 1), [FIRST]);
    // Another request that is sent once does not take turns.
    for branch in ["m", "n", "o"] {
        net.wait(1);
        let m = Sip {
            start: format!("MESSAGE sip:{URI} SIP/2.0"),
            cseq: (1, "MESSAGE"),
            ..call(URI, branch).call(branch)
        };
        assert_eq!(sent(&net, ADVERTISED, &m, 1), [FIRST]);
    }
    // Nor does one to somebody else at that address.
    let other = Sip {
        start: "OPTIONS sip:trunk@192.168.1.10 SIP/2.0".into(),
        to: "<sip:trunk@192.168.1.10>".into(),
        ..ping("p")
    };
    net.wait(1);
    assert_eq!(net.sends(ADVERTISED, &other).0, ADVERTISED);
}

/// A PBX that repeats its OPTIONS has them answered at the learned address by itself: the first transmission stays the
/// original destination's, until that is proven.
#[test]
fn pings_that_are_repeated_take_no_turns() {
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    for branch in ["a", "b"] {
        net.wait(1);
        let m = ping(branch);
        assert_eq!(sent(&net, ADVERTISED, &m, 3), [FIRST, CALLED, FIRST]);
    }
    net.wait(1);
    let m = ping("c");
    assert_eq!(sent(&net, ADVERTISED, &m, 2), [FIRST, CALLED]);
    assert_eq!(answers(&net, PHONE, &m)[0], Counter::WeakProven);
}

/// The host of the Contact is a name. Whether the address to which the PBX resolves it is the phone's, nobody knows.
#[test]
fn a_host_name_is_not_followed_by_the_uri() {
    let net = Network::new();
    registers(&net, PHONE, "1000", "<sip:1000@phone.local>");
    for to in [ADVERTISED, FORGOTTEN] {
        assert_eq!(
            sent(&net, to, &call("1000@phone.local", "a"), 3),
            [FOREIGN; 3]
        );
    }
    let named = Sip {
        to: "<sip:1000@pbx>".into(),
        ..call("1000@PHONE.local", "b")
    };
    assert_eq!(sent(&net, ADVERTISED, &named, 1), [CALLED]);
    // It has no place in the claims by address.
    let number = call("0401234567@phone.local", "c");
    assert_eq!(
        sent(&net, ADVERTISED, &number, 1),
        [Counter::OutUnknownRequest]
    );
}

/// Asterisk's `chan_pjsip` leaves the port out of To: that is still the Contact URI, and no address-of-record.
#[test]
fn to_without_the_port_of_the_contact_names_no_owner() {
    let call = |branch, user: &str, host: &str| Sip {
        start: format!("INVITE sip:{user}@192.168.1.10:5060 SIP/2.0"),
        to: format!("<sip:{user}@{host}>"),
        ..call_phone(branch)
    };
    let net = Network::new();
    registers(&net, PHONE, "1000", "<sip:line-7f3a@192.168.1.10:5060>");
    // A number behind it, too.
    for (branch, user) in [("a", "line-7f3a"), ("b", "0401234567")] {
        let invite = call(branch, user, "192.168.1.10");
        assert_eq!(
            sent(&net, ADVERTISED, &invite, 2),
            [FIRST, CALLED],
            "{user}"
        );
    }
    // Another host is that of an address-of-record.
    for (branch, user) in [("c", "line-7f3a"), ("d", "0401234567")] {
        let invite = call(branch, user, "pbx");
        let counted = sent(&net, ADVERTISED, &invite, 2);
        assert_eq!(counted, [Counter::OutUnknownRequest; 2], "{user}");
    }
}

/// An account registers the victim's Contact URI, without its port, as its address-of-record: that owns no more than the URI
/// itself would.
#[test]
fn a_contact_uri_without_its_port_as_address_of_record_is_no_owner() {
    for (user, settled) in [("1000", true), ("line-7f3a", true), ("line-7f3a", false)] {
        let contact = format!("<sip:{user}@192.168.1.10:5070>");
        let place = ([192, 168, 1, 10], 5070);
        let net = Network::new();
        net.settled.set(settled);
        net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
        registers(&net, PHONE, "1000", &contact);
        let aor = format!("{user}@192.168.1.10");
        registers(&net, STRANGER, &aor, &contact);
        let invite = Sip {
            start: format!("INVITE sip:{aor}:5070 SIP/2.0"),
            to: format!("<sip:{aor}>"),
            ..call_phone("a")
        };
        let went = [(); 4].map(|()| net.sends(place, &invite).0);
        assert!(!went.contains(&STRANGER), "{user} {settled}: {went:?}");
        // The owner whose user it is keeps its calls.
        assert_eq!(went.contains(&PHONE), user == "1000", "{went:?}");
    }
}

/// An address-of-record whose domain is the address in the Contact names an owner, if its user is another one.
#[test]
fn an_address_of_record_at_the_address_of_its_contact_names_an_owner() {
    let net = Network::new();
    net.settled.set(false);
    net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
    registers(
        &net,
        PHONE,
        "1000@60.17.196.2",
        "<sip:line-7f3a@60.17.196.2:5070>",
    );
    let invite = Sip {
        start: "INVITE sip:line-7f3a@60.17.196.2:5070 SIP/2.0".into(),
        to: "<sip:1000@60.17.196.2>".into(),
        ..call_phone("a")
    };
    let place = ([60, 17, 196, 2], 5070);
    assert_eq!(sent(&net, place, &invite, 2), [FIRST, CALLED]);
}

/// A Contact URI is no owner either if its host is a long name.
#[test]
fn a_contact_uri_with_a_long_host_as_address_of_record_is_no_owner() {
    let host = format!("{}.example", "gateway.".repeat(9));
    let net = Network::new();
    net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
    let (uri, contact) = (format!("1000@{host}"), format!("<sip:1000@{host}>"));
    registers(&net, STRANGER, &uri, &contact);
    let went = sent(&net, ADVERTISED, &call(&uri, "a"), 2);
    assert_eq!(went, [FOREIGN; 2]);
}

/// An account registers its own Contact and the victim's Contact URI in one REGISTER. The user of the first one is not that of
/// the other.
#[test]
fn the_user_of_one_contact_is_not_that_of_another() {
    let net = Network::new();
    net.settled.set(false);
    registers(
        &net,
        STRANGER,
        "2000",
        "<sip:2000@10.0.0.9>, <sip:1000@192.168.1.10>",
    );
    assert_eq!(sent(&net, ADVERTISED, &call(URI, "a"), 2), [FOREIGN; 2]);
}

/// A gateway whose registration has ended has no numbers any more.
#[test]
fn a_number_behind_a_gateway_that_is_gone_is_the_account_s() {
    let net = Network::new();
    registers(&net, PHONE, "2000", "<sip:0401234567@10.0.0.5>");
    net.wait(1);
    let m = register(1, "g", "<sip:gw@10.0.0.5>").call("gateway");
    net.arrives(STRANGER, &m);
    net.sends(
        STRANGER,
        &m.answer(200).with("Contact: <sip:gw@10.0.0.5>;expires=60"),
    );
    let number = |branch| call("0401234567@10.0.0.5", branch);
    let ambiguous = [Counter::OutAmbiguous; 2];
    assert_eq!(sent(&net, TRUNK, &number("a"), 2), ambiguous);
    net.wait(60);
    assert_eq!(sent(&net, TRUNK, &number("b"), 2), [FIRST, CALLED]);
}

/// An account has the claim to the victim's Contact URI until the victim registers. What the account answers then proves nothing
/// of the victim's address.
#[test]
fn an_answer_does_not_prove_the_address_of_the_next_owner() {
    let net = Network::new();
    registers(&net, STRANGER, "2000", CONTACT);
    let invite = call(URI, "a");
    assert_eq!(sent(&net, ADVERTISED, &invite, 2), [FIRST, CALLED]);
    let m = register(1, "r1", CONTACT);
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    answers(&net, STRANGER, &invite);
    assert_eq!(sent(&net, ADVERTISED, &call(URI, "b"), 1), [FIRST]);
}

/// An address of the terminal's own host: what is known of it counts, but not that a route leads there, nor that another
/// terminal of that host has it.
#[test]
fn an_address_of_the_same_host() {
    let uri = "1000@60.17.196.2";
    let contact = "<sip:1000@60.17.196.2>";
    for (kind, went) in [
        (0, FIRST),
        (address::ROUTED, FIRST),
        (address::LOCAL, FOREIGN),
        (address::BROADCAST, FOREIGN),
        (address::on_link(2), FOREIGN),
        (address::PEER, FOREIGN),
    ] {
        let net = Network::new();
        registers(&net, PHONE, "1000", contact);
        let to = Endpoint::v4(FORGOTTEN.0, FORGOTTEN.1);
        net.kinds.replace(vec![(to, kind)]);
        assert_eq!(sent(&net, FORGOTTEN, &call(uri, "a"), 1), [went], "{kind}");
    }
    let net = Network::new();
    registers(&net, PHONE, "1000", contact);
    registers(&net, FORGOTTEN, "2000", "<sip:2000@192.168.1.11>");
    assert_eq!(sent(&net, FORGOTTEN, &call(uri, "a"), 2), [FIRST, CALLED]);
}

/// An account registers a number, and removes another Contact of the same address: the entry of that address goes along. The
/// gateway that registers there next is still the one that the number means.
#[test]
fn a_number_is_the_gateway_s_that_registers_later() {
    let net = Network::new();
    registers(&net, STRANGER, "2000", "<sip:0401234567@192.168.1.10>");
    net.wait(1);
    removes(&net, "2000", "<sip:x@192.168.1.10>");
    registers(&net, PHONE, "gw1", "<sip:gw1@192.168.1.10>");
    let ambiguous = Counter::OutAmbiguous;
    assert_eq!(sent(&net, ADVERTISED, &number("a"), 2), [ambiguous; 2]);
}

/// An account has a trunk's URI as its address-of-record, and proves its own address in a call that names this owner. That lends it
/// nothing of the calls that only the URI names.
#[test]
fn a_proof_for_an_owner_is_none_for_a_uri_of_that_name() {
    const NUMBER: &str = "+4930@10.0.0.5";
    let net = Network::new();
    // The PBX is no proxy: that would accept a REGISTER for its own domain only.
    net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
    registers(&net, STRANGER, NUMBER, "<sip:+4930@10.0.0.5>");
    registers(&net, STRANGER, NUMBER, "<sip:own@198.51.100.66>");
    let own = Sip {
        to: format!("<sip:{NUMBER}>"),
        ..call("own@198.51.100.66", "own")
    };
    let listens = (STRANGER.0, 5060);
    assert_eq!(sent(&net, listens, &own, 2), [FIRST, CALLED]);
    let counted = answers(&net, STRANGER, &own);
    assert_eq!(counted[0], Counter::PeerProven);
    assert!(!counted.contains(&Counter::WeakProven), "{counted:?}");
    assert_eq!(sent(&net, TRUNK, &call(NUMBER, "a"), 1), [FIRST]);
}

/// The PBX sends the second transmission to the learned address by itself: its answer does not show that sipnat has to.
#[test]
fn what_the_pbx_itself_sends_to_the_learned_address_proves_no_uri() {
    let net = Network::new();
    registers(&net, PHONE, "1000", CONTACT);
    let invite = call(URI, "a");
    assert_eq!(sent(&net, ADVERTISED, &invite, 1), [FIRST]);
    let there = Counter::OutAlreadyThere;
    assert_eq!(sent(&net, PHONE, &invite, 1), [there]);
    let counted = answers(&net, PHONE, &invite);
    assert!(!counted.contains(&Counter::WeakProven), "{counted:?}");
    assert_eq!(sent(&net, ADVERTISED, &call(URI, "b"), 1), [FIRST]);
}

/// The contact has moved to another host, and its registration at the one before lasts. It is reached by its URI.
#[test]
fn a_contact_at_two_hosts_is_reached_by_its_uri() {
    let net = Network::new();
    net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
    for (source, name) in [(PHONE, "a"), (STRANGER, "b")] {
        let m = register(1, name, CONTACT).call(name);
        net.arrives(source, &m);
        net.sends(source, &m.answer(200));
        net.wait(1);
    }
    let invite = call(URI, "i");
    let went = [(); 4].map(|()| net.sends(ADVERTISED, &invite).0);
    assert_eq!(went, [ADVERTISED, PHONE, STRANGER, ADVERTISED]);
}

/// Two owners have equal claims. One of them removes its own, and registers again: the doubt lasts as long as the claim of the
/// other one, which has not registered anew.
#[test]
fn a_claim_that_is_made_again_is_still_in_doubt() {
    const SHARED: &str = "<sip:0401234567@192.168.1.10>";
    for evil in [
        SHARED,
        "<sip:0401234567@192.168.1.10>, <sip:x@192.168.1.10>",
    ] {
        for victim in [SHARED, "<sip:gw1@192.168.1.10>"] {
            let net = Network::new();
            net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
            registers(&net, PHONE, "gw1", victim);
            registers(&net, STRANGER, "2000", evil);
            let ambiguous = Counter::OutAmbiguous;
            assert_eq!(sent(&net, ADVERTISED, &number("a"), 2), [ambiguous; 2]);
            for gone in [SHARED, "<sip:x@192.168.1.10>"] {
                net.wait(34);
                removes(&net, "2000", gone);
                registers(&net, STRANGER, "2000", evil);
                let invite = number("b");
                let went = [(); 2].map(|()| net.sends(ADVERTISED, &invite).0);
                assert!(!went.contains(&STRANGER), "{evil} {victim} {gone}");
            }
        }
    }
}

/// Two strangers claim the URI of a phone that is not registered, and one of them removes its claim. The phone outranks both, and is
/// in no doubt when it comes back.
#[test]
fn a_doubt_between_others_is_not_the_rightful_owner_s() {
    for removed in [false, true] {
        let net = Network::new();
        registers(&net, MOVED, "2000", CONTACT);
        registers(&net, STRANGER, "3000", CONTACT);
        if removed {
            net.wait(34);
            removes(&net, "3000", CONTACT);
        }
        registers(&net, PHONE, "1000", CONTACT);
        let invite = call(URI, "a");
        let went = [(); 2].map(|()| net.sends(ADVERTISED, &invite).0);
        assert!(went.contains(&PHONE), "{removed}: {went:?}");
    }
}

/// So it is if the claim had expired. The owner that goes on is alone again once the registration has ended with which it was in
/// doubt.
#[test]
fn a_doubt_outlasts_a_claim_that_has_expired() {
    const SHARED: &str = "<sip:0401234567@192.168.1.10>";
    for again in [true, false] {
        let net = Network::new();
        net.sends(TRUNK, &call("1@10.0.0.5", "trunk"));
        registers(&net, PHONE, "gw1", SHARED);
        let m = Sip {
            to: "<sip:2000@pbx>".into(),
            ..register(7, "short", SHARED).call("two")
        };
        net.arrives(STRANGER, &m);
        net.sends(STRANGER, &m.answer(200).with("Expires: 60"));
        net.wait(61);
        if again {
            registers(&net, STRANGER, "2000", SHARED);
            let invite = number("a");
            let went = [(); 2].map(|()| net.sends(ADVERTISED, &invite).0);
            assert!(!went.contains(&STRANGER), "{went:?}");
            continue;
        }
        for _ in 0..2 {
            net.wait(1800);
            registers(&net, PHONE, "gw1", SHARED);
        }
        let invite = number("b");
        let went = [(); 2].map(|()| net.sends(ADVERTISED, &invite).0);
        assert_eq!(went, [ADVERTISED, PHONE]);
    }
}
