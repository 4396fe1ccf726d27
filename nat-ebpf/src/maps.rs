//! The maps. Their types and meaning are in `nat_common::abi`.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray};
use nat_common::abi::{Binding, Config, ContactKey, DialogKey, Entry, PolicyRule, Set};
use nat_common::counter::Counter;
use nat_common::engine::Table;
use nat_common::message::{Doubt, Message};
use nat_common::scan::Scan;

use crate::packet::Payload;
use crate::repeat::MayGoto;

/// Settings of the agent.
#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// Policy by learned address.
#[map]
pub(crate) static POLICY: LpmTrie<[u8; 16], PolicyRule> = LpmTrie::with_max_entries(4096, 0);

/// Active dialog ends. The agent sets how many there may be.
#[map]
pub(crate) static DIALOGS: HashMap<DialogKey, Binding> =
    HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// Active contacts.
#[map]
pub(crate) static CONTACTS: HashMap<ContactKey, Binding> =
    HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// Transactions that terminals opened.
#[map]
pub(crate) static INBOUND: Array<Set> = Array::with_max_entries(16_384, 0);

/// Transactions that the PBX opened.
#[map]
pub(crate) static OUTBOUND: Array<Set> = Array::with_max_entries(16_384, 0);

/// Dialog ends that the PBX has not accepted yet.
#[map]
pub(crate) static PENDING: Array<Set> = Array::with_max_entries(4096, 0);

/// What happened how often.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// Room for the state of one packet in each direction: too large for the stack, and kept in memory so
/// that the verifier forgets its values (see [`crate::repeat`]).
#[map]
static SCRATCH: PerCpuArray<Room> = PerCpuArray::with_max_entries(2, 0);

#[repr(C)]
struct Room {
    scan: Scan,
    draft: Binding,
    entry: Entry,
    copies: [Entry; 3],
}

/// Which program asks. A packet may be sent while another one's arrival is worked on.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    In,
    Out,
}

/// This CPU's room for one packet.
pub(crate) struct Scratch(*mut Room);

/// The room of a direction.
#[inline(always)]
pub(crate) fn scratch(direction: Direction) -> Option<Scratch> {
    SCRATCH.get_ptr_mut(direction as u32).map(Scratch)
}

impl Scratch {
    /// Scans a message into the room.
    #[inline(always)]
    pub(crate) fn scan(&self, payload: &Payload) -> Result<(), Doubt> {
        // SAFETY: the room is this CPU's own, and no other packet of this direction is worked on before
        // this one is done.
        let scan = unsafe { &mut (*self.0).scan };
        *scan = Scan::NEW;
        scan.run::<_, MayGoto>(payload)
    }

    /// The message last scanned.
    #[inline(always)]
    pub(crate) fn message(&self) -> &Message {
        // SAFETY: as in `scan`.
        unsafe { &(*self.0).scan.message }
    }

    /// Room for a binding.
    #[inline(always)]
    pub(crate) fn draft(&self) -> *mut Binding {
        // SAFETY: the map's value is valid.
        unsafe { &raw mut (*self.0).draft }
    }

    /// Room for an entry, emptied.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the room is memory of this CPU alone, used by one packet")]
    pub(crate) fn entry(&self) -> &mut Entry {
        // SAFETY: as in `scan`; what was given out before is no more in use.
        let entry = unsafe { &mut (*self.0).entry };
        *entry = Entry::default();
        entry
    }

    /// Room for a copy of an entry of a table.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the room is memory of this CPU alone, used by one packet")]
    pub(crate) fn copy(&self, table: Table) -> &mut Entry {
        // SAFETY: as in `scan`; what was given out for this table before is no more in use.
        unsafe { &mut (*self.0).copies[table as usize] }
    }
}

/// Settings of the agent.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Adds one to a counter.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(cell) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the value is valid; only this CPU writes it. An interrupted addition may be lost.
        unsafe { *cell += 1 };
    }
}
