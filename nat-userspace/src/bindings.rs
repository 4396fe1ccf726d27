//! `sipnat bindings`: what is known of terminals.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, MapData};
use nat_common::{
    abi::{Binding, ContactKey, DialogKey, Endpoint, Entry, SECOND, Set, Slot, flag, ticks},
    engine::TRANSACTION_LIFE,
    key,
};
use serde::Serialize;

use crate::{
    clock, output,
    tables::{Tables, entries, slots},
};

/// What a binding identifies its terminal by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dialog,
    Contact,
}

/// Whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Active,
    Ambiguous,
    Pending,
}

/// Where a row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Dialog(DialogKey),
    Contact(ContactKey),
    Slot(u64),
}

impl Key {
    /// Names the row on the command line; a prefix will do.
    fn id(self) -> String {
        match self {
            Self::Dialog(key) => format!("{:016x}{:016x}", key.call, key.tag),
            Self::Contact(key) => format!("{:016x}{:016x}", key.uri, key.aor),
            Self::Slot(tag) => format!("{:014x}", tag >> 8),
        }
    }
}

/// One binding, as shown.
#[derive(Clone, Debug, Serialize)]
struct Row {
    id: String,
    #[serde(skip)]
    key: Key,
    /// `user@host`.
    terminal: Option<String>,
    kind: Kind,
    state: State,
    /// `early`, `ended`, `indirect`: what the state does not say.
    notes: Vec<&'static str>,
    advertised: Option<SocketAddr>,
    learned: SocketAddr,
    age_seconds: u64,
    seen_seconds_ago: u64,
    expires_in_seconds: u64,
    redirected: u64,
}

/// Everything there is to show.
#[derive(Clone, Debug, Serialize)]
struct Listing {
    bindings: Vec<Row>,
    /// Transactions remembered, both ways.
    transactions: usize,
}

impl Row {
    fn new(key: Key, kind: Kind, binding: &Binding, now: u64) -> Self {
        let seconds = |from: u64, to: u64| to.saturating_sub(from) / SECOND;
        let text = &binding.text[..usize::from(binding.text_len).min(binding.text.len())];
        Self {
            id: key.id(),
            key,
            terminal: (!text.is_empty()).then(|| output::printable(text)),
            kind,
            state: if binding.is_ambiguous(now) {
                State::Ambiguous
            } else {
                State::Active
            },
            notes: notes(binding.flags),
            advertised: known(binding.advertised),
            learned: binding.learned.into(),
            age_seconds: seconds(binding.created, now),
            seen_seconds_ago: seconds(binding.seen, now),
            expires_in_seconds: seconds(now, binding.expires),
            redirected: binding.redirected,
        }
    }

