//! Answers that only seem to be ones to the transmission before: a terminal that listens at its original destination, and sends
//! and answers from another port, takes more than T1 for its first answer. By then the PBX has repeated its request.

use nat_common::abi::{Counter, Peer, PeerFlags, SECOND, TICK_SHIFT};
use nat_common::engine::lifetimes::T1;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, Sip, call_phone, from_pbx, from_phone,
    register,
};

const CONTACT: &str = "<sip:1000@60.17.196.2>";

const CREDENTIALS: &str = "Authorization: Digest username=\"1000\"";

/// Terminal that registers with its public address.
fn registered() -> Network {
    let net = Network::new();
    let m = register(1, "r1", CONTACT);
    net.arrives(PHONE, &m);
    net.sends(
        FORGOTTEN,
        &m.answer(200)
            .with("Contact: <sip:1000@60.17.196.2>;expires=60"),
    );
    net
}

/// INVITE of the PBX, which names the terminal by its address-of-record, or by its Contact URI.
fn invite(branch: &'static str, by_uri: bool) -> Sip {
    let uri = "sip:1000@60.17.196.2";
    let mut m = call_phone(branch).call(branch);
    m.start = format!("INVITE {uri} SIP/2.0");
    if by_uri {
        m.to = format!("<{uri}>");
    }
    m
}

impl Network {
    /// Sends a message of the PBX to the terminal's Contact. Returns whether the terminal gets it, which listens there.
    fn listens(&self, m: &Sip) -> bool {
        self.goes(m) == FORGOTTEN
    }

    fn goes(&self, m: &Sip) -> Address {
        self.sends(FORGOTTEN, m).0
    }

    fn wait_tenths(&self, tenths: u64) {
        self.now.set(self.now.get() + tenths * SECOND / 10);
    }

    /// Sends a request as a PBX does until the terminal hears it, which answers 0.7 s later from the port from which it sends.
    /// Returns the number of transmissions that it took.
    fn is_answered_slowly(&self, m: &Sip, status: u16) -> usize {
        let mut heard = None;
        for (transmission, wait) in [0, 5, 10, 20].into_iter().enumerate() {
            if let Some((_, at)) = heard
                && self.now.get() + wait * SECOND / 10 > at + 7 * SECOND / 10
            {
                break;
            }
            self.wait_tenths(wait);
            if self.listens(m) && heard.is_none() {
                heard = Some((transmission + 1, self.now.get()));
            }
        }
        let (transmission, at) = heard.expect("no transmission arrives");
        self.now.set(at + 7 * SECOND / 10);
        self.arrives(PHONE, &answer(m, status));
        self.wait(1);
        transmission
    }
}

/// Answer of the terminal, with its tag.
fn answer(m: &Sip, status: u16) -> Sip {
    let answer = m.answer(status);
    if m.to.contains("tag=") {
        return answer;
    }
    answer.tagged_as("callee")
}

/// ACK to a 2xx, or another request of the PBX in the dialog of an INVITE.
fn within(invite: &Sip, method: &'static str, cseq: u32, branch: &'static str) -> Sip {
    Sip {
        start: invite.start.replace("INVITE", method),
        cseq: (cseq, method),
        vias: vec![branch],
        ..invite.clone()
    }
    .tagged("callee")
}

const BY: [bool; 2] = [false, true];

/// The ACK goes to the other address once the terminal has repeated its 200. All that follows arrives at once.
#[test]
fn an_ack_that_is_repeated_ends_what_only_seemed_proven() {
    for by_uri in BY {
        let net = registered();
        let m = invite("a", by_uri);
        assert_eq!(net.is_answered_slowly(&m, 200), 1);
        assert_eq!(net.goes(&within(&m, "ACK", 1, "k1")), PHONE, "{by_uri}");
        net.wait_tenths(5);
        assert!(net.listens(&within(&m, "ACK", 1, "k2")), "{by_uri}");
        for (method, cseq, branch) in [("UPDATE", 2, "u"), ("INVITE", 3, "i"), ("BYE", 4, "b")] {
            let m = within(&m, method, cseq, branch);
            assert_eq!(net.is_answered_slowly(&m, 200), 1, "{method} {by_uri}");
        }
        for branch in ["b", "c"] {
            let m = invite(branch, by_uri);
            assert_eq!(net.is_answered_slowly(&m, 180), 1, "{branch} {by_uri}");
            net.arrives(PHONE, &answer(&m, 200));
            assert!(net.listens(&within(&m, "ACK", 1, "k")), "{branch} {by_uri}");
        }
    }
}

