//! Access to the tables of bindings. Its functions have names, so that the verifier checks each once.

use core::marker::PhantomData;

use nat_common::abi::{BindingSet, Config, ContactKey, DialogKey};
use nat_common::engine::env::Buffer;
use nat_common::tables::bindings::{self as table, BindingKey, Found, Stored};

use crate::maps::{self, CONTACTS, DIALOGS};
use crate::scratch::Scratch;

/// Sets of the table of a kind of keys.
pub(crate) struct Sets<K> {
    mask: u32,
    key: PhantomData<K>,
}

/// Returns the sets of the table of a kind of keys.
#[inline(always)]
pub(crate) fn sets<K: BindingKey>(config: &Config) -> Sets<K> {
    Sets {
        mask: config.binding_mask,
        key: PhantomData,
    }
}

// SAFETY: the value of an array map is always valid and aligned to eight; programs and the agent use it by the functions of
// `table` only.
unsafe impl<K: BindingKey> table::Sets for Sets<K> {
    #[inline(always)]
    fn set(&self, number: u32) -> Option<*mut BindingSet> {
        let index = number & self.mask;
        if K::CONTACT {
            CONTACTS.get_ptr_mut(index)
        } else {
            DIALOGS.get_ptr_mut(index)
        }
    }
}

/// Finds a binding, and copies it to the scratch of a direction.
#[inline(always)]
pub(crate) fn find<K: BindingKey>(direction: u32, key: &K, to: Buffer) -> Option<Found> {
    let [a, b] = key.words();
    let number = if K::CONTACT {
        find_contact(direction, to as u32, a, b)
    } else {
        find_dialog(direction, to as u32, a, b)
    };
    Found::from_number(number)
}

/// Stores a binding in the scratch of a direction.
#[inline(always)]
pub(crate) fn store<K: BindingKey>(
    direction: u32,
    from: Buffer,
    found: Option<Found>,
    now: u64,
) -> Stored {
    let found = found.map_or(0, Found::number);
    let stored = if K::CONTACT {
        store_contact(direction, from as u32, found, now)
    } else {
        store_dialog(direction, from as u32, found, now)
    };
    (stored as u8).into()
}

/// Defines both functions for a kind of keys.
macro_rules! functions {
    ($key:ty, $find:ident, $store:ident) => {
        /// Returns the number of a [`Found`], or 0.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $find(direction: u32, to: u32, a: u64, b: u64) -> u32 {
            let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
                return 0;
            };
            let key = <$key>::from_words([a, b]);
            let to = scratch.binding_of(to);
            table::find(&sets::<$key>(config), &key, to).map_or(0, Found::number)
        }

        /// Returns a [`Stored`] as a number.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $store(direction: u32, from: u32, found: u32, now: u64) -> u32 {
            let (Some(scratch), Some(config)) = (Scratch::at(direction), maps::config()) else {
                return 0;
            };
            let from = scratch.binding_of(from);
            let key = <$key>::from_words(from.key);
            let (sets, found) = (sets::<$key>(config), Found::from_number(found));
            table::store(&sets, &key, from, found, now, scratch.room()) as u32
        }
    };
}
functions!(DialogKey, find_dialog, store_dialog);
functions!(ContactKey, find_contact, store_contact);
