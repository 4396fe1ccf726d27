//! Tables as the agent reads them, and as they fill.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
};

use nat_common::abi::{Binding, BindingFlags, DialogKey, SECOND, Set};
use nat_common::endpoint::Endpoint;
use nat_common::tables::bindings::Stored;
use nat_userspace::{
    host::clock,
    kernel::mapped::{Access, Bindings},
    settings::Sizes,
};

use crate::frames::{INVITE, PHONE, answer, inbound, outbound};
use crate::run::{Path, endpoint};

const MANY: u32 = 10_000;

fn key(number: u32) -> DialogKey {
    DialogKey {
        call: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        tag: u64::from(!number).wrapping_mul(0xd6e8_feb8_6659_fd93),
    }
}

fn with_room_for(bindings: u32) -> Path {
    Path::with(|setup| {
        setup.settings.sizes = Sizes {
            bindings,
            ..Sizes::default()
        };
    })
}

fn open(path: &Path, access: Access) -> Bindings<DialogKey> {
    path.0.tables.dialogs.open(access).expect("the table")
}

/// Inserts a live binding whose arrival is its number.
fn insert(dialogs: &mut Bindings<DialogKey>, number: u32) -> Stored {
    let binding = Binding {
        arrived: number.into(),
        expires: u64::MAX,
        ..Binding::EMPTY
    };
    dialogs.insert(&key(number), binding, clock::now())
}

#[test]
fn bindings_are_read_as_they_were_stored() {
    for count in [0, 1, MANY] {
        let path = with_room_for(MANY);
        let mut dialogs = open(&path, Access::Write);
        for number in 0..count {
            assert_eq!(insert(&mut dialogs, number), Stored::New);
        }
        let dialogs = open(&path, Access::Read);
        let read: BTreeMap<u64, DialogKey> =
            dialogs.iter().map(|(key, b)| (b.arrived, key)).collect();
        assert_eq!(read.len(), count as usize);
        for (arrived, read) in read {
            assert_eq!(read, key(arrived as u32));
            assert_eq!(dialogs.get(&read).expect("it is there").arrived, arrived);
        }
        assert!(dialogs.get(&key(count)).is_none());
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

/// While other bindings come and go, each one that stays is read once.
#[test]
fn what_comes_and_goes_disturbs_nobody() {
    let path = with_room_for(MANY + 500);
    let mut dialogs = open(&path, Access::Write);
    for number in 0..MANY {
        assert_eq!(insert(&mut dialogs, number), Stored::New);
    }
    let (going, turns) = (AtomicBool::new(true), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut dialogs = open(&path, Access::Write);
            while going.load(Relaxed) {
                turns.fetch_add(1, Relaxed);
                for number in MANY..MANY + 500 {
                    assert_eq!(insert(&mut dialogs, number), Stored::New);
                }
                for number in MANY..MANY + 500 {
                    assert!(dialogs.remove(&key(number)));
                }
            }
        });
        // The other thread must end if this one fails.
        let _end = Ending(&going);
        while turns.load(Relaxed) < 2 {
            thread::yield_now();
        }
        let dialogs = open(&path, Access::Read);
        for _ in 0..30 {
            let mut seen = HashSet::new();
            for (key, binding) in dialogs.iter() {
                let is_new = seen.insert((key.call, key.tag));
                assert!(is_new || binding.arrived >= MANY.into(), "it comes twice");
            }
            let stayed = (0..MANY).filter(|n| seen.contains(&(key(*n).call, key(*n).tag)));
            assert_eq!(stayed.count(), MANY as usize);
        }
    });
}

/// Fills the dialogs with copies of a binding, each of another source, and has the programs see a call that the PBX accepts. Returns whether the
/// call was learned.
fn learns_in_a_table_full_of(mut binding: Binding) -> bool {
    let mut path = with_room_for(64);
    let mut dialogs = open(&path, Access::Write);
    for number in 0..MANY {
        binding.learned = Endpoint::v4(number.to_be_bytes(), 5060);
        // At time 0 none has expired.
        let _may_be_full = dialogs.insert(&key(number), binding, 0);
    }
    let full = dialogs.iter().count();
    assert!(full >= 64, "{full}");
    path.arrives(&inbound(PHONE, INVITE));
    path.test(false, &outbound(PHONE, &answer(INVITE, "200 OK")));
    assert_eq!(dialogs.iter().count(), full);
    dialogs.iter().any(|(_, b)| b.learned == endpoint(PHONE))
}

/// No agent tidies the tables here.
#[test]
fn what_has_expired_or_is_early_makes_room() {
    let now = clock::now();
    let live = Binding {
        expires: now + 3600 * SECOND,
        ..Binding::EMPTY
    };
    let expired = Binding {
        expires: now,
        ..live
    };
    let early = Binding {
        flags: BindingFlags::EARLY,
        ..live
    };
    assert!(!learns_in_a_table_full_of(live), "a confirmed one gave way");
    assert!(learns_in_a_table_full_of(expired));
    assert!(learns_in_a_table_full_of(early));
}
