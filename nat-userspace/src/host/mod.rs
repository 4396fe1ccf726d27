//! This host: its interfaces, addresses, routes and clocks.

pub mod clock;
pub mod ethtool;
pub mod net;
pub mod prefix;
