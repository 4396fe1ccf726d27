//! Facts of addresses: each is one of its own, is written when it tells something new, and counts for its time.

use nat_common::abi::{
    Counter, Entry, OutboundFlags, OutboundTransaction, Peer, PeerFlags, Policy, TICK_SHIFT, ticks,
};
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::engine::lifetimes::{ANSWER_LIFE, ANSWERED_LIFE, PEER_LIFE, T1, TRANSACTION_LIFE};

use crate::{
    ADVERTISED, FORGOTTEN, Network, PHONE, STRANGER, Sip, call_phone, from_pbx, from_phone,
    register,
};

const FIRST: Counter = Counter::OutOriginalFirst;
const CALLED: Counter = Counter::OutRedirectedContact;

/// Returns an entry for a pair of addresses.
fn pair(learned: &Endpoint, original: &Endpoint, flags: PeerFlags) -> Entry<Peer> {
    let mut entry = Entry::<Peer>::default();
    entry.value.set_learned(learned);
    entry.value.set_original(original);
    entry.value.flags = flags;
    entry
}

/// Returns the pair of the phone behind an ALG.
fn of_phone(flags: PeerFlags) -> Entry<Peer> {
    let [learned, original] = [PHONE, FORGOTTEN].map(|(addr, port)| Endpoint::v4(addr, port));
    pair(&learned, &original, flags)
}

fn resident(address: &Endpoint, owner: u64) -> Entry<Peer> {
    let mut entry = Entry::<Peer>::default();
    entry.value.set_learned(address);
    entry.value.owner = owner;
    entry
}

/// Returns the only fact that is stored.
fn stored(net: &Network) -> Entry<Peer> {
    let all = net.entries::<Peer>();
    let [entry] = all[..] else { panic!("{all:#?}") };
    entry
}

fn wait_ticks(net: &Network, ticks: u64) {
    net.now.set(net.now.get() + (ticks << TICK_SHIFT));
}

fn now(net: &Network) -> u64 {
    ticks(net.now.get())
}

/// Returns addresses that differ from the first in one part each.
fn addresses() -> [Endpoint; 4] {
    let phone = Endpoint {
        addr: [0x2001, 0x0db8],
        port: 49163,
        reserved: 0,
    };
    let [mut network, mut host, mut port] = [phone; 3];
    network.addr[0] += 1;
    host.addr[1] += 1;
    port.port += 1;
    [phone, network, host, port]
}

#[test]
fn each_pair_has_its_own() {
    let net = Network::new();
    let [one, other] = [
        addresses(),
        addresses().map(|mut address| {
            address.addr[0] ^= 0xff00;
            address
        }),
    ];
    let mut pairs: Vec<_> = one.iter().map(|learned| (*learned, other[0])).collect();
    pairs.extend(other[1..].iter().map(|original| (one[0], *original)));
    // The same two the other way round.
    pairs.push((other[0], one[0]));
    let sockets = [5060, 5070].map(|port| Endpoint::v4([203, 0, 113, 10], port));
    for socket in sockets {
        net.socket.set(socket);
        for (learned, original) in &pairs {
            let mut entry = pair(learned, original, PeerFlags::PROVEN | PeerFlags::HEARS);
            assert!(engine::prove_pair(&net.0, &mut entry));
        }
    }
    assert_eq!(net.entries::<Peer>().len(), 2 * pairs.len());
    for socket in sockets {
        net.socket.set(socket);
        for (learned, original) in &pairs {
            engine::note_transmission(
                &net.0,
                &mut pair(learned, original, PeerFlags::empty()),
                true,
            );
        }
    }
    for entry in net.entries::<Peer>() {
        assert_eq!(entry.value.unanswered, 1);
        assert_eq!(entry.value.flags, PeerFlags::PROVEN | PeerFlags::HEARS);
    }
}

