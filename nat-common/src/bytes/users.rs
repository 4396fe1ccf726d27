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
