//! Shadow mode and the history of decisions: for people, not for packets.

use nat_common::abi::Counter;
use nat_common::endpoint::Endpoint;

use crate::{ADVERTISED, Network, PHONE, REDIRECTED, from_pbx};

#[test]
fn shadow_decides_and_redirects_nothing() {
    let net = Network::new();
    net.shadow.set(true);
    net.call();
    net.wait(1);
    let m = from_pbx("INVITE", 102, "reinvite");
    for _ in 0..9 {
        let (to, counted) = net.sends(ADVERTISED, &m);
        assert_eq!((to, counted), (ADVERTISED, vec![REDIRECTED.1]));
    }
    let cancel = from_pbx("CANCEL", 102, "reinvite");
    assert_eq!(net.sends(ADVERTISED, &cancel).1, [REDIRECTED.1]);
    // The answer shows that the request went to the original destination.
    net.arrives(PHONE, &m.answer(200));
    assert_eq!(
        net.active()[0].learned,
        Endpoint::v4(ADVERTISED.0, ADVERTISED.1)
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
