//! Entries: what each message leaves in the tables, field by field. What a later packet finds there decides where it goes.

use nat_common::abi::{
    Binding, BindingFlags, Counter, Entry, Ground, InboundFlags, InboundTransaction, OutboundFlags,
    OutboundTransaction, Peer, PeerFlags, PendingDialog, PendingFlags, Policy, SECOND, address,
    ticks,
};
use nat_common::endpoint::Endpoint;
use nat_common::engine;
use nat_common::engine::env::{Bindings as _, Buffer, Hashes as _};
use nat_common::sip::Direction;

use crate::{
    ADVERTISED, Address, FORGOTTEN, MOVED, Network, PHONE, STRANGER, Sip, call_phone, endpoint,
    from_phone, register,
};

/// Host to which a proxy sends REGISTERs on.
const UPSTREAM: Address = ([203, 0, 113, 99], 5060);

/// Flags of a request that went to the learned address last.
const REDIRECTED: OutboundFlags = OutboundFlags::REDIRECTED.union(OutboundFlags::TRIED_LEARNED);

/// Seconds of a week.
const WEEK: u64 = 7 * 24 * 3600;

/// Returns the only entry with exactly these flags of a terminal's request.
fn inbound(net: &Network, flags: InboundFlags) -> Entry<InboundTransaction> {
    only(net.entries(), |value: &InboundTransaction| {
        value.flags == flags
    })
}

/// Returns the only entry with exactly these flags of a request of the PBX.
fn outbound(net: &Network, flags: OutboundFlags) -> Entry<OutboundTransaction> {
    only(net.entries(), |value: &OutboundTransaction| {
        value.flags == flags
    })
}

/// Returns the only fact with exactly these flags.
fn peer(net: &Network, flags: PeerFlags) -> Entry<Peer> {
    only(net.entries(), |value: &Peer| value.flags == flags)
}

fn only<V: Copy + std::fmt::Debug>(all: Vec<Entry<V>>, is_it: impl Fn(&V) -> bool) -> Entry<V> {
    let found: Vec<_> = all.iter().filter(|entry| is_it(&entry.value)).collect();
    match found[..] {
        [entry] => *entry,
        _ => panic!("{} of {all:#?}", found.len()),
    }
}

fn now(net: &Network) -> u64 {
    ticks(net.now.get())
}

/// Returns the bindings of contacts: that of the owner, that of the URI alone, and that of the address.
fn contacts(net: &Network) -> [Binding; 3] {
    let all = net.contacts();
    let find = |of_owner: bool, by_address: bool| {
        let is_it = |binding: &&Binding| {
            (binding.key[1] != 0) == of_owner
                && binding.flags.contains(BindingFlags::BY_ADDRESS) == by_address
        };
        *all.values().find(is_it).expect("a contact")
    };
    assert_eq!(all.len(), 3);
    [find(true, false), find(false, false), find(false, true)]
}

#[test]
fn a_request_of_a_terminal() {
    for (m, flags) in [
        (from_phone("INVITE", 1, "i"), InboundFlags::DIRECT),
        (
            from_phone("INVITE", 1, "i").tagged("pbx"),
            InboundFlags::DIRECT | InboundFlags::IN_DIALOG,
        ),
        (
            Sip {
                vias: vec!["i", "j"],
                ..from_phone("INVITE", 1, "i")
            },
            InboundFlags::empty(),
        ),
        (
            from_phone("INVITE", 1, "i").with("Record-Route: <sip:edge;lr>"),
            InboundFlags::empty(),
        ),
    ] {
        let net = Network::new();
        net.arrives(PHONE, &m);
        let entry = inbound(&net, flags);
        assert_eq!(entry.at, now(&net));
        let value = &entry.value;
        assert_eq!(value.source(), endpoint(PHONE));
        assert_eq!(value.advertised(), endpoint(ADVERTISED));
        assert_eq!((value.repetitions, value.others, value.detail), (0, 0, 0));
        // The request again, before its answer.
        net.arrives(PHONE, &m);
        assert_eq!(inbound(&net, flags).value.repetitions, 0);
        assert_eq!(net.entries::<InboundTransaction>().len(), 1);
    }
}

#[test]
fn a_response_of_the_pbx() {
    for (status, state, is_final) in [
        (100, InboundFlags::PROCEEDING, false),
        (180, InboundFlags::PROCEEDING, false),
        (200, InboundFlags::ACCEPTED, true),
        (404, InboundFlags::REFUSED, true),
    ] {
        for (to, choice) in [
            (PHONE, InboundFlags::empty()),
            (ADVERTISED, InboundFlags::ANSWERED),
        ] {
            let net = Network::new();
            let invite = from_phone("INVITE", 1, "i");
            net.arrives(PHONE, &invite);
            let begin = now(&net);
            net.wait(1);
            net.sends(to, &invite.answer(status));
            let entry = inbound(&net, InboundFlags::DIRECT | state | choice);
            assert_eq!(entry.at, begin, "{status}");
            assert_eq!(entry.value.detail != 0, is_final, "{status}");
        }
    }
}