#[test]
fn each_address_has_its_own_resident() {
    let net = Network::new();
    for port in [5060, 5070] {
        net.socket.set(Endpoint::v4([203, 0, 113, 10], port));
        for address in addresses() {
            engine::note_resident(&net.0, &mut resident(&address, 7));
        }
    }
    assert_eq!(net.entries::<Peer>().len(), 8);
}

#[test]
fn a_resident_is_written_when_it_is_new_or_half_its_life_old() {
    let net = Network::new();
    let address = addresses()[0];
    let begin = now(&net);
    engine::note_resident(&net.0, &mut resident(&address, 7));
    wait_ticks(&net, PEER_LIFE / 2 - 1);
    engine::note_resident(&net.0, &mut resident(&address, 7));
    assert_eq!(stored(&net).at, begin);
    // Another owner lives there.
    engine::note_resident(&net.0, &mut resident(&address, 8));
    assert_eq!((stored(&net).at, stored(&net).value.owner), (now(&net), 8));
    wait_ticks(&net, PEER_LIFE / 2);
    engine::note_resident(&net.0, &mut resident(&address, 8));
    assert_eq!(stored(&net).at, now(&net));
}

#[test]
fn a_proof_is_written_when_it_is_new_or_half_its_life_old() {
    let proven = PeerFlags::PROVEN | PeerFlags::HEARS;
    let net = Network::new();
    let begin = now(&net);
    assert!(engine::prove_pair(&net.0, &mut of_phone(proven)));
    assert_eq!(net.events.take(), [Counter::PeerProven]);
    wait_ticks(&net, PEER_LIFE / 2 - 1);
    assert!(engine::prove_pair(&net.0, &mut of_phone(proven)));
    assert_eq!(net.events.take(), []);
    assert_eq!(stored(&net).at, begin);
    wait_ticks(&net, 1);
    assert!(engine::prove_pair(&net.0, &mut of_phone(proven)));
    assert_eq!(stored(&net).at, now(&net));
    // It ends a count.
    engine::note_transmission(&net.0, &mut of_phone(PeerFlags::empty()), true);
    assert_eq!(stored(&net).value.unanswered, 1);
    wait_ticks(&net, 1);
    engine::prove_pair(&net.0, &mut of_phone(proven));
    assert_eq!(
        (stored(&net).value.unanswered, stored(&net).at),
        (0, now(&net))
    );
    // What only seems so takes nothing from it.
    engine::note_transmission(&net.0, &mut of_phone(PeerFlags::empty()), true);
    let seems = PeerFlags::PROVEN | PeerFlags::SEEMING;
    assert!(engine::prove_pair(&net.0, &mut of_phone(seems)));
    assert_eq!(stored(&net).value.flags, proven);
}

#[test]
fn what_was_disproved_seems_so_no_more() {
    let net = Network::new();
    let seems = PeerFlags::PROVEN | PeerFlags::SEEMING;
    engine::prove_pair(&net.0, &mut of_phone(seems));
    wait_ticks(&net, 5);
    assert!(engine::note_deaf(&net.0, &mut of_phone(PeerFlags::PROVEN)));
    assert_eq!(
        (stored(&net).value.flags, stored(&net).at),
        (PeerFlags::DEAF, now(&net))
    );
    engine::note_transmission(&net.0, &mut of_phone(PeerFlags::empty()), true);
    net.events.take();
    assert!(!engine::prove_pair(&net.0, &mut of_phone(seems)));
    assert_eq!(net.events.take(), []);
    assert_eq!(
        (stored(&net).value.flags, stored(&net).value.unanswered),
        (PeerFlags::DEAF, 0)
    );
}

