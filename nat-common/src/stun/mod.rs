//! STUN codec: Binding requests (RFC 8489 6.3, 7.3; RFC 3489 8.1) and the answers to them.
//!
//! [`Request`] is read in one pass over its attributes, a step for each; its state lies in memory, as that of the SIP
//! scanner does. [`reply`] then makes the answer.
//!
//! ```
//! use nat_common::bpf::HostLoop;
//! use nat_common::stun::{Answer, Doubt, Request};
//!
//! let binding = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
//! let mut request = Request::default();
//! assert_eq!(request.read::<_, HostLoop>(&binding[..]), Ok(Answer::Address));
//! let response = b"\x01\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
//! assert_eq!(request.read::<_, HostLoop>(&response[..]), Err(Doubt::NotRequest));
//! ```

pub mod crc;
pub mod reply;

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::bpf::{Repeat, bounded};
use crate::bytes::swar::byte;
use crate::bytes::{Source, words};

/// Answer that a Binding request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its source.
    Address,
    /// Error 420: it has unknown attributes that matter (RFC 8489 6.3.1).
    UnknownAttributes,
}

/// Reason why a message is no Binding request that is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Another class or method.
    NotRequest,
    /// Longer than [`LONGEST`].
    TooLong,
    /// The attributes contradict the message, or are too many.
    Malformed,
    /// It has credentials: for the PBX to judge.
    Credentials,
    /// FINGERPRINT does not match the message.
    BadFingerprint,
}

/// Bytes of the header.
pub const HEADER: u32 = 20;
/// Bytes 4 to 7 of a message, which those of RFC 3489 have not.
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
/// How many attributes are looked at. A request that goes on beyond is malformed.
pub const MAX_ATTRIBUTES: u32 = 32;
/// Bytes of the longest request that is looked at: what fits wherever IPv4 goes (RFC 8489 6.1). It bounds what the
/// CRC of a FINGERPRINT costs.
pub const LONGEST: u32 = 548;
/// The flags of CHANGE-REQUEST: from another address, from another port (RFC 3489 11.2.4).
const CHANGE: u32 = 0x06;
/// How many unknown ones are named in an answer: a power of two. A request that has more is malformed.
pub const MAX_UNKNOWN: usize = 16;

/// Types of messages (RFC 8489 5): class and method Binding.
pub mod message {
    /// A Binding request.
    pub const REQUEST: u16 = 0x0001;
    /// Its success response.
    pub const SUCCESS: u16 = 0x0101;
    /// Its error response.
    pub const ERROR: u16 = 0x0111;
}

/// Types of attributes (RFC 8489 18.3). A receiver must understand those below [`attribute::OPTIONAL`].
pub mod attribute {
    #![expect(missing_docs, reason = "the names are those of the RFC")]
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const CHANGE_REQUEST: u16 = 0x0003;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub const PASSWORD_ALGORITHM: u16 = 0x001d;
    pub const USERHASH: u16 = 0x001e;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const OPTIONAL: u16 = 0x8000;
    pub const SOFTWARE: u16 = 0x8022;
    pub const FINGERPRINT: u16 = 0x8028;
}

/// A Binding request; lives in memory between steps.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Request {
    at: u32,
    end: u32,
    /// Where FINGERPRINT begins; 0: it has none.
    fingerprint: u32,
    /// Attributes read. Not every loop counts its steps (see [`Repeat`]).
    attributes: u32,
    crc: crc::Cursor,
    /// Without a magic cookie: of RFC 3489.
    classic: bool,
    credentials: bool,
    malformed: bool,
    unknowns: u8,
    /// Attributes that may not be ignored and are not known.
    unknown: [u16; MAX_UNKNOWN],
}

