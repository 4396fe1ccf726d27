//! Tables of a program's visits: by function, and by source line.

use std::{collections::HashMap, fmt};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{
    log::Log,
    object::{Line, Part, Programs},
};

/// Instructions that the verifier visits before it gives up.
const KERNELS_LIMIT: u64 = 1_000_000;
/// Instructions that a test allows: `LIMIT` of `tests/test_run/limits.rs`.
const OWN_LIMIT: u64 = 150_000;
/// Bytes of stack for all frames of a call chain.
const STACK: u32 = 512;
/// Bytes to which kernels before 6.9 round a frame.
const ROUNDED_TO: u32 = 32;
/// Frames of a call chain.
const FRAMES: u32 = 8;

/// What the verifier did with a program.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) program: String,
    /// Visits of all instructions.
    pub(crate) verified: u64,
    /// Number that a test allows.
    limit: u64,
    /// Why the verifier refuses the program.
    pub(crate) refused: Option<String>,
    /// Set if the log was longer than the kernel gives out: visits are then missing.
    is_cut: bool,
    /// Microseconds of verification, with the log.
    microseconds: Option<u64>,
    /// Deepest chain of calls.
    deepest: Option<Chain>,
    pub(crate) functions: Vec<FunctionRow>,
    pub(crate) lines: Vec<LineRow>,
}

/// The chain of calls with the largest frames.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Chain {
    /// Bytes of all frames, rounded as kernel 6.1 does.
    bytes: u32,
    /// Number of frames in the longest chain, which may be another.
    frames: u32,
    /// Functions, the first called first.
    functions: Vec<String>,
}

/// Visits of a function.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionRow {
    pub(crate) name: String,
    /// Visits of its own instructions.
    pub(crate) visits: u64,
    /// Visits of its first instruction.
    pub(crate) entered: u64,
    instructions: usize,
    /// Bytes of its stack frame.
    stack: Option<u32>,
}

/// Visits of a source line in a function.
#[derive(Debug, Serialize)]
pub(crate) struct LineRow {
    pub(crate) visits: u64,
    function: String,
    file: String,
    line: u32,
    text: String,
}

impl Report {
    /// Has the verifier read a program, and counts.
    ///
    /// # Errors
    /// If the verifier has no verdict, or the log cannot be understood.
    pub(crate) fn make(programs: &Programs, name: &str) -> Result<Self> {
        let answer = programs.verify(name)?;
        let log = Log::read(&answer.log);
        let parts = programs.parts(name)?;
        let lines = programs.lines(name)?;
        if let Some(processed) = log.processed
            && !answer.is_cut
        {
            ensure!(
                processed == log.total(),
                "the log of {name} shows {} visits, and the verifier counted {processed}: its form must be new, see \
                 tests/verifier/log.rs",
                log.total()
            );
        }
        let refused = answer.refused.map(|error| match log.last.as_slice() {
            [] => error.to_string(),
            last => format!("{} ({error})", last.join("; ")),
        });
        Ok(Self {
            program: name.to_owned(),
            verified: log.processed.unwrap_or(log.total()),
            limit: OWN_LIMIT,
            is_cut: answer.is_cut,
            refused: if answer.is_cut { None } else { refused },
            microseconds: log.microseconds,
            deepest: deepest(&parts, &log),
            functions: by_function(&parts, &log),
            lines: by_line(&parts, &log, |at| {
                lines.range(..=at).next_back().map(|(_, line)| line.clone())
            }),
        })
    }

    /// Returns a line for a list of programs.
    pub(crate) fn summary(&self) -> String {
        let share = self.verified as f64 * 100.0 / self.limit as f64;
        let stack = self.deepest.as_ref().map_or_else(String::new, |chain| {
            format!(
                "{:>4} of {STACK} bytes, {} of {FRAMES} frames",
                chain.bytes, chain.frames
            )
        });
        let mut line = format!(
            "{:<14} {:>9} instructions {share:>5.1} % of {}   {stack}",
            self.program,
            grouped(self.verified),
            grouped(self.limit),
        );
        if let Some(reason) = &self.refused {
            line.push_str(&format!("\n  REFUSED: {reason}"));
        }
        if self.is_cut {
            line.push_str("\n  the log is longer than the kernel gives out: visits are missing");
        }
        line
    }

