//! Keepalives of the agent: a record for each NAT mapping that it keeps open.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::endpoint::Endpoint;

/// NAT mapping that the agent keeps open, and what became of its pings.
///
/// The agent writes all of it but [`Self::answered`], which only `ingress` writes. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[repr(C, align(8))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Keepalive {
    /// Learned address of the terminal; unknown in a record that is not used.
    pub terminal: Endpoint,
    /// Socket of the PBX from which pings come.
    pub pbx: Endpoint,
    /// Nonce of the last ping that draws an answer, as its branch has it; 0: none was sent.
    pub nonce: [u64; 2],
    /// Time of that ping.
    pub sent: u64,
    /// Time of the first answer to it, if that is not before [`Self::sent`].
    pub answered: u64,
    /// Pings without an answer since the last one that was answered.
    pub misses: u32,
    /// Not 0: so many pings drew no answer that the terminal counts as silent.
    pub silent: u32,
    /// Round-trip time of the last ping that was answered, in microseconds; 0: none was.
    pub round_trip: u32,
    /// Smoothed round-trip time, in microseconds (RFC 6298 2); 0: none is known.
    pub smoothed: u32,
    /// Unused, zero.
    pub reserved: [u64; 4],
}

// A record shares no cache line with another: CPUs write the times of answers.
const _: () = assert!(size_of::<Keepalive>() == 128);

impl Keepalive {
    /// Whether a mapping is kept open by it.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        !self.terminal.is_unknown()
    }

    /// Returns the round-trip time of the last ping in nanoseconds, if it was answered.
    #[must_use]
    pub const fn answer_time(&self) -> Option<u64> {
        if self.sent == 0 || self.answered < self.sent {
            return None;
        }
        Some(self.answered - self.sent)
    }
}
