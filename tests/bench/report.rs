//! Figures and their tables.

use std::fmt;

use anyhow::Result;
use nat_userspace::kernel::load::{DataPath, Loader};
use serde::Serialize;

use crate::chart::Point;

/// Median, and the range of four fifths of the measurements.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p10: f64,
    pub(crate) p90: f64,
}

impl Spread {
    /// Returns the spread of measurements, of which there must be at least one.
    pub(crate) fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all[((all.len() - 1) as f64 * part).round() as usize];
        Self {
            median: at(0.5),
            p10: at(0.1),
            p90: at(0.9),
        }
    }
}

impl From<f64> for Spread {
    fn from(one: f64) -> Self {
        Self {
            median: one,
            p10: one,
            p90: one,
        }
    }
}

/// Limit and target of a figure.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Goal {
    must: Option<f64>,
    target: f64,
    /// More is better.
    more: bool,
}

impl Goal {
    pub(crate) const fn at_most(must: f64, target: f64) -> Self {
        Self {
            must: Some(must),
            target,
            more: false,
        }
    }

    pub(crate) const fn at_least(must: f64, target: f64) -> Self {
        Self {
            more: true,
            ..Self::at_most(must, target)
        }
    }

    /// No limit, and a target: at most this.
    pub(crate) const fn target_at_most(target: f64) -> Self {
        Self {
            must: None,
            target,
            more: false,
        }
    }

    /// No limit, and a target: at least this.
    pub(crate) const fn target_at_least(target: f64) -> Self {
        Self {
            more: true,
            ..Self::target_at_most(target)
        }
    }

    fn reached(&self, limit: f64, value: f64) -> bool {
        if self.more {
            value >= limit
        } else {
            value <= limit
        }
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    #[serde(flatten)]
    spread: Spread,
    /// Adds the ratio to another figure of the same run.
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    goal: Option<Goal>,
    #[serde(skip)]
    point: Option<Point>,
}

impl Figure {
    pub(crate) fn new(
        what: impl Into<String>,
        spread: impl Into<Spread>,
        unit: &'static str,
    ) -> Self {
        Self {
            what: what.into(),
            unit,
            spread: spread.into(),
            ratio: None,
            to: None,
            goal: None,
            point: None,
        }
    }

    /// Puts the figure on a chart.
    pub(crate) fn point(mut self, point: Point) -> Self {
        self.point = Some(point);
        self
    }

    pub(crate) fn ratio(mut self, ratio: f64, to: &'static str) -> Self {
        self.ratio = Some(ratio);
        self.to = Some(to);
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn median(&self) -> f64 {
        self.spread.median
    }

    /// Returns a word on a figure that misses its limit or target.
    fn verdict(&self) -> &'static str {
        let Some(goal) = &self.goal else {
            return "";
        };
        let value = self.spread.median;
        if goal.must.is_some_and(|must| !goal.reached(must, value)) {
            "MISSED"
        } else if goal.reached(goal.target, value) {
            "target reached"
        } else {
            "below target"
        }
    }

    fn is_missed(&self) -> bool {
        self.verdict() == "MISSED"
    }
}

/// A part of the benchmarks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    name: &'static str,
    /// Method of measurement.
    how: &'static str,
    /// Loops of the measured programs, with the reason if they are not the best that the kernel has.
    loops: Vec<String>,
    figures: Vec<Figure>,
    /// Notes below the table.
    notes: Vec<String>,
}

impl Part {
    pub(crate) fn new(name: &'static str, how: &'static str) -> Self {
        Self {
            name,
            how,
            loops: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a figure, and prints that it is measured.
    pub(crate) fn add(&mut self, figure: Figure) {
        eprintln!(
            "  {}: {} {}",
            figure.what,
            number(figure.spread.median),
            figure.unit
        );
        self.figures.push(figure);
    }

    /// Loads the programs that are measured, and notes their loops.
    pub(crate) fn load(&mut self, loader: Loader<'_>) -> Result<DataPath> {
        let path = loader.load()?;
        self.loaded(&path);
        Ok(path)
    }

    /// Notes the loops of programs that are measured.
    pub(crate) fn loaded(&mut self, path: &DataPath) {
        let name = path.loops.name();
        let loops = match &path.refused {
            None => name.to_owned(),
            Some(why) => format!("{name} (fallback: {why})"),
        };
        if !self.loops.contains(&loops) {
            eprintln!("  the programs loop by {loops}");
            self.loops.push(loops);
        }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Returns the points for charts.
    pub(crate) fn points(&self) -> impl Iterator<Item = (&Point, Spread)> {
        let points = self.figures.iter();
        points.filter_map(|figure| Some((figure.point.as_ref()?, figure.spread)))
    }

    /// Returns the figures that miss their limit.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &str> {
        let missed = self.figures.iter().filter(|figure| figure.is_missed());
        missed.map(|figure| figure.what.as_str())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = [
            "", "median", "p10", "p90", "unit", "ratio", "to", "must", "target", "",
        ];
        let mut rows = vec![headings.map(str::to_owned)];
        for figure in &self.figures {
            let Spread { median, p10, p90 } = figure.spread;
            let alone = p10 == p90;
            let of = |value: f64| {
                if alone { String::new() } else { number(value) }
            };
            rows.push([
                figure.what.clone(),
                number(median),
                of(p10),
                of(p90),
                figure.unit.into(),
                figure.ratio.map(number).unwrap_or_default(),
                figure.to.unwrap_or_default().into(),
                figure
                    .goal
                    .and_then(|goal| goal.must)
                    .map(number)
                    .unwrap_or_default(),
                figure
                    .goal
                    .map(|goal| number(goal.target))
                    .unwrap_or_default(),
                figure.verdict().into(),
            ]);
        }
        let widths: Vec<usize> = (0..headings.len())
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
            .collect();
        writeln!(f, "## {}\n\n{}", self.name, self.how)?;
        if !self.loops.is_empty() {
            writeln!(f, "The programs loop by {}.", self.loops.join(", and by "))?;
        }
        writeln!(f)?;
        for row in rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Text on the left, numbers on the right.
                if matches!(column, 0 | 4 | 6 | 9) {
                    line += &format!("{cell:<width$}  ");
                } else {
                    line += &format!("{cell:>width$}  ");
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        Ok(())
    }
}

/// Formats a number with its significant digits.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 10_000.0 {
        let mut text = format!("{value:.0}");
        let mut at = text.len();
        while at > 3 + usize::from(value < 0.0) {
            at -= 3;
            text.insert(at, ',');
        }
        text
    } else if size >= 100.0 || value == value.round() {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
