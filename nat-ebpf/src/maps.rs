//! The maps. Their types and meaning are in `nat_common::abi`.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray};
use nat_common::abi::Counter;
use nat_common::abi::{
    Binding, Config, ContactKey, DialogKey, Entry, PolicyRule, Rate, Record, Set,
};
use nat_common::bpf::Repeat;
use nat_common::bpf::atomic::Word;
use nat_common::bytes::words;
use nat_common::endpoint::Endpoint;
use nat_common::engine::{Env, TABLES, Table};
use nat_common::sip::Scan;
use nat_common::sip::{Direction, Doubt, Message};
use nat_common::stun::{self, Request, reply::Reply};
use nat_common::tables::buckets::{self, Buckets};
use nat_common::tables::hash::{Cursor, Digest};

use crate::packet::Datagram;
use crate::text::Text;

/// A process could map it. None does; but its values then begin at a page, and so each at a cache line, and not somewhere in
/// one.
const ALIGNED: u32 = BPF_F_MMAPABLE;

/// Settings of the agent.
#[map]
static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// Policy by learned address.
#[map]
pub(crate) static POLICY: LpmTrie<[u64; 2], PolicyRule> = LpmTrie::with_max_entries(4096, 0);

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
pub(crate) static INBOUND: Array<Set> = Array::with_max_entries(16_384, ALIGNED);

/// Transactions that the PBX opened.
#[map]
pub(crate) static OUTBOUND: Array<Set> = Array::with_max_entries(16_384, ALIGNED);

/// Dialog ends that the PBX has not accepted yet.
#[map]
pub(crate) static PENDING: Array<Set> = Array::with_max_entries(4096, ALIGNED);

/// Learned addresses, and whether they answer.
#[map]
pub(crate) static PEERS: Array<Set> = Array::with_max_entries(4096, ALIGNED);

/// Datagrams that the PBX sends in fragments.
#[map]
pub(crate) static FRAGMENTS: Array<Set> = Array::with_max_entries(1024, ALIGNED);

/// Addresses and subnets of this host.
#[map]
static ADDRESSES: LpmTrie<[u64; 2], u32> = LpmTrie::with_max_entries(4096, 0);

/// What sources of STUN requests may still send.
#[map]
pub(crate) static BUCKETS: Array<Buckets> = Array::with_max_entries(1, ALIGNED);

/// Where STUN requests come from.
#[map]
pub(crate) static STUN: Array<Set> = Array::with_max_entries(1, ALIGNED);

/// What was decided, the oldest overwritten.
#[map]
static HISTORY: Array<Record> = Array::with_max_entries(65_536, 0);

/// How many records were written to `HISTORY`.
#[map]
static WRITTEN: Array<u64> = Array::with_max_entries(1, 0);

/// What happened how often.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// Room for one packet in each direction: what is too large for the stack, and what must lie in memory so
/// that the verifier forgets its values (see [`crate::repeat`]).
#[map]
static SCRATCH: PerCpuArray<Contents> = PerCpuArray::with_max_entries(2, 0);

#[repr(C)]
struct Contents {
    scan: Scan,
    datagram: Datagram,
    aim: Endpoint,
    draft: Binding,
    entry: Entry,
    copies: [Entry; TABLES],
    record: Record,
    cursor: Cursor,
    digest: Digest,
    request: Request,
    reply: Reply,
    text: Text,
}

/// This CPU's room for one packet of a direction: one may be sent while the arrival of another is worked on. No other packet
/// of that direction is worked on by this CPU before this one is done, and no part is asked for again while the answer of
/// before is in use: that makes the references below sound.
pub(crate) struct Room {
    contents: *mut Contents,
    direction: u32,
}

#[expect(clippy::mut_from_ref, reason = "see `Room`")]
impl Room {
    #[inline(always)]
    pub(crate) fn of(direction: Direction) -> Option<Self> {
        Self::at(direction as u32)
    }

    /// The room of a [`Direction`], as a number.
    #[inline(always)]
    pub(crate) fn at(direction: u32) -> Option<Self> {
        let contents = SCRATCH.get_ptr_mut(direction)?;
        Some(Self {
            contents,
            direction,
        })
    }

    /// Its [`Direction`], as a number.
    #[inline(always)]
    pub(crate) fn direction(&self) -> u32 {
        self.direction
    }

    /// The datagram.
    #[inline(always)]
    pub(crate) fn datagram(&self) -> &Datagram {
        // SAFETY: see `Room`.
        unsafe { &(*self.contents).datagram }
    }

