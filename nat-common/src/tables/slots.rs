//! A set-associative table in shared memory: what `INBOUND`, `OUTBOUND`, `PENDING`, `PEERS`, `FRAGMENTS` and
//! `STUN` are made of.
//!
//! An array of sets; a key's hash names the set, and in it the tag of one of [`WAYS`] slots. The
//! oldest slot is replaced, so a flood can push out what is here, at a cost that does not grow.
//!
//! Each slot is guarded by its tag word: hash, generation and a busy bit. A writer claims the slot by
//! compare-and-swap, fills it, and releases it with the new tag. A reader copies the entry between two
//! reads of the tag, which are barriers to reads. A claim that fails is skipped. All that decides which
//! slot it is lies in one cache line: mostly a set is looked into in vain, or to replace what is old.

use crate::abi::{CONTENT_WORDS, Entry, Set, Slot, WAYS};
use crate::bpf::atomic::Word;
use crate::bpf::bounded;
use crate::bytes::words;

const BUSY: u64 = 1;
const GENERATION: u64 = 0xfe;
const HASH: u64 = !0xff;

/// What names an entry: 56 bits in the tag, 32 beside it, 32 in the place of the set.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey {
    tag: u64,
    check: u32,
    /// Which set, before it is masked to the size of the table.
    pub index: u32,
}

impl SlotKey {
    /// A key of one hash.
    #[inline(always)]
    #[must_use]
    pub const fn of(hash: u64) -> Self {
        Self::new(hash, hash.rotate_left(32))
    }

    /// A key of 128 hashed bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(a: u64, b: u64) -> Self {
        let tag = a & HASH;
        Self {
            // 0 is the tag of a slot never used.
            tag: if tag == 0 { 1 << 8 } else { tag },
            check: (b >> 32) as u32,
            index: b as u32,
        }
    }

    /// Whether it is the key of an entry with that tag and check.
    #[must_use]
    pub const fn is_of(&self, tag: u64, check: u32) -> bool {
        tag & (HASH | BUSY) == self.tag && check == self.check
    }
}

impl Slot {
    /// Whether a copy of it holds an entry: neither never used, nor forgotten, nor being written.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.tag & HASH != 0 && self.tag & BUSY == 0
    }
}

/// What came of noting an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is in the table now.
    New,
    /// There was one of that key with the same peer; it stays.
    Same,
    /// There was one of that key with another peer; it stays.
    Other,
    /// Another CPU was writing where it should go; it was not noted.
    Busy,
}

/// The set's slots, which other CPUs read and write at the same time.
#[derive(Debug)]
pub struct Slots<'c> {
    set: *mut Set,
    /// Where entries are copied to: the kernel's stack is too small for many of them.
    copy: &'c mut Entry,
}

