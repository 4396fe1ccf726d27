//! The kernel programs and their maps: loading, attaching, pinning, reading.

pub mod attach;
pub mod batch;
pub mod load;
pub mod object;
pub mod pins;
pub mod policy;
pub mod tables;
