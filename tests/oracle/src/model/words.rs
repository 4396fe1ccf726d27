//! Words of a line of a story.

/// Words of a line that are not read yet: names with values.
pub(super) struct Words<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Words<'a> {
    /// Splits a line into its first word and the others.
    pub(super) fn of(line: &'a str) -> (&'a str, Self) {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let others = words.map(|word| word.split_once('=').unwrap_or((word, "true")));
        (first, Self(others.collect()))
    }

    /// Takes the value of a field, if it is given.
    pub(super) fn take(&mut self, field: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(name, _)| *name == field)?;
        Some(self.0.remove(at).1)
    }

    /// Fails if words are left.
    pub(super) fn end(self) -> Result<(), String> {
        match self.0.first() {
            Some((name, _)) => Err(format!("no field {name}, or twice")),
            None => Ok(()),
        }
    }
}