impl<'c> Slots<'c> {
    /// Slots of a set, and room for a copy of an entry.
    ///
    /// # Safety
    /// `set` must be valid for reads and writes while this is used, aligned to eight bytes, and only
    /// ever be accessed through `Slots`.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(set: *mut Set, copy: &'c mut Entry) -> Self {
        Self { set, copy }
    }

    #[inline(always)]
    fn tag(&self, way: usize) -> Word {
        // SAFETY: `new` promises a valid set, `way` is below WAYS, and tags are only accessed so.
        unsafe { Word::new((&raw mut (*self.set).tags).cast::<u64>().add(way)) }
    }

    #[inline(always)]
    fn check(&self, way: usize) -> *mut u32 {
        // SAFETY: as for `tag`; no reference is made.
        unsafe { (&raw mut (*self.set).checks).cast::<u32>().add(way) }
    }

    #[inline(always)]
    fn at(&self, way: usize) -> *mut u32 {
        // SAFETY: as for `check`.
        unsafe { (&raw mut (*self.set).ats).cast::<u32>().add(way) }
    }

    #[inline(always)]
    fn content(&self, way: usize) -> *mut [u64; CONTENT_WORDS] {
        // SAFETY: as for `check`.
        unsafe {
            (&raw mut (*self.set).contents)
                .cast::<[u64; CONTENT_WORDS]>()
                .add(way)
        }
    }

    #[inline(always)]
    fn age(&self, way: usize, now: u32) -> u32 {
        // SAFETY: as for `check`. A stale value only makes another slot the oldest.
        age(now, unsafe { self.at(way).read_volatile() })
    }

    /// The first way with the tag of a key: [`WAYS`] if there is none. There are two while, and after, two CPUs put the same
    /// new key into the set at once.
    #[inline(always)]
    fn way_of(&self, key: &SlotKey) -> usize {
        let mut found = WAYS;
        for way in (0..WAYS).rev() {
            if self.tag(way).peek() & (HASH | BUSY) == key.tag {
                found = way;
            }
        }
        found
    }

    /// Makes a consistent copy of the entry, if this way holds that key. Its tag.
    #[inline(always)]
    fn read(&mut self, way: usize, key: &SlotKey) -> Option<u64> {
        let before = self.tag(way).load();
        // SAFETY: as for `check`; an entry begins with its content. If a writer tears the copy, the tags differ and it is
        // not used.
        let check = unsafe {
            words::copy_first::<CONTENT_WORDS, _, _>(self.content(way), &raw mut *self.copy);
            self.copy.at = self.at(way).read_volatile();
            self.check(way).read_volatile()
        };
        let after = self.tag(way).load();
        (before == after && key.is_of(before, check)).then_some(before)
    }

    /// A copy of the entry of a key.
    #[inline(always)]
    #[must_use]
    pub fn find(mut self, key: &SlotKey) -> Option<&'c mut Entry> {
        let way = self.way_of(key);
        if way == WAYS {
            return None;
        }
        self.read(bounded::<WAYS>(way), key).map(|_| self.copy)
    }

    /// What was last found, here or by `note` when it says [`Noted::Same`].
    #[inline(always)]
    #[must_use]
    pub const fn found(&self) -> &Entry {
        self.copy
    }

    /// Puts an entry in the place of that of the same key, or of the oldest. Whether that was done.
    #[inline(always)]
    pub fn put(&mut self, key: &SlotKey, entry: &Entry) -> bool {
        self.note(key, entry, 0) == Noted::New
    }

    /// Notes an entry. One of the same key that is younger than `life` ticks stays.
    #[inline(always)]
    pub fn note(&mut self, key: &SlotKey, entry: &Entry, life: u32) -> Noted {
        // SAFETY: `new` promises a valid set; the others are references.
        match unsafe { global::slots_note(self.set, self.copy, key, entry, life) } {
            global::NEW => Noted::New,
            global::SAME => Noted::Same,
            global::OTHER => Noted::Other,
            _ => Noted::Busy,
        }
    }

    #[inline(always)]
    fn note_here(&mut self, key: &SlotKey, entry: &Entry, life: u32) -> Noted {
        let mut victim = WAYS;
        let mut oldest = 0;
        let mut victim_tag = 0;
        for way in 0..WAYS {
            let tag = self.tag(way).peek();
            if tag & HASH == key.tag {
                let Some(tag) = self.read(way, key) else {
                    // Being written, and probably with this very key.
                    return Noted::Busy;
                };
                if age(entry.at, self.copy.at) < life {
                    return if self.copy.peer() == entry.peer() {
                        Noted::Same
                    } else {
                        Noted::Other
                    };
                }
                return self.write(way, tag, key, entry);
            }
            let age = if tag & HASH == 0 {
                u32::MAX
            } else {
                self.age(way, entry.at)
            };
            if tag & BUSY == 0 && age >= oldest {
                victim = way;
                oldest = age;
                victim_tag = tag;
            }
        }
        if victim == WAYS {
            return Noted::Busy;
        }
        // Kernels before 6.8 learn nothing from `!=`: "R7 max value is outside of the allowed memory range".
        self.write(bounded::<WAYS>(victim), victim_tag, key, entry)
    }

    /// Sets flags on the entry of a key, or forgets it (`flags` 0). Whether that was done.
    #[inline(always)]
    pub fn amend(&mut self, key: &SlotKey, flags: u16) -> bool {
        // SAFETY: as for `note`.
        unsafe { global::slots_amend(self.set, self.copy, key, flags) != 0 }
    }

    #[inline(always)]
    fn amend_here(&mut self, key: &SlotKey, flags: u16) -> bool {
        let way = self.way_of(key);
        if way == WAYS {
            return false;
        }
        let way = bounded::<WAYS>(way);
        let Some(tag) = self.read(way, key) else {
            return false;
        };
        if flags != 0 {
            self.copy.flags |= flags;
            return self.write(way, tag, key, self.copy) == Noted::New;
        }
        let claimed = self.claim(way, tag);
        if claimed {
            self.release(way, tag.wrapping_add(2) & GENERATION);
        }
        claimed
    }

    #[inline(always)]
    fn write(&self, way: usize, tag: u64, key: &SlotKey, entry: &Entry) -> Noted {
        if !self.claim(way, tag) {
            return Noted::Busy;
        }
        // SAFETY: as for `check`; the slot is claimed, so this is its only writer.
        unsafe {
            words::copy_first::<CONTENT_WORDS, _, _>(&raw const *entry, self.content(way));
            self.at(way).write_volatile(entry.at);
            self.check(way).write_volatile(key.check);
        }
        let generation = tag.wrapping_add(2) & GENERATION;
        self.release(way, key.tag | generation);
        Noted::New
    }

    #[inline(always)]
    fn claim(&self, way: usize, tag: u64) -> bool {
        self.tag(way).replace(tag, tag | BUSY)
    }

    #[inline(always)]
    fn release(&self, way: usize, tag: u64) {
        self.tag(way).store(tag);
    }
}

