//! A flood evicts neither a binding nor a call that rings, and two dialog ends never share a key.

use std::{collections::HashSet, env};

use aya::programs::{TestRun as _, TestRunOptions};
use nat_common::abi::{DialogKey, Policy};
use nat_userspace::kernel::load::{Loader, Programs};
use nat_userspace::settings::Settings;
use nat_userspace::{kernel::mapped::Access, kernel::object};

use crate::frames::{ADVERTISED, CALL, INVITE, PHONE, REGISTER, answer, in_dialog};
use crate::frames::{inbound, outbound};
use crate::run::{Path, TC_ACT_UNSPEC, XDP_PASS, loops};

const CALLS: u32 = 300;
const CONTACTS: u32 = 200;
/// Number of sources in a flood.
const FLOOD: u32 = 1_000_000;
/// Environment variable with another number, for an emulated kernel. 300,000 still fill each set of the tables four
/// times over.
const FLOOD_VARIABLE: &str = "SIPNAT_FLOOD";

/// Loads the programs with tables of the agent's size.
fn full_size() -> Path {
    let object = object::read(None).expect("the kernel programs; `cargo xtask test` builds them");
    let settings = Settings::default();
    let path = Loader::new(&object, &settings).loops(loops()[0]).load();
    Path(
        path.expect("it takes root, and a kernel of 6.1 or later")
            .into(),
    )
}

/// Returns the address of terminal `n`, all behind one router. It differs from [`ADVERTISED`].
fn source(n: u32) -> String {
    format!("60.17.196.2:{}", 20_000 + n)
}

/// A frame arrives and passes, with any verdict.
fn arrives(path: &mut Path, from: &str, message: &str) {
    let (action, _) = path.test(true, &inbound(from, message));
    assert_eq!(action, XDP_PASS);
}

/// The PBX sends a message to `meant`, and it goes to `to`.
fn goes_to(path: &mut Path, message: &str, meant: &str, to: &str) {
    let (action, out) = path.test(false, &outbound(meant, message));
    assert_eq!(out, outbound(to, message), "{message}");
    assert_eq!(action, TC_ACT_UNSPEC);
}

/// A million sources send an INVITE each, which the PBX does not answer.
#[test]
fn a_million_spoofed_sources() {
    let mut path = full_size();
    // Whatever the flood does to proofs of which address answers: this is about bindings.
    path.policy("default", Policy::Force);
    let of = |text: &str, n: u32| {
        text.replace("call@192.168.1.10", &format!("call-{n}@192.168.1.10"))
            .replace("tag=phone", &format!("tag=phone-{n}"))
            .replace("z9hG4bK-", &format!("z9hG4bK-{n}-"))
    };
    for n in 0..CALLS {
        let invite = of(INVITE, n);
        arrives(&mut path, &source(n), &invite);
        path.test(false, &outbound(&source(n), &answer(&invite, "200 OK")));
    }
    // All have the same Contact, each for its own address-of-record.
    let owner = |text: &str, n: u32| text.replace("sip:1000@pbx", &format!("sip:{}@pbx", 1000 + n));
    for n in 0..CONTACTS {
        let register =
            owner(REGISTER, n).replace("Call-ID: registration", &format!("Call-ID: reg-{n}"));
        arrives(&mut path, &source(CALLS + n), &register);
        path.test(
            false,
            &outbound(&source(CALLS + n), &answer(&register, "200 OK")),
        );
    }
    assert_eq!(path.dialogs().len(), CALLS as usize);
    // All have one URI, and one address.
    assert_eq!(path.contacts().len(), CONTACTS as usize + 2);
    // This call rings since before the flood.
    let ringing = of(INVITE, CALLS + 1);
    arrives(&mut path, &source(0), &ringing);
    path.test(
        false,
        &outbound(&source(0), &answer(&ringing, "180 Ringing")),
    );
    // The PBX looks for the callee of this one.
    let trying = of(INVITE, CALLS + 2);
    arrives(&mut path, &source(1), &trying);
    path.test(false, &outbound(&source(1), &answer(&trying, "100 Trying")));
    // A request that the PBX has not answered is evicted, or this is no flood.
    let waiting = of(INVITE, CALLS);
    arrives(&mut path, PHONE, &waiting);

    flood(&mut path);

    assert_eq!(
        path.leaves(&outbound(ADVERTISED, &answer(&waiting, "200 OK"))),
        "out_unknown_response"
    );
    assert_eq!(path.dialogs().len(), CALLS as usize + 1);
    // All have one URI, and one address.
    assert_eq!(path.contacts().len(), CONTACTS as usize + 2);
    for (n, invite) in [(0, &ringing), (1, &trying)] {
        let answer = answer(invite, "200 OK");
        goes_to(&mut path, &answer, ADVERTISED, &source(n));
    }
    for n in 0..CALLS {
        for method in ["INVITE", "BYE"] {
            let request = of(&in_dialog(method, method), n);
            goes_to(&mut path, &request, ADVERTISED, &source(n));
        }
    }
    for n in 0..CONTACTS {
        let call = owner(CALL, n).replacen(&format!("sip:{}@60", 1000 + n), "sip:1000@60", 1);
        goes_to(&mut path, &of(&call, n), ADVERTISED, &source(CALLS + n));
    }
}

