//! Inputs as text, for stories that people write.
//!
//! A line is a step: its name, then `field=value` for each field that is not the first choice. A field alone is `true`.
//! The line `Setup` comes first. What follows a `#` is a comment.
//!
//! ```
//! use nat_test_oracle::model::{read_story, write_story};
//!
//! let story = "Setup proxy victim=Alg\nRegister who=Victim\nWait pause=Hour\n";
//! let (setup, steps) = read_story(story).unwrap();
//! assert!(setup.proxy);
//! assert_eq!(write_story(setup, &steps), "Setup proxy victim=Alg\nRegister\nWait pause=Hour\n");
//! assert!(read_story("Setup\nRegister who=Nobody").is_err());
//! ```

use super::input::{Setup, Step};
use super::words::Words;

/// Reads a story.
///
/// # Errors
///
/// The line that is none of a story, with the reason.
pub fn read_story(text: &str) -> Result<(Setup, Vec<Step>), String> {
    let mut setup = None;
    let mut steps = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (name, mut words) = Words::of(line);
        let read = match (name, setup) {
            ("Setup", None) => Setup::read(&mut words).map(|known| setup = Some(known)),
            (_, Some(_)) => Step::read(name, &mut words).map(|step| steps.push(step)),
            (_, None) => Err("the line Setup comes first".into()),
        };
        read.and_then(|()| words.end())
            .map_err(|reason| format!("{line}: {reason}"))?;
    }
    Ok((setup.ok_or("the line Setup is missing")?, steps))
}

/// Writes a story.
pub fn write_story(setup: Setup, steps: &[Step]) -> String {
    let mut text = String::from("Setup");
    setup.write(&mut text);
    for step in steps {
        text.push('\n');
        step.write(&mut text);
    }
    text.push('\n');
    text
}
