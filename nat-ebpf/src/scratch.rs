//! Scratch memory for one packet: data that is too large for the stack, or must lie in memory so that the verifier
//! forgets its values (see [`crate::repeat`]).

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use nat_common::abi::{Binding, Entry, MediaCounter, Record, Table, Value, ValueWords};
use nat_common::bpf::{Repeat, bounded};
use nat_common::bytes::words;
use nat_common::datagram::Datagram;
use nat_common::endpoint::Endpoint;
use nat_common::engine::env::Buffer;
use nat_common::engine::media::Pairing;
use nat_common::engine::{Evidence, Route};
use nat_common::sdp::{self, Description, NoDescription};
use nat_common::sip::Scan;
use nat_common::sip::{Direction, Doubt, Message};
use nat_common::stun::{Request, reply::Reply};
use nat_common::tables::bindings::Room;
use nat_common::tables::hash::{Cursor, Digest};
use nat_common::tables::uri::UriHash;

use crate::frame::{Egress, Hook, Ingress};
use crate::maps::count_media;
use crate::repeat::Callback;
use crate::text::Text;

/// Scratch of each CPU, by direction.
#[map]
static SCRATCH: PerCpuArray<Contents> = PerCpuArray::with_max_entries(2, 0);

/// Number of bindings in scratch: a power of two, so that the verifier can bound it.
const BINDINGS: usize = Buffer::COUNT.next_power_of_two();

#[repr(C)]
struct Contents {
    scan: Scan,
    datagram: Datagram,
    destination: Endpoint,
    bindings: [Binding; BINDINGS],
    room: Room,
    evidence: Evidence,
    route: Route,
    used: Used,
    entry: Entry<ValueWords>,
    copies: [Entry<ValueWords>; Table::COUNT],
    record: Record,
    cursor: Cursor,
    uri: UriHash,
    digest: Digest,
    request: Request,
    reply: Reply,
    handover: Handover,
    pairing: Pairing,
    sdp: sdp::Scan,
    text: Text,
}

/// Reads the usual headers of the message that arrived. Not 0: nothing is unusual.
///
/// Verified once. It also makes one state of all those in which the walk may end.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_usual_in() -> u32 {
    Scratch::of::<Ingress>().map_or(0, |scratch| scratch.read_usual(Direction::In).into())
}

/// Reads the usual headers of the message that the PBX sends, as [`read_usual_in`] does.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_usual_out() -> u32 {
    Scratch::of::<Egress>().map_or(0, |scratch| scratch.read_usual(Direction::Out).into())
}

/// Binding of a request that the PBX sends, until what became of the request is noted with it.
#[repr(C)]
pub(crate) struct Used {
    /// Number of the binding in the draft, a [`Found`](nat_common::tables::bindings::Found); 0: none.
    pub(crate) found: u32,
    /// Not 0: it is a dialog end's.
    pub(crate) is_dialog: u32,
}

/// Results of the programs before, for those behind a tail call.
#[repr(C, align(8))]
pub(crate) struct Handover {
    /// Use that was made of the message, a [`Heard`](nat_common::engine::verdict::Heard) as a number.
    pub(crate) heard: u32,
    /// Action that the packet is to have.
    pub(crate) action: i32,
}

/// Scratch of this CPU for one packet of a direction. A packet may be sent while the arrival of another is handled, but
/// this CPU handles no second packet of the same direction before the first is done. No part is asked for again while a
/// reference to it is in use. Both make the references below sound.
pub(crate) struct Scratch {
    contents: *mut Contents,
    direction: u32,
}

/// Defines a method that returns a reference to a part.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident: $type:ty = $($field:ident).+) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(&self) -> &mut $type {
            // SAFETY: see `Scratch`.
            unsafe { &mut (*self.contents).$($field).+ }
        }
    };
}

#[expect(clippy::mut_from_ref, reason = "see `Scratch`")]
impl Scratch {
    /// Returns the scratch of a hook's direction.
    #[inline(always)]
    pub(crate) fn of<H: Hook>() -> Option<Self> {
        Self::at(H::DIRECTION as u32)
    }

    /// Returns the scratch of a [`Direction`], as a number.
    #[inline(always)]
    pub(crate) fn at(direction: u32) -> Option<Self> {
        let contents = SCRATCH.get_ptr_mut(direction)?;
        Some(Self {
            contents,
            direction,
        })
    }

    /// Returns its [`Direction`], as a number.
    #[inline(always)]
    pub(crate) fn direction(&self) -> u32 {
        self.direction
    }

    /// Socket of the PBX that the datagram comes to, or from.
    #[inline(always)]
    pub(crate) fn socket(&self) -> &Endpoint {
        let datagram = self.datagram();
        if self.direction == Direction::In as u32 {
            &datagram.destination
        } else {
            &datagram.source
        }
    }

    /// The datagram.
    #[inline(always)]
    pub(crate) fn datagram(&self) -> &Datagram {
        // SAFETY: see `Scratch`.
        unsafe { &(*self.contents).datagram }
    }

    /// The message.
    #[inline(always)]
    pub(crate) fn text(&self) -> &Text {
        // SAFETY: see `Scratch`.
        unsafe { &(*self.contents).text }
    }

    /// The message, scanned.
    #[inline(always)]
    pub(crate) fn message(&self) -> &Message {
        // SAFETY: see `Scratch`.
        unsafe { &(*self.contents).scan }.message()
    }

