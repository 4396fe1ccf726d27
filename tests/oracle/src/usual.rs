//! The fast path of the scanner finds what the slow one finds, or leaves the message to it.

use nat_common::bpf::HostLoop;
use nat_common::sdp::{self, NoDescription};
use nat_common::sip::{Direction, Scan};

use crate::effort;

/// Compares both paths, for each direction and for all headers. Returns the number of scans, of three, that the fast path
/// made.
///
/// # Panics
///
/// If the fast path finds something else, or reads a message that the slow one leaves in doubt. If the description in the body is
/// not the one that is found from the first byte.
pub fn check(text: &[u8]) -> u32 {
    let mut taken = 0;
    for direction in [None, Some(Direction::In), Some(Direction::Out)] {
        let mut usual = Scan::default();
        usual.walk::<_, HostLoop>(text);
        if !usual.read_usual(text, direction) {
            continue;
        }
        // Without its budget: that is for what the fast path leaves.
        let (_, any) = effort::read(text, direction);
        let readable = String::from_utf8_lossy(text);
        assert_eq!(
            any.as_ref(),
            Ok(usual.message()),
            "{direction:?} {readable}"
        );
        taken += 1;
    }
    check_body(text);
    taken
}

/// Compares what is read of the body that the walk has found with what is read from the first byte of the message.
///
/// # Panics
///
/// If they differ.
pub fn check_body(text: &[u8]) {
    let mut headers = Scan::default();
    headers.walk::<_, HostLoop>(text);
    if headers.content().body == 0 {
        return;
    }
    let mut body = sdp::Scan::default();
    let found = body.run::<_, HostLoop, HostLoop>(text, headers.content());
    let found = found.map(|()| body.description);
    let (_, any) = effort::describe(text);
    // Only the first has a budget.
    if found != Err(NoDescription::Costly) {
        assert_eq!(found, any, "{}", String::from_utf8_lossy(text));
    }
}
