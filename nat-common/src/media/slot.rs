//! Access to a slot in shared memory.

use zerocopy::{FromZeros, Immutable, KnownLayout};

use crate::abi::{DialogKey, MediaFlags, MediaSlot, age, ticks};
use crate::bpf::atomic::Word;
use crate::endpoint::Endpoint;
use crate::media::latch::{Effect, Heard, Latch, LatchFlags, is_steady};
use crate::media::packet::Packet;

/// Bit of a tag while its slot is written.
const BUSY: u64 = 1;
/// Bit of the tag of a slot that is used.
const USED: u64 = 1 << 1;
/// Lowest bit of the generation.
const GENERATION: u64 = 1 << 2;

/// Stream that a slot is bound to.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
pub struct Binding {
    /// Address and port in the terminal's description.
    pub advertised: Endpoint,
    /// Address of the terminal's signalling.
    pub peer: [u64; 2],
    /// The terminal's dialog end.
    pub owner: DialogKey,
    /// Kind of the stream.
    pub flags: MediaFlags,
    /// Time, in nanoseconds.
    pub now: u64,
    /// Time from which on the slot counts no more.
    pub expires: u64,
}

/// Outcome of binding a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is bound to the stream.
    New,
    /// It was before, and what it has learned stays.
    Same,
    /// It stays bound to another stream: an early answer does not replace an accepted one of the same call.
    Accepted,
    /// It stays bound to the stream of another dialog end, which goes on.
    Taken,
    /// Another CPU was writing.
    Busy,
}

/// Packet that arrived at a slot.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its source.
    pub source: Endpoint,
    /// MAC address from which it came.
    pub router: u64,
    /// Its first bytes.
    pub packet: Packet,
    /// Time, in ticks.
    pub tick: u64,
}

/// What became of a packet that arrived. It passes in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// The slot is not used, or just being written.
    Unused,
    /// It comes from another address than the terminal's.
    Stranger,
    /// It comes from the terminal's address, and from another port than the stream.
    Rival,
    /// It comes from the learned address.
    Known,
    /// The stream's source is learned.
    Latched,
    /// The stream's source has changed.
    Relatched,
}

/// What becomes of a packet that the PBX sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departed {
    /// The slot is not used, or just being written.
    Unused,
    /// It goes to another destination than the stream's.
    Elsewhere,
    /// The stream's source is not learned yet.
    Waiting,
    /// Its destination needs no change.
    Left,
    /// The stream's source is not learned yet. It goes to the terminal's NAT, which forwards the advertised port.
    Forwarded {
        /// The NAT's address, and that port.
        to: Endpoint,
    },
    /// It goes to the learned address.
    Rewritten {
        /// The learned address.
        to: Endpoint,
        /// MAC address of the router from which the stream comes.
        router: u64,
    },
}

/// Returns the word of a field.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
unsafe fn word(field: *mut u64) -> Word {
    // SAFETY: a field of a valid slot, and only accessed so.
    unsafe { Word::new(field) }
}

/// Reads a field that others may write meanwhile.
macro_rules! read {
    ($slot:expr, $($field:tt)+) => {
        // SAFETY: the caller promises a valid slot.
        unsafe { (&raw const (*$slot).$($field)+).read_volatile() }
    };
}

/// Writes a field that others may read meanwhile.
macro_rules! write {
    ($slot:expr, $value:expr => $($field:tt)+) => {
        // SAFETY: the caller promises a valid slot.
        unsafe { (&raw mut (*$slot).$($field)+).write_volatile($value) }
    };
}

/// Whether a slot is used. The answer may be old when it is read.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
#[must_use]
pub unsafe fn is_used(slot: *mut MediaSlot) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { word(&raw mut (*slot).tag) }.peek() & USED != 0
}

