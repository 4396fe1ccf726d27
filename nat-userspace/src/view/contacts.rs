//! Rows of contacts: the map has each of them up to four times, and void ones until they expire.

use std::collections::HashSet;

use nat_common::abi::{Binding, BindingFlags, ContactKey};

use crate::{
    kernel::mapped::Bindings,
    view::{
        output,
        rows::{BindingKind, BindingState, Row, RowKey, text_of},
    },
};

/// The table of contacts.
pub(crate) struct Contacts {
    table: Bindings<ContactKey>,
    now: u64,
    /// Addresses-of-record of which all contacts were removed at some time (`Contact: *`).
    removed: HashSet<u64>,
}

impl Contacts {
    pub(crate) fn new(table: Bindings<ContactKey>, now: u64) -> Self {
        Self {
            table,
            now,
            removed: HashSet::new(),
        }
    }

    /// Visits all live entries. Rows can be read afterwards.
    pub(crate) fn visit(&mut self, mut visit: impl FnMut(&ContactKey, &Binding)) {
        let Self {
            table,
            now,
            removed,
        } = self;
        table.visit(|key, binding| {
            if binding.expires > *now {
                if key.uri == 0 {
                    removed.insert(key.aor);
                }
                visit(key, binding);
            }
        });
    }

    /// Returns the number of slots.
    pub(super) const fn slots(&self) -> u32 {
        self.table.slots()
    }

    /// Reads the row of a slot, if it has one.
    pub(super) fn row(&self, slot: u32) -> Option<Row> {
        let mut binding = Binding::EMPTY;
        let key = self.table.copy(slot, &mut binding)?;
        row(&key, &binding, self.now, |key| self.get(key))
    }

    /// Visits the entries of all rows, each with that of its URI alone.
    pub(crate) fn each(&self, mut visit: impl FnMut(&ContactKey, &Binding, Option<&Binding>)) {
        self.table.visit(|key, binding| {
            let get = |key: &ContactKey| self.get(key);
            if is_row(key, binding, self.now, get) {
                visit(key, binding, get(&twin(key)).as_ref());
            }
        });
    }

    /// Visits the states of all rows.
    pub(super) fn states(&self, mut visit: impl FnMut(BindingState)) {
        self.each(|_, binding, twin| visit(state(binding, twin, self.now)));
    }

    /// Looks up a live entry.
    fn get(&self, key: &ContactKey) -> Option<Binding> {
        // Removals are rare, and a lookup of what is not there takes two cache misses.
        if key.uri == 0 && !self.removed.contains(&key.aor) {
            return None;
        }
        self.table.get(key).filter(|found| found.expires > self.now)
    }
}

/// Whether an entry is the row of a contact: it counts, and belongs to no other entry. `get` looks up other live entries.
pub(crate) fn is_row(
    key: &ContactKey,
    binding: &Binding,
    now: u64,
    get: impl Fn(&ContactKey) -> Option<Binding>,
) -> bool {
    // Where it was at another host before has a key of its own (see `ContactKey::before`).
    let current = key.aor != !binding.aor && key.aor != !0;
    if binding.expires <= now || key.uri == 0 || key.aor == 0 || !current {
        return false;
    }
    let removal = get(&ContactKey { uri: 0, ..*key });
    !removal.is_some_and(|removal| binding.is_voided_by(&removal))
}

/// Returns the key of a contact by its URI alone. Two terminals that registered for different addresses-of-record may have the
/// same URI.
pub(crate) const fn twin(key: &ContactKey) -> ContactKey {
    ContactKey { aor: 0, ..*key }
}

/// Returns the state of a row.
fn state(binding: &Binding, twin: Option<&Binding>, now: u64) -> BindingState {
    if twin.is_some_and(|twin| twin.is_ambiguous(now)) {
        BindingState::Ambiguous
    } else {
        BindingState::of(binding, now)
    }
}

