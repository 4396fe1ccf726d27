//! Character classes, line ends, schemes and methods (RFC 3261 25.1).

use crate::bytes::Source;
use crate::bytes::swar::{below, byte, equal, first, first_of_four, head, literal, starts_with};
use crate::sip::method::Method;

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

/// Finds angle brackets: they differ in one bit.
#[inline(always)]
pub(super) const fn brackets(w: u64) -> u64 {
    equal(w & !0x0202_0202_0202_0202, b'<')
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

/// Returns the method at the start of `w` and `next`, and its length.
///
/// It is case-sensitive (RFC 3261 7.1) and ends with white space. A method that sipnat does not know may have up to 15
/// bytes.
#[inline(always)]
pub(super) const fn method(w: u64, next: u64) -> Option<(Method, u32)> {
    let n = first(below(w, 0x21));
    let method = match n {
        0 => return None,
        3 if head(w, 3) == literal(b"ACK") => Method::Ack,
        3 if head(w, 3) == literal(b"BYE") => Method::Bye,
        4 if head(w, 4) == literal(b"INFO") => Method::Info,
        5 if head(w, 5) == literal(b"REFER") => Method::Refer,
        5 if head(w, 5) == literal(b"PRACK") => Method::Prack,
        6 if head(w, 6) == literal(b"INVITE") => Method::Invite,
        6 if head(w, 6) == literal(b"CANCEL") => Method::Cancel,
        6 if head(w, 6) == literal(b"NOTIFY") => Method::Notify,
        6 if head(w, 6) == literal(b"UPDATE") => Method::Update,
        7 if head(w, 7) == literal(b"MESSAGE") => Method::Message,
        7 if head(w, 7) == literal(b"OPTIONS") => Method::Options,
        7 if head(w, 7) == literal(b"PUBLISH") => Method::Publish,
        8 => {
            let more = first(below(next, 0x21));
            if more == 0 && w == literal(b"REGISTER") {
                Method::Register
            } else if more == 1 && w == literal(b"SUBSCRIB") && byte(next, 0) == b'E' {
                return Some((Method::Subscribe, 9));
            } else if more == 8 {
                return None;
            } else {
                return Some((Method::Other, 8 + more));
            }
        }
        _ => Method::Other,
    };
    Some((method, n))
}
