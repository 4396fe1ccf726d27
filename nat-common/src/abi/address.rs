//! Kinds of this host's addresses: the value of `ADDRESSES`.
//!
//! ```
//! use nat_common::abi::address;
//!
//! assert_ne!(address::on_link(2), address::on_link(3));
//! assert_ne!(address::on_link(2), address::LOCAL);
//! ```

/// Kind of an address in a subnet on the link of an interface, given by its index.
#[must_use]
pub const fn on_link(interface: u32) -> u32 {
    interface << 2 | 1
}

/// Kind of this host's own addresses, of whatever interface.
pub const LOCAL: u32 = 2;
/// Kind of a subnet's broadcast address.
pub const BROADCAST: u32 = 3;