/// Makes the row of an entry, if it is one. `get` looks up other live entries.
fn row(
    key: &ContactKey,
    binding: &Binding,
    now: u64,
    get: impl Fn(&ContactKey) -> Option<Binding>,
) -> Option<Row> {
    if !is_row(key, binding, now, &get) {
        return None;
    }
    let mut row = Row::new(RowKey::Contact(*key), BindingKind::Contact, binding, now);
    if binding.flags.contains(BindingFlags::MOVED) && get(&key.before()).is_some() {
        row.notes
            .push("registered from another host; the one before comes first until it is silent");
    }
    let twin = get(&twin(key));
    row.state = state(binding, twin.as_ref(), now);
    row.uri = twin
        .as_ref()
        .map(|twin| output::printable(text_of(twin)))
        .filter(|uri| !uri.is_empty());
    if let Some(twin) = twin.as_ref().filter(|twin| twin.aor == binding.aor) {
        // Calls that only the URI names are proven and counted there.
        row.flags |= twin.flags & BindingFlags::WEAK;
        row.redirected += twin.redirected;
    }
    let is_other = |twin: &Binding| twin.aor != binding.aor && twin.learned != binding.learned;
    if twin.as_ref().is_some_and(|twin| twin.is_ambiguous(now)) {
        row.notes.push(
            "ambiguous by Request-URI: only calls whose To names its address-of-record reach it",
        );
    } else if twin.is_some_and(|twin| is_other(&twin)) {
        row.notes.push(
            "its URI is another owner's: only calls whose To names its address-of-record reach it",
        );
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use nat_common::endpoint::Endpoint;

    use super::*;
    use crate::view::rows::tests::{NOW, binding};

    fn key(uri: u64, aor: u64) -> ContactKey {
        ContactKey { uri, aor }
    }

    fn rows(contacts: &[(ContactKey, Binding)]) -> Vec<Row> {
        let table: HashMap<ContactKey, Binding> = contacts.iter().copied().collect();
        let rows = contacts.iter();
        let get = |key: &ContactKey| table.get(key).filter(|b| b.expires > NOW).copied();
        rows.filter_map(|(key, binding)| row(key, binding, NOW, get))
            .collect()
    }

    #[test]
    fn a_contact_shows_once() {
        let b = binding("1000@60.17.196.2");
        let rows = rows(&[(key(7, 9), b), (key(7, 0), b)]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].state, BindingState::Active);
        assert_eq!(rows[0].terminal.as_deref(), Some("1000@60.17.196.2"));
        assert_eq!(rows[0].learned.to_string(), "60.17.196.2:49163");
        assert_eq!(rows[0].age_seconds, 65);
        assert_eq!(rows[0].expires_in_seconds, 60);
    }

    #[test]
    fn ambiguity_by_uri_alone_shows() {
        let b = binding("1000@192.168.1.10");
        let twin = Binding {
            contested: NOW + 1,
            ..b
        };
        let rows = rows(&[(key(7, 8), b), (key(7, 9), b), (key(7, 0), twin)]);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.state == BindingState::Ambiguous));
    }

    #[test]
    fn a_contact_that_another_owner_outranks_says_so() {
        let owned = |aor, port| Binding {
            aor,
            learned: Endpoint::v4([60, 17, 196, 2], port),
            ..binding("1000@192.168.1.10")
        };
        let (better, worse) = (owned(8, 40001), owned(9, 40002));
        let rows = rows(&[(key(7, 8), better), (key(7, 9), worse), (key(7, 0), better)]);
        let notes = |owner| {
            let row = rows.iter().find(|row| row.owner == owner).unwrap();
            row.notes.join("")
        };
        assert_eq!(notes(8), "");
        assert!(notes(9).contains("another owner's"), "{}", notes(9));
        assert!(rows.iter().all(|row| row.state == BindingState::Active));
    }

    #[test]
    fn what_the_uri_alone_has_proven_shows_with_its_owner() {
        let b = Binding {
            aor: 9,
            ..binding("1000@192.168.1.10")
        };
        let weak = |owner| {
            let twin = Binding {
                aor: owner,
                flags: b.flags | BindingFlags::WEAK,
                ..b
            };
            rows(&[(key(7, 9), b), (key(7, 0), twin)])[0].flags
        };
        assert!(weak(9).contains(BindingFlags::WEAK));
        assert!(!weak(8).contains(BindingFlags::WEAK));
    }

    #[test]
    fn expired_and_void_contacts_do_not_show() {
        let b = binding("1000@60.17.196.2");
        let expired = Binding { expires: NOW, ..b };
        assert!(rows(&[(key(7, 9), expired)]).is_empty());
        let mark = Binding {
            arrived: b.arrived,
            expires: b.expires,
            ..Binding::EMPTY
        };
        assert!(rows(&[(key(7, 9), b), (key(0, 9), mark)]).is_empty());
        let old_mark = Binding {
            arrived: b.arrived - 1,
            expires: b.expires,
            ..Binding::EMPTY
        };
        let expired_mark = Binding {
            expires: NOW,
            ..mark
        };
        assert_eq!(rows(&[(key(7, 9), b), (key(0, 9), expired_mark)]).len(), 1);
        assert_eq!(rows(&[(key(7, 9), b), (key(0, 9), old_mark)]).len(), 1);
    }
}
