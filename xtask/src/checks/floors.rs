//! `floors`: a module uses only the floors below its own, and neither modules nor files use each other in a circle.
//!
//! The check reads `use` declarations and paths in code, in attributes and in calls of macros. It follows each to the
//! file that holds the item:
//! - A re-export (`pub use`) or an import of another module is followed to the item itself. A `mod` and a `pub use` of the
//!   module's own children are no use: a `mod.rs` may list and re-export what stands below it.
//! - So `mod.rs` and its children obey the rule of all files: either the children use items that `mod.rs` holds, or its
//!   code uses the children. Both at once is a circle.
//! - An import of a whole module counts between modules. Within one module only the paths that begin with it count.
//! - Modules and functions for tests only (`cfg(test)`) and comments may use what they like.
//!
//! Between crates, Cargo itself forbids circles. A crate's own name in a path means the crate, as in `main.rs` beside `lib.rs`.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{
    Item, ItemMacro, ItemMod, ItemUse, UseTree, Visibility,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use super::{
    Report, Source,
    layout::{CRATES, Crate},
    syntax::{attributes, is_for_tests, is_punct, item_name, parse},
};

/// How many imports of imports are followed.
const DEPTH: usize = 8;

/// Folders of all crates with an order.
pub(super) fn folders() -> Vec<&'static str> {
    let folders = CRATES.iter().flat_map(|krate| krate.folders);
    folders.copied().collect()
}

/// Checks the files of each crate.
pub(super) fn check(crates: &[Crate], sources: &[Source]) -> Report {
    let mut report = Report::default();
    for krate in crates {
        for folder in krate.folders {
            let prefix = format!("{folder}/");
            let within = |source: &&Source| source.path.starts_with(&prefix);
            let files: Vec<_> = sources.iter().filter(within).collect();
            if !files.is_empty() {
                report.errors.extend(check_crate(krate, &prefix, &files));
                break;
            }
        }
    }
    report
}

/// Errors of one crate, whose files lie below `prefix`.
fn check_crate(krate: &Crate, prefix: &str, sources: &[&Source]) -> Vec<String> {
    let mut errors = Vec::new();
    let tree = Tree::read(krate.name, prefix, sources, &mut errors);
    let floor = |file: usize| -> Option<usize> {
        match tree.files[file].top.as_str() {
            _ if krate.floors.is_empty() => Some(0),
            "lib" => Some(0),
            top => krate
                .floors
                .iter()
                .position(|floor| floor.contains(&top))
                .map(|floor| floor + 1),
        }
    };

    let mut unlisted = HashSet::new();
    for (index, file) in tree.files.iter().enumerate() {
        if floor(index).is_none() && unlisted.insert(&file.top) {
            errors.push(format!(
                "{}: no floor lists {}: add it to {} in xtask/src/checks/layout.rs",
                file.path, file.top, krate.name
            ));
        }
    }

    let mut up = BTreeMap::new();
    let mut modules = Graph::default();
    let mut files = Graph::default();
    for arrow in tree.arrows() {
        let (from, to) = (&tree.files[arrow.from], &tree.files[arrow.to]);
        if from.top == to.top {
            if !arrow.whole_module {
                files.add(&from.path, &to.path, arrow);
            }
            continue;
        }
        let (Some(own), Some(other)) = (floor(arrow.from), floor(arrow.to)) else {
            continue;
        };
        if other < own {
            up.entry((arrow.from, arrow.to)).or_insert(arrow);
        } else {
            modules.add(&from.top, &to.top, arrow);
        }
    }
    for arrow in up.values() {
        let (from, to) = (&tree.files[arrow.from].top, &tree.files[arrow.to].top);
        errors.push(format!("{}: {from} is below {to}", tree.text(arrow)));
    }
    for (graph, kind) in [(modules, "modules"), (files, "files")] {
        for (circle, tied) in graph.circles() {
            let arrows: Vec<_> = circle.iter().map(|arrow| tree.text(arrow)).collect();
            let more = match tied - circle.len() {
                0 => String::new(),
                more => format!(" (and {more} more are tied to these)"),
            };
            errors.push(format!("circle of {kind}{more}: {}", arrows.join("; ")));
        }
    }
    errors
}