    fn pending(key: Key, kind: Kind, entry: &Entry, now: u32) -> Self {
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
            advertised: known(entry.advertised()),
            learned: entry.peer().into(),
            age_seconds: seconds(age),
            seen_seconds_ago: seconds(age),
            expires_in_seconds: seconds(TRANSACTION_LIFE.saturating_sub(age)),
            redirected: 0,
        }
    }

    /// Whether `text` means this row: the start of its id, its terminal, user, or an address.
    fn matches(&self, text: &str) -> bool {
        let terminal = self.terminal.as_deref().unwrap_or_default();
        let addresses = [Some(self.learned), self.advertised];
        (text.len() >= 2 && self.id.starts_with(text))
            || terminal == text
            || terminal.split('@').any(|part| part == text)
            || addresses
                .into_iter()
                .flatten()
                .any(|addr| addr.to_string() == text || addr.ip().to_string() == text)
    }

    fn state(&self) -> String {
        let state = match self.state {
            State::Active => "active",
            State::Ambiguous => "ambiguous",
            State::Pending => "pending",
        };
        match self.notes.as_slice() {
            [] => state.into(),
            notes => format!("{state} ({})", notes.join(", ")),
        }
    }

    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Dialog => "dialog",
            Kind::Contact => "contact",
        }
    }

    fn advertised(&self) -> String {
        self.advertised
            .map_or_else(|| "-".into(), |addr| addr.to_string())
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

fn known(endpoint: Endpoint) -> Option<SocketAddr> {
    (!endpoint.is_unknown()).then(|| endpoint.into())
}

fn age(seconds: u64) -> String {
    output::duration(Duration::from_secs(seconds))
}

impl Listing {
    fn read(tables: &Tables) -> Result<Self> {
        let now = clock::now();
        let contacts = entries(&tables.contacts)?.into_iter().collect();
        let mut dialogs = entries(&tables.dialogs)?;
        dialogs.retain(|(_, binding)| binding.expires > now);
        let mut bindings = contact_rows(&contacts, now);
        bindings.extend(
            dialogs
                .iter()
                .map(|(key, binding)| Row::new(Key::Dialog(*key), Kind::Dialog, binding, now)),
        );

        let tick = ticks(now);
        let mut pending = slots(&tables.pending)?;
        forget_settled(&mut pending, &dialogs);
        bindings.extend(
            young(&pending, tick)
                .map(|(tag, entry)| Row::pending(Key::Slot(tag), Kind::Dialog, entry, tick)),
        );
        let inbound = slots(&tables.inbound)?;
        let settled = settled_contacts(&contacts, &inbound);
        bindings.extend(
            young(&inbound, tick)
                .filter(|(_, entry)| asks_for_a_contact(entry) && !settled.contains(&entry.contact))
                .map(|(tag, entry)| Row::pending(Key::Slot(tag), Kind::Contact, entry, tick)),
        );
        let outbound = slots(&tables.outbound)?;
        let transactions = young(&inbound, tick).count() + young(&outbound, tick).count();

        bindings.sort_by(|a, b| {
            let order = |row: &Row| (row.state, row.kind);
            order(a)
                .cmp(&order(b))
                .then_with(|| a.terminal.cmp(&b.terminal))
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(Self {
            bindings,
            transactions,
        })
    }

    fn render(&self) -> String {
        let rows = self.bindings.iter().map(|row| {
            [
                row.id[..8].into(),
                row.terminal.clone().unwrap_or_else(|| "-".into()),
                row.kind().into(),
                row.state(),
                row.advertised(),
                row.learned.to_string(),
                age(row.age_seconds),
                age(row.seen_seconds_ago),
                age(row.expires_in_seconds),
                row.redirected.to_string(),
            ]
        });
        let headings = [
            "ID",
            "TERMINAL",
            "KIND",
            "STATE",
            "ADVERTISED",
            "LEARNED",
            "AGE",
            "SEEN",
            "EXPIRES",
            "REDIRECTED",
        ];
        let summary = self.summary();
        if self.bindings.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", output::table(headings, &[9], rows))
    }

    fn summary(&self) -> String {
        let count = |kind| {
            let of_kind = |row: &&Row| row.kind == kind && row.state != State::Pending;
            self.bindings.iter().filter(of_kind).count()
        };
        let (dialogs, contacts) = (count(Kind::Dialog), count(Kind::Contact));
        let many = |n: usize, thing: &str| format!("{n} {thing}{}", if n == 1 { "" } else { "s" });
        format!(
            "{} ({}, {}), {} pending, {}",
            many(dialogs + contacts, "binding"),
            many(dialogs, "dialog"),
            many(contacts, "contact"),
            self.bindings.len() - dialogs - contacts,
            many(self.transactions, "transaction")
        )
    }

    /// The one row that `text` means.
    fn pick(self, text: &str) -> Result<Row> {
        let mut rows: Vec<Row> = self
            .bindings
            .into_iter()
            .filter(|row| row.matches(text))
            .collect();
        match rows.len() {
            0 => bail!("there is no binding `{text}`; see `sipnat bindings list`"),
            1 => Ok(rows.remove(0)),
            _ => {
                let ids: Vec<&str> = rows.iter().map(|row| &row.id[..8]).collect();
                bail!(
                    "`{text}` means several: {}; name one by its id",
                    ids.join(", ")
                )
            }
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
            let void = mark.is_some_and(|mark| binding.seen <= mark.created);
            key.uri != 0 && key.aor != 0 && binding.expires > now && !void
        })
        .map(|(key, binding)| {
            let mut row = Row::new(Key::Contact(*key), Kind::Contact, binding, now);
            // By URI alone it may be claimed by two though each of them registered for another.
            let twin = contacts.get(&ContactKey { aor: 0, ..*key });
            if twin.is_some_and(|twin| twin.is_ambiguous(now)) {
                row.state = State::Ambiguous;
            }
            row
        })
        .collect()
}

/// Entries written within the life of a transaction, with their tags.
fn young(sets: &[Set], now: u32) -> impl Iterator<Item = (u64, &Entry)> {
    const BUSY: u64 = 1;
    sets.iter()
        .flatten()
        .filter(move |slot| {
            slot.tag != 0
                && slot.tag & BUSY == 0
                && now.wrapping_sub(slot.entry.at) < TRANSACTION_LIFE
        })
        .map(|slot| (slot.tag, &slot.entry))
}

/// Clears the slots of dialog ends that are active by now.
fn forget_settled(pending: &mut [Set], dialogs: &[(DialogKey, Binding)]) {
    let mask = pending.len().wrapping_sub(1);
    for (dialog, _) in dialogs {
        let key = key::pending(dialog.call, dialog.tag);
        let set = pending.get_mut(key.index as usize & mask);
        for slot in set.into_iter().flatten().filter(|slot| key.is_of(slot)) {
            *slot = Slot::default();
        }
    }
}

/// Contact URIs on which there is nothing to wait for: they are active, or were removed.
fn settled_contacts(contacts: &HashMap<ContactKey, Binding>, inbound: &[Set]) -> HashSet<u64> {
    let removed = inbound
        .iter()
        .flatten()
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
pub fn live(table: &Array<MapData, Set>) -> Result<usize> {
    Ok(young(&slots(table)?, ticks(clock::now())).count())
}

/// # Errors
/// If the maps cannot be read.
pub fn list(tables: &Tables, json: bool) -> Result<()> {
    let listing = Listing::read(tables)?;
    if json {
        output::json(&listing)
    } else {
        output::print(&listing.render())
    }
}

/// One binding in full.
///
/// # Errors
/// If there is none or several, or the maps cannot be read.
pub fn show(tables: &Tables, text: &str, json: bool) -> Result<()> {
    let row = Listing::read(tables)?.pick(text)?;
    if json {
        return output::json(&row);
    }
    let ago = |seconds| format!("{} ago", age(seconds));
    let lines = [
        ("id", row.id.clone()),
        (
            "terminal",
            row.terminal.clone().unwrap_or_else(|| "-".into()),
        ),
        ("kind", row.kind().into()),
        ("state", row.state()),
        ("advertised", row.advertised()),
        ("learned", row.learned.to_string()),
        ("active since", ago(row.age_seconds)),
        ("last seen", ago(row.seen_seconds_ago)),
        ("expires", format!("in {}", age(row.expires_in_seconds))),
        ("redirected", format!("{} packets", row.redirected)),
    ];
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, value)| format!("{name:<13} {value}"))
        .collect();
    output::print(&lines.join("\n"))
}

/// Redraws the list each second until interrupted.
///
/// # Errors
/// If the maps cannot be read any more.
pub fn watch(tables: &Tables) -> Result<()> {
    /// Cursor home, and clear from there.
    const REDRAW: &str = "\x1b[H\x1b[J";
    loop {
        output::print(&format!("{REDRAW}{}", Listing::read(tables)?.render()))?;
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Forgets one binding.
///
/// # Errors
/// If there is none or several, or it cannot be removed.
pub fn remove(tables: &mut Tables, text: &str) -> Result<()> {
    let row = Listing::read(tables)?.pick(text)?;
    let removed = match row.key {
        Key::Dialog(key) => tables.dialogs.remove(&key),
        Key::Contact(key) => {
            let twin = ContactKey { aor: 0, ..key };
            // By URI alone it may meanwhile be another terminal's.
            if tables
                .contacts
                .get(&twin, 0)
                .is_ok_and(|twin| twin.aor == key.aor)
            {
                tables
                    .contacts
                    .remove(&twin)
                    .context("cannot remove the binding")?;
            }
            tables.contacts.remove(&key)
        }
        Key::Slot(_) => bail!("{} is pending: it is forgotten by itself", &row.id[..8]),
    };
    removed.context("cannot remove the binding")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000 * SECOND;

    fn binding(text: &str) -> Binding {
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

    fn listing(bindings: Vec<Row>) -> Listing {
        Listing {
            bindings,
            transactions: 5,
        }
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

    #[test]
    fn what_is_settled_is_not_pending() {
        let dialog = DialogKey {
            call: 0x1234_5678_9abc,
            tag: 0xdef0 << 20,
        };
        let mut set = Set::default();
        let mut slots = [set, set];
        let key = key::pending(dialog.call, dialog.tag);
        let mut copy = Entry::default();
        // SAFETY: the set outlives this use, and nothing else refers to it.
        let mut table = unsafe { nat_common::slots::Slots::new(&raw mut set, &mut copy) };
        let mut entry = Entry {
            at: ticks(NOW),
            ..Entry::default()
        };
        table.note(&key, &mut entry, 1, false);
        slots[key.index as usize & 1] = set;
        assert_eq!(young(&slots, ticks(NOW)).count(), 1);
        let other = DialogKey { tag: 1, ..dialog };
        forget_settled(&mut slots, &[(other, Binding::EMPTY)]);
        assert_eq!(young(&slots, ticks(NOW)).count(), 1);
        forget_settled(&mut slots, &[(dialog, Binding::EMPTY)]);
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
        set[0].entry = register(8, flag::REMOVE);
        set[1].entry = register(9, 0);
        let contacts = HashMap::from([(key(7, 1), binding("a@b"))]);
        let settled = settled_contacts(&contacts, &[set]);
        assert!(settled.contains(&7) && settled.contains(&8) && !settled.contains(&9));
    }

    #[test]
    fn only_young_slots_count() {
        let now = ticks(NOW);
        let mut set = Set::default();
        set[0].tag = 1 << 8;
        set[0].entry.at = now;
        set[1].tag = 1 << 8;
        set[1].entry.at = now.wrapping_sub(TRANSACTION_LIFE);
        set[2].tag = 1 << 8 | 1;
        set[2].entry.at = now;
        set[3].entry.at = now;
        assert_eq!(young(&[set], now).count(), 1);
    }

    #[test]
    fn the_list_reads_as_a_table() {
        let dialog = DialogKey {
            call: 0xabcd << 48,
            tag: 1,
        };
        let early = Binding {
            flags: flag::DIRECT | flag::EARLY,
            ..binding("1000@60.17.196.2")
        };
        let text = listing(vec![Row::new(
            Key::Dialog(dialog),
            Kind::Dialog,
            &early,
            NOW,
        )])
        .render();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "ID        TERMINAL          KIND    STATE           ADVERTISED        LEARNED            AGE    SEEN  EXPIRES  REDIRECTED",
                "abcd0000  1000@60.17.196.2  dialog  active (early)  60.17.196.2:5060  60.17.196.2:49163  1m 5s  5s    1m                3",
                "1 binding (1 dialog, 0 contacts), 0 pending, 5 transactions",
            ]
        );
        assert_eq!(
            listing(vec![]).render(),
            "0 bindings (0 dialogs, 0 contacts), 0 pending, 5 transactions"
        );
    }

    #[test]
    fn a_row_is_found_by_id_name_or_address() {
        let row = |call, text| {
            let dialog = DialogKey { call, tag: 1 };
            Row::new(Key::Dialog(dialog), Kind::Dialog, &binding(text), NOW)
        };
        let all = || listing(vec![row(0xab << 56, "1000@a"), row(0xac << 56, "1001@b")]);
        for text in ["ab", "ab00", "1000@a", "1000", "a"] {
            assert_eq!(
                all().pick(text).unwrap().terminal.as_deref(),
                Some("1000@a"),
                "{text}"
            );
        }
        assert!(
            all()
                .pick("1002")
                .unwrap_err()
                .to_string()
                .contains("no binding")
        );
        let several = all().pick("60.17.196.2").unwrap_err().to_string();
        assert!(several.contains("ab000000, ac000000"), "{several}");
    }

    #[test]
    fn pending_is_counted_apart() {
        let mut entry = Entry {
            at: ticks(NOW - 2 * SECOND),
            flags: flag::DIRECT,
            ..Entry::default()
        };
        entry.set_peer(&Endpoint::v4([60, 17, 196, 2], 49163));
        let row = Row::pending(Key::Slot(0xabc << 8), Kind::Dialog, &entry, ticks(NOW));
        assert_eq!((row.age_seconds, row.expires_in_seconds), (2, 30));
        let text = listing(vec![row]).render();
        assert!(text.ends_with("0 bindings (0 dialogs, 0 contacts), 1 pending, 5 transactions"));
    }
}
