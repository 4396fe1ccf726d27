//! Compares both paths of the scanner over many messages, each made of one in a directory by some changes:
//! `cargo run --release -p nat-test-oracle --example usual -- 1000000 fuzz/corpus/scan`.

use std::env::args;
use std::fs;
use std::time::SystemTime;

use nat_test_oracle::usual;

/// Texts to insert: parts of headers in other forms, and bytes that end something.
const PARTS: [&[u8]; 44] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\t",
    b"\r\n ",
    b" ",
    b"  ",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"?",
    b"@",
    b":",
    b"!",
    b"*",
    b"=",
    b"\xc3\xa4",
    b"\x7f",
    b"#",
    b"[",
    b"sip:",
    b"sips:",
    b";tag=",
    b";branch=",
    b";b=",
    b";rport",
    b";expires=0",
    b"Via: SIP/2.0/UDP x;branch=y\r\n",
    b"v:",
    b"V: ",
    b"t: ",
    b"Contact: <sip:a@10.0.0.1>\r\n",
    b"Expires: 60\r\n",
    b"Route: <sip:a;lr>\r\n",
    b"Record-Route: <sip:a;lr>\r\n",
    b"Proxy-Authorization: Digest x\r\n",
    b"F\r\n",
    b"INVITE",
    b"SIP/2.0 200 ",
];

fn main() {
    let mut args = args().skip(1);
    let count: u64 = args
        .next()
        .expect("a number of messages")
        .parse()
        .expect("a number");
    let mut seeds = Vec::new();
    for directory in args {
        for file in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"))
        {
            let text = fs::read(file.expect("a file").path()).expect("a message");
            if !text.is_empty() {
                seeds.push(text);
            }
        }
    }
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock after 1970");
    let mut random = Random(now.as_nanos() as u64 | 1);
    let (mut taken, mut plain) = (0, 0);
    for seed in &seeds {
        plain += u64::from(usual::check(seed) != 0);
    }
    println!("{plain} of {} messages are usual", seeds.len());
    for _ in 0..count {
        let mut text = random.pick(&seeds).clone();
        for _ in 0..1 + random.below(3) {
            change(&mut text, &seeds, &mut random);
        }
        taken += u64::from(usual::check(&text) != 0);
    }
    println!("{count} changed messages, {taken} of them usual: both paths agree");
}

/// Makes one change.
fn change(text: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(text.len() + 1);
    let end = (at + random.below(9)).min(text.len());
    match random.below(8) {
        0 if at < text.len() => text[at] = random.next() as u8,
        1 if at < text.len() => text[at] ^= 1 << random.below(8),
        2 => drop(text.drain(at..end)),
        3 => {
            let copy = text[at..end].to_vec();
            let to = random.below(text.len() + 1);
            text.splice(to..to, copy);
        }
        4 => drop(text.splice(at..end, random.pick(&PARTS).iter().copied())),
        5 => drop(text.splice(at..at, random.pick(&PARTS).iter().copied())),
        6 => {
            // A line of another message, or of this one once more.
            let other = random.pick(seeds);
            let lines: Vec<&[u8]> = other.split_inclusive(|b| *b == b'\n').collect();
            let line = random.pick(&lines).to_vec();
            let start = text[..at]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |n| n + 1);
            text.splice(start..start, line);
        }
        _ => text.truncate(at.max(8)),
    }
}

/// A generator of random numbers (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}
