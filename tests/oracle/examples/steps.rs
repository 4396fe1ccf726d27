//! Counts the steps of the slow path of the scanner, and of the scanner of descriptions, for messages, each a file in a
//! directory: `cargo run --release -p nat-test-oracle --example steps -- fuzz/corpus/scan`.
//!
//! Prints the messages of at most one Ethernet frame that take most, and longer ones, by their part of a frame.

use std::env::args;
use std::fs;

use nat_common::sip::Direction;
use nat_test_oracle::effort;

/// Length of a message that fills an Ethernet frame, together with its headers.
const FRAME: usize = 1472;

fn main() {
    let (mut headers, mut descriptions) = (Vec::new(), Vec::new());
    for directory in args().skip(1) {
        for file in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"))
        {
            let path = file.expect("a file").path();
            let text = fs::read(&path).expect("a message");
            let per_frame = |steps: u32| steps as usize * FRAME / text.len().max(FRAME);
            for direction in [None, Some(Direction::In), Some(Direction::Out)] {
                let (steps, result) = effort::read(&text, direction);
                if result.is_ok() {
                    headers.push((per_frame(steps), steps, text.len(), path.clone()));
                }
            }
            let (steps, result) = effort::describe(&text);
            if result.is_ok() {
                descriptions.push((per_frame(steps), steps, text.len(), path));
            }
        }
    }
    for (what, mut rows) in [("read", headers), ("with a description", descriptions)] {
        rows.sort();
        rows.dedup_by(|a, b| a.3 == b.3);
        println!("{} {what}; steps for a frame, steps, bytes:", rows.len());
        for (per_frame, steps, len, path) in rows.iter().rev().take(10) {
            println!("{per_frame:5} {steps:5} {len:5} {}", path.display());
        }
    }
}
