//! Fragments: a datagram is redirected in all of them, or in none.

use nat_common::abi::TICK_SHIFT;
use nat_common::datagram::{Datagram, Part};
use nat_common::endpoint::Endpoint;
use nat_common::engine::lifetimes::FRAGMENT_LIFE;
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
    sends(net, &part(Part::First, id))
}

/// A re-INVITE, or its first fragment.
fn sends(net: &Network, datagram: &Datagram) -> (Decision, Endpoint) {
    let message = net.scan(&from_pbx("INVITE", 9, "fragmented"), Direction::Out);
    let mut to = datagram.destination;
    let decision = engine::egress(&net.0, &message, datagram, &mut to);
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

/// Their clock is that of ticks.
#[test]
fn fragments_follow_one_another_within_a_second() {
    for (wait, together) in [(FRAGMENT_LIFE - 1, true), (FRAGMENT_LIFE, false)] {
        let wait = |net: &Network| net.now.set(net.now.get() + (wait << TICK_SHIFT));
        let net = call();
        first(&net, 7);
        wait(&net);
        let follows = later(&net, 7).0 == Decision::FragmentRedirected;
        assert_eq!(follows, together);
        let net = call();
        later(&net, 7);
        wait(&net);
        let refused = first(&net, 7).0 == Decision::FragmentRefused;
        assert_eq!(refused, together);
    }
}

/// The kernel counts identifications round, and a link may bring a packet twice.
#[test]
fn a_first_fragment_may_come_again() {
    let net = call();
    for _ in 0..2 {
        let redirected = (Decision::RedirectedDialog, endpoint(PHONE));
        assert_eq!(first(&net, 7), redirected);
    }
}

/// Nothing is known of the terminal: all fragments go where the PBX sends them, in whatever order they come.
#[test]
fn fragments_that_nothing_redirects() {
    let unknown = (Decision::UnknownRequest, endpoint(PRIVATE));
    let left = (Decision::Fragment, endpoint(PRIVATE));
    let net = Network::new();
    assert_eq!(first(&net, 7), unknown);
    assert_eq!([later(&net, 7), later(&net, 7)], [left; 2]);
    assert_eq!([later(&net, 8), later(&net, 8)], [left; 2]);
    assert_eq!(first(&net, 8), unknown);
    assert_eq!(net.events.take(), []);
}

/// Nor does a later fragment follow a whole datagram that was redirected.
#[test]
fn a_whole_datagram_leads_no_fragment() {
    let net = call();
    let (decision, _) = sends(&net, &part(Part::Whole, 7));
    assert_eq!(decision, Decision::RedirectedDialog);
    let left = (Decision::Fragment, endpoint(PRIVATE));
    assert_eq!(later(&net, 7), left);
}

/// A datagram is that of both addresses, of which each half counts with IPv6, and of the identification.
#[test]
fn fragments_of_another_datagram_do_not_follow() {
    let at = |network, host| Endpoint {
        addr: [network, host],
        port: 5060,
        reserved: 0,
    };
    let [pbx, phone, learned] = [at(0x2001, 1), at(0x2002, 2), at(0x2003, 3)];
    let datagram = |source, destination, part, id| Datagram {
        source,
        destination,
        part,
        id,
        ..Datagram::default()
    };
    let net = Network::new();
    let mut to = learned;
    assert!(fragments::first(
        &net.0,
        &datagram(pbx, phone, Part::First, 7),
        &mut to
    ));
    for (source, destination, id, follows) in [
        (pbx, phone, 7, true),
        (pbx, phone, 8, false),
        (at(0x2004, 1), phone, 7, false),
        (at(0x2001, 4), phone, 7, false),
        (pbx, at(0x2004, 2), 7, false),
        (pbx, at(0x2002, 4), 7, false),
    ] {
        let mut to = destination;
        let decision = fragments::later(
            &net.0,
            &datagram(source, destination, Part::Later, id),
            &mut to,
        );
        let expected = if follows {
            (Decision::FragmentRedirected, learned.addr)
        } else {
            (Decision::Fragment, destination.addr)
        };
        assert_eq!(
            (decision, to.addr),
            expected,
            "{source:?} {destination:?} {id}"
        );
    }
}
