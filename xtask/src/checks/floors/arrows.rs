//! Uses of one file by another: each path is followed to the file that holds its item.

use super::tree::{Import, Kind, Tree};

/// Number of imports of imports that are followed.
const DEPTH: usize = 8;

/// One file's use of another.
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) line: usize,
    /// Path from the crate's root.
    pub(super) path: Vec<String>,
    /// Whether it imports a whole module. Then the paths that begin with it are arrows too.
    pub(super) whole_module: bool,
}

/// Target of a path: the file and the module of its item.
struct Target {
    file: usize,
    /// Path of the module that holds the item, or of the module itself.
    module: Vec<String>,
    whole_module: bool,
}

impl Tree<'_> {
    /// Returns the uses of one file by another.
    pub(super) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for mention in &self.mentions {
            let Some(path) = self.absolute(&mention.scope, &mention.path, mention.kind, 0) else {
                continue;
            };
            let Some(target) = self.find(&path, 0) else {
                continue;
            };
            let of_child = target.module.len() > mention.scope.len()
                && target.module.starts_with(&mention.scope);
            if target.file == mention.file || mention.kind == Kind::Public && of_child {
                continue;
            }
            arrows.push(Arrow {
                from: mention.file,
                to: target.file,
                line: mention.line,
                path,
                whole_module: target.whole_module && mention.kind != Kind::Code,
            });
        }
        arrows
    }

    /// Returns the path from the crate's root. None if it leads out of the crate or to an item of this module.
    fn absolute(
        &self,
        scope: &[String],
        path: &[String],
        kind: Kind,
        depth: usize,
    ) -> Option<Vec<String>> {
        let (first, mut rest) = path.split_first()?;
        // The binary of a package with a library is a separate crate.
        let own_root = self.has_lib && scope.first().is_some_and(|top| top == "main");
        let mut base = match first.as_str() {
            "crate" if own_root => vec!["main".into()],
            "crate" => vec![],
            name if name == self.name => vec![],
            "self" => scope.to_vec(),
            "super" => {
                let mut base = scope.to_vec();
                base.pop();
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
                base
            }
            name => {
                let import = self.modules.get(scope)?.imports.get(name);
                // A single word is more often a local name than a re-export.
                let counts =
                    |import: &&Import| kind != Kind::Code || path.len() > 1 || import.public;
                if let Some(import) = import.filter(counts)
                    && depth < DEPTH
                    && import.path != path
                {
                    self.absolute(scope, &import.path, Kind::Use, depth + 1)?
                } else {
                    let mut child = scope.to_vec();
                    child.push(name.into());
                    let counts = kind != Kind::Code || path.len() > 1;
                    if !counts || !self.modules.contains_key(&child) {
                        return None;
                    }
                    child
                }
            }
        };
        base.extend_from_slice(rest);
        Some(base)
    }

    /// Follows a path from the crate's root through modules and imports.
    fn find(&self, path: &[String], depth: usize) -> Option<Target> {
        let mut at = Vec::new();
        for (index, part) in path.iter().enumerate() {
            let mut child = at.clone();
            child.push(part.clone());
            if self.modules.contains_key(&child) {
                at = child;
                continue;
            }
            let module = self.modules.get(&at)?;
            let rest = &path[index + 1..];
            if depth < DEPTH {
                if let Some(import) = module.imports.get(part) {
                    let mut target = self.absolute(&at, &import.path, Kind::Use, depth)?;
                    target.extend_from_slice(rest);
                    return self.find(&target, depth + 1);
                }
                for glob in module.globs.iter().filter(|_| !module.items.contains(part)) {
                    let target = self.absolute(&at, glob, Kind::Use, depth);
                    if let Some(mut target) = target.filter(|target| self.has(target, part)) {
                        target.push(part.clone());
                        target.extend_from_slice(rest);
                        return self.find(&target, depth + 1);
                    }
                }
            }
            return Some(Target {
                file: module.file,
                module: at,
                whole_module: false,
            });
        }
        Some(Target {
            file: self.modules.get(&at)?.file,
            module: at,
            whole_module: true,
        })
    }

    /// Whether a module has this item, import or child.
    fn has(&self, path: &[String], name: &str) -> bool {
        let mut child = path.to_vec();
        child.push(name.into());
        self.modules.contains_key(&child)
            || self.modules.get(path).is_some_and(|module| {
                module.items.contains(name) || module.imports.contains_key(name)
            })
    }

    /// Text of an arrow in an error.
    pub(super) fn text(&self, arrow: &Arrow) -> String {
        let path = match &arrow.path[..] {
            [] => "crate".into(),
            path => path.join("::"),
        };
        let (from, to) = (&self.files[arrow.from].path, &self.files[arrow.to].path);
        format!("{from}:{} uses {path} ({to})", arrow.line)
    }
}
