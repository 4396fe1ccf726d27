//! `attacks`: each test that the tables of attacks name exists.
//!
//! A test is named by its function, behind the module in which it is, or by a module whose tests are all meant. A seed of the
//! fuzz target `decide`, and a fuzz target, are files.

use super::{Report, Source};

/// Document with the tables.
pub(super) const DOCUMENT: &str = "ARCHITECTURE.md";

/// Folders whose files have the tests.
pub(super) const FOLDERS: &[&str] = &["nat-common", "tests"];

/// Folders of the other files that the tables name.
pub(super) const SEEDS: &str = "fuzz/corpus/decide";
pub(super) const TARGETS: &str = "fuzz/fuzz_targets";

/// First cell of the head of such a table.
const HEAD: &str = "| somebody who |";

/// Looks for each test of the tables. `exists`: whether a file is in the tree.
pub(super) fn check(document: &str, sources: &[Source], exists: impl Fn(&str) -> bool) -> Report {
    let mut report = Report::default();
    let mut lines = document.lines();
    let mut rows = Vec::new();
    while lines.any(|line| line.starts_with(HEAD)) {
        // Behind the head stands a line of dashes.
        let table = lines.by_ref().take_while(|line| line.starts_with('|'));
        rows.extend(table.skip(1));
    }
    if rows.is_empty() {
        report
            .errors
            .push(format!("{DOCUMENT}: no table begins with `{HEAD}`"));
    }
    let mut names = 0;
    for row in &rows {
        let tests = row.trim_end_matches(['|', ' ']).rsplit(" | ").next();
        for name in named(tests.unwrap_or_default()) {
            names += 1;
            let found = exists(&format!("{SEEDS}/{name}"))
                || exists(&format!("{TARGETS}/{name}.rs"))
                || sources.iter().any(|source| has(source, name));
            if !found {
                let attack = row.trim_start_matches(['|', ' ']);
                let attack = attack.split(" | ").next().unwrap_or_default();
                report.errors.push(format!(
                    "{DOCUMENT}: no test `{name}` for somebody who {attack}"
                ));
            }
        }
    }
    report.summary = format!("{names} tests of {} attacks", rows.len());
    report
}

/// Returns the names in a cell.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether a file has a test, or is the module of that name.
fn has(source: &Source, name: &str) -> bool {
    let (modules, test) = name.rsplit_once("::").unwrap_or(("", name));
    let path = source.path.trim_end_matches(".rs");
    let is_in = |module: &str| path.split('/').any(|part| part == module) || module == "tests";
    if test == "*" {
        return is_in(modules);
    }
    let forms = [format!("fn {test}("), format!("!({test},")];
    let has_it = path.ends_with(&format!("/{test}"))
        || forms.iter().any(|form| source.text.contains(form.as_str()));
    has_it
        && modules
            .split("::")
            .all(|module| module.is_empty() || is_in(module))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::tree;

    const TABLE: &str = "\
| somebody who | gets | because | test |
|---|---|---|---|
| asks | nothing | so | `calls::one`, `two`, lab `pending`, seeds `rule-a`, `rule-b`, fuzz target `scan` |
| waits | a row | that | `rows::third`, limits.md |

| other | table |
| `missing` | |

| somebody who | gets | because | test |
|---|---|---|---|
| speaks | a row of another table | that | `calls::two` |
";

    fn errors(document: &str, files: &[&str]) -> Vec<String> {
        let sources = tree(&[
            ("tests/decisions/calls.rs", "fn one() {}\nfn two() {}"),
            ("tests/lab/attacks/pending.rs", ""),
            ("tests/lab/rows.rs", "row!(third,);"),
        ]);
        check(document, &sources, |path| files.contains(&path)).errors
    }

    #[test]
    fn each_name_is_looked_for() {
        let files = [
            "fuzz/corpus/decide/rule-a",
            "fuzz/corpus/decide/rule-b",
            "fuzz/fuzz_targets/scan.rs",
        ];
        assert_eq!(errors(TABLE, &files), [""; 0]);
        assert_eq!(
            errors(TABLE, &files[1..]),
            ["ARCHITECTURE.md: no test `rule-a` for somebody who asks"]
        );
        for (name, wrong) in [
            ("calls::one", "other::one"),
            ("`two`", "`three`"),
            ("`pending`", "`pendin`"),
            ("rows::third", "rows::thir"),
            ("`scan`", "`scam`"),
        ] {
            let document = TABLE.replace(name, wrong);
            assert_eq!(errors(&document, &files).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_document_without_the_table_fails() {
        assert_eq!(errors("# Attacks", &[]).len(), 1);
    }
}
