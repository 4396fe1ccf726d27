//! Media: slots of local UDP ports, their settings, and counters.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::binding::DialogKey;
use crate::abi::counter::counter_type;
use crate::abi::layout::described;
use crate::endpoint::Endpoint;

/// Number of local addresses that have slots.
pub const MEDIA_ADDRESSES: usize = 8;

/// Number of addresses that the PBX may write into its descriptions instead of its own.
pub const MEDIA_EXTERNALS: usize = 4;

/// Number of prefixes of NATs that forward the ports of media.
pub const MEDIA_FORWARDING: usize = 4;

/// Number of slots of an address: one for each port.
pub const MEDIA_PORTS: u32 = 1 << 16;

/// Stream that the PBX receives at a local UDP port: where its sender is, and what the PBX means by it.
///
/// The first cache line serves packets, the second one the owner and people. [`media`](crate::media) has the protocol.
#[repr(C, align(8))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct MediaSlot {
    /// State: generation and a busy bit; see [`media`](crate::media).
    pub tag: u64,
    /// Learned port and time, in one word; see [`Latch`](crate::media::Latch).
    pub latch: u64,
    /// Address to which the PBX sends: that in the terminal's description.
    pub advertised_addr: [u64; 2],
    /// Address from which the stream may come: that of the terminal's signalling.
    pub peer_addr: [u64; 2],
    /// MAC address of the router from which the stream comes, in its lower six bytes.
    pub router: u64,
    /// Source of the stream (RFC 3550 5.1), in network byte order; 0: unknown.
    pub ssrc: u32,
    /// Port to which the PBX sends.
    pub advertised_port: u16,
    /// Bits of [`MediaFlags`].
    pub flags: MediaFlags,
    /// Owner: the terminal's dialog end.
    pub owner: DialogKey,
    /// Time at which the slot was bound, in nanoseconds.
    pub created: u64,
    /// Time from which on it counts no more, in nanoseconds.
    pub expires: u64,
    /// Time of the last look at its owner, in ticks.
    pub checked: u64,
    /// Host of the last packet from another address: IPv4 as in the second word of an [`Endpoint`], IPv6 as its first.
    pub stranger: u64,
    /// Packets that came from the learned address.
    pub received: u32,
    /// Packets that were rewritten.
    pub rewritten: u32,
    /// Packets from other sources.
    pub strangers: u32,
    /// Packets that the guard has dropped.
    pub dropped: u32,
}

described!(MediaSlot {
    tag,
    latch,
    advertised_addr,
    peer_addr,
    router,
    ssrc,
    advertised_port,
    flags,
    owner,
    created,
    expires,
    checked,
    stranger,
    received,
    rewritten,
    strangers,
    dropped,
});

const _: () = assert!(size_of::<MediaSlot>() == 128);

impl MediaSlot {
    /// Returns address and port to which the PBX sends.
    #[inline(always)]
    #[must_use]
    pub const fn advertised(&self) -> Endpoint {
        Endpoint {
            addr: self.advertised_addr,
            port: self.advertised_port as u32,
            reserved: 0,
        }
    }
}

/// Flags of a [`MediaSlot`].
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct MediaFlags(u16);

bitflags::bitflags! {
    impl MediaFlags: u16 {
        /// The port is one of RTCP alone.
        const RTCP = 1;
        /// The stream is fax (UDPTL), which has no RTP header.
        const UDPTL = 1 << 1;
        /// Packets to the advertised address are to go to the learned one.
        const REWRITE = 1 << 2;
        /// The PBX has not accepted the call yet.
        const EARLY = 1 << 3;
        /// The PBX has named the port in a description that has not bound it: another terminal may be about to send there.
        const OPEN = 1 << 4;
        /// The terminal's NAT forwards the advertised port to it: before its first packet, those of the PBX go there.
        const FORWARDED = 1 << 5;
    }
}

/// Settings of media: the value of `MEDIA_CONFIG`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct MediaConfig {
    /// Local addresses that have slots, as in [`Endpoint`]; unused ones are zero.
    pub addresses: [[u64; 2]; MEDIA_ADDRESSES],
    /// Addresses that a router translates to the PBX's, one to one; unused ones are zero.
    pub externals: [[u64; 2]; MEDIA_EXTERNALS],
    /// NATs that forward the ports of their terminal's media; unused ones are zero.
    pub forwarding: [MediaPrefix; MEDIA_FORWARDING],
    /// Lowest and highest port that may have a slot.
    pub ports: [u16; 2],
    /// Not 0: a terminal's packets get the advertised address as their source.
    pub restore: u32,
}

described!(MediaConfig {
    addresses,
    externals,
    forwarding,
    ports,
    restore,
});

/// Prefix of addresses. One of no bits holds no address.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct MediaPrefix {
    /// Its address, as in [`Endpoint`].
    pub addr: [u64; 2],
    /// Bits of an address that count.
    pub mask: [u64; 2],
}

described!(MediaPrefix { addr, mask });

impl MediaPrefix {
    /// Whether an address is in it.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, addr: &[u64; 2]) -> bool {
        let high = (addr[0] & self.mask[0]) ^ self.addr[0];
        let low = (addr[1] & self.mask[1]) ^ self.addr[1];
        high | low == 0 && self.mask[0] != 0
    }
}

