//! Maps, from the list in `nat_common::tables`, and access to those that need no more than a line.

use core::arch::asm;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, LpmTrie, PerCpuArray};
// The list of maps names types of `abi`.
use nat_common::abi::*;
use nat_common::bpf::atomic::Word;
use nat_common::bpf::{bounded, sign};
use nat_common::bytes::words;
use nat_common::endpoint::Endpoint;
use nat_common::tables::buckets::Buckets;

/// Flag of arrays whose values are cache lines: array values are cache-aligned only with `BPF_F_MMAPABLE`.
const ALIGNED: u32 = BPF_F_MMAPABLE;

/// Number of entries: fixed, or set by the agent before it loads the object.
macro_rules! entries {
    ([$setting:ident]) => {
        1
    };
    ($number:tt) => {
        $number
    };
}

/// Declares a map of a kind.
macro_rules! declare {
    ($(#[$doc:meta])* $map:ident array($value:ty) $n:tt) => {
        $(#[$doc])*
        #[map]
        pub(crate) static $map: Array<$value> = Array::with_max_entries(entries!($n), 0);
    };
    ($(#[$doc:meta])* $map:ident lines($value:ty) $n:tt) => {
        $(#[$doc])*
        #[map]
        pub(crate) static $map: Array<$value> = Array::with_max_entries(entries!($n), ALIGNED);
    };
    ($(#[$doc:meta])* $map:ident bindings($key:ty) $n:tt) => {
        $(#[$doc])*
        #[map]
        pub(crate) static $map: Array<BindingSet> = Array::with_max_entries(entries!($n), ALIGNED);
    };
    ($(#[$doc:meta])* $map:ident trie($value:ty) $n:tt) => {
        $(#[$doc])*
        #[map]
        pub(crate) static $map: LpmTrie<[u64; 2], $value> =
            LpmTrie::with_max_entries(entries!($n), 0);
    };
    ($(#[$doc:meta])* $map:ident percpu($value:ty) $n:tt) => {
        $(#[$doc])*
        #[map]
        pub(crate) static $map: PerCpuArray<$value> =
            PerCpuArray::with_max_entries(entries!($n), 0);
    };
}

macro_rules! all {
    (
        sets { $($(#[$doc:meta])* $set:ident $_f:ident $table:ident($_v:ty) [$_s:ident] $_l:ident;)* }
        maps { $($(#[$map_doc:meta])* $map:ident $_g:ident $kind:ident($($type:ty),*) $n:tt;)* }
    ) => {
        $(
            $(#[$doc])*
            #[map]
            static $set: Array<Set> = Array::with_max_entries(1, ALIGNED);
        )*
        $(declare!($(#[$map_doc])* $map $kind($($type),*) $n);)*

        /// Looks up a set of a table by its number.
        #[inline(always)]
        pub(crate) fn set(table: Table, index: u32) -> Option<*mut Set> {
            match table {
                $(Table::$table => $set.get_ptr_mut(index),)*
            }
        }
    };
}
nat_common::tables!(all);

/// Prefetches all cache lines of a set. The loads overlap, and what follows does not wait for them.
#[inline(always)]
pub(crate) fn fetch_set(table: Table, index: u32) {
    if let Some(set) = set(table, index) {
        // SAFETY: a valid value, of whose bytes nothing is used. In assembly, as the compiler would leave such loads out.
        unsafe {
            asm!(
                "{word} = *(u64 *)({set} + 0)",
                "{word} = *(u64 *)({set} + 64)",
                "{word} = *(u64 *)({set} + 128)",
                "{word} = *(u64 *)({set} + 192)",
                set = in(reg) set,
                word = out(reg) _,
                options(readonly, nostack),
            );
        }
    }
}

/// Returns the settings of the agent.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Returns the kind of an address, by the longest prefix; 0 if no prefix holds it.
#[inline(always)]
pub(crate) fn kind_of(endpoint: &Endpoint) -> u32 {
    ADDRESSES
        .get(Key::new(128, endpoint.addr))
        .copied()
        .unwrap_or(0)
}

/// Returns the guard of streams of a terminal, by the longest prefix.
#[inline(always)]
pub(crate) fn guard_of(terminal: &Endpoint) -> Guard {
    GUARD
        .get(Key::new(128, terminal.addr))
        .map_or(Guard::Off, |rule| rule.choice.into())
}

/// Stores a record over the oldest of its ring. `mask`: number of records, less one.
#[inline(always)]
pub(crate) fn remember(record: &Record, mask: u32) {
    // The second ring, or none. No branch: the verifier would follow both.
    let ring = sign(-i64::from(record.bound)) as u32;
    let Some(written) = WRITTEN.get_ptr_mut(ring) else {
        return;
    };
    // SAFETY: the value is valid, aligned, and only these programs write to it, and so.
    let number = unsafe { Word::new(written) }.fetch_add(1);
    let half = mask >> 1;
    let index = (number as u32 & half) + (half + 1) * ring;
    if let Some(oldest) = HISTORY.get_ptr_mut(index) {
        // SAFETY: both are valid. A reader may see a record half written: it is for people.
        unsafe { words::copy(record, oldest) };
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

/// Adds one to a counter of media.
#[inline(always)]
pub(crate) fn count_media(event: MediaCounter) {
    if let Some(cell) = MEDIA_COUNTERS.get_ptr_mut(event as u32) {
        // SAFETY: as in `count`.
        unsafe { *cell += 1 };
    }
}

/// Not 0: the agent has loaded the programs of media. The verifier knows the value, and removes what it excludes.
#[unsafe(no_mangle)]
static MEDIA_ON: u32 = 0;

/// Whether the programs of media are loaded.
#[inline(always)]
pub(crate) fn is_media_on() -> bool {
    // SAFETY: a valid reference. Volatile, since the agent sets the value when it loads the program.
    unsafe { (&raw const MEDIA_ON).read_volatile() != 0 }
}

/// Settings of media before the agent has written any.
static NO_MEDIA: MediaConfig = MediaConfig {
    addresses: [[0; 2]; MEDIA_ADDRESSES],
    externals: [[0; 2]; MEDIA_EXTERNALS],
    forwarding: [MediaPrefix {
        addr: [0; 2],
        mask: [0; 2],
    }; MEDIA_FORWARDING],
    ports: [0; 2],
    restore: 0,
};

/// Returns the settings of media.
#[inline(always)]
pub(crate) fn media_config() -> &'static MediaConfig {
    MEDIA_CONFIG.get(0).unwrap_or(&NO_MEDIA)
}

/// Looks up the record of a NAT mapping that the agent keeps open.
#[inline(always)]
pub(crate) fn keepalive(index: u32) -> Option<*mut Keepalive> {
    KEEPALIVES.get_ptr_mut(index)
}

/// Looks up the slot of a port of a local address.
#[inline(always)]
pub(crate) fn media_slot(number: u32, port: u32) -> Option<*mut MediaSlot> {
    MEDIA.get_ptr_mut(number * MEDIA_PORTS + (port & 0xffff))
}

/// Number of words in `MEDIA_BITS`: a power of two, so that the verifier can bound an index.
const MEDIA_WORDS: usize = size_of::<MediaBits>() / 8;

/// Returns the word with the bit of a slot, and the position of the bit.
#[inline(always)]
fn media_bit(number: u32, port: u32) -> Option<(Word, u32)> {
    let bits = MEDIA_BITS.get_ptr_mut(0)?;
    let index = MediaBits::of(number, port);
    let word = bounded::<MEDIA_WORDS>(index as usize / 64);
    // SAFETY: the index is in bounds; only these programs and the agent write to the word, and so.
    let word = unsafe { Word::new(bits.cast::<u64>().add(word)) };
    Some((word, index % 64))
}

/// Whether the slot of a port is marked as used, of any local address.
#[inline(always)]
pub(crate) fn has_stream(port: u32) -> bool {
    media_bit(0, port).is_some_and(|(word, at)| word.peek() >> at & MediaBits::PORT != 0)
}

/// Whether the slot of a port is marked as used.
#[inline(always)]
pub(crate) fn is_media_marked(number: u32, port: u32) -> bool {
    number < MEDIA_ADDRESSES as u32
        && media_bit(number, port).is_some_and(|(word, at)| word.peek() >> at & 1 != 0)
}

/// Marks the slot of a port as used or not.
#[inline(always)]
pub(crate) fn mark_media(number: u32, port: u32, used: bool) {
    if let Some((word, at)) = media_bit(number, port) {
        if used {
            word.set(1 << at);
        } else {
            word.unset(1 << at);
        }
    }
}
