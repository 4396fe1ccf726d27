//! Values of the tables of sets: one type for each table, all of the same size.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::flags::{
    FragmentFlags, InboundFlags, OfferFlags, OutboundFlags, PeerFlags, PendingFlags, StunFlags,
};
use crate::abi::layout::described;
use crate::abi::tables::Table;
use crate::bytes::words;
use crate::endpoint::Endpoint;

/// ValueWords of a value.
pub const VALUE_WORDS: usize = 6;

/// Value as a table's algorithms see it: words, of which some are the first endpoint's.
pub type ValueWords = [u64; VALUE_WORDS];

/// Offset of the first endpoint's port in a value. Its address comes first of all.
pub const FIRST_PORT: usize = 32;

/// Offset of the flags in a value.
pub const FLAGS: usize = 36;

/// Value of a table of sets.
///
/// # Safety
/// It must have the size and alignment of [`ValueWords`], its flags at [`FLAGS`], and an endpoint's address first, with the
/// port at [`FIRST_PORT`].
pub unsafe trait Value: Copy + FromBytes + IntoBytes + Immutable + KnownLayout {
    /// Table whose value it is.
    const TABLE: Table;
    /// Its flags.
    type Flags: bitflags::Flags<Bits = u16>;
}

/// Entry of a table: a value, and the time at which it was written.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
pub struct Entry<V> {
    /// The value.
    pub value: V,
    /// Time of the last write, in ticks (see [`ticks`](crate::abi::ticks)).
    pub at: u64,
}

impl<V: Value> Entry<V> {
    /// Copies another entry into this one.
    #[inline(always)]
    pub fn assign(&mut self, other: &Self) {
        words::assign(&mut self.value, &other.value);
        self.at = other.at;
    }
}

/// Defines accessors of an endpoint whose address and port are fields of their own, since an
/// [`Endpoint`] beside other fields would need padding.
macro_rules! endpoint {
    ($(#[$doc:meta])* $addr:ident, $port:ident: $get:ident, $copy:ident, $set:ident) => {
        $(#[$doc])*
        #[inline(always)]
        #[must_use]
        pub const fn $get(&self) -> Endpoint {
            Endpoint {
                addr: self.$addr,
                port: self.$port as u32,
                reserved: 0,
            }
        }

        #[doc = concat!("Copies [`Self::", stringify!($get), "`], without one on the kernel's small stack.")]
        #[inline(always)]
        pub const fn $copy(&self, to: &mut Endpoint) {
            // Word by word: the compiler would call `memcpy` for both at once.
            to.addr[0] = self.$addr[0];
            to.addr[1] = self.$addr[1];
            to.port = self.$port as u32;
        }

        #[doc = concat!("Sets [`Self::", stringify!($get), "`].")]
        #[inline(always)]
        pub const fn $set(&mut self, endpoint: &Endpoint) {
            self.$addr[0] = endpoint.addr[0];
            self.$addr[1] = endpoint.addr[1];
            self.$port = endpoint.port as u16;
        }
    };
}
pub(super) use endpoint;

/// Declares a type as the value of a table, and asserts the offsets that the table's algorithms use.
macro_rules! value {
    ($value:ident, $flags:ident, $table:ident, $addr:ident, $port:ident) => {
        // SAFETY: asserted below.
        unsafe impl Value for $value {
            const TABLE: Table = Table::$table;
            type Flags = $flags;
        }

        const _: () = {
            assert!(size_of::<$value>() == size_of::<ValueWords>());
            assert!(align_of::<$value>() == align_of::<ValueWords>());
            assert!(offset_of!($value, $addr) == 0);
            assert!(offset_of!($value, $port) == FIRST_PORT);
            assert!(offset_of!($value, flags) == FLAGS);
        };
    };
}

/// Transaction that a terminal opened: its source.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct InboundTransaction {
    /// Address of [`Self::source`].
    pub source_addr: [u64; 2],
    /// Address of [`Self::advertised`]. In the entry of a REGISTER without its branch, a hash of all Contacts.
    pub advertised_addr: [u64; 2],
    /// Port of [`Self::source`].
    pub source_port: u16,
    /// Port of [`Self::advertised`].
    pub advertised_port: u16,
    /// State of the transaction.
    pub flags: InboundFlags,
    /// Number of repetitions of the request after an answer.
    pub repetitions: u8,
    /// Number of further Contacts of a REGISTER, each of which may have an entry of its own.
    pub others: u8,
    /// Hash of the Contact URI of a REGISTER; of the To-tag of the first final response to another request; or 0.
    pub detail: u64,
}

described!(InboundTransaction {
    source_addr,
    advertised_addr,
    source_port,
    advertised_port,
    flags,
    repetitions,
    others,
    detail,
});

impl InboundTransaction {
    endpoint! {
        /// Source of the request.
        source_addr, source_port: source, copy_source, set_source
    }
    endpoint! {
        /// Address in the request's Contact, where numeric.
        advertised_addr, advertised_port: advertised, copy_advertised, set_advertised
    }
}

value!(
    InboundTransaction,
    InboundFlags,
    Inbound,
    source_addr,
    source_port
);

/// Transaction that the PBX opened: its destination.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct OutboundTransaction {
    /// Address of [`Self::destination`].
    pub destination_addr: [u64; 2],
    /// Address of [`Self::alternative`].
    pub alternative_addr: [u64; 2],
    /// Port of [`Self::destination`].
    pub destination_port: u16,
    /// Port of [`Self::alternative`].
    pub alternative_port: u16,
    /// State of the transaction.
    pub flags: OutboundFlags,
    /// Record-Route entries in the request.
    pub record_routes: u8,
    /// Number of transmissions before the last.
    pub retransmissions: u8,
    /// Owner of the terminal: the hash of its address-of-record. With [`OutboundFlags::WEAK`], the hash of its Contact URI.
    pub subject: u64,
}