/// A repetition within the time of a round trip may have crossed the ACK.
#[test]
fn an_ack_that_crosses_a_repetition_says_nothing() {
    let net = registered();
    let m = invite("a", false);
    net.is_answered_slowly(&m, 200);
    for (branch, to) in [("k1", PHONE), ("k2", FORGOTTEN), ("k3", PHONE)] {
        assert_eq!(net.goes(&within(&m, "ACK", 1, branch)), to, "{branch}");
        net.wait_tenths(2);
    }
    assert_eq!(net.goes(&invite("b", false)), PHONE);
    // Nor does a repetition after an ACK that went to the other address.
    let net = registered();
    net.is_answered_slowly(&m, 200);
    for (branch, to) in [("k1", PHONE), ("k2", FORGOTTEN)] {
        assert_eq!(net.goes(&within(&m, "ACK", 1, branch)), to, "{branch}");
        net.wait_tenths(2);
    }
    net.wait_tenths(3);
    assert_eq!(net.goes(&within(&m, "ACK", 1, "k3")), PHONE);
    assert_eq!(net.goes(&invite("b", false)), PHONE);
}

/// The ACK of the next INVITE of a dialog is no repetition.
#[test]
fn an_ack_to_another_response_is_no_repetition() {
    let net = registered();
    let m = invite("a", false);
    net.is_answered_slowly(&m, 200);
    for cseq in [1, 2] {
        assert_eq!(net.goes(&within(&m, "ACK", cseq, "k")), PHONE, "{cseq}");
        net.wait(1);
    }
}

/// An answer from the learned address to a request that went to the original destination: it listens there.
#[test]
fn a_request_that_is_answered_at_the_other_address_ends_what_only_seemed_proven() {
    for by_uri in BY {
        for status in [100, 180, 200, 302, 486] {
            let net = registered();
            let took = ["a", "b", "c", "d"]
                .map(|branch| net.is_answered_slowly(&invite(branch, by_uri), status));
            assert_eq!(took, [1, 2, 1, 1], "{status} {by_uri}");
            // It is tried again 12 hours later.
            net.wait(13 * 3600);
            net.arrives(PHONE, &register(2, "r2", CONTACT));
            net.sends(FORGOTTEN, &register(2, "r2", CONTACT).answer(200));
            assert_eq!(net.is_answered_slowly(&invite("e", by_uri), status), 1);
        }
    }
}

/// A PBX that sends each OPTIONS once, for its address-of-record.
#[test]
fn a_ping_that_is_answered_at_the_other_address_ends_what_only_seemed_proven() {
    let net = registered();
    net.is_answered_slowly(&invite("a", false), 200);
    let ping = |branch: &'static str| {
        let mut m = invite(branch, false);
        m.start = m.start.replace("INVITE", "OPTIONS");
        m.cseq = (1, "OPTIONS");
        let arrives = net.listens(&m);
        net.wait_tenths(7);
        if arrives {
            net.arrives(PHONE, &answer(&m, 200));
        }
        net.wait(30);
        arrives
    };
    assert_eq!(["a", "b", "c", "d"].map(ping), [false, true, true, true]);
}

/// A phone behind an ALG that forgets the port answers at its learned address, and at no other.
#[test]
fn an_answer_without_the_other_address_is_a_proof() {
    for by_uri in BY {
        let net = registered();
        let m = invite("a", by_uri);
        assert_eq!([net.goes(&m), net.goes(&m)], [FORGOTTEN, PHONE]);
        net.arrives(PHONE, &answer(&m, 200));
        for (branch, status) in [("b", 180), ("c", 180)] {
            net.wait(1);
            let m = invite(branch, by_uri);
            assert_eq!(net.goes(&m), PHONE, "{branch} {by_uri}");
            net.arrives(PHONE, &answer(&m, status));
            let ack = |branch| net.goes(&within(&m, "ACK", 1, branch));
            // Weak evidence proves it in this dialog alone.
            let second = if by_uri { FORGOTTEN } else { PHONE };
            assert_eq!(["1", "2"].map(ack), [PHONE, second]);
        }
        // It is slow once.
        net.wait(1);
        let m = invite("d", by_uri);
        assert_eq!(
            [net.goes(&m), net.goes(&m), net.goes(&m)],
            [PHONE, PHONE, FORGOTTEN]
        );
        net.arrives(PHONE, &answer(&m, 180));
        net.wait(1);
        assert_eq!(net.goes(&invite("e", by_uri)), PHONE, "{by_uri}");
    }
}

/// Nobody can be at a private address that no route leads to: the answer is none to a transmission that went there.
#[test]
fn an_answer_after_an_address_that_cannot_be_reached_is_a_proof() {
    let net = Network::new();
    net.register();
    let call = |branch, times| {
        let m = Sip {
            start: "INVITE sip:1000@192.168.1.10 SIP/2.0".into(),
            to: "<sip:1000@192.168.1.10>".into(),
            ..call_phone(branch).call(branch)
        };
        let went = (0..times)
            .map(|_| net.sends(ADVERTISED, &m).0)
            .collect::<Vec<_>>();
        net.arrives(PHONE, &answer(&m, 200));
        net.wait(1);
        went
    };
    assert_eq!(call("a", 2), [ADVERTISED, PHONE]);
    assert_eq!(call("b", 3), [PHONE, PHONE, ADVERTISED]);
}

