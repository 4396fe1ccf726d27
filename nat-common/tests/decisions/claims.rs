//! Claims: several owners, or several REGISTERs of one owner, for the same Contact URI.

use nat_common::abi::{Binding, BindingFlags, Counter, SECOND};
use nat_common::endpoint::Endpoint;

use crate::{
    ADVERTISED, Address, MOVED, Network, PHONE, STRANGER, Sip, call_phone, endpoint, register,
};

const URI: &str = "<sip:7@192.168.1.10>";
const HOUR: u64 = 3600;

/// A REGISTER of `owner` for a Contact, in a registration of its own name.
fn claim(owner: &str, call: &'static str, contact: &str) -> Sip {
    Sip {
        to: format!("<sip:{owner}@pbx>"),
        ..register(1, call, contact).call(call)
    }
}

/// The PBX accepts a REGISTER from `source` for some seconds. Returns the counters.
fn accepts(net: &Network, source: Address, m: &Sip, seconds: u64) -> Vec<Counter> {
    net.arrives(source, m);
    net.sends(source, &m.answer(200).with(&format!("Expires: {seconds}")))
        .1
}

/// A PBX that has shown that it is no proxy.
fn own_registrar() -> Network {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    net
}

/// Returns the entry of the URI alone.
fn by_uri(net: &Network) -> Binding {
    let all = net.contacts().into_iter();
    let mut found =
        all.filter(|(key, b)| key.aor == 0 && !b.flags.contains(BindingFlags::BY_ADDRESS));
    let (_, binding) = found.next().expect("an entry");
    assert!(found.next().is_none());
    binding
}

#[test]
fn a_refresh_and_a_move_within_a_host() {
    for net in [Network::new(), own_registrar()] {
        let m = claim("1000", "a", URI);
        assert_eq!(accepts(&net, PHONE, &m, 600)[0], Counter::ContactActivated);
        net.wait(33);
        assert_eq!(accepts(&net, PHONE, &m, 600)[0], Counter::ContactRefreshed);
        // After a reboot, under another Call-ID and from another port.
        net.wait(33);
        let m = claim("1000", "b", URI);
        assert_eq!(accepts(&net, MOVED, &m, 600)[0], Counter::ContactMoved);
        assert_eq!(
            (by_uri(&net).learned, by_uri(&net).contested),
            (endpoint(MOVED), 0)
        );
    }
}

/// The order in which two owners' REGISTERs came says nothing: each owner is compared with itself.
#[test]
fn an_owner_is_late_for_itself_only() {
    let net = own_registrar();
    let [one, other] = [claim("1000", "a", URI), claim("2000", "b", URI)];
    net.arrives(PHONE, &one);
    net.wait(1);
    accepts(&net, STRANGER, &other, 600);
    let counted = net.sends(PHONE, &one.answer(200)).1;
    assert!(counted.contains(&Counter::ContactAmbiguous), "{counted:?}");
    // Its own later REGISTER was accepted first.
    let [before, after] = [claim("1000", "c", URI), claim("1000", "d", URI)];
    net.arrives(PHONE, &before);
    net.wait(1);
    accepts(&net, MOVED, &after, 600);
    let counted = net.sends(PHONE, &before.answer(200)).1;
    assert_eq!(counted, [Counter::OutAlreadyThere]);
}

#[test]
fn an_owner_removes_its_own_only() {
    let net = own_registrar();
    accepts(&net, PHONE, &claim("1000", "a", URI), 600);
    let known = by_uri(&net);
    net.wait(1);
    accepts(
        &net,
        STRANGER,
        &claim("2000", "b", "<sip:7@192.168.1.10>;expires=0"),
        0,
    );
    assert_eq!(net.contacts().len(), 3);
    assert_eq!(by_uri(&net), known);
}

/// From another host and under another Call-ID: what is removed was nowhere before.
#[test]
fn a_removal_leaves_no_host_before() {
    let net = own_registrar();
    accepts(&net, PHONE, &claim("1000", "a", URI), 600);
    net.wait(1);
    let m = claim("1000", "b", "<sip:7@192.168.1.10>;expires=0");
    assert_eq!(accepts(&net, STRANGER, &m, 0)[0], Counter::ContactRemoved);
    assert_eq!(net.contacts().len(), 0);
}

