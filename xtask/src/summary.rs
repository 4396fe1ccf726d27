//! Counts of passed, failed and skipped tests, read from the output of test binaries.

use std::{
    fmt::{self, Display},
    ops::AddAssign,
    time::Duration,
};

/// Numbers of tests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Result of one layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) time: Duration,
    /// Names of failed tests, or reasons why the layer did not run.
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    /// Result of a layer that this machine cannot run.
    pub(crate) fn skipped(reason: &str) -> Self {
        Self {
            counts: Counts {
                skipped: 1,
                ..Counts::default()
            },
            notes: vec![format!("skipped: {reason}")],
            ..Self::default()
        }
    }

    /// Result of a layer that did not start.
    pub(crate) fn failed(reason: &str) -> Self {
        let mut outcome = Self::default();
        outcome.fail(reason);
        outcome
    }

    /// Counts the results in a line that a test binary printed.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = parse_result(line) {
            self.counts += counts;
        } else if let Some(name) = parse_failure(line) {
            self.notes.push(format!("failed: {name}"));
        }
    }

    /// Counts a failure outside of the tests, such as a failed build.
    pub(crate) fn fail(&mut self, reason: &str) {
        self.counts.failed += 1;
        self.notes.push(format!("failed: {reason}"));
    }
}

/// Counts in a line such as
/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
fn parse_result(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        match part.split_once(' ') {
            Some((number, "passed")) => counts.passed = number.parse().ok()?,
            Some((number, "failed")) => counts.failed = number.parse().ok()?,
            Some((number, "ignored")) => counts.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

/// Name of the test in a line such as `test scanner::compact_forms ... FAILED`.
fn parse_failure(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// Table of all layers. Its last line has a fixed form for scripts.
#[derive(Default)]
pub(crate) struct Summary(pub(crate) Vec<(&'static str, Outcome)>);

impl Summary {
    /// Sum over all layers.
    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (_, outcome) in &self.0 {
            total += outcome.counts;
        }
        total
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "layer     passed  failed  skipped     time")?;
        for (
            layer,
            Outcome {
                counts,
                time,
                notes,
            },
        ) in &self.0
        {
            let Counts {
                passed,
                failed,
                skipped,
            } = counts;
            let seconds = time.as_secs_f64();
            writeln!(
                f,
                "{layer:<8} {passed:>7} {failed:>7} {skipped:>8} {seconds:>7.1}s"
            )?;
            for note in notes {
                writeln!(f, "  {}", note.replace('\n', "\n  "))?;
            }
        }
        let Counts { passed, failed, .. } = self.total();
        write!(f, "{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test scanner::compact_forms ... ok
test scanner::folded ... FAILED
test scanner::slow ... ignored
test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s
   Doc-tests nat_common
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.30s
";

    fn outcome(output: &str) -> Outcome {
        let mut outcome = Outcome::default();
        output.lines().for_each(|line| outcome.read(line));
        outcome
    }

    #[test]
    fn results_are_added_up() {
        let outcome = outcome(OUTPUT);
        assert_eq!(
            outcome.counts,
            Counts {
                passed: 5,
                failed: 1,
                skipped: 1
            }
        );
        assert_eq!(outcome.notes, ["failed: scanner::folded"]);
    }

    #[test]
    fn other_lines_are_ignored() {
        assert_eq!(
            outcome("test result: what\ntest x ... ok\n"),
            Outcome::default()
        );
    }

    #[test]
    fn last_line_has_a_fixed_form() {
        let layers = vec![
            ("host", outcome(OUTPUT)),
            ("lab", Outcome::skipped("not root")),
        ];
        let text = Summary(layers).to_string();
        assert_eq!(text.lines().last(), Some("5 passed, 1 failed"));
        assert!(text.contains("  skipped: not root\n"), "{text}");
    }
}
