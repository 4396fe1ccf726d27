//! Building blocks that the kernel's verifier accepts, for code that runs on the host as well.
//!
//! ```
//! use nat_common::bpf::{HostLoop, Repeat, bounded};
//!
//! // The loop ends when the step returns false.
//! let mut sum = 0;
//! HostLoop::repeat(100, || {
//!     sum += 1;
//!     sum < 5
//! });
//! assert_eq!(sum, 5);
//!
//! // An index below 16, whatever was read.
//! assert_eq!(bounded::<16>(35), 3);
//! ```

pub mod atomic;
mod bounded;
mod nothing;
mod repeat;

pub use bounded::bounded;
pub use nothing::nothing;
pub use repeat::{HostLoop, Repeat, Step};
