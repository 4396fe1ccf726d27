//! Bytes of a message, read as words of eight bytes.
//!
//! ```
//! use nat_common::bytes::{Source, Span};
//!
//! let text = &b"SIP/2.0 200 OK"[..];
//! assert_eq!(text.word(0), u64::from_le_bytes(*b"SIP/2.0 "));
//! // Zeros stand for the bytes past the end.
//! assert_eq!(text.word(8), u64::from_le_bytes(*b"200 OK\0\0"));
//!
//! let status = Span::between(8, 11);
//! assert_eq!(status.slice(text), Some(&b"200"[..]));
//! ```

mod class;
pub mod hosts;
mod ipv6;
mod lines;
mod reader;
mod source;
pub mod swar;
pub mod users;
pub mod words;

pub use class::Class;
pub use ipv6::Ipv6;
pub(crate) use lines::{LineWalk, next_line};
pub(crate) use reader::{Reader, goes_on};
pub use source::{BLOCK, Source, Span, WIDE};
