//! What the kernel programs and user space exchange through BPF maps.
//!
//! Every type is `repr(C)`, free of padding, and its size is asserted below. Change a type or the
//! meaning of a field, and [`ABI`] must grow: the agent refuses pins of another number.

use core::array;
use core::fmt;
use core::mem::offset_of;
#[cfg(feature = "user")]
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::words::{self, Words};

/// Number of the layout of everything in this file.
pub const ABI: u32 = 5;

/// Names of the maps, as pinned and as the kernel shows them (at most 15 bytes).
pub mod map {
    /// `Array<Config>`, one entry.
    pub const CONFIG: &str = "CONFIG";
    /// `LpmTrie<[u8; 16], PolicyRule>` over the learned source address.
    pub const POLICY: &str = "POLICY";
    /// `HashMap<DialogKey, Binding>`: active dialog ends.
    pub const DIALOGS: &str = "DIALOGS";
    /// `HashMap<ContactKey, Binding>`: active contacts.
    pub const CONTACTS: &str = "CONTACTS";
    /// `Array<Set>`: transactions that terminals opened; the entry says where from.
    pub const INBOUND: &str = "INBOUND";
    /// `Array<Set>`: transactions that the PBX opened; the entry says where to.
    pub const OUTBOUND: &str = "OUTBOUND";
    /// `Array<Set>`: dialog ends seen but not yet accepted by the PBX.
    pub const PENDING: &str = "PENDING";
    /// `Array<Set>`: learned addresses, and whether they answer.
    pub const PEERS: &str = "PEERS";
    /// `Array<Set>`: datagrams that the PBX sends in fragments; the entry says where to.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// `Array<Record>`: what was decided, the oldest overwritten.
    pub const HISTORY: &str = "HISTORY";
    /// `LpmTrie<[u8; 16], u32>`: one of [`crate::abi::address`] for addresses and subnets of this host.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// `Array<Buckets>`: how much of its allowance each source of STUN requests has used.
    pub const BUCKETS: &str = "BUCKETS";
    /// `Array<Set>`: where STUN requests come from.
    pub const STUN: &str = "STUN";
    /// `PerCpuArray<u64>`, indexed by [`crate::counter::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
}

/// How many UDP ports one data path serves.
pub const MAX_PORTS: usize = 8;

/// An address and a UDP port. IPv4 is kept IPv4-mapped (RFC 4291 2.5.5.2), so one key serves both.
///
/// Words, not bytes: BPF's compiler copies and compares only aligned words without calling a function.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Endpoint {
    /// The address, its 16 bytes in network byte order.
    pub addr: [u64; 2],
    /// The port, host byte order.
    pub port: u32,
    /// Unused, zero.
    pub reserved: u32,
}

impl PartialEq for Endpoint {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.addr[1] == other.addr[1] && self.port == other.port && self.addr[0] == other.addr[0]
    }
}

impl Endpoint {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        addr: [0; 2],
        port: 0,
        reserved: 0,
    };

    /// An endpoint at an IPv4 address, given in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn v4(addr: [u8; 4], port: u16) -> Self {
        let [a, b, c, d] = addr;
        Self {
            addr: [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])],
            port: port as u32,
            reserved: 0,
        }
    }

    /// The IPv4 address of an IPv4-mapped endpoint, in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn as_v4(&self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d] = self.addr[1].to_ne_bytes();
        [a, b, c, d]
    }

    /// Whether it is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        const PREFIX: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        let [a, b, c, d, ..] = self.addr[1].to_ne_bytes();
        self.addr[0] == 0 && u32::from_ne_bytes([a, b, c, d]) == PREFIX
    }

    /// An address that is not routed on the Internet: RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291 2.5.6.
    #[inline(always)]
    #[must_use]
    pub const fn is_private(&self) -> bool {
        if !self.is_v4() {
            let [a, b, ..] = self.addr[0].to_ne_bytes();
            let first = u16::from_be_bytes([a, b]);
            return first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80;
        }
        let address = u32::from_be_bytes(self.as_v4());
        address >> 24 == 10
            || address >> 20 == 0xac1
            || address >> 16 == 0xc0a8
            || address >> 22 == 0x6440 >> 6
            || address >> 16 == 0xa9fe
    }

    /// Nothing is known of it.
    #[inline(always)]
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.port == 0
    }
}

