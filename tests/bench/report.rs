//! Figures, and the tables that they make.

use std::fmt;

use serde::Serialize;

use crate::chart::Point;

/// A median, and where four in five of the others lie.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p10: f64,
    pub(crate) p90: f64,
}

impl Spread {
    /// Of measurements, of which there is at least one.
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

/// What a figure must reach, and should.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Goal {
    must: Option<f64>,
    aim: f64,
    /// More is better.
    more: bool,
}

impl Goal {
    pub(crate) const fn at_most(must: f64, aim: f64) -> Self {
        Self {
            must: Some(must),
            aim,
            more: false,
        }
    }

    pub(crate) const fn at_least(must: f64, aim: f64) -> Self {
        Self {
            more: true,
            ..Self::at_most(must, aim)
        }
    }

    /// Nothing that must be, but this at the most.
    pub(crate) const fn aim_at_most(aim: f64) -> Self {
        Self {
            must: None,
            aim,
            more: false,
        }
    }

    /// The same, at least.
    pub(crate) const fn aim_at_least(aim: f64) -> Self {
        Self {
            more: true,
            ..Self::aim_at_most(aim)
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
    /// How many times as much as something else that was measured in the same run.
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

    /// It belongs on a chart.
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

    /// What there is to say against it.
    fn verdict(&self) -> &'static str {
        let Some(goal) = &self.goal else {
            return "";
        };
        let value = self.spread.median;
        if goal.must.is_some_and(|must| !goal.reached(must, value)) {
            "MISSED"
        } else if goal.reached(goal.aim, value) {
            "aim reached"
        } else {
            "below aim"
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
    /// How it was measured.
    how: &'static str,
    figures: Vec<Figure>,
    /// What should be known beside it.
    notes: Vec<String>,
}

impl Part {
    pub(crate) fn new(name: &'static str, how: &'static str) -> Self {
        Self {
            name,
            how,
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Keeps a figure, and says that it is there.
    pub(crate) fn add(&mut self, figure: Figure) {
        eprintln!(
            "  {}: {} {}",
            figure.what,
            number(figure.spread.median),
            figure.unit
        );
        self.figures.push(figure);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Of the figures that belong on charts.
    pub(crate) fn points(&self) -> impl Iterator<Item = (&Point, Spread)> {
        let points = self.figures.iter();
        points.filter_map(|figure| Some((figure.point.as_ref()?, figure.spread)))
    }

    /// What misses what it must reach.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &str> {
        let missed = self.figures.iter().filter(|figure| figure.is_missed());
        missed.map(|figure| figure.what.as_str())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = [
            "", "median", "p10", "p90", "unit", "ratio", "to", "must", "aim", "",
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
                figure.goal.map(|goal| number(goal.aim)).unwrap_or_default(),
                figure.verdict().into(),
            ]);
        }
        let widths: Vec<usize> = (0..headings.len())
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
            .collect();
        writeln!(f, "## {}\n\n{}\n", self.name, self.how)?;
        for row in rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Text to the left, numbers to the right.
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

/// With the digits that matter.
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