/// A REGISTER has two entries: one under its branch, and one beside it that is found whatever the branch of the response.
#[test]
fn a_register() {
    let net = Network::new();
    let m = register(1, "r", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &m);
    let own = InboundFlags::DIRECT | InboundFlags::REGISTER | InboundFlags::OWN_USER;
    let beside = InboundFlags::REGISTER | InboundFlags::BESIDE;
    for flags in [own, beside] {
        let entry = inbound(&net, flags);
        assert_eq!(entry.at, now(&net));
        assert_eq!(entry.value.source(), endpoint(PHONE));
        assert_eq!((entry.value.repetitions, entry.value.others), (0, 0));
        assert_ne!(entry.value.detail, 0);
    }
    assert_eq!(inbound(&net, own).value.advertised(), endpoint(ADVERTISED));
    assert_eq!(net.entries::<InboundTransaction>().len(), 2);
    net.sends(PHONE, &m.answer(200));
    inbound(&net, own | InboundFlags::ACCEPTED);
    // With credentials, for another domain, for nothing, for all.
    for (m, own_flags, more) in [
        (
            register(1, "r", "<sip:9@192.168.1.10>").with("Authorization: Digest x"),
            InboundFlags::CREDENTIALS,
            InboundFlags::CREDENTIALS,
        ),
        (
            Sip {
                start: "REGISTER sip:elsewhere SIP/2.0".into(),
                ..register(1, "r", "<sip:1000@pbx>")
            },
            InboundFlags::empty(),
            InboundFlags::OTHER_DOMAIN,
        ),
        (
            register(1, "r", "<sip:9@192.168.1.10>;expires=0"),
            InboundFlags::REMOVE,
            InboundFlags::empty(),
        ),
        (
            register(1, "r", "*").with("Expires: 0"),
            InboundFlags::REMOVE | InboundFlags::REMOVE_ALL,
            InboundFlags::empty(),
        ),
    ] {
        let net = Network::new();
        net.arrives(PHONE, &m);
        let own = InboundFlags::DIRECT | InboundFlags::REGISTER;
        inbound(&net, own | own_flags);
        inbound(&net, beside | more);
    }
}

#[test]
fn a_register_with_several_contacts() {
    let net = Network::new();
    let contacts = "<sip:9@192.168.1.10>, <sip:1000@192.168.1.11>, <sip:8@192.168.1.12>;expires=0";
    net.arrives(PHONE, &register(1, "r", contacts));
    let own = inbound(&net, InboundFlags::DIRECT | InboundFlags::REGISTER);
    assert_eq!(own.value.others, 2);
    let beside = InboundFlags::REGISTER | InboundFlags::BESIDE | InboundFlags::ACCEPTED;
    for (flags, address) in [
        (InboundFlags::OWN_USER, ([192, 168, 1, 11], 5060)),
        (InboundFlags::REMOVE, ([192, 168, 1, 12], 5060)),
    ] {
        let entry = inbound(&net, beside | flags);
        assert_eq!(entry.at, now(&net));
        assert_eq!(entry.value.source(), endpoint(PHONE));
        assert_eq!(entry.value.advertised(), endpoint(address));
        assert_ne!(entry.value.detail, 0);
    }
}

#[test]
fn a_challenge() {
    for status in [401, 407] {
        challenge(status);
    }
}

fn challenge(status: u16) {
    let net = Network::new();
    let m = register(1, "r", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &m);
    let begin = now(&net);
    net.wait(1);
    let counted = net.sends(ADVERTISED, &m.answer(status)).1;
    assert_eq!(counted, [Counter::OutRedirectedResponse]);
    let flags = InboundFlags::REGISTER | InboundFlags::BESIDE | InboundFlags::CHALLENGED;
    // That under any branch says so, too.
    let entry = only(net.entries(), |value: &InboundTransaction| {
        value.flags == flags && value.advertised() == endpoint(ADVERTISED)
    });
    assert_eq!(entry.at, begin);
    assert_eq!(entry.value.source(), endpoint(PHONE));
    assert_eq!(entry.value.repetitions, 0);
    // The terminal got it: it comes with credentials, and the PBX accepts them.
    let again = register(2, "s", "<sip:1000@192.168.1.10>").with("Authorization: Digest x");
    net.arrives(PHONE, &again);
    net.sends(ADVERTISED, &again.answer(200));
    let proof = peer(&net, PeerFlags::PROVEN | PeerFlags::HEARS);
    assert_eq!(proof.at, now(&net));
    assert_eq!(proof.value.learned(), endpoint(PHONE));
    assert_eq!(proof.value.original(), endpoint(ADVERTISED));
    let flags = BindingFlags::DIRECT | BindingFlags::OWN_USER | BindingFlags::PROXY;
    assert_eq!(contacts(&net)[0].flags, flags);
}

/// A challenge that a proxy relays is another's.
#[test]
fn a_challenge_of_another_registrar() {
    let net = Network::new();
    let m = register(1, "r", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &m);
    let on = Sip {
        vias: vec!["p", "r"],
        ..m.clone()
    };
    net.sends(UPSTREAM, &on);
    net.sends(ADVERTISED, &m.answer(401));
    let all = net.entries::<InboundTransaction>().into_iter();
    let mut challenged = all.filter(|e| e.value.flags.contains(InboundFlags::CHALLENGED));
    assert!(challenged.next().is_none());
}

/// The address takes over neither the proof of the URI nor the host where its terminal was before.
#[test]
fn the_entry_by_address_is_not_that_of_the_uri() {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("i"));
    net.register();
    let weak = Sip {
        to: "<sip:1000@192.168.1.10>".into(),
        ..call_phone("w")
    };
    net.sends(ADVERTISED, &weak);
    net.sends(ADVERTISED, &weak);
    let counted = net.arrives(PHONE, &weak.answer(200).tagged_as("callee"));
    assert!(counted.contains(&Counter::WeakProven));
    net.wait(1);
    net.register();
    let has = contacts(&net).map(|binding| binding.flags.contains(BindingFlags::WEAK));
    assert_eq!(has, [false, true, false]);
}

