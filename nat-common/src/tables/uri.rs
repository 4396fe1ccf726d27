//! Hash of a URI: the same for all spellings of one URI (RFC 3261 19.1.4). A PBX calls a terminal by its Contact URI, but may
//! write it otherwise: parameters in another order, names in lower case, `%2B49` as `+49`.
//!
//! ```
//! use nat_common::bpf::HostLoop;
//! use nat_common::bytes::Span;
//! use nat_common::sip::{Field, SPANS};
//! use nat_common::tables::uri::{UriHash, uris};
//!
//! let hash = |text: &str| {
//!     let (mut spans, mut hashes) = ([Span::default(); SPANS], [0; SPANS]);
//!     let (uri, part) = (Field::ToUri as usize, Field::ToUri.bit());
//!     spans[uri].len = text.len() as u16;
//!     let scratch = &mut UriHash::default();
//!     uris::<_, HostLoop>(text.as_bytes(), &spans, part, &[1, 2], scratch, &mut hashes);
//!     hashes[uri]
//! };
//! assert_eq!(
//!     hash("%2B49@PBX.example;line=Ab;transport=UDP"),
//!     hash("+49@pbx.example;transport=udp;line=ab"),
//! );
//! assert_ne!(hash("alice@pbx.example"), hash("Alice@pbx.example"));
//! ```

use crate::bpf::{Repeat, bounded};
use crate::bytes::{Source, Span, WIDE, swar};
use crate::sip::{MAX_SCAN, SPANS};
use crate::tables::hash::{self, Sip};

/// Number of steps, at most: two for a byte, to find the host and to read it, and some for each URI.
const STEPS: u32 = 2 * MAX_SCAN + 4 * SPANS as u32;

/// URIs of a message while they are hashed. In the kernel it lies in a map, as [`Cursor`](hash::Cursor) does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UriHash {
    /// URIs that are not begun, a bit for each, and the index of the lowest bit.
    left: u32,
    next: u32,
    state: State,
    at: u32,
    start: u32,
    end: u32,
    /// Position of the host: a byte before it belongs to the user.
    host: u32,
    /// Number of bytes of the part that is being read.
    len: u32,
    /// Hash of user, host and port; 0 while they are being read.
    base: u64,
    part: Sip,
    /// Sum of the hashes of the parameters: their order does not matter.
    parameters: u64,
    /// The first eight bytes of the part, if it has as many.
    first: u64,
    /// Bytes of the part that are not hashed yet; less than eight.
    rest: u64,
}

/// What the next step does.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Begins a URI.
    #[default]
    Begin,
    /// Looks for the host.
    Find,
    /// Reads.
    Read,
}

/// Hashes URIs without their schemes: those of `spans` that have a bit in `parts`. The hash of one that is absent is 0, that
/// of another never. One loop for all, so that the verifier sees it once.
///
/// Case matters in the user only. `%HH` is the same as the byte that it stands for, unless that byte would end the part.
/// Left out are `lr`, which some PBXs drop, and what a Request-URI does not have: `method` and headers (RFC 3261 19.1.1).
/// Other than RFC 3261 19.1.4 a parameter that is in one of two URIs only makes them differ: a phone tells its
/// registrations apart by it.
#[inline(always)]
pub fn uris<S: Source + ?Sized, L: Repeat>(
    source: &S,
    spans: &[Span; SPANS],
    parts: u32,
    secret: &[u64; 2],
    uri: &mut UriHash,
    hashes: &mut [u64; SPANS],
) {
    uri.left = parts;
    uri.next = 0;
    uri.go(State::Begin);
    L::repeat(STEPS, || match uri.state() {
        State::Begin => uri.begin(spans, secret, hashes),
        State::Find => uri.find_host(source),
        State::Read => uri.read(source, secret, hashes),
    });
}

impl UriHash {
    #[inline(always)]
    fn go(&mut self, state: State) {
        // SAFETY: a valid reference. Volatile, so that the compiler keeps it in memory.
        unsafe { (&raw mut self.state).write_volatile(state) };
    }

    #[inline(always)]
    fn state(&self) -> State {
        // SAFETY: as above.
        unsafe { (&raw const self.state).read_volatile() }
    }

