//! `sipnat top`: a live view of the agent on the whole screen.

mod data;
mod screen;

use std::{
    io::{IsTerminal as _, stdin, stdout},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt as _;
use ratatui::DefaultTerminal;
use tokio::time::{MissedTickBehavior, interval};

use self::{data::Data, screen::View};
use crate::agent::{session::Session, signals::Signals};

/// Time between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `sipnat top`.
#[derive(Debug, Args)]
pub struct Top {}

/// Terminal of this process, in raw mode and on its other screen. Dropping it puts it back; so does a panic.
pub struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If standard input or output is none.
    pub fn open() -> Result<Self> {
        ensure!(
            stdin().is_terminal() && stdout().is_terminal(),
            "`sipnat top` needs a terminal; for programs there are `sipnat stats --json`, `sipnat bindings watch --json` and the \
             metrics of `sipnat run --metrics`"
        );
        ratatui::try_init()
            .map(Self)
            .context("cannot take the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has put it back before its message, which a second time would overwrite.
        if !thread::panicking() {
            ratatui::restore();
        }
    }
}

/// Consequence of a key.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// The command ends.
    End,
    /// The tables are read again, since another search is in force.
    Read,
    /// The view is drawn again.
    Draw,
}

impl Top {
    /// Shows the view until `q` or a signal ends it.
    ///
    /// # Errors
    /// If there is no agent or no terminal, or the agent ends.
    pub async fn run(self) -> Result<()> {
        let mut session = Session::open()?;
        let mut signals = Signals::new()?;
        let mut screen = Screen::open()?;
        let mut keys = EventStream::new();
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut view = View::new(Data::read(&session, None)?);
        loop {
            screen
                .0
                .draw(|frame| view.draw(frame))
                .context("cannot draw")?;
            let then = tokio::select! {
                _ = signals.next() => Then::End,
                _ = ticks.tick() => Then::Read,
                event = keys.next() => match event.context("the terminal is gone")? {
                    Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => press(&mut view, key),
                    Ok(_) => Then::Draw,
                    Err(error) => return Err(error).context("cannot read the keyboard"),
                },
            };
            match then {
                Then::End => return Ok(()),
                Then::Read => {
                    session.refresh()?;
                    view.update(Data::read(&session, view.search.as_deref())?);
                }
                Then::Draw => {}
            }
        }
    }
}

/// Obeys a key.
fn press(view: &mut View, key: KeyEvent) -> Then {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return Then::End;
    }
    if let Some(typed) = &mut view.typed {
        match key.code {
            KeyCode::Char(c) if !control => typed.push(c),
            KeyCode::Backspace => _ = typed.pop(),
            KeyCode::Esc => view.typed = None,
            KeyCode::Enter => {
                let text = typed.trim().to_owned();
                view.search_for(text);
                return Then::Read;
            }
            _ => {}
        }
        return Then::Draw;
    }
    match key.code {
        KeyCode::Char('q') => return Then::End,
        KeyCode::Char('/') => view.typed = Some(String::new()),
        KeyCode::Esc => {
            view.search_for(String::new());
            return Then::Read;
        }
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::PageUp => view.scroll(-10),
        KeyCode::PageDown => view.scroll(10),
        _ => {}
    }
    Then::Draw
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn view() -> View {
        View::new(Data::example(Instant::now(), &[]))
    }

    fn types(view: &mut View, text: &str) -> Vec<Then> {
        let keys = text.chars().map(KeyCode::Char);
        keys.map(|code| press(view, code.into())).collect()
    }

    #[test]
    fn q_ends_it_but_is_a_letter_of_a_search() {
        let mut view = view();
        assert_eq!(types(&mut view, "q"), [Then::End]);
        assert_eq!(types(&mut view, "/q"), [Then::Draw, Then::Draw]);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(press(&mut view, control_c), Then::End);
    }

    #[test]
    fn a_search_is_typed_corrected_and_ended() {
        let mut view = view();
        types(&mut view, "/10001");
        press(&mut view, KeyCode::Backspace.into());
        assert_eq!(press(&mut view, KeyCode::Enter.into()), Then::Read);
        assert_eq!(view.search.as_deref(), Some("1000"));
        // One that is given up leaves the one before.
        types(&mut view, "/x");
        press(&mut view, KeyCode::Esc.into());
        assert_eq!((view.search.as_deref(), &view.typed), (Some("1000"), &None));
        assert_eq!(press(&mut view, KeyCode::Esc.into()), Then::Read);
        assert_eq!(view.search, None);
        types(&mut view, "/ ");
        press(&mut view, KeyCode::Enter.into());
        assert_eq!(view.search, None);
    }
}