/// A proxy sends a REGISTER on. The agent reads to whom.
#[test]
fn a_register_that_is_sent_on() {
    let others = [
        0,
        address::on_link(2),
        address::LOCAL,
        address::ROUTED,
        address::PEER,
    ];
    for kind in others {
        let net = Network::new();
        net.kinds.replace(vec![(endpoint(UPSTREAM), kind)]);
        let m = register(1, "r", "<sip:1000@192.168.1.10>");
        net.arrives(PHONE, &m);
        net.wait(1);
        let on = Sip {
            vias: vec!["p", "r"],
            ..m
        };
        let counted = net.sends(UPSTREAM, &on).1;
        assert!(counted.contains(&Counter::RegisterSentOn), "{kind}");
        let next = only(net.entries(), |value: &InboundTransaction| {
            value.advertised() == endpoint(UPSTREAM)
        });
        let flags = InboundFlags::REGISTER | InboundFlags::BESIDE | InboundFlags::SENT_ON;
        assert_eq!(next.value.flags, flags);
        assert_eq!(next.at, now(&net));
        // It is noted once.
        let counted = net.sends(UPSTREAM, &on).1;
        assert!(!counted.contains(&Counter::RegisterSentOn), "{kind}");
    }
}

#[test]
fn a_pending_subscription() {
    for (vias, flags) in [
        (vec!["s"], PendingFlags::DIRECT),
        (vec!["s", "t"], PendingFlags::empty()),
    ] {
        let net = Network::new();
        let m = Sip {
            vias,
            ..from_phone("SUBSCRIBE", 1, "s")
        };
        net.arrives(PHONE, &m);
        let entry = only(net.entries(), |value: &PendingDialog| value.flags == flags);
        assert_eq!(entry.at, now(&net));
        assert_eq!(entry.value.source(), endpoint(PHONE));
        assert_eq!(entry.value.advertised(), endpoint(ADVERTISED));
    }
}

/// A refresh is no new subscription, and one without a tag could not be told from others.
#[test]
fn no_pending_subscription() {
    let without_tag = Sip {
        from: "<sip:1000@pbx>".into(),
        ..from_phone("SUBSCRIBE", 1, "s")
    };
    for m in [from_phone("SUBSCRIBE", 1, "s").tagged("pbx"), without_tag] {
        let net = Network::new();
        net.arrives(PHONE, &m);
        assert!(net.entries::<PendingDialog>().is_empty(), "{}", m.from);
    }
}

#[test]
fn a_registration() {
    let net = Network::new();
    // Its only Via shows that the PBX is no proxy.
    net.sends(ADVERTISED, &call_phone("i"));
    net.register();
    let [at, arrived] = [net.now.get(), now(&net)];
    for (binding, flags) in contacts(&net).iter().zip([
        BindingFlags::empty(),
        BindingFlags::empty(),
        BindingFlags::BY_ADDRESS,
    ]) {
        let kept = BindingFlags::DIRECT | BindingFlags::OWN_USER;
        assert_eq!(binding.flags, kept | flags);
        assert_eq!([binding.created, binding.seen], [at; 2]);
        assert_eq!(binding.expires, at + 60 * SECOND);
        assert_eq!([binding.contested, binding.redirected], [0; 2]);
        assert_eq!(binding.arrived, arrived);
        assert_eq!(binding.learned, endpoint(PHONE));
        assert_eq!(binding.advertised, endpoint(ADVERTISED));
        assert_eq!(binding.pbx, net.socket());
        assert_eq!(binding.aor, contacts(&net)[0].key[1]);
    }
    let texts = contacts(&net).map(|b| b.text[..usize::from(b.text_len)].to_vec());
    assert_eq!(
        texts,
        [&b"1000@pbx"[..], b"1000@192.168.1.10", b"1000@192.168.1.10"]
    );
    let resident = peer(&net, PeerFlags::LEARNED);
    assert_eq!(resident.at, arrived);
    assert_eq!(resident.value.learned(), endpoint(PHONE));
    assert_eq!(resident.value.owner, contacts(&net)[0].aor);
    let proxy = peer(&net, PeerFlags::empty());
    assert_eq!(proxy.at, arrived);
}

/// Each entry of a contact has its own age and count, and the doubt of its own.
#[test]
fn a_registration_that_is_new_under_one_key() {
    for pushed_out in [false, true] {
        let net = Network::new();
        net.register();
        let created = net.now.get();
        // One has expired, and there is a doubt in the others.
        net.change_bindings(|binding| {
            if binding.flags.contains(BindingFlags::BY_ADDRESS) {
                binding.expires = 0;
            } else {
                binding.contested = 7;
                binding.redirected = 5;
            }
        });
        if pushed_out {
            let mut all = net.contacts().into_iter();
            let (key, _) = all.find(|(_, b)| b.expires == 0).expect("an entry");
            let found = net.find(&key, Buffer::Other).expect("an entry");
            net.remove_contact(&key, found);
        }
        net.wait(1);
        let m = register(2, "r2", "<sip:1000@192.168.1.10>");
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        let states = contacts(&net).map(|b| (b.created, b.redirected, b.contested));
        let at = net.now.get();
        assert_eq!(states, [(created, 5, 7), (created, 5, 7), (at, 0, 0)]);
    }
}

