//! The list of bindings, put together from the maps: active bindings, pending ones, and the number of transactions.
//!
//! A table may hold a million bindings, so no list keeps its rows. The tables are read twice: first for the little that
//! rows take from elsewhere, then for the rows, one at a time.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::{Result, bail};
use nat_common::{
    abi::{Binding, DialogKey, map, ticks},
    engine::lifetimes::{FOREVER, TRANSACTION_LIFE},
};

use crate::{
    host::clock,
    kernel::{
        mapped::{Access, Bindings},
        tables::Tables,
    },
    view::{
        contacts::Contacts,
        keepalive::{Keepalives, Source},
        pending::{Claims, is_transaction},
        pings::Pings,
        row_json,
        rows::{BindingKind, BindingState, Claim, Row, RowKey},
    },
};

/// The list of bindings, ready to be read row by row.
pub struct Listing {
    now: u64,
    dialogs: Bindings<DialogKey>,
    contacts: Contacts,
    claims: Claims,
    keepalives: Keepalives,
    pings: Pings,
    /// Number of live transactions in both directions.
    pub transactions: usize,
    /// Number of used entries in the tables that were read for the list: not always those of `DIALOGS`.
    pub used: BTreeMap<&'static str, usize>,
}

/// Place of a row in the tables. The programs may write another binding there at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Slot of `DIALOGS`.
    Dialog(u32),
    /// Slot of `CONTACTS`.
    Contact(u32),
    /// Claim to a dialog end, by its number.
    PendingDialog(u32),
    /// Claim to a contact, by its number.
    PendingContact(u32),
}

impl Listing {
    /// Opens the maps, and reads what rows take from others.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn read(tables: &Tables) -> Result<Self> {
        Self::at(tables, clock::now())
    }

    /// Reads the list as it is at a time of the programs' clock.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn at(tables: &Tables, now: u64) -> Result<Self> {
        let tick = ticks(now);
        let mut used = BTreeMap::new();

        let sources = tables.stun.read()?;
        used.insert(map::STUN, sources.live(tick, FOREVER).count());
        let sources = sources.live(tick, FOREVER);
        let mut keepalives = Keepalives::of(
            sources
                .filter_map(|slot| Source::of(&slot.entry, tick))
                .collect(),
        );

        let pending = tables.pending.read()?;
        used.insert(map::PENDING, pending.live(tick, TRANSACTION_LIFE).count());
        let inbound = tables.inbound.read()?;
        used.insert(map::INBOUND, inbound.live(tick, TRANSACTION_LIFE).count());
        let outbound = tables.outbound.read()?.live(tick, TRANSACTION_LIFE).count();
        used.insert(map::OUTBOUND, outbound);
        let inbound_transactions = inbound.live(tick, TRANSACTION_LIFE);
        let transactions = outbound
            + inbound_transactions
                .filter(|slot| is_transaction(&slot.entry.value))
                .count();
        let mut claims = Claims::of(&pending, &inbound, tick);
        for learned in claims.sources() {
            keepalives.see(learned);
        }

        let dialogs = tables.dialogs.open(Access::Read)?;
        if claims.need_dialogs() || keepalives.are_there() {
            let mut live = 0;
            dialogs.visit(|_, binding| {
                if binding.expires > now {
                    live += 1;
                    claims.settle_dialog(binding);
                    keepalives.see(binding.learned.into());
                }
            });
            used.insert(map::DIALOGS, live);
        }

        let mut contacts = Contacts::new(tables.contacts.open(Access::Read)?, now);
        let mut live = 0;
        contacts.visit(|key, binding| {
            live += 1;
            claims.settle_contact(key);
            keepalives.see(binding.learned.into());
        });
        used.insert(map::CONTACTS, live);
        claims.forget_settled();
        keepalives.find_moved();

        Ok(Self {
            now,
            dialogs,
            contacts,
            claims,
            keepalives,
            pings: Pings::read(tables)?,
            transactions,
            used,
        })
    }

    /// Reads the rows, in the order of the tables.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.placed_rows().map(|(_, row)| row)
    }

    /// Reads the rows with their places.
    pub(super) fn placed_rows(&self) -> impl Iterator<Item = (Place, Row)> {
        let dialogs = (0..self.dialogs.slots()).map(Place::Dialog);
        let contacts = (0..self.contacts.slots()).map(Place::Contact);
        let pending_dialogs = (0..self.claims.dialogs.len() as u32).map(Place::PendingDialog);
        let pending_contacts = (0..self.claims.contacts.len() as u32).map(Place::PendingContact);
        dialogs
            .chain(contacts)
            .chain(pending_dialogs)
            .chain(pending_contacts)
            .filter_map(|place| Some((place, self.row(place)?)))
    }

    /// Reads the row of a place, if there is one.
    pub(super) fn row(&self, place: Place) -> Option<Row> {
        let mut row = match place {
            Place::Dialog(slot) => {
                let mut binding = Binding::EMPTY;
                let key = self.dialogs.copy(slot, &mut binding)?;
                (binding.expires > self.now)
                    .then(|| Row::new(RowKey::Dialog(key), BindingKind::Dialog, &binding, self.now))
            }
            Place::Contact(slot) => self.contacts.row(slot),
            Place::PendingDialog(number) => {
                let slot = self.claims.dialogs.get(number as usize)?;
                Some(self.pending(slot.tag, BindingKind::Dialog, &(&slot.entry).into()))
            }
            Place::PendingContact(number) => {
                let slot = self.claims.contacts.get(number as usize)?;
                Some(self.pending(slot.tag, BindingKind::Contact, &(&slot.entry).into()))
            }
        }?;
        self.keepalives.enter(&mut row);
        self.pings.enter(&mut row);
        Some(row)
    }

    /// Visits the kinds and states of all rows, without making them.
    pub(super) fn states(&self, mut visit: impl FnMut(BindingKind, BindingState)) {
        self.dialogs.visit(|_, binding| {
            if binding.expires > self.now {
                visit(BindingKind::Dialog, BindingState::of(binding, self.now));
            }
        });
        self.contacts
            .states(|state| visit(BindingKind::Contact, state));
        for slot in &self.claims.dialogs {
            visit(BindingKind::Dialog, Claim::from(&slot.entry).state());
        }
        for slot in &self.claims.contacts {
            visit(BindingKind::Contact, Claim::from(&slot.entry).state());
        }
    }

    /// Writes the list as one JSON document, with a line for each row. The rows are read meanwhile.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub(crate) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = Vec::new();
        out.write_all(b"{\n  \"bindings\": [")?;
        for (number, row) in self.rows().enumerate() {
            line.clear();
            line.extend_from_slice(if number > 0 { b",\n    " } else { b"\n    " });
            row_json::write(&row, &mut line);
            out.write_all(&line)?;
        }
        // An empty list ends on its line.
        let end = if line.is_empty() { "" } else { "\n  " };
        writeln!(
            out,
            "{end}],\n  \"transactions\": {}\n}}",
            self.transactions
        )
    }

    fn pending(&self, tag: u64, kind: BindingKind, claim: &Claim) -> Row {
        Row::pending(RowKey::Slot(tag), kind, claim, ticks(self.now))
    }

    /// Finds the one row that `text` names.
    ///
    /// # Errors
    /// If there is none, or several.
    pub(crate) fn pick(&self, text: &str) -> Result<Row> {
        pick(self.rows(), text)
    }
}

