//! STUN: requests that are answered, and those that are left to the PBX.

use nat_common::abi::{Counter, SECOND, Slot, StunFlags, StunSource, address};
use nat_common::bpf::HostLoop;
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Tables as _;
use nat_common::engine::stun::{Arrival, serve};
use nat_common::engine::verdict::Stun;
use nat_common::stun::{Request, reply::Reply};
use nat_test_oracle::env::MemoryEnv;
use nat_test_oracle::stun::message::request;

use crate::{Network, register};

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
