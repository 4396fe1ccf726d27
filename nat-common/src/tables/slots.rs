//! Set-associative tables in shared memory.
//!
//! A table is an array of sets. A key's hash names the set, and in it the tag of one of [`WAYS`] slots. A new entry
//! replaces the slot that matters least ([`rank`]), so a flood can push out what is here, at a cost that does not grow.
//!
//! The tag word guards its slot: hash, generation and a busy bit. A writer claims the slot by compare-and-swap, fills
//! it, and releases it with the new tag. A reader copies the entry between two reads of the tag, which are barriers to
//! reads. A failed claim is skipped.
//!
//! ```
//! use nat_common::abi::{Entry, InboundTransaction, Set};
//! use nat_common::tables::slots::{Noted, SlotKey, Slots};
//!
//! let (mut set, mut copy) = (Set::default(), Entry::<InboundTransaction>::default());
//! let key = SlotKey::of(0x1234_5678_9abc_def0);
//! // SAFETY: the set is valid, and nobody else uses it.
//! let mut slots = unsafe { Slots::new(&raw mut set, &mut copy) };
//! assert_eq!(slots.note(&key, &Entry::default(), 100), Noted::New);
//! assert!(slots.find(&key).is_some());
//! ```

use core::mem::offset_of;

use bitflags::Flags as _;

use crate::abi::{
    EPOCH, Entry, FIRST_PORT, FLAGS, InboundTransaction, RANK, Set, Slot, VALUE_WORDS, Value,
    ValueWords, WAYS, age,
};
use crate::bpf::atomic::Word;
use crate::bpf::bounded;
use crate::bytes::words;
use crate::tables::rank::{self, head_start};

/// Offset of the count in a value that has one: the byte after the flags.
pub const COUNT: usize = FLAGS + 2;

const _: () = assert!(offset_of!(InboundTransaction, repetitions) == COUNT);

pub(super) const BUSY: u64 = 1;
/// Bits of the generation: a reader that is stopped in the middle of a copy, a virtual CPU say, is not fooled before
/// 32,768 writes to the slot.
pub(super) const GENERATION: u64 = 0xfffe;
pub(super) const HASH: u64 = !0xffff;

/// Returns the bits of a hash that go into a tag. They are not 0, which is the tag of a slot never used.
#[inline(always)]
pub(super) const fn tag_of(hash: u64) -> u64 {
    let tag = hash & HASH;
    if tag == 0 { !HASH + 1 } else { tag }
}

/// Returns the generation after that of a tag.
#[inline(always)]
pub(super) const fn next(tag: u64) -> u64 {
    tag.wrapping_add(2) & GENERATION
}

/// Name of an entry: 48 bits in the tag, 22 in the check, and up to 32 in the number of the set.
///
/// A lookup compares tags first. Two keys of one set with the same tag, once in 2^48 pairs, hide each other: one of them is
/// then not noted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey {
    tag: u64,
    check: u32,
    /// Number of the set, before it is masked to the size of the table.
    pub index: u32,
}

impl SlotKey {
    /// Makes a key of one hash. Tag and check hold all of its bits; the number of the set comes from those of the check.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: u64) -> Self {
        Self::new(hash, hash << 42 | hash & 0xffff_ffff)
    }

    /// Makes a key of 128 hashed bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(a: u64, b: u64) -> Self {
        Self {
            tag: tag_of(a),
            check: (b >> 32) as u32 & !(EPOCH | RANK),
            index: b as u32,
        }
    }

    /// Returns it as words, as a value keeps it.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        [self.tag, (self.check as u64) << 32 | self.index as u64]
    }

    /// Makes it of its words.
    #[inline(always)]
    #[must_use]
    pub const fn from_words([tag, rest]: [u64; 2]) -> Self {
        Self {
            tag,
            check: (rest >> 32) as u32,
            index: rest as u32,
        }
    }

    /// Whether it is the key of an entry with that tag and check.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(&self, tag: u64, check: u32) -> bool {
        tag & (HASH | BUSY) == self.tag && check & !(EPOCH | RANK) == self.check
    }
}

impl<V> Slot<V> {
    /// Whether a copy of it holds an entry: neither never used, nor forgotten, nor being written.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.tag & HASH != 0 && self.tag & BUSY == 0
    }
}

