//! Any bytes through the STUN codec: what it answers, and with what, is what the `stun-types` crate says.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../nat-common/tests/judge/mod.rs"]
mod judge;

use judge::{input, ours};

fuzz_target!(|data: &[u8]| {
    if let Some((message, peer, software)) = input::read(data) {
        let answer = ours::answer(&message, peer, software);
        judge::check(&message, peer, software, answer.as_deref());
    }
});
