//! What the kernel's verifier demands of code that runs on the host as well.

pub mod atomic;
mod bounded;
mod repeat;

pub use bounded::bounded;
pub use repeat::{HostLoop, Repeat, Step};
