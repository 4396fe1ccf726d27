//! Any bytes through the STUN codec: its answers are those that the `stun-types` crate expects.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat_test_oracle::stun::{codec, expected, input};

fuzz_target!(|data: &[u8]| {
    if let Some((message, peer, software)) = input::read(data) {
        let answer = codec::answer(&message, peer, software);
        expected::check(&message, peer, software, answer.as_deref());
    }
});
