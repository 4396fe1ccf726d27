//! Kinds of addresses of this host: the value of `ADDRESSES`.

/// In a subnet on the link of that interface, by its index.
#[must_use]
pub const fn on_link(interface: u32) -> u32 {
    interface << 2 | 1
}

/// One of this host's own, of whatever interface.
pub const LOCAL: u32 = 2;
/// Of all hosts of a subnet.
pub const BROADCAST: u32 = 3;
