//! SipHash-1-3 over part of a message, keyed with a secret. Without the secret nobody can make two identities collide, or
//! choose the set of a key.
//!
//! Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; rounds 1 and 3.
//!
//! ```
//! use nat_common::bpf::HostLoop;
//! use nat_common::bytes::Span;
//! use nat_common::tables::hash::{Cursor, span};
//!
//! let text = &b"a84b4c76e66710 and a84b4c76e66710"[..];
//! let hash = |start, end, secret| {
//!     span::<_, HostLoop>(text, Span::between(start, end), &secret, &mut Cursor::default())
//! };
//! assert_eq!(hash(0, 14, [1, 2]), hash(19, 33, [1, 2]));
//! assert_ne!(hash(0, 14, [1, 2]), hash(0, 14, [3, 4]));
//! ```

use crate::bpf::Repeat;
use crate::bpf::bounded;
use crate::bytes::swar;
use crate::bytes::{Source, Span};
use crate::sip::SPANS;

/// State of a SipHash.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline(always)]
    fn new(secret: &[u64; 2]) -> Self {
        let mut state = Self::default();
        state.begin(secret);
        state
    }

    /// Begins a hash.
    #[inline(always)]
    pub(super) fn begin(&mut self, secret: &[u64; 2]) {
        self.v0 = secret[0] ^ 0x736f_6d65_7073_6575;
        self.v1 = secret[1] ^ 0x646f_7261_6e64_6f6d;
        self.v2 = secret[0] ^ 0x6c79_6765_6e65_7261;
        self.v3 = secret[1] ^ 0x7465_6462_7974_6573;
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }

    /// Takes eight bytes.
    #[inline(always)]
    pub(super) fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// Returns the hash, after the last word: the bytes that are left, less than eight, and above them the number of all
    /// bytes (modulo 256). It is never 0.
    #[inline(always)]
    pub(super) fn finish(&mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        match self.v0 ^ self.v1 ^ self.v2 ^ self.v3 {
            0 => 1,
            hash => hash,
        }
    }
}

/// Position of a hash in the text. In the kernel it lies in a map, so that the verifier takes it for unknown at each
/// round. A known position would tell rounds apart, and the verification would not end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    at: u32,
    left: u32,
}

impl Cursor {
    #[inline(always)]
    fn set(&mut self, at: u32, left: u32) {
        // SAFETY: a valid reference. Volatile, so that the compiler keeps it in memory.
        unsafe { (&raw mut *self).write_volatile(Self { at, left }) };
    }

    #[inline(always)]
    fn get(&self) -> (u32, u32) {
        // SAFETY: as in `set`.
        let now = unsafe { (&raw const *self).read_volatile() };
        (now.at, now.left)
    }
}

/// Returns the hash of a span's bytes. It is never 0, which stands for absence.
#[inline(always)]
pub fn span<S: Source + ?Sized, L: Repeat>(
    source: &S,
    span: Span,
    secret: &[u64; 2],
    cursor: &mut Cursor,
) -> u64 {
    let mut state = Sip::new(secret);
    cursor.set(u32::from(span.start), u32::from(span.len));
    L::repeat(u32::from(u16::MAX) / 32 + 1, || {
        let (mut at, mut left) = cursor.get();
        let mut absorb = || {
            let word = source.word(at);
            if left < 8 {
                state.absorb(swar::head(word, left) | u64::from(span.len) << 56);
                return false;
            }
            state.absorb(word);
            at += 8;
            left -= 8;
            true
        };
        // Most parts of a message have no more words. Four calls instead of a loop: a round must not contain one.
        if !(absorb() && absorb() && absorb() && absorb()) {
            return false;
        }
        cursor.set(at, left);
        true
    });
    state.finish()
}

/// Hashes of parts of a message; 0 for a part that is not there. In the kernel they lie in a map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Digest {
    /// By index of the part; see [`Field`](crate::sip::Field).
    pub hashes: [u64; SPANS],
    /// Parts still to be hashed, a bit for each, and the index of the lowest bit.
    left: u32,
    next: u32,
}

impl Digest {
    /// Hashes parts of a message, a bit for each, by `hash`. One loop for all, so that the verifier sees `hash` once.
    #[inline(always)]
    pub fn add<L: Repeat>(
        &mut self,
        spans: &[Span; SPANS],
        parts: u32,
        mut hash: impl FnMut(Span) -> u64,
    ) {
        // SAFETY: a valid reference. Volatile, as in `Cursor`.
        unsafe {
            (&raw mut self.left).write_volatile(parts);
            (&raw mut self.next).write_volatile(0);
        }
        L::repeat(SPANS as u32 + 1, || {
            // SAFETY: as above.
            let (left, next) = unsafe {
                (
                    (&raw const self.left).read_volatile(),
                    (&raw const self.next).read_volatile(),
                )
            };
            if left & 1 != 0 {
                let index = bounded::<SPANS>(next as usize);
                // SAFETY: the index is in bounds.
                let (span, place) = unsafe {
                    (
                        *spans.get_unchecked(index),
                        self.hashes.get_unchecked_mut(index),
                    )
                };
                *place = if span.is_empty() { 0 } else { hash(span) };
            }
            // SAFETY: as above.
            unsafe {
                (&raw mut self.left).write_volatile(left >> 1);
                (&raw mut self.next).write_volatile(next + 1);
            }
            left > 1
        });
    }
}

/// Returns the hash of three words. It is never 0.
#[inline(always)]
#[must_use]
pub fn words(a: u64, b: u64, c: u64, secret: &[u64; 2]) -> u64 {
    let mut state = Sip::new(secret);
    state.absorb(a);
    state.absorb(b);
    state.absorb(c);
    state.absorb((3 * size_of::<u64>() as u64) << 56);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::HostLoop;
    use core::hash::Hasher;

    #[test]
    fn agrees_with_another_implementation() {
        let bytes: [u8; 300] = core::array::from_fn(|i| (i * 7) as u8);
        let secret = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        for start in 0..9_u16 {
            for len in 0..280_u16 {
                let at = usize::from(start);
                let mut other = siphasher::sip::SipHasher13::new_with_keys(secret[0], secret[1]);
                other.write(&bytes[at..at + usize::from(len)]);
                let mut cursor = Cursor::default();
                let part = Span { start, len };
                let ours = span::<_, HostLoop>(&bytes[..], part, &secret, &mut cursor);
                assert_eq!(ours, other.finish(), "{start} {len}");
            }
        }
        let mut other = siphasher::sip::SipHasher13::new_with_keys(secret[0], secret[1]);
        other.write(&bytes[..24]);
        let word = |at: usize| bytes[..].word(at as u32);
        assert_eq!(words(word(0), word(8), word(16), &secret), other.finish());
    }
}
