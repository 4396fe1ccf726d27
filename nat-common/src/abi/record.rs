//! Records of decisions, for people.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::binding::{Binding, TEXT_LEN};
use crate::abi::value::endpoint;
use crate::endpoint::Endpoint;

/// Decision on a message that the PBX sent, or use made of the answer to one, or of the description of media in a message of
/// either side.
///
/// `HISTORY` has two halves, each a ring of the newest: first that of messages that belong to no binding, then that of the others.
/// So a flood of strangers leaves the stories of calls and registrations.
///
/// The record of a description has [`media::VERDICT`] for its verdict. Its original destination is the address of the
/// terminal's first stream, its learned one that of the PBX's. Its events are bits by
/// [`MediaCounter`](crate::abi::MediaCounter), and [`media::BY_PBX`].
///
/// The record of a Request-URI follows that of the request, and has [`REQUEST_URI`](crate::engine::REQUEST_URI) for its verdict.
///
/// [`media::VERDICT`]: crate::engine::media::VERDICT
/// [`media::BY_PBX`]: crate::engine::media::BY_PBX
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Record {
    /// Time, in nanoseconds of `CLOCK_MONOTONIC_COARSE`; 0: never written.
    pub at: u64,
    /// Hash of the Call-ID.
    pub call: u64,
    /// The PBX's socket, as it goes into keys ([`pbx`](crate::tables::key::pbx)).
    pub pbx: u64,
    /// Hashes of both tags, the terminal's first ([`tags`](crate::tables::key::tags)), or 0.
    pub tag: u64,
    /// Address of [`Self::original`].
    pub original_addr: [u64; 2],
    /// Address of [`Self::learned`].
    pub learned_addr: [u64; 2],
    /// Port of [`Self::original`].
    pub original_port: u16,
    /// Port of [`Self::learned`].
    pub learned_port: u16,
    /// Number in CSeq.
    pub cseq: u32,
    /// Events beside the verdict: a bit for each, see [`Counter::event_bit`](crate::abi::Counter::event_bit).
    pub events: u32,
    /// Status of a response; 0 is a request.
    pub status: u16,
    /// A [`Method`](crate::sip::Method) as u8.
    pub method: u8,
    /// Counter of the verdict, a [`Counter`](crate::abi::Counter) as u8.
    pub verdict: u8,
    /// Evidence that chose between the two addresses, a [`Ground`](crate::abi::Ground) as u8.
    pub ground: u8,
    /// Number of the transmission, from 1; 0 if it was not counted.
    pub transmission: u8,
    /// Not 0: only its Contact named the terminal.
    pub weak: u8,
    /// Not 0: the message belongs to a live binding. Records of others do not overwrite this one.
    pub bound: u8,
    /// Unused, zero.
    pub reserved: [u8; 4],
}

impl Record {
    endpoint! {
        /// Original destination. For an answer, the destination of its request.
        original_addr, original_port: original, copy_original, set_original
    }
    endpoint! {
        /// Learned address of the terminal, if known.
        learned_addr, learned_port: learned, copy_learned, set_learned
    }

    /// Writes the text of a binding over the socket, the tags and the addresses, and its length into the transmission.
    #[inline(always)]
    pub fn set_text(&mut self, binding: &Binding) {
        let (words, _) = binding.text.as_chunks::<8>();
        let to = (&raw mut *self).cast::<u64>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            // SAFETY: asserted below. Volatile: the compiler would call `memcpy` for all at once.
            unsafe { to.add(TEXT_AT + index).write_volatile(word) };
        }
        self.transmission = binding.text_len;
    }

    /// Returns the text that [`Self::set_text`] has written.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.as_bytes()[TEXT_AT * 8..][..usize::from(self.transmission).min(TEXT_LEN)]
    }
}

/// Words of a record before its text.
const TEXT_AT: usize = offset_of!(Record, pbx) / 8;

const _: () = {
    assert!(align_of::<Record>() == 8 && TEXT_LEN.is_multiple_of(8));
    assert!(TEXT_AT * 8 + TEXT_LEN == offset_of!(Record, original_port));
};
