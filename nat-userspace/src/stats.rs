//! `sipnat stats`: why packets were passed, learned from, redirected or left alone.

use anyhow::Result;
use nat_common::counter::{Counter, Kind};
use serde_json::{Map, Value};

use crate::{output, tables::Tables};

const GROUPS: [(Kind, &str); 3] = [
    (Kind::Ingress, "ingress"),
    (Kind::Egress, "egress"),
    (Kind::Event, "events"),
];

/// Prints the counters; those still zero only if `all`, or as JSON.
///
/// # Errors
/// If they cannot be read.
pub fn show(tables: &Tables, all: bool, json: bool) -> Result<()> {
    let counts = Counter::ALL
        .iter()
        .map(|&counter| Ok((counter, tables.count(counter)?)))
        .collect::<Result<Vec<_>>>()?;
    if json {
        let named = counts
            .into_iter()
            .map(|(counter, count)| (counter.name().to_owned(), Value::from(count)));
        return output::json(&named.collect::<Map<_, _>>());
    }
    output::print(&render(&counts, all))
}

fn render(counts: &[(Counter, u64)], all: bool) -> String {
    let mut rows = Vec::new();
    for (kind, title) in GROUPS {
        let mut group = counts
            .iter()
            .filter(|(counter, count)| counter.kind() == kind && (all || *count > 0))
            .peekable();
        if group.peek().is_some() {
            rows.push([title, "", ""].map(String::from));
        }
        rows.extend(group.map(|(counter, count)| {
            [
                format!("  {}", counter.name()),
                count.to_string(),
                counter.help().to_owned(),
            ]
        }));
    }
    if rows.is_empty() {
        return "nothing has been counted yet".into();
    }
    output::table(["COUNTER", "PACKETS", "WHY"], &[1], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_shown_only_when_asked_for() {
        let counts = [
            (Counter::InRequest, 12),
            (Counter::InAck, 0),
            (Counter::OutRedirectedDialog, 3),
        ];
        let some = render(&counts, false);
        assert!(some.contains("in_request") && some.contains("out_redirected_dialog"));
        assert!(!some.contains("in_ack ") && !some.contains("events"));
        assert!(render(&counts, true).contains("in_ack"));
        assert_eq!(render(&[], false), "nothing has been counted yet");
    }
}
