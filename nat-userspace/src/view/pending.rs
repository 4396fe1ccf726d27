//! Transactions that may still become bindings.

use std::{collections::HashSet, net::SocketAddr};

use nat_common::{
    abi::{Binding, ContactKey, InboundFlags, InboundTransaction, PendingDialog, Slot},
    engine::lifetimes::TRANSACTION_LIFE,
};

use crate::kernel::tables::SetsCopy;

/// Claims to bindings that the PBX has not accepted yet.
pub(super) struct Claims {
    /// Claims to dialog ends.
    pub(super) dialogs: Vec<Slot<PendingDialog>>,
    /// Claims to contacts.
    pub(super) contacts: Vec<Slot<InboundTransaction>>,
    open_dialogs: HashSet<Arrival>,
    open_contacts: HashSet<u64>,
}

/// Source of a request, and the time at which it arrived, in ticks.
type Arrival = (SocketAddr, u64);

impl Claims {
    /// Picks the live claims of both tables. `now` is in ticks.
    pub(super) fn of(
        pending: &SetsCopy<PendingDialog>,
        inbound: &SetsCopy<InboundTransaction>,
        now: u64,
    ) -> Self {
        let dialogs: Vec<_> = pending.live(now, TRANSACTION_LIFE).collect();
        let contacts: Vec<_> = inbound
            .live(now, TRANSACTION_LIFE)
            .filter(|slot| asks_for_a_contact(&slot.entry.value))
            .collect();
        let mut claims = Self {
            open_dialogs: dialogs.iter().map(arrival).collect(),
            open_contacts: contacts.iter().map(contact).collect(),
            dialogs,
            contacts,
        };
        for slot in inbound.slots() {
            if slot.entry.value.flags.contains(InboundFlags::REMOVE) {
                claims.open_contacts.remove(&contact(&slot));
            }
        }
        claims
    }

    /// Whether active dialog ends may settle some.
    pub(super) fn need_dialogs(&self) -> bool {
        !self.open_dialogs.is_empty()
    }

    /// Returns the addresses from which they came.
    pub(super) fn sources(&self) -> impl Iterator<Item = SocketAddr> {
        let dialogs = self.dialogs.iter().map(|slot| slot.entry.value.source());
        let contacts = self.contacts.iter().map(|slot| slot.entry.value.source());
        dialogs.chain(contacts).map(Into::into)
    }

    /// Settles the claim to a dialog end that has become active. Such a dialog end has the slot's source and time; the
    /// keys of the two tables have no part in common that could be compared.
    pub(super) fn settle_dialog(&mut self, active: &Binding) {
        if self.need_dialogs() {
            let arrival = (active.learned.into(), active.arrived);
            self.open_dialogs.remove(&arrival);
        }
    }

    /// Settles the claims to a contact that is active.
    pub(super) fn settle_contact(&mut self, active: &ContactKey) {
        self.open_contacts.remove(&active.uri);
    }

    /// Forgets the claims that are settled.
    pub(super) fn forget_settled(&mut self) {
        self.dialogs
            .retain(|slot| self.open_dialogs.contains(&arrival(slot)));
        self.contacts
            .retain(|slot| self.open_contacts.contains(&contact(slot)));
    }
}

fn arrival(slot: &Slot<PendingDialog>) -> Arrival {
    (slot.entry.value.source().into(), slot.entry.at)
}

/// Returns the hash of the Contact URI of a REGISTER.
fn contact(slot: &Slot<InboundTransaction>) -> u64 {
    slot.entry.value.detail
}

/// Whether the transaction is a REGISTER that, if accepted, makes a contact active.
pub(super) fn asks_for_a_contact(transaction: &InboundTransaction) -> bool {
    let others = InboundFlags::REMOVE | InboundFlags::REMOVE_ALL | InboundFlags::BESIDE;
    let kind = InboundFlags::REGISTER | others;
    transaction.flags & kind == InboundFlags::REGISTER && transaction.detail != 0
}

/// Whether the entry is a transaction: a REGISTER has another entry beside it.
pub(super) fn is_transaction(entry: &InboundTransaction) -> bool {
    !entry.flags.contains(InboundFlags::BESIDE)
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
        let source = Endpoint::v4([60, 17, 196, 2], 49163);
        entry.value.set_source(&source);
        note(&mut set, &SlotKey::of(7 << 24), &entry);
        let pending = vec![Set::default(), set].into();
        let left_by = |learned, arrived| {
            let mut claims = Claims::of(&pending, &vec![].into(), ticks(NOW));
            assert_eq!(claims.sources().count(), 1);
            claims.settle_dialog(&Binding {
                learned,
                arrived,
                ..binding("a@b")
            });
            claims.forget_settled();
            claims.dialogs.len()
        };
        let other = Endpoint::v4([60, 17, 196, 2], 49164);
        assert_eq!(left_by(source, entry.at + 1), 1);
        assert_eq!(left_by(other, entry.at), 1);
        assert_eq!(left_by(source, entry.at), 0);
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
        let beside = entry(InboundFlags::BESIDE);
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
        for (tag, value) in (1..).zip([
            register(7, InboundFlags::DIRECT),
            register(8, InboundFlags::DIRECT),
            register(8, InboundFlags::REMOVE),
            register(9, InboundFlags::DIRECT),
        ]) {
            let at = ticks(NOW);
            note(&mut set, &SlotKey::of(tag << 24), &Entry { value, at });
        }
        let mut claims = Claims::of(&vec![].into(), &vec![set].into(), ticks(NOW));
        claims.settle_contact(&key(7, 1));
        claims.forget_settled();
        let left: Vec<u64> = claims.contacts.iter().map(contact).collect();
        assert_eq!(left, [9]);
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
