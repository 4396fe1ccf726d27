//! Records of decisions.

use crate::bytes::words::Words;
use crate::endpoint::Endpoint;

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
    /// What happened beside it: a bit for each event, see [`crate::abi::Counter::event_bit`].
    pub events: u32,
    /// Status of a response; 0 is a request.
    pub status: u16,
    /// A [`crate::sip::Method`] as u8.
    pub method: u8,
    /// The verdict, a [`crate::abi::Counter`] as u8.
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

const _: () = assert!(size_of::<Record>() == 72);

// SAFETY: repr(C), of aligned words (asserted where used), integers only.
unsafe impl Words for Record {}
