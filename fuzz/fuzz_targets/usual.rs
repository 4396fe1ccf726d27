//! Any bytes through both ways of the scanner: what the usual one reads, the machine reads alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nat_test_oracle::usual;

fuzz_target!(|text: &[u8]| {
    usual::check(text);
});
