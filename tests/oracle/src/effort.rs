//! Steps of the slow path of the scanner, and of the scanner of descriptions, counted.

use std::cell::Cell;

use nat_common::bpf::{Repeat, Step};
use nat_common::sdp::{self, Description, NoDescription};
use nat_common::sip::{Content, Direction, Doubt, Message, Scan};

thread_local! {
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// Loop without a limit, that counts.
struct Counting;

impl Repeat for Counting {
    fn repeat(_limit: u32, mut step: impl Step) {
        let mut steps = 1;
        while step.step() {
            steps += 1;
        }
        STEPS.set(steps);
    }
}

/// Reads a message by the slow path, however many steps it takes. Returns their number, too.
///
/// # Errors
/// A [`Doubt`] about the message.
pub fn read(text: &[u8], direction: Option<Direction>) -> (u32, Result<Message, Doubt>) {
    let mut scan = Scan::default();
    let result = scan.read_any::<_, Counting>(text, direction);
    (STEPS.get(), result.map(|()| *scan.message()))
}

/// Reads the description in a message, however many steps it takes. Returns their number, too.
///
/// # Errors
/// [`NoDescription`] if there is none, or if it can be read in two ways.
pub fn describe(text: &[u8]) -> (u32, Result<Description, NoDescription>) {
    let mut scan = sdp::Scan::default();
    let result = scan.run::<_, Counting, Counting>(text, &Content::default());
    (STEPS.get(), result.map(|()| scan.description))
}
