//! Route of a request of the PBX: what was found of its terminal.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::OutboundFlags;
use crate::endpoint::Endpoint;

/// Route of a request. It lies in scratch memory between the stages of a message, where the verifier forgets its values.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Route {
    /// The address that was not chosen, of two.
    pub(super) other: Endpoint,
    /// Hash of the terminal's address-of-record; with [`OutboundFlags::WEAK`], of its Contact URI.
    pub(super) subject: u64,
    /// Flags of the transaction, as far as they come from the route.
    pub(super) flags: OutboundFlags,
    /// Flags of the transmission before this one.
    pub(super) before: OutboundFlags,
    /// Transmissions before this one, since the terminal is where it is.
    pub(super) retransmissions: u8,
    /// Unused, zero.
    reserved: [u8; 3],
}