    /// Returns both tables, with at most `top` rows each.
    pub(crate) fn tables(&self, top: usize) -> Tables<'_> {
        Tables { report: self, top }
    }
}

/// Both tables of a report.
pub(crate) struct Tables<'a> {
    report: &'a Report,
    top: usize,
}

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, top } = self;
        let all = report.verified.max(1) as f64;
        let share = |visits: u64| visits as f64 * 100.0 / all;
        writeln!(f, "   visits  share  entered  length  stack  function")?;
        for row in report.functions.iter().take(*top) {
            let stack = row.stack.map_or_else(String::new, |n| n.to_string());
            writeln!(
                f,
                "{:>9} {:>5.1}%  {:>7}  {:>6}  {stack:>5}  {}",
                grouped(row.visits),
                share(row.visits),
                row.entered,
                row.instructions,
                row.name
            )?;
        }
        left_out(f, report.functions.len(), *top)?;
        writeln!(f, "\n   visits  share  line")?;
        for row in report.lines.iter().take(*top) {
            writeln!(
                f,
                "{:>9} {:>5.1}%  {}:{}  {}",
                grouped(row.visits),
                share(row.visits),
                row.file,
                row.line,
                row.text
            )?;
            writeln!(f, "                    in {}", row.function)?;
        }
        left_out(f, report.lines.len(), *top)?;
        if let Some(chain) = &report.deepest {
            writeln!(
                f,
                "\nlargest stack: {} of {STACK} bytes, each frame rounded up to {ROUNDED_TO} as kernel 6.1 does:",
                chain.bytes
            )?;
            for name in &chain.functions {
                writeln!(f, "  {name}")?;
            }
        }
        Ok(())
    }
}

fn left_out(f: &mut fmt::Formatter<'_>, rows: usize, top: usize) -> fmt::Result {
    match rows.checked_sub(top) {
        Some(more @ 1..) => writeln!(f, "          {more} more: see --top"),
        _ => Ok(()),
    }
}

/// Returns visits of the functions that were visited, most first.
fn by_function(parts: &[Part], log: &Log) -> Vec<FunctionRow> {
    let frames = frames(parts, log);
    let rows = parts.iter().enumerate().map(|(index, part)| FunctionRow {
        name: part.name.clone(),
        visits: part.range.clone().map(|at| log.visits(at)).sum(),
        entered: log.visits(part.range.start),
        instructions: part.range.len(),
        stack: frames.as_ref().map(|frames| frames[index]),
    });
    let mut rows: Vec<FunctionRow> = rows.filter(|row| row.visits > 0).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.visits));
    rows
}

/// Returns the stack frame of each function, 0 for one that was never visited; none if the log does not have all.
fn frames(parts: &[Part], log: &Log) -> Option<Vec<u32>> {
    // The verifier removes what it never visited, if it takes the program.
    let has_all = log.stack.len() == parts.len();
    let mut listed = log.stack.iter();
    let all = parts.iter().map(|part| {
        if !has_all && log.visits(part.range.start) == 0 {
            return Some(0);
        }
        let listed = listed.next()?;
        Some(listed.saturating_sub(part.added))
    });
    let all: Option<Vec<u32>> = all.collect();
    all.filter(|_| listed.next().is_none())
}

/// Returns visits of the source lines of each function, most first.
fn by_line(parts: &[Part], log: &Log, line_of: impl Fn(usize) -> Option<Line>) -> Vec<LineRow> {
    let mut found: HashMap<(usize, Line), u64> = HashMap::new();
    for (index, part) in parts.iter().enumerate() {
        for at in part.range.clone() {
            let visits = log.visits(at);
            if visits > 0
                && let Some(line) = line_of(at)
            {
                *found.entry((index, line)).or_default() += visits;
            }
        }
    }
    let rows = found.into_iter().map(|((index, line), visits)| LineRow {
        visits,
        function: parts[index].name.clone(),
        file: line.file,
        line: line.number,
        text: line.text,
    });
    let mut rows: Vec<LineRow> = rows.collect();
    rows.sort_by(|a, b| (b.visits, &a.file, a.line).cmp(&(a.visits, &b.file, b.line)));
    rows
}