/// A neighbour behind the same NAT has its port 5060, and answers from there. The terminal does not, so nothing ends.
#[test]
fn a_neighbour_does_not_end_what_seems_proven() {
    for by_uri in BY {
        let net = registered();
        let m = invite("a", by_uri);
        assert_eq!([net.goes(&m), net.goes(&m)], [FORGOTTEN, PHONE]);
        net.arrives(PHONE, &answer(&m, 200));
        net.wait(1);
        let m = invite("b", by_uri);
        assert_eq!([net.goes(&m), net.goes(&m)], [PHONE, FORGOTTEN]);
        net.arrives(FORGOTTEN, &answer(&m, 180));
        net.wait(1);
        if by_uri {
            continue;
        }
        assert_eq!(net.goes(&invite("c", by_uri)), PHONE);
        // He answers the call, and repeats that.
        net.arrives(FORGOTTEN, &answer(&m, 200));
        for branch in ["k1", "k2", "k3"] {
            net.goes(&within(&m, "ACK", 1, branch));
            net.wait_tenths(5);
        }
        assert_eq!(net.goes(&invite("d", by_uri)), PHONE);
    }
}

/// The ACK to a refusal, and a CANCEL, go where the INVITE went last, and to the other address when they are repeated.
#[test]
fn a_repeated_ack_or_cancel_follows_its_invite_to_the_other_address() {
    for by_uri in BY {
        for (method, status) in [("ACK", 486), ("CANCEL", 100)] {
            let net = registered();
            let m = invite("a", by_uri);
            net.is_answered_slowly(&m, status);
            let mut follows = within(&m, method, 1, "a");
            if method == "CANCEL" {
                follows.to.clone_from(&m.to);
            }
            let went = [0; 3].map(|_| {
                net.wait_tenths(1);
                net.goes(&follows)
            });
            assert_eq!(went, [PHONE, FORGOTTEN, PHONE], "{method} {by_uri}");
        }
        // One transmission went to one address.
        let net = registered();
        let m = invite("a", by_uri);
        net.goes(&m);
        net.arrives(PHONE, &answer(&m, 100));
        let cancel = Sip {
            to: m.to.clone(),
            ..within(&m, "CANCEL", 1, "a")
        };
        assert_eq!([0; 3].map(|_| net.goes(&cancel)), [FORGOTTEN; 3]);
    }
}

/// Once it is known where the terminal listens, they go there at once.
#[test]
fn an_ack_or_cancel_does_not_follow_its_invite_to_where_the_terminal_is_not() {
    for by_uri in BY {
        let net = registered();
        for branch in ["a", "b"] {
            net.is_answered_slowly(&invite(branch, by_uri), 180);
        }
        let m = invite("c", by_uri);
        net.is_answered_slowly(&m, 100);
        let cancel = Sip {
            to: m.to.clone(),
            ..within(&m, "CANCEL", 1, "c")
        };
        assert!(net.listens(&cancel), "{by_uri}");
        net.arrives(PHONE, &answer(&m, 487));
        assert!(net.listens(&within(&m, "ACK", 1, "c")), "{by_uri}");
    }
}

/// The answer to a CANCEL says where it arrived.
#[test]
fn an_answer_to_a_cancel_counts() {
    let net = registered();
    let m = invite("a", false);
    net.is_answered_slowly(&m, 180);
    let cancel = Sip {
        to: m.to.clone(),
        ..within(&m, "CANCEL", 1, "a")
    };
    assert_eq!(net.goes(&cancel), PHONE);
    net.wait_tenths(5);
    assert_eq!(net.goes(&cancel), FORGOTTEN);
    net.arrives(PHONE, &answer(&cancel, 200));
    net.wait(1);
    assert_eq!(net.goes(&invite("b", false)), FORGOTTEN);
}

/// Responses of the PBX go to an address that only seems proven, until the terminal repeats its request.
#[test]
fn a_repeated_request_ends_what_only_seemed_proven() {
    let net = registered();
    net.is_answered_slowly(&invite("a", false), 200);
    let mut m = from_phone("OPTIONS", 1, "o");
    m.more.clear();
    for to in [PHONE, FORGOTTEN] {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(200)), to);
        net.wait_tenths(5);
    }
    let m = from_phone("OPTIONS", 2, "p");
    net.arrives(PHONE, &m);
    assert_eq!(net.goes(&m.answer(200)), FORGOTTEN);
    assert_eq!(net.is_answered_slowly(&invite("b", false), 200), 1);
}

/// Weak evidence is none for responses: they go to the original destination first, and a repeated request says nothing.
#[test]
fn a_repeated_request_does_not_end_what_weak_evidence_made_seem_proven() {
    let net = registered();
    let m = invite("a", true);
    assert_eq!([net.goes(&m), net.goes(&m)], [FORGOTTEN, PHONE]);
    net.arrives(PHONE, &answer(&m, 200));
    let mut m = from_phone("OPTIONS", 1, "o");
    m.more.clear();
    for to in [FORGOTTEN, PHONE] {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(200)), to);
    }
    net.wait(1);
    assert_eq!(net.goes(&invite("b", true)), PHONE);
}

