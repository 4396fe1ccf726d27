//! Operations on eight bytes in a `u64`, the first byte in the lowest bits ("SIMD within a register").
//!
//! A finder returns a mask. Its *lowest* set bit is exact: the top bit of the first byte that matches. Higher bits may
//! be false. So masks may be or-ed, but only their lowest bit may be used.
//!
//! ```
//! use nat_common::bytes::swar::{below, digits, equal, first, literal, starts_with};
//!
//! let word = literal(b"CSeq: 47");
//! assert_eq!(first(equal(word, b':')), 4);
//! assert_eq!(first(equal(word, b':') | below(word, 0x21)), 4);
//! assert_eq!(first(equal(word, b'@')), 8);
//! assert!(starts_with(word, b"cseq"));
//!
//! // Two digits, and their value.
//! assert_eq!(digits(literal(b"47 ACK\r\n")), (2, 47));
//! ```

const ONES: u64 = 0x0101_0101_0101_0101;
/// Top bits of the bytes of a word.
pub const TOPS: u64 = 0x8080_8080_8080_8080;

/// Finds bytes equal to `b`.
#[inline(always)]
#[must_use]
pub const fn equal(w: u64, b: u8) -> u64 {
    let x = w ^ (ONES * b as u64);
    x.wrapping_sub(ONES) & !x & TOPS
}

/// Number that takes a byte to 128 or more if it is below 128 and no control character, in each byte of a word.
pub const TO_TOP: u64 = ONES * 0x60;
/// Factor that gathers the top bits of the bytes in the top byte, that of the first byte lowest.
pub const PACK: u64 = 0x0002_0408_1020_4081;

/// Finds bytes that are no control characters: a space, and what is above it. Every bit of the mask is exact.
#[inline(always)]
#[must_use]
pub const fn not_controls(w: u64) -> u64 {
    (((w & !TOPS) + TO_TOP) | w) & TOPS
}

/// Finds bytes equal to `b`. Every bit of the mask is exact.
#[inline(always)]
#[must_use]
pub const fn exactly(w: u64, b: u8) -> u64 {
    let x = w ^ (ONES * b as u64);
    !(((x & !TOPS) + !TOPS) | x) & TOPS
}

/// Finds angle brackets: they differ in one bit.
#[inline(always)]
#[must_use]
pub const fn brackets(w: u64) -> u64 {
    equal(w & !(ONES * 2), b'<')
}

/// Finds letters, digits and `-./:_`, of which most tokens consist (RFC 3261 25.1). Every bit of the mask is exact in a text
/// without control characters.
#[inline(always)]
#[must_use]
pub const fn plain(w: u64) -> u64 {
    let folded = (w | (ONES * 0x20)) & !TOPS;
    const fn reaches(folded: u64, b: u8) -> u64 {
        folded + ONES * (128 - b as u64)
    }
    let punctuation = reaches(folded, b'-') & !reaches(folded, b':' + 1);
    let letters = reaches(folded, b'a') & !reaches(folded, b'z' + 1);
    // The underscore and DEL fold to the same.
    let underscore = reaches(folded, 0x7f) & !(w << 2);
    (punctuation | letters | underscore) & !w & TOPS
}

/// Finds `; < = > ? @`. Every bit of the mask is exact.
#[inline(always)]
#[must_use]
pub const fn separators(w: u64) -> u64 {
    between(w, b';', b'@')
}

/// Finds bytes below `b`, which must be at most 128.
#[inline(always)]
#[must_use]
pub const fn below(w: u64, b: u8) -> u64 {
    w.wrapping_sub(ONES * b as u64) & !w & TOPS
}

/// Returns the index of the first byte in a finder's mask; 8 for an empty mask.
#[inline(always)]
#[must_use]
pub const fn first(mask: u64) -> u32 {
    // The multiplication sums the top bits of the bytes before. BPF has no instruction that counts trailing zeros, and
    // no CPU could predict a branch here.
    let before = mask.wrapping_sub(1) & !mask & TOPS;
    ((before >> 7).wrapping_mul(ONES) >> 56) as u32
}