/// Outcome of noting an entry.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The entry is in the table now.
    New,
    /// The entry is in the table now, instead of another one that had been there for less than [`rank::REPEATED`].
    Pushed,
    /// An entry of that key with the same first endpoint was there, and stays.
    Same,
    /// An entry of that key with another first endpoint was there, and stays.
    Other,
    /// Another CPU was writing to the slot: the entry was not noted.
    Busy,
}

impl Noted {
    /// Whether the entry is in the table since now.
    #[inline(always)]
    #[must_use]
    pub const fn is_new(self) -> bool {
        matches!(self, Self::New | Self::Pushed)
    }
}

/// Slots of a set, which other CPUs read and write at the same time.
#[derive(Debug)]
pub struct Slots<'c, V> {
    set: *mut Set,
    /// Scratch for a copy of an entry: the kernel's stack is too small for several.
    copy: &'c mut Entry<V>,
}

impl<'c, V: Value> Slots<'c, V> {
    /// Slots of a set, and scratch for a copy of an entry.
    ///
    /// # Safety
    /// `set` must be valid for reads while this is used, and for writes if entries are written; aligned to eight bytes, belong to the
    /// table [`Value::TABLE`], and only ever be accessed through `Slots`.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(set: *mut Set, copy: &'c mut Entry<V>) -> Self {
        Self { set, copy }
    }

    /// The slots without the type of their values.
    #[inline(always)]
    fn raw(&mut self) -> Raw {
        Raw {
            set: self.set,
            copy: (&raw mut *self.copy).cast(),
        }
    }

    /// Finds the entry of a key, and returns a copy.
    #[inline(always)]
    #[must_use]
    pub fn find(mut self, key: &SlotKey) -> Option<&'c mut Entry<V>> {
        let slots = self.raw();
        let way = slots.way_of(key);
        if way == WAYS {
            return None;
        }
        slots.read(bounded::<WAYS>(way), key).map(|_| self.copy)
    }

    /// Entry that was last copied, by `find` or by a `note` that returned [`Noted::Same`].
    #[inline(always)]
    #[must_use]
    pub const fn found(&mut self) -> &mut Entry<V> {
        self.copy
    }

    /// Writes an entry over that of the same key, or over the one that matters least. Returns whether it was written.
    #[inline(always)]
    pub fn put(&mut self, key: &SlotKey, entry: &Entry<V>) -> bool {
        self.note(key, entry, 0).is_new()
    }

    /// Notes an entry. One of the same key that is younger than `life` ticks stays.
    #[inline(always)]
    pub fn note(&mut self, key: &SlotKey, entry: &Entry<V>, life: u64) -> Noted {
        let Raw { set, copy } = self.raw();
        let entry = (&raw const *entry).cast();
        // SAFETY: `new` promises a valid set; the others are references, of values made of words.
        match unsafe { global::slots_note(set, copy, key, entry, life) } {
            global::NEW => Noted::New,
            global::PUSHED => Noted::Pushed,
            global::SAME => Noted::Same,
            global::OTHER => Noted::Other,
            _ => Noted::Busy,
        }
    }

    /// Sets flags on the entry of a key. Returns whether that was done.
    #[inline(always)]
    pub fn add_flags(&mut self, key: &SlotKey, flags: V::Flags) -> bool {
        debug_assert!(!flags.is_empty(), "no flags would forget the entry");
        self.amend(key, flags.bits(), 0)
    }

    /// Takes a flag from the entry of a key, if it is there, and adds one to the count beside the flags ([`COUNT`]). Returns
    /// whether that was done; the amended entry is [`Self::found`] then. Of two CPUs that do so at once, one does.
    #[inline(always)]
    pub fn count(&mut self, key: &SlotKey, flag: V::Flags) -> bool {
        self.amend(key, 0, flag.bits())
    }

    /// Forgets the entry of a key. Returns whether that was done.
    #[inline(always)]
    pub fn forget(&mut self, key: &SlotKey) -> bool {
        self.amend(key, 0, 0)
    }

    #[inline(always)]
    fn amend(&mut self, key: &SlotKey, add: u16, take: u16) -> bool {
        let Raw { set, copy } = self.raw();
        // SAFETY: as for `note`.
        unsafe { global::slots_amend(set, copy, key, add, take) != 0 }
    }
}