/// Binds a slot to a stream. The newer description wins, unless the stream of another dialog end goes on: whoever can have the
/// PBX relay a description, as a proxy does, could name the port of somebody else's call in it. A stream goes on if its terminal
/// is heard, and, where another call wants the port, if the PBX has sent to it. An early stream gives way to another fork of its
/// call. A description with the same address changes nothing of what was learned. If only the kind changes, as from audio to fax,
/// the learned port stays until a packet of the new kind comes from another one.
///
/// # Safety
/// `slot` must be valid for reads and writes, aligned to eight bytes, and only ever be accessed by these functions, or to be
/// read.
#[inline(always)]
pub unsafe fn bind(slot: *mut MediaSlot, binding: &Binding) -> Bound {
    // SAFETY: by the caller's promise.
    let (tag, latch) = unsafe { (word(&raw mut (*slot).tag), word(&raw mut (*slot).latch)) };
    let before = tag.load();
    let early = binding.flags.contains(MediaFlags::EARLY);
    let flags = read!(slot, flags);
    let used = before & USED != 0;
    let same_call = read!(slot, owner.call) == binding.owner.call;
    let same_owner = same_call && read!(slot, owner.tag) == binding.owner.tag;
    let live = read!(slot, expires) > binding.now;
    if used && live && early && same_call && !same_owner && !flags.contains(MediaFlags::EARLY) {
        return Bound::Accepted;
    }
    let known = Latch::from_word(latch.peek());
    let gives_way = same_owner || same_call && flags.contains(MediaFlags::EARLY);
    // An account can have the PBX relay a description of a port that no call has yet, and send there. The PBX sends it nothing.
    let served = same_call || read!(slot, rewritten) != 0 || !flags.contains(MediaFlags::REWRITE);
    if used && live && !gives_way && served && known.is_heard(ticks(binding.now) as u32) {
        return Bound::Taken;
    }
    if before & BUSY != 0 || !tag.replace(before, before | BUSY) {
        return Bound::Busy;
    }
    let kind = MediaFlags::RTCP.union(MediaFlags::UDPTL);
    let same_place = used
        && live
        && read!(slot, advertised_port) == binding.advertised.port as u16
        && read!(slot, advertised_addr[1]) == binding.advertised.addr[1]
        && read!(slot, advertised_addr[0]) == binding.advertised.addr[0]
        && read!(slot, peer_addr[1]) == binding.peer[1]
        && read!(slot, peer_addr[0]) == binding.peer[0]
        && same_owner;
    let same = same_place && flags.intersection(kind) == binding.flags.intersection(kind);
    let mut after = before | USED;
    if !same {
        after = after.wrapping_add(GENERATION);
        let known = Latch::from_word(latch.load());
        let tick = ticks(binding.now) as u32;
        let bound = if same_place {
            Latch::kept(known, after >> 2)
        } else {
            Latch::bound(known, after >> 2, tick)
        };
        latch.store(bound.word());
        write!(slot, 0 => ssrc);
        write!(slot, binding.advertised.addr[0] => advertised_addr[0]);
        write!(slot, binding.advertised.addr[1] => advertised_addr[1]);
        write!(slot, binding.advertised.port as u16 => advertised_port);
        write!(slot, binding.peer[0] => peer_addr[0]);
        write!(slot, binding.peer[1] => peer_addr[1]);
        write!(slot, binding.owner.call => owner.call);
        write!(slot, binding.owner.tag => owner.tag);
        write!(slot, binding.now => created);
        write!(slot, 0 => stranger);
        write!(slot, 0 => received);
        write!(slot, 0 => rewritten);
        write!(slot, 0 => strangers);
        write!(slot, 0 => dropped);
    }
    write!(slot, binding.flags => flags);
    write!(slot, binding.expires => expires);
    write!(slot, ticks(binding.now) => checked);
    tag.store(after);
    if same { Bound::Same } else { Bound::New }
}

/// Returns the owner of a slot that is used.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
#[must_use]
pub unsafe fn owner(slot: *mut MediaSlot) -> Option<DialogKey> {
    // SAFETY: by the caller's promise.
    if !unsafe { is_used(slot) } {
        return None;
    }
    Some(DialogKey {
        call: read!(slot, owner.call),
        tag: read!(slot, owner.tag),
    })
}

/// Empties a slot. Returns false if it was empty, or another CPU was writing.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn clear(slot: *mut MediaSlot) -> bool {
    // SAFETY: by the caller's promise.
    let tag = unsafe { word(&raw mut (*slot).tag) };
    let before = tag.load();
    before & (BUSY | USED) == USED && tag.replace(before, (before & !USED).wrapping_add(GENERATION))
}

/// Whether the owner of a slot was last looked at `due` ticks ago. If so, it counts as looked at now.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn is_due(slot: *mut MediaSlot, tick: u64, due: u64) -> bool {
    let is_due = age(tick, read!(slot, checked)) >= due;
    if is_due {
        write!(slot, tick => checked);
    }
    is_due
}

/// Sets the time until which a slot counts.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn extend(slot: *mut MediaSlot, expires: u64) {
    write!(slot, expires => expires);
}