/// Returns the index of the first byte in the masks of four consecutive words; 32 for empty masks.
#[inline(always)]
#[must_use]
pub fn first_of_four(masks: [u64; 4]) -> u32 {
    lowest_bit(pack_four(masks) | 1 << 32)
}

/// Packs the bits of the masks of four consecutive words into 32 bits, that of the first byte lowest.
#[inline(always)]
#[must_use]
pub const fn pack_four([first, second, third, fourth]: [u64; 4]) -> u64 {
    pack(first) | pack(second) << 8 | pack(third) << 16 | pack(fourth) << 24
}

/// Packs the bits of a finder's mask into eight bits, that of the first byte lowest.
#[inline(always)]
#[must_use]
pub const fn pack(mask: u64) -> u64 {
    mask.wrapping_mul(PACK) >> 56
}

/// Returns the index of the lowest set bit of `mask`, which must not be 0.
#[inline(always)]
#[must_use]
pub fn lowest_bit(mask: u64) -> u32 {
    // Leiserson, Prokop and Randall, "Using de Bruijn sequences to index a 1 in a computer word", 1998.
    const SEQUENCE: u64 = 0x03f7_9d71_b4cb_0a89;
    static POSITIONS: [u8; 64] = {
        let mut positions = [0; 64];
        let mut i = 0;
        while i < 64 {
            positions[(SEQUENCE << i >> 58) as usize] = i as u8;
            i += 1;
        }
        positions
    };
    let lowest = mask & mask.wrapping_neg();
    u32::from(POSITIONS[(lowest.wrapping_mul(SEQUENCE) >> 58) as usize])
}

/// Returns the byte at `index`, which must be below 8.
#[inline(always)]
#[must_use]
pub const fn byte(w: u64, index: u32) -> u8 {
    (w >> ((index & 7) * 8)) as u8
}

/// Returns the first `n` bytes; the others become zero.
#[inline(always)]
#[must_use]
pub const fn head(w: u64, n: u32) -> u64 {
    if n >= 8 { w } else { w & ((1 << (n * 8)) - 1) }
}

/// Returns the bytes before the first byte in a finder's mask; the others become zero.
#[inline(always)]
#[must_use]
pub const fn before(w: u64, mask: u64) -> u64 {
    // Ones below the first top bit; all ones for an empty mask.
    let before = mask.wrapping_sub(1) & !mask;
    w & (before as i64 >> 7) as u64
}

/// Returns a string of at most eight bytes as a word.
#[inline(always)]
#[must_use]
pub const fn literal(s: &[u8]) -> u64 {
    let mut w = 0;
    let mut i = s.len();
    while i > 0 {
        i -= 1;
        w = w << 8 | s[i] as u64;
    }
    w
}

/// Whether `w` begins with `s` in any case. `s` is in lower case and at most eight bytes.
///
/// Only letters are folded: a control character never passes for punctuation.
#[inline(always)]
#[must_use]
pub const fn starts_with(w: u64, s: &[u8]) -> bool {
    let mut fold = 0;
    let mut i = s.len();
    while i > 0 {
        i -= 1;
        fold = fold << 8 | if s[i].is_ascii_lowercase() { 0x20 } else { 0 };
    }
    head(w, s.len() as u32) | fold == literal(s)
}

/// Returns the number of leading spaces and tabs.
#[inline(always)]
#[must_use]
pub const fn blanks(w: u64) -> u32 {
    first(!(exactly(w, b' ') | exactly(w, b'\t')) & TOPS)
}

/// Returns the number of leading bytes that are `b`.
#[inline(always)]
#[must_use]
pub const fn run(w: u64, b: u8) -> u32 {
    first(!exactly(w, b) & TOPS)
}

/// Returns the number of leading decimal digits, and their value.
#[inline(always)]
#[must_use]
pub const fn digits(w: u64) -> (u32, u32) {
    // Digits become 0 to 9. Adding 118 sets the top bit of every larger value.
    let value = w ^ (ONES * b'0' as u64);
    let n = first((value.wrapping_add(ONES * 118) | value) & TOPS);
    if n == 0 {
        return (0, 0);
    }
    // Shifting the digits to the top puts zeros before them. Then pairs, quads and all eight are added up.
    let d = value << (64 - n * 8);
    let d = (d.wrapping_mul(10).wrapping_add(d >> 8)) & 0x00ff_00ff_00ff_00ff;
    let d = (d.wrapping_mul(100).wrapping_add(d >> 16)) & 0x0000_ffff_0000_ffff;
    let d = d.wrapping_mul(10_000).wrapping_add(d >> 32) & 0xffff_ffff;
    (n, d as u32)
}

