//! Reads of maps, many entries at a time.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
};

use aya::maps::{HashMap, IterableMap as _, Map, MapData};
use nat_common::abi::{Binding, DialogKey, Set};
use nat_userspace::{agent::sweep::Sweeper, kernel::batch, settings::Sizes};

use crate::run::Path;

/// Number of entries for several batches, the last of them incomplete.
const MANY: u32 = 10_000;

type Dialogs = HashMap<MapData, DialogKey, Binding>;

fn key(number: u32) -> DialogKey {
    DialogKey {
        call: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        tag: number.into(),
    }
}

fn with_bindings(numbers: impl Iterator<Item = u32>) -> Path {
    let mut path = Path::with(|setup| {
        setup.settings.sizes = Sizes {
            bindings: 4 * MANY,
            ..Sizes::default()
        };
    });
    for number in numbers {
        insert(&mut path.0.tables.dialogs, number);
    }
    path
}

/// Inserts a binding whose arrival and expiry are its number.
fn insert(dialogs: &mut Dialogs, number: u32) {
    let binding = Binding {
        arrived: number.into(),
        expires: number.into(),
        ..Binding::EMPTY
    };
    dialogs.insert(key(number), binding, 0).expect("a binding");
}

/// A batch of any size reads all entries. With a size of one, some buckets hold more than a batch.
#[test]
fn batches_hold_what_is_there() {
    for count in [0, 1, MANY] {
        let path = with_bindings(0..count);
        let dialogs = &path.0.tables.dialogs;
        let one_by_one: BTreeMap<_, _> = dialogs
            .keys()
            .map(|key| key.expect("a key"))
            .map(|key| (key.tag, dialogs.get(&key, 0).expect("a binding").arrived))
            .collect();
        assert_eq!(one_by_one.len(), count as usize);
        for capacity in [1, 7, 1024, 2 * MANY as usize] {
            let read: Vec<_> = batch::of_hash(dialogs)
                .capacity(capacity)
                .map(|entry| entry.expect("an entry"))
                .collect();
            assert_eq!(read.len(), count as usize, "batches of {capacity}");
            let read: BTreeMap<_, _> = read.iter().map(|(key, b)| (key.tag, b.arrived)).collect();
            assert_eq!(read, one_by_one, "batches of {capacity}");
        }
    }
}

#[test]
fn an_array_comes_in_its_order() {
    let mut path = Path::with(|setup| {
        setup.settings.sizes = Sizes {
            transactions: 4096,
            ..Sizes::default()
        };
    });
    let inbound = &mut path.0.tables.inbound;
    let mark = |index: u32| {
        let mut set = Set::default();
        set.tags[0] = u64::from(index) + 1;
        set
    };
    for index in 0..4096 {
        inbound.write(index, mark(index)).expect("a set");
    }
    let sets = inbound.read().expect("the sets").sets;
    assert_eq!(sets.len(), 4096);
    for (index, set) in (0..).zip(&sets) {
        assert_eq!(set, &mark(index));
    }
}

/// Clears a flag when it is dropped, so that a thread ends.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// While other entries come and go, each entry that stays is read once.
#[test]
fn what_comes_and_goes_disturbs_nobody() {
    let path = with_bindings(0..MANY);
    let fd = path.0.tables.dialogs.map().fd().as_fd();
    let other = MapData::from_fd(fd.try_clone_to_owned().expect("another fd")).expect("the map");
    let mut other: Dialogs = Map::HashMap(other).try_into().expect("the same map");
    let (going, turns) = (AtomicBool::new(true), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while going.load(Relaxed) {
                turns.fetch_add(1, Relaxed);
                for number in MANY..MANY + 500 {
                    insert(&mut other, number);
                }
                for number in MANY..MANY + 500 {
                    other.remove(&key(number)).expect("it is there");
                }
            }
        });
        // The other thread must end if this one fails.
        let _end = Ending(&going);
        while turns.load(Relaxed) < 2 {
            thread::yield_now();
        }
        for _ in 0..30 {
            let mut seen = HashSet::new();
            for entry in batch::of_hash(&path.0.tables.dialogs).capacity(64) {
                let (key, _) = entry.expect("an entry");
                assert!(seen.insert(key.tag), "{} comes twice", key.tag);
            }
            let stayed = (0..MANY).filter(|number| seen.contains(&u64::from(*number)));
            assert_eq!(stayed.count(), MANY as usize);
        }
    });
}

/// A sweep works in slices, and reads each batch before it removes entries of it.
#[test]
fn a_sweep_removes_what_has_expired_and_nothing_else() {
    const NOW: u32 = MANY / 3;
    const SLICE: usize = 700;
    let path = with_bindings(0..MANY);
    let dialogs = &path.0.tables.dialogs;
    let mut sweeper = Sweeper::new(dialogs).expect("a sweeper");
    let slices = MANY as usize / SLICE + 1;
    let removed: usize = (0..slices)
        .map(|_| sweeper.sweep(NOW.into(), SLICE).expect("a slice"))
        .sum();
    assert_eq!(removed, NOW as usize + 1);
    let left: Vec<_> = batch::of_hash(dialogs)
        .map(|entry| entry.expect("an entry").1.expires)
        .collect();
    assert_eq!(left.len() + removed, MANY as usize);
    assert!(left.iter().all(|expires| *expires > NOW.into()));
    // The next round.
    let removed: usize = (0..slices)
        .map(|_| sweeper.sweep(u64::MAX, SLICE).expect("a slice"))
        .sum();
    assert_eq!(removed, left.len());
}
