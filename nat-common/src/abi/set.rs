//! Sets of slots, and the values in them.

use core::array;
use core::mem::offset_of;

use crate::bytes::words::{self, Words};
use crate::endpoint::Endpoint;

/// What a slot of a set-associative table holds. See [`crate::tables::slots`].
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
    /// Of each slot: hash, generation, busy bit. See [`crate::tables::slots`]; 0 is a slot never used.
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

const _: () = {
    assert!(size_of::<Entry>() == 56);
    assert!(CONTENT_WORDS * size_of::<u64>() == offset_of!(Entry, at));
    assert!(size_of::<Set>() == 256);
};

// SAFETY: repr(C), of aligned words (asserted where used), integers only.
unsafe impl Words for Entry {}
