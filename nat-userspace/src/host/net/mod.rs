//! Netlink: interfaces, addresses, routes and qdiscs of this network namespace.

use anyhow::{Context as _, Result};
use rtnetlink::{Handle, new_connection};

mod changes;
mod filters;
mod links;
mod neighbours;
mod own;
mod qdisc;
mod routes;
mod subnets;
mod unicast;
mod xdp;

pub use changes::Changes;
pub use filters::Filter;
pub use links::{Link, LinkKind, name_of};
pub use own::Own;
pub use routes::Route;
pub use unicast::{Hop, UnicastRoute};
pub(crate) use xdp::is_native;

/// A netlink connection to the network namespace of the thread that opened it.
pub struct Net(Handle);

impl Net {
    /// Connects. Must be called within a tokio runtime, which then serves the connection.
    ///
    /// # Errors
    /// If the kernel refuses a socket.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }
}
