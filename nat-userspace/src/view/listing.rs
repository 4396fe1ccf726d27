//! The list of bindings, put together from the maps: active bindings, pending ones, and the number of transactions.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use anyhow::{Result, bail};
use nat_common::{
    abi::{Binding, BindingFlags, ContactKey, map, ticks},
    engine::lifetimes::{FOREVER, TRANSACTION_LIFE},
};
use serde::Serialize;

use crate::{
    host::clock,
    kernel::{mapped::Access, tables::Tables},
    view::{
        keepalive::{self, Moved, Source},
        pending::{asks_for_a_contact, forget_settled, is_transaction, settled_contacts},
        rows::{BindingKind, BindingState, Row, RowKey, table},
    },
};

/// The list of bindings.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Listing {
    /// Bindings, in the order of the list.
    pub bindings: Vec<Row>,
    /// Number of live transactions in both directions.
    pub transactions: usize,
    /// Number of used entries in the tables that were read for the list.
    #[serde(skip)]
    pub used: BTreeMap<&'static str, usize>,
}

impl Listing {
    /// Reads the maps.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(tables: &Tables) -> Result<Self> {
        let now = clock::now();
        let mut used = BTreeMap::new();
        let contacts: HashMap<_, _> = tables
            .contacts
            .open(Access::Read)?
            .iter()
            .filter(|(_, binding)| binding.expires > now)
            .collect();
        used.insert(map::CONTACTS, contacts.len());
        let mut bindings = contact_rows(&contacts, now);
        let mut dialogs = 0;
        let mut active = HashSet::new();
        for (key, binding) in tables.dialogs.open(Access::Read)?.iter() {
            if binding.expires > now {
                dialogs += 1;
                active.insert((binding.learned.into(), binding.arrived));
                let (key, kind) = (RowKey::Dialog(key), BindingKind::Dialog);
                bindings.push(Row::new(key, kind, &binding, now));
            }
        }
        used.insert(map::DIALOGS, dialogs);

        let tick = ticks(now);
        let mut pending = tables.pending.read()?;
        used.insert(map::PENDING, pending.live(tick, TRANSACTION_LIFE).count());
        forget_settled(&mut pending, &active);
        bindings.extend(pending.live(tick, TRANSACTION_LIFE).map(|slot| {
            let key = RowKey::Slot(slot.tag);
            Row::pending(key, BindingKind::Dialog, &(&slot.entry).into(), tick)
        }));
        let inbound = tables.inbound.read()?;
        let settled = settled_contacts(&contacts, &inbound);
        bindings.extend(
            inbound
                .live(tick, TRANSACTION_LIFE)
                .filter(|slot| asks_for_a_contact(&slot.entry.value))
                .filter(|slot| !settled.contains(&slot.entry.value.detail))
                .map(|slot| {
                    let key = RowKey::Slot(slot.tag);
                    Row::pending(key, BindingKind::Contact, &(&slot.entry).into(), tick)
                }),
        );
        let outbound = tables.outbound.read()?;
        used.insert(map::INBOUND, inbound.live(tick, TRANSACTION_LIFE).count());
        used.insert(map::OUTBOUND, outbound.live(tick, TRANSACTION_LIFE).count());
        let transactions = used[map::OUTBOUND]
            + inbound
                .live(tick, TRANSACTION_LIFE)
                .filter(|slot| is_transaction(&slot.entry.value))
                .count();

        let sources = tables.stun.read()?;
        let sources: Vec<_> = sources.live(tick, FOREVER).collect();
        used.insert(map::STUN, sources.len());
        let keepalives: Vec<Source> = sources
            .iter()
            .filter_map(|slot| Source::of(&slot.entry, tick))
            .collect();
        merge_keepalives(&mut bindings, &keepalives);