/// The wait for an answer begins with the request that counted last.
#[test]
fn a_count_goes_on_for_the_life_of_a_pair() {
    for (wait, count) in [(PEER_LIFE - 1, 2), (PEER_LIFE, 1)] {
        let net = Network::new();
        engine::note_transmission(&net.0, &mut of_phone(PeerFlags::empty()), false);
        wait_ticks(&net, wait);
        engine::note_transmission(&net.0, &mut of_phone(PeerFlags::empty()), false);
        assert_eq!(stored(&net).value.unanswered, count);
        assert_eq!(stored(&net).at, now(&net));
    }
    let net = Network::new();
    let begin = now(&net);
    engine::note_transmission(&net.0, &mut of_phone(PeerFlags::empty()), false);
    wait_ticks(&net, T1 - 1);
    engine::note_transmission(&net.0, &mut of_phone(PeerFlags::empty()), false);
    assert_eq!((stored(&net).value.unanswered, stored(&net).at), (1, begin));
}

/// A phone whose Contact is its public address without the port.
fn behind_alg() -> Network {
    let net = Network::new();
    net.register();
    net
}

fn verdict(net: &Network, m: &Sip) -> Counter {
    *net.sends(FORGOTTEN, m).1.last().expect("a verdict")
}

#[test]
fn an_answer_may_be_on_its_way_for_t1() {
    for (wait, next) in [(T1 - 1, FIRST), (T1, CALLED)] {
        let net = behind_alg();
        assert_eq!(verdict(&net, &call_phone("a")), FIRST);
        wait_ticks(&net, wait);
        assert_eq!(verdict(&net, &call_phone("b")), next);
    }
}

#[test]
fn an_answer_to_a_repetition_tells_within_t1() {
    for (wait, proves) in [(T1 - 1, true), (T1, false)] {
        let net = behind_alg();
        let invite = call_phone("a");
        verdict(&net, &invite);
        wait_ticks(&net, T1);
        assert_eq!(verdict(&net, &invite), CALLED);
        wait_ticks(&net, wait);
        let counted = net.arrives(PHONE, &invite.answer(200).tagged_as("callee"));
        assert_eq!(counted.contains(&Counter::PeerProven), proves, "{wait}");
    }
}

#[test]
fn a_ping_waits_for_t1() {
    let ping = |branch| Sip {
        start: "OPTIONS sip:1000@192.168.1.10 SIP/2.0".into(),
        to: "<sip:1000@192.168.1.10>".into(),
        cseq: (1, "OPTIONS"),
        ..call_phone(branch)
    };
    for (wait, next) in [(T1 - 1, FIRST), (T1, CALLED)] {
        let net = behind_alg();
        assert_eq!(net.sends(ADVERTISED, &ping("a")).1, [FIRST]);
        wait_ticks(&net, wait);
        assert_eq!(net.sends(ADVERTISED, &ping("b")).1, [next], "{wait}");
    }
    // One that any response answered at the original destination speaks for nobody else.
    for status in [100, 200, 404] {
        let net = behind_alg();
        net.sends(ADVERTISED, &ping("a"));
        net.arrives(ADVERTISED, &ping("a").answer(status));
        wait_ticks(&net, T1);
        let next = *net
            .sends(ADVERTISED, &ping("b"))
            .1
            .last()
            .expect("a verdict");
        assert_ne!(next, CALLED, "{status}");
    }
}

/// Any response to one at the learned address speaks for that.
#[test]
fn a_ping_that_is_answered_at_the_learned_address() {
    let ping = |branch| Sip {
        start: "OPTIONS sip:1000@192.168.1.10 SIP/2.0".into(),
        to: "<sip:1000@192.168.1.10>".into(),
        cseq: (1, "OPTIONS"),
        ..call_phone(branch)
    };
    for status in [100, 200, 404] {
        let net = behind_alg();
        assert_eq!(net.sends(ADVERTISED, &ping("a")).1, [FIRST]);
        wait_ticks(&net, T1);
        assert_eq!(net.sends(ADVERTISED, &ping("b")).1, [CALLED]);
        net.arrives(PHONE, &ping("b").answer(status));
        wait_ticks(&net, T1);
        assert_eq!(net.sends(ADVERTISED, &ping("c")).1, [CALLED], "{status}");
    }
}

