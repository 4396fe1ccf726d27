//! Changes of bindings from one reading of the list to the next.

use std::collections::HashMap;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::view::rows::{Identity, Row};

/// A change of one binding.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'r> {
    /// It was not there before.
    Added(&'r Row),
    /// It was there, and differs.
    Changed {
        /// The binding as it was.
        before: &'r Row,
        /// The binding as it is.
        now: &'r Row,
    },
    /// It is not there any more. The row is the last one that was read.
    Gone(&'r Row),
}

/// Rows of the last reading. It keeps all of them.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    // In boxes: half of the places of a large table are empty.
    known: HashMap<Identity, Box<Known>>,
    /// Number of readings.
    readings: u64,
}

/// Row, and the number of the last reading that had it.
#[derive(Debug)]
struct Known {
    row: Row,
    reading: u64,
}

impl Changes {
    /// Returns the number of bindings.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes the next reading, and calls `tell` with each change.
    ///
    /// # Errors
    /// As `tell` says.
    pub(crate) fn read<E>(
        &mut self,
        rows: impl Iterator<Item = Row>,
        mut tell: impl FnMut(Change<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.readings += 1;
        let reading = self.readings;
        for row in rows {
            let known = self.known.get_mut(&row.identity());
            match known {
                None => {
                    tell(Change::Added(&row))?;
                    let known = Known { row, reading };
                    self.known.insert(known.row.identity(), Box::new(known));
                }
                Some(known) => {
                    if differ(&known.row, &row) {
                        let before = &known.row;
                        tell(Change::Changed { before, now: &row })?;
                    }
                    **known = Known { row, reading };
                }
            }
        }
        let mut gone = self.known.extract_if(|_, known| known.reading != reading);
        gone.try_for_each(|(_, known)| tell(Change::Gone(&known.row)))
    }
}

/// Whether a field differs whose change is told. Texts of all rows would take longer than to read them.
fn differ(before: &Row, now: &Row) -> bool {
    before.state != now.state
        || before.redirected != now.redirected
        || before.learned != now.learned
        || before.advertised != now.advertised
        || before.silent != now.silent
        || (before.moved, before.moved_to) != (now.moved, now.moved_to)
        || before.notes != now.notes
        || before.terminal != now.terminal
        || before.uri != now.uri
}

/// Text of a field of a row.
type Field = fn(&Row) -> String;

/// Fields whose change is told, as people read them. Times change all the time, so they are none.
const FIELDS: [(&str, Field); 6] = [
    ("terminal", |row| row.terminal.clone().unwrap_or_default()),
    ("contact uri", |row| row.uri.clone().unwrap_or_default()),
    ("state", Row::state),
    ("advertised", Row::advertised),
    ("learned", |row| row.learned.to_string()),
    ("redirected", |row| row.redirected.to_string()),
];

/// Keys of a row in JSON that are times.
const TIMES: [&str; 5] = [
    "age_seconds",
    "seen_seconds_ago",
    "stun_seen_seconds_ago",
    "round_trip_microseconds",
    "expires_in_seconds",
];

/// Change as a JSON object.
#[derive(Serialize)]
struct Told<'r> {
    at: Timestamp,
    change: &'static str,
    /// Earlier values of what has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Map<String, Value>>,
    binding: &'r Row,
}

impl<'r> Change<'r> {
    const fn name(self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Changed { .. } => "changed",
            Self::Gone(_) => "gone",
        }
    }

    const fn row(self) -> &'r Row {
        match self {
            Self::Added(row) | Self::Changed { now: row, .. } | Self::Gone(row) => row,
        }
    }

    /// Renders a line for people.
    pub(crate) fn line(self, at: &Timestamp, zone: &TimeZone) -> String {
        let row = self.row();
        let what = match self {
            Self::Changed { before, now } => {
                let fields = FIELDS.iter().map(|(name, of)| (name, of(before), of(now)));
                let changed = fields.filter(|(_, before, now)| before != now);
                let changed =
                    changed.map(|(name, before, now)| format!("{name} {before} -> {now}"));
                changed.collect::<Vec<_>>().join("; ")
            }
            Self::Added(_) | Self::Gone(_) => format!(
                "{}, {}, advertised {}, learned {}, redirected {}",
                row.kind(),
                row.state(),
                row.advertised(),
                row.learned,
                row.redirected
            ),
        };
        format!(
            "{}  {:<7}  {}  {}  {what}",
            at.to_zoned(zone.clone()).strftime("%H:%M:%S"),
            self.name(),
            &row.id[..8],
            row.terminal.as_deref().unwrap_or("-"),
        )
    }

    /// Renders a line of JSON.
    ///
    /// # Errors
    /// Never: a row is an object.
    pub(crate) fn json(self, at: Timestamp) -> serde_json::Result<String> {
        let before = match self {
            Self::Changed { before, now } => Some(earlier(before, now)?),
            Self::Added(_) | Self::Gone(_) => None,
        };
        serde_json::to_string(&Told {
            at,
            change: self.name(),
            before,
            binding: self.row(),
        })
    }
}

