//! Bindings, and the keys under which they are stored.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::flags::BindingFlags;
use crate::abi::layout::described;
use crate::endpoint::Endpoint;

/// Name of one party of one call at one socket of the PBX: the Call-ID, the terminal's own tag, and the other tag, hashed
/// with the secret.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct DialogKey {
    /// Hash of the Call-ID, and the PBX's socket ([`pbx`](crate::tables::key::pbx)).
    pub call: u64,
    /// Hashes of both tags, joined ([`tags`](crate::tables::key::tags)).
    pub tag: u64,
}

described!(DialogKey { call, tag });

/// Name of a contact: the URI under which a terminal registered, and its address-of-record.
///
/// Each contact is stored twice: with the address-of-record, and with `aor` 0 for requests whose To names somebody
/// else (weak evidence). A third and a fourth entry, with the key of [`Self::before`], hold it as it was at another host before.
/// The entry with `uri` 0 is left by `Contact: *`: contacts of that address-of-record older than it are void.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ContactKey {
    /// Hash of the Contact URI as the terminal wrote it, and the PBX's socket.
    pub uri: u64,
    /// Hash of the address-of-record (To of the REGISTER) without parameters, and the PBX's socket; or 0.
    pub aor: u64,
}

impl ContactKey {
    /// Key under which the state of this contact at another host is kept, for as long as its registration there lasts.
    #[inline(always)]
    #[must_use]
    pub const fn before(&self) -> Self {
        Self {
            uri: self.uri,
            aor: !self.aor,
        }
    }
}

/// Longest text kept in a [`Binding`]: the terminal's URI without scheme, cut off beyond this.
pub const TEXT_LEN: usize = 48;

/// Record that ties an identity of a terminal to its learned address. Always active: pending ones lie in other tables.
/// Times are nanoseconds of `CLOCK_MONOTONIC_COARSE`.
///
/// An agent of another version takes bindings over by the names of their fields and flags ([`Described`](crate::abi::Described)).
/// One whose meaning changes gets another name. In a new field, 0 means that nothing is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Binding {
    /// Its own key, as words.
    pub key: [u64; 2],
    /// Time at which it became active.
    pub created: u64,
    /// Time at which the PBX last accepted a message that confirms it.
    pub seen: u64,
    /// Time from which on it counts no more.
    pub expires: u64,
    /// Time until which another live terminal claims the same contact: till then it is ambiguous.
    pub contested: u64,
    /// Number of packets that it redirected.
    pub redirected: u64,
    /// Owner: the hash of the terminal's address-of-record. For a dialog end, that of its URI in the dialog.
    pub aor: u64,
    /// Contact: hash of the REGISTER's Call-ID, which only the terminal and the PBX know. Dialog end: hash of the branch of
    /// the PBX's request that it began with, or 0.
    pub call: u64,
    /// Arrival of the newest accepted request of the terminal, or of the newest request that it answered, in ticks.
    pub arrived: u64,
    /// Source of the terminal's packets.
    pub learned: Endpoint,
    /// Address in its Contact, where numeric; else unknown.
    pub advertised: Endpoint,
    /// State of the binding.
    pub flags: BindingFlags,
    /// Number of bytes used in `text`.
    pub text_len: u8,
    /// Unused, zero.
    pub reserved: u8,
    /// Contact: the PBX's socket that accepted it ([`socket`](crate::tables::key::socket)).
    pub pbx: u32,
    /// The terminal as `user@host`, as far as it fits.
    pub text: [u8; TEXT_LEN],
}

described!(Binding {
    key,
    created,
    seen,
    expires,
    contested,
    redirected,
    aor,
    call,
    arrived,
    learned,
    advertised,
    flags,
    text_len,
    reserved,
    pbx,
    text,
});

const _: () = assert!(size_of::<Binding>() == 184);

impl Binding {
    /// Binding of which nothing is known.
    pub const EMPTY: Self = Self {
        key: [0; 2],
        created: 0,
        seen: 0,
        expires: 0,
        contested: 0,
        redirected: 0,
        aor: 0,
        call: 0,
        arrived: 0,
        learned: Endpoint::UNKNOWN,
        advertised: Endpoint::UNKNOWN,
        flags: BindingFlags::empty(),
        text_len: 0,
        reserved: 0,
        pbx: 0,
        text: [0; TEXT_LEN],
    };

    /// Whether two live terminals claim it at `now`: it is shown and counted, but not used.
    #[inline(always)]
    #[must_use]
    pub const fn is_ambiguous(&self, now: u64) -> bool {
        self.contested > now
    }

    /// Whether a contact is older than `removal`, the entry of `Contact: *`, and so void: its REGISTER arrived no later.
    #[inline(always)]
    #[must_use]
    pub const fn is_voided_by(&self, removal: &Self) -> bool {
        self.arrived <= removal.arrived && !removal.may_be_anothers(self)
    }

    /// Whether the REGISTER of this contact may be somebody else's than that of `known`: a proxy relays answers that others
    /// write, and the REGISTER lacks the terminal's Call-ID (RFC 3261 10.2.4).
    #[inline(always)]
    #[must_use]
    pub const fn may_be_anothers(&self, known: &Self) -> bool {
        self.flags.contains(BindingFlags::PROXY) && self.call != known.call
    }
}

/// Number of bindings in a set.
pub const BINDING_WAYS: usize = 8;

/// Number of bindings for each set of a table up to which none is refused; see
/// [`bindings`](crate::tables::bindings).
pub const BINDING_LOAD: u32 = 5;

/// Set of bindings, as it lies in a map; see [`bindings`](crate::tables::bindings) for its protocol. The tags fill one cache
/// line. Most lookups that miss read only that line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BindingSet {
    /// Tag of each slot: hash, generation, busy bit. 0 is a slot never used.
    pub tags: [u64; BINDING_WAYS],
    /// Bindings.
    pub bindings: [Binding; BINDING_WAYS],
}

described!(BindingSet { tags, bindings });

const _: () = assert!(size_of::<BindingSet>() == 1536);

impl BindingSet {
    /// A set never used.
    pub const EMPTY: Self = Self {
        tags: [0; BINDING_WAYS],
        bindings: [Binding::EMPTY; BINDING_WAYS],
    };
}