/// The entry by the address is new where the contact has moved to another host: nobody was there before.
#[test]
fn an_entry_by_the_address_that_is_new_has_no_host_before() {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    for (from, call) in [(PHONE, "a"), (STRANGER, "b")] {
        net.registers_from(from, call);
        if from == PHONE {
            // As a flood would push it out.
            net.change_bindings(|binding| {
                if binding.flags.contains(BindingFlags::BY_ADDRESS) {
                    binding.expires = 0;
                }
            });
        }
    }
    let all = net.contacts().into_iter();
    let without_owner: Vec<_> = all.filter(|(key, _)| key.aor == 0).collect();
    assert_eq!(without_owner.len(), 2);
    for (_, binding) in without_owner {
        let [by_address, moved] =
            [BindingFlags::BY_ADDRESS, BindingFlags::MOVED].map(|f| binding.flags.contains(f));
        assert_ne!(by_address, moved);
    }
}

/// A further Contact comes in the packet of the first one, which may count as a tick younger. An older one is another REGISTER's.
#[test]
fn a_further_contact_is_as_old_as_the_first_one() {
    for (younger, counts) in [(0, true), (1, true), (2, false)] {
        let net = Network::new();
        let m = register(1, "r", "<sip:1@192.168.1.10>, <sip:2@192.168.1.11>");
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        let message = net.scan(&m.answer(200), Direction::Out);
        net.draft().arrived = now(&net) + younger;
        let found = engine::draft_further_contact(&net.0, &message, 1);
        assert_eq!(found, counts, "{younger}");
    }
}

/// The entry that `Contact: *` leaves says nothing of any terminal: the draft before was a contact.
#[test]
fn a_removal_has_nothing_of_another_binding() {
    let net = Network::new();
    net.register();
    net.wait(1);
    let star = register(2, "r2", "*").with("Expires: 0");
    net.arrives(PHONE, &star);
    net.sends(PHONE, &star.answer(200));
    let mut all = net.contacts().into_values();
    let removal = all.find(|binding| binding.key[0] == 0).expect("a removal");
    assert_eq!(
        [removal.learned, removal.advertised],
        [Endpoint::UNKNOWN; 2]
    );
    assert_eq!(removal.text_len, 0);
    assert_eq!(
        [removal.seen, removal.contested, removal.redirected],
        [0; 3]
    );
}

/// A Contact with a name of a domain has no address by which it could be found, nor has one at the learned address.
#[test]
fn a_registration_without_an_address_of_its_own() {
    for contact in ["<sip:1000@phone.example>", "<sip:1000@60.17.196.2:49163>"] {
        let net = Network::new();
        let m = register(1, "r", contact);
        net.arrives(PHONE, &m);
        net.sends(PHONE, &m.answer(200));
        assert_eq!(net.contacts().len(), 2, "{contact}");
    }
}

/// Further Contacts have their own address and rank.
#[test]
fn a_registration_of_several_contacts() {
    for may_be_proxy in [true, false] {
        registration_of_several_contacts(may_be_proxy);
    }
}

fn registration_of_several_contacts(may_be_proxy: bool) {
    let net = Network::new();
    let mut kept = BindingFlags::DIRECT;
    if may_be_proxy {
        kept |= BindingFlags::PROXY;
    } else {
        net.sends(ADVERTISED, &call_phone("i"));
    }
    let contacts = "<sip:9@192.168.1.10>, <sip:1000@192.168.1.11>";
    let m = register(1, "r", contacts);
    net.arrives(PHONE, &m);
    let granted = "Contact: <sip:9@192.168.1.10>;expires=60, <sip:1000@192.168.1.11>;expires=90";
    net.sends(PHONE, &m.answer(200).with(granted));
    for (address, flags, seconds) in [
        (ADVERTISED, kept, 60),
        (([192, 168, 1, 11], 5060), kept | BindingFlags::OWN_USER, 90),
    ] {
        let all = net.contacts().into_values();
        let of_it: Vec<_> = all.filter(|b| b.advertised == endpoint(address)).collect();
        assert_eq!(of_it.len(), 3, "{address:?}");
        for binding in of_it {
            assert_eq!(
                binding.flags - BindingFlags::BY_ADDRESS,
                flags,
                "{address:?}"
            );
            assert_eq!(binding.expires, net.now.get() + seconds * SECOND);
        }
    }
}

/// `Contact: *` leaves an entry that lasts longer than what it removes.
#[test]
fn a_registration_that_is_removed() {
    let net = Network::new();
    let star = register(2, "r2", "*").with("Expires: 0");
    net.arrives(PHONE, &star);
    let arrived = now(&net);
    net.wait(1);
    let counted = net.sends(PHONE, &star.answer(200)).1;
    assert!(counted.contains(&Counter::ContactRemoved));
    let [removal] = net.contacts().into_values().collect::<Vec<_>>()[..] else {
        panic!("not one entry");
    };
    assert_eq!(removal.key, [0, removal.aor]);
    assert_eq!(removal.created, net.now.get());
    assert_eq!(removal.expires, net.now.get() + WEEK * SECOND);
    assert_eq!(removal.arrived, arrived);
    // The PBX repeats its answer.
    let counted = net.sends(PHONE, &star.answer(200)).1;
    assert_eq!(counted, [Counter::OutAlreadyThere]);
    // What comes a moment later is as old as it is.
    let again = register(3, "r3", "<sip:1000@192.168.1.10>");
    net.arrives(PHONE, &again);
    net.sends(PHONE, &again.answer(200));
    assert_eq!(contacts_but(&net, removal.key)[0].arrived, now(&net));
}

