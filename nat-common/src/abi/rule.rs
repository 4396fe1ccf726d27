//! Rules by prefix: the values of `POLICY` and `GUARD`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Rule for a prefix. Its key is an LPM key over the IPv4-mapped address (an IPv4 prefix of n bits has 96 + n there);
/// the default is the entry of length 0.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Rule {
    /// A [`Policy`](crate::abi::Policy) or [`Guard`](crate::abi::Guard) as u8.
    pub choice: u8,
    /// One of [`origin`].
    pub origin: u8,
    /// Unused, zero.
    pub reserved: [u8; 2],
}

/// Authors of a [`Rule`].
pub mod origin {
    /// The rule for everything else.
    pub const DEFAULT: u8 = 0;
    /// The agent, for a subnet on the interface's own link.
    pub const ON_LINK: u8 = 1;
    /// The user.
    pub const USER: u8 = 2;
}
