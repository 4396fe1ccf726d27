//! Access to the bytes of a message, in words of eight bytes, and parts of it.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use super::{Class, swar};

/// Number of bytes in [`Source::wide_word`]: a step reads so many of an element that may be long.
pub const WIDE: u32 = 32;

/// Number of bytes in [`Source::controls`].
pub const BLOCK: u32 = 64;

/// Bytes of one message.
pub trait Source {
    /// Returns eight bytes from `at`, the first in the lowest byte. Zeros stand for the bytes past the end.
    fn word(&self, at: u32) -> u64;

    /// Returns [`WIDE`] bytes from `at`, as four words.
    #[inline(always)]
    fn wide_word(&self, at: u32) -> [u64; WIDE as usize / 8] {
        core::array::from_fn(|i| self.word(at + i as u32 * 8))
    }

    /// Finds the bytes of a class in [`WIDE`] ones from `at`. Returns a bit for each byte (see [`Class::find`]).
    #[inline(always)]
    fn find(&self, at: u32, class: Class) -> u64 {
        class.find(self.wide_word(at))
    }

    /// Returns the control characters (below a space) of [`BLOCK`] bytes from `at`, a bit for each byte, the first lowest.
    #[inline(always)]
    fn controls(&self, at: u32) -> u64 {
        let mut others = 0;
        for i in 0..BLOCK / 8 {
            others |= swar::pack(swar::not_controls(self.word(at + i * 8))) << (i * 8);
        }
        !others
    }

    /// Returns the length of the message in bytes.
    fn len(&self) -> u32;

    /// Whether the bytes are a whole datagram. Those of a fragment, or of one piece of a frame, are not: the message goes on.
    #[inline(always)]
    fn is_whole(&self) -> bool {
        true
    }

    /// Whether somebody will read the body of the message: only then a scan notes where it lies.
    #[inline(always)]
    fn is_body_wanted(&self) -> bool {
        true
    }

    /// Whether the message has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Source for [u8] {
    fn word(&self, at: u32) -> u64 {
        let rest = self.get(at as usize..).unwrap_or_default();
        let mut w = [0; 8];
        for (to, from) in w.iter_mut().zip(rest) {
            *to = *from;
        }
        u64::from_le_bytes(w)
    }

    fn len(&self) -> u32 {
        <[u8]>::len(self) as u32
    }
}

/// Position of a part of a message. Length 0 means that the part is absent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromZeros, Immutable, KnownLayout)]
pub struct Span {
    /// Index of the first byte.
    pub start: u16,
    /// Number of bytes.
    pub len: u16,
}

impl Span {
    /// Returns the span from the byte at `start` to the one before `end`.
    #[inline(always)]
    #[must_use]
    pub const fn between(start: u32, end: u32) -> Self {
        Self {
            start: start as u16,
            len: end.wrapping_sub(start) as u16,
        }
    }

    /// Whether the part is absent.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes of the part in `text`, or `None` if it is absent.
    #[must_use]
    pub fn slice(self, text: &[u8]) -> Option<&[u8]> {
        let start = usize::from(self.start);
        let part = text.get(start..start + usize::from(self.len))?;
        (!part.is_empty()).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_only_what_is_there() {
        let text = b"Via: a";
        assert_eq!(Span::between(5, 6).slice(text), Some(&b"a"[..]));
        assert_eq!(Span::between(0, 6).slice(text), Some(&text[..]));
        assert_eq!(Span::default().slice(text), None);
        assert_eq!(Span::between(6, 6).slice(text), None);
        // A span of another text.
        assert_eq!(Span::between(5, 7).slice(text), None);
        assert_eq!(Span::between(7, 9).slice(text), None);
    }
}
