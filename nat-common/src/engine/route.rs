//! Route of a request of the PBX: what was found of its terminal.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Route of a request. It lies in scratch memory between the stages of a message, where the verifier forgets its values.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Route {
    /// Hash of the terminal's address-of-record; if `weak`, of its Contact URI.
    pub(super) subject: u64,
    /// Transmissions before this one, since the terminal is where it is.
    pub(super) retransmissions: u8,
    /// Not 0: only its Contact URI names the terminal.
    pub(super) weak: u8,
    /// One of [`host`].
    pub(super) host: u8,
    /// Unused, zero.
    reserved: [u8; 5],
}

/// Hosts of a contact that registered from another host while its registration at the one before still lasts.
pub(super) mod host {
    /// There is no other, or it is known that the new one answers.
    pub(crate) const ONLY: u8 = 0;
    /// The one before.
    pub(crate) const BEFORE: u8 = 1;
    /// The new one.
    pub(crate) const NEW: u8 = 2;
}
