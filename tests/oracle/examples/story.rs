//! Tells the story of an input of the fuzz target `decide`, after leaving out the steps that it does not need:
//! `cargo run -p nat-test-oracle --example story -- fuzz/artifacts/decide/crash-...`. With a second path, it writes the
//! shorter input there, as text if the path ends with `.story`.
//!
//! A story in text makes a seed: `... --example story -- tests/oracle/stories/NAME.story fuzz/corpus/decide/NAME`.

use std::env::args;
use std::fs;

use nat_test_oracle::model::{self, Setup, Step};

fn main() {
    let path = args().nth(1).expect("the path of an input");
    let input = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let is_text = |path: &str| path.ends_with(".story");
    let (mut setup, mut steps) = if is_text(&path) {
        let text = String::from_utf8(input).expect("a text");
        model::read_story(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    } else {
        model::decode(&input).expect("an input with a setup")
    };
    if !is_text(&path) && !setup.raw && model::play(setup, &steps, false).is_err() {
        shorten(&mut setup, &mut steps);
    }
    let (reason, story) = match model::play(setup, &steps, true) {
        Ok(story) => ("every rule holds".into(), story),
        Err(broken) => broken,
    };
    println!("{}\n{reason}", story.join("\n"));
    if let Some(path) = args().nth(2) {
        let input = if is_text(&path) {
            model::write_story(setup, &steps).into_bytes()
        } else {
            model::encode(setup, &steps)
        };
        fs::write(&path, input).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// Leaves out what a broken rule does not need: steps, then bits of the setup and of the steps.
fn shorten(setup: &mut Setup, steps: &mut Vec<Step>) {
    let breaks = |setup: Setup, steps: &[Step]| model::play(setup, steps, false).is_err();
    loop {
        let before = (steps.len(), setup.encode());
        for at in (0..steps.len()).rev() {
            let mut fewer = steps.clone();
            fewer.remove(at);
            if breaks(*setup, &fewer) {
                *steps = fewer;
            }
        }
        for bit in (0..32).rev() {
            let bits = u32::from_le_bytes(setup.encode()) & !(1 << bit);
            let simpler = Setup::decode(bits.to_le_bytes());
            if simpler.encode() != setup.encode() && breaks(simpler, steps) {
                *setup = simpler;
            }
        }
        for at in 0..steps.len() {
            for bit in (0..32).rev() {
                let mut bytes = steps[at].encode();
                bytes[1 + bit / 8] &= !(1 << (bit % 8));
                let mut simpler = steps.clone();
                simpler[at] = Step::decode(bytes);
                if simpler[at].encode() != steps[at].encode() && breaks(*setup, &simpler) {
                    *steps = simpler;
                }
            }
        }
        if before == (steps.len(), setup.encode()) {
            return;
        }
    }
}
