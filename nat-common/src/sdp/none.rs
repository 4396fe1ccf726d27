//! Reasons why a message has no description.

use core::{error::Error, fmt};

/// Reason why a message has no description that sipnat can use. Its media are then left alone.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDescription {
    /// There is no body, or no description in it.
    Absent = 1,
    /// The body has another type.
    OtherType,
    /// The body is encoded.
    Encoded,
    /// The body is shorter than Content-Length says, or that cuts a line off.
    Truncated,
    /// A line or a header breaks the grammar, or can be read in two ways.
    Syntax,
    /// A header that must be unique appears twice, or the body has two descriptions.
    Duplicate,
    /// The message takes more steps to read than those of any device.
    Costly,
}

impl fmt::Display for NoDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "there is no description",
            Self::OtherType => "the body has another type",
            Self::Encoded => "the body is encoded",
            Self::Truncated => "the body does not end where Content-Length says",
            Self::Syntax => "a line breaks the grammar",
            Self::Duplicate => "a header or the description appears twice",
            Self::Costly => "the message takes too many steps to read",
        })
    }
}

impl Error for NoDescription {}