impl MediaConfig {
    /// Returns the number of a local address; [`MEDIA_ADDRESSES`] if it has no slots.
    #[inline(always)]
    #[must_use]
    pub fn number(&self, addr: &[u64; 2]) -> u32 {
        let mut found = MEDIA_ADDRESSES;
        // The last one first, so that a lookup has no early exit.
        for number in (0..MEDIA_ADDRESSES).rev() {
            let known = &self.addresses[number];
            if known[1] == addr[1] && known[0] == addr[0] {
                found = number;
            }
        }
        found as u32
    }

    /// Whether the NAT at an address forwards the ports of its terminal's media.
    #[inline(always)]
    #[must_use]
    pub fn is_forwarding(&self, nat: &[u64; 2]) -> bool {
        let mut found = false;
        for prefix in &self.forwarding {
            found |= prefix.holds(nat);
        }
        found
    }

    /// Returns the number of the address in a description of the PBX, whose socket has the address `local`;
    /// [`MEDIA_ADDRESSES`] if it has no slots.
    #[inline(always)]
    #[must_use]
    pub fn number_described(&self, addr: &[u64; 2], local: &[u64; 2]) -> u32 {
        let mut is_external = false;
        for external in &self.externals {
            let used = external[0] | external[1] != 0;
            let same = external[0] == addr[0] && external[1] == addr[1];
            is_external |= used && same;
        }
        self.number(if is_external { local } else { addr })
    }
}

/// Bits of `MEDIA_BITS`: one for each slot, set where a slot is used. Those of a port are a byte, so one load tells of most UDP
/// to other ports that it is of no stream, whatever its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MediaBits {
    /// The bits.
    pub words: [u64; MEDIA_ADDRESSES * MEDIA_PORTS as usize / 64],
}

described!(MediaBits { words });

impl MediaBits {
    /// Bits in a word that belong to one port.
    pub const PORT: u64 = (1 << MEDIA_ADDRESSES) - 1;

    /// Returns the number of the bit of a local address, by its number, and a port. Below [`MEDIA_PORTS`] times
    /// [`MEDIA_ADDRESSES`].
    #[inline(always)]
    #[must_use]
    pub const fn of(number: u32, port: u32) -> u32 {
        port % MEDIA_PORTS * MEDIA_ADDRESSES as u32 + number
    }

    /// Returns the index in `MEDIA` of the slot that a bit is for.
    #[must_use]
    pub const fn slot(bit: u32) -> u32 {
        bit % MEDIA_ADDRESSES as u32 * MEDIA_PORTS + bit / MEDIA_ADDRESSES as u32
    }
}

const _: () = assert!(64 % MEDIA_ADDRESSES == 0);

macro_rules! counters {
    ($($list:tt)*) => {
        counter_type! {
            /// Event of media. The discriminant is the index in the map `MEDIA_COUNTERS`.
            MediaCounter { $($list)* }
        }
    };
}

counters! {
    Noted = "media_noted", "Description stored until the other side answers it";
    Unreadable = "media_unreadable", "Body that is no description, or can be read in two ways";
    Ambiguous = "media_ambiguous", "Two descriptions of one transaction differ: neither counts";
    Unpaired = "media_unpaired", "Description without the one that it answers, or of no known dialog";
    NotDirect = "media_not_direct", "Another proxy stands between this host and the terminal";
    Direct = "media_direct", "The PBX names an address that is not this host's: its media do not pass here";
    Bound = "media_bound", "Slot bound to a stream";
    Kept = "media_kept", "Slot that was bound to the same stream before";
    Refused = "media_refused", "Line that has no slot: refused, ICE on both sides, another protocol, or a port that may have none";
    Guarded = "media_guarded", "Stream refused: its port serves another call, which goes on";
    Removed = "media_removed", "Slot whose call has ended or expired";
    Latched = "media_latched", "Source of a stream learned";
    Relatched = "media_latched_again", "Source of a stream learned again";
    Stranger = "media_stranger", "Packet to a bound port from another address than the terminal's signalling";
    Rival = "media_rival", "Packet to a bound port from another port than the learned one";
    Rewritten = "media_rewritten", "Packet of the PBX sent to the learned address";
    Waiting = "media_waiting", "Packet of the PBX to a stream that is not learned yet";
    Elsewhere = "media_elsewhere", "Packet of the PBX from a bound port to another destination";
    Left = "media_left", "Packet of the PBX whose destination needs no change";
    Shadowed = "media_shadowed", "Packet of the PBX that shadow mode left alone";
    WriteFailed = "media_write_failed", "Packet of the PBX that could not be changed";
    Costly = "media_costly", "Body that takes more steps to read than that of any device";
    WouldDrop = "media_would_drop", "Packet to a guarded stream from another address, which passes because the guard only counts";
    Dropped = "media_dropped", "Packet to a guarded stream from another address: dropped";
    Restored = "media_restored", "Packet of a terminal that got the advertised address as its source";
    Forwarded = "media_forwarded", "Packet of the PBX sent to the terminal's NAT at the advertised port, before the terminal's first";
}
