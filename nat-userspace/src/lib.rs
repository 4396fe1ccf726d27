//! User space of sipnat: loads and attaches the kernel programs, and reads and writes their maps.

pub mod clock;
pub mod loader;
pub mod object;
pub mod prefix;
pub mod tables;
