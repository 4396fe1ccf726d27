//! `sipnat bindings`: what is known of terminals.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nat_common::abi::ContactKey;

use crate::{
    kernel::tables::Tables,
    view::listing::{Key, Kind, Listing, Row, State},
    view::output,
};

/// # Errors
/// If the maps cannot be read.
pub fn list(tables: &Tables, json: bool) -> Result<()> {
    if json {
        output::json(&Listing::read(tables)?)
    } else {
        output::print(&rendered(tables)?)
    }
}

fn rendered(tables: &Tables) -> Result<String> {
    let list = Listing::read(tables)?.render();
    Ok(if tables.shadow()? {
        format!("{}\n{list}", output::SHADOW)
    } else {
        list
    })
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
    let keepalive = row.stun_seen_seconds_ago.map_or_else(|| "-".into(), ago);
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
        ("keepalive", keepalive),
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
        output::print(&format!("{REDRAW}{}", rendered(tables)?))?;
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

/// The rows under headings.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
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
    output::table(headings, &[9], cells)
}

impl Listing {
    fn render(&self) -> String {
        let summary = self.summary();
        if self.bindings.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", table(&self.bindings))
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

impl Row {
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
            State::LeftAlone => "left alone",
            State::Ambiguous => "ambiguous",
            State::Pending => "pending",
        };
        let mut notes: Vec<String> = self.notes.iter().map(ToString::to_string).collect();
        if self.moved {
            let to = self.moved_to.map(|addr| format!(" to {addr}"));
            notes.push(format!("moved{}", to.unwrap_or_default()));
        }
        if notes.is_empty() {
            state.into()
        } else {
            format!("{state} ({})", notes.join(", "))
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

fn age(seconds: u64) -> String {
    output::duration(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use nat_common::abi::{Binding, DialogKey, Entry, SECOND, flag, ticks};
    use nat_common::endpoint::Endpoint;

    use super::*;
    use crate::view::listing::tests::{NOW, binding};

    fn listing(bindings: Vec<Row>) -> Listing {
        Listing {
            bindings,
            transactions: 5,
        }
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
    fn who_has_moved_is_shown_and_where_to_if_that_is_known() {
        let dialog = DialogKey { call: 1, tag: 2 };
        let early = Binding {
            flags: flag::DIRECT | flag::EARLY,
            ..binding("1000@a")
        };
        let mut row = Row::new(Key::Dialog(dialog), Kind::Dialog, &early, NOW);
        row.moved = true;
        assert_eq!(row.state(), "active (early, moved)");
        row.moved_to = "60.17.196.2:50001".parse().ok();
        assert_eq!(row.state(), "active (early, moved to 60.17.196.2:50001)");
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
        assert!(several.contains("ab000001, ac000001"), "{several}");
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

    #[test]
    fn a_terminal_that_answers_where_the_pbx_means_is_left_alone() {
        let alone = Binding {
            flags: flag::DIRECT | flag::LEFT_ALONE,
            ..binding("1000@a")
        };
        let dialog = DialogKey { call: 1, tag: 2 };
        let row = Row::new(Key::Dialog(dialog), Kind::Dialog, &alone, NOW);
        assert!(table(std::slice::from_ref(&row)).contains("  left alone  "));
        assert_eq!(serde_json::to_value(&row).unwrap()["state"], "left_alone");
    }
}
