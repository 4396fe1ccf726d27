//! A PBX, terminals and attackers send messages: the rules of the model always hold.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use nat_test_oracle::model;
use nat_test_oracle::model::{MAX_STEPS, SETUP_LEN, STEP_LEN};

fuzz_target!(|input: &[u8]| model::check(input));

// A byte more or less would change every step after it: half of the changes are to whole steps.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let steps = size.saturating_sub(SETUP_LEN) / STEP_LEN;
    let most = (max_size.saturating_sub(SETUP_LEN) / STEP_LEN).min(MAX_STEPS);
    let is_story = size >= SETUP_LEN && data[0] & 1 == 0;
    if seed.is_multiple_of(2) || !is_story || steps == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut random = seed;
    let mut pick = |below: usize| {
        random = random.wrapping_mul(0x9e37_79b1).rotate_left(15) ^ 0x5bd1_e995;
        random as usize % below
    };
    let at = |step: usize| SETUP_LEN + step * STEP_LEN;
    let (one, other) = (at(pick(steps)), at(pick(steps)));
    let end = at(steps);
    match pick(5) {
        // A step more: a copy, changed.
        0 | 1 if steps < most => {
            let mut copy = [0; STEP_LEN];
            copy.copy_from_slice(&data[other..other + STEP_LEN]);
            copy[pick(STEP_LEN)] = pick(256) as u8;
            copy[0] = if pick(2) == 0 {
                pick(256) as u8
            } else {
                copy[0]
            };
            data.copy_within(one..end, one + STEP_LEN);
            data[one..one + STEP_LEN].copy_from_slice(&copy);
            end + STEP_LEN
        }
        // A step less.
        2 if steps > 1 => {
            data.copy_within(one + STEP_LEN..end, one);
            end - STEP_LEN
        }
        // Two change places.
        3 => {
            for byte in 0..STEP_LEN {
                data.swap(one + byte, other + byte);
            }
            end
        }
        // A step changes.
        _ => {
            data[one + pick(STEP_LEN)] = pick(256) as u8;
            data[one + pick(STEP_LEN)] ^= 1 << pick(8);
            end
        }
    }
});
