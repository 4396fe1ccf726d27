//! The list of bindings as a table for people.

use std::fmt;

use serde::Serialize;

use crate::view::{
    listing::{Listing, Place},
    output::Columns,
    rows::{self, BindingKind, BindingState, COLUMNS, Order},
};

/// The list of bindings as a table, ready to be printed line by line. It keeps the order of the rows and the widths of the
/// columns, but no row.
pub(crate) struct Page<'l> {
    listing: &'l Listing,
    columns: Columns<COLUMNS>,
    order: Vec<(Order, Place)>,
    summary: Summary,
}

impl<'l> Page<'l> {
    /// Reads all rows once.
    pub(crate) fn of(listing: &'l Listing) -> Self {
        let mut columns = rows::columns();
        let mut summary = Summary {
            transactions: listing.transactions,
            ..Summary::default()
        };
        let mut order = Vec::new();
        for (place, row) in listing.placed_rows() {
            columns.fit(&row.cells());
            summary.add(row.kind, row.state);
            order.push((row.order(), place));
        }
        order.sort_unstable_by_key(|(order, _)| *order);
        Self {
            listing,
            columns,
            order,
            summary,
        }
    }

    /// Returns the lines of the table, and a summary. Rows that have gone since are missing.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let heading = (!self.order.is_empty()).then(|| self.columns.headings());
        let places = self.order.iter().map(|(_, place)| *place);
        let rows = places.filter_map(|place| self.listing.row(place));
        let rows = rows.map(|row| self.columns.line(&row.cells()));
        heading
            .into_iter()
            .chain(rows)
            .chain([self.summary.to_string()])
    }
}

/// Numbers of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    dialogs: usize,
    contacts: usize,
    pending: usize,
    transactions: usize,
}

impl Summary {
    /// Counts the rows of a list.
    pub(crate) fn of(listing: &Listing) -> Self {
        let mut summary = Self {
            transactions: listing.transactions,
            ..Self::default()
        };
        listing.states(|kind, state| summary.add(kind, state));
        summary
    }

    fn add(&mut self, kind: BindingKind, state: BindingState) {
        *match (state, kind) {
            (BindingState::Pending, _) => &mut self.pending,
            (_, BindingKind::Dialog) => &mut self.dialogs,
            (_, BindingKind::Contact) => &mut self.contacts,
        } += 1;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |n: usize, thing: &str| format!("{n} {thing}{}", if n == 1 { "" } else { "s" });
        write!(
            f,
            "{} ({}, {}), {} pending, {}",
            many(self.dialogs + self.contacts, "binding"),
            many(self.dialogs, "dialog"),
            many(self.contacts, "contact"),
            self.pending,
            many(self.transactions, "transaction")
        )
    }
}

#[cfg(test)]
mod tests {
    use nat_common::abi::{DialogKey, Entry, PendingDialog, ticks};

    use super::*;
    use crate::view::rows::{
        Row, RowKey,
        tests::{NOW, binding},
    };

    #[test]
    fn the_summary_counts_pending_apart() {
        let mut summary = Summary {
            transactions: 5,
            ..Summary::default()
        };
        let none = "0 bindings (0 dialogs, 0 contacts), 0 pending, 5 transactions";
        assert_eq!(summary.to_string(), none);
        let key = RowKey::Dialog(DialogKey::default());
        let active = Row::new(key, BindingKind::Dialog, &binding("1000@a"), NOW);
        summary.add(active.kind, active.state);
        summary.add(BindingKind::Contact, active.state);
        let claim = &Entry {
            value: PendingDialog::default(),
            at: ticks(NOW),
        };
        let key = RowKey::Slot(0xabc << 24);
        let pending = Row::pending(key, BindingKind::Dialog, &claim.into(), ticks(NOW));
        summary.add(pending.kind, pending.state);
        let text = "2 bindings (1 dialog, 1 contact), 1 pending, 5 transactions";
        assert_eq!(summary.to_string(), text);
    }
}