/// A file of a crate.
struct File {
    path: String,
    /// First part of its module's path: the module that stands on a floor.
    top: String,
}

/// A module, whose items lie in one file.
struct Module {
    file: usize,
    items: HashSet<String>,
    imports: HashMap<String, Import>,
    /// Modules and enums of which all is imported.
    globs: Vec<Vec<String>>,
}

/// A name that a `use` brings into a module.
struct Import {
    path: Vec<String>,
    public: bool,
}

/// A path in the text of a file.
struct Mention {
    file: usize,
    line: usize,
    /// Module in which the path is written.
    scope: Vec<String>,
    path: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Declared by `use`.
    Use,
    /// Declared by `pub use`, so perhaps a re-export.
    Public,
    /// Code.
    Code,
}

/// One file's use of another.
struct Arrow {
    from: usize,
    to: usize,
    line: usize,
    /// The path from the crate's root.
    path: Vec<String>,
    /// Whether it imports a whole module, of which other paths use something.
    whole_module: bool,
}

/// The place that a path leads to.
struct Place {
    file: usize,
    /// Path of the module in which the item lies, or of the module itself.
    module: Vec<String>,
    whole_module: bool,
}

/// Modules and paths of a crate.
struct Tree<'a> {
    name: &'a str,
    files: Vec<File>,
    modules: HashMap<Vec<String>, Module>,
    mentions: Vec<Mention>,
    /// The crate has a `lib.rs`, so that its `main.rs` is the module `main`.
    has_lib: bool,
}

impl<'a> Tree<'a> {
    fn read(name: &'a str, prefix: &str, sources: &[&Source], errors: &mut Vec<String>) -> Self {
        let has_lib = sources.iter().any(|s| s.path[prefix.len()..] == *"lib.rs");
        let mut parsed = Vec::new();
        let mut for_tests = Vec::new();
        for source in sources {
            let module = module_path(&source.path[prefix.len()..], has_lib);
            match parse(&source.path, &source.text) {
                Ok(file) => {
                    if is_for_tests(&file.attrs) {
                        for_tests.push(module.clone());
                    }
                    modules_for_tests(&module, &file.items, &mut for_tests);
                    parsed.push((source, module, file));
                }
                Err(error) => errors.push(error),
            }
        }
        let mut tree = Tree {
            name,
            files: Vec::new(),
            modules: HashMap::new(),
            mentions: Vec::new(),
            has_lib,
        };
        let mut exported = Vec::new();
        for (source, module, file) in parsed {
            if for_tests.iter().any(|tests| module.starts_with(tests)) {
                continue;
            }
            let top = module.first().cloned();
            tree.files.push(File {
                path: source.path.clone(),
                top: top.unwrap_or_else(|| if has_lib { "lib" } else { "main" }.into()),
            });
            let mut collector = Collector {
                tree: &mut tree,
                exported: &mut exported,
                scope: module,
            };
            collector.enter();
            collector.visit_file(&file);
        }
        for (macro_name, path) in exported {
            if let Some(root) = tree.modules.get_mut(&[][..]) {
                let public = true;
                root.imports.insert(macro_name, Import { path, public });
            }
        }
        tree
    }

