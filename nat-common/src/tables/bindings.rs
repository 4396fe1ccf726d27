//! Tables of bindings: arrays of sets, in which each binding may lie in one of two.
//!
//! A new binding goes to the first of its sets, where it is found without a look at the second, or, if that is more than half full, to
//! the one that bears less. A confirmed binding counts twice: it stays, and an unconfirmed one may give way.
//! Tests saw none refused up to [`BINDING_LOAD`](crate::abi::BINDING_LOAD) confirmed bindings for each set of the table, however many
//! unconfirmed ones came. An expired binding counts as free. If both sets are full, the new binding replaces the unconfirmed one
//! that was silent longest in the set that bears less, else in the other; if all are confirmed, it is refused.
//!
//! Two sets hold at most [`SOURCE_QUOTA`] unconfirmed dialog ends of one source, and at most [`OWNER_QUOTA`] contacts of one
//! address-of-record. Its contacts lie in [`GROUPS`] pairs of sets. Above a quota, the new binding replaces the one that
//! was silent longest.
//!
//! The tag word guards its slot as in [`slots`](crate::tables::slots): hash, generation and a busy bit. A reader copies the
//! binding between two reads of the tag, and tries again if they differ. A writer names the generation that it has read;
//! if the slot has another one, it writes nothing. Only the count of redirects is added without that check.
//!
//! ```
//! use nat_common::abi::{Binding, BindingSet, DialogKey};
//! use nat_common::tables::bindings::{BindingKey as _, Room, Slice, Stored, find, store};
//!
//! let mut memory = [BindingSet::EMPTY; 4];
//! // SAFETY: the sets are valid, and nobody else uses them.
//! let sets = unsafe { Slice::new(memory.as_mut_ptr(), 4) };
//! let key = DialogKey { call: 1, tag: 2 };
//! let mut binding = Binding { key: key.words(), expires: 100, ..Binding::EMPTY };
//! assert_eq!(store(&sets, &key, &binding, None, 7, &mut Room::default()), Stored::New);
//! assert!(find(&sets, &key, &mut binding).is_some());
//! ```

use core::num::NonZeroU32;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::{BINDING_WAYS as WAYS, Binding, BindingFlags, BindingSet, ContactKey, DialogKey};
use crate::bpf::atomic::Word;
use crate::bpf::bounded;
use crate::bytes::words;
use crate::endpoint::Endpoint;
use crate::tables::slots::{BUSY, GENERATION, HASH, next, tag_of};

/// Unconfirmed dialog ends of one source in two sets: a quarter of them.
pub const SOURCE_QUOTA: u64 = 4;

/// Contacts of one address-of-record in two sets: half of them. Those that a proxy registers have no quota: others may have
/// written the answers.
pub const OWNER_QUOTA: u64 = 8;

/// Pairs of sets in which the contacts of an address-of-record lie.
pub const GROUPS: u64 = 16;

/// Weight of half a set of confirmed bindings.
const HALF: u64 = WAYS as u64;

/// Tries of a reader whose copy is torn. A writer needs less time than one of them.
const TRIES: usize = 4;

/// Sets of a table, which other CPUs read and write at the same time.
///
/// # Safety
/// What `set` returns must be valid for reads and writes while this is used, aligned to eight bytes, and only ever be
/// accessed by the functions of this module.
pub unsafe trait Sets {
    /// Returns the set of that number, which is masked to the size of the table.
    fn set(&self, number: u32) -> Option<*mut BindingSet>;
}

/// Sets in a row.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    first: *mut BindingSet,
    mask: u32,
}

impl Slice {
    /// Sets in a row; their number is a power of two.
    ///
    /// # Safety
    /// As for [`Sets`]: for writes only if bindings are written.
    #[must_use]
    pub const unsafe fn new(first: *mut BindingSet, sets: u32) -> Self {
        debug_assert!(sets.is_power_of_two());
        Self {
            first,
            mask: sets - 1,
        }
    }
}

// SAFETY: by the promise of `new`.
unsafe impl Sets for Slice {
    #[inline(always)]
    fn set(&self, number: u32) -> Option<*mut BindingSet> {
        // SAFETY: within the row.
        Some(unsafe { self.first.add((number & self.mask) as usize) })
    }
}

/// Location of a binding, by its key: two sets, and the hash in its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    sets: [u32; 2],
    hash: u64,
}

impl Home {
    #[inline(always)]
    const fn new(sets: u64, hash: u64) -> Self {
        Self {
            // The two differ in the lowest bit at least.
            sets: [sets as u32, sets as u32 ^ ((sets >> 32) as u32 | 1)],
            hash: tag_of(hash),
        }
    }
}

/// Key of a binding. Its words are keyed hashes: nobody chooses where his bindings lie.
pub trait BindingKey: Copy {
    /// True for the key of a contact.
    const CONTACT: bool;
    /// Returns its words, as [`Binding::key`] has them.
    fn words(&self) -> [u64; 2];
    /// Builds the key from its words.
    fn from_words(words: [u64; 2]) -> Self;
    /// Returns the location of its binding.
    fn home(&self) -> Home;
}

