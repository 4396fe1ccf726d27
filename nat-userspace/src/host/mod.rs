//! This host: its interfaces, addresses, routes, namespaces, processes and clocks.

pub mod capture;
pub mod checksums;
pub mod clock;
pub mod ethtool;
pub mod lock;
pub mod log;
pub(crate) mod memory;
pub mod namespaces;
pub mod net;
pub mod prefix;
pub mod private;
pub mod process;
pub(crate) mod raw_udp;
pub mod sockets;
pub mod terminal;