/// Returns the owners whose terminals are known to have answered by themselves, one for each address; 0: any.
fn owners_that_answered(net: &Network) -> Vec<u64> {
    let all = net.entries::<Peer>().into_iter();
    all.filter(|e| e.value.flags == PeerFlags::ANSWERED)
        .map(|e| e.value.owner)
        .collect()
}

/// sipnat had no choice: the answer says nothing of the owner.
#[test]
fn an_answer_under_the_policy_off() {
    let net = behind_alg();
    net.policy.set(Policy::Off);
    let invite = call_phone("a");
    verdict(&net, &invite);
    net.arrives(FORGOTTEN, &invite.answer(200).tagged_as("callee"));
    assert_eq!(owners_that_answered(&net), [0]);
}

#[test]
fn a_terminal_that_answers_by_itself_is_left_alone_for_a_day() {
    for (wait, next) in [
        (ANSWERED_LIFE - 1, Counter::OutLeftAlone),
        (ANSWERED_LIFE, FIRST),
    ] {
        let net = behind_alg();
        net.change_bindings(|binding| binding.expires = u64::MAX);
        let invite = call_phone("a");
        verdict(&net, &invite);
        net.arrives(FORGOTTEN, &invite.answer(200).tagged_as("callee"));
        wait_ticks(&net, wait);
        assert_eq!(verdict(&net, &call_phone("b")), next, "{wait}");
    }
}

/// Two requests that are answered at the original destination end a proof of the learned address, and disprove nothing.
#[test]
fn two_answers_at_the_original_destination_end_a_proof() {
    let net = behind_alg();
    let begin = now(&net);
    engine::prove_pair(&net.0, &mut of_phone(PeerFlags::PROVEN | PeerFlags::HEARS));
    net.events.take();
    let of_pair = |net: &Network| {
        let all = net.entries::<Peer>().into_iter();
        all.filter(|entry| entry.value.original_port != 0)
            .collect::<Vec<_>>()
    };
    for (branch, strikes) in [("a", 1), ("b", 2)] {
        wait_ticks(&net, T1);
        let invite = call_phone(branch);
        let went: Vec<_> = (0..3).map(|_| verdict(&net, &invite)).collect();
        assert_eq!(went[2], Counter::OutUnanswered, "{went:?}");
        // Each response to it is one answer.
        for status in [180, 200] {
            net.arrives(FORGOTTEN, &invite.answer(status).tagged_as("callee"));
        }
        let [entry] = of_pair(&net)[..] else { panic!() };
        assert_eq!(entry.value.strikes, strikes);
        let flags = match strikes {
            1 => PeerFlags::PROVEN | PeerFlags::HEARS,
            _ => PeerFlags::empty(),
        };
        assert_eq!((entry.value.flags, entry.at), (flags, begin));
    }
}

/// Somebody of whom nothing is known answers late. He is there, whichever transmission it was.
#[test]
fn an_answer_of_somebody_unknown() {
    let net = Network::new();
    let m = Sip {
        start: "INVITE sip:9@198.51.100.66 SIP/2.0".into(),
        to: "<sip:9@pbx>".into(),
        ..call_phone("u")
    };
    net.sends(STRANGER, &m);
    net.wait(1);
    net.sends(STRANGER, &m);
    net.wait(1);
    net.arrives(STRANGER, &m.answer(200).tagged_as("callee"));
    assert_eq!(owners_that_answered(&net), [0]);
}

/// An answer at the original destination is nobody's in particular if only the Contact URI names the terminal.
#[test]
fn an_answer_to_the_uri_alone() {
    let net = behind_alg();
    let m = Sip {
        to: "<sip:1000@192.168.1.10>".into(),
        ..call_phone("w")
    };
    net.sends(ADVERTISED, &m);
    net.arrives(ADVERTISED, &m.answer(200).tagged_as("callee"));
    assert_eq!(owners_that_answered(&net), [0]);
}