#[cfg(feature = "user")]
impl From<Endpoint> for SocketAddr {
    fn from(e: Endpoint) -> Self {
        let [high, low] = e.addr.map(u64::to_ne_bytes);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high);
        bytes[8..].copy_from_slice(&low);
        Self::new(Ipv6Addr::from(bytes).to_canonical(), e.port as u16)
    }
}

#[cfg(feature = "user")]
impl From<SocketAddr> for Endpoint {
    fn from(a: SocketAddr) -> Self {
        let bytes = mapped(a.ip());
        let word = |at: usize| u64::from_ne_bytes(array::from_fn(|i| bytes[at + i]));
        Self {
            addr: [word(0), word(8)],
            port: u32::from(a.port()),
            reserved: 0,
        }
    }
}

/// The bytes of an address as `POLICY` and [`Endpoint`] keep it: IPv4 becomes IPv4-mapped.
#[cfg(feature = "user")]
#[must_use]
pub fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// What the agent tells the kernel programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The key of every hash, drawn when the maps are made. It never leaves this host.
    pub secret: [u64; 2],
    /// [`ABI`] of whoever made the maps.
    pub abi: u32,
    /// Sets in `INBOUND` and in `OUTBOUND`, less one; a power of two less one.
    pub transaction_mask: u32,
    /// Sets in `PENDING`, less one.
    pub pending_mask: u32,
    /// Sets in `PEERS`, less one.
    pub peer_mask: u32,
    /// Sets in `FRAGMENTS`, less one.
    pub fragment_mask: u32,
    /// Records in `HISTORY`, less one.
    pub history_mask: u32,
    /// Not 0: decide and count, but redirect nothing.
    pub shadow: u32,
    /// Bits of [`stun`].
    pub stun: u32,
    /// The SIP ports, host byte order; unused entries are 0.
    pub ports: [u16; MAX_PORTS],
    /// A port on which STUN is answered beside the SIP ports, host byte order; 0: none.
    pub stun_port: u32,
    /// Lines in `BUCKETS`, less one.
    pub bucket_mask: u32,
    /// Sets in `STUN`, less one.
    pub stun_mask: u32,
    /// Unused, zero.
    pub reserved: u32,
    /// How many STUN requests of one address are answered.
    pub stun_rate: Rate,
}

/// Bits of [`Config::stun`].
pub mod stun {
    /// STUN requests are answered.
    pub const ANSWER: u32 = 1;
    /// Answers say by which software.
    pub const SOFTWARE: u32 = 1 << 1;
}

/// What an address is to this host: the value of `ADDRESSES`.
pub mod address {
    /// In a subnet on the link of that interface, by its index.
    #[must_use]
    pub const fn on_link(interface: u32) -> u32 {
        interface << 2 | 1
    }

    /// One of this host's own, of whatever interface.
    pub const LOCAL: u32 = 2;
    /// Of all hosts of a subnet.
    pub const BROADCAST: u32 = 3;
}

/// A rate with bursts, as [`crate::bucket`] wants it: both in ticks of a bucket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// From one to the next at that rate; 0: there is no limit.
    pub interval: u64,
    /// How far ahead of that rate one may be.
    pub burst: u64,
}

/// Names one party of one call: the Call-ID and the terminal's own tag, hashed with the secret.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DialogKey {
    /// Hash of the Call-ID.
    pub call: u64,
    /// Hash of the tag.
    pub tag: u64,
}

/// Names a contact: the URI under which a terminal registered, and for whom.
///
/// Each contact is stored twice: with the address-of-record, and with `aor` 0 for requests whose To
/// names somebody else. `uri` 0 is the mark left by `Contact: *`: the moment before which every
/// contact of that address-of-record is void.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ContactKey {
    /// Hash of the Contact URI as the terminal wrote it.
    pub uri: u64,
    /// Hash of the address-of-record (To of the REGISTER) without parameters, or 0.
    pub aor: u64,
}

