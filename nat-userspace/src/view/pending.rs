//! Transactions that may still become bindings.

use std::collections::{HashMap, HashSet};

use nat_common::{
    abi::{Binding, ContactKey, DialogKey, Entry, Set, WAYS, flag},
    tables::key,
};

/// Clears the slots of dialog ends that have become active.
pub(super) fn forget_settled(pending: &mut [Set], dialogs: impl Iterator<Item = DialogKey>) {
    let mask = pending.len().wrapping_sub(1);
    for dialog in dialogs {
        let key = key::pending(dialog.call, dialog.tag);
        let Some(set) = pending.get_mut(key.index as usize & mask) else {
            continue;
        };
        for slot in 0..WAYS {
            if key.is_of(set.tags[slot], set.checks[slot]) {
                set.tags[slot] = 0;
            }
        }
    }
}

/// Returns the hashes of Contact URIs that are active already, or were removed.
pub(super) fn settled_contacts(
    contacts: &HashMap<ContactKey, Binding>,
    inbound: &[Set],
) -> HashSet<u64> {
    let removed = inbound
        .iter()
        .flat_map(Set::slots)
        .filter(|slot| slot.entry.flags & flag::REMOVE != 0)
        .map(|slot| slot.entry.contact);
    contacts.keys().map(|key| key.uri).chain(removed).collect()
}

/// Whether the transaction is a REGISTER that, if accepted, makes a contact active.
pub(super) fn asks_for_a_contact(entry: &Entry) -> bool {
    let kind = flag::REGISTER | flag::REMOVE | flag::REMOVE_ALL;
    entry.flags & kind == flag::REGISTER && entry.contact != 0
}

#[cfg(test)]
mod tests {
    use std::iter;

    use nat_common::{
        abi::ticks,
        engine::TRANSACTION_LIFE,
        tables::slots::{Noted, SlotKey, Slots},
    };

    use super::*;
    use crate::{
        kernel::tables::live,
        view::rows::tests::{NOW, binding},
    };

    fn key(uri: u64, aor: u64) -> ContactKey {
        ContactKey { uri, aor }
    }

    fn note(set: &mut Set, key: &SlotKey, entry: &Entry) {
        let mut copy = Entry::default();
        // SAFETY: a reference.
        let noted = unsafe { Slots::new(set, &mut copy) }.note(key, entry, 1);
        assert_eq!(noted, Noted::New);
    }

    #[test]
    fn what_is_settled_is_not_pending() {
        let dialog = DialogKey {
            call: 0x1234_5678_9abc,
            tag: 0xdef0 << 20,
        };
        let mut set = Set::default();
        let mut slots = [set, set];
        let key = key::pending(dialog.call, dialog.tag);
        let entry = Entry {
            at: ticks(NOW),
            ..Entry::default()
        };
        note(&mut set, &key, &entry);
        slots[key.index as usize & 1] = set;
        assert_eq!(live(&slots, ticks(NOW), TRANSACTION_LIFE).count(), 1);
        let other = DialogKey { tag: 1, ..dialog };
        forget_settled(&mut slots, iter::once(other));
        assert_eq!(live(&slots, ticks(NOW), TRANSACTION_LIFE).count(), 1);
        forget_settled(&mut slots, iter::once(dialog));
        assert_eq!(live(&slots, ticks(NOW), TRANSACTION_LIFE).count(), 0);
    }

    #[test]
    fn a_contact_is_pending_until_it_is_active_or_removed() {
        let register = |contact, flags| Entry {
            contact,
            flags: flags | flag::REGISTER,
            ..Entry::default()
        };
        assert!(asks_for_a_contact(&register(7, flag::DIRECT)));
        assert!(!asks_for_a_contact(&register(0, flag::DIRECT)));
        assert!(!asks_for_a_contact(&register(7, flag::REMOVE)));
        let mut set = Set::default();
        for entry in [register(8, flag::REMOVE), register(9, 0)] {
            note(&mut set, &SlotKey::of(entry.contact << 8), &entry);
        }
        let contacts = HashMap::from([(key(7, 1), binding("a@b"))]);
        let settled = settled_contacts(&contacts, &[set]);
        assert!(settled.contains(&7) && settled.contains(&8) && !settled.contains(&9));
    }

    #[test]
    fn only_young_slots_count() {
        let now = ticks(NOW);
        let set = Set {
            // The last one was forgotten, in its third generation.
            tags: [1 << 8, 1 << 8, 1 << 8 | 1, 6],
            ats: [now, now.wrapping_sub(TRANSACTION_LIFE), now, now],
            ..Set::default()
        };
        assert_eq!(live(&[set], now, TRANSACTION_LIFE).count(), 1);
    }
}