impl BindingKey for DialogKey {
    const CONTACT: bool = false;

    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        [self.call, self.tag]
    }

    #[inline(always)]
    fn from_words([call, tag]: [u64; 2]) -> Self {
        Self { call, tag }
    }

    #[inline(always)]
    fn home(&self) -> Home {
        Home::new(
            self.tag ^ self.call.rotate_left(16),
            self.call ^ self.tag.rotate_left(32),
        )
    }
}

impl BindingKey for ContactKey {
    const CONTACT: bool = true;

    #[inline(always)]
    fn words(&self) -> [u64; 2] {
        [self.uri, self.aor]
    }

    #[inline(always)]
    fn from_words([uri, aor]: [u64; 2]) -> Self {
        Self { uri, aor }
    }

    /// Contacts of one address-of-record lie together, also those that it had before ([`ContactKey::before`]).
    #[inline(always)]
    fn home(&self) -> Home {
        let owner = self.aor ^ ((self.aor as i64) >> 63) as u64;
        let group = (self.uri & (GROUPS - 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let sets = if owner == 0 {
            self.uri
        } else {
            owner.rotate_left(16) ^ group
        };
        Home::new(sets, self.uri ^ self.aor.rotate_left(32))
    }
}

/// Slot in which a binding was found, and its generation then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(NonZeroU32);

impl Found {
    /// Bit that makes it other than 0.
    const MARK: u32 = 1 << 8;

    #[inline(always)]
    const fn new(slot: usize, tag: u64) -> Self {
        let bits = ((tag & GENERATION) as u32) << 16 | slot as u32 | Self::MARK;
        // SAFETY: it has the mark.
        Self(unsafe { NonZeroU32::new_unchecked(bits) })
    }

    /// Builds it from its number; `None` for 0.
    #[inline(always)]
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Returns its number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// Returns the number of its slot among those of two sets.
    #[inline(always)]
    const fn slot(self) -> usize {
        (self.0.get() & 0xff) as usize
    }

    #[inline(always)]
    const fn generation(self) -> u64 {
        (self.0.get() >> 16) as u64
    }
}

/// Outcome of storing a binding.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, num_enum::FromPrimitive)]
pub enum Stored {
    /// Another CPU changed the slot meanwhile: the binding was not stored.
    #[num_enum(default)]
    Busy,
    /// Both sets hold confirmed bindings only: the binding was not stored.
    Full,
    /// The binding is in the table now.
    New,
    /// It replaced its earlier state.
    Renewed,
    /// It replaced another one, whose key is in the [`Room`].
    Pushed,
}

/// Scratch for a search for room among the slots of two sets. A slot is noted as its rank: its silence, its number, and a
/// mark, so that 0 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Room {
    /// Tag of each slot when it was weighed.
    tags: [u64; 2 * WAYS],
    /// The best slot of each class.
    best: [u64; class::COUNT],
    /// The best slot in the quota of the new binding.
    ours: u64,
    /// Number of slots in that quota.
    in_quota: u64,
    /// Weight of the live bindings in each set.
    borne: [u64; 2],
    /// The binding that gave way; zeros if none did.
    pub pushed: Pushed,
}

impl Room {
    /// Returns the best slot of a class in the set that is to have the new binding, else in the other; 0: there is none. `class` is
    /// that of the first set, and the next is the same of the second one.
    #[inline(always)]
    fn of_either(&self, class: usize) -> u64 {
        let [first, other] = self.borne;
        let second = usize::from(first > HALF && first > other);
        let lighter = self.best_of(class + second);
        if lighter != 0 {
            return lighter;
        }
        self.best_of(class + 1 - second)
    }

    #[inline(always)]
    fn best_of(&self, class: usize) -> u64 {
        let class = bounded::<{ class::COUNT }>(class);
        // SAFETY: the class is bounded. The compiler, which does not see that, would check it.
        unsafe { *(&raw const self.best).cast::<u64>().add(class) }
    }
}

/// A binding that gave way to a new one.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Pushed {
    /// Its key.
    pub key: [u64; 2],
    /// The address in its Contact, where numeric.
    pub advertised: Endpoint,
}

/// Finds the binding of a key, expired or not, and copies it.
#[inline(always)]
pub fn find<K: BindingKey>(sets: &impl Sets, key: &K, to: &mut Binding) -> Option<Found> {
    let home = key.home();
    for choice in 0..2 {
        let set = sets.set(home.sets[choice])?;
        // SAFETY: `Sets` promises a valid set, and the binding is a reference.
        let found = unsafe { global::copy_binding(set, home.hash, to) };
        if found != 0 && to.key == key.words() {
            return Found::from_number(found | (choice * WAYS) as u32);
        }
    }
    None
}