/// A distant terminal repeats its REGISTER while the challenge is on its way. It answers one of two challenges.
#[test]
fn credentials_after_a_second_challenge_may_answer_the_first() {
    let net = Network::new();
    let m = register(1, "r1", CONTACT);
    for to in [FORGOTTEN, PHONE] {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(401)), to);
    }
    let m = register(2, "r2", CONTACT).with(CREDENTIALS);
    net.arrives(PHONE, &m);
    let (to, counted) = net.sends(FORGOTTEN, &m.answer(200));
    assert!(counted.contains(&Counter::PeerProven));
    // It repeats this one, too, since the answer goes to the wrong port.
    assert_eq!(to, PHONE);
    net.arrives(PHONE, &m);
    assert_eq!(net.goes(&m.answer(200)), FORGOTTEN);
    net.wait(1);
    assert_eq!(net.is_answered_slowly(&invite("a", false), 200), 1);
    assert_eq!(net.is_answered_slowly(&invite("b", false), 200), 1);
}

/// A slow answer ends the count of what went unanswered, though it does not tell which transmission it answers.
#[test]
fn an_answer_that_tells_nothing_ends_the_count() {
    for transmissions in [2, 3] {
        let net = registered();
        let m = invite("a", false);
        for _ in 0..transmissions {
            net.goes(&m);
            net.wait_tenths(6);
        }
        net.wait(1);
        net.arrives(PHONE, &answer(&m, 200));
        net.wait(1);
        assert_eq!(net.goes(&invite("b", false)), FORGOTTEN, "{transmissions}");
        let bye = from_pbx("BYE", 2, "bye").call("a").tagged_as("callee");
        assert_eq!(net.goes(&bye), FORGOTTEN, "{transmissions}");
    }
}

/// A terminal that answers from the port on which it listens is there, though the last transmission went to the other port. The
/// next request goes there at once, however soon it comes, and so does a CANCEL.
#[test]
fn an_answer_from_where_it_listens_ends_the_count() {
    for by_uri in BY {
        for status in [100, 180, 200, 404, 486] {
            let net = registered();
            let m = invite("a", by_uri);
            assert_eq!([net.goes(&m), net.goes(&m)], [FORGOTTEN, PHONE]);
            net.arrives(FORGOTTEN, &answer(&m, status));
            let cancel = Sip {
                to: m.to.clone(),
                ..within(&m, "CANCEL", 1, "a")
            };
            assert_eq!(net.goes(&cancel), FORGOTTEN, "{status} {by_uri}");
            let next = net.goes(&invite("b", by_uri));
            assert_eq!(next, FORGOTTEN, "{status} {by_uri}");
        }
    }
}

/// Where only its Contact URI names the terminal, somebody else may have answered: the count of the others goes on.
#[test]
fn an_answer_to_a_request_by_the_uri_does_not_end_the_count_of_others() {
    for (from, transmissions) in [(FORGOTTEN, 2), (FORGOTTEN, 3), (PHONE, 4)] {
        let net = registered();
        assert_eq!(net.goes(&invite("a", false)), FORGOTTEN);
        net.wait(1);
        let m = invite("b", true);
        for _ in 0..transmissions {
            net.goes(&m);
        }
        net.wait(1);
        net.arrives(from, &answer(&m, 200));
        assert_eq!(net.goes(&invite("c", false)), PHONE, "{from:?}");
    }
}

impl Network {
    /// Sends a request once, or several times, to the terminal's Contact. Returns where it goes.
    fn went(&self, m: &Sip, times: usize) -> Vec<Address> {
        (0..times).map(|_| self.goes(m)).collect()
    }

    /// The terminal registers again, for a day.
    fn registers_again(&self, cseq: u32, branch: &'static str) {
        let m = register(cseq, branch, CONTACT).with("Expires: 86400");
        self.arrives(PHONE, &m);
        self.goes(&m.answer(200).with("Expires: 86400"));
    }
}

/// Terminal that answered at its learned address alone, under the name `a`, where the original destination was not tried.
fn proven() -> Network {
    let net = registered();
    let m = invite("a", false);
    assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    let m = invite("a2", false);
    assert_eq!(net.went(&m, 1), [PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    net
}

/// Terminal that only seemed to be at its learned address, under the names `a` and `b`.
fn deaf() -> Network {
    let net = registered();
    for branch in ["a", "b"] {
        net.is_answered_slowly(&invite(branch, false), 180);
    }
    net.wait(1);
    net
}

/// A terminal that is slow once is still there.
#[test]
fn a_proof_does_not_become_one_that_only_seems_so() {
    let net = proven();
    let m = invite("b", false);
    assert_eq!(net.went(&m, 2), [PHONE, PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("c", false), 2), [PHONE, PHONE]);
}

/// An answer to what went to the learned address alone counts, whatever was disproved before.
#[test]
fn an_answer_at_the_learned_address_alone_ends_what_was_disproved() {
    let net = deaf();
    assert_eq!(net.went(&invite("c", false), 1), [FORGOTTEN]);
    net.wait(1);
    let m = invite("d", false);
    assert_eq!(net.went(&m, 1), [PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("e", false), 2), [PHONE, PHONE]);
}

/// A slow answer ends the count of what went unanswered, though it proves nothing any more.
#[test]
fn an_answer_after_what_was_disproved_ends_the_count() {
    let net = deaf();
    let m = invite("c", false);
    assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    assert_eq!(net.went(&invite("d", false), 1), [FORGOTTEN]);
}

/// A terminal that answers from there after it was away has the next request at once.
#[test]
fn an_answer_ends_the_count_of_a_proven_terminal() {
    let net = proven();
    assert_eq!(net.went(&invite("b", false), 3), [PHONE, PHONE, FORGOTTEN]);
    net.wait(1);
    // A PBX that gives up after three reaches both, so the next request begins with the other one.
    let m = invite("c", false);
    assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("d", false), 1), [PHONE]);
}