/// Returns the number of leading decimal digits, and their value, if they are one to three; else 0, and any value.
#[inline(always)]
#[must_use]
pub const fn up_to_three_digits(w: u64) -> (u32, u32) {
    // As in `digits`, with half of a word: BPF has no constants of 64 bits in its instructions.
    let value = w as u32 ^ (ONES as u32 * b'0' as u32);
    let stops = (value.wrapping_add(ONES as u32 * 118) | value) & TOPS as u32;
    let lowest = stops & stops.wrapping_neg();
    // The first stop has the value 256^n. The highest byte of the product is n; four digits have no stop.
    let n = (lowest >> 7).wrapping_mul(0x0001_0203) >> 24;
    let d = value.wrapping_shl(32 - n * 8);
    let [_, hundreds, tens, ones] = d.to_le_bytes();
    (n, hundreds as u32 * 100 + tens as u32 * 10 + ones as u32)
}

/// Returns the number of leading hexadecimal digits, and the value of the last four of them.
#[inline(always)]
#[must_use]
pub const fn hex_digits(w: u64) -> (u32, u32) {
    const LOW: u64 = !TOPS;
    // Letters become lower case; a control character must not become a digit.
    let folded = w | (w & (ONES * 0x40)) >> 1;
    let is_digit = at_least(folded & LOW, b'0') & !at_least(folded & LOW, b'9' + 1);
    let is_letter = at_least(folded & LOW, b'a') & !at_least(folded & LOW, b'f' + 1);
    let n = first(!(is_digit | is_letter) & TOPS | w & TOPS);
    if n == 0 {
        return (0, 0);
    }
    let value = (folded & (ONES * 0xf)) + (is_letter >> 7) * 9;
    // Shifting the digits to the top puts zeros before them.
    let d = value << (64 - n * 8);
    let d = d >> 56 & 0xf | d >> 44 & 0xf0 | d >> 32 & 0xf00 | d >> 20 & 0xf000;
    (n, d as u32)
}

/// Returns the bytes with letters in lower case. Bytes of 128 and more stay.
#[inline(always)]
#[must_use]
pub const fn lower(w: u64) -> u64 {
    w | between(w, b'A', b'Z') >> 2
}

/// Returns the bytes with letters in upper case. Bytes of 128 and more stay.
#[inline(always)]
#[must_use]
pub const fn upper(w: u64) -> u64 {
    w & !(between(w, b'a', b'z') >> 2)
}

/// Finds bytes from `first` to `last`, which are below 128. Every bit of the mask is exact.
#[inline(always)]
const fn between(w: u64, first: u8, last: u8) -> u64 {
    let low = w & !TOPS;
    at_least(low, first) & !at_least(low, last + 1) & !w
}

/// Finds bytes not below `b`. All bytes must be below 128; every bit of the mask is exact.
#[inline(always)]
const fn at_least(w: u64, b: u8) -> u64 {
    (w + ONES * (128 - b as u64)) & TOPS
}