/// Stores a binding: over the state that was found, or, new, where there is room.
#[inline(always)]
pub fn store<K: BindingKey>(
    sets: &impl Sets,
    key: &K,
    from: &Binding,
    found: Option<Found>,
    now: u64,
    room: &mut Room,
) -> Stored {
    let home = key.home();
    room.pushed.key = [0; 2];
    let Some(found) = found else {
        return store_new::<K>(sets, &home, from, now, room);
    };
    let Some((set, way)) = slot(sets, &home, found.slot()) else {
        return Stored::Busy;
    };
    if write(set, way, home.hash | found.generation(), home.hash, from) {
        Stored::Renewed
    } else {
        Stored::Busy
    }
}

/// Forgets the binding that was found. Returns whether that was done.
#[inline(always)]
pub fn forget<K: BindingKey>(sets: &impl Sets, key: &K, found: Found) -> bool {
    let home = key.home();
    let Some((set, way)) = slot(sets, &home, found.slot()) else {
        return false;
    };
    let tag = home.hash | found.generation();
    // In one step, so that a command that is killed leaves no slot busy.
    word(set, way).replace(tag, next(tag))
}

/// Sets the flags of the binding that was found. Returns whether that was done.
#[inline(always)]
pub fn set_flags<K: BindingKey>(
    sets: &impl Sets,
    key: &K,
    found: Found,
    flags: BindingFlags,
) -> bool {
    let home = key.home();
    let Some((set, way)) = slot(sets, &home, found.slot()) else {
        return false;
    };
    let tag = home.hash | found.generation();
    let claimed = word(set, way).replace(tag, tag | BUSY);
    if claimed {
        // SAFETY: as for `word`; the slot is claimed, so this is its only writer.
        unsafe { (&raw mut (*binding(set, way)).flags).write_volatile(flags) };
        word(set, way).store(home.hash | next(tag));
    }
    claimed
}

/// Adds one to the packets that the binding which was found redirected. No claim: if another has its slot now, a number is
/// wrong that only people read.
#[inline(always)]
pub fn count_redirected<K: BindingKey>(sets: &impl Sets, key: &K, found: Found) {
    if let Some((set, way)) = slot(sets, &key.home(), found.slot()) {
        // SAFETY: as for `word`; this word is only added to, or written by who has claimed the slot.
        unsafe { Word::new(&raw mut (*binding(set, way)).redirected) }.add(1);
    }
}

/// Copies the binding of a slot, if it holds one.
///
/// # Safety
/// As for [`Sets`], for reads.
#[must_use]
pub unsafe fn copy_slot(set: *mut BindingSet, way: usize, to: &mut Binding) -> bool {
    let way = bounded::<WAYS>(way);
    (0..TRIES).any(|_| read(set, way, to).is_some_and(|tag| tag & HASH != 0))
}

/// Copies the words of a slot of another layout, if it holds a binding. `word` reads one.
#[must_use]
pub fn read_words(tag: Word, word: impl Fn(usize) -> u64, to: &mut [u64]) -> Option<()> {
    /// More than [`TRIES`]: what is not read is lost.
    const PATIENT: usize = 10_000;
    for _ in 0..PATIENT {
        let before = tag.load();
        if before & HASH == 0 {
            return None;
        }
        for (index, to) in to.iter_mut().enumerate() {
            *to = word(index);
        }
        if tag.load() == before && before & BUSY == 0 {
            return Some(());
        }
        core::hint::spin_loop();
    }
    None
}

/// Returns a slot of a home's two sets, by its number.
#[inline(always)]
fn slot(sets: &impl Sets, home: &Home, slot: usize) -> Option<(*mut BindingSet, usize)> {
    let set = sets.set(if slot < WAYS {
        home.sets[0]
    } else {
        home.sets[1]
    })?;
    Some((set, bounded::<WAYS>(slot)))
}

/// Returns the tag word of a slot.
#[inline(always)]
fn word(set: *mut BindingSet, way: usize) -> Word {
    // SAFETY: `Sets` promises a valid set, `way` is below WAYS, and tags are only accessed so.
    unsafe { Word::new((&raw mut (*set).tags).cast::<u64>().add(way)) }
}

#[inline(always)]
fn binding(set: *mut BindingSet, way: usize) -> *mut Binding {
    // SAFETY: as for `word`; no reference is made.
    unsafe { (&raw mut (*set).bindings).cast::<Binding>().add(way) }
}

/// Copies a binding whose tag has that hash. Returns its slot.
#[inline(always)]
fn copy_of(set: *mut BindingSet, hash: u64, to: &mut Binding) -> Option<Found> {
    for _ in 0..TRIES {
        // One that is being written to may be the one, but only if there is no other.
        let mut found = way_of(set, hash, HASH | BUSY);
        if found == WAYS {
            found = way_of(set, hash, HASH);
        }
        if found == WAYS {
            return None;
        }
        let way = bounded::<WAYS>(found);
        if let Some(tag) = read(set, way, to) {
            // Another binding may have taken the slot since its tag was seen.
            return (tag & HASH == hash).then(|| Found::new(way, tag));
        }
    }
    None
}