/// A proof lasts 12 hours from the last answer on, whatever goes unanswered meanwhile.
#[test]
fn a_proof_ages_from_the_last_answer_on() {
    const HOURS: u64 = 3600;
    for answers_again in [false, true] {
        let net = proven();
        net.wait(7 * HOURS);
        net.registers_again(2, "r2");
        let m = invite("b", false);
        assert_eq!(net.went(&m, 2), [PHONE, PHONE]);
        if answers_again {
            net.arrives(PHONE, &answer(&m, 180));
        }
        net.wait(6 * HOURS);
        net.registers_again(3, "r3");
        let first = if answers_again { PHONE } else { FORGOTTEN };
        assert_eq!(net.went(&invite("c", false), 1), [first]);
    }
}

/// A phone with two ports that watches others gets several requests in one moment.
#[test]
fn requests_in_one_moment_go_one_way_after_what_was_disproved() {
    let net = deaf();
    for branch in ["c", "d", "e"] {
        assert_eq!(net.went(&invite(branch, false), 1), [FORGOTTEN], "{branch}");
    }
}

/// Weak evidence changes nothing of a proof of the other kind, nor of its count, and lasts on its own.
#[test]
fn weak_evidence_is_counted_on_its_own() {
    const HOURS: u64 = 3600;
    // It neither takes the proof away, nor ends it, nor makes it last.
    let net = proven();
    net.wait(11 * HOURS);
    net.registers_again(2, "r2");
    let m = invite("b", true);
    assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("c", false), 2), [PHONE, PHONE]);
    net.arrives(FORGOTTEN, &answer(&m, 180));
    net.wait(2 * HOURS);
    net.registers_again(3, "r3");
    assert_eq!(net.went(&invite("d", false), 1), [FORGOTTEN]);
    // A request that only the URI names is not counted, and its answer ends no count.
    for answered in [false, true] {
        let net = registered();
        if answered {
            assert_eq!(net.went(&invite("a", false), 1), [FORGOTTEN]);
            net.wait(1);
        }
        let m = invite("b", true);
        assert_eq!(net.went(&m, 1 + usize::from(answered))[0], FORGOTTEN);
        if answered {
            net.arrives(PHONE, &answer(&m, 180));
        }
        net.wait(1);
        let first = if answered { PHONE } else { FORGOTTEN };
        assert_eq!(net.went(&invite("c", false), 1), [first], "{answered}");
    }
    // Its own proof lasts 12 hours from the last answer on.
    let net = registered();
    net.wait(1);
    net.registers_again(2, "r2");
    for (cseq, branches) in [(3, ["a", "b"]), (4, ["c", "d"])] {
        for branch in branches {
            let m = invite(branch, true);
            while net.goes(&m) != PHONE {}
            net.arrives(PHONE, &answer(&m, 180));
            net.wait(1);
        }
        net.wait(7 * HOURS);
        net.registers_again(cseq, "r3");
    }
    assert_eq!(net.went(&invite("e", true), 2), [PHONE, PHONE]);
}

/// The terminal repeats a request whose response went to its learned address, which is proven: the response was lost.
#[test]
fn a_repeated_request_does_not_end_a_proof() {
    let net = proven();
    let mut m = from_phone("OPTIONS", 1, "o");
    m.more.clear();
    for _ in 0..2 {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(200)), PHONE);
        net.wait_tenths(5);
    }
    net.wait(1);
    assert_eq!(net.went(&invite("b", false), 2), [PHONE, PHONE]);
}

