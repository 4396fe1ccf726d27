//! Direction of a message, seen from the PBX.

/// Direction of a message.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a terminal to the PBX.
    In = 0,
    /// From the PBX to a terminal.
    Out,
}
