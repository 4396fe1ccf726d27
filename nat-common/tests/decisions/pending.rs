//! NOTIFY ahead of the 2xx to its SUBSCRIBE: the source of a request that is not answered yet.

use nat_common::abi::Counter;
use nat_common::engine::env::Checksum;

use crate::{ADVERTISED, Network, PHONE, STRANGER, from_pbx, from_phone};

#[test]
fn one_pending_source_serves_before_the_answer() {
    for method in ["SUBSCRIBE", "REFER"] {
        let net = Network::new();
        net.arrives(PHONE, &from_phone(method, 1, "s"));
        let (to, counted) = net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n"));
        assert_eq!(to, PHONE);
        assert_eq!(
            counted,
            [
                Counter::DialogFromPending,
                Counter::DialogActivated,
                Counter::OutRedirectedDialog
            ]
        );
    }
}

/// The dialog of an INVITE begins with the PBX's answer (RFC 3261 12.1).
#[test]
fn nothing_is_sent_in_the_dialog_of_an_invite_before_its_answer() {
    let net = Network::new();
    net.arrives(PHONE, &from_phone("INVITE", 1, "s"));
    assert_eq!(
        net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n")),
        (ADVERTISED, vec![Counter::OutUnknownRequest])
    );
}

#[test]
fn two_pending_sources_or_a_stale_one_do_not() {
    let net = Network::new();
    net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    let other = from_phone("SUBSCRIBE", 1, "t");
    assert_eq!(
        net.arrives(STRANGER, &other),
        [Counter::PendingAmbiguous, Counter::InRequest]
    );
    assert_eq!(
        net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0,
        ADVERTISED
    );

    let net = Network::new();
    net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    net.wait(33);
    assert_eq!(
        net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0,
        ADVERTISED
    );
}

#[test]
fn a_refusal_drops_only_what_came_from_there() {
    let net = Network::new();
    net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
    let other = from_phone("SUBSCRIBE", 1, "t");
    net.arrives(STRANGER, &other);
    assert_eq!(
        net.sends(STRANGER, &other.answer(403)).1,
        [Counter::OutAlreadyThere]
    );
}

/// A binding that the user removes stays away, even if its request was pending shortly before.
#[test]
fn what_was_accepted_is_no_more_pending() {
    let net = Network::new();
    let m = from_phone("SUBSCRIBE", 1, "s");
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    net.forget_bindings();
    assert_eq!(net.reinvite("reinvite").1, [Counter::OutUnknownRequest]);
}

/// The PBX never sees a SUBSCRIBE with a wrong checksum, and so never refuses it. A fragment may be one that never becomes a
/// whole datagram.
#[test]
fn what_the_pbx_may_not_have_seen_is_not_pending() {
    for checksum in [Checksum::Wrong, Checksum::Unknown] {
        let net = Network::new();
        net.checksum.set(checksum);
        let counted = net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
        assert_eq!(counted, [Counter::PendingChecksum, Counter::InRequest]);
        net.checksum.set(Checksum::Right);
        let (to, counted) = net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n"));
        assert_eq!(
            (to, counted),
            (ADVERTISED, vec![Counter::OutUnknownRequest])
        );
    }
}