/// Finds the first way whose tag is that hash under a mask; [`WAYS`]: there is none.
#[inline(always)]
fn way_of(set: *mut BindingSet, hash: u64, mask: u64) -> usize {
    let mut found = WAYS;
    for way in (0..WAYS).rev() {
        if word(set, way).peek() & mask == hash {
            found = way;
        }
    }
    found
}

/// Copies what a slot holds. Returns its tag; none if somebody writes to it.
#[inline(always)]
fn read(set: *mut BindingSet, way: usize, to: &mut Binding) -> Option<u64> {
    let before = word(set, way).load();
    // SAFETY: as for `binding`. If a writer tears the copy, the tags differ and it is not used.
    unsafe { words::copy(binding(set, way), &raw mut *to) };
    let after = word(set, way).load();
    (before == after && before & BUSY == 0).then_some(before)
}

/// Writes a binding over the slot that has a tag, and gives it the hash of a new one. False if the tag has changed.
#[inline(always)]
fn write(set: *mut BindingSet, way: usize, old: u64, hash: u64, from: &Binding) -> bool {
    if !word(set, way).replace(old, old | BUSY) {
        return false;
    }
    // SAFETY: as for `binding`; the slot is claimed, so this is its only writer.
    unsafe { words::copy(from, binding(set, way)) };
    word(set, way).store(hash | next(old));
    true
}

/// Classes of slots as room for a new binding.
mod class {
    /// It has the same key, and has expired.
    pub(super) const SAME: usize = 0;
    /// Never used, forgotten or expired, in the first set. The next number is the same in the second set.
    pub(super) const FREE: usize = 1;
    /// Unconfirmed, in the first set. The next number is the same in the second set.
    pub(super) const UNCONFIRMED: usize = 3;
    pub(super) const CONFIRMED: usize = 5;
    /// It has the same key, is live, and was not there when the new binding was made.
    pub(super) const UNSEEN: usize = 6;
    /// A power of two, so that the verifier can bound a class.
    pub(super) const COUNT: usize = 8;
}

const MARK: u64 = 1 << 63;
const SILENCE_SHIFT: u32 = 8;
const NUMBER: u64 = 0xff;

/// Bit of a slot's number that tells a contact, where both go in one parameter.
const CONTACT_BIT: u32 = 8;

/// Weighs a slot by its number among those of two sets, and notes it in the room.
#[inline(always)]
fn weigh_slot(
    set: *mut BindingSet,
    number: usize,
    new: &Binding,
    now: u64,
    contact: bool,
    room: &mut Room,
) {
    let number = bounded::<{ 2 * WAYS }>(number);
    let way = bounded::<WAYS>(number);
    // Before its contents.
    let tag = word(set, way).load();
    // SAFETY: the number is bounded. The compiler, which does not see that, would check it.
    unsafe { *(&raw mut room.tags).cast::<u64>().add(number) = tag };
    let second = number / WAYS;
    let mut rank = MARK | number as u64;
    if tag & BUSY != 0 {
        return;
    }
    if tag & HASH == 0 {
        return note(&mut room.best, class::FREE + second, rank);
    }
    let known = binding(set, way);
    // SAFETY: as for `binding`. If a writer changes it meanwhile, the claim that follows fails.
    let key = unsafe { (&raw const (*known).key).read_volatile() };
    // SAFETY: as above.
    let expires = unsafe { (&raw const (*known).expires).read_volatile() };
    if key == new.key {
        let class = if expires <= now {
            class::SAME
        } else {
            class::UNSEEN
        };
        return note(&mut room.best, class, rank);
    }
    if expires <= now {
        return note(&mut room.best, class::FREE + second, rank);
    }
    // The rest is read where it is needed: the stack has no space for it before (6.1).
    // SAFETY: as above.
    let flags = unsafe { (&raw const (*known).flags).read_volatile() };
    // SAFETY: the number is bounded, and so is that of the set. The compiler, which does not see that, would check it.
    let borne = unsafe { &mut *(&raw mut room.borne).cast::<u64>().add(second) };
    *borne += 1;
    let class = if is_confirmed(flags) {
        *borne += 1;
        class::CONFIRMED
    } else {
        class::UNCONFIRMED + second
    };
    // SAFETY: as above.
    let seen = unsafe { (&raw const (*known).seen).read_volatile() };
    rank |= now.saturating_sub(seen) << SILENCE_SHIFT & !MARK;
    note(&mut room.best, class, rank);
    let ours = if contact {
        // SAFETY: as above.
        let aor = unsafe { (&raw const (*known).aor).read_volatile() };
        is_contact(new) && aor == new.aor && (key[1] == aor || key[1] == !aor) && key[0] != 0
    } else {
        // SAFETY: as above.
        let source = unsafe { (&raw const (*known).learned.addr).read_volatile() };
        !is_confirmed(flags) && !is_confirmed(new.flags) && same_source(source, new.learned.addr)
    };
    if ours {
        room.in_quota += 1;
        if rank > room.ours {
            room.ours = rank;
        }
    }
}