/// Returns the values of `before` that `now` has not, without times.
fn earlier(before: &Row, now: &Row) -> serde_json::Result<Map<String, Value>> {
    let now = serde_json::to_value(now)?;
    let mut earlier: Map<String, Value> = serde_json::from_value(serde_json::to_value(before)?)?;
    earlier.retain(|key, value| now[key.as_str()] != *value && !TIMES.contains(&key.as_str()));
    Ok(earlier)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, slice};

    use nat_common::abi::{BindingFlags, DialogKey};

    use super::*;
    use crate::view::rows::{
        BindingKind, BindingState, RowKey,
        tests::{NOW, binding},
    };

    fn row(call: u64) -> Row {
        let key = RowKey::Dialog(DialogKey { call, tag: 1 });
        Row::new(key, BindingKind::Dialog, &binding("1000@a"), NOW)
    }

    /// Returns the names of the changes, with the ids.
    fn told(changes: &mut Changes, rows: &[Row]) -> Vec<String> {
        let mut told = Vec::new();
        let read = changes.read(rows.iter().cloned(), |change| {
            told.push(format!("{} {}", change.name(), &change.row().id[..8]));
            Ok::<_, Infallible>(())
        });
        let Ok(()) = read;
        told.sort();
        told
    }

    #[test]
    fn changes_are_told_once() {
        let mut changes = Changes::default();
        let [a, b] = [row(0xa << 60), row(0xb << 60)];
        let rows = [a.clone(), b.clone()];
        assert_eq!(
            told(&mut changes, &rows),
            ["added a0000001", "added b0000001"]
        );
        assert_eq!(told(&mut changes, &rows), [""; 0]);
        let moved = Row {
            redirected: b.redirected + 1,
            ..b
        };
        assert_eq!(
            told(&mut changes, slice::from_ref(&moved)),
            ["changed b0000001", "gone a0000001"]
        );
        assert_eq!(told(&mut changes, &[a, moved]), ["added a0000001"]);
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn times_are_no_change() {
        let before = row(1);
        let now = Row {
            age_seconds: before.age_seconds + 1,
            seen_seconds_ago: 0,
            stun_seen_seconds_ago: Some(1),
            expires_in_seconds: 7,
            ..before.clone()
        };
        let mut changes = Changes::default();
        told(&mut changes, slice::from_ref(&before));
        assert_eq!(told(&mut changes, slice::from_ref(&now)), [""; 0]);
        assert!(earlier(&before, &now).unwrap().is_empty());
    }

    /// What people read of a change, and what programs read, is of the same fields.
    #[test]
    fn each_field_of_json_is_told_to_people() {
        let before = row(1);
        let other = "192.0.2.1:5060".parse().unwrap();
        for (key, now) in [
            (
                "terminal",
                Row {
                    terminal: None,
                    ..before.clone()
                },
            ),
            (
                "uri",
                Row {
                    uri: Some("1000@a".into()),
                    ..before.clone()
                },
            ),
            (
                "state",
                Row {
                    state: BindingState::LeftAlone,
                    ..before.clone()
                },
            ),
            (
                "notes",
                Row {
                    notes: vec!["ended"],
                    ..before.clone()
                },
            ),
            (
                "silent",
                Row {
                    silent: true,
                    ..before.clone()
                },
            ),
            (
                "moved",
                Row {
                    moved: true,
                    ..before.clone()
                },
            ),
            (
                "advertised",
                Row {
                    advertised: Some(other),
                    ..before.clone()
                },
            ),
            (
                "learned",
                Row {
                    learned: other,
                    ..before.clone()
                },
            ),
            (
                "redirected",
                Row {
                    redirected: 99,
                    ..before.clone()
                },
            ),
        ] {
            let earlier = earlier(&before, &now).unwrap();
            assert_eq!(earlier.keys().collect::<Vec<_>>(), [key]);
            let told = FIELDS.iter().filter(|(_, of)| of(&before) != of(&now));
            assert_eq!(told.count(), 1, "{key}");
            assert!(differ(&before, &now), "{key}");
        }
        // All keys are in the table above, are times, or never change.
        let fixed = ["id", "kind", "moved_to"];
        let all = serde_json::to_value(&before).unwrap();
        assert_eq!(
            all.as_object().unwrap().len(),
            9 + TIMES.len() + fixed.len()
        );
    }

    #[test]
    fn a_change_is_a_line() {
        let before = row(0xa << 60);
        let now = Row {
            notes: vec!["ended"],
            redirected: 4,
            ..before.clone()
        };
        let change = Change::Changed {
            before: &before,
            now: &now,
        };
        let at = Timestamp::from_second(3).unwrap();
        assert_eq!(
            change.line(&at, &TimeZone::UTC),
            "00:00:03  changed  a0000001  1000@a  state active -> active (ended); redirected 3 -> 4"
        );
        assert_eq!(
            Change::Gone(&before).line(&at, &TimeZone::UTC),
            "00:00:03  gone     a0000001  1000@a  dialog, active, advertised 60.17.196.2:5060, learned 60.17.196.2:49163, \
             redirected 3"
        );
        let json: Value = serde_json::from_str(&change.json(at).unwrap()).unwrap();
        assert_eq!(json["change"], "changed");
        assert_eq!(
            json["before"],
            serde_json::json!({"notes": [], "redirected": 3})
        );
        assert_eq!(json["binding"]["redirected"], 4);
        assert_eq!(json["at"], "1970-01-01T00:00:03Z");
        assert!(before.flags.contains(BindingFlags::DIRECT));
    }
}