/// Copies the stream that a slot is bound to. The copy may mix two streams: a later [`bind`] with it makes one stream of it,
/// which the next look at the owner corrects.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn describe(slot: *mut MediaSlot, to: &mut Binding) {
    to.advertised.addr[0] = read!(slot, advertised_addr[0]);
    to.advertised.addr[1] = read!(slot, advertised_addr[1]);
    to.advertised.port = u32::from(read!(slot, advertised_port));
    to.peer[0] = read!(slot, peer_addr[0]);
    to.peer[1] = read!(slot, peer_addr[1]);
    to.owner.call = read!(slot, owner.call);
    to.owner.tag = read!(slot, owner.tag);
    to.flags = read!(slot, flags);
    to.expires = read!(slot, expires);
}

/// Opens a slot to the packets of others, until a description binds it again: the PBX has named its port.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn open(slot: *mut MediaSlot) {
    // SAFETY: by the caller's promise.
    let tag = unsafe { word(&raw mut (*slot).tag) };
    let before = tag.load();
    if before & (BUSY | USED) != USED || !tag.replace(before, before | BUSY) {
        return;
    }
    let flags = read!(slot, flags);
    write!(slot, flags.union(MediaFlags::OPEN) => flags);
    tag.store(before);
}

/// Whether a packet from an address is one that the guard may drop: the terminal's own packets come from another one, and its
/// description names another one. A private address that is to be rewritten cannot send from here, so it is nobody's. While it
/// is not sure whose the port is, nobody's packet is.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn is_intruder(slot: *mut MediaSlot, source: &Endpoint, tick: u64) -> bool {
    // SAFETY: by the caller's promise.
    let (tag, latch) = unsafe { (word(&raw mut (*slot).tag), word(&raw mut (*slot).latch)) };
    let before = tag.load();
    let known = Latch::from_word(latch.peek());
    let flags = read!(slot, flags);
    let peer = Endpoint {
        addr: [read!(slot, peer_addr[0]), read!(slot, peer_addr[1])],
        port: 1,
        reserved: 0,
    };
    let advertised = Endpoint {
        addr: [
            read!(slot, advertised_addr[0]),
            read!(slot, advertised_addr[1]),
        ],
        port: 1,
        reserved: 0,
    };
    let is_whole = before & (BUSY | USED) == USED && tag.load() == before;
    let unsure = MediaFlags::EARLY.union(MediaFlags::OPEN);
    let unreachable = flags.contains(MediaFlags::REWRITE) && advertised.is_private();
    is_whole
        && !flags.intersects(unsure)
        && known.is_guarded(tick as u32)
        && !is_same_host(source, &peer)
        && (unreachable || !is_same_host(source, &advertised))
}

/// Returns the address of the terminal's signalling.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
#[must_use]
pub unsafe fn peer(slot: *mut MediaSlot) -> Endpoint {
    Endpoint {
        addr: [read!(slot, peer_addr[0]), read!(slot, peer_addr[1])],
        port: 0,
        reserved: 0,
    }
}

/// Counts a packet that was dropped.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn note_dropped(slot: *mut MediaSlot) {
    let dropped = read!(slot, dropped);
    write!(slot, dropped.wrapping_add(1) => dropped);
}

/// Returns the word that tells a host from others: an IPv4 address, or the /64 of an IPv6 one, in which a host has many.
#[inline(always)]
const fn host_of(endpoint: &Endpoint) -> u64 {
    if endpoint.is_v4() {
        endpoint.addr[1]
    } else {
        endpoint.addr[0]
    }
}

/// Whether two addresses are one host's, as far as can be told.
#[inline(always)]
const fn is_same_host(a: &Endpoint, b: &Endpoint) -> bool {
    a.is_v4() == b.is_v4() && host_of(a) == host_of(b)
}

