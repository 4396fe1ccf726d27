//! What the maps know of terminals, put together: bindings, what is pending, and how many transactions.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use anyhow::Result;
use aya::maps::{Array, MapData};
use nat_common::{
    abi::{Binding, ContactKey, DialogKey, Entry, SECOND, Set, Slot, WAYS, flag, ticks},
    endpoint::Endpoint,
    engine::TRANSACTION_LIFE,
    tables::key,
};
use serde::Serialize;

use crate::{
    host::clock,
    kernel::batch,
    kernel::tables::{Tables, slots},
    view::keepalive::{self, Moved, Source},
    view::output,
};

/// What a binding identifies its terminal by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Dialog,
    Contact,
}

/// Whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Active,
    /// It answers where the PBX means, so nothing is redirected.
    LeftAlone,
    Ambiguous,
    Pending,
}

/// Where a row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Dialog(DialogKey),
    Contact(ContactKey),
    Slot(u64),
}

impl Key {
    /// Names the row on the command line; a prefix will do. Rows often share half of their key: both ends
    /// of a proxied call have its Call-ID, two owners may have one Contact.
    pub(crate) fn id(self) -> String {
        let joined = |a: u64, b: u64| format!("{:016x}{b:016x}", a ^ b.rotate_left(32));
        match self {
            Self::Dialog(key) => joined(key.call, key.tag),
            Self::Contact(key) => joined(key.uri, key.aor),
            Self::Slot(tag) => format!("{:014x}", tag >> 8),
        }
    }

    fn dialog(self) -> Option<DialogKey> {
        match self {
            Self::Dialog(key) => Some(key),
            Self::Contact(_) | Self::Slot(_) => None,
        }
    }
}

/// One binding, as shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    #[serde(skip)]
    pub(crate) key: Key,
    /// `user@host`.
    pub(crate) terminal: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    /// What the state does not say: early, ended, through a proxy.
    pub(crate) notes: Vec<&'static str>,
    /// Bits of [`flag`].
    #[serde(skip)]
    pub(crate) flags: u16,
    pub(crate) advertised: Option<SocketAddr>,
    pub(crate) learned: SocketAddr,
    pub(crate) age_seconds: u64,
    /// The later of what the PBX accepted and of STUN keepalives.
    pub(crate) seen_seconds_ago: u64,
    /// The last STUN keepalive from the learned address, if there was one.
    pub(crate) stun_seen_seconds_ago: Option<u64>,
    /// By its STUN keepalives its learned address has changed; to which, may not be known.
    pub(crate) moved: bool,
    pub(crate) moved_to: Option<SocketAddr>,
    pub(crate) expires_in_seconds: u64,
    pub(crate) redirected: u64,
}

/// Everything there is to show.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listing {
    pub(crate) bindings: Vec<Row>,
    /// Transactions remembered, both ways.
    pub(crate) transactions: usize,
}

impl Row {
    pub(crate) fn new(key: Key, kind: Kind, binding: &Binding, now: u64) -> Self {
        let seconds = |from: u64, to: u64| to.saturating_sub(from) / SECOND;
        let text = &binding.text[..usize::from(binding.text_len).min(binding.text.len())];
        Self {
            id: key.id(),
            key,
            terminal: (!text.is_empty()).then(|| output::printable(text)),
            kind,
            state: if binding.is_ambiguous(now) {
                State::Ambiguous
            } else if binding.has(flag::LEFT_ALONE) {
                State::LeftAlone
            } else {
                State::Active
            },
            notes: notes(binding.flags),
            flags: binding.flags,
            advertised: known(binding.advertised),
            learned: binding.learned.into(),
            age_seconds: seconds(binding.created, now),
            seen_seconds_ago: seconds(binding.seen, now),
            stun_seen_seconds_ago: None,
            moved: false,
            moved_to: None,
            expires_in_seconds: seconds(now, binding.expires),
            redirected: binding.redirected,
        }
    }

