//! Algorithms on memory that several CPUs share.

pub mod buckets;
pub mod hash;
pub mod key;
pub mod slots;