    /// Address of a Contact of the message.
    #[inline(always)]
    pub(crate) fn contact_address(&self, index: usize) -> &Endpoint {
        // SAFETY: see `Scratch`.
        unsafe { &(*self.contents).scan }.contact_address(index)
    }

    part! {
        /// The datagram, to be filled in before it is asked for.
        new_datagram: Datagram = datagram
    }
    part! {
        /// The message, to be filled in before it is asked for.
        new_text: Text = text
    }
    part! {
        /// Destination that the datagram is to have.
        destination: Endpoint = destination
    }
    part! {
        /// Scratch for a search for room.
        room: Room = room
    }
    part! {
        /// Scratch for evidence.
        evidence: Evidence = evidence
    }
    part! {
        /// Scratch for a route.
        route: Route = route
    }
    part! {
        /// Binding of the request.
        used: Used = used
    }
    part! {
        /// Record of this message.
        record: Record = record
    }
    part! {
        /// Position of a hash in the text.
        cursor: Cursor = cursor
    }
    part! {
        /// A URI while it is hashed.
        uri: UriHash = uri
    }
    part! {
        /// Hashes of parts of the message.
        digest: Digest = digest
    }
    part! {
        /// A Binding request.
        request: Request = request
    }
    part! {
        /// Answer to it.
        reply: Reply = reply
    }
    part! {
        /// Results of the programs before.
        handover: Handover = handover
    }
    part! {
        /// Descriptions of both sides.
        pairing: Pairing = pairing
    }

    /// Returns scratch for a binding.
    #[inline(always)]
    pub(crate) fn binding(&self, buffer: Buffer) -> &mut Binding {
        // SAFETY: see `Scratch`.
        unsafe { &mut (*self.contents).bindings[buffer as usize] }
    }

    /// Returns scratch for a binding, by the number of a [`Buffer`].
    #[inline(always)]
    pub(crate) fn binding_of(&self, buffer: u32) -> &mut Binding {
        let buffer = bounded::<BINDINGS>(buffer as usize);
        // SAFETY: see `Scratch`; the number is bounded.
        unsafe {
            &mut *(&raw mut (*self.contents).bindings)
                .cast::<Binding>()
                .add(buffer)
        }
    }

    /// Sets the destination to that of the datagram.
    #[inline(always)]
    pub(crate) fn reset_destination(&self) {
        words::assign(self.destination(), &self.datagram().destination);
    }

    /// Scans the message for what matters in its direction.
    #[inline(always)]
    pub(crate) fn scan<L: Repeat>(&self, direction: Direction) -> Result<(), Doubt> {
        // SAFETY: see `Scratch`.
        let scan = unsafe { &mut (*self.contents).scan };
        scan.walk::<_, L>(self.text());
        let usual = match direction {
            Direction::In => read_usual_in(),
            Direction::Out => read_usual_out(),
        };
        if usual != 0 {
            return Ok(());
        }
        // By callbacks on every kernel: few messages come here, and the verifier then takes a tenth less for the program.
        scan.read_any::<_, Callback>(self.text(), Some(direction))
    }

    /// Reads the headers that the walk has found. False if one is unusual.
    #[inline(always)]
    fn read_usual(&self, direction: Direction) -> bool {
        // SAFETY: see `Scratch`.
        let scan = unsafe { &mut (*self.contents).scan };
        scan.read_usual(self.text(), Some(direction))
    }

    /// Scans the message for its description. False if it has none that can be used.
    #[inline(always)]
    pub(crate) fn describe<L: Repeat>(&self) -> bool {
        // SAFETY: see `Scratch`.
        let (sdp, sip) = unsafe { (&mut (*self.contents).sdp, &(*self.contents).scan) };
        // The machine by callbacks on every kernel: by `may_goto` the verifier of 6.12 took 619,299 instructions.
        match sdp.run::<_, L, Callback>(self.text(), sip.content()) {
            Ok(()) => true,
            Err(why) => {
                match why {
                    NoDescription::Absent => {}
                    NoDescription::Costly => count_media(MediaCounter::Costly),
                    _ => count_media(MediaCounter::Unreadable),
                }
                false
            }
        }
    }

    /// Whether the walk over the headers of the message has found the type of its body.
    #[inline(always)]
    pub(crate) fn has_typed_body(&self) -> bool {
        // SAFETY: see `Scratch`.
        unsafe { &(*self.contents).scan }.content().kind != 0
    }

    /// The description in the message.
    #[inline(always)]
    pub(crate) fn description(&self) -> &Description {
        // SAFETY: see `Scratch`.
        unsafe { &(*self.contents).sdp.description }
    }

    /// Returns an entry to fill in, zeroed.
    #[inline(always)]
    pub(crate) fn entry<V: Value>(&self) -> &mut Entry<V> {
        // SAFETY: see `Scratch`. A value is made of so many words, of which any bits are one.
        unsafe {
            let entry = &raw mut (*self.contents).entry;
            words::clear(&mut *entry);
            &mut *entry.cast()
        }
    }

    /// Returns the entry that was filled in.
    #[inline(always)]
    pub(crate) fn filled<V: Value>(&self) -> &mut Entry<V> {
        // SAFETY: as above.
        unsafe { &mut *(&raw mut (*self.contents).entry).cast() }
    }

    /// Returns scratch for a copy of an entry of a table.
    #[inline(always)]
    pub(crate) fn copy<V: Value>(&self) -> &mut Entry<V> {
        // SAFETY: as above.
        unsafe { &mut *(&raw mut (*self.contents).copies[V::TABLE as usize]).cast() }
    }
}
