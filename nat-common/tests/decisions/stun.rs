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
