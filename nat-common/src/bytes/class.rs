//! Classes of bytes that the scanner of SIP looks for, in [`WIDE`](super::WIDE) bytes at once.

use super::swar::{TOPS, below, brackets, equal, exactly, lower, marks, pack_four, plain};

/// Class of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What ends a URI in brackets, or its user: `>`, `@` and a space.
    UriEnd,
    /// The same, and `; < = ?` and control characters.
    UriMark,
    /// What ends a name in quotes: `"` and a backslash.
    Quote,
    /// What ends a name of words: any byte that is not part of it, nor a space.
    NameEnd,
    /// What ends a usual token: any byte that is no letter, digit or one of `-./:_`. Some control characters do not.
    TokenEnd,
    /// What ends usual parameters: any byte that is not of a token, nor `;` and `=`. Some control characters do not.
    ParamsEnd,
    /// What ends a Request-URI.
    RequestUriEnd,
    /// The letter `b`, in any case.
    B,
    /// A semicolon.
    Semicolon,
    /// A space.
    Space,
}

impl Class {
    /// Finds the bytes of this class in four words. Returns a bit for each byte, that of the first lowest.
    ///
    /// Of [`Self::Quote`], [`Self::NameEnd`], [`Self::UriMark`] and [`Self::RequestUriEnd`], only the lowest bit is exact.
    #[inline(always)]
    #[must_use]
    pub const fn find(self, [first, second, third, fourth]: [u64; 4]) -> u64 {
        pack_four([
            self.mask(first),
            self.mask(second),
            self.mask(third),
            self.mask(fourth),
        ])
    }

    /// Finds the bytes of this class in a word. Returns a finder's mask (see [`swar`](super::swar)).
    #[inline(always)]
    const fn mask(self, w: u64) -> u64 {
        match self {
            Self::UriEnd => exactly(w, b'>') | exactly(w, b'@') | exactly(w, b' '),
            Self::UriMark => marks(w) | below(w, 0x21),
            Self::Quote => equal(w, b'"') | equal(w, b'\\'),
            Self::NameEnd => {
                below(w, b'#') & !exactly(w, b' ')
                    | brackets(w)
                    | equal(w, b'?')
                    | equal(w, b';')
                    | equal(w, b',')
                    | equal(w, b'@')
            }
            Self::TokenEnd => !plain(w) & TOPS,
            Self::ParamsEnd => !(plain(w) | exactly(w, b';') | exactly(w, b'=')) & TOPS,
            Self::RequestUriEnd => below(w, 0x21) | brackets(w),
            Self::B => exactly(lower(w), b'b'),
            Self::Semicolon => exactly(w, b';'),
            Self::Space => exactly(w, b' '),
        }
    }
}