    /// Room for the datagram, before anybody asks for it.
    #[inline(always)]
    pub(crate) fn new_datagram(&self) -> &mut Datagram {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).datagram }
    }

    /// The datagram goes to its destination until that is changed.
    #[inline(always)]
    pub(crate) fn aim_as_meant(&self) {
        // SAFETY: see `Room`.
        unsafe {
            words::copy(
                &raw const (*self.contents).datagram.destination,
                &raw mut (*self.contents).aim,
            );
        };
    }

    /// Where the datagram goes.
    #[inline(always)]
    pub(crate) fn aim(&self) -> &mut Endpoint {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).aim }
    }

    /// Scans the message, for what is wanted of it in a direction.
    #[inline(always)]
    pub(crate) fn scan<L: Repeat>(&self, direction: Direction) -> Result<(), Doubt> {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).scan }.run::<_, L>(self.text(), Some(direction))
    }

    /// The message.
    #[inline(always)]
    pub(crate) fn text(&self) -> &Text {
        // SAFETY: see `Room`.
        unsafe { &(*self.contents).text }
    }

    /// Room for the message, before anybody asks for it.
    #[inline(always)]
    pub(crate) fn new_text(&self) -> &mut Text {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).text }
    }

    /// The message last scanned.
    #[inline(always)]
    pub(crate) fn message(&self) -> &Message {
        // SAFETY: see `Room`.
        unsafe { &(*self.contents).scan.message }
    }

    /// Room for a binding.
    #[inline(always)]
    pub(crate) fn draft(&self) -> &mut Binding {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).draft }
    }

    /// An entry to fill in, emptied.
    #[inline(always)]
    pub(crate) fn entry(&self) -> &mut Entry {
        // SAFETY: see `Room`.
        unsafe {
            words::zero(&raw mut (*self.contents).entry);
            &mut (*self.contents).entry
        }
    }

    /// The record of this message.
    #[inline(always)]
    pub(crate) fn record(&self) -> &mut Record {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).record }
    }

    /// Where a hash keeps how far it has come.
    #[inline(always)]
    pub(crate) fn cursor(&self) -> &mut Cursor {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).cursor }
    }

    /// Hashes of parts of the message.
    #[inline(always)]
    pub(crate) fn digest(&self) -> &mut Digest {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).digest }
    }

    /// A Binding request.
    #[inline(always)]
    pub(crate) fn request(&self) -> &mut Request {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).request }
    }

    /// The answer to it.
    #[inline(always)]
    pub(crate) fn reply(&self) -> &mut Reply {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).reply }
    }

    /// Where an entry of a table is copied to.
    #[inline(always)]
    pub(crate) fn copy(&self, table: Table) -> &mut Entry {
        // SAFETY: see `Room`.
        unsafe { &mut (*self.contents).copies[table as usize] }
    }
}

/// What an address is to this host.
#[inline(always)]
pub(crate) fn address(endpoint: &Endpoint) -> Option<u32> {
    ADDRESSES.get(Key::new(128, endpoint.addr)).copied()
}

/// Takes one from the allowance of a source of STUN requests. False if there is none left.
#[inline(always)]
pub(crate) fn allows<E: Env>(env: &E, source: &Endpoint, config: &Config) -> bool {
    let payer = stun::payer(source);
    let hash = env.mix(payer[0], payer[1], 0);
    let Some(line) = BUCKETS.get_ptr_mut(hash as u32 & config.bucket_mask) else {
        return false;
    };
    // SAFETY: the value of an array map is always valid and aligned to eight; only these programs write to it, and so.
    unsafe { take(line, hash, env.now(), &config.stun_rate) != 0 }
}

/// Verified once, as those of `nat_common::tables::slots`.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn take(line: *mut Buckets, hash: u64, now: u64, rate: *const Rate) -> u32 {
    if line.is_null() || rate.is_null() {
        return 0;
    }
    // SAFETY: by the caller's promise.
    unsafe { buckets::take(line, hash, now, &*rate) }.into()
}

/// Settings of the agent.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Keeps a record, in place of the oldest.
#[inline(always)]
pub(crate) fn remember(record: &Record, mask: u32) {
    let Some(written) = WRITTEN.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the value is valid, aligned, and only these programs write to it, and so.
    let number = unsafe { Word::new(written) }.fetch_add(1);
    if let Some(place) = HISTORY.get_ptr_mut(number as u32 & mask) {
        // SAFETY: both are valid. A reader may see a record half written: it is for people.
        unsafe { words::copy(record, place) };
    }
}

/// Adds one to a counter.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(cell) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the value is valid; only this CPU writes it. An interrupted addition may be lost.
        unsafe { *cell += 1 };
    }
}
