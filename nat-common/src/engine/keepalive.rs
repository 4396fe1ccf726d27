//! Keepalives of the agent: the branch by which its OPTIONS and their answers are known.
//!
//! The topmost branch of such an OPTIONS is [`MAGIC`], the cookie of these tables, the index of its record in `KEEPALIVES`, and
//! a nonce, all in hexadecimal. A response has the branch of its request (RFC 3261 8.2.6.2). The cookie and the nonce are
//! random: a host that was not pinged cannot name them. A host that was pinged can only have its own answers dropped.
//!
//! ```
//! use nat_common::abi::Keepalive;
//! use nat_common::bytes::Span;
//! use nat_common::endpoint::Endpoint;
//! use nat_common::engine::keepalive::{Ping, accepts};
//!
//! let cookie = Ping::digits(7);
//! let ping = Ping { index: 3, nonce: Ping::digits(9) };
//! let branch = ping.branch(cookie);
//! let read = Ping::read(&branch[..], Span::between(0, branch.len() as u32), cookie);
//! assert_eq!(read, Some(ping));
//! let phone = Endpoint::v4([60, 17, 196, 2], 49163);
//! let record = Keepalive { terminal: phone, nonce: ping.nonce, ..Keepalive::default() };
//! assert!(accepts(&record, &ping, &phone));
//! ```

use crate::abi::Keepalive;
use crate::bytes::{Source, Span};
use crate::endpoint::Endpoint;
use crate::sip::{Field, Message, Method};

/// Start of a branch of RFC 3261 (8.1.1.7).
pub const MAGIC: [u8; 7] = *b"z9hG4bK";

/// Offsets of the parts of a branch.
const COOKIE: usize = MAGIC.len();
const INDEX: usize = COOKIE + 16;
const NONCE: usize = INDEX + 8;

/// Length of a branch.
pub const BRANCH_LEN: usize = NONCE + 16;

/// Identity of an OPTIONS of the agent, as its branch has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Index of its record in `KEEPALIVES`.
    pub index: u32,
    /// Its nonce: 16 digits.
    pub nonce: [u64; 2],
}

impl Ping {
    /// Reads the branch at `branch` in the text of a message. None if it has another cookie.
    #[inline(always)]
    #[must_use]
    pub fn read<S: Source + ?Sized>(text: &S, branch: Span, cookie: [u64; 2]) -> Option<Self> {
        if branch.len as usize != BRANCH_LEN {
            return None;
        }
        let word = |at: usize| text.word(u32::from(branch.start) + at as u32);
        // One comparison: the verifier would follow each of two.
        if (word(COOKIE) ^ cookie[0]) | (word(COOKIE + 8) ^ cookie[1]) != 0 {
            return None;
        }
        Some(Self {
            index: number(word(INDEX)),
            nonce: [word(NONCE), word(NONCE + 8)],
        })
    }