described!(OutboundTransaction {
    destination_addr,
    alternative_addr,
    destination_port,
    alternative_port,
    flags,
    record_routes,
    retransmissions,
    subject,
});

impl OutboundTransaction {
    endpoint! {
        /// Destination of the last transmission.
        destination_addr, destination_port: destination, copy_destination, set_destination
    }
    endpoint! {
        /// The other one of original destination and learned address, where they differ; see [`OutboundFlags`].
        alternative_addr, alternative_port: alternative, copy_alternative, set_alternative
    }
}

value!(
    OutboundTransaction,
    OutboundFlags,
    Outbound,
    destination_addr,
    destination_port
);

/// Dialog end that the PBX has not accepted yet: the source of its SUBSCRIBE or REFER.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct PendingDialog {
    /// Address of [`Self::source`].
    pub source_addr: [u64; 2],
    /// Address of [`Self::advertised`].
    pub advertised_addr: [u64; 2],
    /// Port of [`Self::source`].
    pub source_port: u16,
    /// Port of [`Self::advertised`].
    pub advertised_port: u16,
    /// State of the claim.
    pub flags: PendingFlags,
    /// Unused, zero.
    pub reserved: [u8; 10],
}

described!(PendingDialog {
    source_addr,
    advertised_addr,
    source_port,
    advertised_port,
    flags,
    reserved,
});

impl PendingDialog {
    endpoint! {
        /// Source of the request.
        source_addr, source_port: source, copy_source, set_source
    }
    endpoint! {
        /// Address in the request's Contact, where numeric.
        advertised_addr, advertised_port: advertised, copy_advertised, set_advertised
    }
}

value!(
    PendingDialog,
    PendingFlags,
    Pending,
    source_addr,
    source_port
);

/// What is proven of an address, or of a pair of addresses: learned and original.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Peer {
    /// Address of [`Self::learned`].
    pub learned_addr: [u64; 2],
    /// Address of [`Self::original`]. With [`PeerFlags::LEFT`], [`Self::registration`]; with [`PeerFlags::LEARNED`],
    /// [`Self::holder`]; with [`PeerFlags::PINGED`], the key of the OPTIONS in `OUTBOUND`.
    pub original_addr: [u64; 2],
    /// Port of [`Self::learned`].
    pub learned_port: u16,
    /// Port of [`Self::original`].
    pub original_port: u16,
    /// What is proven.
    pub flags: PeerFlags,
    /// Transmissions to the pair since its last answer.
    pub unanswered: u8,
    /// Requests answered at the original destination since the last one at the learned address.
    pub strikes: u8,
    /// Hash of the address-of-record of the terminal at the address; 0 if unknown. Of a pair: hash of the branch that the
    /// last of `strikes` answered. With [`PeerFlags::PINGED`], hash of the Contact URI.
    pub owner: u64,
}

described!(Peer {
    learned_addr,
    original_addr,
    learned_port,
    original_port,
    flags,
    unanswered,
    strikes,
    owner,
});

impl Peer {
    endpoint! {
        /// The learned address, or the only one.
        learned_addr, learned_port: learned, copy_learned, set_learned
    }
    endpoint! {
        /// Original destination of the PBX's packets; unknown where there is only one address.
        original_addr, original_port: original, copy_original, set_original
    }

