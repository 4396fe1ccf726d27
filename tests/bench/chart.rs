//! Figures as charts, in SVG.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::report::{Part, Spread, number};

/// Kind of chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chart {
    /// Time by length of the message.
    Length,
    /// Time by number of bindings.
    Bindings,
    /// Time of a packet of media by number of streams.
    Streams,
}

/// Place of a figure on a chart.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) chart: Chart,
    /// Name of its line.
    pub(crate) line: String,
    pub(crate) x: f64,
}

impl Point {
    pub(crate) fn new(chart: Chart, line: &str, x: u32) -> Self {
        Self {
            chart,
            line: line.into(),
            x: x.into(),
        }
    }
}

/// Name and points of one line.
type Line = (String, Vec<(f64, Spread)>);

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Edges of the plot: left, top, right, bottom.
const PLOT: [f64; 4] = [70.0, 50.0, 670.0, 290.0];
/// Colours that colour-blind readers can tell apart.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#56b4e9", "#e69f00"];

impl Chart {
    const ALL: [Self; 3] = [Self::Length, Self::Bindings, Self::Streams];

    fn file(self) -> &'static str {
        match self {
            Self::Length => "ns-by-length.svg",
            Self::Bindings => "ns-by-bindings.svg",
            Self::Streams => "ns-by-streams.svg",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Length => "An INVITE that comes in: nanoseconds above an empty program",
            Self::Bindings => "A message of about 590 bytes: nanoseconds above an empty program",
            Self::Streams => "A packet of RTP: nanoseconds above an empty program",
        }
    }

    fn x_name(self) -> &'static str {
        match self {
            Self::Length => "bytes of the message",
            Self::Bindings => "active bindings",
            Self::Streams => "streams",
        }
    }

    /// Returns the place on the axis, from 0 to 1: numbers of bindings and streams on a logarithmic scale, lengths on a
    /// linear one.
    fn place(self, x: f64, most: f64) -> f64 {
        match self {
            Self::Length => x / most,
            Self::Bindings | Self::Streams => ((x / 500.0).log2() / (most / 500.0).log2()).max(0.0),
        }
    }
}

/// Draws all charts for which there are figures.
pub(crate) fn draw(parts: &[Part], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for chart in Chart::ALL {
        let lines = lines(parts, chart);
        if lines.is_empty() {
            continue;
        }
        let path = dir.join(chart.file());
        fs::write(&path, svg(chart, &lines))
            .with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("drawn: {}", path.display());
    }
    Ok(())
}

fn lines(parts: &[Part], chart: Chart) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (point, spread) in parts.iter().flat_map(Part::points) {
        if point.chart != chart {
            continue;
        }
        let at = (point.x, spread);
        match lines.iter_mut().find(|(name, _)| *name == point.line) {
            Some((_, points)) => points.push(at),
            None => lines.push((point.line.clone(), vec![at])),
        }
    }
    lines
}

fn svg(chart: Chart, lines: &[Line]) -> String {
    let [left, top, right, bottom] = PLOT;
    let points = || lines.iter().flat_map(|(_, points)| points);
    let widest = points().map(|(x, _)| *x).fold(0.0, f64::max) * 1.05;
    let highest = points().map(|(_, y)| y.p90).fold(0.0, f64::max) * 1.05;
    let x_of = |x: f64| left + chart.place(x, widest) * (right - left);
    let y_of = |y: f64| bottom - y / highest * (bottom - top);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    text(&mut out, left, 22.0, "start", chart.title());
    let what = if points().all(|(_, y)| y.p10 == y.p90) {
        "medians"
    } else {
        "medians, and from the 10th to the 90th percentile of batches"
    };
    text(&mut out, left, 40.0, "start", what);
    let step = step(highest);
    let mut y = 0.0;
    while y <= highest {
        let at = y_of(y);
        line(&mut out, [left, at, right, at], "#ddd", 1);
        text(&mut out, left - 8.0, at + 4.0, "end", &number(y));
        y += step;
    }
    let mut ticks: Vec<f64> = points().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for x in ticks {
        let at = x_of(x);
        line(&mut out, [at, bottom, at, bottom + 5.0], "#222", 1);
        text(&mut out, at, bottom + 20.0, "middle", &number(x));
    }
    line(&mut out, [left, bottom, right, bottom], "#222", 1);
    let middle = f64::midpoint(left, right);
    text(&mut out, middle, bottom + 40.0, "middle", chart.x_name());

    for (i, ((name, points), colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let medians: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(y.median)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            medians.join(" ")
        );
        for (x, y) in points {
            let at = x_of(*x);
            line(&mut out, [at, y_of(y.p10), at, y_of(y.p90)], colour, 4);
        }
        // Two names side by side.
        let at = left + (i % 2) as f64 * 310.0;
        let row = bottom + 66.0 + (i / 2) as f64 * 20.0;
        line(&mut out, [at, row - 4.0, at + 20.0, row - 4.0], colour, 4);
        text(&mut out, at + 26.0, row, "start", name);
    }
    out += "</svg>\n";
    out
}

/// Returns the distance between the lines of a grid with at most eight lines.
fn step(highest: f64) -> f64 {
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
    let few = |step: &&f64| highest / **step <= 8.0;
    *steps.iter().find(few).unwrap_or(&5000.0)
}

fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str, width: u32) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    );
}

/// Draws a text, which must contain no special character of XML.
fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