/// Finds the one row that `text` names.
fn pick(rows: impl Iterator<Item = Row>, text: &str) -> Result<Row> {
    /// Number of ids that an error names.
    const NAMED: usize = 10;
    let mut rows = rows.filter(|row| row.matches(text));
    let Some(first) = rows.next() else {
        bail!("there is no binding `{text}`; see `sipnat bindings list`");
    };
    let mut ids: Vec<String> = rows.by_ref().take(NAMED - 1).map(|row| row.id).collect();
    if ids.is_empty() {
        return Ok(first);
    }
    ids.insert(0, first.id);
    let ids: Vec<&str> = ids.iter().map(|id| &id[..8]).collect();
    let more = match rows.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    bail!(
        "`{text}` means several: {}{more}; name one by its id",
        ids.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::rows::tests::{NOW, binding};

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
        let all = || [row(0xab << 56, "1000@a"), row(0xac << 56, "1001@b")].into_iter();
        for text in ["ab", "ab00", "1000@a", "1000", "a"] {
            assert_eq!(
                pick(all(), text).unwrap().terminal.as_deref(),
                Some("1000@a"),
                "{text}"
            );
        }
        let error = |text| pick(all(), text).unwrap_err().to_string();
        assert!(error("1002").contains("no binding"));
        let several = error("60.17.196.2");
        assert!(several.contains("ab000001, ac000001;"), "{several}");
    }

    #[test]
    fn an_error_does_not_name_a_million_rows() {
        let rows = (0..1000).map(|tag| {
            let dialog = DialogKey { call: 1, tag };
            let binding = binding("1000@a");
            Row::new(RowKey::Dialog(dialog), BindingKind::Dialog, &binding, NOW)
        });
        let error = pick(rows, "1000").unwrap_err().to_string();
        assert!(error.contains(" and 990 more; name one"), "{error}");
    }
}
