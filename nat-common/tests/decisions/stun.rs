//! STUN: requests that are answered, and those that are left to the PBX.

use nat_common::abi::{Counter, SECOND, Slot, StunFlags, StunSource, address, stun as settings};
use nat_common::bpf::HostLoop;
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Hashes as _;
use nat_common::engine::env::Tables as _;
use nat_common::engine::stun::{Arrival, key, may_answer, note_keepalive, payer, serve};
use nat_common::engine::verdict::Stun;
use nat_common::stun::{Request, reply::Reply};
use nat_test_oracle::env::MemoryEnv;
use nat_test_oracle::stun::message::request;

use crate::{Address, Network, register};

const PHONE: Endpoint = Endpoint::v4([60, 17, 196, 2], 49163);
const NEIGHBOUR: Endpoint = Endpoint::v4([192, 168, 1, 10], 5060);
const PBX: Endpoint = Endpoint::v4([203, 0, 113, 10], 5060);
const ETH0: u32 = 2;

fn host() -> MemoryEnv {
    let env = MemoryEnv::new();
    env.kinds.replace(vec![
        (PBX, address::LOCAL),
        (NEIGHBOUR, address::on_link(ETH0)),
    ]);
    env
}

fn ask(env: &MemoryEnv, source: Endpoint, destination: Endpoint, message: &[u8]) -> Stun {
    let datagram = Datagram {
        source,
        destination,
        ..Datagram::default()
    };
    let arrival = Arrival {
        datagram: &datagram,
        interface: ETH0,
        sip_port: destination.port == 5060,
    };
    serve::<_, _, HostLoop>(
        env,
        &arrival,
        message,
        0,
        &mut Request::default(),
        &mut Reply::default(),
    )
}

#[test]
fn sources_and_destinations() {
    let elsewhere = Endpoint::v4([198, 51, 100, 1], 5060);
    for (source, destination, verdict) in [
        (PHONE, PBX, Stun::Answered),
        (NEIGHBOUR, PBX, Stun::Answered),
        // Private, and not on the link.
        (Endpoint::v4([10, 0, 0, 1], 5060), PBX, Stun::BadSource),
        // This host itself.
        (PBX, PBX, Stun::BadSource),
        (Endpoint::v4([127, 0, 0, 1], 5060), PBX, Stun::BadSource),
        (Endpoint::v4([224, 0, 0, 1], 5060), PBX, Stun::BadSource),
        (Endpoint::v4([60, 17, 196, 2], 0), PBX, Stun::BadSource),
        (PHONE, elsewhere, Stun::NotHere),
    ] {
        let env = host();
        assert_eq!(ask(&env, source, destination, &request(&[])), verdict);
        let tokens = u32::MAX - u32::from(verdict == Stun::Answered);
        assert_eq!(env.tokens.get(), tokens, "only an answer costs a token");
        assert_eq!(env.total.get(), tokens, "and one of all sources'");
    }
}

#[test]
fn messages() {
    let response = [&[1, 1][..], &request(&[])[2..]].concat();
    for (message, verdict) in [
        (request(&[]), Stun::Answered),
        // An unknown attribute that must be understood.
        (request(&[(0x4000, &[])]), Stun::Refused),
        (request(&[(0x0006, b"user")]), Stun::Credentials),
        (response, Stun::NotRequest),
        (request(&[])[..19].to_vec(), Stun::Malformed),
    ] {
        assert_eq!(ask(&host(), PHONE, PBX, &message), verdict, "{message:?}");
    }
}

#[test]
fn a_source_without_tokens_is_not_answered() {
    let env = host();
    env.tokens.set(2);
    let verdicts: Vec<_> = (0..3)
        .map(|_| ask(&env, PHONE, PBX, &request(&[])))
        .collect();
    assert_eq!(verdicts, [Stun::Answered, Stun::Answered, Stun::Limited]);
}

