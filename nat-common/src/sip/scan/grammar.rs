//! Character classes, line ends and schemes (RFC 3261 25.1).

use crate::bytes::Source;
use crate::bytes::swar::{byte, first, first_of_four, starts_with};

/// Number of bytes that one step reads of an element that is rarely longer.
pub(super) const NARROW: u32 = 16;

/// Returns the number of bytes from `at`, where `w` is, to the first one that `finder` finds; at most [`NARROW`].
#[inline(always)]
pub(super) fn find_narrow<S: Source + ?Sized>(
    source: &S,
    at: u32,
    w: u64,
    finder: impl Fn(u64) -> u64,
) -> u32 {
    let n = first(finder(w));
    if n < 8 {
        return n;
    }
    8 + first(finder(source.word(at + 8)))
}

/// Returns the number of bytes from `at` to the first one that `finder` finds; at most [`WIDE`](crate::bytes::WIDE).
#[inline(always)]
pub(super) fn find_wide<S: Source + ?Sized>(
    source: &S,
    at: u32,
    finder: impl Fn(u64) -> u64,
) -> u32 {
    let [first, second, third, fourth] = source.wide_word(at);
    first_of_four([finder(first), finder(second), finder(third), finder(fourth)])
}

/// Whether `b` is a space or a tab.
#[inline(always)]
pub(super) const fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Whether `b` may follow a URI in brackets, or a parameter.
#[inline(always)]
pub(super) const fn is_address_end(b: u8) -> bool {
    matches!(b, b';' | b',' | b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether `b` may follow a host in a URI, with or without brackets.
#[inline(always)]
pub(super) const fn is_host_end(b: u8) -> bool {
    matches!(b, b'>' | b';' | b'?' | b',' | b' ' | b'\t' | b'\r' | b'\n')
}

/// End of a line, with its length in bytes.
pub(super) enum LineEnd {
    /// The header ends here.
    Last(u32),
    /// The header continues in the next line (RFC 3261 7.3.1), which begins with white space.
    Folded(u32),
    /// Not a line end: a lone CR, or a character that must not be here.
    Bad,
}

/// Reads the line end at the start of `w`. A lone LF counts as one, as in PBXs.
#[inline(always)]
pub(super) const fn line_end(w: u64) -> LineEnd {
    let n = match (byte(w, 0), byte(w, 1)) {
        (b'\n', _) => 1,
        (b'\r', b'\n') => 2,
        _ => return LineEnd::Bad,
    };
    if is_blank(byte(w, n)) {
        LineEnd::Folded(n)
    } else {
        LineEnd::Last(n)
    }
}

/// Returns the length of `sip:` or `sips:`. Another scheme counts as part of the URI.
#[inline(always)]
pub(super) const fn scheme(w: u64) -> u32 {
    if starts_with(w, b"sip:") {
        4
    } else if starts_with(w, b"sips:") {
        5
    } else {
        0
    }
}