/// Bits of [`Binding::flags`] and [`Entry::flags`].
pub mod flag {
    /// Nothing stands between this host and the terminal: no other proxy's Via or Record-Route.
    pub const DIRECT: u16 = 1;
    /// Of a pending dialog end: two sources claim it, so it is not used.
    pub const AMBIGUOUS: u16 = 1 << 1;
    /// The transaction belongs to a dialog that existed before it (its request had a To-tag).
    pub const IN_DIALOG: u16 = 1 << 2;
    /// The request was a REGISTER with `Contact: *`.
    pub const REMOVE_ALL: u16 = 1 << 3;
    /// The dialog is early: no 2xx yet.
    pub const EARLY: u16 = 1 << 4;
    /// The dialog has been ended by a BYE; kept for the retransmissions.
    pub const ENDED: u16 = 1 << 5;
    /// The entry's transaction was a REGISTER.
    pub const REGISTER: u16 = 1 << 6;
    /// The REGISTER asked for its contact to be removed (`expires` 0).
    pub const REMOVE: u16 = 1 << 7;
    /// The request was the PBX's; else the terminal's. The two count their CSeqs apart.
    pub const PBX: u16 = 1 << 8;
    /// Of a transaction of the PBX: it was last redirected, and `advertised` is where it was meant to go.
    pub const REDIRECTED: u16 = 1 << 9;
    /// Of a transaction of the PBX: it was last sent where it was meant to go, and `advertised` is the learned
    /// address. Of a peer and a binding: packets for it are left alone, since it answers where the PBX means.
    pub const LEFT_ALONE: u16 = 1 << 10;
    /// Of a peer: it answers at the learned address.
    pub const PROVEN: u16 = 1 << 11;
    /// Of a transaction of a terminal: its request was repeated though responses had been sent.
    pub const REPEATED: u16 = 1 << 12;
    /// Of a source of STUN requests: it sends them to a SIP port, as keepalives (RFC 5626 3.5.2).
    pub const KEEPALIVE: u16 = 1 << 13;
}

/// Longest text kept in a [`Binding`]: the terminal's URI without scheme, cut off beyond this. With more, an element
/// of the map would no more fit into a slab object of 256 bytes.
pub const TEXT_LEN: usize = 48;

/// The record that ties an identity of a terminal to its learned address. Always active: what is
/// pending lives in other tables. Times are nanoseconds of `CLOCK_MONOTONIC_COARSE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its own key, as words: the kernel may give the memory of a removed binding to another while it is read.
    pub key: [u64; 2],
    /// When it became active.
    pub created: u64,
    /// When the PBX last accepted a message that confirms it.
    pub seen: u64,
    /// From when on it counts no more.
    pub expires: u64,
    /// Until when another live terminal claims the same contact: till then it is ambiguous.
    pub contested: u64,
    /// Packets that it redirected.
    pub redirected: u64,
    /// Of a contact, the hash of its address-of-record; of a dialog end, 0.
    pub aor: u64,
    /// Of a contact, the hash of the REGISTER's Call-ID. Of a dialog end, that of the branch of the PBX's request
    /// that it began with, or 0.
    pub call: u64,
    /// CSeq of the newest accepted request from this terminal.
    pub cseq: u32,
    /// CSeq of the newest request of the PBX that this terminal answered.
    pub peer_cseq: u32,
    /// Where its packets really come from.
    pub learned: Endpoint,
    /// What its Contact says, where that is a numeric address; else unknown.
    pub advertised: Endpoint,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Bytes used in `text`.
    pub text_len: u8,
    /// Unused, zero.
    pub reserved: [u8; 5],
    /// The terminal as `user@host`, as far as it fits.
    pub text: [u8; TEXT_LEN],
}

impl Binding {
    /// A binding of which nothing is known.
    pub const EMPTY: Self = Self {
        key: [0; 2],
        created: 0,
        seen: 0,
        expires: 0,
        contested: 0,
        redirected: 0,
        aor: 0,
        call: 0,
        cseq: 0,
        peer_cseq: 0,
        learned: Endpoint::UNKNOWN,
        advertised: Endpoint::UNKNOWN,
        flags: 0,
        text_len: 0,
        reserved: [0; 5],
        text: [0; TEXT_LEN],
    };

    /// Whether two live terminals claim it at `now`: it is shown and counted, but not used.
    #[inline(always)]
    #[must_use]
    pub const fn is_ambiguous(&self, now: u64) -> bool {
        self.contested > now
    }

    /// Whether a contact was there before `mark`, which `Contact: *` left, and so is void. Where the clock
    /// cannot tell, the CSeq of the same registration can; else it is void.
    #[inline(always)]
    #[must_use]
    pub const fn is_voided_by(&self, mark: &Self) -> bool {
        let newer = self.call == mark.call && self.cseq > mark.cseq;
        self.seen < mark.created || (self.seen == mark.created && !newer)
    }

    /// Whether every bit of `flag` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }
}

