//! The view, drawn.

use nat_common::abi::Counter;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::Paragraph,
};

use super::data::Data;
use crate::view::{
    output::{self, Columns},
    rows::{BindingKind, BindingState},
    traffic::Fate,
};

/// Width from which on the lower part has all columns.
const WIDE: u16 = 140;
/// Width of the figures of packets, where those of bindings are beside them.
const PACKETS: u16 = 43;
/// Lines of the upper part at most, and its share of a low screen.
const UPPER: u16 = 22;

/// State of the view.
pub(super) struct View {
    data: Data,
    /// Reading before, from which rates are counted.
    before: Option<Data>,
    /// Search in force.
    pub(super) search: Option<String>,
    /// Search that is being typed.
    pub(super) typed: Option<String>,
    /// First line of the lower part that is shown.
    first: usize,
}

impl View {
    pub(super) const fn new(data: Data) -> Self {
        Self {
            data,
            before: None,
            search: None,
            typed: None,
            first: 0,
        }
    }

    /// Takes the next reading.
    pub(super) fn update(&mut self, data: Data) {
        self.before = Some(std::mem::replace(&mut self.data, data));
    }

    /// Searches for a text from now on; for nothing if it is empty.
    pub(super) fn search_for(&mut self, text: String) {
        self.typed = None;
        self.first = 0;
        self.search = Some(text).filter(|text| !text.is_empty());
    }

    /// Scrolls the lower part.
    pub(super) fn scroll(&mut self, lines: isize) {
        let last = self.data.found.wide.len().max(self.data.found.narrow.len());
        self.first = self
            .first
            .saturating_add_signed(lines)
            .min(last.saturating_sub(1));
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let upper = UPPER.min(area.height / 2);
        let [title, figures, heading, found, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(upper),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        let shadow = if self.data.shadow {
            "; shadow: nothing is redirected"
        } else {
            ""
        };
        bar(frame, title, &format!("{}{shadow}", self.data.agent));
        let [packets, bindings] =
            Layout::horizontal([Constraint::Length(PACKETS), Constraint::Fill(1)]).areas(figures);
        text(frame, packets, &self.packets(usize::from(upper)));
        text(frame, bindings, &self.bindings());
        self.draw_found(frame, heading, found);
        let keys_text = match &self.typed {
            Some(typed) => format!("search for user, address or Call-ID: {typed}_"),
            None => "q ends   / searches   Esc all redirects   arrows scroll".into(),
        };
        text(frame, keys, &[keys_text]);
    }

    fn draw_found(&self, frame: &mut Frame<'_>, heading: Rect, area: Rect) {
        let found = &self.data.found;
        let lines = if area.width < WIDE {
            &found.narrow
        } else {
            &found.wide
        };
        let title = match &self.search {
            Some(search) => format!("found for {search}"),
            None => "recent redirects".into(),
        };
        bar(frame, heading, &title);
        let first = self.first.min(lines.len().saturating_sub(1));
        text(frame, area, &lines[first..]);
    }

    /// Renders figures of packets in so many lines: the reasons with most packets.
    fn packets(&self, lines: usize) -> Vec<String> {
        let mut rows = Vec::new();
        let mut total = |name: &str, counts: &[Counter]| {
            let count = |data: &Data| counts.iter().map(|counter| data.count(*counter)).sum();
            rows.push(self.row(name, count));
        };
        let of = |wanted: &[Fate]| -> Vec<Counter> {
            let all = Counter::ALL.iter().copied();
            all.filter(|counter| Fate::of(*counter).is_some_and(|fate| wanted.contains(&fate)))
                .collect()
        };
        total("SIP in", &of(&[Fate::Learned, Fate::Passed]));
        total("  learned from", &of(&[Fate::Learned]));
        total("SIP out", &of(&[Fate::Redirected, Fate::LeftAlone]));
        total("  redirected", &of(&[Fate::Redirected]));
        total("  left alone", &of(&[Fate::LeftAlone]));
        let mut reasons = of(&[Fate::LeftAlone]);
        reasons.retain(|reason| self.data.count(*reason) > 0);
        reasons.sort_by_key(|reason| std::cmp::Reverse(self.data.count(*reason)));
        for reason in reasons {
            let name = reason.name().trim_start_matches("out_");
            rows.push(self.row(&format!("    {name}"), |data| data.count(reason)));
        }
        rows.truncate(lines.saturating_sub(1));
        let columns = Columns::new(["PACKETS", "A SECOND", "TOTAL"], &[1, 2]);
        let table = output::table(columns, rows);
        table.lines().map(String::from).collect()
    }

    /// Renders the figures of one count.
    fn row(&self, name: &str, count: impl Fn(&Data) -> u64) -> [String; 3] {
        let before = self.before.as_ref();
        let rate = before.map(|before| self.data.rate(before, &count));
        [
            name.to_owned(),
            rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}")),
            count(&self.data).to_string(),
        ]
    }

