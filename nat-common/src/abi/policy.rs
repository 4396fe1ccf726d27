//! Policies by learned address.

use core::fmt;

use num_enum::FromPrimitive;

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