impl Request {
    /// Reads a message whose length was checked (see [`crate::datagram`]). Returns the answer that it gets.
    ///
    /// # Errors
    /// A [`Doubt`] if it gets none.
    #[inline(always)]
    pub fn read<S: Source + ?Sized, L: Repeat>(&mut self, source: &S) -> Result<Answer, Doubt> {
        // All zero is before the first byte.
        words::clear(self);
        let first = source.word(0);
        if u16::from_be_bytes([byte(first, 0), byte(first, 1)]) != message::REQUEST {
            return Err(Doubt::NotRequest);
        }
        if source.len() > LONGEST {
            return Err(Doubt::TooLong);
        }
        self.classic = (first >> 32) as u32 != MAGIC_COOKIE.to_be();
        self.at = HEADER;
        self.end = source.len();
        L::repeat(MAX_ATTRIBUTES + 1, || self.step(source));
        if self.malformed || self.at != self.end {
            return Err(Doubt::Malformed);
        }
        if self.credentials {
            return Err(Doubt::Credentials);
        }
        if self.fingerprint != 0 && !self.matches::<S, L>(source) {
            return Err(Doubt::BadFingerprint);
        }
        Ok(if self.unknowns == 0 {
            Answer::Address
        } else {
            Answer::UnknownAttributes
        })
    }

    /// Reads an attribute. False after the last.
    #[inline(always)]
    fn step<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        use attribute::{
            CHANGE_REQUEST, ERROR_CODE, FINGERPRINT, MAPPED_ADDRESS, MESSAGE_INTEGRITY,
            MESSAGE_INTEGRITY_SHA256, NONCE, OPTIONAL, PASSWORD_ALGORITHM, REALM,
            UNKNOWN_ATTRIBUTES, USERHASH, USERNAME, XOR_MAPPED_ADDRESS,
        };
        let at = self.at;
        if at >= self.end {
            return false;
        }
        let word = source.word(at);
        let kind = u16::from_be_bytes([byte(word, 0), byte(word, 1)]);
        let len = u32::from(u16::from_be_bytes([byte(word, 2), byte(word, 3)]));
        let next = at + 4 + ((len + 3) & !3);
        // FINGERPRINT is the last (RFC 8489 14.7).
        if next > self.end || self.fingerprint != 0 || self.attributes == MAX_ATTRIBUTES {
            self.malformed = true;
            return false;
        }
        self.at = next;
        self.attributes += 1;
        match kind {
            FINGERPRINT if !self.classic => {
                self.fingerprint = at;
                self.malformed = len != 4;
            }
            OPTIONAL.. => {}
            USERNAME
            | MESSAGE_INTEGRITY
            | MESSAGE_INTEGRITY_SHA256
            | REALM
            | NONCE
            | USERHASH
            | PASSWORD_ALGORITHM => self.credentials = true,
            // Known, and of no use in a request: ignored (RFC 8489 6.3.1).
            MAPPED_ADDRESS | XOR_MAPPED_ADDRESS | ERROR_CODE | UNKNOWN_ATTRIBUTES => {}
            // Clients of RFC 3489 always send it. Mostly they ask for no change by it (RFC 3489 11.2.4).
            CHANGE_REQUEST if len == 4 && (word >> 32) as u32 & CHANGE.to_be() == 0 => {}
            _ => return self.note_unknown(kind),
        }
        !self.malformed
    }

    #[inline(always)]
    fn note_unknown(&mut self, kind: u16) -> bool {
        if usize::from(self.unknowns) >= MAX_UNKNOWN {
            self.malformed = true;
            return false;
        }
        let place = bounded::<MAX_UNKNOWN>(usize::from(self.unknowns));
        // SAFETY: the index is in bounds.
        unsafe { *self.unknown.get_unchecked_mut(place) = kind };
        self.unknowns += 1;
        true
    }

    /// Whether FINGERPRINT is that of the message (RFC 8489 14.7).
    #[inline(always)]
    fn matches<S: Source + ?Sized, L: Repeat>(&mut self, source: &S) -> bool {
        let fingerprint = self.fingerprint;
        let said = u32::from_be((source.word(fingerprint) >> 32) as u32);
        let word = |at| source.word(at) as u32;
        said == crc::fingerprint::<L>(word, fingerprint, &mut self.crc)
    }
}