/// Notes a slot as the best of its class, if it was silent longest.
#[inline(always)]
fn note(best: &mut [u64; class::COUNT], class: usize, rank: u64) {
    let class = bounded::<{ class::COUNT }>(class);
    // SAFETY: the class is bounded. The compiler, which does not see that, would check it.
    let best = unsafe { &mut *(&raw mut *best).cast::<u64>().add(class) };
    if rank > *best {
        *best = rank;
    }
}

/// Whether no flag makes a binding unconfirmed: early, unacknowledged, ended.
#[inline(always)]
const fn is_confirmed(flags: BindingFlags) -> bool {
    const UNCONFIRMED: BindingFlags = BindingFlags::EARLY
        .union(BindingFlags::UNACKNOWLEDGED)
        .union(BindingFlags::ENDED);
    !flags.intersects(UNCONFIRMED)
}

/// Whether it is a contact for its quota: an entry with its owner, for which no proxy may have relayed the answer.
#[inline(always)]
const fn is_contact(binding: &Binding) -> bool {
    binding.key[0] != 0
        && binding.key[1] == binding.aor
        && !binding.flags.contains(BindingFlags::PROXY)
}

/// Whether two sources are one subscriber's: one IPv4 address, or one /64 of IPv6.
#[inline(always)]
const fn same_source(a: [u64; 2], b: [u64; 2]) -> bool {
    // Of an IPv4 address, the first word is 0.
    a[0] == b[0] && (a[0] != 0 || a[1] == b[1])
}

/// Stores a binding where there is most room for it.
#[inline(always)]
fn store_new<K: BindingKey>(
    sets: &impl Sets,
    home: &Home,
    from: &Binding,
    now: u64,
    room: &mut Room,
) -> Stored {
    words::clear(room);
    for choice in 0..2 {
        let Some(set) = sets.set(home.sets[choice]) else {
            return Stored::Busy;
        };
        for way in 0..WAYS {
            let number = (choice * WAYS + way) as u32 | u32::from(K::CONTACT) << CONTACT_BIT;
            // SAFETY: `Sets` promises a valid set; the others are references.
            unsafe { global::weigh_slot(set, number, from, now, room) };
        }
    }
    let quota = if K::CONTACT {
        OWNER_QUOTA
    } else {
        SOURCE_QUOTA
    };
    let mut stored = Stored::New;
    let rank = if room.best[class::UNSEEN] != 0 {
        return Stored::Busy;
    } else if room.best[class::SAME] != 0 {
        stored = Stored::Renewed;
        room.best[class::SAME]
    } else if room.in_quota >= quota {
        stored = Stored::Pushed;
        room.ours
    } else if room.of_either(class::FREE) != 0 {
        room.of_either(class::FREE)
    } else if room.of_either(class::UNCONFIRMED) != 0 {
        stored = Stored::Pushed;
        room.of_either(class::UNCONFIRMED)
    } else if room.best[class::CONFIRMED] != 0 {
        return Stored::Full;
    } else {
        return Stored::Busy;
    };
    let number = bounded::<{ 2 * WAYS }>((rank & NUMBER) as usize);
    let Some((set, way)) = slot(sets, home, number) else {
        return Stored::Busy;
    };
    if stored == Stored::Pushed {
        let known = binding(set, way);
        // SAFETY: as for `binding`; the claim below fails if it changes.
        unsafe {
            room.pushed.key = (&raw const (*known).key).read_volatile();
            room.pushed.advertised.addr = (&raw const (*known).advertised.addr).read_volatile();
            room.pushed.advertised.port = (&raw const (*known).advertised.port).read_volatile();
        }
    }
    // SAFETY: the number is bounded, as in `weigh_slot`.
    let old = unsafe { (&raw const room.tags).cast::<u64>().add(number).read() };
    if write(set, way, old, home.hash, from) {
        stored
    } else {
        Stored::Busy
    }
}

/// Functions that the kernel's verifier checks once, and not wherever they are called: see
/// [`slots`](crate::tables::slots). They keep the frames of their callers small.
mod global {
    use super::{Binding, BindingSet, CONTACT_BIT, Found, Room};

    /// See [`copy_of`](super::copy_of). Returns the number of a [`Found`], or 0.
    #[cfg_attr(target_arch = "bpf", unsafe(no_mangle))]
    #[inline(never)]
    pub(super) unsafe extern "C" fn copy_binding(
        set: *mut BindingSet,
        hash: u64,
        to: *mut Binding,
    ) -> u32 {
        if set.is_null() || to.is_null() {
            return 0;
        }
        // SAFETY: it comes from a reference.
        super::copy_of(set, hash, unsafe { &mut *to }).map_or(0, Found::number)
    }

