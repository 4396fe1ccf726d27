//! Policies by learned address.

use core::fmt;

/// What may be done with packets for a terminal.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Nothing.
    Off = 0,
    /// Redirect to terminals that came directly.
    Auto = 1,
    /// Redirect to whatever was learned.
    Force = 2,
}

impl Policy {
    /// From a map value; what is not known counts as [`Policy::Off`].
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(v: u8) -> Self {
        match v {
            1 => Self::Auto,
            2 => Self::Force,
            _ => Self::Off,
        }
    }

    /// As the command line says it.
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

/// Value of `POLICY`. Its key is an LPM key over the IPv4-mapped address (so an IPv4 prefix of n
/// bits has 96 + n there); the default is the entry of length 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// A [`Policy`] as u8.
    pub policy: u8,
    /// One of [`origin`].
    pub origin: u8,
    /// Unused, zero.
    pub reserved: [u8; 2],
}

/// Who made a [`PolicyRule`].
pub mod origin {
    /// The rule for everything else.
    pub const DEFAULT: u8 = 0;
    /// A subnet on the interface's own link.
    pub const ON_LINK: u8 = 1;
    /// The user.
    pub const USER: u8 = 2;
}

const _: () = assert!(size_of::<PolicyRule>() == 4);