/// What the kernel's verifier checks once, and not wherever it is called: functions that can be called by their
/// names, of numbers and of pointers to whole types, which for all that it knows may be null.
mod global {
    use super::{Entry, Noted, Set, SlotKey, Slots};

    pub(super) const NEW: u32 = Noted::New as u32;
    pub(super) const SAME: u32 = Noted::Same as u32;
    pub(super) const OTHER: u32 = Noted::Other as u32;
    const BUSY: u32 = Noted::Busy as u32;

    /// See [`Slots::note`]. A [`Noted`].
    #[cfg_attr(target_arch = "bpf", unsafe(no_mangle))]
    #[inline(never)]
    pub(super) unsafe extern "C" fn slots_note(
        set: *mut Set,
        copy: *mut Entry,
        key: *const SlotKey,
        entry: *const Entry,
        life: u32,
    ) -> u32 {
        if set.is_null() || copy.is_null() || key.is_null() || entry.is_null() {
            return BUSY;
        }
        // SAFETY: they come from a `Slots` and two references.
        let (mut slots, key, entry) = unsafe { (Slots::new(set, &mut *copy), &*key, &*entry) };
        slots.note_here(key, entry, life) as u32
    }

    /// See [`Slots::amend`]. Not 0: it was done.
    #[cfg_attr(target_arch = "bpf", unsafe(no_mangle))]
    #[inline(never)]
    pub(super) unsafe extern "C" fn slots_amend(
        set: *mut Set,
        copy: *mut Entry,
        key: *const SlotKey,
        flags: u16,
    ) -> u32 {
        if set.is_null() || copy.is_null() || key.is_null() {
            return 0;
        }
        // SAFETY: they come from a `Slots` and a reference.
        let (mut slots, key) = unsafe { (Slots::new(set, &mut *copy), &*key) };
        slots.amend_here(key, flags).into()
    }
}