/// Finds bytes that end a token (RFC 3261 25.1), and `!`. A token may hold that, so the caller must look at the byte found.
///
/// `= / : @ [ ] # $ & { | }` do not end a token here: devices put base64, addresses and identifiers into tags and
/// branches. Some parsers cut a token off there, but none of them takes one of these for the start of something else.
#[inline(always)]
#[must_use]
pub const fn token_end(w: u64) -> u64 {
    const fn either(w: u64, b: u8, bit: u8) -> u64 {
        equal(w & !(ONES * bit as u64), b & !bit)
    }
    // Control characters, space, `!` and `"`; then DEL and all bytes that are not ASCII.
    below(w, b'#')
        | equal(w, 0x7f)
        | w & TOPS
        | equal(w, b',')
        | either(w, b'(', 1)
        | either(w, b';', 4)
        | either(w, b'<', 2)
        | either(w, b'\\', 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(s: &str) -> u64 {
        literal(s.as_bytes())
    }

    #[test]
    fn up_to_three_digits_are_read() {
        for (text, read) in [
            ("7.", (1, 7)),
            ("10.0.0.1", (2, 10)),
            ("255\r\n", (3, 255)),
            ("007 ", (3, 7)),
            ("999/", (3, 999)),
            ("9:/", (1, 9)),
        ] {
            assert_eq!(up_to_three_digits(word(text)), read, "{text}");
        }
        for text in ["", ".1", "1234", "12345678", "\u{7f}1", "/1", ":1"] {
            assert_eq!(up_to_three_digits(word(text)).0, 0, "{text}");
        }
        // Any byte after the digits ends them, unless it is one.
        for b in 0..=u8::MAX {
            for digits in ["", "4", "25"] {
                let mut w = word(digits) | u64::from(b) << (digits.len() * 8);
                w |= u64::from(b'.') << (digits.len() * 8 + 8);
                let n = digits.len() as u32 + u32::from(b.is_ascii_digit());
                assert_eq!(up_to_three_digits(w).0, n, "{digits:?} {b}");
            }
        }
    }

    #[test]
    fn finds_first() {
        assert_eq!(first(equal(word("ab:c:d"), b':')), 2);
        assert_eq!(first(equal(word("abcdefgh"), b':')), 8);
        assert_eq!(first(equal(word(":bcdefgh"), b':')), 0);
        assert_eq!(first(equal(word("abcdefg:"), b':')), 7);
        assert_eq!(first(below(word("abc d\r\nx"), 0x21)), 3);
    }

    #[test]
    fn keeps_what_is_before() {
        let w = word("INVITE s");
        for (stop, kept) in [
            (b' ', "INVITE"),
            (b'I', ""),
            (b's', "INVITE "),
            (b'x', "INVITE s"),
        ] {
            let mask = equal(w, stop);
            assert_eq!(before(w, mask), literal(kept.as_bytes()), "{kept}");
            assert_eq!(before(w, mask), head(w, first(mask)), "{kept}");
        }
    }

    #[test]
    fn finders_agree_with_bytes() {
        let mut x = 0x1234_5678_9abc_def1_u64;
        for _ in 0..200_000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let w = x & (x >> 3 | 0x0f0f_0f0f_0f0f_0f0f);
            for b in [0, 1, 0x0d, 0x20, 0x21, 0x40, 0x7f, 0x80] {
                let bytes = w.to_le_bytes();
                let e = bytes.iter().position(|x| *x == b).unwrap_or(8) as u32;
                assert_eq!(first(equal(w, b)), e);
                let l = bytes.iter().position(|x| *x < b).unwrap_or(8) as u32;
                assert_eq!(first(below(w, b)), l, "{w:x} below {b}");
            }
        }
    }

    #[test]
    fn finds_first_of_four() {
        let words = |at: usize| {
            let mut bytes = [b'a'; 32];
            // A finder may report false bits after the first.
            bytes[at..].fill(b':');
            core::array::from_fn(|i| literal(&bytes[i * 8..][..8]))
        };
        for at in 0..=32 {
            let masks = words(at).map(|w| equal(w, b':'));
            assert_eq!(first_of_four(masks), at as u32);
        }
    }

    #[test]
    fn classes_agree_with_bytes() {
        for b in b' '..=255 {
            let plain_byte = b.is_ascii_alphanumeric() || b"-./:_".contains(&b);
            for at in 0..8 {
                // Neighbours that take part in every carry and borrow.
                for others in ["aaaaaaaa", "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f", "        "] {
                    let shift = at * 8;
                    let w = word(others) & !(0xff << shift) | u64::from(b) << shift;
                    let bit = |mask: u64| mask >> shift & 0xff == 0x80;
                    assert_eq!(bit(plain(w)), plain_byte, "{b:#x} in {others}");
                    assert_eq!(
                        bit(separators(w)),
                        b";<=>?@".contains(&b),
                        "{b:#x} in {others}"
                    );
                    assert_eq!(bit(exactly(w, b'b')), b == b'b', "{b:#x} in {others}");
                }
            }
        }
        for b in 0..=255_u8 {
            let w = u64::from_le_bytes([b, 0, b, 32, b, 255, b, 31]);
            let want = if b < b' ' {
                0x0000_8000_8000_0000_u64
            } else {
                0x0080_8080_8080_0080
            };
            assert_eq!(not_controls(w), want, "{b:#x}");
        }
    }

    #[test]
    fn ends_tokens() {
        for b in 0..=255_u8 {
            let part = b.is_ascii_alphanumeric() || b"-.%*_+`'~=/:@[]#$&{|}".contains(&b);
            for at in 0..8 {
                let w = word("aaaaaaaa") & !(0xff << (at * 8)) | u64::from(b) << (at * 8);
                assert_eq!(first(token_end(w)), if part { 8 } else { at }, "{b:#x}");
            }
        }
    }

    #[test]
    fn reads_hex_digits() {
        for (s, n, v) in [
            ("", 0, 0),
            (":", 0, 0),
            ("g", 0, 0),
            ("0]", 1, 0),
            ("db8::", 3, 0xdb8),
            ("2001:db8", 4, 0x2001),
            ("FfAa]", 4, 0xffaa),
            ("12345:", 5, 0x2345),
            ("abcdef09", 8, 0xef09),
            ("\x11:", 0, 0),
            ("1\u{7f}", 1, 1),
        ] {
            assert_eq!(hex_digits(word(s)), (n, v), "{s}");
        }
        // Every byte but the twenty-two digits ends them.
        for b in 0..=255_u8 {
            let w = u64::from_le_bytes([b'1', b, b'1', 0, 0, 0, 0, 0]);
            let want = (b as char)
                .to_digit(16)
                .map_or((1, 1), |d| (3, 0x101 + d * 16));
            assert_eq!(hex_digits(w), want, "{b:#x}");
        }
    }

    #[test]
    fn changes_the_case_of_letters_only() {
        for b in 0..=255_u8 {
            for at in 0..8 {
                let w = word("aZ0@[`{z") & !(0xff << (at * 8)) | u64::from(b) << (at * 8);
                let mut bytes = w.to_le_bytes();
                bytes.make_ascii_lowercase();
                assert_eq!(lower(w), u64::from_le_bytes(bytes), "{b:#x} {at}");
                bytes = w.to_le_bytes();
                bytes.make_ascii_uppercase();
                assert_eq!(upper(w), u64::from_le_bytes(bytes), "{b:#x} {at}");
            }
        }
    }

    #[test]
    fn counts_leading_bytes() {
        for (s, blank, bang) in [
            ("", 0, 0),
            (" ", 1, 0),
            ("\t  \tx  ", 4, 0),
            ("!! !", 0, 2),
            ("!!!!!!!!", 0, 8),
            ("        ", 8, 0),
            (" !", 1, 0),
        ] {
            assert_eq!((blanks(word(s)), run(word(s), b'!')), (blank, bang), "{s}");
        }
    }

    #[test]
    fn folds_letters_only() {
        assert!(starts_with(word("CaLl-Id:"), b"call-id"));
        assert!(!starts_with(word("call\x0did:"), b"call-id"));
        assert!(!starts_with(word("call"), b"call-id"));
    }

    #[test]
    fn reads_digits() {
        for (s, n, v) in [
            ("", 0, 0),
            ("x1", 0, 0),
            ("0", 1, 0),
            ("7 INVITE", 1, 7),
            ("4711 ACK", 4, 4711),
            ("12345678", 8, 12_345_678),
            ("99999999", 8, 99_999_999),
            ("255.1.1.", 3, 255),
            ("12:3", 2, 12),
            ("12/3", 2, 12),
            ("1\u{7f}", 1, 1),
        ] {
            assert_eq!(digits(word(s)), (n, v), "{s}");
        }
        // Every byte but the ten digits ends them.
        for b in 0..=255_u8 {
            let w = u64::from_le_bytes([b'1', b, 0, 0, 0, 0, 0, 0]);
            assert_eq!(
                digits(w).0,
                if b.is_ascii_digit() { 2 } else { 1 },
                "{b:#x}"
            );
        }
    }
}