/// A terminal has answered at its original destination. A slow answer from the port from which it sends ends the count.
#[test]
fn a_slow_answer_of_a_terminal_that_is_left_alone_ends_the_count() {
    let net = registered();
    let m = invite("a", false);
    assert_eq!(net.went(&m, 1), [FORGOTTEN]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    let m = invite("b", false);
    assert_eq!(net.went(&m, 3), [FORGOTTEN, FORGOTTEN, PHONE]);
    net.wait(1);
    net.arrives(PHONE, &answer(&m, 180));
    assert_eq!(net.went(&invite("c", false), 1), [FORGOTTEN]);
}

/// A terminal that listens at its original destination answers there, and at last after the third transmission, which went to its other
/// port. What was disproved stays so, and the answer ends the count.
#[test]
fn answers_at_the_original_do_not_end_what_was_disproved() {
    let net = deaf();
    for branch in ["c", "d"] {
        let m = invite(branch, false);
        assert_eq!(net.went(&m, 1), [FORGOTTEN]);
        net.arrives(PHONE, &answer(&m, 180));
        net.wait(1);
    }
    let m = invite("e", false);
    assert_eq!(net.went(&m, 3), [FORGOTTEN, FORGOTTEN, PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("f", false), 1), [FORGOTTEN]);
}

/// The terminal got the INVITE where the PBX sent it, which is its learned address. So it gets the re-INVITE there, though its Contact
/// in the call names another port.
#[test]
fn an_answer_at_the_learned_address_proves_it_in_the_dialog() {
    let net = Network::new();
    let m = register(1, "r", "<sip:1000@60.17.196.2:49163>");
    net.arrives(PHONE, &m);
    net.sends(PHONE, &m.answer(200));
    let m = Sip {
        start: "INVITE sip:1000@60.17.196.2:49163 SIP/2.0".into(),
        ..invite("a", false)
    };
    assert_eq!(net.sends(PHONE, &m).0, PHONE);
    net.arrives(PHONE, &answer(&m, 200));
    assert_eq!(net.goes(&within(&m, "INVITE", 2, "re")), PHONE);
}

/// The answer may be a slow one to the transmission before, from a phone behind NAT. It disproves that the phone is at its learned
/// address, and does not say that it is at the other one: the second transmission reaches it.
#[test]
fn an_answer_that_disproves_is_none_at_the_original() {
    for by_uri in BY {
        let net = registered();
        let m = invite("a", by_uri);
        assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
        net.arrives(PHONE, &answer(&m, 180));
        net.wait(1);
        let m = invite("b", by_uri);
        assert_eq!(net.went(&m, 2), [PHONE, FORGOTTEN]);
        net.arrives(PHONE, &answer(&m, 180));
        net.wait(1);
        let m = invite("c", by_uri);
        assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE], "{by_uri}");
    }
}

/// A request began at the original destination, because one before was not answered. The answer to its third transmission may be one
/// to the second, from a phone behind NAT. It disproves all the same: a phone with two ports, which needs no sipnat, gives it, too.
#[test]
fn an_answer_after_three_transmissions_disproves() {
    let net = registered();
    let m = invite("a", false);
    assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("b", false), 1), [PHONE]);
    net.wait(1);
    let m = invite("c", false);
    assert_eq!(net.went(&m, 3), [FORGOTTEN, PHONE, FORGOTTEN]);
    net.arrives(PHONE, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("d", false), 1), [FORGOTTEN]);
}

/// Weak evidence only seemed to prove it. An answer from there to a request that names the terminal, and went to its other port, ends
/// that, too.
#[test]
fn an_answer_to_any_request_ends_what_weak_evidence_made_seem_proven() {
    let net = registered();
    net.is_answered_slowly(&invite("a", true), 180);
    let m = invite("b", false);
    assert!(net.listens(&m));
    net.arrives(PHONE, &answer(&m, 404));
    net.wait(1);
    assert!(net.listens(&invite("c", true)));
}

/// A 100 from a port of which the PBX knows nothing moves nothing. It has no tag (RFC 3261 8.2.6.2), which any other response has.
#[test]
fn a_100_from_another_port_moves_nothing() {
    for (status, to) in [(100, PHONE), (101, MOVED), (180, MOVED)] {
        let net = registered();
        let m = invite("a", false);
        assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
        net.arrives(MOVED, &answer(&m, status));
        let cancel = Sip {
            to: m.to.clone(),
            ..within(&m, "CANCEL", 1, "a")
        };
        assert_eq!(net.went(&cancel, 1), [to], "{status}");
    }
}

/// Nor does it prove the learned address, to which the request went last. A terminal that sends from a new port each time listens elsewhere.
#[test]
fn a_100_from_another_port_proves_nothing() {
    let net = registered();
    let m = invite("a", false);
    assert_eq!(net.went(&m, 2), [FORGOTTEN, PHONE]);
    let counted = net.arrives(MOVED, &answer(&m, 100));
    assert!(!counted.contains(&Counter::PeerProven), "{counted:?}");
    net.wait(1);
    // What was answered is not overdue.
    assert_eq!(net.went(&invite("b", false), 2), [FORGOTTEN, PHONE]);
}

/// A CANCEL of an INVITE that went to the original destination last takes turns, too.
#[test]
fn a_cancel_follows_its_invite_to_the_original_and_then_to_the_learned_address() {
    let net = registered();
    let m = invite("a", false);
    assert_eq!(net.went(&m, 3), [FORGOTTEN, PHONE, FORGOTTEN]);
    net.arrives(PHONE, &answer(&m, 100));
    let cancel = Sip {
        to: m.to.clone(),
        ..within(&m, "CANCEL", 1, "a")
    };
    assert_eq!(net.went(&cancel, 3), [FORGOTTEN, PHONE, FORGOTTEN]);
}