/// Slots of any table: the algorithms, which see a value as words.
#[derive(Clone, Copy)]
struct Raw {
    set: *mut Set,
    copy: *mut Entry<ValueWords>,
}

impl Raw {
    #[inline(always)]
    fn tag(self, way: usize) -> Word {
        // SAFETY: `Slots::new` promises a valid set, `way` is below WAYS, and tags are only accessed so.
        unsafe { Word::new((&raw mut (*self.set).tags).cast::<u64>().add(way)) }
    }

    #[inline(always)]
    fn check(self, way: usize) -> *mut u32 {
        // SAFETY: as for `tag`; no reference is made.
        unsafe { (&raw mut (*self.set).checks).cast::<u32>().add(way) }
    }

    #[inline(always)]
    fn time(self, way: usize) -> *mut u32 {
        // SAFETY: as for `check`.
        unsafe { (&raw mut (*self.set).times).cast::<u32>().add(way) }
    }

    #[inline(always)]
    fn value(self, way: usize) -> *mut ValueWords {
        // SAFETY: as for `check`.
        unsafe { (&raw mut (*self.set).values).cast::<ValueWords>().add(way) }
    }

    /// Reads the check and the time of a slot. During a write the time may be neither the old nor the new one.
    #[inline(always)]
    fn check_and_time(self, way: usize) -> (u32, u64) {
        // SAFETY: as for `check`.
        let (check, time) = unsafe {
            (
                self.check(way).read_volatile(),
                self.time(way).read_volatile(),
            )
        };
        (check, u64::from(check & EPOCH) << 32 | u64::from(time))
    }

    /// Finds the first way with the tag of a key: [`WAYS`] if there is none. Two ways have it after two CPUs put the same
    /// new key into the set at once.
    #[inline(always)]
    fn way_of(self, key: &SlotKey) -> usize {
        let mut found = WAYS;
        for way in (0..WAYS).rev() {
            if self.tag(way).peek() & (HASH | BUSY) == key.tag {
                found = way;
            }
        }
        found
    }

    /// Makes a consistent copy of the entry, if this way holds that key. Returns its tag.
    #[inline(always)]
    fn read(self, way: usize, key: &SlotKey) -> Option<u64> {
        let before = self.tag(way).load();
        // SAFETY: as for `check`. If a writer tears the copy, the tags differ and it is not used.
        let check = unsafe {
            words::copy(self.value(way), &raw mut (*self.copy).value);
            let (check, at) = self.check_and_time(way);
            (*self.copy).at = at;
            check
        };
        let after = self.tag(way).load();
        (before == after && key.is_of(before, check)).then_some(before)
    }

    #[inline(always)]
    fn note(self, key: &SlotKey, entry: &Entry<ValueWords>, life: u64) -> Noted {
        let mut victim = WAYS;
        let mut oldest = 0;
        let mut victim_tag = 0;
        let mut since = u64::MAX;
        for way in 0..WAYS {
            let tag = self.tag(way).peek();
            if tag & HASH == key.tag {
                let Some(tag) = self.read(way, key) else {
                    // Being written, and probably with this very key.
                    return Noted::Busy;
                };
                // SAFETY: as for `check`.
                let known = unsafe { &*self.copy };
                if age(entry.at, known.at) < life {
                    return if first_endpoint(&known.value) == first_endpoint(&entry.value) {
                        Noted::Same
                    } else {
                        Noted::Other
                    };
                }
                return self.write(way, tag, key, entry);
            }
            let (known, rank) = if tag & HASH == 0 {
                (u64::MAX, 0)
            } else {
                // A torn time only makes another slot the oldest.
                let (check, at) = self.check_and_time(way);
                (age(entry.at, at), head_start(rank::in_check(check)))
            };
            let age = known.saturating_add(rank);
            if tag & BUSY == 0 && age >= oldest {
                victim = way;
                oldest = age;
                victim_tag = tag;
                since = known;
            }
        }
        if victim == WAYS {
            return Noted::Busy;
        }
        // Kernels before 6.8 learn nothing from `!=`: "R7 max value is outside of the allowed memory range".
        match self.write(bounded::<WAYS>(victim), victim_tag, key, entry) {
            Noted::New if since < rank::REPEATED => Noted::Pushed,
            noted => noted,
        }
    }