    /// Uses of one file by another.
    fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for mention in &self.mentions {
            let Some(path) = self.absolute(&mention.scope, &mention.path, mention.kind, 0) else {
                continue;
            };
            let Some(place) = self.find(&path, 0) else {
                continue;
            };
            let of_child = place.module.len() > mention.scope.len()
                && place.module.starts_with(&mention.scope);
            if place.file == mention.file || mention.kind == Kind::Public && of_child {
                continue;
            }
            arrows.push(Arrow {
                from: mention.file,
                to: place.file,
                line: mention.line,
                path,
                whole_module: place.whole_module && mention.kind != Kind::Code,
            });
        }
        arrows
    }

    /// The path from the crate's root, unless it leads out of the crate or to an item of this module.
    fn absolute(
        &self,
        scope: &[String],
        path: &[String],
        kind: Kind,
        depth: usize,
    ) -> Option<Vec<String>> {
        let (first, mut rest) = path.split_first()?;
        // The binary of a package with a library has a root of its own.
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
                // One word is a local name more often than a re-export.
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
    fn find(&self, path: &[String], depth: usize) -> Option<Place> {
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
            return Some(Place {
                file: module.file,
                module: at,
                whole_module: false,
            });
        }
        Some(Place {
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

    /// An arrow for people.
    fn text(&self, arrow: &Arrow) -> String {
        let path = match &arrow.path[..] {
            [] => "crate".into(),
            path => path.join("::"),
        };
        let (from, to) = (&self.files[arrow.from].path, &self.files[arrow.to].path);
        format!("{from}:{} uses {path} ({to})", arrow.line)
    }
}

/// Path of the module that is the file at `path` below the crate's folder.
fn module_path(path: &str, has_lib: bool) -> Vec<String> {
    match path {
        "lib.rs" => return vec![],
        "main.rs" if !has_lib => return vec![],
        _ => {}
    }
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(Into::into).collect()
}

/// Collects the paths of modules in files of their own that exist for tests only.
fn modules_for_tests(path: &[String], items: &[Item], found: &mut Vec<Vec<String>>) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let mut child = path.to_vec();
        child.push(module.ident.to_string());
        if is_for_tests(&module.attrs) {
            found.push(child);
        } else if let Some((_, items)) = &module.content {
            modules_for_tests(&child, items, found);
        }
    }
}

/// Reader of the file that was added last.
struct Collector<'t, 'n> {
    tree: &'t mut Tree<'n>,
    /// Macros that `macro_export` puts at the crate's root, and where they are.
    exported: &'t mut Vec<(String, Vec<String>)>,
    /// Path of the module that is being read.
    scope: Vec<String>,
}

impl Collector<'_, '_> {
    fn file(&self) -> usize {
        self.tree.files.len() - 1
    }

    /// Makes the module that `scope` names.
    fn enter(&mut self) {
        let module = Module {
            file: self.file(),
            items: HashSet::new(),
            imports: HashMap::new(),
            globs: Vec::new(),
        };
        self.tree.modules.insert(self.scope.clone(), module);
    }

    fn module(&mut self) -> &mut Module {
        self.tree
            .modules
            .get_mut(&self.scope)
            .expect("its module was entered")
    }

    fn mention(&mut self, line: usize, path: Vec<String>, kind: Kind) {
        self.tree.mentions.push(Mention {
            file: self.file(),
            line,
            scope: self.scope.clone(),
            path,
            kind,
        });
    }

