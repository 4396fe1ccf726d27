//! Users of URIs.
//!
//! ```
//! use nat_common::bytes::{Span, users};
//!
//! let text = &b"1000@192.168.1.10 1000@pbx 1001@pbx pbx"[..];
//! let span = |start, len| Span { start, len };
//! assert!(users::same(text, span(0, 17), span(18, 8)));
//! assert!(!users::same(text, span(0, 17), span(27, 8)));
//! assert!(!users::same(text, span(36, 3), span(36, 3)));
//! assert!(users::is_number(text, span(0, 17)) && !users::is_number(text, span(36, 3)));
//! ```

use crate::bytes::{Source, Span, swar};

/// Number of words that are compared: a longer user is not taken for the same.
const WORDS: u32 = 8;

/// Whether two URIs without schemes have the same user, byte by byte. A URI without a user has none.
#[inline(always)]
#[must_use]
pub fn same<S: Source + ?Sized>(text: &S, a: Span, b: Span) -> bool {
    for word in 0..WORDS {
        let at = word * 8;
        let [a, b] = [a, b].map(|span| {
            let left = u32::from(span.len).saturating_sub(at);
            swar::head(text.word(u32::from(span.start) + at), left)
        });
        let (end_a, end_b) = (swar::equal(a, b'@'), swar::equal(b, b'@'));
        if end_a != 0 {
            let end = swar::first(end_a);
            return end_b != 0
                && swar::first(end_b) == end
                && swar::head(a, end) == swar::head(b, end)
                && (word != 0 || end != 0);
        }
        if end_b != 0 || a != b || a == 0 {
            return false;
        }
    }
    false
}

/// Number of words of a telephone number: E.164 has 15 digits, and a PBX writes prefixes before them.
const NUMBER_WORDS: u32 = 4;

/// Bits that a byte from `@` on has, of which one at least is set.
const FROM_AT: u64 = 0xc0c0_c0c0_c0c0_c0c0;

/// Whether the user of a URI without a scheme is a telephone number, with or without parameters (RFC 3261 19.1.6): digits and
/// signs, and no letter.
#[inline(always)]
#[must_use]
pub fn is_number<S: Source + ?Sized>(text: &S, uri: Span) -> bool {
    for word in 0..NUMBER_WORDS {
        let at = word * 8;
        let left = u32::from(uri.len).saturating_sub(at);
        let w = swar::head(text.word(u32::from(uri.start) + at), left);
        // Bytes from `@` on, by their top bit.
        let high = (w & FROM_AT | (w & FROM_AT) << 1) & swar::TOPS;
        let end = swar::first(swar::equal(w, b'@') | swar::equal(w, b';'));
        if high != 0 || end < 8 {
            return end <= swar::first(high) && (word != 0 || end != 0);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[test]
    fn numbers() {
        for (uri, number) in [
            ("0401234567@192.168.1.10", true),
            ("+49401234567@[2001:db8::1]", true),
            ("*31%230401234567@h", true),
            ("0401234567;phone-context=pbx@h", true),
            ("00491234567890123456789@h", true),
            ("1000-0x55@h", false),
            ("x7y@h", false),
            ("gw1@h", false),
            ("12345678a@h", false),
            ("\u{e4}1@h", false),
            ("@1", false),
            ("192.168.1.10", false),
            ("[2001:db8::1]", false),
            ("", false),
        ] {
            let span = Span::between(0, uri.len() as u32);
            // What follows the URI says nothing.
            let text = format!("{uri} SIP/2.0@");
            assert_eq!(is_number(text.as_bytes(), span), number, "{uri}");
        }
    }
}