/// A source above its own limit does not spend the allowance of all.
#[test]
fn all_sources_together_have_an_allowance() {
    let env = host();
    env.tokens.set(2);
    env.total.set(3);
    let ask = || ask(&env, PHONE, PBX, &request(&[]));
    let verdicts = [ask(), ask(), ask(), ask()];
    let [answered, limited] = [Stun::Answered, Stun::Limited];
    assert_eq!(verdicts, [answered, answered, limited, limited]);
    assert_eq!(env.total.get(), 1);
    env.tokens.set(10);
    assert_eq!([ask(), ask()], [answered, Stun::TotalLimited]);
}

/// A terminal that the PBX accepted gets answers to its keepalives above the limit of all sources.
#[test]
fn keepalives_of_a_terminal_are_answered_above_the_limit_of_all() {
    let env = Network(host());
    env.total.set(0);
    let keepalive = |from| ask(&env, from, PBX, &request(&[]));
    let m = register(1, "r", "<sip:1000@192.168.1.10>");
    env.arrives(crate::PHONE, &m);
    assert_eq!(keepalive(PHONE), Stun::TotalLimited, "not accepted yet");
    let contact = "Contact: <sip:1000@192.168.1.10>;expires=60";
    env.sends(crate::PHONE, &m.answer(200).with(contact));
    assert_eq!(keepalive(PHONE), Stun::Answered);
    let other_port = Endpoint {
        port: 49164,
        ..PHONE
    };
    assert_eq!(keepalive(other_port), Stun::TotalLimited);
    let stun_port = Endpoint { port: 3478, ..PBX };
    let verdict = ask(&env, PHONE, stun_port, &request(&[]));
    assert_eq!(verdict, Stun::TotalLimited, "no keepalive");
    env.tokens.set(0);
    assert_eq!(keepalive(PHONE), Stun::Limited, "its own limit stays");
    env.tokens.set(1);
    env.now.set(env.now.get() + 12 * 3600 * SECOND);
    assert_eq!(keepalive(PHONE), Stun::TotalLimited, "long ago");
}

#[test]
fn a_request_is_a_sign_of_life() {
    let env = host();
    let known = || -> Vec<Slot<StunSource>> {
        let key = nat_common::tables::slots::SlotKey::of(nat_common::engine::env::Hashes::mix(
            &env,
            PHONE.addr[0],
            PHONE.addr[1],
            u64::from(PHONE.port),
        ));
        let found = env
            .slots::<StunSource>(&key)
            .and_then(|slots| slots.find(&key));
        found
            .map(|entry| Slot {
                tag: 0,
                entry: *entry,
            })
            .into_iter()
            .collect()
    };
    assert!(known().is_empty());
    let stun_port = Endpoint { port: 3478, ..PBX };
    ask(&env, PHONE, stun_port, &request(&[]));
    let first = known()[0].entry;
    assert_eq!(
        (first.value.requests, first.value.flags),
        (1, StunFlags::empty())
    );
    env.now.set(env.now.get() + 5 * SECOND);
    // On a SIP port it is a keepalive.
    ask(&env, PHONE, PBX, &request(&[]));
    let second = known()[0].entry;
    assert_eq!(
        (second.value.requests, second.value.flags),
        (2, StunFlags::KEEPALIVE)
    );
    assert_eq!(second.value.first, first.at);
    assert!(second.at > first.at);
    assert!(!env.events.borrow().contains(&Counter::SlotBusy));
}

/// Returns addresses of IPv6 that differ in their network, in their host, and in their port.
fn ipv6() -> [Endpoint; 4] {
    let one = Endpoint {
        addr: [0x2001, 7],
        port: 5060,
        reserved: 0,
    };
    let [mut network, mut host, mut port] = [one; 3];
    network.addr[0] += 1;
    host.addr[1] += 1;
    port.port += 1;
    [one, network, host, port]
}

/// A host has one address of IPv4, and a network of IPv6.
#[test]
fn an_allowance_is_that_of_a_subscriber() {
    let [one, network, host, port] = ipv6();
    assert_ne!(payer(&one), payer(&network));
    assert_eq!([payer(&host), payer(&port)], [payer(&one); 2]);
    let v4 = |last, port| payer(&Endpoint::v4([60, 17, 196, last], port));
    assert_eq!(v4(2, 5060), v4(2, 5061));
    assert_ne!(v4(2, 5060), v4(3, 5060));
}

