//! The scanner and `rsip` read a message alike, or one of them refuses it.
#![no_main]

use std::cell::Cell;
use std::panic;
use std::process;

use libfuzzer_sys::fuzz_target;
use nat_test_oracle::reference;

thread_local! {
    /// Set while `rsip` parses. It panics on some messages: those panics are ignored.
    static PARSING: Cell<bool> = const { Cell::new(false) };
}

fuzz_target!(
    init: {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !PARSING.get() {
                report(info);
                process::abort();
            }
        }));
    },
    |text: &[u8]| {
        let Some(ours) = reference::scanned(text) else { return };
        PARSING.set(true);
        let other = panic::catch_unwind(|| reference::parsed(text));
        PARSING.set(false);
        if let Ok(Some(other)) = other {
            assert!(ours.agrees(&other), "{ours:?}\n{other:?}");
        }
    }
);