    #[inline(always)]
    fn move_to(&mut self, at: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut self.at).write_volatile(at) };
    }

    #[inline(always)]
    fn position(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const self.at).read_volatile() }
    }

    /// Begins the next URI.
    #[inline(always)]
    fn begin(
        &mut self,
        spans: &[Span; SPANS],
        secret: &[u64; 2],
        hashes: &mut [u64; SPANS],
    ) -> bool {
        let (left, next) = (self.left, self.next);
        let index = bounded::<SPANS>(next as usize);
        if left & 1 != 0 {
            // SAFETY: the index is in bounds.
            let span = unsafe { *spans.get_unchecked(index) };
            // SAFETY: as above.
            unsafe { *hashes.get_unchecked_mut(index) = 0 };
            if !span.is_empty() {
                self.start = span.start.into();
                self.end = self.start + u32::from(span.len);
                self.host = self.start;
                self.base = 0;
                // SAFETY: a valid reference. Volatile, so that no `memset`, which holds a loop, clears it with `rest`.
                unsafe { (&raw mut self.parameters).write_volatile(0) };
                self.move_to(self.start);
                self.begin_part(secret);
                self.go(State::Find);
            }
        }
        self.left = left >> 1;
        self.next = next.wrapping_add(1);
        left != 0
    }

    #[inline(always)]
    fn begin_part(&mut self, secret: &[u64; 2]) {
        self.len = 0;
        self.rest = 0;
        self.part.begin(secret);
    }

    /// Ends the URI, and stores its hash.
    #[inline(always)]
    fn end(&mut self, secret: &[u64; 2], hashes: &mut [u64; SPANS]) {
        let hash = hash::words(self.base, self.parameters, 0, secret);
        let index = bounded::<SPANS>(self.next.wrapping_sub(1) as usize);
        // SAFETY: the index is in bounds.
        unsafe { *hashes.get_unchecked_mut(index) = hash };
        self.go(State::Begin);
    }

    /// Finds the next at-sign. The last one ends the user.
    #[inline(always)]
    fn find_host<S: Source + ?Sized>(&mut self, source: &S) -> bool {
        let at = self.position();
        let n = swar::first_of_four(source.wide_word(at).map(|w| swar::equal(w, b'@')));
        let mut next = at.wrapping_add(n);
        if n < WIDE {
            next = next.wrapping_add(1);
            if next <= self.end {
                self.host = next;
            }
        }
        if next < self.end {
            self.move_to(next);
        } else {
            self.move_to(self.start);
            self.go(State::Read);
        }
        true
    }

    /// Reads up to eight bytes, or one that stands out.
    #[inline(always)]
    fn read<S: Source + ?Sized>(
        &mut self,
        source: &S,
        secret: &[u64; 2],
        hashes: &mut [u64; SPANS],
    ) -> bool {
        let at = self.position();
        let w = source.word(at);
        let is_user = at < self.host;
        let end = if is_user { self.host } else { self.end };
        let left = end.wrapping_sub(at);
        let mut stops = swar::equal(w, b'%');
        if !is_user {
            stops |= swar::equal(w, b';') | swar::equal(w, b'?');
        }
        let mut n = swar::first(stops);
        if n > left {
            n = left;
        }
        if n != 0 {
            self.move_to(at.wrapping_add(n));
            self.take(swar::head(w, n), n, is_user);
            return true;
        }
        let stop = swar::byte(w, 0);
        if left == 0 || stop != b'%' {
            self.move_to(at.wrapping_add(1));
            self.end_part(secret);
            if left == 0 || stop != b';' {
                self.end(secret, hashes);
            }
            return true;
        }
        let (digits, value) = swar::hex_digits(swar::head(w >> 8, 2));
        if digits != 2 || left < 3 {
            self.move_to(at.wrapping_add(1));
            self.take(u64::from(b'%'), 1, true);
            return true;
        }
        self.move_to(at.wrapping_add(3));
        if must_stay_escaped(value as u8) {
            self.take(swar::head(swar::upper(w), 3), 3, true);
        } else {
            self.take(value.into(), 1, is_user);
        }
        true
    }

    /// Adds `n` bytes to the part.
    #[inline(always)]
    fn take(&mut self, bytes: u64, n: u32, keep_case: bool) {
        let bytes = if keep_case { bytes } else { swar::lower(bytes) };
        let filled = self.len & 7;
        self.len = self.len.wrapping_add(n);
        let word = self.rest | bytes << (filled * 8);
        if filled + n < 8 {
            self.rest = word;
            return;
        }
        if self.len < 8 + n {
            self.first = word;
        }
        // Two shifts: one by 64 bits is none.
        self.rest = bytes >> 8 >> (56 - filled * 8);
        self.part.absorb(word);
    }

    /// Ends user, host and port, or a parameter.
    #[inline(always)]
    fn end_part(&mut self, secret: &[u64; 2]) {
        let first = if self.len < 8 { self.rest } else { self.first };
        let is_left_out = self.len == 0
            || first == swar::literal(b"lr")
            || swar::head(first, 3) == swar::literal(b"lr=")
            || swar::head(first, 7) == swar::literal(b"method=");
        self.part.absorb(self.rest | u64::from(self.len) << 56);
        let hash = self.part.finish();
        if self.base == 0 {
            self.base = hash;
        } else if !is_left_out {
            self.parameters = self.parameters.wrapping_add(hash);
        }
        self.begin_part(secret);
    }
}