    /// By what the list is ordered.
    fn order(&self) -> impl Ord + '_ {
        (self.state, self.kind, &self.terminal, &self.id)
    }

    pub(crate) fn pending(key: Key, kind: Kind, entry: &Entry, now: u32) -> Self {
        let seconds = |ticks: u32| u64::from(ticks) / u64::from(self::ticks(SECOND));
        let age = now.wrapping_sub(entry.at);
        Self {
            id: key.id(),
            key,
            terminal: None,
            kind,
            state: if entry.flags & flag::AMBIGUOUS == 0 {
                State::Pending
            } else {
                State::Ambiguous
            },
            notes: notes(entry.flags),
            flags: entry.flags,
            advertised: known(entry.advertised()),
            learned: entry.peer().into(),
            age_seconds: seconds(age),
            seen_seconds_ago: seconds(age),
            stun_seen_seconds_ago: None,
            moved: false,
            moved_to: None,
            expires_in_seconds: seconds(TRANSACTION_LIFE.saturating_sub(age)),
            redirected: 0,
        }
    }
}

fn notes(flags: u16) -> Vec<&'static str> {
    let mut notes = Vec::new();
    for (bit, note) in [(flag::EARLY, "early"), (flag::ENDED, "ended")] {
        if flags & bit != 0 {
            notes.push(note);
        }
    }
    if flags & flag::DIRECT == 0 {
        notes.push("through a proxy");
    }
    notes
}

pub(crate) fn known(endpoint: Endpoint) -> Option<SocketAddr> {
    (!endpoint.is_unknown()).then(|| endpoint.into())
}

impl Listing {
    /// Reads the maps.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(crate) fn read(tables: &Tables) -> Result<Self> {
        let now = clock::now();
        let contacts = batch::of_hash(&tables.contacts).collect::<Result<_>>()?;
        let mut bindings = contact_rows(&contacts, now);
        for entry in batch::of_hash(&tables.dialogs) {
            let (key, binding) = entry?;
            if binding.expires > now {
                bindings.push(Row::new(Key::Dialog(key), Kind::Dialog, &binding, now));
            }
        }

        let tick = ticks(now);
        let mut pending = slots(&tables.pending)?;
        forget_settled(
            &mut pending,
            bindings.iter().filter_map(|row| row.key.dialog()),
        );
        bindings.extend(
            young(&pending, tick)
                .map(|(tag, entry)| Row::pending(Key::Slot(tag), Kind::Dialog, &entry, tick)),
        );
        let inbound = slots(&tables.inbound)?;
        let settled = settled_contacts(&contacts, &inbound);
        bindings.extend(
            young(&inbound, tick)
                .filter(|(_, entry)| asks_for_a_contact(entry) && !settled.contains(&entry.contact))
                .map(|(tag, entry)| Row::pending(Key::Slot(tag), Kind::Contact, &entry, tick)),
        );
        let outbound = slots(&tables.outbound)?;
        let transactions = young(&inbound, tick).count() + young(&outbound, tick).count();

        let keepalives: Vec<Source> = slots(&tables.stun)?
            .iter()
            .flat_map(Set::slots)
            .filter(Slot::is_used)
            .filter_map(|slot| Source::of(&slot.entry, tick))
            .collect();
        heed(&mut bindings, &keepalives);

        bindings.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        Ok(Self {
            bindings,
            transactions,
        })
    }
}

/// Keepalives are signs of life, and show who has moved.
fn heed(rows: &mut [Row], keepalives: &[Source]) {
    if keepalives.is_empty() {
        return;
    }
    let learned = rows.iter().map(|row| row.learned).collect();
    let moved = keepalive::moved(keepalives, &learned);
    let seen: HashMap<SocketAddr, u64> = keepalives
        .iter()
        .map(|source| (source.addr, source.silent.as_secs()))
        .collect();
    for row in rows {
        if let Some(&seen) = seen.get(&row.learned) {
            row.stun_seen_seconds_ago = Some(seen);
            row.seen_seconds_ago = row.seen_seconds_ago.min(seen);
        }
        if let Some(moved) = moved.get(&row.learned) {
            row.moved = true;
            row.moved_to = match moved {
                Moved::To(addr) => Some(*addr),
                Moved::Somewhere => None,
            };
        }
    }
}

