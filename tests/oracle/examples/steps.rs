//! Counts the steps that the slow path of the scanner takes for messages, each a file in a directory:
//! `cargo run --release -p nat-test-oracle --example steps -- fuzz/corpus/scan`.
//!
//! Prints the messages that take the largest part of their budget, and whether they are read.

use std::env::args;
use std::fs;

use nat_common::sip::{self, Direction};
use nat_test_oracle::effort;

fn main() {
    let mut rows = Vec::new();
    for directory in args().skip(1) {
        for file in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"))
        {
            let path = file.expect("a file").path();
            let text = fs::read(&path).expect("a message");
            let all = [None, Some(Direction::In), Some(Direction::Out)];
            let (steps, result) = all
                .map(|direction| effort::read(&text, direction))
                .into_iter()
                .max_by_key(|(steps, _)| *steps)
                .expect("three");
            let part = f64::from(steps) / f64::from(24 + text.len() as u32 / 12);
            rows.push((part, steps, text.len(), result.is_ok(), path));
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{} messages", rows.len());
    let _ = sip::MAX_SCAN;
    for (part, steps, len, read, path) in rows.iter().filter(|row| row.3).take(25) {
        println!(
            "{part:.2} {steps:5} steps {len:5} bytes read={read} {}",
            path.display()
        );
    }
    let over = rows.iter().filter(|row| row.0 > 1.0);
    println!(
        "{} beyond, {} of them read",
        over.clone().count(),
        over.filter(|row| row.3).count()
    );
}