/// The owner whose user the URI has begins anew, with nothing of the other's.
#[test]
fn the_owner_of_the_user_begins_anew() {
    let net = own_registrar();
    let contact = "<sip:1000@192.168.1.10>";
    accepts(&net, STRANGER, &claim("2000", "b", contact), 600);
    net.change_bindings(|binding| {
        binding.contested = 5;
        binding.redirected = 6;
    });
    net.wait(1);
    accepts(&net, PHONE, &claim("1000", "a", contact), 600);
    let binding = by_uri(&net);
    assert_eq!(binding.learned, endpoint(PHONE));
    assert_eq!(
        [binding.created, binding.contested, binding.redirected],
        [net.now.get(), 0, 0]
    );
    assert!(
        before(&net).is_none(),
        "the other's host is none of its own"
    );
    // The other one cannot take it back.
    net.wait(33);
    let counted = accepts(&net, STRANGER, &claim("2000", "c", contact), 600);
    assert!(counted.contains(&Counter::ContactOutranked), "{counted:?}");
    assert_eq!(by_uri(&net), binding);
}

/// A doubt lasts as long as the claim of the other, and at most an hour where that may be forged.
#[test]
fn a_doubt_lasts_as_long_as_the_claim() {
    let net = own_registrar();
    accepts(&net, PHONE, &claim("1000", "a", URI), 3 * HOUR);
    let expires = by_uri(&net).expires;
    net.wait(1);
    accepts(&net, STRANGER, &claim("2000", "b", URI), 600);
    assert_eq!(by_uri(&net).contested, expires);
    // A third claim, while the second is short, makes it no shorter.
    net.wait(1);
    accepts(&net, MOVED, &claim("3000", "c", URI), 600);
    assert_eq!(by_uri(&net).contested, expires);
    // It may be a proxy, and the REGISTER come from another host under another name.
    let net = Network::new();
    accepts(&net, PHONE, &claim("1000", "a", URI), HOUR + 1200);
    net.wait(1);
    accepts(&net, STRANGER, &claim("1000", "b", URI), 3 * HOUR);
    assert_eq!(by_uri(&net).contested, net.now.get() + HOUR * SECOND);
    // One that ends before that ends the doubt.
    let net = Network::new();
    accepts(&net, PHONE, &claim("1000", "a", URI), 600);
    let expires = by_uri(&net).expires;
    net.wait(1);
    accepts(&net, STRANGER, &claim("1000", "b", URI), 3 * HOUR);
    assert_eq!(by_uri(&net).contested, expires);
}

/// Returns the entry of the URI alone at the host before, if there is one.
fn before(net: &Network) -> Option<Binding> {
    let all = net.contacts().into_iter();
    let mut found =
        all.filter(|(key, b)| key.aor == u64::MAX && !b.flags.contains(BindingFlags::BY_ADDRESS));
    found.next().map(|(_, binding)| binding)
}

/// A contact is known at the host before for as long as its registration there lasts, or until it returns.
#[test]
fn a_contact_at_two_hosts() {
    let net = own_registrar();
    accepts(&net, PHONE, &claim("1000", "a", URI), 60);
    net.wait(1);
    accepts(&net, STRANGER, &claim("1000", "b", URI), 600);
    assert_eq!(before(&net).expect("an entry").learned, endpoint(PHONE));
    assert!(by_uri(&net).flags.contains(BindingFlags::MOVED));
    // The registration there has ended: now the other one is before.
    net.wait(100);
    let third = ([203, 0, 113, 77], 5060);
    accepts(&net, third, &claim("1000", "c", URI), 600);
    assert_eq!(before(&net).expect("an entry").learned, endpoint(STRANGER));
    // It returns.
    net.wait(1);
    accepts(&net, STRANGER, &claim("1000", "d", URI), 600);
    assert!(before(&net).is_none());
    assert!(!by_uri(&net).flags.contains(BindingFlags::MOVED));
}

/// Another socket of the host is another PBX, which has no contact at that address.
#[test]
fn an_address_is_that_of_a_contact_at_its_pbx_only() {
    let number = Sip {
        start: "INVITE sip:+4930@192.168.1.10 SIP/2.0".into(),
        to: "<sip:+4930@192.168.1.10>".into(),
        ..call_phone("n")
    };
    for (port, known) in [(5060, true), (5070, false)] {
        let net = own_registrar();
        accepts(
            &net,
            PHONE,
            &claim("1000", "a", "<sip:gateway@192.168.1.10>"),
            600,
        );
        net.socket.set(Endpoint::v4([203, 0, 113, 10], port));
        let counted = net.sends(ADVERTISED, &number).1;
        let is_unknown = counted.contains(&Counter::OutUnknownRequest);
        assert_eq!(!is_unknown, known, "{counted:?}");
    }
}