/// The rows of contacts: each is stored twice, and the void ones are still there.
fn contact_rows(contacts: &HashMap<ContactKey, Binding>, now: u64) -> Vec<Row> {
    contacts
        .iter()
        .filter(|(key, binding)| {
            let mark = contacts.get(&ContactKey {
                uri: 0,
                aor: key.aor,
            });
            let void = mark.is_some_and(|mark| binding.is_voided_by(mark));
            key.uri != 0 && key.aor != 0 && binding.expires > now && !void
        })
        .map(|(key, binding)| {
            let mut row = Row::new(Key::Contact(*key), Kind::Contact, binding, now);
            // By URI alone it may be claimed by two though each of them registered for another.
            let twin = contacts.get(&ContactKey { aor: 0, ..*key });
            if twin.is_some_and(|twin| twin.is_ambiguous(now)) {
                row.state = State::Ambiguous;
                row.notes.push(
                    "ambiguous by Request-URI; calls to its address-of-record still reach it",
                );
            }
            row
        })
        .collect()
}

/// Entries written within the life of a transaction, with their tags.
fn young(sets: &[Set], now: u32) -> impl Iterator<Item = (u64, Entry)> {
    sets.iter()
        .flat_map(Set::slots)
        .filter(move |slot| slot.is_used() && now.wrapping_sub(slot.entry.at) < TRANSACTION_LIFE)
        .map(|slot| (slot.tag, slot.entry))
}

/// Clears the slots of dialog ends that are active by now.
fn forget_settled(pending: &mut [Set], dialogs: impl Iterator<Item = DialogKey>) {
    let mask = pending.len().wrapping_sub(1);
    for dialog in dialogs {
        let key = key::pending(dialog.call, dialog.tag);
        let Some(set) = pending.get_mut(key.index as usize & mask) else {
            continue;
        };
        for way in 0..WAYS {
            if key.is_of(set.tags[way], set.checks[way]) {
                set.tags[way] = 0;
            }
        }
    }
}

/// Contact URIs on which there is nothing to wait for: they are active, or were removed.
fn settled_contacts(contacts: &HashMap<ContactKey, Binding>, inbound: &[Set]) -> HashSet<u64> {
    let removed = inbound
        .iter()
        .flat_map(Set::slots)
        .filter(|slot| slot.entry.flags & flag::REMOVE != 0)
        .map(|slot| slot.entry.contact);
    contacts.keys().map(|key| key.uri).chain(removed).collect()
}

/// Whether the transaction is a REGISTER that, if accepted, makes a contact active.
fn asks_for_a_contact(entry: &Entry) -> bool {
    let kind = flag::REGISTER | flag::REMOVE | flag::REMOVE_ALL;
    entry.flags & kind == flag::REGISTER && entry.contact != 0
}

