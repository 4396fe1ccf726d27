//! 2xx to REGISTER that is the PBX's own, and 2xx that it only relays.

use nat_common::abi::{Counter, address};
use nat_common::endpoint::Endpoint;

use crate::{ADVERTISED, Address, Network, PHONE, STRANGER, Sip, call_phone, register};

/// Host to which the PBX sends a REGISTER on.
const UPSTREAM: Address = ([198, 51, 100, 9], 5060);

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
    let tagged = forged().tagged("invented");
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
