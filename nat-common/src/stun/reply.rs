//! Response to a Binding request.
//!
//! It is short: the IP packet of a response is at most 1.6 times as long as that of its request. So a forged source
//! address amplifies little. Therefore an error response has no reason phrase, and SOFTWARE is optional.
//!
//! ```
//! use nat_common::bpf::HostLoop;
//! use nat_common::endpoint::Endpoint;
//! use nat_common::stun::{Request, reply::Reply};
//!
//! let text = &b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction1"[..];
//! let mut request = Request::default();
//! assert!(request.read::<_, HostLoop>(text).is_ok());
//!
//! let mut reply = Reply::default();
//! reply.make::<_, HostLoop>(&request, text, &Endpoint::v4([60, 17, 196, 2], 49163), false);
//! // The header and XOR-MAPPED-ADDRESS.
//! assert_eq!(reply.len(), 20 + 12);
//! assert_eq!(reply.words()[0], u32::from_ne_bytes(*b"\x01\x01\x00\x0c"));
//! ```

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::{MAGIC_COOKIE, MAX_UNKNOWN, Request, attribute, crc, message};
use crate::bpf::Repeat;
use crate::bpf::bounded;
use crate::bytes::{Source, words};
use crate::endpoint::Endpoint;

/// Capacity of a [`Reply`] in words of four bytes: a power of two, so that a masked index is in bounds.
pub const CAPACITY: usize = 32;

/// Words of the longest response: header, ERROR-CODE, UNKNOWN-ATTRIBUTES, SOFTWARE and FINGERPRINT.
const LONGEST: usize = 5 + 2 + (1 + MAX_UNKNOWN / 2) + 3 + 2;
const _: () = assert!(LONGEST <= CAPACITY);

/// Value of SOFTWARE, padded with zeros to a multiple of four.
const SOFTWARE: [u8; 8] = *b"sipnat\0\0";
/// Length of SOFTWARE without padding.
const SOFTWARE_LEN: u32 = 6;

/// Address family IPv4 in attributes (RFC 8489 14.1).
const IPV4: u32 = 1;
/// Address family IPv6 in attributes.
const IPV6: u32 = 2;

/// Response, built word by word. In the kernel it lies in a map.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Reply {
    /// Number of words that are used.
    used: u32,
    crc: crc::Cursor,
    reserved: u32,
    /// The message in the byte order of the packet, then zeros.
    words: [u32; CAPACITY],
}

impl Reply {
    /// Builds the response to a `request` from `peer`. `source` is the text of the request.
    #[inline(always)]
    pub fn make<S: Source + ?Sized, L: Repeat>(
        &mut self,
        request: &Request,
        source: &S,
        peer: &Endpoint,
        software: bool,
    ) {
        words::clear(self);
        let refused = request.unknowns != 0;
        // The first word holds the length and is written last. The transaction ID and the four bytes before it (the
        // magic cookie of RFC 8489) come from the request.
        self.put(0);
        let (low, high) = (source.word(4), source.word(12));
        let transaction = [
            low as u32,
            (low >> 32) as u32,
            high as u32,
            (high >> 32) as u32,
        ];
        for word in transaction {
            self.put(word);
        }
        if refused {
            self.put_refusal(request);
        } else {
            self.put_address(peer, &transaction, request.classic);
        }
        if software {
            let [a, b, c, d, e, f, g, h] = SOFTWARE;
            self.put_be(u32::from(attribute::SOFTWARE) << 16 | SOFTWARE_LEN);
            self.put_be(u32::from_be_bytes([a, b, c, d]));
            self.put_be(u32::from_be_bytes([e, f, g, h]));
        }
        let kind = u32::from(if refused {
            message::ERROR
        } else {
            message::SUCCESS
        });
        let print = request.fingerprint != 0;
        let before = self.len();
        let len = before - super::HEADER + if print { 8 } else { 0 };
        self.words[0] = (kind << 16 | len).to_be();
        if print {
            let words = &self.words;
            let word = |at: u32| {
                // SAFETY: the index is in bounds.
                unsafe { *words.get_unchecked(bounded::<CAPACITY>(at as usize / 4)) }
            };
            let value = crc::fingerprint::<L>(word, before, &mut self.crc);
            self.put_be(u32::from(attribute::FINGERPRINT) << 16 | 4);
            self.put_be(value);
        }
    }

    /// Appends XOR-MAPPED-ADDRESS (RFC 8489 14.2); for clients of RFC 3489, MAPPED-ADDRESS.
    #[inline(always)]
    fn put_address(&mut self, peer: &Endpoint, transaction: &[u32; 4], classic: bool) {
        let (kind, port, mask) = if classic {
            (attribute::MAPPED_ADDRESS, peer.port, [0; 4])
        } else {
            let port = peer.port ^ (MAGIC_COOKIE >> 16);
            (attribute::XOR_MAPPED_ADDRESS, port, *transaction)
        };
        let (family, len) = if peer.is_v4() { (IPV4, 8) } else { (IPV6, 20) };
        self.put_be(u32::from(kind) << 16 | len);
        self.put_be(family << 16 | port);
        if peer.is_v4() {
            self.put((peer.addr[1] >> 32) as u32 ^ mask[0]);
        } else {
            self.put(peer.addr[0] as u32 ^ mask[0]);
            self.put((peer.addr[0] >> 32) as u32 ^ mask[1]);
            self.put(peer.addr[1] as u32 ^ mask[2]);
            self.put((peer.addr[1] >> 32) as u32 ^ mask[3]);
        }
    }

    /// Appends ERROR-CODE 420 and UNKNOWN-ATTRIBUTES (RFC 8489 14.8, 14.13).
    #[inline(always)]
    fn put_refusal(&mut self, request: &Request) {
        self.put_be(u32::from(attribute::ERROR_CODE) << 16 | 4);
        self.put_be(4 << 8 | 20);
        let count = u32::from(request.unknowns);
        // RFC 3489 11.2.10 demands a whole number of words: with an odd count, the last attribute is named twice.
        let named = if request.classic {
            (count + 1) & !1
        } else {
            count
        };
        self.put_be((u32::from(attribute::UNKNOWN_ATTRIBUTES) << 16) | (named * 2));
        for pair in 0..MAX_UNKNOWN / 2 {
            let at = pair as u32 * 2;
            if at < count {
                let first = u32::from(request.unknown[pair * 2]);
                let second = if at + 1 < count {
                    u32::from(request.unknown[pair * 2 + 1])
                } else if request.classic {
                    first
                } else {
                    0
                };
                self.put_be(first << 16 | second);
            }
        }
    }

    /// Appends a word in network byte order.
    #[inline(always)]
    fn put_be(&mut self, value: u32) {
        self.put(value.to_be());
    }

    /// Appends a word as it is.
    #[inline(always)]
    fn put(&mut self, word: u32) {
        let index = bounded::<CAPACITY>(self.used as usize);
        // SAFETY: the index is in bounds.
        unsafe { *self.words.get_unchecked_mut(index) = word };
        self.used += 1;
    }

    /// Returns the length in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.used * 4
    }

    /// Whether nothing was built.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Returns the words of the message, then zeros.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> &[u32; CAPACITY] {
        &self.words
    }
}

/// Returns the Internet checksum (RFC 1071) for the sum of some words, in the byte order of these words.
#[inline(always)]
#[must_use]
pub const fn checksum(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}