    /// Adds flags to the entry of a key, or takes flags and counts that, or forgets it (no flags). Returns whether that was
    /// done. Another CPU's change is not lost: the entry is read here, and written only if it has not changed since.
    #[inline(always)]
    fn amend(self, key: &SlotKey, add: u16, take: u16) -> bool {
        let way = self.way_of(key);
        if way == WAYS {
            return false;
        }
        let way = bounded::<WAYS>(way);
        let Some(tag) = self.read(way, key) else {
            return false;
        };
        if add | take != 0 {
            // SAFETY: as for `check`; flags and count lie within the value.
            let (known, counts) = unsafe {
                let value = &raw mut (*self.copy).value;
                let flags = value.cast::<u16>().add(FLAGS / 2);
                let count = value.cast::<u8>().add(COUNT);
                let counts = *flags & take != 0;
                *flags = *flags & !take | add;
                *count = (*count).saturating_add(counts.into());
                (&*self.copy, counts)
            };
            return (take == 0 || counts) && self.write(way, tag, key, known) == Noted::New;
        }
        let claimed = self.claim(way, tag);
        if claimed {
            self.release(way, next(tag));
        }
        claimed
    }

    #[inline(always)]
    fn write(self, way: usize, tag: u64, key: &SlotKey, entry: &Entry<ValueWords>) -> Noted {
        if !self.claim(way, tag) {
            return Noted::Busy;
        }
        // SAFETY: as for `check`; the slot is claimed, so this is its only writer.
        unsafe {
            words::copy(&raw const entry.value, self.value(way));
            self.time(way).write_volatile(entry.at as u32);
            let epoch = (entry.at >> 32) as u32 & EPOCH;
            let flags = *(&raw const entry.value).cast::<u16>().add(FLAGS / 2);
            let rank = rank::bits(rank::of(flags));
            self.check(way).write_volatile(key.check | rank | epoch);
        }
        self.release(way, key.tag | next(tag));
        Noted::New
    }

    #[inline(always)]
    fn claim(self, way: usize, tag: u64) -> bool {
        self.tag(way).replace(tag, tag | BUSY)
    }

    #[inline(always)]
    fn release(self, way: usize, tag: u64) {
        self.tag(way).store(tag);
    }
}

/// First endpoint of a value: its address, and its port.
#[inline(always)]
fn first_endpoint(value: &ValueWords) -> (u64, u64, u16) {
    const {
        assert!(FIRST_PORT.is_multiple_of(8) && FIRST_PORT / 8 < VALUE_WORDS);
        assert!(cfg!(target_endian = "little"));
    };
    (value[0], value[1], value[FIRST_PORT / 8] as u16)
}

/// Functions that the kernel's verifier checks once, and not wherever they are called.
///
/// They have names, and take numbers and pointers to whole types, which may be null for all that the verifier knows.
mod global {
    use super::{Entry, Noted, Raw, Set, SlotKey, ValueWords};

    pub(super) const NEW: u32 = Noted::New as u32;
    pub(super) const PUSHED: u32 = Noted::Pushed as u32;
    pub(super) const SAME: u32 = Noted::Same as u32;
    pub(super) const OTHER: u32 = Noted::Other as u32;
    const BUSY: u32 = Noted::Busy as u32;

    /// See [`Slots::note`](super::Slots::note). Returns a [`Noted`].
    #[cfg_attr(target_arch = "bpf", unsafe(no_mangle))]
    #[inline(never)]
    pub(super) unsafe extern "C" fn slots_note(
        set: *mut Set,
        copy: *mut Entry<ValueWords>,
        key: *const SlotKey,
        entry: *const Entry<ValueWords>,
        life: u64,
    ) -> u32 {
        if set.is_null() || copy.is_null() || key.is_null() || entry.is_null() {
            return BUSY;
        }
        // SAFETY: they come from a `Slots` and two references.
        let (key, entry) = unsafe { (&*key, &*entry) };
        Raw { set, copy }.note(key, entry, life) as u32
    }

