//! The scanner and `rsip` read a message in the same way, or one of them does not read it.
#![no_main]

use std::cell::Cell;
use std::panic;
use std::process;

use libfuzzer_sys::fuzz_target;

#[path = "../../nat-common/tests/opinion/mod.rs"]
mod opinion;

thread_local! {
    /// While rsip reads: it panics on some messages, which is not our concern.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

fuzz_target!(
    init: {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !ASKING.get() {
                report(info);
                process::abort();
            }
        }));
    },
    |text: &[u8]| {
        let Some(ours) = opinion::first(text) else { return };
        ASKING.set(true);
        let other = panic::catch_unwind(|| opinion::second(text));
        ASKING.set(false);
        if let Ok(Some(other)) = other {
            assert!(ours.agrees(&other), "{ours:?}\n{other:?}");
        }
    }
);