/// Learns from a packet that arrived.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn arrive(slot: *mut MediaSlot, arrival: &Arrival) -> Arrived {
    // SAFETY: by the caller's promise.
    let (tag, latch) = unsafe { (word(&raw mut (*slot).tag), word(&raw mut (*slot).latch)) };
    if tag.load() & (BUSY | USED) != USED {
        return Arrived::Unused;
    }
    let before = latch.peek();
    let peer = [read!(slot, peer_addr[0]), read!(slot, peer_addr[1])];
    if arrival.source.addr[1] != peer[1] || arrival.source.addr[0] != peer[0] {
        let strangers = read!(slot, strangers);
        write!(slot, strangers.wrapping_add(1) => strangers);
        write!(slot, host_of(&arrival.source) => stranger);
        return Arrived::Stranger;
    }
    let ssrc = read!(slot, ssrc);
    let (port, tick) = (arrival.source.port as u16, arrival.tick as u32);
    let mut arrived = Arrived::Known;
    if !is_steady(before, port, tick) {
        let mut known = Latch::from_word(before);
        let effect = known.hear(&Heard {
            packet: arrival.packet,
            port,
            ssrc,
            advertised_port: read!(slot, advertised_port),
            slot: read!(slot, flags),
            age: age(arrival.tick, ticks(read!(slot, created))),
            tick,
        });
        arrived = match effect {
            Effect::Rival => {
                let strangers = read!(slot, strangers);
                write!(slot, strangers.wrapping_add(1) => strangers);
                return Arrived::Rival;
            }
            Effect::Latched => Arrived::Latched,
            Effect::Again => Arrived::Relatched,
            Effect::None | Effect::Seen => Arrived::Known,
        };
        if effect != Effect::None {
            if !latch.replace(before, known.word()) {
                // Another packet was faster, or the slot is bound to another stream.
                return Arrived::Known;
            }
            write!(slot, arrival.router => router);
        }
    }
    if arrival.packet.ssrc != 0 && arrival.packet.ssrc != ssrc {
        write!(slot, arrival.packet.ssrc => ssrc);
    }
    let received = read!(slot, received);
    write!(slot, received.wrapping_add(1) => received);
    arrived
}

/// Decides where a packet of the PBX goes, which it sends from the slot's port to `to`.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn depart(slot: *mut MediaSlot, to: &Endpoint) -> Departed {
    // SAFETY: by the caller's promise.
    let (tag, latch) = unsafe { (word(&raw mut (*slot).tag), word(&raw mut (*slot).latch)) };
    let before = tag.load();
    if before & (BUSY | USED) != USED {
        return Departed::Unused;
    }
    let here = read!(slot, advertised_addr[1]) == to.addr[1]
        && u32::from(read!(slot, advertised_port)) == to.port
        && read!(slot, advertised_addr[0]) == to.addr[0];
    let known = Latch::from_word(latch.peek());
    let flags = read!(slot, flags);
    let learned = Endpoint {
        addr: [read!(slot, peer_addr[0]), read!(slot, peer_addr[1])],
        port: u32::from(known.port),
        reserved: 0,
    };
    let router = read!(slot, router);
    if tag.load() != before {
        return Departed::Unused;
    }
    if !here {
        return Departed::Elsewhere;
    }
    let latched = known.flags.contains(LatchFlags::LATCHED);
    let to_nat = MediaFlags::FORWARDED.union(MediaFlags::REWRITE);
    if !latched && !flags.contains(to_nat) {
        return Departed::Waiting;
    }
    let learned = Endpoint {
        port: if latched { learned.port } else { to.port },
        ..learned
    };
    if !flags.contains(MediaFlags::REWRITE) || learned == *to {
        return Departed::Left;
    }
    let rewritten = read!(slot, rewritten);
    write!(slot, rewritten.wrapping_add(1) => rewritten);
    if !latched {
        return Departed::Forwarded { to: learned };
    }
    Departed::Rewritten {
        to: learned,
        router,
    }
}

/// Returns the address and port to which the PBX sends, if a packet comes from the learned source of the stream, and that is
/// another: a PBX may expect its packets from there.
///
/// # Safety
/// As for [`bind`].
#[inline(always)]
pub unsafe fn advertised_source(slot: *mut MediaSlot, source: &Endpoint) -> Option<Endpoint> {
    // SAFETY: by the caller's promise.
    let (tag, latch) = unsafe { (word(&raw mut (*slot).tag), word(&raw mut (*slot).latch)) };
    let before = tag.load();
    let known = Latch::from_word(latch.peek());
    let flags = read!(slot, flags);
    let advertised = Endpoint {
        addr: [
            read!(slot, advertised_addr[0]),
            read!(slot, advertised_addr[1]),
        ],
        port: u32::from(read!(slot, advertised_port)),
        reserved: 0,
    };
    let peer = [read!(slot, peer_addr[0]), read!(slot, peer_addr[1])];
    let is_learned = known.flags.contains(LatchFlags::LATCHED)
        && u32::from(known.port) == source.port
        && peer[1] == source.addr[1]
        && peer[0] == source.addr[0];
    let is_whole = before & (BUSY | USED) == USED && tag.load() == before;
    let wanted = is_whole
        && is_learned
        && flags.contains(MediaFlags::REWRITE)
        && advertised.is_v4() == source.is_v4()
        && advertised != *source;
    wanted.then_some(advertised)
}