#[test]
fn weak_evidence_is_proven_once() {
    let net = own_registrar();
    accepts(&net, PHONE, &claim("7", "a", URI), 600);
    let weak = |branch| Sip {
        start: "INVITE sip:7@192.168.1.10 SIP/2.0".into(),
        to: "<sip:7@192.168.1.10>".into(),
        ..call_phone(branch)
    };
    for (branch, times, proves) in [("a", 2, true), ("b", 2, false), ("c", 3, false)] {
        for _ in 0..times {
            net.sends(ADVERTISED, &weak(branch));
        }
        let counted = net.arrives(PHONE, &weak(branch).answer(200).tagged_as(branch));
        assert_eq!(
            counted.contains(&Counter::WeakProven),
            proves,
            "{counted:?}"
        );
        net.wait(1);
    }
}

/// A contact is known at the host before until its registration there ends.
#[test]
fn a_host_before_ends_with_its_registration() {
    let third = ([203, 0, 113, 77], 5060);
    for (wait, host) in [(58, PHONE), (59, STRANGER)] {
        let net = own_registrar();
        accepts(&net, PHONE, &claim("1000", "a", URI), 60);
        net.wait(1);
        accepts(&net, STRANGER, &claim("1000", "b", URI), 600);
        net.wait(wait);
        accepts(&net, third, &claim("1000", "c", URI), 600);
        let before = before(&net).expect("an entry");
        assert_eq!(before.learned, endpoint(host), "{wait}");
    }
}

/// A contact that was removed was nowhere before, though its registration at another host lasted. What comes next is a contact of
/// its own, which has its own host before.
#[test]
fn a_removed_contact_has_no_host_before() {
    let [third, fourth] = [77, 78].map(|host| ([203, 0, 113, host], 5060));
    let net = own_registrar();
    accepts(&net, PHONE, &claim("1000", "a", URI), 3 * HOUR);
    net.wait(1);
    accepts(&net, STRANGER, &claim("1000", "b", URI), HOUR);
    net.wait(1);
    let m = claim("1000", "c", "<sip:7@192.168.1.10>;expires=0");
    assert_eq!(accepts(&net, STRANGER, &m, 0)[0], Counter::ContactRemoved);
    net.wait(1);
    let call = |branch| {
        let m = Sip {
            start: "INVITE sip:7@192.168.1.10 SIP/2.0".into(),
            ..call_phone(branch).call(branch)
        };
        net.sends(ADVERTISED, &m).0
    };
    accepts(&net, third, &claim("1000", "d", URI), HOUR);
    assert_eq!(call("x"), third);
    net.wait(1);
    accepts(&net, fourth, &claim("1000", "e", URI), HOUR);
    assert_eq!(before(&net).expect("an entry").learned, endpoint(third));
    assert_eq!(call("y"), third);
}

/// Returns the entry of the address alone.
fn by_address(net: &Network) -> Binding {
    let all = net.contacts().into_iter();
    let mut found =
        all.filter(|(key, b)| key.aor == 0 && b.flags.contains(BindingFlags::BY_ADDRESS));
    found.next().expect("an entry").1
}

/// A claim expires, and is made again: a doubt that it has left lasts. An owner whose user the URI has is in none of others, but an
/// address has no user.
#[test]
fn a_doubt_outlasts_the_claim_that_is_made_again() {
    // Owners of the claims, and whether the last one is in doubt by its URI and by its address.
    for (owners, by_uri_too) in [
        (["1000@pbx", "2000@pbx", "2000@pbx"], true),
        (["7@pbx", "7@tenant", "7@tenant"], true),
        (["1000@pbx", "2000@pbx", "7@pbx"], false),
    ] {
        let net = own_registrar();
        let registers = |source, owner: &str, call, seconds| {
            let m = Sip {
                to: format!("<sip:{owner}>"),
                ..register(1, call, URI).call(call)
            };
            accepts(&net, source, &m, seconds);
            net.wait(1);
        };
        registers(PHONE, owners[0], "a", 3 * HOUR);
        let until = by_uri(&net).expires;
        registers(STRANGER, owners[1], "b", 60);
        assert_eq!(by_uri(&net).contested, until);
        net.wait(60);
        registers(STRANGER, owners[2], "c", HOUR);
        let expected = if by_uri_too { until } else { 0 };
        assert_eq!(by_uri(&net).contested, expected, "{owners:?}");
        assert_eq!(by_address(&net).contested, until, "{owners:?}");
    }
}