#[test]
fn each_source_has_an_entry_of_its_own() {
    let env = host();
    let key = |source: &Endpoint| key(source, |a, b, c| env.mix(a, b, c));
    let [one, others @ ..] = ipv6();
    for other in others {
        assert_ne!(key(&other), key(&one), "{other:?}");
    }
}

/// A source on the link is answered by the interface of that link alone, whatever address it has.
#[test]
fn sources_on_the_link() {
    for (source, kind, verdict) in [
        (NEIGHBOUR, address::on_link(ETH0), Ok(())),
        (NEIGHBOUR, address::on_link(ETH0) | address::PEER, Ok(())),
        (NEIGHBOUR, address::on_link(3), Err(Stun::BadSource)),
        (NEIGHBOUR, address::ROUTED, Err(Stun::BadSource)),
        (PHONE, address::on_link(ETH0), Ok(())),
        (PHONE, address::on_link(3), Err(Stun::BadSource)),
        (PHONE, address::BROADCAST, Err(Stun::BadSource)),
        (PHONE, address::ROUTED | address::PEER, Ok(())),
    ] {
        let found = may_answer(&source, kind, address::LOCAL, ETH0);
        assert_eq!(found, verdict, "{source:?} {kind}");
        let found = may_answer(&source, kind, address::on_link(ETH0), ETH0);
        assert_eq!(found, Err(Stun::NotHere));
    }
}

/// A keepalive that sipnat does not answer shows that a terminal is alive. Junk of others is not stored.
#[test]
fn a_keepalive_of_a_terminal_is_a_sign_of_life() {
    for (from, is_noted) in [
        (crate::PHONE, true),
        // Nobody can send from there.
        (([127, 0, 0, 1], 5060), false),
    ] {
        let source: Address = from;
        let net = Network(host());
        let endpoint = crate::endpoint(source);
        note_keepalive(&net.0, &endpoint);
        assert!(net.entries::<StunSource>().is_empty(), "no terminal yet");
        let m = register(1, "r", "<sip:1000@192.168.1.10>");
        net.arrives(source, &m);
        net.sends(source, &m.answer(200));
        note_keepalive(&net.0, &endpoint);
        let noted = net.entries::<StunSource>();
        assert_eq!(noted.len(), usize::from(is_noted), "{source:?}");
        for entry in noted {
            assert_eq!(entry.value.flags, StunFlags::KEEPALIVE);
            assert_eq!(entry.value.source(), endpoint);
        }
    }
}

/// Once a source has sent keepalives it is one that does, and its requests are counted up to 255.
#[test]
fn a_source_of_many_requests() {
    let env = host();
    ask(&env, PHONE, PBX, &request(&[]));
    let stun_port = Endpoint { port: 3478, ..PBX };
    for _ in 0..300 {
        ask(&env, PHONE, stun_port, &request(&[]));
    }
    let all = env.entries::<StunSource>();
    let [entry] = all[..] else { panic!("{all:#?}") };
    assert_eq!(entry.value.flags, StunFlags::KEEPALIVE);
    assert_eq!(entry.value.requests, u8::MAX);
}

/// The answer has the source of its request, and names sipnat if the user wants that.
#[test]
fn an_answer_is_made() {
    let (env, mut reply) = (host(), Reply::default());
    let datagram = Datagram {
        source: PHONE,
        destination: PBX,
        ..Datagram::default()
    };
    let arrival = Arrival {
        datagram: &datagram,
        interface: ETH0,
        sip_port: true,
    };
    // Header and XOR-MAPPED-ADDRESS; SOFTWARE.
    for (settings, length) in [(0, 32), (settings::SOFTWARE, 44), (!settings::SOFTWARE, 32)] {
        let verdict = serve::<_, _, HostLoop>(
            &env,
            &arrival,
            &request(&[])[..],
            settings,
            &mut Request::default(),
            &mut reply,
        );
        assert_eq!((verdict, reply.len()), (Stun::Answered, length));
        let port = u32::from_be(reply.words()[6]) ^ 0x2112;
        assert_eq!(port, 1 << 16 | PHONE.port);
    }
}