/// Two REGISTERs came within one tick, the removal first.
#[test]
fn a_registration_in_the_tick_of_a_removal() {
    let net = Network::new();
    let star = register(2, "r2", "*").with("Expires: 0");
    net.arrives(PHONE, &star);
    net.sends(PHONE, &star.answer(200));
    let removal = [
        0,
        net.contacts().into_values().next().expect("a removal").aor,
    ];
    let again = register(3, "r3", "<sip:9@192.168.1.10>, <sip:1000@192.168.1.11>");
    net.arrives(PHONE, &again);
    net.sends(PHONE, &again.answer(200));
    let bindings = contacts_but(&net, removal);
    assert_eq!(bindings.len(), 6);
    for binding in bindings {
        assert_eq!(binding.arrived, now(&net) + 1);
    }
}

fn contacts_but(net: &Network, key: [u64; 2]) -> Vec<Binding> {
    let all = net.contacts().into_values();
    all.filter(|binding| binding.key != key).collect()
}

/// Two accounts remove what they have at the same time.
#[test]
fn removals_of_two_owners() {
    let net = Network::new();
    net.register();
    let star = |cseq, owner: &str| Sip {
        to: format!("<sip:{owner}@pbx>"),
        ..register(cseq, "star", "*")
            .with("Expires: 0")
            .call(match owner {
                "1000" => "registration",
                _ => "other",
            })
    };
    let [one, other] = [star(2, "1000"), star(3, "2000")];
    net.arrives(PHONE, &one);
    net.arrives(MOVED, &other);
    net.sends(PHONE, &one.answer(200));
    assert_eq!(net.sends(ADVERTISED, &call_phone("i")).0, ADVERTISED);
    let counted = net.sends(MOVED, &other.answer(200)).1;
    assert!(counted.contains(&Counter::ContactRemoved));
    assert_eq!(net.contacts().values().filter(|b| b.key[0] == 0).count(), 2);
}

/// A phone that only removes its Contact is nobody's neighbour afterwards.
#[test]
fn a_removed_contact_leaves_no_resident() {
    let net = Network::new();
    net.register();
    let m = register(2, "r2", "<sip:1000@192.168.1.10>;expires=0");
    net.arrives(MOVED, &m);
    net.sends(MOVED, &m.answer(200));
    peer(&net, PeerFlags::LEARNED);
}

#[test]
fn a_departure() {
    let net = Network::new();
    net.register();
    let aor = contacts(&net)[0].aor;
    net.wait(1);
    let m = register(2, "r2", "<sip:1000@192.168.1.10>");
    net.arrives(MOVED, &m);
    let arrived = now(&net);
    net.wait(1);
    net.sends(MOVED, &m.answer(200));
    let left = peer(&net, PeerFlags::LEFT);
    assert_eq!(left.at, arrived);
    assert_eq!(left.value.learned(), endpoint(PHONE));
    assert_eq!(left.value.owner, aor);
    // A refresh is no departure, nor is a first registration.
    assert_eq!(
        net.entries::<Peer>()
            .iter()
            .filter(|e| e.value.flags == PeerFlags::LEFT)
            .count(),
        1
    );
}

/// No terminal has left an address that it still has, or never had.
#[test]
fn no_departure() {
    let net = Network::new();
    net.register();
    net.wait(1);
    net.register();
    let departed = |entry: &Entry<Peer>| entry.value.flags == PeerFlags::LEFT;
    assert!(!net.entries::<Peer>().iter().any(departed));
}

#[test]
fn a_request_of_the_pbx() {
    let net = Network::new();
    net.register();
    let aor = contacts(&net)[0].aor;
    let invite = call_phone("i");
    for (times, flags, destination, other) in [
        (0, OutboundFlags::LEFT_ALONE, FORGOTTEN, PHONE),
        (1, REDIRECTED, PHONE, FORGOTTEN),
        (
            2,
            OutboundFlags::LEFT_ALONE | OutboundFlags::TRIED_LEARNED,
            FORGOTTEN,
            PHONE,
        ),
    ] {
        net.wait(1);
        net.sends(FORGOTTEN, &invite);
        let entry = outbound(&net, OutboundFlags::DIRECT | flags);
        assert_eq!(entry.at, now(&net));
        let value = &entry.value;
        assert_eq!(value.destination(), endpoint(destination));
        assert_eq!(value.alternative(), endpoint(other));
        assert_eq!((value.retransmissions, value.record_routes), (times, 0));
        assert_eq!(value.subject, aor);
    }
    let pair = only(net.entries(), |value: &Peer| value.unanswered != 0);
    assert_eq!(pair.value.unanswered, 3);
    assert_eq!(pair.at, now(&net));
    assert_eq!(pair.value.learned(), endpoint(PHONE));
    assert_eq!(pair.value.original(), endpoint(FORGOTTEN));
    assert_eq!(pair.value.flags, PeerFlags::empty());
}