    /// Returns the contact that has left the address: the hash of its URI, and that of its REGISTER's Call-ID.
    #[inline(always)]
    #[must_use]
    pub const fn registration(&self) -> [u64; 2] {
        self.original_addr
    }

    /// Sets the contact that has left the address.
    #[inline(always)]
    pub const fn set_registration(&mut self, uri: u64, call: u64) {
        self.original_addr[0] = uri;
        self.original_addr[1] = call;
    }

    /// Returns the Contact host of the terminal that registered last at the address, in one word, and the arrival of its first
    /// REGISTER, in ticks. Host 0: unknown.
    #[inline(always)]
    #[must_use]
    pub const fn holder(&self) -> [u64; 2] {
        self.original_addr
    }

    /// Sets the terminal that registered last at the address.
    #[inline(always)]
    pub const fn set_holder(&mut self, host: u64, since: u64) {
        self.original_addr[0] = host;
        self.original_addr[1] = since;
    }
}

value!(Peer, PeerFlags, Peers, learned_addr, learned_port);

/// Datagram that the PBX sends in fragments: where its first fragment went.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FragmentedDatagram {
    /// Address of [`Self::destination`].
    pub destination_addr: [u64; 2],
    /// Unused, zero.
    pub unused: [u64; 2],
    /// Port of [`Self::destination`].
    pub destination_port: u16,
    /// Unused, zero.
    pub unused_port: u16,
    /// State of the datagram.
    pub flags: FragmentFlags,
    /// Unused, zero.
    pub reserved: [u8; 10],
}

described!(FragmentedDatagram {
    destination_addr,
    unused,
    destination_port,
    unused_port,
    flags,
    reserved,
});

impl FragmentedDatagram {
    endpoint! {
        /// Destination of the fragments.
        destination_addr, destination_port: destination, copy_destination, set_destination
    }
}

value!(
    FragmentedDatagram,
    FragmentFlags,
    Fragments,
    destination_addr,
    destination_port
);

/// Source of STUN requests.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct StunSource {
    /// Address of [`Self::source`].
    pub source_addr: [u64; 2],
    /// Unused, zero.
    pub unused: [u64; 2],
    /// Port of [`Self::source`].
    pub source_port: u16,
    /// Number of requests, up to 255.
    pub requests: u8,
    /// Unused, zero.
    pub unused_byte: u8,
    /// Kind of its requests.
    pub flags: StunFlags,
    /// Unused, zero.
    pub reserved: [u8; 2],
    /// Time of its first request, in ticks.
    pub first: u64,
}

described!(StunSource {
    source_addr,
    unused,
    source_port,
    requests,
    unused_byte,
    flags,
    reserved,
    first,
});

impl StunSource {
    endpoint! {
        /// Source of the requests.
        source_addr, source_port: source, copy_source, set_source
    }
}

value!(StunSource, StunFlags, Stun, source_addr, source_port);

/// Number of streams in an [`Offer`].
pub const OFFER_LINES: usize = 4;

/// Session description of one side, until the other side answers it: the address of its media, and its streams.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Offer {
    /// Address of the media.
    pub addr: [u64; 2],
    /// Port of each stream; 0: it is refused or absent.
    pub ports: [u16; OFFER_LINES],
    /// Port of the RTCP of each stream; 0: none.
    pub rtcp: [u16; OFFER_LINES],
    /// Port of the first stream again: the tables of sets compare the first endpoint.
    pub first: u16,
    /// Unused, zero.
    pub unused: u16,
    /// State of the description.
    pub flags: OfferFlags,
    /// Unused, zero.
    pub reserved: u16,
    /// Bits of [`mod@line`] for each stream.
    pub lines: [u8; OFFER_LINES],
    /// Unused, zero.
    pub reserved_end: [u8; 4],
}

described!(Offer {
    addr,
    ports,
    rtcp,
    first,
    unused,
    flags,
    reserved,
    lines,
    reserved_end,
});

/// Bits of a stream in an [`Offer`].
pub mod line {
    /// The stream can be served: its port and address are known.
    pub const USABLE: u8 = 1;
    /// RTP.
    pub const RTP: u8 = 1 << 1;
    /// Fax over UDP.
    pub const UDPTL: u8 = 1 << 2;
    /// RTP and RTCP may share the port.
    pub const MUX: u8 = 1 << 3;
    /// ICE.
    pub const ICE: u8 = 1 << 4;
}

value!(Offer, OfferFlags, Offers, addr, first);