        bindings.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        Ok(Self {
            bindings,
            transactions,
            used,
        })
    }

    /// Renders it as a table.
    pub(crate) fn render(&self) -> String {
        let summary = self.summary();
        if self.bindings.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", table(&self.bindings))
    }

    fn summary(&self) -> String {
        let count = |kind| {
            let of_kind = |row: &&Row| row.kind == kind && row.state != BindingState::Pending;
            self.bindings.iter().filter(of_kind).count()
        };
        let (dialogs, contacts) = (count(BindingKind::Dialog), count(BindingKind::Contact));
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

    /// Finds the one row that `text` names.
    ///
    /// # Errors
    /// If there is none, or several.
    pub(crate) fn pick(self, text: &str) -> Result<Row> {
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

/// Enters keepalives into the rows: they are signs of life, and show which terminals have moved.
fn merge_keepalives(rows: &mut [Row], keepalives: &[Source]) {
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

/// Makes the rows of contacts: the map has each of them up to four times, and void ones until they expire.
fn contact_rows(contacts: &HashMap<ContactKey, Binding>, now: u64) -> Vec<Row> {
    contacts
        .iter()
        .filter(|(key, binding)| {
            let removal = contacts.get(&ContactKey {
                uri: 0,
                aor: key.aor,
            });
            let void = removal.is_some_and(|removal| binding.is_voided_by(removal));
            // Where it was at another host before has a key of its own (see `ContactKey::before`).
            let current = key.aor != !binding.aor && key.aor != !0;
            key.uri != 0 && key.aor != 0 && current && binding.expires > now && !void
        })
        .map(|(key, binding)| {
            let mut row = Row::new(RowKey::Contact(*key), BindingKind::Contact, binding, now);
            let before = contacts.get(&key.before());
            if binding.flags.contains(BindingFlags::MOVED)
                && before.is_some_and(|before| before.expires > now)
            {
                row.notes.push(
                    "registered from another host; the one before comes first until it is silent",
                );
            }
            // Two terminals that registered for different addresses-of-record may have the same URI.
            let twin = contacts.get(&ContactKey { aor: 0, ..*key });
            if let Some(twin) = twin.filter(|twin| twin.aor == binding.aor) {
                // Calls that only the URI names are proven there.
                row.flags |= twin.flags & BindingFlags::WEAK;
            }
            let is_other = |twin: &&Binding| {
                twin.expires > now && twin.aor != binding.aor && twin.learned != binding.learned
            };
            if twin.is_some_and(|twin| twin.is_ambiguous(now)) {
                row.state = BindingState::Ambiguous;
                row.notes.push(
                    "ambiguous by Request-URI; calls to its address-of-record still reach it",
                );
            } else if twin.filter(is_other).is_some() {
                row.notes.push(
                    "its URI is another owner's; calls to its address-of-record still reach it",
                );
            }
            row
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use nat_common::{
        abi::{DialogKey, Entry, PendingDialog, PendingFlags, SECOND, StunFlags, StunSource},
        endpoint::Endpoint,
    };

    use super::*;
    use crate::view::rows::tests::{NOW, binding};

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
        assert_eq!(rows[0].state, BindingState::Active);
        assert_eq!(rows[0].terminal.as_deref(), Some("1000@60.17.196.2"));
        assert_eq!(rows[0].learned.to_string(), "60.17.196.2:49163");
        assert_eq!(rows[0].age_seconds, 65);
        assert_eq!(rows[0].expires_in_seconds, 60);
    }

    #[test]
    fn a_keepalive_is_a_sign_of_life_and_shows_who_moved() {
        let entry = |port, first: u64, last: u64| {
            let ago = |seconds: u64| ticks(NOW - seconds * SECOND);
            let mut value = StunSource {
                first: ago(first),
                flags: StunFlags::KEEPALIVE,
                requests: 4,
                ..StunSource::default()
            };
            value.set_source(&Endpoint::v4([60, 17, 196, 2], port));
            Entry {
                value,
                at: ago(last),
            }
        };
        let merged = |seen: u64, entries: &[Entry<StunSource>]| {
            let mut b = binding("1000@60.17.196.2");
            b.seen = NOW - seen * SECOND;
            let mut rows = rows(&[(key(7, 9), b)]);
            let sources: Vec<Source> = entries
                .iter()
                .filter_map(|entry| Source::of(entry, ticks(NOW)))
                .collect();
            merge_keepalives(&mut rows, &sources);
            let row = rows.remove(0);
            let seen = (row.seen_seconds_ago, row.stun_seen_seconds_ago);
            (seen, row.moved, row.moved_to.map(|addr| addr.port()))
        };
        let (mine, other) = (49163, 49164);
        assert_eq!(merged(100, &[]), ((100, None), false, None));
        let lives = ((50, Some(50)), false, None);
        assert_eq!(merged(100, &[entry(mine, 90, 50)]), lives);
        assert_eq!(merged(9, &[entry(mine, 90, 50)]).0, (9, Some(50)));
        assert_eq!(merged(100, &[entry(other, 90, 50)]).0, (100, None));
        let moved = [entry(mine, 90, 50), entry(other, 40, 10)];
        assert_eq!(merged(100, &moved), ((50, Some(50)), true, Some(other)));
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
            ..Binding::EMPTY
        };
        assert!(rows(&[(key(7, 9), b), (key(0, 9), mark)]).is_empty());
        let old_mark = Binding {
            arrived: b.arrived - 1,
            ..Binding::EMPTY
        };
        assert_eq!(rows(&[(key(7, 9), b), (key(0, 9), old_mark)]).len(), 1);
    }

    fn listing(bindings: Vec<Row>) -> Listing {
        Listing {
            bindings,
            transactions: 5,
            ..Listing::default()
        }
    }

    #[test]
    fn the_list_reads_as_a_table() {
        let dialog = DialogKey {
            call: 0xabcd << 48,
            tag: 1,
        };
        let early = Binding {
            flags: BindingFlags::DIRECT | BindingFlags::EARLY,
            ..binding("1000@60.17.196.2")
        };
        let text = listing(vec![Row::new(
            RowKey::Dialog(dialog),
            BindingKind::Dialog,
            &early,
            NOW,
        )])
        .render();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "ID        TERMINAL          KIND    STATE           ADVERTISED        LEARNED            AGE    SEEN  EXPIRES  REDIRECTED",
                "abcd0001  1000@60.17.196.2  dialog  active (early)  60.17.196.2:5060  60.17.196.2:49163  1m 5s  5s    1m                3",
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
            Row::new(
                RowKey::Dialog(dialog),
                BindingKind::Dialog,
                &binding(text),
                NOW,
            )
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
        assert!(several.contains("ab000001, ac000001"), "{several}");
    }

    #[test]
    fn pending_is_counted_apart() {
        let mut value = PendingDialog {
            flags: PendingFlags::DIRECT,
            ..PendingDialog::default()
        };
        value.set_source(&Endpoint::v4([60, 17, 196, 2], 49163));
        let entry = Entry {
            value,
            at: ticks(NOW - 2 * SECOND),
        };
        let row = Row::pending(
            RowKey::Slot(0xabc << 24),
            BindingKind::Dialog,
            &(&entry).into(),
            ticks(NOW),
        );
        assert_eq!((row.age_seconds, row.expires_in_seconds), (2, 30));
        let text = listing(vec![row]).render();
        assert!(text.ends_with("0 bindings (0 dialogs, 0 contacts), 1 pending, 5 transactions"));
    }
}
