//! Mutant that this process plays. `cargo xtask mutants` adds this module to its copy of a crate.

extern crate std;

use std::env::{self, VarError};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{panic, process};

/// Number of the mutant; none by default.
static CHOSEN: LazyLock<Option<u32>> = LazyLock::new(|| match env::var("SIPNAT_MUTANT") {
    Ok(number) => {
        end_at_first_failure();
        Some(number.parse().expect("a number"))
    }
    Err(VarError::NotPresent) => None,
    Err(error) => panic!("SIPNAT_MUTANT: {error}"),
});

/// Makes the first failure of a test that of the process: the others need not run. A test may expect a panic of a dependency,
/// whose files have absolute paths.
fn end_at_first_failure() {
    panic::set_hook(std::boxed::Box::new(|failure| {
        if failure
            .location()
            .is_none_or(|at| !at.file().starts_with('/'))
        {
            process::exit(101);
        }
    }));
}

/// File in which the process lists the mutants that it reaches.
static LIST: LazyLock<Option<OsString>> = LazyLock::new(|| env::var_os("SIPNAT_MUTANTS_REACHED"));

/// Mutants that are listed already.
static LISTED: [AtomicBool; 1 << 16] = [const { AtomicBool::new(false) }; 1 << 16];

/// Whether the code is to do what the mutant says.
#[inline]
pub fn is(number: u32) -> bool {
    if let Some(list) = &*LIST
        && !LISTED[number as usize].swap(true, Ordering::Relaxed)
    {
        let line = std::format!("{number}\n");
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(list)
            .expect("a file");
        file.write_all(line.as_bytes()).expect("a line");
    }
    *CHOSEN == Some(number)
}