    fn bindings(&self) -> Vec<String> {
        let rows = BindingState::ALL.map(|state| {
            let count = |kind| self.data.bindings.get(kind, state).to_string();
            let name = state.name().replace('_', " ");
            [
                name,
                count(BindingKind::Dialog),
                count(BindingKind::Contact),
            ]
        });
        let columns = Columns::new(["BINDINGS", "DIALOGS", "CONTACTS"], &[1, 2]);
        let table = output::table(columns, rows);
        let fills = self.data.fills.iter().map(|fill| {
            let share = 100 * fill.used as u64 / fill.size.max(1);
            format!("{} {} of {}, {share} %", fill.name, fill.used, fill.size)
        });
        let table = table.lines().map(String::from);
        table.chain([String::new()]).chain(fills).collect()
    }
}

/// Writes lines.
fn text(frame: &mut Frame<'_>, area: Rect, lines: &[String]) {
    let lines = lines.iter().take(usize::from(area.height));
    let lines: Vec<Line<'_>> = lines.map(|line| Line::from(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// Writes a line in reverse.
fn bar(frame: &mut Frame<'_>, area: Rect, line: &str) {
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(line).style(style), area);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::{Terminal, backend::TestBackend, buffer::Cell};

    use super::*;

    /// Returns the lines of a screen.
    fn drawn(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells = buffer.content().chunks(usize::from(width));
        cells
            .map(|cells| {
                let line: String = cells.iter().map(Cell::symbol).collect();
                line.trim_end().to_owned()
            })
            .collect()
    }

    fn view() -> View {
        let then = Instant::now();
        let counted = |more: u64| {
            [
                (Counter::InRequest, 100 + more),
                (Counter::InResponse, 50),
                (Counter::OutRedirectedDialog, 7 + more),
                (Counter::OutAlreadyThere, 40),
                (Counter::OutPolicyOff, 1),
            ]
        };
        let mut view = View::new(Data::example(then, &counted(0)));
        view.update(Data::example(then + Duration::from_secs(2), &counted(10)));
        view
    }

    #[test]
    fn everything_has_its_place_on_a_small_and_a_large_screen() {
        for (width, height) in [(80, 24), (200, 50)] {
            let lines = drawn(&view(), width, height);
            let text = lines.join("\n");
            assert_eq!(
                lines[0],
                "sipnat 0.1.0, up 2h 5m, on eth0 (xdp native, tcx)"
            );
            let line = |start: &str| {
                let found = lines
                    .iter()
                    .find(|line| line.trim_start().starts_with(start));
                found.unwrap_or_else(|| panic!("no {start} in\n{text}"))
            };
            let words = |start: &str| line(start).split_whitespace().collect::<Vec<_>>();
            assert_eq!(words("SIP in")[..4], ["SIP", "in", "5.0", "160"]);
            assert_eq!(words("redirected")[..3], ["redirected", "5.0", "17"]);
            assert_eq!(words("left alone")[..4], ["left", "alone", "0.0", "41"]);
            assert_eq!(words("already_there")[..3], ["already_there", "0.0", "40"]);
            assert!(text.contains("DIALOGS 12 of 81920, 0 %"), "{text}");
            line("recent redirects");
            let of_width = if width < WIDE { 60 } else { 150 };
            assert_eq!(*line("line 0 "), format!("line 0 {}", "x".repeat(of_width)));
            assert!(
                lines[usize::from(height) - 1].starts_with("q ends"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tiny_screen_is_no_error() {
        for (width, height) in [(1, 1), (10, 3), (43, 5)] {
            drawn(&view(), width, height);
        }
    }

    #[test]
    fn the_lower_part_scrolls_within_its_lines() {
        let mut view = view();
        view.scroll(-1);
        assert!(drawn(&view, 80, 24).join("\n").contains("line 0 "));
        view.scroll(3);
        let text = drawn(&view, 80, 24).join("\n");
        assert!(
            !text.contains("line 2 ") && text.contains("line 3 "),
            "{text}"
        );
        view.scroll(1000);
        assert!(drawn(&view, 80, 24).join("\n").contains("line 99 "));
        view.search_for("1000".into());
        let text = drawn(&view, 80, 24).join("\n");
        assert!(
            text.contains("found for 1000") && text.contains("line 0 "),
            "{text}"
        );
    }
}
