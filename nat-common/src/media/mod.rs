//! Streams of media: the source of each is learned, and what the PBX sends to it is rewritten.
//!
//! A slot is the local UDP port at which the PBX receives a stream. [`engine::media`](crate::engine::media) binds slots, from
//! descriptions that the PBX accepted. The functions here handle the packets.
//!
//! Three writers share a slot. One that binds it claims its tag by compare-and-swap (busy bit), writes all fields and
//! releases it with the next generation. Arriving packets change only the latch, by compare-and-swap; it holds bits of
//! the generation, so that no packet latches a slot that was bound again meanwhile. A reader reads the tag before and after the
//! fields.
//!
//! ```
//! use nat_common::abi::MediaSlot;
//! use nat_common::endpoint::Endpoint;
//! use nat_common::media::{self, Arrival, Arrived, Binding, Departed, Packet};
//!
//! let mut slot = MediaSlot::default();
//! let (advertised, nat) = (Endpoint::v4([192, 168, 1, 10], 4000), Endpoint::v4([60, 17, 196, 2], 50123));
//! let binding = Binding { advertised, peer: nat.addr, ..Binding::default() };
//! // SAFETY: the slot is valid, and nobody else uses it.
//! unsafe {
//!     media::bind(&raw mut slot, &binding);
//!     assert_eq!(media::depart(&raw mut slot, &advertised), Departed::Waiting);
//!
//!     let packet = Packet::read(172, 0x80, 0);
//!     let arrival = Arrival { source: nat, router: 0x0200_0000_0001, packet, tick: 0 };
//!     assert_eq!(media::arrive(&raw mut slot, &arrival), Arrived::Latched);
//!     assert_eq!(media::depart(&raw mut slot, &advertised), Departed::Left);
//! }
//! ```

mod latch;
mod packet;
mod slot;

pub use latch::{Latch, LatchFlags};
pub use packet::{Packet, PacketKind};
pub use slot::{
    Arrival, Arrived, Binding, Bound, Departed, advertised_source, arrive, bind, clear, depart,
    describe, extend, is_due, is_intruder, is_used, note_dropped, open, owner, peer,
};