#[test]
fn a_request_of_the_pbx_to_where_it_belongs() {
    let net = Network::new();
    net.register();
    let at_learned = Sip {
        more: vec!["Record-Route: <sip:pbx;lr>".into()],
        ..call_phone("i")
    };
    net.sends(PHONE, &at_learned);
    let entry = outbound(&net, OutboundFlags::DIRECT | OutboundFlags::AT_LEARNED);
    assert_eq!(entry.value.destination(), endpoint(PHONE));
    assert_eq!(entry.value.record_routes, 1);
    // Unknown, within an unknown dialog, and along a Route.
    let unknown = Sip {
        start: "OPTIONS sip:9@198.51.100.66 SIP/2.0".into(),
        to: "<sip:9@pbx>".into(),
        cseq: (1, "OPTIONS"),
        ..call_phone("u")
    };
    for (m, flags) in [
        (unknown.clone(), OutboundFlags::DIRECT),
        (
            unknown.clone().tagged("t"),
            OutboundFlags::DIRECT | OutboundFlags::IN_DIALOG,
        ),
        (
            unknown.with("Route: <sip:198.51.100.9;lr>"),
            OutboundFlags::empty(),
        ),
    ] {
        let net = Network::new();
        net.sends(STRANGER, &m);
        let entry = outbound(&net, flags);
        assert_eq!(entry.value.destination(), endpoint(STRANGER));
        assert_eq!(entry.value.subject, 0);
    }
}

/// Under shadow a request goes where the PBX sent it.
#[test]
fn a_request_of_the_pbx_under_shadow() {
    let net = Network::new();
    net.register();
    net.shadow.set(true);
    net.sends(FORGOTTEN, &call_phone("i"));
    let entry = outbound(&net, OutboundFlags::DIRECT);
    assert_eq!(entry.value.destination(), endpoint(FORGOTTEN));
    assert_eq!(entry.value.alternative(), Endpoint::UNKNOWN);
    assert!(
        net.entries::<Peer>()
            .iter()
            .all(|entry| entry.value.unanswered == 0)
    );
}

/// A CANCEL has the route of its INVITE, and nothing of what became of that.
#[test]
fn a_cancel() {
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    net.arrives(PHONE, &invite.answer(180).tagged_as("callee"));
    net.wait(1);
    let cancel = Sip {
        start: "CANCEL sip:1000@192.168.1.10 SIP/2.0".into(),
        cseq: (1, "CANCEL"),
        ..invite
    };
    assert_eq!(net.sends(ADVERTISED, &cancel).0, PHONE);
    let entry = outbound(&net, OutboundFlags::DIRECT | REDIRECTED);
    assert_eq!(entry.at, now(&net));
    assert_eq!(entry.value.destination(), endpoint(PHONE));
    assert_eq!(entry.value.alternative(), endpoint(ADVERTISED));
    let history = net.history.borrow();
    let record = history.last().expect("a record");
    assert_eq!(record.learned(), endpoint(PHONE));
    assert_eq!(
        (Ground::from(record.ground), record.bound),
        (Ground::Rung, 1)
    );
}

/// A contact is at one of two hosts.
#[test]
fn a_request_of_the_pbx_to_one_of_two_hosts() {
    let net = Network::new();
    net.sends(ADVERTISED, &call_phone("own"));
    net.registers_from(PHONE, "a");
    net.registers_from(STRANGER, "b");
    let moved = OutboundFlags::DIRECT | OutboundFlags::MOVED | OutboundFlags::TRIED_LEARNED;
    let invite = call_phone("i");
    for (times, to, other, flags, ground) in [
        (0, PHONE, STRANGER, OutboundFlags::LEFT_ALONE, Ground::Moved),
        (1, STRANGER, PHONE, OutboundFlags::REDIRECTED, Ground::Turn),
    ] {
        assert_eq!(net.sends(ADVERTISED, &invite).0, to);
        let entry = outbound(&net, moved | flags);
        assert_eq!(entry.value.destination(), endpoint(to));
        assert_eq!(entry.value.alternative(), endpoint(other));
        assert_eq!(entry.value.retransmissions, times);
        let history = net.history.borrow();
        let record = history.last().expect("a record");
        assert_eq!((Ground::from(record.ground), record.bound), (ground, 1));
    }
    // Without a redirect there are not two hosts.
    net.policy.set(Policy::Off);
    let other = Sip {
        call: "another",
        ..call_phone("j")
    };
    net.sends(ADVERTISED, &other);
    let all = net.entries::<OutboundTransaction>().into_iter();
    let newest = all.filter(|e| e.value.subject != 0 && e.value.flags == OutboundFlags::DIRECT);
    assert_eq!(newest.count(), 1);
}

/// To names somebody else than the owner of the contact.
#[test]
fn a_request_of_the_pbx_on_weak_evidence() {
    let net = Network::new();
    net.register();
    let m = Sip {
        to: "<sip:group@pbx>".into(),
        ..call_phone("g")
    };
    net.sends(ADVERTISED, &m);
    let weak = OutboundFlags::DIRECT | OutboundFlags::WEAK | OutboundFlags::LEFT_ALONE;
    outbound(&net, weak);
    // The user decides, whatever is known of the address.
    net.kinds
        .replace(vec![(endpoint(ADVERTISED), address::PEER)]);
    let again = |branch| Sip {
        vias: vec![branch],
        ..m.clone()
    };
    assert_eq!(
        net.sends(ADVERTISED, &again("h")).1,
        [Counter::OutForeignContact]
    );
    net.policy.set(Policy::Force);
    assert_eq!(net.sends(ADVERTISED, &again("j")).0, PHONE);
    // Under shadow, sipnat says what it would do.
    net.policy.set(Policy::Auto);
    net.kinds.take();
    net.shadow.set(true);
    assert_eq!(
        net.sends(ADVERTISED, &again("k")).1,
        [Counter::OutRedirectedContact]
    );
}

