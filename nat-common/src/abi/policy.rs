//! Policies by learned address.

use core::fmt;

use num_enum::FromPrimitive;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Permission to redirect packets to a terminal.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive)]
pub enum Policy {
    /// Redirect nothing. A number in a map that is no policy counts as this one.
    #[num_enum(default)]
    Off = 0,
    /// Redirect to terminals that came directly.
    Auto = 1,
    /// Redirect to whatever was learned.
    Force = 2,
}

impl Policy {
    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Force => "force",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Value of `POLICY`. Its key is an LPM key over the IPv4-mapped address (an IPv4 prefix of n bits has 96 + n there);
/// the default is the entry of length 0.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct PolicyRule {
    /// A [`Policy`] as u8.
    pub policy: u8,
    /// One of [`origin`].
    pub origin: u8,
    /// Unused, zero.
    pub reserved: [u8; 2],
}

/// Authors of a [`PolicyRule`].
pub mod origin {
    /// The rule for everything else.
    pub const DEFAULT: u8 = 0;
    /// The agent, for a subnet on the interface's own link.
    pub const ON_LINK: u8 = 1;
    /// The user.
    pub const USER: u8 = 2;
}
