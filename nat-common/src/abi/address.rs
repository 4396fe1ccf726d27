//! Kinds of addresses around this host: the value of `ADDRESSES`.
//!
//! ```
//! use nat_common::abi::address;
//!
//! assert_ne!(address::on_link(2), address::on_link(3));
//! assert_eq!(address::place(address::LOCAL | address::PEER), address::LOCAL);
//! ```

/// Kind of an address in a subnet on the link of an interface, given by its index.
#[must_use]
pub const fn on_link(interface: u32) -> u32 {
    interface << 8 | 1
}

/// Kind of this host's own addresses, of whatever interface.
pub const LOCAL: u32 = 2;
/// Kind of a subnet's broadcast address.
pub const BROADCAST: u32 = 3;

/// A route other than the default route leads there.
pub const ROUTED: u32 = 1 << 2;
/// The user named it as a peer of the PBX: a trunk, a provider.
pub const PEER: u32 = 1 << 3;
/// The user named it as a registrar to which the PBX sends REGISTERs on.
pub const REGISTRAR: u32 = 1 << 4;

/// Returns the place of an address: [`on_link`], [`LOCAL`], [`BROADCAST`], or 0 for any other. The bits of routes and of
/// the user's names are left out.
#[inline(always)]
#[must_use]
pub const fn place(kind: u32) -> u32 {
    kind & !(ROUTED | PEER | REGISTRAR)
}
