//! Sources: their rate limit, and the records of them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nat_common::abi::{Binding, Entry, Rate, Record, SECOND, Set, StunFlags, StunSource};
use nat_test_oracle::stun::message::request;
use nat_userspace::settings::Stun;

use super::messages::{answerable, unanswerable};
use super::{PBX6, PHONE6, STUN, STUN6, UNLIMITED, answered, many, path};
use crate::frames::{PBX, PHONE, udp};
use crate::run::{Path, XDP_DROP, XDP_TX, endpoint};

/// Sends `count` requests and returns the number of answers. All other requests must be dropped unchanged.
fn ask(path: &mut Path, from: &str, to: &str, count: usize) -> usize {
    let frame = udp(from, to, &request(&[]));
    let outcomes = (0..count).map(|_| path.test(true, &frame));
    outcomes
        .filter(|(action, out)| {
            let dropped = *action == XDP_DROP && *out == frame;
            assert!(dropped || *action == XDP_TX, "{action}");
            !dropped
        })
        .count()
}

#[test]
fn a_burst_and_then_the_rate() {
    let mut path = path(Stun {
        answer: true,
        ..Stun::default()
    });
    for (one, same, other, to) in [
        (PHONE, "60.17.196.2:5", "60.17.196.3:49163", PBX),
        (PHONE6, "[2001:db8:1::3]:5", "[2001:db8:1:1::2]:49163", PBX6),
    ] {
        let begin = Instant::now();
        // Tokens that are earned while the test runs, and one for each of the two ends of the coarse clock.
        let grown = |since: Instant| (since.elapsed().as_secs_f64() * 20.0) as usize + 2;
        let answered = ask(&mut path, one, to, 200);
        assert!((50..=50 + grown(begin)).contains(&answered), "{answered}");
        assert!(ask(&mut path, other, to, 50) == 50, "somebody else");
        ask(&mut path, same, to, 100);
        let empty = Instant::now();
        sleep(Duration::from_secs(1));
        let answered = ask(&mut path, one, to, 100);
        assert!((18..=grown(empty)).contains(&answered), "{answered}");
    }
}

#[test]
fn no_limit() {
    let mut path = path(UNLIMITED);
    assert_eq!(ask(&mut path, PHONE, PBX, 500), 500);
}

/// One request an hour, in nanoseconds: no token is earned while a test runs, however slow the machine is.
const HOUR: u64 = 3600 * SECOND;

/// Sends a request. Returns the verdict.
fn verdict(path: &mut Path, from: &str, to: &str) -> &'static str {
    let frame = udp(from, to, &request(&[]));
    let (action, out, verdict, _) = path.run(true, &frame);
    let answered = verdict == "stun_answered";
    assert_eq!(
        action,
        if answered { XDP_TX } else { XDP_DROP },
        "{verdict}"
    );
    assert!(answered || out == frame, "{verdict}: changed");
    verdict
}

/// All sources together have a limit. A source above its own does not spend it.
#[test]
fn a_limit_of_all_sources() {
    let mut path = path(UNLIMITED);
    path.configure(|config| {
        config.stun_rate = Rate {
            interval: HOUR >> 10,
            burst: 0,
        };
        config.stun_total = Rate {
            interval: HOUR,
            burst: 2 * HOUR,
        };
    });
    let expected = [
        (PHONE, PBX, "stun_answered"),
        (PHONE, PBX, "stun_limited"),
        (PHONE, STUN, "stun_limited"),
        (PHONE, PBX, "stun_limited"),
        (PHONE6, STUN6, "stun_answered"),
        ("60.17.196.3:49163", STUN, "stun_answered"),
        ("60.17.196.4:49163", STUN, "stun_total_limited"),
        ("[2001:db8:2::2]:49163", PBX6, "stun_total_limited"),
        ("60.17.196.5:49163", PBX, "stun_total_limited"),
        // Its own limit is the first.
        (PHONE, PBX, "stun_limited"),
    ];
    for (from, to, wanted) in expected {
        assert_eq!(verdict(&mut path, from, to), wanted, "{from} to {to}");
    }
    assert_eq!(sources(&path).len(), 3, "only those that were answered");
    // What is no request is for the PBX, as before.
    let response = [&[1, 1][..], &request(&[])[2..]].concat();
    let response = udp("60.17.196.6:1", PBX, &response);
    assert_eq!(path.arrives(&response), "stun_not_request");
}

/// The keepalives of a terminal that the PBX accepted are answered above the limit of all sources, not above its own.
#[test]
fn keepalives_above_the_limit_of_all_sources() {
    const KEEPALIVES: u64 = 3;
    for wildcards in [0, u32::MAX] {
        let mut path = path(UNLIMITED);
        path.configure(|config| {
            config.wildcards = wildcards;
            config.stun_rate = Rate {
                interval: HOUR >> 10,
                burst: (HOUR >> 10) * (KEEPALIVES + 3),
            };
            config.stun_total = Rate {
                interval: HOUR,
                burst: 0,
            };
        });
        assert_eq!(verdict(&mut path, "60.17.196.3:1", STUN), "stun_answered");
        assert_eq!(verdict(&mut path, PHONE, PBX), "stun_total_limited");
        path.register();
        for _ in 0..KEEPALIVES {
            assert_eq!(verdict(&mut path, PHONE, PBX), "stun_answered");
        }
        for (from, to) in [
            // No keepalive; another SIP port, at which it did not register; another host; another port of the NAT.
            (PHONE, STUN),
            (PHONE, "203.0.113.10:5070"),
            ("60.17.196.4:49163", PBX),
            ("60.17.196.2:49164", PBX),
        ] {
            let verdict = verdict(&mut path, from, to);
            assert_eq!(verdict, "stun_total_limited", "{from} to {to}");
        }
        assert_eq!(verdict(&mut path, PHONE, PBX), "stun_limited");
    }
}

