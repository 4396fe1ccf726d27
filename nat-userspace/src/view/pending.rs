//! Transactions that may still become bindings.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use nat_common::abi::{Binding, ContactKey, InboundFlags, InboundTransaction, PendingDialog};

use crate::kernel::tables::SetsCopy;

/// Source of a request, and the time at which it arrived, in ticks.
pub(super) type Arrival = (SocketAddr, u64);

/// Clears the slots of dialog ends that have become active. Such a dialog end has the slot's source and time; the keys
/// of the two tables have no part in common that could be compared.
pub(super) fn forget_settled(pending: &mut SetsCopy<PendingDialog>, active: &HashSet<Arrival>) {
    for set in &mut pending.sets {
        let slots = set.slots::<PendingDialog>();
        for (tag, slot) in set.tags.iter_mut().zip(slots) {
            let entry = slot.entry;
            if active.contains(&(entry.value.source().into(), entry.at)) {
                *tag = 0;
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
        .map(|transaction| transaction.detail);
    contacts.keys().map(|key| key.uri).chain(removed).collect()
}

/// Whether the transaction is a REGISTER that, if accepted, makes a contact active.
pub(super) fn asks_for_a_contact(transaction: &InboundTransaction) -> bool {
    let others = InboundFlags::REMOVE | InboundFlags::REMOVE_ALL | InboundFlags::ANY_BRANCH;
    let kind = InboundFlags::REGISTER | others;
    transaction.flags & kind == InboundFlags::REGISTER && transaction.detail != 0
}

/// Whether the entry is a transaction: a REGISTER has another entry beside it.
pub(super) fn is_transaction(entry: &InboundTransaction) -> bool {
    !entry.flags.contains(InboundFlags::ANY_BRANCH)
}

#[cfg(test)]
mod tests {
    use nat_common::{
        abi::{Entry, Set, Value, ticks},
        endpoint::Endpoint,
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
        let mut set = Set::default();
        let mut entry = Entry {
            at: ticks(NOW),
            value: PendingDialog::default(),
        };
        entry
            .value
            .set_source(&Endpoint::v4([60, 17, 196, 2], 49163));
        note(&mut set, &SlotKey::of(7 << 24), &entry);
        let mut slots = SetsCopy::<PendingDialog>::from(vec![Set::default(), set]);
        let live = |slots: &SetsCopy<_>| slots.live(ticks(NOW), TRANSACTION_LIFE).count();
        assert_eq!(live(&slots), 1);
        let source: SocketAddr = "60.17.196.2:49163".parse().unwrap();
        let other = "60.17.196.2:49164".parse().unwrap();
        forget_settled(
            &mut slots,
            &[(source, entry.at + 1), (other, entry.at)].into(),
        );
        assert_eq!(live(&slots), 1);
        forget_settled(&mut slots, &[(source, entry.at)].into());
        assert_eq!(live(&slots), 0);
    }

    #[test]
    fn a_register_counts_once() {
        let entry = |flags| InboundTransaction {
            flags: flags | InboundFlags::REGISTER,
            detail: 7,
            ..InboundTransaction::default()
        };
        let own = entry(InboundFlags::empty());
        assert!(is_transaction(&own) && asks_for_a_contact(&own));
        let beside = entry(InboundFlags::ANY_BRANCH);
        assert!(!is_transaction(&beside) && !asks_for_a_contact(&beside));
    }

    #[test]
    fn a_contact_is_pending_until_it_is_active_or_removed() {
        let register = |detail, flags| InboundTransaction {
            detail,
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
            note(&mut set, &SlotKey::of(value.detail << 24), &entry);
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
