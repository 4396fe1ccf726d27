//! Mutants that may survive, each with a reason: they do the same as the code, or what no test can tell.
//!
//! A paragraph of the list is a reason, in lines that begin with `#`, and the names of the mutants that have it.

use std::collections::HashSet;

use anyhow::{Result, ensure};

/// File with the list.
pub(super) const LIST: &str = "nat-common/mutants.accepted";

/// Reads a list. Returns the names of the mutants.
pub(super) fn read(text: &str) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    let mut has_reason = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.is_empty() {
            has_reason = false;
        } else if line.starts_with('#') {
            has_reason = true;
        } else {
            ensure!(has_reason, "{LIST}:{number}: no reason: {line}");
            ensure!(
                names.insert(line.to_owned()),
                "{LIST}:{number}: twice: {line}"
            );
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mutant_has_a_reason() {
        let list = read("# The same.\na.rs f: 1 => 2\nb.rs g: x => y\n").unwrap();
        assert_eq!(list.len(), 2);
        let error = read("# The same.\na.rs f: 1 => 2\n\nb.rs g: x => y\n").unwrap_err();
        assert!(
            error.to_string().contains(":4: no reason: b.rs g"),
            "{error}"
        );
    }
}