/// Sends one frame many times, with other identities. The programs ignore checksums.
fn flood(path: &mut Path) {
    let invite = INVITE
        .replace("call@192", "########@192")
        .replace("tag=phone", "tag=########")
        .replace("z9hG4bK-phone", "z9hG4bK-########");
    let mut frame = inbound("198.18.0.0:6666", &invite);
    let places: Vec<_> = (0..frame.len() - 8)
        .filter(|&at| frame[at..at + 8] == *b"########")
        .collect();
    assert_eq!(places.len(), 3);
    let count = env::var(FLOOD_VARIABLE).map_or(FLOOD, |count| count.parse().expect("a number"));
    println!("{count} spoofed sources");
    let before = requests(path);
    for n in 0..count {
        // A bijection, so that the identities look random.
        let id = n.wrapping_mul(0x9e37_79b1);
        frame[27..30].copy_from_slice(&n.to_be_bytes()[1..]);
        let text = format!("{id:08x}");
        for &at in &places {
            frame[at..at + 8].copy_from_slice(text.as_bytes());
        }
        let options = TestRunOptions {
            data_in: Some(&frame),
            ..TestRunOptions::default()
        };
        let result = path.0.ingress().expect("ingress").test_run(options);
        assert_eq!(result.expect("a test run").return_value, XDP_PASS);
    }
    assert_eq!(requests(path) - before, u64::from(count));
}

fn requests(path: &Path) -> u64 {
    let count = path.0.tables.count(nat_common::abi::Counter::InRequest);
    count.expect("a counter")
}

/// Call-ID and tag of a phone's dialog, instead of the usual ones.
fn named(message: &str, (call, tag): &(String, String)) -> String {
    message
        .replace("call@192.168.1.10", call)
        .replace("tag=phone", &format!("tag={tag}"))
}

/// Identities that a poor hash would mix up: one that is cut short, reads too little, or joins parts carelessly.
fn similar_identities() -> Vec<(String, String)> {
    let a = |n: usize| "a".repeat(n);
    let mut pairs = HashSet::new();
    // The same bytes, split anywhere.
    for call in 1..=40 {
        for tag in 1..=40 {
            pairs.insert((a(call), a(tag)));
        }
    }
    // One byte differs, at the start, at the end and around the boundaries of eight-byte words.
    let mut ids = Vec::new();
    for length in [1, 7, 8, 9, 15, 16, 17, 24, 32, 33, 64, 65] {
        for at in 0..length {
            for other in ["b", "A"] {
                ids.push(format!("{}{other}{}", a(at), a(length - at - 1)));
            }
        }
    }
    for (n, id) in ids.iter().enumerate() {
        for step in [0, 1, 2, 3, 5, 8, 13, 21] {
            let other = &ids[(n + step) % ids.len()];
            pairs.insert((id.clone(), other.clone()));
            pairs.insert((other.clone(), id.clone()));
        }
    }
    pairs.into_iter().collect()
}

/// Thousands of dialogs whose identities hardly differ have a binding each.
#[test]
fn no_two_dialog_ends_share_a_binding() {
    let mut path = full_size();
    // No phone has shown where it gets packets.
    path.policy("default", Policy::Force);
    let pairs = similar_identities();
    assert!(pairs.len() > 10_000, "{}", pairs.len());
    for (n, pair) in (0..).zip(&pairs) {
        // Each request has its own branch, which is unique in space and time (RFC 3261 8.1.1.7).
        let invite = named(INVITE, pair).replace("z9hG4bK-phone", &format!("z9hG4bK-{n}"));
        arrives(&mut path, &source(n), &invite);
        let accepted = answer(&invite, "200 OK");
        path.test(false, &outbound(&source(n), &accepted));
        // Calls without ACK are in the quota of their source.
        let ack = accepted
            .replacen("SIP/2.0 200 OK", "ACK sip:1002@203.0.113.10 SIP/2.0", 1)
            .replace("1 INVITE", "1 ACK");
        arrives(&mut path, &source(n), &ack);
    }
    let keys = keys(&path);
    assert_eq!(keys.len(), pairs.len());
    for (n, pair) in (0..).zip(&pairs) {
        let bye = named(&in_dialog("BYE", &n.to_string()), pair);
        goes_to(&mut path, &bye, ADVERTISED, &source(n));
    }
    // Every bit of both halves of the keys is used.
    let halves: HashSet<u64> = keys.iter().flat_map(|key| [key.call, key.tag]).collect();
    for bit in 0..64 {
        let ones = halves.iter().filter(|half| *half >> bit & 1 == 1).count();
        let share = ones as f64 / halves.len() as f64;
        assert!((0.4..0.6).contains(&share), "bit {bit}: {share}");
    }
}

/// The key of a dialog depends on the agent's secret, so that nobody can compute one beforehand.
#[test]
fn keys_depend_on_a_secret() {
    let [one, other] = [(), ()].map(|()| {
        let mut path = full_size();
        path.call();
        keys(&path)[0]
    });
    assert_ne!(one.call, other.call);
    assert_ne!(one.tag, other.tag);
}

fn keys(path: &Path) -> Vec<DialogKey> {
    let dialogs = path.0.tables.dialogs.open(Access::Read);
    let dialogs = dialogs.expect("the table");
    dialogs.iter().map(|(key, _)| key).collect()
}