/// A contact says whether the last packet to it was left alone.
#[test]
fn a_contact_that_is_left_alone() {
    let net = Network::new();
    net.register();
    let left_alone = |net: &Network| contacts(net)[0].flags.contains(BindingFlags::LEFT_ALONE);
    let invite = call_phone("i");
    net.sends(FORGOTTEN, &invite);
    net.arrives(FORGOTTEN, &invite.answer(200).tagged_as("callee"));
    assert!(!left_alone(&net));
    assert_eq!(
        net.sends(FORGOTTEN, &call_phone("j")).1,
        [Counter::OutLeftAlone]
    );
    assert!(left_alone(&net));
    net.policy.set(Policy::Force);
    assert_eq!(net.sends(FORGOTTEN, &call_phone("k")).0, PHONE);
    assert!(!left_alone(&net));
}

/// An ACK or a CANCEL of which nothing is known is not answered, or is answered by whoever has its INVITE.
#[test]
fn an_ack_or_a_cancel_to_nobody() {
    for method in ["ACK", "CANCEL"] {
        let net = Network::new();
        let m = Sip {
            start: format!("{method} sip:9@198.51.100.66 SIP/2.0"),
            to: "<sip:9@pbx>;tag=t".into(),
            cseq: (1, method),
            ..call_phone("u")
        };
        net.sends(STRANGER, &m);
        assert!(net.entries::<OutboundTransaction>().is_empty(), "{method}");
    }
}

/// Only an OPTIONS to a known contact, which only its URI names, is a ping.
#[test]
fn no_ping() {
    let request = |method, uri: &str, to: &str| Sip {
        start: format!("{method} sip:{uri} SIP/2.0"),
        to: format!("<sip:{to}>"),
        cseq: (1, method),
        ..call_phone("x")
    };
    let unknown: Address = ([192, 168, 1, 99], 5060);
    for (m, to) in [
        (
            request("OPTIONS", "1000@192.168.1.10", "1000@pbx"),
            ADVERTISED,
        ),
        (
            request("INVITE", "1000@192.168.1.10", "1000@192.168.1.10"),
            ADVERTISED,
        ),
        (
            request("OPTIONS", "9@192.168.1.99", "9@192.168.1.99"),
            unknown,
        ),
    ] {
        let net = Network::new();
        net.register();
        net.sends(to, &m);
        let pinged = |entry: &Entry<Peer>| entry.value.flags == PeerFlags::PINGED;
        assert!(!net.entries::<Peer>().iter().any(pinged), "{}", m.start);
    }
}

#[test]
fn an_answer_of_a_terminal() {
    for (status, state) in [
        (100, OutboundFlags::PROCEEDING),
        (180, OutboundFlags::PROCEEDING),
        (200, OutboundFlags::ACCEPTED),
        (486, OutboundFlags::REFUSED),
    ] {
        let net = Network::new();
        net.register();
        let invite = call_phone("i");
        net.sends(ADVERTISED, &invite);
        let begin = now(&net);
        net.wait(1);
        net.arrives(PHONE, &invite.answer(status));
        let flags = OutboundFlags::DIRECT | REDIRECTED | state;
        assert_eq!(outbound(&net, flags).at, begin, "{status}");
        let proof = peer(&net, PeerFlags::PROVEN | PeerFlags::HEARS);
        assert_eq!(proof.at, now(&net));
        assert_eq!((proof.value.unanswered, proof.value.strikes), (0, 0));
    }
}

/// The terminal answers from another port than before: the request belongs there.
#[test]
fn an_answer_from_another_port() {
    let net = Network::new();
    net.register();
    let invite = call_phone("i");
    net.sends(ADVERTISED, &invite);
    let ringing = invite.answer(180).tagged_as("callee");
    net.arrives(PHONE, &ringing);
    net.wait(1);
    net.arrives(MOVED, &ringing);
    let entry = outbound(
        &net,
        OutboundFlags::DIRECT | OutboundFlags::TRIED_LEARNED | OutboundFlags::PROCEEDING,
    );
    assert_eq!(entry.value.destination(), endpoint(MOVED));
    assert_eq!(entry.at, now(&net));
}

/// The terminal answers by itself at the original destination.
#[test]
fn an_answer_at_the_original_destination() {
    let net = Network::new();
    net.register();
    let aor = contacts(&net)[0].aor;
    let invite = call_phone("i");
    net.sends(FORGOTTEN, &invite);
    net.wait(1);
    net.arrives(FORGOTTEN, &invite.answer(200));
    let owners: Vec<_> = net
        .entries::<Peer>()
        .into_iter()
        .filter(|entry| entry.value.flags == PeerFlags::ANSWERED)
        .inspect(|entry| {
            assert_eq!(entry.at, now(&net));
            assert_eq!(entry.value.learned(), endpoint(FORGOTTEN));
        })
        .map(|entry| entry.value.owner)
        .collect();
    assert_eq!(owners.len(), 2);
    assert!(owners.contains(&0) && owners.contains(&aor));
    // It counts against the learned address.
    let pair = only(net.entries(), |value: &Peer| value.strikes != 0);
    assert_eq!((pair.value.unanswered, pair.value.strikes), (0, 1));
}

