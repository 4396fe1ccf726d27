//! Building blocks that the kernel's verifier accepts, for code that runs on the host as well.
//!
//! ```
//! use nat_common::bpf::{HostLoop, Repeat, bounded, sign};
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
//!
//! // The smaller of two numbers, without a branch.
//! let (a, b) = (7_u64, 5);
//! assert_eq!(a ^ (a ^ b) * sign(b as i64 - a as i64), 5);
//! ```

pub mod atomic;
mod bounded;
mod nothing;
mod repeat;
mod sign;

pub use bounded::bounded;
pub use nothing::nothing;
pub use repeat::{HostLoop, Repeat, Step};
pub use sign::sign;
