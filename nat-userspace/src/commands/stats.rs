//! `sipnat stats`: counters of packets, by what the programs did with them.

use anyhow::Result;
use clap::Args;
use nat_common::abi::{Counter, CounterKind, MediaCounter};
use serde_json::{Map, Value};

use crate::{
    agent::session::Session,
    view::output::{self, Columns},
};

const GROUPS: [(CounterKind, &str); 3] = [
    (CounterKind::Ingress, "ingress"),
    (CounterKind::Egress, "egress"),
    (CounterKind::Event, "events"),
];

/// Arguments of `sipnat stats`.
#[derive(Debug, Args)]
pub struct Stats {
    /// Show counters that are zero too
    #[arg(long)]
    all: bool,
    /// Print JSON: an object with all counters
    #[arg(long)]
    json: bool,
}

impl Stats {
    /// Prints the counters.
    ///
    /// # Errors
    /// If there is no agent, or they cannot be read.
    pub fn run(&self) -> Result<()> {
        let tables = Session::open()?.tables;
        let (counts, media) = (tables.counts()?, tables.media_counts()?);
        if self.json {
            let media = media
                .into_iter()
                .map(|(counter, count)| (counter.name(), count));
            let named = counts
                .into_iter()
                .map(|(counter, count)| (counter.name(), count))
                .chain(media)
                .map(|(name, count)| (name.to_owned(), Value::from(count)));
            return output::json(&named.collect::<Map<_, _>>());
        }
        if tables.shadow()? {
            output::print(output::SHADOW)?;
        }
        output::print(&render(&counts, &media, self.all))
    }
}

/// Renders the counters by direction, those of media last. Counters that are zero appear only with `all`.
fn render(counts: &[(Counter, u64)], media: &[(MediaCounter, u64)], all: bool) -> String {
    let mut rows = Vec::new();
    for (kind, title) in GROUPS {
        let mut group = counts
            .iter()
            .filter(|(counter, count)| counter.kind() == kind && (all || *count > 0))
            .peekable();
        if group.peek().is_some() {
            rows.push([title.to_owned(), total(counts, kind), String::new()]);
        }
        rows.extend(group.map(|(counter, count)| row(counter.name(), *count, counter.help())));
    }
    let mut media = media
        .iter()
        .filter(|(_, count)| all || *count > 0)
        .peekable();
    if media.peek().is_some() {
        rows.push(["media".into(), String::new(), String::new()]);
    }
    rows.extend(media.map(|(counter, count)| row(counter.name(), *count, counter.help())));
    if rows.is_empty() {
        return "nothing has been counted yet".into();
    }
    output::table(Columns::new(["COUNTER", "PACKETS", "WHY"], &[1]), rows)
}

/// Renders a counter.
fn row(name: &str, count: u64, help: &str) -> [String; 3] {
    [format!("  {name}"), count.to_string(), help.to_owned()]
}

/// Sums the packets of a direction. A sum of events would mean nothing.
fn total(counts: &[(Counter, u64)], kind: CounterKind) -> String {
    if kind == CounterKind::Event {
        return String::new();
    }
    let of_kind = counts.iter().filter(|(counter, _)| counter.kind() == kind);
    of_kind.map(|(_, count)| count).sum::<u64>().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_shown_only_when_asked_for_and_directions_are_summed() {
        let counts = [
            (Counter::InRequest, 12),
            (Counter::InAck, 0),
            (Counter::OutRedirectedDialog, 3),
        ];
        let some = render(&counts, &[], false);
        assert!(some.contains("in_request") && some.contains("out_redirected_dialog"));
        assert!(!some.contains("in_ack ") && !some.contains("events"));
        assert!(render(&counts, &[], true).contains("in_ack"));
        let more = [(Counter::InStun, 30), (Counter::DialogMoved, 5)];
        let text = render(&[&counts[..], &more].concat(), &[], false);
        let total = |title: &str| {
            let line = text.lines().find(|line| line.starts_with(title)).unwrap();
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        assert_eq!(total("ingress").as_deref(), Some("42"));
        assert_eq!(total("egress").as_deref(), Some("3"));
        assert_eq!(total("events"), None);
        assert_eq!(render(&[], &[], false), "nothing has been counted yet");
    }
}
