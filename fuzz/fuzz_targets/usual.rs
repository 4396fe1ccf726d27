//! Any bytes through both paths of the scanner: the slow one reads alike what the fast one reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat_test_oracle::usual;

fuzz_target!(|text: &[u8]| {
    usual::check(text);
});
