//! Copy of the workspace in which `nat-common` has all its mutants.
//!
//! It is a folder of links to all that is the same. So the tests are the workspace's own, and so is what they read.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{constants::Constants, find, mutation::Mutation, rewrite};
use crate::{
    checks::{self, Source, syntax},
    workspace::Workspace,
};

/// Crate whose sources are mutated.
const CRATE: &str = "nat-common";

/// Its sources.
pub(super) const SOURCES: &str = "nat-common/src";

/// Code that may compute with its functions when it is compiled.
const USERS: [&str; 3] = [SOURCES, "nat-common/tests", "tests/oracle"];

/// Source of the module that chooses a mutant.
const CHOSEN: &str = include_str!("chosen.rs");

/// Returns the mutations of the files below some paths, and all files of the crate with them.
pub(super) fn mutate(
    workspace: &Workspace,
    paths: &[String],
) -> Result<(Vec<Mutation>, Vec<Source>)> {
    let mut constants = Constants::default();
    for source in checks::read(workspace, &USERS)? {
        constants.read(&parse(&source)?);
    }
    constants.finish();
    let chosen: HashSet<String> = {
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        let files = checks::read(workspace, &paths)?;
        files.into_iter().map(|source| source.path).collect()
    };
    let mut all = Vec::new();
    let mut files = checks::read(workspace, &[SOURCES])?;
    for source in &mut files {
        if chosen.contains(&source.path) {
            let path = source
                .path
                .trim_start_matches(SOURCES)
                .trim_start_matches('/');
            let (mutations, text) = find::find(path, &source.text, &parse(source)?, &constants);
            source.text = rewrite::rewrite(&text, &mutations, all.len());
            all.extend(mutations);
        }
        if source.path == format!("{SOURCES}/lib.rs") {
            // What overflows or is out of bounds is found where it runs.
            source.text.push_str("#[doc(hidden)]\npub mod mutant;\n");
            source.text = format!(
                "#![allow(warnings, arithmetic_overflow, overflowing_literals, unconditional_panic)]\n{}",
                source.text
            );
        }
    }
    files.push(Source {
        path: format!("{SOURCES}/mutant.rs"),
        text: CHOSEN.into(),
    });
    Ok((all, files))
}

fn parse(source: &Source) -> Result<syn::File> {
    syntax::parse(&source.path, &source.text).map_err(anyhow::Error::msg)
}

/// Makes the copy, or brings it up to date. A file that is the same stays as it is, so that cargo need not build it again.
pub(super) fn make(workspace: &Workspace, sources: &[Source], copy: &Path) -> Result<()> {
    let same = |name: &str| name.starts_with('.') || name == "target" || name == CRATE;
    link(&workspace.root, copy, same)?;
    link(&workspace.root.join(CRATE), &copy.join(CRATE), |name| {
        name == "src"
    })?;
    for Source { path, text } in sources {
        let path = copy.join(path);
        if fs::read_to_string(&path).is_ok_and(|known| known == *text) {
            continue;
        }
        fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let wanted: HashSet<_> = sources
        .iter()
        .map(|source| copy.join(&source.path))
        .collect();
    remove_others(&copy.join(SOURCES), &wanted)
}

/// Links what a folder has into another one, but for some names. Tests may run there: a link that is right stays.
fn link(from: &Path, to: &Path, is_left_out: impl Fn(&str) -> bool) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let path = entry?.path();
        if path.is_symlink() && !path.exists() {
            fs::remove_file(path)?;
        }
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        let to = to.join(&name);
        if !name.to_str().is_none_or(&is_left_out) && !to.exists() {
            symlink(from.join(&name), &to)
                .with_context(|| format!("cannot link {}", to.display()))?;
        }
    }
    Ok(())
}

/// Removes files that the crate has no more.
fn remove_others(folder: &Path, wanted: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
