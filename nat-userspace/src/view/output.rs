//! Tables and JSON on standard output.

use std::{
    io::{self, BufWriter, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

pub use crate::host::terminal::printable;
use crate::host::terminal::printable_lines;

/// Note beside figures of a data path in shadow.
pub const SHADOW: &str = "shadow: nothing is redirected; the figures say what would have been done";

/// Prints text of one or more lines, safe for a terminal.
///
/// # Errors
/// If standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", printable_lines(text.trim_end_matches('\n')))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Clears a terminal's screen.
///
/// # Errors
/// If standard output cannot be written.
pub fn clear_screen() -> Result<()> {
    /// Moves the cursor home, and clears from there.
    const CLEAR: &str = "\x1b[H\x1b[J";
    write!(io::stdout().lock(), "{CLEAR}").context("cannot write to standard output")
}

/// Prints `value` as JSON.
///
/// # Errors
/// If standard output cannot be written.
pub fn json(value: &impl Serialize) -> Result<()> {
    /// Capacity of a pipe. Standard output by itself has a buffer of one line.
    const BUFFER: usize = 1 << 16;
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Renders columns under headings, without lines; `numbers` are the columns set to the right.
#[must_use]
pub fn table<const N: usize>(
    headings: [&str; N],
    numbers: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for &number in numbers {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
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
            table(["NAME", "N"], &[1], rows),
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