    /// Writes the branch.
    #[must_use]
    pub fn branch(&self, cookie: [u64; 2]) -> [u8; BRANCH_LEN] {
        let [_, index] = Self::digits(self.index.into());
        let mut branch = [0; BRANCH_LEN];
        branch[..COOKIE].copy_from_slice(&MAGIC);
        for (at, word) in [
            (COOKIE, cookie[0]),
            (COOKIE + 8, cookie[1]),
            (INDEX, index),
            (NONCE, self.nonce[0]),
            (NONCE + 8, self.nonce[1]),
        ] {
            branch[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        branch
    }

    /// Returns the 16 hexadecimal digits of a number, as two words of text.
    #[must_use]
    pub fn digits(number: u64) -> [u64; 2] {
        let digits = |half: u64| {
            let digit =
                |place: usize| b"0123456789abcdef"[(half >> (28 - 4 * place)) as usize & 15];
            u64::from_le_bytes(core::array::from_fn(digit))
        };
        [digits(number >> 32), digits(number)]
    }
}

/// Returns the number that eight hexadecimal digits mean. Other characters make some number, too: the nonce decides.
#[inline(always)]
const fn number(digits: u64) -> u32 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A letter has bit 6, and its digit is nine more than its lowest bits.
    let n = (digits & (15 * ONES)) + ((digits >> 6) & ONES) * 9;
    // The first digit is the highest.
    let n = n.swap_bytes();
    let n = (n | n >> 4) & 0x00ff_00ff_00ff_00ff;
    let n = (n | n >> 8) & 0x0000_ffff_0000_ffff;
    (n | n >> 16) as u32
}

/// Whether a message that the PBX's host sends is an OPTIONS of the agent.
#[inline(always)]
#[must_use]
pub fn is_ping<S: Source + ?Sized>(m: &Message, text: &S, cookie: [u64; 2]) -> bool {
    m.status == 0
        && m.method == Method::Options
        && Ping::read(text, m.span(Field::Branch), cookie).is_some()
}

/// Returns the ping that a message answers that arrived; none if it answers no OPTIONS of the agent.
#[inline(always)]
#[must_use]
pub fn answered<S: Source + ?Sized>(m: &Message, text: &S, cookie: [u64; 2]) -> Option<Ping> {
    if m.status == 0 {
        return None;
    }
    Ping::read(text, m.span(Field::Branch), cookie)
}

/// Whether an answer from `source` counts: it is the first to the last ping of its record, and comes from the host that was
/// pinged. It shows that a terminal is alive and proves nothing else: a neighbour behind the same NAT could answer.
#[inline(always)]
#[must_use]
pub const fn accepts(record: &Keepalive, ping: &Ping, source: &Endpoint) -> bool {
    let nonce = (record.nonce[0] ^ ping.nonce[0]) | (record.nonce[1] ^ ping.nonce[1]);
    let host =
        (record.terminal.addr[0] ^ source.addr[0]) | (record.terminal.addr[1] ^ source.addr[1]);
    nonce | host == 0 && record.answered <= record.sent
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE_WORDS: [u64; 2] = [
        u64::from_le_bytes(*b"0123abcd"),
        u64::from_le_bytes(*b"89ef4567"),
    ];

    fn ping(index: u32) -> Ping {
        Ping {
            index,
            nonce: Ping::digits(0x0011_2233_4455_6677),
        }
    }

    #[test]
    fn a_branch_is_read_as_it_was_written() {
        for index in [0, 1, 9, 10, 0x1234_5678, 0x9abc_def0, u32::MAX] {
            let branch = ping(index).branch(COOKIE_WORDS);
            assert!(branch.starts_with(b"z9hG4bK0123abcd89ef4567"));
            assert!(branch.ends_with(b"0011223344556677"));
            let text = [&b"Via: x;branch="[..], &branch, b"\r\n"].concat();
            let span = Span::between(14, 14 + BRANCH_LEN as u32);
            assert_eq!(Ping::read(&text[..], span, COOKIE_WORDS), Some(ping(index)));
        }
    }

    #[test]
    fn another_branch_is_none() {
        let branch = ping(3).branch(COOKIE_WORDS);
        let read =
            |text: &[u8], len: usize| Ping::read(text, Span::between(0, len as u32), COOKIE_WORDS);
        assert!(read(&branch, BRANCH_LEN).is_some());
        assert_eq!(read(&branch, BRANCH_LEN - 1), None);
        assert_eq!(read(&[&branch[..], b"x"].concat(), BRANCH_LEN + 1), None);
        for at in COOKIE..INDEX {
            let mut other = branch;
            other[at] ^= 1;
            assert_eq!(read(&other, BRANCH_LEN), None, "{at}");
        }
        assert_eq!(read(b"", 0), None);
    }

    #[test]
    fn only_the_first_answer_to_the_last_ping_from_its_host_counts() {
        let phone = Endpoint::v4([60, 17, 196, 2], 49163);
        let record = Keepalive {
            terminal: phone,
            nonce: ping(0).nonce,
            sent: 100,
            ..Keepalive::default()
        };
        assert!(accepts(&record, &ping(0), &phone));
        // A phone that answers from another port of its host.
        assert!(accepts(
            &record,
            &ping(0),
            &Endpoint::v4([60, 17, 196, 2], 5060)
        ));
        assert!(!accepts(
            &record,
            &ping(0),
            &Endpoint::v4([60, 17, 196, 3], 49163)
        ));
        let ipv6 = Endpoint {
            addr: [0x2001, 7],
            ..phone
        };
        let of_ipv6 = Keepalive {
            terminal: ipv6,
            ..record
        };
        assert!(accepts(&of_ipv6, &ping(0), &ipv6));
        for half in 0..2 {
            let mut other = ping(0);
            other.nonce[half] ^= 1;
            assert!(!accepts(&record, &other, &phone));
            let mut elsewhere = phone;
            elsewhere.addr[half] ^= 1;
            assert!(!accepts(&record, &ping(0), &elsewhere));
        }
        let again = Keepalive {
            answered: 101,
            ..record
        };
        assert!(!accepts(&again, &ping(0), &phone));
        // The answer to the ping before came at the very time of this one.
        for answered in [99, 100] {
            let before = Keepalive { answered, ..record };
            assert!(accepts(&before, &ping(0), &phone));
        }
    }
}