    /// See [`Slots::amend`](super::Slots::amend). Returns 0 if it was not done.
    #[cfg_attr(target_arch = "bpf", unsafe(no_mangle))]
    #[inline(never)]
    pub(super) unsafe extern "C" fn slots_amend(
        set: *mut Set,
        copy: *mut Entry<ValueWords>,
        key: *const SlotKey,
        add: u16,
        take: u16,
    ) -> u32 {
        if set.is_null() || copy.is_null() || key.is_null() {
            return 0;
        }
        // SAFETY: they come from a `Slots` and a reference.
        let key = unsafe { &*key };
        Raw { set, copy }.amend(key, add, take).into()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::abi::{InboundFlags, ticks};
    use crate::endpoint::Endpoint;
    use core::cell::UnsafeCell;
    use std::vec::Vec;

    type TestEntry = Entry<InboundTransaction>;

    fn entry(port: u16, at: u64) -> TestEntry {
        let mut entry = TestEntry {
            at,
            ..Entry::default()
        };
        entry.value.set_source(&Endpoint::v4([1, 2, 3, 4], port));
        entry
    }

    fn key(n: u64) -> SlotKey {
        SlotKey::new(n << 24, n << 40)
    }

    /// A table of one set.
    struct One(UnsafeCell<Set>);

    // SAFETY: it is made for access from several threads.
    unsafe impl Sync for One {}

    impl One {
        fn new() -> Self {
            Self(UnsafeCell::new(Set::default()))
        }

        fn slots<'c>(&self, copy: &'c mut TestEntry) -> Slots<'c, InboundTransaction> {
            // SAFETY: the cell is valid, and only accessed so.
            unsafe { Slots::new(self.0.get(), copy) }
        }

        fn note(&self, key: &SlotKey, entry: TestEntry, life: u64) -> Noted {
            self.slots(&mut Entry::default()).note(key, &entry, life)
        }

        fn find(&self, key: &SlotKey) -> Option<TestEntry> {
            self.slots(&mut Entry::default()).find(key).map(|e| *e)
        }

        fn add_flags(&self, key: &SlotKey, flags: InboundFlags) -> bool {
            self.slots(&mut Entry::default()).add_flags(key, flags)
        }