/// What a slot of a set-associative table holds. See [`crate::slots`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `INBOUND`: hash of the Contact URI in a REGISTER. `OUTBOUND`: of a copy, the hash of the branch. `STUN`: when
    /// its first request came, in ticks.
    pub contact: u64,
    /// See [`Self::peer`].
    pub peer_addr: [u64; 2],
    /// See [`Self::advertised`].
    pub advertised_addr: [u64; 2],
    /// See [`Self::peer`].
    pub peer_port: u16,
    /// See [`Self::advertised`].
    pub advertised_port: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// `OUTBOUND`: Record-Route entries in the request.
    pub record_routes: u8,
    /// `OUTBOUND`: how often the request was sent before. `INBOUND`: responses sent, up to two.
    pub sent: u8,
    /// When it was written, in ticks (see [`ticks`]). In a set it is one of [`Set::ats`].
    pub at: u32,
    /// Unused, zero; not kept in a set.
    pub reserved: u32,
}

impl Entry {
    /// `INBOUND`, `PENDING`, `STUN`: where the request came from. `OUTBOUND`, `FRAGMENTS`: where it was sent. `PEERS`:
    /// the learned address.
    #[inline(always)]
    #[must_use]
    pub const fn peer(&self) -> Endpoint {
        Endpoint {
            addr: self.peer_addr,
            port: self.peer_port as u32,
            reserved: 0,
        }
    }

    /// Copies [`Self::peer`], without one on the kernel's small stack.
    #[inline(always)]
    pub const fn copy_peer(&self, to: &mut Endpoint) {
        // One by one: the compiler would call a function to copy both.
        to.addr[0] = self.peer_addr[0];
        to.addr[1] = self.peer_addr[1];
        to.port = self.peer_port as u32;
    }

    /// Sets [`Self::peer`].
    #[inline(always)]
    pub const fn set_peer(&mut self, peer: &Endpoint) {
        self.peer_addr[0] = peer.addr[0];
        self.peer_addr[1] = peer.addr[1];
        self.peer_port = peer.port as u16;
    }

    /// What Contact said, where numeric. `PEERS`: where the PBX meant. `OUTBOUND`: see [`flag`].
    #[inline(always)]
    #[must_use]
    pub const fn advertised(&self) -> Endpoint {
        Endpoint {
            addr: self.advertised_addr,
            port: self.advertised_port as u32,
            reserved: 0,
        }
    }

    /// Copies [`Self::advertised`].
    #[inline(always)]
    pub const fn copy_advertised(&self, to: &mut Endpoint) {
        to.addr[0] = self.advertised_addr[0];
        to.addr[1] = self.advertised_addr[1];
        to.port = self.advertised_port as u32;
    }

    /// Sets [`Self::advertised`].
    #[inline(always)]
    pub const fn set_advertised(&mut self, advertised: &Endpoint) {
        self.advertised_addr[0] = advertised.addr[0];
        self.advertised_addr[1] = advertised.addr[1];
        self.advertised_port = advertised.port as u16;
    }
}

/// Slots in a set.
pub const WAYS: usize = 4;

/// Words of an [`Entry`] up to `at`.
pub const CONTENT_WORDS: usize = offset_of!(Entry, at) / size_of::<u64>();

/// One set of a set-associative table: the value of `INBOUND`, `OUTBOUND`, `PENDING`, `PEERS`, `FRAGMENTS` and `STUN`.
/// The head says all that is asked of it before it is known in which slot an entry is or should be. Where a set begins with
/// a cache line, as the kernel's maps of sets are made to, the head is that line, and a content lies on one or two others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Of each slot: hash, generation, busy bit. See [`crate::slots`]; 0 is a slot never used.
    pub tags: [u64; WAYS],
    /// More bits of the keys than the tags hold.
    pub checks: [u32; WAYS],
    /// [`Entry::at`].
    pub ats: [u32; WAYS],
    /// The entries' first words.
    pub contents: [[u64; CONTENT_WORDS]; WAYS],
}

/// A slot of a copy of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// See [`Set::tags`].
    pub tag: u64,
    /// The content.
    pub entry: Entry,
}

impl Set {
    /// The slots of a copy. One that was made while somebody wrote to a slot may mix two of its contents: it is for people.
    #[must_use]
    pub fn slots(&self) -> [Slot; WAYS] {
        array::from_fn(|way| {
            let mut entry = Entry {
                at: self.ats[way],
                ..Entry::default()
            };
            let content = &raw const self.contents[way];
            // SAFETY: an entry begins with so many words, of which every pattern is one of an entry.
            unsafe { words::copy_first::<CONTENT_WORDS, _, _>(content, &raw mut entry) };
            Slot {
                tag: self.tags[way],
                entry,
            }
        })
    }
}