/// Ticks since `then`. Another CPU's clock may be a tick ahead: that is no age.
#[inline(always)]
#[must_use]
pub const fn age(now: u32, then: u32) -> u32 {
    let age = now.wrapping_sub(then);
    if age > u32::MAX / 2 { 0 } else { age }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::endpoint::Endpoint;
    use core::cell::UnsafeCell;
    use std::vec::Vec;

    fn entry(port: u16, at: u32) -> Entry {
        let mut entry = Entry {
            at,
            ..Entry::default()
        };
        entry.set_peer(&Endpoint::v4([1, 2, 3, 4], port));
        entry
    }

    fn key(n: u64) -> SlotKey {
        SlotKey::new(n << 8, n << 32)
    }

    /// A table of one set.
    struct One(UnsafeCell<Set>);

    // SAFETY: it is made for access from several threads.
    unsafe impl Sync for One {}

    impl One {
        fn new() -> Self {
            Self(UnsafeCell::new(Set::default()))
        }

        fn slots<'c>(&self, copy: &'c mut Entry) -> Slots<'c> {
            // SAFETY: the cell is valid, and only accessed so.
            unsafe { Slots::new(self.0.get(), copy) }
        }

        fn note(&self, key: &SlotKey, entry: Entry, life: u32) -> Noted {
            self.slots(&mut Entry::default()).note(key, &entry, life)
        }

        fn find(&self, key: &SlotKey) -> Option<Entry> {
            self.slots(&mut Entry::default()).find(key).map(|e| *e)
        }

        fn amend(&self, key: &SlotKey, flags: u16) -> bool {
            self.slots(&mut Entry::default()).amend(key, flags)
        }
    }

    #[test]
    fn first_source_wins_for_its_life() {
        let s = One::new();
        assert_eq!(s.note(&key(1), entry(1, 10), 100), Noted::New);
        assert_eq!(s.note(&key(1), entry(1, 20), 100), Noted::Same);
        assert_eq!(s.note(&key(1), entry(2, 20), 100), Noted::Other);
        assert_eq!(s.find(&key(1)).unwrap().peer().port, 1);
        assert_eq!(s.note(&key(1), entry(2, 20), 0), Noted::New);
        assert_eq!(s.find(&key(1)).unwrap().peer().port, 2);
        assert_eq!(s.note(&key(1), entry(3, 120), 100), Noted::New);
        assert_eq!(s.find(&key(1)).unwrap().peer().port, 3);
    }

    #[test]
    fn oldest_is_replaced() {
        let s = One::new();
        for n in 1..=4 {
            s.note(&key(n), entry(n as u16, n as u32), 100);
        }
        s.note(&key(5), entry(5, 50), 100);
        assert!(s.find(&key(1)).is_none());
        for n in 2..=5 {
            assert_eq!(u64::from(s.find(&key(n)).unwrap().peer().port), n);
        }
    }

    /// Another CPU may write with a clock that is a tick ahead.
    #[test]
    fn a_clock_ahead_is_not_an_old_one() {
        let s = One::new();
        for n in 1..=4 {
            s.note(&key(n), entry(n as u16, 99 + n as u32), 100);
        }
        assert_eq!(s.note(&key(4), entry(9, 102), 100), Noted::Other);
        s.note(&key(5), entry(5, 101), 100);
        assert!(s.find(&key(4)).is_some() && s.find(&key(1)).is_none());
    }

    #[test]
    fn same_tag_with_another_check_is_another_key() {
        let s = One::new();
        s.note(&SlotKey::new(256, 1 << 32), entry(1, 1), 100);
        assert!(s.find(&SlotKey::new(256, 2 << 32)).is_none());
    }

    #[test]
    fn flags_are_added_and_entries_forgotten() {
        let s = One::new();
        s.note(&key(1), entry(1, 1), 100);
        assert!(s.amend(&key(1), 2));
        assert_eq!(s.find(&key(1)).unwrap().flags, 2);
        assert!(s.amend(&key(1), 0));
        assert!(s.find(&key(1)).is_none());
        assert!(!s.amend(&key(1), 0));
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
            set.ats[way] = other.ats[3];
            set.contents[way] = other.contents[3];
        }
        let s = One(UnsafeCell::new(set));
        assert_eq!(set.slots().map(|slot| slot.entry.peer().port), [2, 0, 4, 1]);
        assert_eq!(s.find(&key(1)).unwrap().peer().port, 2);
        assert_eq!(s.note(&key(1), entry(2, 2), 100), Noted::Same);
        assert!(s.amend(&key(1), 8));
        assert_eq!(s.find(&key(1)).unwrap().flags, 8);
        assert_eq!(s.note(&key(1), entry(9, 2), 0), Noted::New);
        assert_eq!(s.find(&key(1)).unwrap().peer().port, 9);
        assert!(s.amend(&key(1), 0));
        assert_eq!(s.find(&key(1)).unwrap().peer().port, 4);
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
                                contact: u64::from(stamp),
                                at: i as u32,
                                flags: stamp,
                                ..Entry::default()
                            };
                            e.set_peer(&Endpoint::v4([0; 4], stamp));
                            e.set_advertised(&Endpoint::v4([n as u8; 4], stamp));
                            shared.note(&key(n), e, 0);
                            if let Some(e) = shared.find(&key(i % 6 + 1)) {
                                found += 1;
                                let owner = (i % 6 + 1) as u8;
                                assert_eq!(e.advertised().as_v4(), [owner; 4]);
                                assert_eq!(e.contact, u64::from(e.flags));
                                assert_eq!(e.peer().port, u32::from(e.flags));
                                assert_eq!(e.advertised().port, u32::from(e.flags));
                                assert_eq!((e.at << 2) as u16, e.flags & !3);
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
