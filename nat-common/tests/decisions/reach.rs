//! Reach: the learned and the original address of a terminal, and which of them answers.

use nat_common::abi::{BindingFlags, Counter, Policy};
use nat_common::endpoint::Endpoint;

use crate::{
    ADVERTISED, Address, MOVED, Network, PHONE, REDIRECTED, call_phone, from_pbx, from_phone,
    register, transmissions,
};

const UNANSWERED: (Address, Counter) = (ADVERTISED, Counter::OutUnanswered);

const LEFT_ALONE: (Address, Counter) = (ADVERTISED, Counter::OutLeftAlone);

/// Source of a phone that has no NAT and listens on another port.
const PUBLIC: Address = ([60, 17, 196, 2], 40000);

#[test]
fn the_fifth_transmission_goes_where_the_pbx_means() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    assert_eq!(
        transmissions(&net, &m, 8),
        [
            REDIRECTED, REDIRECTED, REDIRECTED, REDIRECTED, UNANSWERED, REDIRECTED, UNANSWERED,
            REDIRECTED
        ]
    );
    // No answer came from either address: the next request is redirected first.
    assert_eq!(net.reinvite("next"), (PHONE, vec![REDIRECTED.1]));
    // Policy `force` always redirects.
    net.policy.set(Policy::Force);
    let m = from_pbx("UPDATE", 103, "update");
    assert_eq!(transmissions(&net, &m, 6), [REDIRECTED; 6]);
}

#[test]
fn a_terminal_that_answers_there_is_left_alone() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&net, &m, 5);
    assert_eq!(
        net.arrives(PHONE, &m.answer(200)),
        [
            Counter::PeerLeftAlone,
            Counter::DialogRefreshed,
            Counter::InResponse
        ]
    );
    let binding = net.active()[0];
    assert!(binding.flags.contains(BindingFlags::LEFT_ALONE));
    assert_eq!(binding.learned, Endpoint::v4(PHONE.0, PHONE.1));
    // This holds in other dialogs and for the registration, too.
    let m = from_pbx("BYE", 103, "bye");
    assert_eq!(transmissions(&net, &m, 4), [LEFT_ALONE; 4]);
    // It ends when a request there gets no answer and the learned address does answer.
    assert_eq!(transmissions(&net, &m, 1), [REDIRECTED]);
    assert_eq!(net.arrives(PHONE, &m.answer(200))[0], Counter::PeerProven);
    assert_eq!(net.reinvite("again"), (PHONE, vec![REDIRECTED.1]));
    assert!(!net.active()[0].flags.contains(BindingFlags::LEFT_ALONE));
}

#[test]
fn a_terminal_is_left_alone_in_all_its_dialogs_and_contacts() {
    let net = Network::new();
    net.call();
    net.register();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&net, &m, 5);
    net.arrives(PHONE, &m.answer(200));
    let (to, counted) = net.sends(ADVERTISED, &call_phone("incoming"));
    assert_eq!((to, counted), (ADVERTISED, vec![Counter::OutLeftAlone]));
    assert!(
        net.contacts()
            .values()
            .any(|c| c.flags.contains(BindingFlags::LEFT_ALONE))
    );
    // Another original destination has not answered.
    let elsewhere = ([192, 168, 1, 10], 5060);
    let (to, _) = net.sends(elsewhere, &from_pbx("INFO", 104, "info"));
    assert_eq!(to, PHONE);
}

#[test]
fn a_terminal_that_has_answered_where_it_was_learned_is_not_doubted() {
    let net = Network::new();
    net.call();
    let m = from_pbx("OPTIONS", 102, "options");
    transmissions(&net, &m, 1);
    assert_eq!(net.arrives(PHONE, &m.answer(200))[0], Counter::PeerProven);
    let m = from_pbx("INVITE", 103, "reinvite");
    assert_eq!(transmissions(&net, &m, 9), [REDIRECTED; 9]);
    // The proof lasts half a day.
    net.wait(13 * 3600);
    net.call();
    let m = from_pbx("INFO", 104, "info");
    assert_eq!(transmissions(&net, &m, 5)[4], UNANSWERED);
}

