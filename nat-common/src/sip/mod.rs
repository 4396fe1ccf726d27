//! The SIP codec.

pub mod message;
pub mod scan;