    /// Reads one branch of a `use`.
    fn branch(&mut self, tree: &UseTree, path: &[String], kind: Kind) {
        let with = |name: &syn::Ident| {
            let mut path = path.to_vec();
            // `self` in a group is the module itself.
            if name != "self" || path.is_empty() {
                path.push(name.to_string());
            }
            path
        };
        let (name, path) = match tree {
            UseTree::Path(part) => return self.branch(&part.tree, &with(&part.ident), kind),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.branch(tree, path, kind);
                }
                return;
            }
            UseTree::Glob(_) => {
                self.module().globs.push(path.to_vec());
                (None, path.to_vec())
            }
            UseTree::Name(leaf) => {
                let path = with(&leaf.ident);
                (path.last().cloned(), path)
            }
            UseTree::Rename(leaf) => (Some(leaf.rename.to_string()), with(&leaf.ident)),
        };
        let glob = name.is_none();
        if let Some(name) = name {
            let public = kind == Kind::Public;
            let import = Import {
                path: path.clone(),
                public,
            };
            self.module().imports.insert(name, import);
        }
        let line = tree.span().start().line;
        // A private glob takes items, not the module.
        let kind = if glob && kind == Kind::Use {
            Kind::Code
        } else {
            kind
        };
        self.mention(line, path, kind);
    }

    /// Reads the paths among the tokens of a macro or an attribute.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let separator =
            |at: usize| is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':');
        let mut at = 0;
        while at < tokens.len() {
            if let TokenTree::Group(group) = &tokens[at]
                && !is_visibility(&tokens[..at], group)
            {
                self.tokens(group.stream());
            }
            let TokenTree::Ident(first) = &tokens[at] else {
                at += 1;
                continue;
            };
            let line = first.span().start().line;
            let outside =
                at >= 2 && separator(at - 2) || at >= 1 && is_punct(tokens.get(at - 1), '.');
            let mut path = vec![first.to_string()];
            at += 1;
            while separator(at) {
                let Some(TokenTree::Ident(part)) = tokens.get(at + 2) else {
                    break;
                };
                path.push(part.to_string());
                at += 3;
            }
            if !outside {
                self.mention(line, path, Kind::Code);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_, '_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        let name = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Macro(item) => item.ident.as_ref(),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(name) = name {
            self.module().items.insert(name.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if let Some((_, items)) = &module.content {
            self.scope.push(module.ident.to_string());
            self.enter();
            for item in items {
                self.visit_item(item);
            }
            self.scope.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let kind = match item.vis {
            Visibility::Inherited => Kind::Use,
            _ => Kind::Public,
        };
        if item.leading_colon.is_none() {
            self.branch(&item.tree, &[], kind);
        }
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        // Items that the macro makes, as far as their names are written out.
        let names = item_names(item.mac.tokens.clone());
        self.module().items.extend(names);
        if let Some(name) = &item.ident
            && item.attrs.iter().any(|a| a.path().is_ident("macro_export"))
        {
            let mut path = vec!["crate".into()];
            path.extend_from_slice(&self.scope);
            path.push(name.to_string());
            self.exported.push((name.to_string(), path));
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let parts = path.segments.iter().map(|part| part.ident.to_string());
            let parts = parts.collect();
            self.mention(path.span().start().line, parts, Kind::Code);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.tokens(list.tokens.clone());
        visit::visit_meta_list(self, list);
    }

    /// Skips `pub(crate)` and `pub(in path)`.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

/// Whether a group is that of `pub(crate)`, given the tokens before it.
fn is_visibility(before: &[TokenTree], group: &Group) -> bool {
    group.delimiter() == Delimiter::Parenthesis
        && matches!(before.last(), Some(TokenTree::Ident(word)) if word == "pub")
}

/// Names of the items among some tokens.
fn item_names(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut names = Vec::new();
    for at in 0..tokens.len() {
        names.extend(item_name(&tokens[at..]));
        if let TokenTree::Group(group) = &tokens[at] {
            names.extend(item_names(group.stream()));
        }
    }
    names
}

/// A graph of names, with the first arrow from one to another.
#[derive(Default)]
struct Graph {
    arrows: BTreeMap<String, BTreeMap<String, Arrow>>,
}

impl Graph {
    fn add(&mut self, from: &str, to: &str, arrow: Arrow) {
        let arrows = self.arrows.entry(from.into()).or_default();
        arrows.entry(to.into()).or_insert(arrow);
    }

    /// For each group of names that reach each other, its shortest circle and the size of the group.
    fn circles(&self) -> Vec<(Vec<&Arrow>, usize)> {
        let mut circles: Vec<(Vec<&Arrow>, usize)> = Vec::new();
        let mut seen = HashSet::new();
        for start in self.arrows.keys() {
            if seen.contains(start.as_str()) {
                continue;
            }
            let reached = self.reach(start);
            let group: Vec<_> = reached
                .keys()
                .copied()
                .filter(|name| self.reach(name).contains_key(start.as_str()))
                .collect();
            let shortest = group
                .iter()
                .map(|name| self.circle(name))
                .min_by_key(Vec::len);
            circles.extend(shortest.map(|circle| (circle, group.len())));
            seen.extend(group);
        }
        circles
    }

    /// Names that can be reached from one, each with the name before it on a shortest way.
    fn reach<'g>(&'g self, start: &'g str) -> BTreeMap<&'g str, &'g str> {
        let mut before = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(name) = queue.pop_front() {
            for next in self.arrows.get(name).into_iter().flat_map(BTreeMap::keys) {
                if !before.contains_key(next.as_str()) {
                    before.insert(next.as_str(), name);
                    queue.push_back(next);
                }
            }
        }
        before
    }

    /// A shortest circle from a name to itself.
    fn circle(&self, start: &str) -> Vec<&Arrow> {
        let before = self.reach(start);
        let mut arrows = Vec::new();
        let mut name = start;
        while let Some(previous) = before.get(name) {
            arrows.push(&self.arrows[*previous][name]);
            name = previous;
            if name == start {
                break;
            }
        }
        arrows.reverse();
        arrows
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    const FLOORS: &[Crate] = &[Crate {
        folders: &["a/src"],
        name: "a",
        floors: &[&["main"], &["agent"], &["kernel", "host"], &["config"]],
    }];

    const FREE: &[Crate] = &[Crate {
        folders: &["new/src", "old/src"],
        name: "free",
        floors: &[],
    }];

    fn errors(files: &[(&str, &str)]) -> Vec<String> {
        check(FLOORS, &tree(files)).errors
    }

    #[test]
    fn arrows_down_pass() {
        let files = [
            ("a/src/lib.rs", "pub mod agent; mod config; mod host; mod kernel; pub use agent::run;"),
            ("a/src/main.rs", "use a::{agent, run}; fn main() { agent::start(); run(); }"),
            (
                "a/src/agent/mod.rs",
                "mod session; pub use session::State; pub use session::Other; pub fn run() {} pub fn start() {}",
            ),
            (
                "a/src/agent/session.rs",
                "use std::fmt; use super::run; use crate::{config::{self, Config}, kernel::*}; pub struct State; pub struct Other;
                 fn f() { config::read(); crate::host::name(); super::run(); run() }",
            ),
            ("a/src/kernel.rs", "use crate::host::name; use self::inner::A; mod inner { use super::B; pub struct A; } struct B;"),
            ("a/src/host.rs", "pub fn name() {}"),
            ("a/src/config.rs", "pub struct Config; pub fn read() {} impl Config { fn f(self) -> Self { Self } }"),
        ];
        assert_eq!(errors(&files), [""; 0]);
    }

    #[test]
    fn an_arrow_up_fails() {
        let session = (
            "a/src/agent/session.rs",
            "pub struct State; pub fn run() {}",
        );
        let agent = (
            "a/src/agent/mod.rs",
            "pub mod session; pub use session::State; pub fn run() {}",
        );
        let expected = "a/src/kernel/pins.rs:1 uses agent::State (a/src/agent/session.rs): kernel is below agent";
        for text in [
            "use crate::agent::State;",
            "pub use crate::agent::State;",
            "fn f() { let a = crate::agent::State; }",
            "fn f(a: &crate::agent::State) {}",
            "fn f() { use crate::agent::State as S; }",
            "fn f() { println!(\"{}\", [1, g(crate::agent::State)]); }",
            "#[arg(value_parser = super::super::agent::State)] struct A;",
            "macro_rules! m { () => { $crate::agent::State } }",
            "mod b { use a::agent::State; }",
        ] {
            assert_eq!(
                errors(&[session, agent, ("a/src/kernel/pins.rs", text)]),
                [expected],
                "{text}"
            );
        }
        assert_eq!(
            errors(&[
                session,
                agent,
                (
                    "a/src/kernel/pins.rs",
                    "use crate::{\n    host::A,\n    agent::{self, session::*},\n};"
                ),
                ("a/src/host.rs", "pub struct A;")
            ]),
            [
                "a/src/kernel/pins.rs:3 uses agent::session (a/src/agent/session.rs): kernel is below agent",
                "a/src/kernel/pins.rs:3 uses agent (a/src/agent/mod.rs): kernel is below agent"
            ]
        );
    }

    #[test]
    fn the_root_is_above_all() {
        let root = ("a/src/lib.rs", "mod config; pub const A: u8 = 0;");
        assert_eq!(
            errors(&[root, ("a/src/config.rs", "use crate::A;")]),
            ["a/src/config.rs:1 uses A (a/src/lib.rs): config is below lib"]
        );
        let root = ("a/src/main.rs", "mod config; pub const A: u8 = 0;");
        assert_eq!(
            errors(&[root, ("a/src/config.rs", "use crate::A;")]),
            ["a/src/config.rs:1 uses A (a/src/main.rs): config is below main"]
        );
    }

    #[test]
    fn exported_macros_are_where_they_are_written() {
        assert_eq!(
            errors(&[
                ("a/src/lib.rs", "mod agent; mod config; mod kernel;"),
                (
                    "a/src/config.rs",
                    "#[macro_export] macro_rules! low { () => {} }"
                ),
                (
                    "a/src/agent.rs",
                    "#[macro_export] macro_rules! high { () => {} }"
                ),
                (
                    "a/src/kernel.rs",
                    "use crate::low; fn f() { crate::high!() }"
                ),
            ]),
            ["a/src/kernel.rs:1 uses high (a/src/agent.rs): kernel is below agent"]
        );
    }

    #[test]
    fn tests_and_comments_may_use_all() {
        let agent = ("a/src/agent.rs", "pub struct State;");
        let text = "
            /// See [`crate::agent::State`].
            pub struct A;
            #[cfg(test)] mod tests { use crate::agent::State; }
            #[cfg(all(test, unix))] use crate::agent::State;
            #[cfg(test)] mod more;
            impl A { #[cfg(test)] fn a() { crate::agent::State; } }
        ";
        let more = ("a/src/kernel/more.rs", "use crate::agent::State;");
        assert_eq!(
            errors(&[agent, ("a/src/kernel/mod.rs", text), more]),
            [""; 0]
        );
        assert_eq!(
            errors(&[
                agent,
                (
                    "a/src/kernel.rs",
                    "#[cfg(not(test))] use crate::agent::State;"
                )
            ]),
            ["a/src/kernel.rs:1 uses agent::State (a/src/agent.rs): kernel is below agent"]
        );
    }

    #[test]
    fn a_visibility_in_a_macro_is_no_path() {
        let text = "macro_rules! m { ($name:ident) => { pub(crate) static $name: u8 = 0; } }";
        let files = [("a/src/main.rs", "mod kernel;"), ("a/src/kernel.rs", text)];
        assert_eq!(errors(&files), [""; 0]);
    }

    #[test]
    fn a_module_without_a_floor_fails() {
        assert_eq!(
            errors(&[("a/src/new/mod.rs", "mod b;"), ("a/src/new/b.rs", "")]),
            ["a/src/new/mod.rs: no floor lists new: add it to a in xtask/src/checks/layout.rs"]
        );
    }

    #[test]
    fn modules_of_one_floor_use_each_other_one_way() {
        let host = ("a/src/host/link.rs", "pub struct Link;");
        let kernel = (
            "a/src/kernel/pins.rs",
            "use crate::host::link::Link; pub struct Pins;",
        );
        let folders = [
            ("a/src/host/mod.rs", "pub mod link; pub mod net;"),
            ("a/src/kernel/mod.rs", "pub mod pins;"),
        ];
        let net = ("a/src/host/net.rs", "");
        assert_eq!(
            errors(&[host, net, kernel, folders[0], folders[1]]),
            [""; 0]
        );
        let net = ("a/src/host/net.rs", "use crate::kernel::pins::Pins;");
        assert_eq!(
            errors(&[host, net, kernel, folders[0], folders[1]]),
            [
                "circle of modules: a/src/host/net.rs:1 uses kernel::pins::Pins (a/src/kernel/pins.rs); \
                 a/src/kernel/pins.rs:1 uses host::link::Link (a/src/host/link.rs)"
            ]
        );
    }

    #[test]
    fn files_of_one_module_use_each_other_one_way() {
        let root = ("a/src/agent/mod.rs", "mod x; mod y; mod z;");
        let x = ("a/src/agent/x.rs", "use super::y::Y; pub struct X;");
        let y = (
            "a/src/agent/y.rs",
            "use super::z; pub struct Y; fn f() { z::f() }",
        );
        let z = ("a/src/agent/z.rs", "pub fn f() {}");
        assert_eq!(errors(&[root, x, y, z]), [""; 0]);
        let z = ("a/src/agent/z.rs", "pub fn f() { vec![super::x::X] }");
        assert_eq!(
            errors(&[root, x, y, z]),
            [
                "circle of files: a/src/agent/x.rs:1 uses agent::y::Y (a/src/agent/y.rs); \
                 a/src/agent/y.rs:1 uses agent::z::f (a/src/agent/z.rs); \
                 a/src/agent/z.rs:1 uses agent::x::X (a/src/agent/x.rs)"
            ]
        );
    }

    #[test]
    fn a_parent_and_its_child_use_each_other_one_way() {
        let child = ("a/src/agent/x.rs", "use super::Y; pub struct X;");
        for text in [
            "mod x; pub struct Y;",
            "mod x; pub use x::X; pub struct Y;",
            "pub(crate) mod x; pub(crate) use self::x::*; pub struct Y;",
        ] {
            assert_eq!(
                errors(&[("a/src/agent/mod.rs", text), child]),
                [""; 0],
                "{text}"
            );
        }
        for text in [
            "mod x; pub struct Y; fn f() { x::X; }",
            "mod x; pub struct Y { x: self::x::X }",
            "mod x; use x::X; pub struct Y(X);",
            "mod x; pub use x::X; pub struct Y(X);",
        ] {
            assert_eq!(
                errors(&[("a/src/agent/mod.rs", text), child]),
                [
                    "circle of files: a/src/agent/mod.rs:1 uses agent::x::X (a/src/agent/x.rs); \
                     a/src/agent/x.rs:1 uses agent::Y (a/src/agent/mod.rs)"
                ],
                "{text}"
            );
        }
        // Without an item of the parent, there is no circle.
        for text in ["", "use super::x;", "use std::fmt; use super::fmt as f;"] {
            let child = ("a/src/agent/x.rs", text);
            let parent = (
                "a/src/agent/mod.rs",
                "mod x; use std::fmt; fn f() { x::run() }",
            );
            assert_eq!(errors(&[parent, child]), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_crate_without_floors_has_no_circles() {
        let root = (
            "old/src/lib.rs",
            "mod x; mod y; mod z; pub use x::X; pub use y::Y;",
        );
        let y = ("old/src/y.rs", "pub struct Y;");
        let z = ("old/src/z.rs", "fn f(a: crate::X) {}");
        let good = [root, ("old/src/x.rs", "use crate::Y; pub struct X;"), y, z];
        assert_eq!(check(FREE, &tree(&good)).errors, [""; 0]);
        let y = (
            "old/src/y.rs",
            "use crate::X; use crate::z::A; pub struct Y;",
        );
        let z = ("old/src/z.rs", "fn f(a: crate::X) {} pub struct A;");
        let bad = [root, ("old/src/x.rs", "use crate::Y; pub struct X;"), y, z];
        assert_eq!(
            check(FREE, &tree(&bad)).errors,
            [
                "circle of modules (and 1 more are tied to these): old/src/x.rs:1 uses Y (old/src/y.rs); \
                 old/src/y.rs:1 uses X (old/src/x.rs)"
            ]
        );
        // The first folder with files is the crate's.
        let mut both = tree(&bad);
        both.extend(tree(&[("new/src/lib.rs", "")]));
        assert_eq!(check(FREE, &both).errors, [""; 0]);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let errors = errors(&[("a/src/config.rs", "fn a() {\n  b c;\n}")]);
        assert!(
            errors[0].starts_with("a/src/config.rs:2: cannot be parsed: "),
            "{errors:?}"
        );
    }
}
