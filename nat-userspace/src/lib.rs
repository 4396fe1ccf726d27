//! User space of sipnat: loads and attaches the kernel programs, and reads and writes their maps.

pub mod agent;
pub mod attach;
pub mod clock;
pub mod loader;
pub mod net;
pub mod object;
pub mod pins;
pub mod prefix;
pub mod preflight;
pub mod state;
pub mod sweep;
pub mod tables;
