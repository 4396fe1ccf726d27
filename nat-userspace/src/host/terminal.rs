//! Text for a person's terminal.

use std::{
    io::{Write as _, stderr, stdout},
    os::fd::AsFd as _,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// Default_Ignorable_Code_Points (Unicode 16, DerivedCoreProperties.txt) whose category does not give them away: letters
/// and marks that show nothing by themselves.
const INVISIBLE: [(char, char); 9] = [
    ('\u{34f}', '\u{34f}'),     // combining grapheme joiner
    ('\u{115f}', '\u{1160}'),   // Hangul fillers
    ('\u{17b4}', '\u{17b5}'),   // Khmer inherent vowels
    ('\u{180b}', '\u{180f}'),   // Mongolian variation selectors
    ('\u{2800}', '\u{2800}'),   // braille pattern blank: not ignorable, and not visible either
    ('\u{3164}', '\u{3164}'),   // Hangul filler
    ('\u{fe00}', '\u{fe0f}'),   // variation selectors
    ('\u{ffa0}', '\u{ffa0}'),   // halfwidth Hangul filler
    ('\u{e0000}', '\u{e0fff}'), // tags, variation selectors, and others reserved
];

/// Returns text of others that is safe to print: every character that a terminal obeys, that is invisible, or that
/// changes the direction of writing is replaced by U+FFFD. So is everything that is not UTF-8.
#[must_use]
pub fn printable(text: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(text);
    // A list has a million texts, nearly all of them plain.
    if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return lossy.into_owned();
    }
    lossy
        .chars()
        .map(|c| if is_printable(c) { c } else { '\u{fffd}' })
        .collect()
}

/// Returns `text` of several lines with each line [`printable`].
#[must_use]
pub fn printable_lines(text: &str) -> String {
    if text.bytes().all(|b| b == b'\n' || matches!(b, b' '..=b'~')) {
        return text.to_owned();
    }
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| printable(line.as_bytes()))
        .collect();
    lines.join("\n")
}

fn is_printable(c: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Surrogate, Unassigned,
    };
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let category = matches!(
        c.general_category(),
        Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Surrogate | Unassigned
    );
    !category
        && !INVISIBLE
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
}

/// Whether nobody reads standard output any more: the reader of a pipe has ended, or the terminal was closed.
#[must_use]
pub fn is_output_closed() -> bool {
    let out = stdout();
    let mut polled = [PollFd::new(out.as_fd(), PollFlags::empty())];
    // Errors are reported whether they are asked for or not.
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    let reported = poll(&mut polled, PollTimeout::ZERO);
    reported.is_ok()
        && polled[0]
            .revents()
            .is_some_and(|flags| flags.intersects(gone))
}

/// Prints a note to standard error. An agent may have lost its terminal.
pub fn note(text: &str) {
    let _lost = writeln!(stderr(), "sipnat: {}", printable_lines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable(b"1000@a\x1b[2J\xff"), "1000@a\u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn invisible_and_turning_characters_do_not_reach_the_terminal() {
        for c in [
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{ffa0}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{10ffff}',
        ] {
            let text = format!("1000{c}@a");
            assert_eq!(
                printable(text.as_bytes()),
                "1000\u{fffd}@a",
                "U+{:04X}",
                u32::from(c)
            );
        }
    }

    #[test]
    fn names_in_any_script_stay_as_they_are() {
        for text in ["Jürgen", "e\u{301}", "Юрий", "李雷", "علي", "1000@pbx 🙂"] {
            assert_eq!(printable(text.as_bytes()), text);
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(printable_lines("a\n  b\tc\n"), "a\n  b\u{fffd}c\n");
        assert_eq!(printable_lines("a\n  b"), "a\n  b");
    }
}
