//! User space of sipnat: loads and attaches the kernel programs, and reads and writes their maps.

mod addresses;
pub mod agent;
pub mod attach;
pub mod bindings;
pub mod cli;
pub mod clock;
mod ethtool;
pub mod explain;
mod keepalive;
mod listing;
pub mod loader;
pub mod net;
pub mod object;
pub mod output;
pub mod pins;
pub mod policy;
pub mod prefix;
pub mod preflight;
pub mod session;
pub mod state;
pub mod stats;
pub mod status;
mod stun_warnings;
pub mod sweep;
pub mod tables;
mod warnings;