/// Somebody else answers what only the Contact URI names, at the original destination. That ends no proof, and his dialog is
/// there.
#[test]
fn an_answer_at_the_original_to_a_request_by_the_uri_is_another_s() {
    let net = proven();
    let m = invite("b", true);
    assert_eq!(net.goes(&m), FORGOTTEN);
    net.arrives(FORGOTTEN, &answer(&m, 200));
    assert_eq!(net.goes(&within(&m, "BYE", 2, "bye")), FORGOTTEN);
    net.wait(1);
    // So his answer for the terminal is the first one.
    let m = invite("c", false);
    assert_eq!(net.went(&m, 3), [PHONE, PHONE, FORGOTTEN]);
    net.arrives(FORGOTTEN, &answer(&m, 180));
    net.wait(1);
    assert_eq!(net.went(&invite("d", false), 2), [PHONE, PHONE]);
}

/// The PBX repeats a provisional response, as it does each minute: the terminal has repeated its request before, and no more.
#[test]
fn a_provisional_response_again_is_no_repetition() {
    let net = registered();
    let m = from_phone("INVITE", 1, "i");
    for to in [FORGOTTEN, PHONE] {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(180)), to);
    }
    net.wait(60);
    assert_eq!(net.goes(&m.answer(180)), PHONE);
    // Nor is the first final one.
    let net = Network::new();
    let m = register(1, "r1", CONTACT);
    for to in [FORGOTTEN, PHONE] {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(100)), to);
    }
    assert_eq!(net.goes(&m.answer(200)), PHONE);
}

/// Credentials from elsewhere, or long after the challenge, say nothing of where the challenge went.
#[test]
fn credentials_from_elsewhere_or_too_late_prove_nothing() {
    for (source, seconds, proves) in [(PHONE, 1, true), (MOVED, 1, false), (PHONE, 33, false)] {
        let net = Network::new();
        let m = register(1, "r1", CONTACT);
        for _ in 0..2 {
            net.arrives(PHONE, &m);
            net.goes(&m.answer(401));
        }
        net.wait(seconds);
        let m = register(2, "r2", CONTACT).with(CREDENTIALS);
        net.arrives(source, &m);
        let counted = net.sends(FORGOTTEN, &m.answer(200)).1;
        assert_eq!(
            counted.contains(&Counter::PeerProven),
            proves,
            "{counted:?}"
        );
    }
}

/// Whoever can forge a terminal's address can send credentials from there, too, which he invents. The PBX refuses them, so
/// they do not say that the terminal has got a challenge.
#[test]
fn credentials_that_the_pbx_refuses_prove_nothing() {
    for (status, to) in [(200, PHONE), (401, FORGOTTEN), (403, FORGOTTEN)] {
        let net = registered();
        // The second time, the challenge would go to the learned address at once.
        for (call, times) in [("one", 2), ("two", 1)] {
            let m = register(1, "f1", CONTACT).call(call);
            for _ in 0..times {
                net.arrives(PHONE, &m);
                net.goes(&m.answer(401));
            }
            let m = register(2, "f2", CONTACT).call(call).with(CREDENTIALS);
            net.arrives(PHONE, &m);
            net.goes(&m.answer(status));
        }
        net.wait(1);
        assert_eq!(net.goes(&invite("a", false)), to, "{status}");
        // The terminal's own call.
        let m = from_phone("INVITE", 1, "own").call("own");
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(180)), to, "{status}");
    }
}

/// A repetition of the 200 comes T1 after the one before. An ACK that is repeated sooner may have crossed it; half of T1 tells.
#[test]
fn an_ack_is_repeated_after_half_of_t1() {
    for (wait, to) in [(T1 / 2 - 1, PHONE), (T1 / 2, FORGOTTEN)] {
        let net = registered();
        let m = invite("a", false);
        net.is_answered_slowly(&m, 200);
        assert_eq!(net.goes(&within(&m, "ACK", 1, "k1")), PHONE);
        net.now.set(net.now.get() + (wait << TICK_SHIFT));
        assert_eq!(net.goes(&within(&m, "ACK", 1, "k2")), FORGOTTEN);
        assert_eq!(net.goes(&invite("b", false)), to, "{wait}");
    }
}

/// The PBX repeats a request that a phone behind NAT did not answer in time. That disproves nothing, as a repeated ACK would.
#[test]
fn a_repeated_request_of_the_pbx_disproves_nothing() {
    let net = registered();
    let m = invite("a", false);
    net.is_answered_slowly(&m, 200);
    assert_eq!(net.goes(&within(&m, "ACK", 1, "k")), PHONE);
    let update = within(&m, "UPDATE", 2, "u");
    for to in [PHONE, FORGOTTEN, PHONE] {
        assert_eq!(net.goes(&update), to);
        net.wait_tenths(3);
    }
    net.arrives(PHONE, &answer(&update, 200));
    net.wait(1);
    assert_eq!(net.goes(&invite("b", false)), PHONE);
}

