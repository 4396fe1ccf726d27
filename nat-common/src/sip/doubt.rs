//! Reasons to leave a message alone.

use core::{error::Error, fmt};

/// Reason why the scanner does not vouch for a message. sipnat then passes the packet on unchanged.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The headers go on past the end of the packet, or past [`MAX_SCAN`](super::MAX_SCAN).
    Truncated = 1,
    /// A header that matters breaks the grammar, or can be read in two ways.
    Syntax,
    /// A mandatory header is missing.
    Missing,
    /// A header or parameter that must be unique appears twice.
    Duplicate,
    /// The headers take more steps to read than those of any device.
    Costly,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the headers do not end within the message",
            Self::Syntax => "a header breaks the grammar",
            Self::Missing => "a mandatory header is missing",
            Self::Duplicate => "a header or parameter that must be unique appears twice",
            Self::Costly => "the headers take too many steps to read",
        })
    }
}

impl Error for Doubt {}
