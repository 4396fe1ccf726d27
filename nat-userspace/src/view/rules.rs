//! Rules by prefix, as they are shown.

use anyhow::Result;
use nat_common::abi::{Rule, origin};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    host::prefix::Prefix,
    kernel::rules::{self, Rules},
    view::output::{self, Columns},
};

/// A rule, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// Name of the choice.
    kind: String,
    prefix: String,
    choice: &'static str,
    origin: &'static str,
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("prefix", &self.prefix)?;
        map.serialize_entry(&self.kind, self.choice)?;
        map.serialize_entry("origin", self.origin)?;
        map.end()
    }
}

/// Prints all rules, whose choices have names and this heading.
///
/// # Errors
/// If they cannot be read, or standard output cannot be written.
pub(crate) fn list(
    rules: &Rules,
    heading: &'static str,
    name: fn(u8) -> &'static str,
    json: bool,
) -> Result<()> {
    let row = |(prefix, rule): (Prefix, Rule)| Row {
        kind: heading.to_lowercase(),
        prefix: prefix.to_string(),
        choice: name(rule.choice),
        origin: match rule.origin {
            origin::DEFAULT => "default",
            origin::ON_LINK => "on-link",
            _ => "user",
        },
    };
    let rows = rules::read(rules)?.into_iter().map(row);
    if json {
        return output::json(&rows.collect::<Vec<_>>());
    }
    let rows = rows.map(|row| [row.prefix, row.choice.into(), row.origin.into()]);
    output::print(&output::table(
        Columns::new(["PREFIX", heading, "ORIGIN"], &[]),
        rows,
    ))
}
