//! The latch of a slot: the learned port, in one word, and the rules by which it changes.

use crate::abi::{MediaFlags, SECOND, ticks};
use crate::media::packet::{Packet, PacketKind};

bitflags::bitflags! {
    /// State of a [`Latch`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LatchFlags: u16 {
        /// The port is the learned one.
        const LATCHED = 1;
        /// It was learned from a packet that any other stream of the terminal may send.
        const WEAK = 1 << 1;
        /// The port is that of the stream before, whose late packets must not latch for a second.
        const BARRED = 1 << 2;
    }
}

/// Number of bits below the generation.
const GENERATION_SHIFT: u32 = 4;

/// Ticks between two notes of the time at which the stream was last seen.
const NOTE: u32 = 256;
/// Ticks of silence after which another port is believed: of a stream with, and without, a source of its own.
const SILENCE: u32 = ticks(SECOND) as u32;
const LONG_SILENCE: u32 = ticks(2 * SECOND) as u32;
/// Ticks of silence after which a stream is no longer guarded.
const GUARDED: u32 = ticks(30 * SECOND) as u32;
/// Ticks for which the stream before is barred.
const BAR: u32 = ticks(SECOND) as u32;
/// Ticks after the slot was bound in which the advertised port is preferred.
const SETTLING: u64 = ticks(3 * SECOND);

/// Learned port of a slot, its state, and the time at which it was last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latch {
    /// The port.
    pub port: u16,
    /// State.
    pub flags: LatchFlags,
    /// Low bits of the slot's generation.
    pub generation: u16,
    /// Time, in ticks modulo 2^32.
    pub seen: u32,
}

impl Latch {
    /// Reads a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let state = (word >> 16) as u16;
        Self {
            port: word as u16,
            flags: LatchFlags::from_bits_truncate(state),
            generation: state >> GENERATION_SHIFT,
            seen: (word >> 32) as u32,
        }
    }

    /// Returns it as a word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        let state = self.generation << GENERATION_SHIFT | self.flags.bits();
        (self.seen as u64) << 32 | (state as u64) << 16 | self.port as u64
    }

    /// Returns the latch of a slot that is bound in a generation to a stream of another kind at the same addresses: the socket
    /// is the same, but any packet of the new kind is believed more.
    #[inline(always)]
    #[must_use]
    pub const fn kept(before: Self, generation: u64) -> Self {
        Self {
            flags: if before.flags.contains(LatchFlags::LATCHED) {
                LatchFlags::LATCHED.union(LatchFlags::WEAK)
            } else {
                before.flags
            },
            generation: generation as u16 & (u16::MAX >> GENERATION_SHIFT),
            ..before
        }
    }

    /// Returns the latch of a slot that is bound in a generation to another stream: empty, with the stream before barred.
    #[inline(always)]
    #[must_use]
    pub const fn bound(before: Self, generation: u64, tick: u32) -> Self {
        let barred = before.flags.contains(LatchFlags::LATCHED);
        Self {
            port: if barred { before.port } else { 0 },
            flags: if barred {
                LatchFlags::BARRED
            } else {
                LatchFlags::empty()
            },
            generation: generation as u16 & (u16::MAX >> GENERATION_SHIFT),
            seen: tick,
        }
    }
}

/// What a packet does to a latch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// It comes from the learned port, and the new word says when.
    Seen,
    /// It is the first one.
    Latched,
    /// The learned port changes.
    Again,
    /// It comes from another port, which is not believed.
    Rival,
}

/// Packet for a slot, beside what the latch holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) packet: Packet,
    /// Source port.
    pub(super) port: u16,
    /// Source of the stream that latched; 0: unknown.
    pub(super) ssrc: u32,
    /// Port in the terminal's description.
    pub(super) advertised_port: u16,
    pub(super) slot: MediaFlags,
    /// Ticks since the slot was bound.
    pub(super) age: u64,
    /// Time, in ticks modulo 2^32.
    pub(super) tick: u32,
}

/// Whether a packet from the terminal's address leaves this latch as it is, as most packets do: it comes from the learned port,
/// which a packet of this stream alone has shown, and another came a moment ago.
#[inline(always)]
pub(super) const fn is_steady(word: u64, port: u16, tick: u32) -> bool {
    const STATE: u32 = u16::MAX as u32 | LEARNED << 16 | (LatchFlags::WEAK.bits() as u32) << 16;
    const LEARNED: u32 = LatchFlags::LATCHED.bits() as u32;
    let seen = (word >> 32) as u32;
    word as u32 & STATE == port as u32 | LEARNED << 16 && tick.wrapping_sub(seen) < NOTE
}

impl Latch {
    /// Whether the stream was heard within the last two seconds.
    #[inline(always)]
    pub(super) const fn is_heard(self, tick: u32) -> bool {
        self.was_heard(tick, LONG_SILENCE)
    }

    /// Whether the stream has a source, which is guarded: it was heard within half a minute. A port that serves another call by
    /// then must not be guarded for this one.
    #[inline(always)]
    pub(super) const fn is_guarded(self, tick: u32) -> bool {
        self.was_heard(tick, GUARDED)
    }

    #[inline(always)]
    const fn was_heard(self, tick: u32, limit: u32) -> bool {
        self.flags.contains(LatchFlags::LATCHED)
            && (tick.wrapping_sub(self.seen) as i32) < limit as i32
    }

    /// Applies a packet from the terminal's address.
    #[inline(always)]
    pub(super) fn hear(&mut self, heard: &Heard) -> Effect {
        let strong = is_strong(&heard.packet, heard.slot);
        let silent = heard.tick.wrapping_sub(self.seen);
        // A clock of another CPU may be behind.
        let silent = if silent > u32::MAX / 2 { 0 } else { silent };
        let same_port = self.port == heard.port;
        if !self.flags.contains(LatchFlags::LATCHED) {
            if self.flags.contains(LatchFlags::BARRED) && same_port && silent < BAR {
                return Effect::Rival;
            }
            self.take(heard, strong);
            return Effect::Latched;
        }
        let was_weak = self.flags.contains(LatchFlags::WEAK);
        if same_port {
            if strong && was_weak || silent >= NOTE {
                let strong = strong || !was_weak;
                self.take(heard, strong);
                return Effect::Seen;
            }
            return Effect::None;
        }
        let has_source = heard.packet.kind == PacketKind::Rtp;
        let same_source = has_source && heard.ssrc != 0 && heard.packet.ssrc == heard.ssrc;
        let preferred = heard.age < SETTLING && heard.port == heard.advertised_port;
        let patience = if has_source { SILENCE } else { LONG_SILENCE };
        if strong && (was_weak || same_source || preferred || silent >= patience) {
            self.take(heard, true);
            return Effect::Again;
        }
        Effect::Rival
    }

    #[inline(always)]
    fn take(&mut self, heard: &Heard, strong: bool) {
        self.port = heard.port;
        self.seen = heard.tick;
        self.flags = if strong {
            LatchFlags::LATCHED
        } else {
            LatchFlags::LATCHED.union(LatchFlags::WEAK)
        };
    }
}

/// Whether a packet is one that only this stream of the terminal has. Others, as RTCP on the port of RTP, are believed until
/// such a one comes.
#[inline(always)]
fn is_strong(packet: &Packet, slot: MediaFlags) -> bool {
    if slot.contains(MediaFlags::UDPTL) {
        return packet.is_low && packet.kind == PacketKind::Other;
    }
    if slot.contains(MediaFlags::RTCP) {
        return packet.kind == PacketKind::Rtcp;
    }
    packet.kind == PacketKind::Rtp
}