    /// See [`weigh_slot`](super::weigh_slot). The bit [`CONTACT_BIT`] of the number tells a contact. Returns 0.
    #[cfg_attr(target_arch = "bpf", unsafe(no_mangle))]
    #[inline(never)]
    pub(super) unsafe extern "C" fn weigh_slot(
        set: *mut BindingSet,
        number: u32,
        new: *const Binding,
        now: u64,
        room: *mut Room,
    ) -> u32 {
        if set.is_null() || new.is_null() || room.is_null() {
            return 0;
        }
        // SAFETY: they come from references.
        let (new, room) = unsafe { (&*new, &mut *room) };
        let contact = number >> CONTACT_BIT != 0;
        super::weigh_slot(set, number as usize, new, now, contact, room);
        0
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::abi::{BINDING_LOAD, SECOND};
    use crate::endpoint::Endpoint;
    use core::cell::UnsafeCell;
    use std::vec::Vec;

    const NOW: u64 = 1_000_000 * SECOND;

    /// A table in memory.
    struct Table(Vec<UnsafeCell<BindingSet>>);

    // SAFETY: it is made for access from several threads.
    unsafe impl Sync for Table {}

    impl Table {
        fn new(sets: u32) -> Self {
            Self(
                (0..sets)
                    .map(|_| UnsafeCell::new(BindingSet::EMPTY))
                    .collect(),
            )
        }

        fn sets(&self) -> Slice {
            // SAFETY: the cells are valid, and only accessed so.
            unsafe { Slice::new(self.0[0].get(), self.0.len() as u32) }
        }

        fn store<K: BindingKey>(&self, key: K, binding: Binding) -> Stored {
            let binding = Binding {
                key: key.words(),
                ..binding
            };
            store(
                &self.sets(),
                &key,
                &binding,
                None,
                NOW,
                &mut Room::default(),
            )
        }

        fn find<K: BindingKey>(&self, key: K) -> Option<Binding> {
            let mut binding = Binding::EMPTY;
            find(&self.sets(), &key, &mut binding).map(|_| binding)
        }

        fn set_of<K: BindingKey>(&self, key: K) -> Option<usize> {
            let mut copy = Binding::EMPTY;
            self.0.iter().position(|set| {
                // SAFETY: the cells are valid.
                (0..WAYS).any(|way| unsafe { copy_slot(set.get(), way, &mut copy) } && copy.key == key.words())
            })
        }

        fn live(&self) -> usize {
            let mut copy = Binding::EMPTY;
            self.0
                .iter()
                .flat_map(|set| (0..WAYS).map(move |way| (set, way)))
                // SAFETY: the cells are valid.
                .filter(|(set, way)| unsafe { copy_slot(set.get(), *way, &mut copy) } && copy.expires > NOW)
                .count()
        }
    }

    /// Mixes a number, as a keyed hash does.
    fn hash(n: u64) -> u64 {
        crate::tables::hash::words(n, 1, 2, &[3, 4])
    }

    fn dialog(n: u64) -> DialogKey {
        DialogKey {
            call: hash(n),
            tag: hash(!n),
        }
    }

    fn contact(uri: u64, owner: u64) -> ContactKey {
        ContactKey {
            uri: hash(uri),
            aor: hash(owner),
        }
    }

    /// A confirmed binding of a source, silent for so long.
    fn live(source: u32, silent: u64) -> Binding {
        Binding {
            learned: Endpoint::v4(source.to_be_bytes(), 5060),
            seen: NOW - silent * SECOND,
            expires: NOW + SECOND,
            ..Binding::EMPTY
        }
    }

    fn early(source: u32, silent: u64) -> Binding {
        Binding {
            flags: BindingFlags::EARLY,
            ..live(source, silent)
        }
    }

    fn of_owner(owner: u64, silent: u64) -> Binding {
        Binding {
            aor: hash(owner),
            ..live(1, silent)
        }
    }

    #[test]
    fn all_are_kept_up_to_capacity() {
        for (round, sets) in [64, 256, 1024, 4096].into_iter().enumerate() {
            let table = Table::new(sets);
            let n = u64::from(sets * BINDING_LOAD);
            let first = round as u64 * 1_000_000;
            for i in first..first + n {
                assert_eq!(table.store(dialog(i), live(i as u32, 0)), Stored::New);
            }
            assert!((first..first + n).all(|i| table.find(dialog(i)).is_some()));
            // Each with its contact, and the entry of its URI.
            // Each with the entry of its URI, and as many contacts to an owner.
            for shared in [1, 2, 4] {
                let table = Table::new(sets);
                for i in first..first + n / 2 {
                    let owner = i / shared;
                    let key = contact(i, owner);
                    assert_eq!(table.store(key, of_owner(owner, 0)), Stored::New);
                    let twin = ContactKey { aor: 0, ..key };
                    assert_eq!(table.store(twin, of_owner(owner, 0)), Stored::New);
                }
            }
        }
    }

    #[test]
    fn beyond_it_confirmed_ones_stay() {
        let table = Table::new(16);
        let stored: Vec<_> = (0..1000)
            .map(|i| (i, table.store(dialog(i), live(i as u32, 0))))
            .collect();
        let refused = stored.iter().filter(|(_, s)| *s == Stored::Full).count();
        assert!(refused >= 1000 - 16 * WAYS);
        assert_eq!(table.live(), 1000 - refused);
        for (i, stored) in stored {
            assert_eq!(table.find(dialog(i)).is_some(), stored == Stored::New);
        }
    }

    #[test]
    fn the_expired_are_room() {
        let table = Table::new(2);
        for i in 0..32 {
            table.store(
                dialog(i),
                Binding {
                    expires: NOW,
                    ..live(1, 0)
                },
            );
        }
        for i in 100..116 {
            assert_eq!(table.store(dialog(i), live(1, 0)), Stored::New);
        }
        assert_eq!(table.store(dialog(116), live(1, 0)), Stored::Full);
    }

    #[test]
    fn the_unconfirmed_give_way_the_silent_first() {
        const UNCONFIRMED: core::ops::Range<u64> = 8..16;
        let table = Table::new(2);
        for i in 0..16 {
            let binding = if UNCONFIRMED.contains(&i) {
                early(i as u32, i)
            } else {
                live(1, 50)
            };
            table.store(dialog(i), binding);
        }
        let mut left: Vec<_> = UNCONFIRMED
            .map(|i| (i, table.set_of(dialog(i)).unwrap()))
            .collect();
        for new in 100..108 {
            assert_eq!(table.store(dialog(new), live(1, 0)), Stored::Pushed);
            let is_gone = |(i, _): &(u64, usize)| table.find(dialog(*i)).is_none();
            let gone = left.remove(left.iter().position(is_gone).unwrap());
            assert_eq!(table.set_of(dialog(new)), Some(gone.1));
            let silent = left.iter().filter(|(_, set)| *set == gone.1);
            assert!(silent.clone().all(|other| other.0 < gone.0), "{gone:?}");
        }
        assert!((0..8).all(|i| table.find(dialog(i)).is_some()));
    }

    /// The table is full of unconfirmed bindings, each of a new source, and more of them may arrive before each confirmed one.
    #[test]
    fn all_are_kept_up_to_capacity_whatever_else_arrives() {
        for (seed, sets, between) in [(1, 4096, 0), (2, 4096, 0), (3, 1024, 1), (4, 256, 8)] {
            let table = Table::new(sets);
            let junk = |n: u64| {
                let number = seed << 48 | 1 << 40 | n;
                let binding = early(n as u32, hash(number) % 900);
                assert_ne!(table.store(dialog(number), binding), Stored::Full);
            };
            let full = u64::from(sets) * WAYS as u64 * 2;
            (0..full).for_each(junk);
            let first = seed << 48;
            let capacity = u64::from(sets * BINDING_LOAD);
            for i in 0..capacity {
                (0..between).for_each(|more| junk(full + i * between + more));
                let stored = table.store(dialog(first + i), live(i as u32, 0));
                assert_ne!(stored, Stored::Full, "{i} of {capacity}");
            }
            assert!((first..first + capacity).all(|i| table.find(dialog(i)).is_some()));
        }
    }

    /// A flood of one source pushes out its own, even where there is room.
    #[test]
    fn a_source_has_a_quota_of_the_unconfirmed() {
        let table = Table::new(64);
        table.store(dialog(1), early(2, 900));
        for i in 100..10_000 {
            table.store(dialog(i), early(1, 0));
        }
        assert!(table.find(dialog(1)).is_some());
        assert!(table.live() <= 64 * WAYS / 2, "{}", table.live());
        let v6 = |low: u64| Binding {
            learned: Endpoint {
                addr: [0x2a01, low],
                ..Endpoint::UNKNOWN
            },
            ..early(1, 0)
        };
        let table = Table::new(2);
        for i in 0..16 {
            table.store(dialog(i), v6(i));
        }
        assert_eq!(table.live() as u64, SOURCE_QUOTA);
        // What is confirmed counts in no quota.
        for i in 10..14 {
            assert_eq!(table.store(dialog(i), live(1, 0)), Stored::New);
        }
    }

    #[test]
    fn an_owner_has_a_quota_of_contacts() {
        let table = Table::new(256);
        for i in 0..10_000 {
            let stored = table.store(contact(i, 1), of_owner(1, 10_000 - i));
            assert!(stored == Stored::New || stored == Stored::Pushed);
        }
        let most = (GROUPS * OWNER_QUOTA) as usize;
        assert!(table.live() <= most && table.live() > most / 2);
        // The newest of each group stay.
        let kept = (10_000 - 300..10_000).filter(|i| table.find(contact(*i, 1)).is_some());
        assert_eq!(kept.count(), table.live());
        assert_eq!(table.store(contact(1, 2), of_owner(2, 0)), Stored::New);
    }

    /// Twenty phones of one owner, many times.
    #[test]
    fn the_phones_of_an_owner_are_kept() {
        for owner in 0..200 {
            let table = Table::new(256);
            for i in 0..20 {
                let key = contact(owner << 32 | i, owner);
                let stored = table.store(key, of_owner(owner, 20 - i));
                assert_eq!(stored, Stored::New, "{owner}");
            }
        }
    }

    /// What a proxy may have relayed pushes out nobody.
    #[test]
    fn the_contacts_of_a_proxy_have_no_quota() {
        let table = Table::new(256);
        let by_proxy = Binding {
            flags: BindingFlags::PROXY,
            ..of_owner(1, 0)
        };
        table.store(contact(0, 1), of_owner(1, 9000));
        for i in 1..1000 {
            assert_ne!(table.store(contact(i, 1), by_proxy), Stored::Pushed);
        }
        assert!(table.find(contact(0, 1)).is_some());
    }

    /// They once lay in four pairs of sets, all of them.
    #[test]
    fn contacts_are_kept_where_they_were_before() {
        let table = Table::new(1024);
        for i in 0..2000 {
            let key = contact(i, i);
            for key in [key, ContactKey { aor: 0, ..key }] {
                assert_eq!(table.store(key.before(), of_owner(i, 0)), Stored::New);
            }
        }
    }

    #[test]
    fn whoever_was_pushed_out_is_named() {
        let table = Table::new(2);
        let mut room = Room::default();
        for i in 0..16 {
            table.store(dialog(i), early(i as u32, i));
        }
        let key = dialog(99);
        let binding = Binding {
            key: key.words(),
            ..live(1, 0)
        };
        assert_eq!(
            store(&table.sets(), &key, &binding, None, NOW, &mut room),
            Stored::Pushed
        );
        assert!(table.find(DialogKey::from_words(room.pushed.key)).is_none());
    }

    #[test]
    fn only_what_was_seen_is_changed() {
        let (table, key) = (Table::new(4), dialog(1));
        let (sets, mut copy) = (table.sets(), Binding::EMPTY);
        table.store(key, live(1, 0));
        let found = find(&sets, &key, &mut copy).unwrap();
        let room = &mut Room::default();
        assert_eq!(Found::from_number(found.number()), Some(found));
        assert_eq!(table.store(key, live(2, 0)), Stored::Busy, "not seen");
        copy.learned = Endpoint::v4([0, 0, 0, 2], 5060);
        assert_eq!(
            store(&sets, &key, &copy, Some(found), NOW, room),
            Stored::Renewed
        );
        assert_eq!(
            store(&sets, &key, &copy, Some(found), NOW, room),
            Stored::Busy
        );
        assert!(!set_flags(&sets, &key, found, BindingFlags::PROVEN));
        assert!(!forget(&sets, &key, found));
        let found = find(&sets, &key, &mut copy).unwrap();
        assert_eq!(copy.learned, Endpoint::v4([0, 0, 0, 2], 5060));
        count_redirected(&sets, &key, found);
        assert!(set_flags(&sets, &key, found, BindingFlags::PROVEN));
        let found = find(&sets, &key, &mut copy).unwrap();
        assert_eq!((copy.flags, copy.redirected), (BindingFlags::PROVEN, 1));
        assert!(forget(&sets, &key, found));
        assert!(table.find(key).is_none());
        assert_eq!(table.live(), 0);
    }

    /// Writers of many keys fight for one pair of sets; each binding says in all its fields whose it is.
    #[test]
    fn no_copy_is_torn() {
        let table = &Table::new(2);
        let found: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u64)
                .map(|t| {
                    scope.spawn(move || {
                        let (mut found, mut copy) = (0, Binding::EMPTY);
                        let mut room = Room::default();
                        for i in 0..300_000_u64 {
                            let stamp = i * 4 + t;
                            let key = dialog((i * 7 + t) % 12);
                            let known = find(&table.sets(), &key, &mut copy);
                            let binding = Binding {
                                key: key.words(),
                                created: stamp,
                                redirected: stamp,
                                expires: NOW + 1 + stamp,
                                arrived: stamp,
                                ..early((i % 5) as u32, 0)
                            };
                            store(&table.sets(), &key, &binding, known, NOW, &mut room);
                            let key = dialog(i % 12);
                            if let Some(place) = find(&table.sets(), &key, &mut copy) {
                                found += 1;
                                assert_eq!(copy.key, key.words());
                                let stamp = copy.created;
                                assert_eq!([copy.redirected, copy.arrived], [stamp; 2]);
                                assert_eq!(copy.expires, NOW + 1 + stamp);
                                if i % 16 == 0 {
                                    forget(&table.sets(), &key, place);
                                }
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