#[test]
fn a_response_counts_for_as_long_as_a_phone_rings() {
    for (wait, heard) in [
        (ANSWER_LIFE - 1, Counter::InResponse),
        (ANSWER_LIFE, Counter::InResponseUnasked),
    ] {
        let net = behind_alg();
        let invite = call_phone("a");
        net.sends(ADVERTISED, &invite);
        wait_ticks(&net, wait);
        let counted = net.arrives(PHONE, &invite.answer(200).tagged_as("callee"));
        assert_eq!(counted.last(), Some(&heard), "{wait}");
    }
}

#[test]
fn a_request_is_repeated_within_64_t1() {
    for (wait, times) in [(TRANSACTION_LIFE - 1, 1), (TRANSACTION_LIFE, 0)] {
        let net = behind_alg();
        net.change_bindings(|binding| binding.expires = u64::MAX);
        let invite = call_phone("a");
        net.sends(ADVERTISED, &invite);
        wait_ticks(&net, wait);
        net.sends(ADVERTISED, &invite);
        let all = net.entries::<OutboundTransaction>();
        let [entry] = all[..] else { panic!() };
        assert_eq!(entry.value.retransmissions, times, "{wait}");
        assert!(entry.value.flags.contains(OutboundFlags::REDIRECTED));
    }
}

#[test]
fn a_subscription_is_pending_for_64_t1() {
    for (wait, to) in [
        (TRANSACTION_LIFE - 1, PHONE),
        (TRANSACTION_LIFE, ADVERTISED),
    ] {
        let net = Network::new();
        net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
        wait_ticks(&net, wait);
        assert_eq!(
            net.sends(ADVERTISED, &from_pbx("NOTIFY", 1, "n")).0,
            to,
            "{wait}"
        );
    }
}

/// Credentials come within 64*T1 of the REGISTER that was challenged, or answer another challenge.
#[test]
fn credentials_come_within_64_t1() {
    for (wait, proves) in [(TRANSACTION_LIFE - 1, true), (TRANSACTION_LIFE, false)] {
        let net = Network::new();
        let contact = "<sip:1000@192.168.1.10>";
        let m = register(1, "r", contact);
        net.arrives(PHONE, &m);
        net.sends(ADVERTISED, &m.answer(401));
        wait_ticks(&net, wait);
        let again = register(2, "s", contact).with("Authorization: Digest x");
        net.arrives(PHONE, &again);
        let counted = net.sends(ADVERTISED, &again.answer(200)).1;
        assert_eq!(
            counted.contains(&Counter::PeerProven),
            proves,
            "{counted:?}"
        );
    }
}

/// A REGISTER is known without its branch for 64*T1: one of that name with other Contacts is in dispute until then.
#[test]
fn a_register_has_its_name_for_64_t1() {
    for (wait, counter) in [
        (TRANSACTION_LIFE - 1, Counter::RegisterNotOwn),
        (TRANSACTION_LIFE, Counter::ContactActivated),
    ] {
        let net = Network::new();
        net.arrives(PHONE, &register(1, "r", "<sip:1000@192.168.1.10>"));
        wait_ticks(&net, wait);
        let m = register(1, "s", "<sip:1000@192.168.1.11>");
        net.arrives(PHONE, &m);
        assert_eq!(net.sends(PHONE, &m.answer(200)).1[0], counter, "{wait}");
    }
}

/// Two sources dispute a pending subscription for as long as it is one.
#[test]
fn a_subscription_is_in_dispute_for_64_t1() {
    for (wait, counter, to) in [
        (TRANSACTION_LIFE - 1, Counter::PendingAmbiguous, ADVERTISED),
        (TRANSACTION_LIFE, Counter::PendingNoted, STRANGER),
    ] {
        let net = Network::new();
        net.arrives(PHONE, &from_phone("SUBSCRIBE", 1, "s"));
        wait_ticks(&net, wait);
        let counted = net.arrives(STRANGER, &from_phone("SUBSCRIBE", 1, "t"));
        assert_eq!(counted[0], counter, "{wait}");
        let notify = from_pbx("NOTIFY", 1, "n");
        assert_eq!(net.sends(ADVERTISED, &notify).0, to, "{wait}");
    }
}