        fn forget(&self, key: &SlotKey) -> bool {
            self.slots(&mut Entry::default()).forget(key)
        }
    }

    #[test]
    fn first_source_wins_for_its_life() {
        let s = One::new();
        assert_eq!(s.note(&key(1), entry(1, 10), 100), Noted::New);
        assert_eq!(s.note(&key(1), entry(1, 20), 100), Noted::Same);
        assert_eq!(s.note(&key(1), entry(2, 20), 100), Noted::Other);
        assert_eq!(s.find(&key(1)).unwrap().value.source().port, 1);
        assert_eq!(s.note(&key(1), entry(2, 20), 0), Noted::New);
        assert_eq!(s.find(&key(1)).unwrap().value.source().port, 2);
        assert_eq!(s.note(&key(1), entry(3, 120), 100), Noted::New);
        assert_eq!(s.find(&key(1)).unwrap().value.source().port, 3);
    }

    /// An entry of 27 days once had age 0, and stayed.
    #[test]
    fn an_entry_of_a_month_is_old() {
        const MONTH: u64 = 30 * 24 * 3600 * 1000;
        let s = One::new();
        s.note(&key(1), entry(1, 10), 100);
        assert_eq!(s.note(&key(1), entry(2, 10 + MONTH), 100), Noted::New);
        for n in 2..=4 {
            s.note(&key(n), entry(n as u16, 2 * MONTH + n), 100);
        }
        s.note(&key(5), entry(5, 3 * MONTH), 100);
        assert!(s.find(&key(1)).is_none());
        assert_eq!(s.find(&key(5)).unwrap().at, 3 * MONTH);
    }

    #[test]
    fn an_entry_that_goes_before_it_could_be_repeated_is_told() {
        for (age, noted) in [
            (rank::REPEATED - 1, Noted::Pushed),
            (rank::REPEATED, Noted::New),
        ] {
            let s = One::new();
            for n in 1..=4 {
                assert_eq!(s.note(&key(n), entry(1, 10), 100), Noted::New);
            }
            assert_eq!(s.note(&key(5), entry(1, 10 + age), 100), noted);
        }
    }

    #[test]
    fn oldest_is_replaced() {
        let s = One::new();
        for n in 1..=4 {
            s.note(&key(n), entry(n as u16, n), 100);
        }
        s.note(&key(5), entry(5, 50), 100);
        assert!(s.find(&key(1)).is_none());
        for n in 2..=5 {
            assert_eq!(u64::from(s.find(&key(n)).unwrap().value.source().port), n);
        }
    }

    /// An entry gives way by its rank, then by its age.
    #[test]
    fn what_matters_least_is_replaced() {
        const SECOND: u64 = ticks(crate::abi::SECOND);
        let [proceeding, accepted, refused] = [
            InboundFlags::PROCEEDING,
            InboundFlags::ACCEPTED,
            InboundFlags::PROCEEDING | InboundFlags::REFUSED,
        ];
        let waits = InboundFlags::empty();
        let now = 1000 * SECOND;
        // Flags and age in seconds of four entries, the one that matters least last.
        for entries in [
            [(proceeding, 299), (waits, 0), (accepted, 0), (refused, 0)],
            [(proceeding, 0), (waits, 31), (waits, 31), (accepted, 0)],
            [(proceeding, 0), (accepted, 31), (refused, 0), (refused, 1)],
            [(accepted, 0), (refused, 0), (refused, 0), (waits, 65)],
            [(waits, 0), (waits, 0), (proceeding, 0), (proceeding, 301)],
        ] {
            let s = One::new();
            for (n, (flags, age)) in (1..).zip(entries) {
                let mut entry = entry(1, now - age * SECOND);
                entry.value.flags = flags;
                s.note(&key(n), entry, 0);
            }
            s.note(&key(5), entry(5, now), 0);
            let left: Vec<_> = (1..=5).filter(|n| s.find(&key(*n)).is_some()).collect();
            assert_eq!(left, [1, 2, 3, 5], "{entries:?}");
        }
    }

    /// A flag that is added changes the rank.
    #[test]
    fn who_is_answered_stays() {
        let s = One::new();
        for n in 1..=4 {
            s.note(&key(n), entry(n as u16, n), 0);
        }
        s.add_flags(&key(1), InboundFlags::PROCEEDING);
        s.note(&key(5), entry(5, 9), 0);
        assert!(s.find(&key(1)).is_some() && s.find(&key(2)).is_none());
        s.add_flags(&key(1), InboundFlags::REFUSED);
        s.note(&key(6), entry(6, 9), 0);
        assert!(s.find(&key(1)).is_none());
    }

    /// Another CPU may write with a clock that is a tick ahead.
    #[test]
    fn a_clock_ahead_is_not_an_old_one() {
        let s = One::new();
        for n in 1..=4 {
            s.note(&key(n), entry(n as u16, 99 + n), 100);
        }
        assert_eq!(s.note(&key(4), entry(9, 102), 100), Noted::Other);
        s.note(&key(5), entry(5, 101), 100);
        assert!(s.find(&key(4)).is_some() && s.find(&key(1)).is_none());
    }

    #[test]
    fn every_bit_of_a_hash_names_a_key() {
        let hash = 0x0123_4567_89ab_cdef;
        for bit in 0..64 {
            let (one, other) = (SlotKey::of(hash), SlotKey::of(hash ^ 1 << bit));
            assert_ne!((one.tag, one.check), (other.tag, other.check), "bit {bit}");
        }
    }

    #[test]
    fn same_tag_with_another_check_is_another_key() {
        let s = One::new();
        s.note(&SlotKey::new(1 << 24, 1 << 44), entry(1, 1), 100);
        assert!(s.find(&SlotKey::new(1 << 24, 2 << 44)).is_none());
    }

    #[test]
    fn flags_are_added_and_entries_forgotten() {
        let s = One::new();
        s.note(&key(1), entry(1, 1), 100);
        assert!(s.add_flags(&key(1), InboundFlags::ANSWERED));
        assert_eq!(s.find(&key(1)).unwrap().value.flags, InboundFlags::ANSWERED);
        assert!(s.forget(&key(1)));
        assert!(s.find(&key(1)).is_none());
        assert!(!s.forget(&key(1)));
    }

    /// Two CPUs that count one repetition count it once, and lose no flag that another sets.
    #[test]
    fn a_repetition_counts_once() {
        let shared = &One::new();
        let rounds = 5000;
        let start = &std::sync::Barrier::new(3);
        let round = |work: &dyn Fn()| {
            start.wait();
            work();
            start.wait();
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    for _ in 0..rounds {
                        round(&|| {
                            shared
                                .slots(&mut Entry::default())
                                .count(&key(1), InboundFlags::ANSWERED);
                        });
                    }
                });
            }
            for _ in 0..rounds {
                let mut known = entry(1, 1);
                known.value.flags = InboundFlags::ANSWERED;
                shared.note(&key(1), known, 0);
                let added = core::cell::Cell::new(false);
                round(&|| added.set(shared.add_flags(&key(1), InboundFlags::REFUSED)));
                let found = shared.find(&key(1)).unwrap().value;
                assert!(found.repetitions <= 1);
                assert!(!added.get() || found.flags.contains(InboundFlags::REFUSED));
                let counted = !found.flags.contains(InboundFlags::ANSWERED);
                assert_eq!(found.repetitions, u8::from(counted));
            }
        });
    }

    /// Two CPUs that note a new key at once may both find room for it: then all agree on one of the two.
    #[test]
    fn of_two_with_one_key_one_counts() {
        // The last way is the first to be taken.
        let set_with = |port| {
            let s = One::new();
            s.note(&key(1), entry(port, 1), 100);
            s.0.into_inner()
        };
        let mut set = set_with(1);
        for way in [0, 2] {
            let other = set_with(way as u16 + 2);
            set.tags[way] = other.tags[3];
            set.checks[way] = other.checks[3];
            set.times[way] = other.times[3];
            set.values[way] = other.values[3];
        }
        let s = One(UnsafeCell::new(set));
        assert_eq!(
            set.slots::<InboundTransaction>()
                .map(|slot| slot.entry.value.source().port),
            [2, 0, 4, 1]
        );
        assert_eq!(s.find(&key(1)).unwrap().value.source().port, 2);
        assert_eq!(s.note(&key(1), entry(2, 2), 100), Noted::Same);
        assert!(s.add_flags(&key(1), InboundFlags::REMOVE_ALL));
        assert_eq!(
            s.find(&key(1)).unwrap().value.flags,
            InboundFlags::REMOVE_ALL
        );
        assert_eq!(s.note(&key(1), entry(9, 2), 0), Noted::New);
        assert_eq!(s.find(&key(1)).unwrap().value.source().port, 9);
        assert!(s.forget(&key(1)));
        assert_eq!(s.find(&key(1)).unwrap().value.source().port, 4);
    }

    /// Writers of many keys fight for one set; each entry says in all its fields whose it is. A torn
    /// copy would show two owners.
    #[test]
    fn no_copy_is_torn() {
        let shared = &One::new();
        let found: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u64)
                .map(|t| {
                    scope.spawn(move || {
                        let mut found = 0;
                        for i in 0..1_000_000_u64 {
                            let n = (i * 7 + t) % 6 + 1;
                            // Each write differs in all fields, also among writes of one key.
                            let stamp = (i * 4 + t) as u16;
                            let mut e = Entry {
                                value: InboundTransaction {
                                    detail: u64::from(stamp),
                                    flags: InboundFlags::from_bits_retain(stamp),
                                    ..InboundTransaction::default()
                                },
                                // The low half and the high half of the time lie apart.
                                at: (i & 0xff) << 32 | i,
                            };
                            e.value.set_source(&Endpoint::v4([0; 4], stamp));
                            e.value.set_advertised(&Endpoint::v4([n as u8; 4], stamp));
                            shared.note(&key(n), e, 0);
                            if let Some(e) = shared.find(&key(i % 6 + 1)) {
                                found += 1;
                                let owner = (i % 6 + 1) as u8;
                                let stamp = e.value.flags.bits();
                                assert_eq!(e.value.advertised().as_v4(), [owner; 4]);
                                assert_eq!(e.value.detail, u64::from(stamp));
                                assert_eq!(e.value.source().port, u32::from(stamp));
                                assert_eq!(e.value.advertised().port, u32::from(stamp));
                                assert_eq!((e.at << 2) as u16, stamp & !3);
                                assert_eq!((e.at >> 32) as u8, e.at as u8);
                            }
                        }
                        found
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(found.iter().all(|n| *n > 1000), "{found:?}");
    }
}
