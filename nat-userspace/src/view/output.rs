//! Tables and JSON on standard output.

use std::{
    io::{self, BufWriter, StdoutLock, Write as _},
    iter,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

pub use crate::host::terminal::printable;
use crate::host::terminal::printable_lines;

/// Note beside figures of a data path in shadow.
pub const SHADOW: &str = "shadow: nothing is redirected; the figures say what would have been done";

/// Prints text of one or more lines, safe for a terminal.
///
/// # Errors
/// If standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    print_lines([text.trim_end_matches('\n')])
}

/// Prints lines one by one, safe for a terminal.
///
/// # Errors
/// If standard output cannot be written.
pub fn print_lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
    to_stdout(|out| {
        lines
            .into_iter()
            .try_for_each(|line| writeln!(out, "{}", printable_lines(line.as_ref())))
    })
}

/// Has standard output written, by way of a buffer.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn to_stdout(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> io::Result<()>,
) -> Result<()> {
    /// Capacity of a pipe. Standard output by itself has a buffer of one line.
    const BUFFER: usize = 1 << 16;
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    write(&mut out)
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Prints `value` as JSON.
///
/// # Errors
/// If standard output cannot be written.
pub fn json(value: &impl Serialize) -> Result<()> {
    to_stdout(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        writeln!(out)
    })
}

/// Columns under headings, without lines, whose rows are printed one by one.
#[derive(Clone, Debug)]
pub struct Columns<const N: usize> {
    headings: [&'static str; N],
    /// Columns set to the right.
    numbers: &'static [usize],
    widths: [usize; N],
}

impl<const N: usize> Columns<N> {
    /// Makes columns that are as wide as their headings; `numbers` are those set to the right.
    #[must_use]
    pub fn new(headings: [&'static str; N], numbers: &'static [usize]) -> Self {
        Self {
            headings,
            numbers,
            widths: headings.map(UnicodeWidthStr::width),
        }
    }

    /// Widens the columns for a row.
    pub fn fit(&mut self, row: &[String; N]) {
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }

    /// Renders the headings.
    #[must_use]
    pub fn headings(&self) -> String {
        self.line(&self.headings)
    }

    /// Renders a row.
    #[must_use]
    pub fn line(&self, row: &[impl AsRef<str>; N]) -> String {
        const BETWEEN: &str = "  ";
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(self.widths).enumerate() {
            let cell = cell.as_ref();
            let padding = iter::repeat_n(' ', width.saturating_sub(cell.width()));
            if column > 0 {
                line.push_str(BETWEEN);
            }
            if self.numbers.contains(&column) {
                line.extend(padding);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.extend(padding);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Renders rows under the headings of their columns.
#[must_use]
pub fn table<const N: usize>(
    mut columns: Columns<N>,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    rows.iter().for_each(|row| columns.fit(row));
    let rows = rows.iter().map(|row| columns.line(row));
    let lines: Vec<String> = iter::once(columns.headings()).chain(rows).collect();
    lines.join("\n")
}

/// Writes a duration in its two largest units: `2h 5m`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let whole = Duration::from_secs(duration.as_secs());
    let text = humantime::format_duration(whole).to_string();
    let units: Vec<&str> = text.split(' ').take(2).collect();
    units.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_have_no_lines() {
        let rows = [["a", "1"], ["bcd", "22"]].map(|row| row.map(String::from));
        assert_eq!(
            table(Columns::new(["NAME", "N"], &[1]), rows),
            "NAME   N\na      1\nbcd   22"
        );
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (7325, "2h 2m"), (90061, "1day 1h")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
