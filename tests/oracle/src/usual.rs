//! The usual way of the scanner finds what its machine finds, or leaves the message to it.

use nat_common::bpf::HostLoop;
use nat_common::sip::{Direction, Scan};

/// Compares both ways, for each direction and for all headers. Returns in how many of the three the usual way was taken.
///
/// # Panics
///
/// If the usual way finds something else, or reads a message that the machine leaves in doubt.
pub fn check(text: &[u8]) -> u32 {
    let mut taken = 0;
    for direction in [None, Some(Direction::In), Some(Direction::Out)] {
        let mut usual = Scan::default();
        usual.walk::<_, HostLoop>(text);
        if !usual.read_usual(text, direction) {
            continue;
        }
        let mut any = Scan::default();
        let result = any.read_any::<_, HostLoop>(text, direction);
        let readable = String::from_utf8_lossy(text);
        assert_eq!(result, Ok(()), "{direction:?} {readable}");
        assert_eq!(usual.message(), any.message(), "{direction:?} {readable}");
        taken += 1;
    }
    taken
}
