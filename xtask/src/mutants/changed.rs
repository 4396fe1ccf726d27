//! Lines that changed since a commit.

use std::{collections::HashSet, path::Path};

use anyhow::{Context as _, Result};

use super::copy;
use crate::{command, workspace::Workspace};

/// Lines of sources: path below the sources of the crate, and number.
pub(super) type Lines = HashSet<(String, usize)>;

/// Returns the lines that are not as the commit has them.
pub(super) fn since(workspace: &Workspace, commit: &str) -> Result<Lines> {
    let mut diff = workspace.program(Path::new("git"));
    diff.args([
        "diff",
        "--no-color",
        "--no-ext-diff",
        "--unified=0",
        commit,
        "--",
    ])
    .arg(copy::SOURCES);
    read(&command::output(&mut diff)?)
}

/// Reads a diff without context.
fn read(diff: &str) -> Result<Lines> {
    let mut lines = Lines::new();
    let mut file = String::new();
    for line in diff.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            let path = path.strip_prefix(copy::SOURCES).unwrap_or(path);
            file = path.trim_start_matches('/').into();
        } else if line.starts_with("@@ ") {
            let (first, count) = added(line).with_context(|| format!("odd hunk: {line}"))?;
            lines.extend((first..first + count).map(|number| (file.clone(), number)));
        }
    }
    Ok(lines)
}

/// Returns the first line that a hunk has added, and their number.
fn added(hunk: &str) -> Option<(usize, usize)> {
    let range = hunk.split(' ').find_map(|word| word.strip_prefix('+'))?;
    let (first, count) = range.split_once(',').unwrap_or((range, "1"));
    Some((first.parse().ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_diff() {
        let diff = "\
diff --git a/nat-common/src/engine/a.rs b/nat-common/src/engine/a.rs
--- a/nat-common/src/engine/a.rs
+++ b/nat-common/src/engine/a.rs
@@ -3 +3,2 @@ fn f() {
-    one();
+    two();
+    three();
@@ -9,2 +9,0 @@
-    four();
-    five();
@@ -20,0 +19 @@
+    six();
";
        let lines = [3, 4, 19].map(|number| ("engine/a.rs".to_owned(), number));
        assert_eq!(read(diff).unwrap(), lines.into());
    }
}