/// How many entries of a transaction table are alive.
///
/// # Errors
/// If the map cannot be read.
pub(crate) fn live(table: &Array<MapData, Set>) -> Result<usize> {
    Ok(young(&slots(table)?, ticks(clock::now())).count())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::iter;

    use nat_common::tables::slots::{Noted, SlotKey, Slots};

    use super::*;

    pub(crate) const NOW: u64 = 1_000 * SECOND;

    pub(crate) fn binding(text: &str) -> Binding {
        let mut binding = Binding {
            created: NOW - 65 * SECOND,
            seen: NOW - 5 * SECOND,
            expires: NOW + 60 * SECOND,
            redirected: 3,
            learned: Endpoint::v4([60, 17, 196, 2], 49163),
            advertised: Endpoint::v4([60, 17, 196, 2], 5060),
            flags: flag::DIRECT,
            text_len: u8::try_from(text.len()).unwrap(),
            ..Binding::EMPTY
        };
        binding.text[..text.len()].copy_from_slice(text.as_bytes());
        binding
    }

    fn key(uri: u64, aor: u64) -> ContactKey {
        ContactKey { uri, aor }
    }

    fn rows(contacts: &[(ContactKey, Binding)]) -> Vec<Row> {
        contact_rows(&contacts.iter().copied().collect(), NOW)
    }

    #[test]
    fn a_contact_shows_once() {
        let b = binding("1000@60.17.196.2");
        let rows = rows(&[(key(7, 9), b), (key(7, 0), b)]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].state, State::Active);
        assert_eq!(rows[0].terminal.as_deref(), Some("1000@60.17.196.2"));
        assert_eq!(rows[0].learned.to_string(), "60.17.196.2:49163");
        assert_eq!(rows[0].age_seconds, 65);
        assert_eq!(rows[0].expires_in_seconds, 60);
    }

    #[test]
    fn a_keepalive_is_a_sign_of_life_and_shows_who_moved() {
        let entry = |port, first: u64, last: u64| {
            let ago = |seconds: u64| ticks(NOW - seconds * SECOND);
            let mut entry = Entry {
                at: ago(last),
                contact: ago(first).into(),
                flags: flag::KEEPALIVE,
                sent: 4,
                ..Entry::default()
            };
            entry.set_peer(&Endpoint::v4([60, 17, 196, 2], port));
            entry
        };
        let heeded = |seen: u64, entries: &[Entry]| {
            let mut b = binding("1000@60.17.196.2");
            b.seen = NOW - seen * SECOND;
            let mut rows = rows(&[(key(7, 9), b)]);
            let sources: Vec<Source> = entries
                .iter()
                .filter_map(|entry| Source::of(entry, ticks(NOW)))
                .collect();
            heed(&mut rows, &sources);
            let row = rows.remove(0);
            let seen = (row.seen_seconds_ago, row.stun_seen_seconds_ago);
            (seen, row.moved, row.moved_to.map(|addr| addr.port()))
        };
        let (mine, other) = (49163, 49164);
        assert_eq!(heeded(100, &[]), ((100, None), false, None));
        let lives = ((50, Some(50)), false, None);
        assert_eq!(heeded(100, &[entry(mine, 90, 50)]), lives);
        assert_eq!(heeded(9, &[entry(mine, 90, 50)]).0, (9, Some(50)));
        assert_eq!(heeded(100, &[entry(other, 90, 50)]).0, (100, None));
        let moved = [entry(mine, 90, 50), entry(other, 40, 10)];
        assert_eq!(heeded(100, &moved), ((50, Some(50)), true, Some(other)));
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
        assert!(rows.iter().all(|row| row.state == State::Ambiguous));
    }

    #[test]
    fn expired_and_void_contacts_do_not_show() {
        let b = binding("1000@60.17.196.2");
        let expired = Binding { expires: NOW, ..b };
        assert!(rows(&[(key(7, 9), expired)]).is_empty());
        let mark = Binding {
            created: NOW,
            ..Binding::EMPTY
        };
        assert!(rows(&[(key(7, 9), b), (key(0, 9), mark)]).is_empty());
        let old_mark = Binding {
            created: b.seen - 1,
            ..Binding::EMPTY
        };
        assert_eq!(rows(&[(key(7, 9), b), (key(0, 9), old_mark)]).len(), 1);
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
        assert_eq!(young(&slots, ticks(NOW)).count(), 1);
        let other = DialogKey { tag: 1, ..dialog };
        forget_settled(&mut slots, iter::once(other));
        assert_eq!(young(&slots, ticks(NOW)).count(), 1);
        forget_settled(&mut slots, iter::once(dialog));
        assert_eq!(young(&slots, ticks(NOW)).count(), 0);
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
        assert_eq!(young(&[set], now).count(), 1);
    }
}