/// The ACK to the refusal of a device of RFC 2543, which has no tag, takes turns, too, whatever the PBX sends in between.
#[test]
fn a_repeated_ack_without_a_tag_follows_its_invite_to_the_other_address() {
    let net = registered();
    let m = invite("a", false);
    net.is_answered_slowly(&m, 486);
    let ack = Sip {
        to: m.to.clone(),
        ..within(&m, "ACK", 1, "a")
    };
    for (branch, to) in [("x", PHONE), ("y", FORGOTTEN), ("z", PHONE)] {
        let other = from_pbx("OPTIONS", 7, branch).call(branch);
        net.sends(MOVED, &other.tagged_as(branch));
        assert_eq!(net.goes(&ack), to);
    }
}

/// A CANCEL goes where the INVITE went last, if the terminal is there, and not at its learned address.
#[test]
fn a_cancel_does_not_follow_its_invite_away_from_the_original() {
    let net = deaf();
    let m = invite("c", false);
    assert_eq!(net.went(&m, 3), [FORGOTTEN, PHONE, FORGOTTEN]);
    let cancel = Sip {
        to: m.to.clone(),
        ..within(&m, "CANCEL", 1, "c")
    };
    assert_eq!(net.went(&cancel, 2), [FORGOTTEN, PHONE]);
}

/// Requests that are sent once, to a terminal that is away. Only a request that is repeated tries its other address.
#[test]
fn what_a_proven_terminal_misses_sends_nothing_elsewhere() {
    let net = proven();
    for branch in ["b", "c", "d", "e"] {
        assert_eq!(net.went(&invite(branch, false), 1), [PHONE], "{branch}");
        net.wait(1);
    }
}

/// The challenge to another request says nothing of the one to a REGISTER, though both have one name.
#[test]
fn a_challenge_to_an_invite_is_none_to_a_register() {
    let net = Network::new();
    net.arrives(PHONE, &register(1, "r1", CONTACT));
    let m = from_phone("INVITE", 1, "i").call("registration");
    for to in [FORGOTTEN, PHONE] {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(407)), to);
    }
    let m = register(2, "r2", CONTACT).with(CREDENTIALS);
    net.arrives(PHONE, &m);
    let counted = net.sends(FORGOTTEN, &m.answer(200)).1;
    assert!(!counted.contains(&Counter::PeerProven), "{counted:?}");
}

/// Under shadow a challenge goes where the PBX sends it, whatever sipnat would do.
#[test]
fn a_challenge_under_shadow_proves_nothing() {
    let contact = "<sip:1000@192.168.1.10>";
    for (shadow, proves) in [(false, true), (true, false)] {
        let net = Network::new();
        net.shadow.set(shadow);
        let m = register(1, "r1", contact);
        net.arrives(PHONE, &m);
        let counted = net.sends(ADVERTISED, &m.answer(401)).1;
        assert_eq!(counted, [Counter::OutRedirectedResponse]);
        let m = register(2, "r2", contact).with(CREDENTIALS);
        net.arrives(PHONE, &m);
        let counted = net.sends(ADVERTISED, &m.answer(200)).1;
        assert_eq!(counted.contains(&Counter::PeerProven), proves);
    }
}

/// The first challenge goes to an address that only seems proven, the second one to the other address: the terminal has answered
/// that one, or either.
#[test]
fn credentials_after_a_challenge_at_the_original_do_not_prove_the_learned_address() {
    let net = registered();
    net.is_answered_slowly(&invite("a", false), 180);
    let m = register(5, "r5", CONTACT);
    for to in [PHONE, FORGOTTEN] {
        net.arrives(PHONE, &m);
        assert_eq!(net.goes(&m.answer(401)), to);
        net.wait_tenths(5);
    }
    let m = register(6, "r6", CONTACT).with(CREDENTIALS);
    net.arrives(PHONE, &m);
    let counted = net.sends(FORGOTTEN, &m.answer(200)).1;
    assert!(!counted.contains(&Counter::PeerProven), "{counted:?}");
    assert_eq!(net.goes(&invite("b", false)), FORGOTTEN);
}

/// The terminal listens at its original destination, where it has answered. Both transmissions of the next request go there, and it
/// answers from the port from which it sends: that says nothing of what is sent to that port.
#[test]
fn an_answer_to_what_went_to_the_original_alone_disproves_nothing() {
    let net = registered();
    let first = invite("a", false);
    assert!(net.listens(&first));
    net.arrives(FORGOTTEN, &first.answer(200).tagged_as("callee"));
    net.wait(1);
    let second = invite("b", false);
    assert!(net.listens(&second) && net.listens(&second));
    net.arrives(PHONE, &second.answer(200).tagged_as("callee"));
    let facts = net.entries::<Peer>();
    let mut flags = facts.iter().map(|entry| entry.value.flags);
    assert!(flags.all(|flags| flags & (PeerFlags::DEAF | PeerFlags::PROVEN) != PeerFlags::DEAF));
}