/// Returns the entries of sources.
pub(super) fn sources(path: &Path) -> Vec<Entry<StunSource>> {
    let sets = path.0.tables.stun.read().expect("the sets");
    sets.slots()
        .filter(nat_common::abi::Slot::is_used)
        .map(|slot| slot.entry)
        .collect()
}

#[test]
fn a_sign_of_life() {
    let mut path = path(UNLIMITED);
    let pause = || sleep(Duration::from_millis(30));
    answered(&mut path, PHONE, STUN, &[], &request(&[]));
    let [first] = sources(&path)[..] else {
        panic!("one source")
    };
    assert_eq!(first.value.source(), endpoint(PHONE));
    assert_eq!(
        (first.value.flags, first.value.requests),
        (StunFlags::empty(), 1)
    );
    assert_eq!(first.value.first, first.at);
    pause();
    // A refused request counts, too. On a SIP port it is a keepalive, and the flag stays.
    answered(&mut path, PHONE, PBX, &[], &request(&many(0x4000, 1)));
    let [second] = sources(&path)[..] else {
        panic!("one source")
    };
    assert_eq!(second.value.source(), endpoint(PHONE));
    assert_eq!(
        (second.value.flags, second.value.requests),
        (StunFlags::KEEPALIVE, 2)
    );
    assert_eq!(second.value.first, first.value.first);
    let later = second.at - first.at;
    assert!((20..2000).contains(&later), "{later} ticks");
    pause();
    answered(&mut path, PHONE, STUN, &[], &request(&[]));
    let [third] = sources(&path)[..] else {
        panic!("one source")
    };
    assert_eq!(
        (third.value.flags, third.value.requests),
        (StunFlags::KEEPALIVE, 3)
    );
    assert_eq!(third.value.first, first.value.first);
    assert!(third.at > second.at);
    // The count saturates.
    ask(&mut path, PHONE, STUN, 300);
    assert_eq!(sources(&path)[0].value.requests, u8::MAX);
    // Another port is another source.
    answered(&mut path, "60.17.196.2:49164", PBX, &[], &request(&[]));
    answered(&mut path, PHONE6, PBX6, &[], &request(&[]));
    let mut peers: Vec<_> = sources(&path)
        .iter()
        .map(|entry| (entry.value.source().port, entry.value.requests))
        .collect();
    peers.sort_unstable();
    assert_eq!(peers, [(49163, 1), (49163, 255), (49164, 1)]);
}

#[test]
fn no_sign_of_life() {
    let mut path = path(Stun {
        rate: 1,
        burst: 1,
        ..UNLIMITED
    });
    answered(&mut path, PHONE, PBX, &[], &request(&[]));
    let noted = sources(&path);
    sleep(Duration::from_millis(10));
    // Limited, for a known and for a new source; bad; meant for another host.
    for (from, to, wanted) in [
        (PHONE, PBX, "stun_limited"),
        ("60.17.196.2:49164", PBX, "stun_limited"),
        ("10.0.0.1:1", PBX, "stun_bad_source"),
        ("60.17.196.3:1", "203.0.113.11:5060", "stun_not_here"),
    ] {
        let (_, _, verdict, _) = path.run(true, &udp(from, to, &request(&[])));
        assert_eq!(verdict, wanted);
    }
    assert_eq!(sources(&path), noted);
}

/// Returns everything that sipnat knows of calls.
fn everything(path: &Path) -> (Vec<Binding>, Vec<Vec<Set>>, Vec<Record>) {
    let tables = &path.0.tables;
    let sets = [
        tables.inbound.read().map(|copy| copy.sets),
        tables.outbound.read().map(|copy| copy.sets),
        tables.pending.read().map(|copy| copy.sets),
        tables.peers.read().map(|copy| copy.sets),
        tables.fragments.read().map(|copy| copy.sets),
    ]
    .map(|sets| sets.expect("the sets"));
    let mut bindings = [path.dialogs(), path.contacts()].concat();
    bindings.sort_by_key(|binding| binding.key);
    let history = tables
        .history
        .iter()
        .map(|record| record.expect("a record"));
    (bindings, sets.into(), history.collect())
}

/// STUN is not authenticated, so it changes nothing that sipnat knows of calls.
#[test]
fn stun_changes_no_binding() {
    let mut path = path(UNLIMITED);
    path.call();
    path.register();
    let before = everything(&path);
    assert_eq!(before.0.len(), 4);
    for (message, _) in answerable().into_iter().chain(unanswerable()) {
        for (from, to) in [(PHONE, PBX), ("60.17.196.2:49999", PBX), (PHONE6, STUN6)] {
            path.test(true, &udp(from, to, &message));
        }
    }
    assert_eq!(sources(&path).len(), 3);
    assert!(everything(&path) == before);
}