/// Returns the chain of calls with the largest frames; none without the sizes of all frames.
fn deepest(parts: &[Part], log: &Log) -> Option<Chain> {
    let stack = frames(parts, log)?;
    let (bytes, chain) = chain_from(0, parts, &|index| {
        stack[index].max(1).next_multiple_of(ROUNDED_TO)
    });
    let (frames, _) = chain_from(0, parts, &|_| 1);
    Some(Chain {
        bytes,
        frames,
        functions: chain.iter().map(|at| parts[*at].name.clone()).collect(),
    })
}

/// Returns the largest sum of sizes of a chain from a function on, and that chain. No function calls itself: the verifier
/// refuses that.
fn chain_from(index: usize, parts: &[Part], size: &impl Fn(usize) -> u32) -> (u32, Vec<usize>) {
    let called = parts[index].calls.iter().filter_map(|start| {
        let callee = parts.iter().position(|part| part.range.start == *start)?;
        Some(chain_from(callee, parts, size))
    });
    let (below, mut chain) = called.max_by_key(|(bytes, _)| *bytes).unwrap_or_default();
    chain.insert(0, index);
    (size(index) + below, chain)
}

/// Returns a number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns how many instructions the verifier visits before it gives up.
pub(crate) fn kernels_limit() -> String {
    grouped(KERNELS_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, range: std::ops::Range<usize>, calls: &[usize]) -> Part {
        Part {
            name: name.into(),
            range,
            calls: calls.to_vec(),
            added: 0,
        }
    }

    #[test]
    fn visits_belong_to_the_function_of_their_instruction() {
        let parts = [
            part("main", 0..3, &[3]),
            part("often", 3..5, &[]),
            part("never", 5..6, &[]),
        ];
        let log = Log {
            visits: vec![1, 1, 2, 7, 7],
            // The verifier has removed the third.
            stack: vec![8, 40],
            ..Log::default()
        };
        let rows = by_function(&parts, &log);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.visits, row.entered, row.stack))
            .collect();
        assert_eq!(rows, [("often", 14, 7, Some(40)), ("main", 4, 1, Some(8))]);
    }

    #[test]
    fn instructions_of_one_line_are_added() {
        let parts = [part("main", 0..4, &[])];
        let log = Log {
            visits: vec![5, 2, 2, 2],
            ..Log::default()
        };
        let line_of = |at: usize| {
            let number = if at == 0 { 10 } else { 11 };
            (at < 3).then(|| Line {
                file: "a.rs".into(),
                number,
                text: String::new(),
            })
        };
        let rows = by_line(&parts, &log, line_of);
        let rows: Vec<_> = rows.iter().map(|row| (row.line, row.visits)).collect();
        assert_eq!(rows, [(10, 5), (11, 4)]);
    }

    #[test]
    fn the_deepest_chain_has_the_largest_frames_not_the_most() {
        let parts = [
            part("main", 0..10, &[10, 20]),
            part("shallow", 10..20, &[]),
            part("deep", 20..30, &[30]),
            part("deeper", 30..40, &[]),
        ];
        let log = |stack: &[u32]| Log {
            visits: vec![1; 40],
            stack: stack.to_vec(),
            ..Log::default()
        };
        let chain = deepest(&parts, &log(&[33, 300, 8, 0])).unwrap();
        assert_eq!(chain.bytes, 64 + 320);
        assert_eq!(chain.functions, ["main", "shallow"]);
        assert_eq!(chain.frames, 3);
        let callbacks = [Part {
            added: 24,
            ..parts[1].clone()
        }];
        let added = Log {
            visits: vec![1; 20],
            stack: vec![30],
            ..Log::default()
        };
        assert_eq!(frames(&callbacks, &added), Some(vec![6]));
        // Frames that cannot be told apart are none.
        assert_eq!(deepest(&parts, &log(&[33])), None);
        assert_eq!(deepest(&parts, &log(&[33, 1, 1, 1, 1])), None);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(128_012), "128,012");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