#[test]
fn a_repeated_request_draws_a_response_where_its_via_says() {
    let net = Network::new();
    let m = register(1, "r1", "<sip:1000@60.17.196.2>");
    let answer = m.answer(401);
    let next = |net: &Network| net.sends(ADVERTISED, &answer).0;
    assert_eq!(net.arrives(PUBLIC, &m), [Counter::InRequest]);
    for _ in 0..2 {
        assert_eq!(next(&net), PUBLIC);
        net.arrives(PUBLIC, &m);
    }
    // Two responses did not arrive. Only the third goes to the original destination, once.
    assert_eq!(next(&net), ADVERTISED);
    assert_eq!(next(&net), PUBLIC);
    // Another request is no proof: anybody can send one.
    let again = register(2, "r2", "<sip:1000@60.17.196.2>");
    net.arrives(PUBLIC, &again);
    assert_eq!(net.sends(ADVERTISED, &again.answer(200)).0, PUBLIC);
}

#[test]
fn a_private_address_is_not_believed_to_get_responses() {
    let net = Network::new();
    let via = ([192, 168, 1, 10], 5060);
    let m = register(1, "r1", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &m);
    for _ in 0..4 {
        assert_eq!(net.sends(via, &m.answer(401)).0, PHONE);
        net.arrives(PHONE, &m);
    }
}

/// A host at the advertised private address, in the PBX's own network, is another host than the phone.
#[test]
fn a_private_address_is_not_believed_to_get_requests() {
    let net = Network::new();
    net.call();
    let office = ([192, 168, 1, 10], 5060);
    let m = from_pbx("INVITE", 102, "reinvite");
    for _ in 0..9 {
        assert_eq!(net.sends(office, &m).0, PHONE);
    }
}

/// A phone whose radio sleeps answers the first transmissions after the fifth took the other path.
#[test]
fn a_slow_answer_tells_nothing_of_the_way() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&net, &m, 5);
    net.wait(4);
    let counted = net.arrives(PHONE, &m.answer(200));
    assert!(!counted.contains(&Counter::PeerLeftAlone), "{counted:?}");
    let ack = from_pbx("ACK", 102, "ack");
    assert_eq!(net.sends(ADVERTISED, &ack).0, PHONE);
}

/// The answer's own Contact, if it was its new address, once made transmissions to the old mapping count against the new.
#[test]
fn a_terminal_that_moved_is_not_doubted_for_its_contact() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&net, &m, 4);
    net.wait(1);
    let answer = m.answer(183).with("Contact: <sip:1000@60.17.196.2:51000>");
    net.arrives(MOVED, &answer);
    let again = transmissions(&net, &m, 1);
    assert_eq!(again, [(MOVED, Counter::OutRedirectedDialog)]);
}

/// Transmissions to the old address of a terminal do not count against its new address.
#[test]
fn a_terminal_that_moved_is_not_doubted() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    assert_eq!(transmissions(&net, &m, 4), [REDIRECTED; 4]);
    let moves = from_phone("UPDATE", 2, "moves").tagged("pbx");
    net.arrives(MOVED, &moves);
    net.sends(MOVED, &moves.answer(200));
    let moved = (MOVED, Counter::OutRedirectedDialog);
    assert_eq!(transmissions(&net, &m, 4), [moved; 4]);
    assert_eq!(transmissions(&net, &m, 1), [UNANSWERED]);
}

/// A router forwards its port 5060 to another phone, which refuses requests that are not for it.
#[test]
fn a_refusal_from_where_the_pbx_means_is_not_believed() {
    let net = Network::new();
    net.call();
    let m = from_pbx("INVITE", 102, "reinvite");
    transmissions(&net, &m, 5);
    let counted = net.arrives(ADVERTISED, &m.answer(481));
    assert!(!counted.contains(&Counter::PeerLeftAlone), "{counted:?}");
    assert!(!net.active()[0].flags.contains(BindingFlags::LEFT_ALONE));
    assert_eq!(net.reinvite("again"), (PHONE, vec![REDIRECTED.1]));
}
