//! Classes of bytes that the scanner of SIP looks for, in [`WIDE`](super::WIDE) bytes at once.

use super::swar::{TOPS, below, brackets, equal, exactly, lower, pack_four, plain, separators};

/// Class of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// End of a URI in brackets, or of its user: `>`, `@` and a space.
    UriEnd,
    /// End or separator of a URI in brackets: also `; < = ?` and control characters.
    UriSeparator,
    /// End of a name in quotes: `"` and a backslash.
    Quote,
    /// End of a name of words: any byte that is not part of it, nor a space.
    NameEnd,
    /// End of a usual token: any byte that is no letter, digit or one of `-./:_`. Some control characters do not.
    TokenEnd,
    /// End of usual parameters: any byte that is not of a token, nor `;` and `=`. Some control characters do not.
    ParamsEnd,
    /// End of a Request-URI: white space, control characters and angle brackets.
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
    /// Only the lowest bit is exact for [`Self::Quote`], [`Self::NameEnd`], [`Self::UriSeparator`] and
    /// [`Self::RequestUriEnd`].
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
            Self::UriSeparator => separators(w) | below(w, 0x21),
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
