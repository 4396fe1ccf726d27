//! Eight bytes at once in a `u64`, the first byte in the lowest bits ("SIMD within a register").
//!
//! The finders return a mask whose *lowest* set bit is exact: the top bit of the first byte that
//! matches. Bits above it may be false, so masks may be or-ed, but only the lowest bit be used.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Bytes equal to `b`.
#[inline(always)]
#[must_use]
pub const fn equal(w: u64, b: u8) -> u64 {
    let x = w ^ (ONES * b as u64);
    x.wrapping_sub(ONES) & !x & TOPS
}

/// Bytes below `b`, which must be at most 128.
#[inline(always)]
#[must_use]
pub const fn below(w: u64, b: u8) -> u64 {
    w.wrapping_sub(ONES * b as u64) & !w & TOPS
}

/// Index of the byte that the lowest bit of a finder's mask names; 8 for an empty mask.
#[inline(always)]
#[must_use]
pub const fn first(mask: u64) -> u32 {
    // The top bits of the bytes before, summed by the multiplication: BPF has no instruction that counts trailing zeros,
    // and a branch here would be one that nobody can predict.
    let before = mask.wrapping_sub(1) & !mask & TOPS;
    ((before >> 7).wrapping_mul(ONES) >> 56) as u32
}

/// The same of the masks of four words, one after another; 32 for empty ones.
#[inline(always)]
#[must_use]
pub fn first_of_four([first, second, third, fourth]: [u64; 4]) -> u32 {
    let all = gather(first) | gather(second) << 8 | gather(third) << 16 | gather(fourth) << 24;
    lowest(all | 1 << 32)
}

