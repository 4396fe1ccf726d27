//! How the scanner reads a message: words of eight bytes, wherever they lie.

/// Bytes that are looked at at once where something long is passed over.
pub const WIDE: u32 = 32;

/// Bytes of one message.
pub trait Source {
    /// Eight bytes from `at`, the first in the lowest byte; zeros stand for what is past the end.
    fn word(&self, at: u32) -> u64;

    /// [`WIDE`] bytes from `at`.
    #[inline(always)]
    fn words(&self, at: u32) -> [u64; WIDE as usize / 8] {
        core::array::from_fn(|i| self.word(at + i as u32 * 8))
    }

    /// Length of the message in bytes.
    fn len(&self) -> u32;

    /// Whether there is nothing to read.
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

/// Part of a message: where it starts and how long it is. Length 0 is absence.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u16,
    /// Bytes.
    pub len: u16,
}

impl Span {
    /// From the first byte to the one after the last.
    #[inline(always)]
    #[must_use]
    pub const fn between(start: u32, end: u32) -> Self {
        Self {
            start: start as u16,
            len: end.wrapping_sub(start) as u16,
        }
    }

    /// Whether nothing is there.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}