/// Whether a byte has a meaning of its own where it is not escaped: it ends a user, a parameter or a parameter's name, or
/// begins a password or headers.
#[inline(always)]
fn must_stay_escaped(byte: u8) -> bool {
    matches!(byte, b'%' | b':' | b';' | b'=' | b'?' | b'@')
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::bpf::HostLoop;
    use std::vec::Vec;

    const SECRET: [u64; 2] = [3, 4];

    fn hash(text: &str) -> u64 {
        // Other bytes lie around it.
        let around = std::format!("<sip:{text}>;x=%41@;lr");
        let mut spans = [Span::default(); SPANS];
        for index in [3, 14] {
            spans[index] = Span {
                start: 5,
                len: text.len() as u16,
            };
        }
        let mut hashes = [1; SPANS];
        let (parts, uri) = (0b0100_0000_0001_1001, &mut UriHash::default());
        uris::<_, HostLoop>(around.as_bytes(), &spans, parts, &SECRET, uri, &mut hashes);
        let hash = hashes[3];
        assert_eq!(
            hashes,
            [0, 1, 1, hash, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, hash, 1]
        );
        hash
    }

    fn same(forms: &[&str]) {
        for form in forms {
            assert_eq!(hash(form), hash(forms[0]), "{form} {}", forms[0]);
        }
    }

    fn differ(forms: &[&str]) {
        for (i, a) in forms.iter().enumerate() {
            for b in &forms[i + 1..] {
                assert_ne!(hash(a), hash(b), "{a} {b}");
            }
        }
    }

    /// The examples of RFC 3261 19.1.4, but for those with headers, and with parameters that one of the two lacks.
    #[test]
    fn examples_of_the_rfc() {
        same(&[
            "%61lice@atlanta.com;transport=TCP",
            "alice@AtLanTa.CoM;Transport=tcp",
        ]);
        differ(&[
            "ALICE@AtLanTa.CoM;Transport=udp",
            "alice@AtLanTa.CoM;Transport=UDP",
        ]);
        differ(&["bob@biloxi.com", "bob@biloxi.com:5060"]);
        differ(&["bob@biloxi.com", "bob@biloxi.com;transport=udp"]);
        differ(&["bob@biloxi.com", "bob@biloxi.com:6000;transport=tcp"]);
        differ(&["bob@phone21.boxesbybob.com", "bob@192.0.2.4"]);
        same(&[
            "biloxi.com;transport=tcp;method=REGISTER",
            "biloxi.com;method=REGISTER;transport=tcp",
            "biloxi.com;transport=tcp",
        ]);
    }

    /// What PBXs make of a Contact URI.
    #[test]
    fn spellings_of_pbxs() {
        same(&[
            "1000@192.168.1.10:5060;rinstance=ab12;transport=UDP",
            "1000@192.168.1.10:5060;transport=UDP;rinstance=ab12",
            "1000@192.168.1.10:5060;TRANSPORT=udp;Rinstance=AB12;lr",
            "1000@192.168.1.10:5060;lr=on;transport=udp;rinstance=ab12",
            "1000@192.168.1.10:5060;transport=udp;method=INVITE;rinstance=ab12;lr=abcdefgh",
            "%31000@192.168.1.10:5060;transport=u%64p;;rinstance=ab12?Subject=x",
        ]);
        same(&["%2B49@host", "%2b49@host", "+49@host", "+49@HOST"]);
        same(&["*21#@host", "*21%23@host", "%2A21%23@host"]);
        same(&["a%40b@host", "%61%40%62@host"]);
        same(&["Müller@host", "M%C3%BCller@host"]);
        same(&["[2001:DB8::1]:5060", "[2001:db8::1]:5060"]);
        same(&[
            "1000;phone-context=+49@host",
            "1000;phone-context=%2b49@host",
        ]);
        differ(&[
            "1000;phone-context=a@host",
            "1000;phone-context=A@host",
            "1000@host;phone-context=a",
        ]);
    }

    #[test]
    fn what_makes_a_difference() {
        differ(&[
            "host",
            "host:5060",
            "@host",
            "a@host",
            "a@host;lrx",
            "a@host;lrabcdefgh",
            "a@host;method",
            "a@host;methods=abc",
            "a@host;a",
            "a@host;a;a",
            "a@host;a=",
            "a@host;a=b",
            "a@host;a%3Db",
            "a@host;a;b",
            "a@host;ab",
            "a@host;a%3Bb",
            "a:b@host",
            "a%3Ab@host",
            "a%253Ab@host",
            "a%@host",
            "a%4@host",
            "a%4g@host",
            "a%0@host",
            "a%00@host",
            "aaaaaaaa@host",
            "aaaaaaaaa@host",
            "aaaaaaaaaaaaaaa@host",
        ]);
        // A part of eight zeros is another one than a part of none.
        differ(&["%00%00%00%00%00%00%00%00", "%00", "\0\0"]);
    }

    /// A plain implementation agrees on which of two URIs are the same.
    #[test]
    fn agrees_with_another_implementation() {
        fn canonical(text: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
            let bytes = text.as_bytes();
            let host = bytes
                .iter()
                .rposition(|b| *b == b'@')
                .map_or(0, |at| at + 1);
            let decode = |bytes: &[u8], keep_case: bool| {
                let mut out = Vec::new();
                let mut at = 0;
                while at < bytes.len() {
                    let hex = bytes.get(at + 1..at + 3).and_then(|hex| {
                        let hex = core::str::from_utf8(hex).ok()?;
                        hex.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
                        u8::from_str_radix(hex, 16).ok()
                    });
                    match hex {
                        Some(b) if bytes[at] == b'%' => {
                            if b"%:;=?@".contains(&b) {
                                out.extend(bytes[at..at + 3].to_ascii_uppercase());
                            } else if keep_case {
                                out.push(b);
                            } else {
                                out.push(b.to_ascii_lowercase());
                            }
                            at += 3;
                        }
                        _ if keep_case => {
                            out.push(bytes[at]);
                            at += 1;
                        }
                        _ => {
                            out.push(bytes[at].to_ascii_lowercase());
                            at += 1;
                        }
                    }
                }
                out
            };
            let mut base = decode(&bytes[..host], true);
            let rest = &bytes[host..];
            let headers = rest.iter().position(|b| *b == b'?').unwrap_or(rest.len());
            let mut parts = rest[..headers].split(|b| *b == b';');
            base.extend(decode(parts.next().unwrap(), false));
            let mut parameters: Vec<_> = parts
                .map(|part| decode(part, false))
                .filter(|part| !part.is_empty())
                .filter(|part| part != b"lr" && !part.starts_with(b"lr="))
                .filter(|part| !part.starts_with(b"method="))
                .collect();
            parameters.sort();
            (base, parameters)
        }
        let pieces = [
            "a", "B", "@", ";", "%41", "%3b", "%", "?", "=", "lr", "lr=on", "method=", "abcdefgh",
            "X=1", ":", "%6C", "ö",
        ];
        let mut x = 0x1234_5678_9abc_def1_u64;
        let mut texts = Vec::new();
        for _ in 0..3_000 {
            let mut text = std::string::String::new();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            for i in 0..x % 8 {
                text.push_str(pieces[(x >> (8 + i * 4)) as usize % pieces.len()]);
            }
            if !text.is_empty() {
                texts.push(text);
            }
        }
        let known: std::collections::HashMap<_, _> = texts
            .iter()
            .map(|text| (canonical(text), hash(text)))
            .collect();
        let hashes: std::collections::HashSet<_> = known.values().collect();
        assert_eq!(hashes.len(), known.len());
        for text in &texts {
            assert_eq!(hash(text), known[&canonical(text)], "{text}");
        }
    }
}