/// The bits of a finder's mask side by side, that of the first byte lowest.
#[inline(always)]
const fn gather(mask: u64) -> u64 {
    (mask >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The place of the lowest bit of `mask`, which must not be 0.
#[inline(always)]
fn lowest(mask: u64) -> u32 {
    // Leiserson, Prokop and Randall, "Using de Bruijn sequences to index a 1 in a computer word", 1998.
    const SEQUENCE: u64 = 0x03f7_9d71_b4cb_0a89;
    static PLACES: [u8; 64] = {
        let mut places = [0; 64];
        let mut i = 0;
        while i < 64 {
            places[(SEQUENCE << i >> 58) as usize] = i as u8;
            i += 1;
        }
        places
    };
    let lowest = mask & mask.wrapping_neg();
    u32::from(PLACES[(lowest.wrapping_mul(SEQUENCE) >> 58) as usize])
}

/// The byte at `index`, which must be below 8.
#[inline(always)]
#[must_use]
pub const fn byte(w: u64, index: u32) -> u8 {
    (w >> ((index & 7) * 8)) as u8
}

/// The first `n` bytes, the others zero.
#[inline(always)]
#[must_use]
pub const fn head(w: u64, n: u32) -> u64 {
    if n >= 8 { w } else { w & ((1 << (n * 8)) - 1) }
}

/// A string of at most eight bytes as a word.
#[inline(always)]
#[must_use]
pub const fn text(s: &[u8]) -> u64 {
    let mut w = 0;
    let mut i = s.len();
    while i > 0 {
        i -= 1;
        w = w << 8 | s[i] as u64;
    }
    w
}

/// Whether `w` begins with `s`, which is in lower case and at most eight bytes, in any case.
/// Only letters are folded: a control character never passes for punctuation.
#[inline(always)]
#[must_use]
pub const fn starts(w: u64, s: &[u8]) -> bool {
    let mut fold = 0;
    let mut i = s.len();
    while i > 0 {
        i -= 1;
        fold = fold << 8 | if s[i].is_ascii_lowercase() { 0x20 } else { 0 };
    }
    head(w, s.len() as u32) | fold == text(s)
}

/// Leading decimal digits: how many, and their value.
#[inline(always)]
#[must_use]
pub const fn digits(w: u64) -> (u32, u32) {
    // Digits become 0 to 9; adding 118 lifts what is more than 9 into the top bit.
    let value = w ^ (ONES * b'0' as u64);
    let n = first((value.wrapping_add(ONES * 118) | value) & TOPS);
    if n == 0 {
        return (0, 0);
    }
    // Shift the digits to the top and let zeros lead, then add up pairs, quads and all eight.
    let d = value << (64 - n * 8);
    let d = (d.wrapping_mul(10).wrapping_add(d >> 8)) & 0x00ff_00ff_00ff_00ff;
    let d = (d.wrapping_mul(100).wrapping_add(d >> 16)) & 0x0000_ffff_0000_ffff;
    let d = d.wrapping_mul(10_000).wrapping_add(d >> 32) & 0xffff_ffff;
    (n, d as u32)
}

/// Leading hexadecimal digits: how many, and the value of the last four of them.
#[inline(always)]
#[must_use]
pub const fn hex_digits(w: u64) -> (u32, u32) {
    const LOW: u64 = !TOPS;
    // Letters become lower case; a control character must not become a digit.
    let folded = w | (w & (ONES * 0x40)) >> 1;
    let is_digit = from(folded & LOW, b'0') & !from(folded & LOW, b'9' + 1);
    let is_letter = from(folded & LOW, b'a') & !from(folded & LOW, b'f' + 1);
    let n = first(!(is_digit | is_letter) & TOPS | w & TOPS);
    if n == 0 {
        return (0, 0);
    }
    let value = (folded & (ONES * 0xf)) + (is_letter >> 7) * 9;
    // Shift the digits to the top and let zeros lead.
    let d = value << (64 - n * 8);
    let d = d >> 56 & 0xf | d >> 44 & 0xf0 | d >> 32 & 0xf00 | d >> 20 & 0xf000;
    (n, d as u32)
}

/// Bytes not below `b`, of bytes that are all below 128. Every bit is exact.
#[inline(always)]
const fn from(w: u64, b: u8) -> u64 {
    (w + ONES * (128 - b as u64)) & TOPS
}

/// Bytes that end a token (RFC 3261 25.1), and `!` and `~`, which are part of one: what is found must be looked
/// at. `= / : @ [ ]` pass as well: devices put base64 and addresses into tags and branches, and though some
/// parsers cut a token off there, to none of them does something else begin.
#[inline(always)]
#[must_use]
pub const fn token_end(w: u64) -> u64 {
    const fn either(w: u64, b: u8, bit: u8) -> u64 {
        equal(w & !(ONES * bit as u64), b & !bit)
    }
    // Control characters, space, and `! " # $`; then `{ | } ~`, DEL and all that is not ASCII.
    below(w, b'%')
        | from(w & !TOPS, b'{')
        | w & TOPS
        | equal(w, b'&')
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
        text(s.as_bytes())
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
            // What is found in one word may look found after that, too.
            bytes[at..].fill(b':');
            core::array::from_fn(|i| text(&bytes[i * 8..][..8]))
        };
        for at in 0..=32 {
            let masks = words(at).map(|w| equal(w, b':'));
            assert_eq!(first_of_four(masks), at as u32);
        }
    }

    #[test]
    fn ends_tokens() {
        for b in 0..=255_u8 {
            let part = b.is_ascii_alphanumeric() || b"-.%*_+`'=/:@[]".contains(&b);
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
        // Every byte ends the digits, but for the twenty-two.
        for b in 0..=255_u8 {
            let w = u64::from_le_bytes([b'1', b, b'1', 0, 0, 0, 0, 0]);
            let want = (b as char)
                .to_digit(16)
                .map_or((1, 1), |d| (3, 0x101 + d * 16));
            assert_eq!(hex_digits(w), want, "{b:#x}");
        }
    }

    #[test]
    fn folds_letters_only() {
        assert!(starts(word("CaLl-Id:"), b"call-id"));
        assert!(!starts(word("call\x0did:"), b"call-id"));
        assert!(!starts(word("call"), b"call-id"));
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
        // Every byte ends the digits, but for the ten.
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
