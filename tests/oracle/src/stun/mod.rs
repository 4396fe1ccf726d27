//! STUN: messages to send, sipnat's codec on the host, and the answer that the RFCs demand.

pub mod codec;
pub mod expected;
#[cfg(feature = "generate")]
pub mod generate;
pub mod input;
pub mod message;
