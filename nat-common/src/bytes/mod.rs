//! Bytes of a message, words of memory.

mod source;
pub mod swar;
pub mod words;

pub use source::{Source, Span, WIDE};
