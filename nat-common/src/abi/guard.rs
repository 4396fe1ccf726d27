//! Guard of media, by the address of the terminal's signalling.

use core::fmt;

use num_enum::FromPrimitive;

/// Treatment of packets that come to the port of a stream, and from another address than its terminal's.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive)]
pub enum Guard {
    /// They pass. A number in a map that is no guard counts as this one.
    #[num_enum(default)]
    Off = 0,
    /// They pass, and a counter says how many [`Drop`](Self::Drop) would drop.
    Count = 1,
    /// They are dropped while the terminal's own packets come.
    Drop = 2,
}

impl Guard {
    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Count => "count",
            Self::Drop => "drop",
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
