//! Generated messages through the kernel program: its answers are those of the codec on the host, byte for byte, and
//! those that the reference expects. All other messages pass unchanged.
//!
//! `PROPTEST_CASES=1000000` makes it a longer run.

use std::cell::RefCell;
use std::{env, fs};

use nat_test_oracle::stun::{codec, expected, generate, input};
use nat_userspace::{kernel::loops::Loops, settings::Stun};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::frames::{PBX, udp};
use crate::run::{Path, XDP_PASS, XDP_TX, loops};
use crate::stun::{PBX6, UNLIMITED, turned, with};

/// Number of messages without `PROPTEST_CASES`.
const CASES: u32 = 20_000;

/// A message arrives. Returns whether it was answered.
fn exchange(path: &mut Path, message: &[u8], from: &str, to: &str, software: bool) -> bool {
    let peer = from.parse().expect("an address");
    let answer = codec::answer(message, peer, software);
    expected::check(message, peer, software, answer.as_deref());
    let frame = udp(from, to, message);
    let wanted = match &answer {
        Some(answer) => (XDP_TX, turned(from, to, &[], answer)),
        None => (XDP_PASS, frame.clone()),
    };
    assert_eq!(path.test(true, &frame), wanted);
    answer.is_some()
}

fn agree(loops: Loops, software: bool) {
    let stun = Stun {
        software,
        ..UNLIMITED
    };
    let path = RefCell::new(with(stun, loops));
    let answers = RefCell::new(0);
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let told = env::var_os("PROPTEST_CASES").is_some();
    let cases = if told { config.cases } else { CASES };
    let mut runner = TestRunner::new(Config { cases, ..config });
    let strategy = (
        generate::message(),
        any::<bool>(),
        any::<bool>(),
        1..=u16::MAX,
    );
    let outcome = runner.run(&strategy, |(message, is_v6, on_sip, port)| {
        let host = if is_v6 {
            "[2001:db8::10]"
        } else {
            "203.0.113.10"
        };
        let phone = if is_v6 {
            "[2001:db8:1::2]"
        } else {
            "60.17.196.2"
        };
        let to = format!("{host}:{}", if on_sip { 5060 } else { 3478 });
        let from = format!("{phone}:{port}");
        let answered = exchange(&mut path.borrow_mut(), &message, &from, &to, software);
        *answers.borrow_mut() += u32::from(answered);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let answers = answers.into_inner();
    println!("{cases} messages, {answers} answered");
    assert!(answers > cases / 5, "hardly anything was tried: {answers}");
}

#[test]
fn kernel_and_host_agree() {
    agree(loops()[0], false);
}

#[test]
fn kernel_and_host_agree_on_older_kernels() {
    agree(Loops::BpfLoop, true);
}

/// Corpus of the fuzz target.
#[test]
fn kernel_and_host_agree_on_the_corpus() {
    let mut path = with(UNLIMITED, loops()[0]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/stun");
    let mut answers = 0;
    for entry in fs::read_dir(folder).expect("inputs") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        if let Some((message, peer, _)) = input::read(&bytes) {
            let to = if peer.is_ipv4() { PBX } else { PBX6 };
            answers += u32::from(exchange(&mut path, &message, &peer.to_string(), to, false));
        }
    }
    assert!(answers > 0);
}
