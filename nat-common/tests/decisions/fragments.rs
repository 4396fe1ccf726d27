//! Fragments: a datagram is redirected in all of them, or in none.

use nat_common::datagram::{Datagram, Part};
use nat_common::endpoint::Endpoint;
use nat_common::engine::verdict::Decision;
use nat_common::engine::{self, fragments};

use super::{Direction, Network, PHONE, from_pbx};

const PBX: ([u8; 4], u16) = ([203, 0, 113, 10], 5060);

/// Address of the phone in its own network, as a PBX without NAT support uses it.
const PRIVATE: ([u8; 4], u16) = ([192, 168, 1, 10], 5060);

fn endpoint((addr, port): ([u8; 4], u16)) -> Endpoint {
    Endpoint::v4(addr, port)
}

fn call() -> Network {
    let net = Network::new();
    net.call();
    net
}

fn part(part: Part, id: u32) -> Datagram {
    Datagram {
        source: endpoint(PBX),
        destination: endpoint(PRIVATE),
        part,
        id,
        ..Datagram::default()
    }
}

fn later(net: &Network, id: u32) -> (Decision, Endpoint) {
    let datagram = part(Part::Later, id);
    let mut to = datagram.destination;
    (fragments::later(&net.0, &datagram, &mut to), to)
}

/// The first fragment of a re-INVITE to a phone with a live dialog.
fn first(net: &Network, id: u32) -> (Decision, Endpoint) {
    let datagram = part(Part::First, id);
    let message = net.scan(&from_pbx("INVITE", 9, "fragmented"), Direction::Out);
    let mut to = datagram.destination;
    let decision = engine::egress(&net.0, &message, &datagram, &mut to);
    (decision, to)
}

#[test]
fn later_fragments_follow_the_first() {
    let net = call();
    let (decision, to) = first(&net, 7);
    assert_eq!(
        (decision, to),
        (Decision::RedirectedDialog, endpoint(PHONE))
    );
    // A later fragment has no ports, so only its address changes.
    let (decision, to) = later(&net, 7);
    assert_eq!(decision, Decision::FragmentRedirected);
    assert_eq!(to.addr, endpoint(PHONE).addr);
    let (decision, to) = later(&net, 8);
    assert_eq!((decision, to), (Decision::Fragment, endpoint(PRIVATE)));
}

#[test]
fn a_first_fragment_that_comes_late_is_left_alone() {
    let net = call();
    assert_eq!(later(&net, 7).0, Decision::Fragment);
    let (decision, to) = first(&net, 7);
    assert_eq!(
        (decision, to),
        (Decision::FragmentRefused, endpoint(PRIVATE))
    );
    // Another datagram is not affected.
    assert_eq!(first(&net, 8).0, Decision::RedirectedDialog);
}

#[test]
fn an_identification_is_used_again() {
    let net = call();
    assert_eq!(later(&net, 7).0, Decision::Fragment);
    net.wait(2);
    assert_eq!(first(&net, 7).0, Decision::RedirectedDialog);
    net.wait(2);
    assert_eq!(later(&net, 7).0, Decision::Fragment);
}

/// Ticks of 32 bits once made an entry of 27 days new again.
#[test]
fn an_old_datagram_does_not_revive() {
    const DAY: u64 = 24 * 3600;
    for days in [1, 26, 27, 40, 52, 53, 80] {
        let net = call();
        assert_eq!(later(&net, 7).0, Decision::Fragment);
        net.wait(days * DAY);
        let datagram = part(Part::First, 7);
        let mut to = endpoint(PHONE);
        assert!(fragments::first(&net.0, &datagram, &mut to), "{days} days");
    }
}
