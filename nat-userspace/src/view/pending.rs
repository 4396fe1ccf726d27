//! Transactions that may still become bindings.

use std::collections::{HashMap, HashSet};

use nat_common::{
    abi::{Binding, ContactKey, DialogKey, InboundFlags, InboundTransaction, PendingDialog, WAYS},
    tables::key,
};

use crate::kernel::tables::SetsCopy;

/// Clears the slots of dialog ends that have become active.
pub(super) fn forget_settled(
    pending: &mut SetsCopy<PendingDialog>,
    dialogs: impl Iterator<Item = DialogKey>,
) {
    let pending = &mut pending.sets;
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
    inbound: &SetsCopy<InboundTransaction>,
) -> HashSet<u64> {
    let removed = inbound
        .slots()
        .map(|slot| slot.entry.value)
        .filter(|transaction| transaction.flags.contains(InboundFlags::REMOVE))
        .map(|transaction| transaction.contact);
    contacts.keys().map(|key| key.uri).chain(removed).collect()
}

/// Whether the transaction is a REGISTER that, if accepted, makes a contact active.
pub(super) fn asks_for_a_contact(transaction: &InboundTransaction) -> bool {
    let kind = InboundFlags::REGISTER | InboundFlags::REMOVE | InboundFlags::REMOVE_ALL;
    transaction.flags & kind == InboundFlags::REGISTER && transaction.contact != 0
}

#[cfg(test)]
mod tests {
    use std::iter;

    use nat_common::{
        abi::{Entry, Set, Value, ticks},
        engine::lifetimes::TRANSACTION_LIFE,
        tables::slots::{Noted, SlotKey, Slots},
    };

    use super::*;
    use crate::view::rows::tests::{NOW, binding};

    fn key(uri: u64, aor: u64) -> ContactKey {
        ContactKey { uri, aor }
    }

    fn note<V: Value + Default>(set: &mut Set, key: &SlotKey, entry: &Entry<V>) {
        let mut copy = Entry::<V>::default();
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
            value: PendingDialog::default(),
        };
        note(&mut set, &key, &entry);
        slots[key.index as usize & 1] = set;
        let mut slots = SetsCopy::<PendingDialog>::from(slots.to_vec());
        assert_eq!(slots.live(ticks(NOW), TRANSACTION_LIFE).count(), 1);
        let other = DialogKey { tag: 1, ..dialog };
        forget_settled(&mut slots, iter::once(other));
        assert_eq!(slots.live(ticks(NOW), TRANSACTION_LIFE).count(), 1);
        forget_settled(&mut slots, iter::once(dialog));
        assert_eq!(slots.live(ticks(NOW), TRANSACTION_LIFE).count(), 0);
    }

    #[test]
    fn a_contact_is_pending_until_it_is_active_or_removed() {
        let register = |contact, flags| InboundTransaction {
            contact,
            flags: flags | InboundFlags::REGISTER,
            ..InboundTransaction::default()
        };
        assert!(asks_for_a_contact(&register(7, InboundFlags::DIRECT)));
        assert!(!asks_for_a_contact(&register(0, InboundFlags::DIRECT)));
        assert!(!asks_for_a_contact(&register(7, InboundFlags::REMOVE)));
        let mut set = Set::default();
        for value in [
            register(8, InboundFlags::REMOVE),
            register(9, InboundFlags::empty()),
        ] {
            let entry = Entry { value, at: 0 };
            note(&mut set, &SlotKey::of(value.contact << 24), &entry);
        }
        let contacts = HashMap::from([(key(7, 1), binding("a@b"))]);
        let settled = settled_contacts(&contacts, &vec![set].into());
        assert!(settled.contains(&7) && settled.contains(&8) && !settled.contains(&9));
    }

    #[test]
    fn only_young_slots_count() {
        let now = ticks(NOW);
        let set = Set {
            // The last one was forgotten, in its third generation.
            tags: [1 << 24, 1 << 24, 1 << 24 | 1, 6],
            times: [now, now - TRANSACTION_LIFE, now, now].map(|at| at as u32),
            ..Set::default()
        };
        let sets = SetsCopy::<PendingDialog>::from(vec![set]);
        assert_eq!(sets.live(now, TRANSACTION_LIFE).count(), 1);
    }
}