/// A ping by the Contact URI alone is noted with its transaction.
#[test]
fn a_ping() {
    let net = Network::new();
    net.register();
    let uri = contacts(&net)[1].key[0];
    net.wait(1);
    let ping = Sip {
        start: "OPTIONS sip:1000@192.168.1.10 SIP/2.0".into(),
        to: "<sip:1000@192.168.1.10>".into(),
        cseq: (1, "OPTIONS"),
        ..call_phone("ping")
    };
    net.sends(ADVERTISED, &ping);
    let noted = peer(&net, PeerFlags::PINGED);
    assert_eq!(noted.at, now(&net));
    assert_eq!(noted.value.learned(), endpoint(ADVERTISED));
    assert_eq!(noted.value.owner, uri);
    let flags = OutboundFlags::DIRECT | OutboundFlags::WEAK | OutboundFlags::LEFT_ALONE;
    let sent = outbound(&net, flags);
    assert_eq!(sent.value.subject, uri);
}

/// Only a request outside of dialogs tells what the PBX is: an INVITE of its own, or any that it relays. Once a proxy, it
/// remains one.
#[test]
fn a_proxy() {
    let net = Network::new();
    let own = |method| Sip {
        start: format!("{method} sip:9@198.51.100.66 SIP/2.0"),
        to: "<sip:9@pbx>".into(),
        cseq: (1, method),
        ..call_phone(method)
    };
    let relayed = Sip {
        vias: vec!["p", "q"],
        ..own("OPTIONS")
    };
    net.sends(STRANGER, &own("OPTIONS"));
    net.sends(STRANGER, &relayed.clone().tagged("t"));
    net.sends(STRANGER, &own("INVITE").tagged("t"));
    assert!(net.entries::<Peer>().is_empty());
    net.sends(STRANGER, &own("INVITE"));
    let begin = now(&net);
    assert_eq!(peer(&net, PeerFlags::empty()).at, begin);
    net.wait(1);
    net.sends(STRANGER, &own("INVITE"));
    assert_eq!(peer(&net, PeerFlags::empty()).at, begin);
    net.sends(STRANGER, &relayed);
    let begin = now(&net);
    assert_eq!(peer(&net, PeerFlags::PROXY).at, begin);
    net.wait(1);
    net.sends(STRANGER, &own("INVITE"));
    net.sends(STRANGER, &relayed);
    assert_eq!(peer(&net, PeerFlags::PROXY).at, begin);
}

/// Under shadow, a response has no choice of addresses.
#[test]
fn a_response_under_shadow() {
    let net = Network::new();
    net.shadow.set(true);
    let invite = from_phone("INVITE", 1, "i");
    net.arrives(PHONE, &invite);
    net.sends(ADVERTISED, &invite.answer(180));
    inbound(&net, InboundFlags::DIRECT | InboundFlags::PROCEEDING);
}

/// A proxy relays what is for another domain. That changes nothing of what is known.
#[test]
fn a_register_for_another_domain_changes_nothing() {
    let net = Network::new();
    net.register();
    let before = net.contacts();
    net.wait(1);
    let m = Sip {
        start: "REGISTER sip:elsewhere SIP/2.0".into(),
        ..register(2, "r2", "<sip:1000@192.168.1.10>")
    };
    net.arrives(MOVED, &m);
    let counted = net.sends(MOVED, &m.answer(200)).1;
    let expected = [Counter::RegisterOtherDomain, Counter::OutAlreadyThere];
    assert_eq!(counted, expected);
    assert_eq!(net.contacts(), before);
}

/// Under shadow, an ACK has no choice of addresses.
#[test]
fn an_ack_under_shadow() {
    let net = Network::new();
    net.call();
    net.shadow.set(true);
    let ack = Sip {
        cseq: (102, "ACK"),
        start: "ACK sip:1000@192.168.1.10 SIP/2.0".into(),
        ..call_phone("a").tagged("phone").call("call")
    };
    assert_eq!(
        net.sends(ADVERTISED, &ack).1,
        [Counter::OutRedirectedDialog]
    );
    assert!(net.entries::<OutboundTransaction>().is_empty());
}

/// A request in a dialog that sipnat does not know, to another user of the owner in To, at the address of its contact.
#[test]
fn a_request_in_an_unknown_dialog_by_the_address() {
    let net = Network::new();
    net.register();
    let m = Sip {
        start: "BYE sip:9@192.168.1.10 SIP/2.0".into(),
        cseq: (1, "BYE"),
        ..call_phone("b").tagged("unknown")
    };
    assert_eq!(net.sends(ADVERTISED, &m).0, PHONE);
    let of_another = Sip {
        to: "<sip:9@pbx>;tag=unknown".into(),
        ..m
    };
    assert_eq!(
        net.sends(ADVERTISED, &of_another).1,
        [Counter::OutUnknownRequest]
    );
}

/// A REGISTER without a Contact asks what is registered (RFC 3261 10.2.3).
#[test]
fn a_query_registers_nothing() {
    let net = Network::new();
    net.call();
    net.acknowledge();
    let mut m = register(1, "r", "");
    m.more.clear();
    net.arrives(PHONE, &m);
    for _ in 0..2 {
        net.sends(PHONE, &m.answer(200));
        assert!(net.contacts().is_empty());
    }
}