/// What was made of a message that the PBX sent, or of the answer to one. `HISTORY` keeps the newest.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When, nanoseconds of `CLOCK_MONOTONIC_COARSE`; 0 was never written.
    pub at: u64,
    /// Hash of the Call-ID.
    pub call: u64,
    /// Hash of the terminal's tag, or 0.
    pub tag: u64,
    /// See [`Self::meant`].
    pub meant_addr: [u64; 2],
    /// See [`Self::learned`].
    pub learned_addr: [u64; 2],
    /// See [`Self::meant`].
    pub meant_port: u16,
    /// See [`Self::learned`].
    pub learned_port: u16,
    /// CSeq's number.
    pub cseq: u32,
    /// What happened beside it: a bit for each event, see [`crate::counter::Counter::event_bit`].
    pub events: u32,
    /// Status of a response; 0 is a request.
    pub status: u16,
    /// A [`crate::message::Method`] as u8.
    pub method: u8,
    /// The verdict, a [`crate::counter::Counter`] as u8.
    pub verdict: u8,
}

impl Record {
    /// Where the PBX sent it. Of an answer, where its request had been sent.
    #[inline(always)]
    #[must_use]
    pub const fn meant(&self) -> Endpoint {
        Endpoint {
            addr: self.meant_addr,
            port: self.meant_port as u32,
            reserved: 0,
        }
    }

    /// Copies [`Self::meant`].
    #[inline(always)]
    pub const fn copy_meant(&self, to: &mut Endpoint) {
        to.addr[0] = self.meant_addr[0];
        to.addr[1] = self.meant_addr[1];
        to.port = self.meant_port as u32;
    }

    /// Sets [`Self::meant`].
    #[inline(always)]
    pub const fn set_meant(&mut self, meant: &Endpoint) {
        self.meant_addr[0] = meant.addr[0];
        self.meant_addr[1] = meant.addr[1];
        self.meant_port = meant.port as u16;
    }

    /// Where the terminal is, if that is known.
    #[inline(always)]
    #[must_use]
    pub const fn learned(&self) -> Endpoint {
        Endpoint {
            addr: self.learned_addr,
            port: self.learned_port as u32,
            reserved: 0,
        }
    }

    /// Sets [`Self::learned`].
    #[inline(always)]
    pub const fn set_learned(&mut self, learned: &Endpoint) {
        self.learned_addr[0] = learned.addr[0];
        self.learned_addr[1] = learned.addr[1];
        self.learned_port = learned.port as u16;
    }
}

/// Ticks are nanoseconds shifted down to about a millisecond, so that 32 bits last for 52 days.
#[inline(always)]
#[must_use]
pub const fn ticks(ns: u64) -> u32 {
    (ns >> TICK_SHIFT) as u32
}

/// A tick is `1 << TICK_SHIFT` nanoseconds.
pub const TICK_SHIFT: u32 = 20;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

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

const _: () = {
    assert!(size_of::<Endpoint>() == 24);
    assert!(size_of::<Rate>() == 16);
    assert!(size_of::<Config>() == 96);
    assert!(size_of::<DialogKey>() == 16);
    assert!(size_of::<ContactKey>() == 16);
    assert!(size_of::<Binding>() == 184);
    assert!(size_of::<Entry>() == 56);
    assert!(CONTENT_WORDS * size_of::<u64>() == offset_of!(Entry, at));
    assert!(size_of::<Set>() == 256);
    assert!(size_of::<Record>() == 72);
    assert!(size_of::<PolicyRule>() == 4);
};

// SAFETY: repr(C), of aligned words (asserted where used), integers only.
unsafe impl Words for Binding {}
// SAFETY: the same.
unsafe impl Words for Entry {}
// SAFETY: the same.
unsafe impl Words for Record {}
// SAFETY: the same.
unsafe impl Words for Endpoint {}

#[cfg(feature = "user")]
mod pod {
    use super::{Binding, Config, ContactKey, DialogKey, PolicyRule, Record, Set};

    macro_rules! pod {
        ($($t:ty),*) => {$(
            // SAFETY: repr(C), without padding (sizes asserted above), every bit pattern valid.
            unsafe impl aya::Pod for $t {}
        )*};
    }
    pod!(
        Binding, Config, ContactKey, DialogKey, PolicyRule, Record, Set
    );
}
