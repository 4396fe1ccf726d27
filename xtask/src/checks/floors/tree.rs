//! Modules, imports and paths of a crate, as its files write them.

use std::collections::{HashMap, HashSet};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{
    Item, ItemMacro, ItemMod, ItemUse, UseTree, Visibility,
    spanned::Spanned as _,
    visit::{self, Visit},
};

use crate::checks::{
    Source,
    syntax::{attributes, is_for_tests, is_punct, item_name, parse},
};

/// A file of a crate.
pub(super) struct File {
    pub(super) path: String,
    /// First part of its module's path, which a floor lists.
    pub(super) top: String,
}

/// A module, whose items lie in one file.
pub(super) struct Module {
    pub(super) file: usize,
    pub(super) items: HashSet<String>,
    pub(super) imports: HashMap<String, Import>,
    /// Modules and enums imported by `*`.
    pub(super) globs: Vec<Vec<String>>,
}

/// A name that a `use` brings into a module.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) public: bool,
}

/// A path in the text of a file.
pub(super) struct Mention {
    pub(super) file: usize,
    pub(super) line: usize,
    /// Module that contains the path.
    pub(super) scope: Vec<String>,
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
}

/// Syntax around a path.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// `use`.
    Use,
    /// `pub use`, which may be a re-export.
    Public,
    /// Code.
    Code,
}

/// Modules and paths of a crate.
pub(super) struct Tree<'a> {
    pub(super) name: &'a str,
    pub(super) files: Vec<File>,
    pub(super) modules: HashMap<Vec<String>, Module>,
    pub(super) mentions: Vec<Mention>,
    /// Whether the crate has a `lib.rs`. Then its `main.rs` is the module `main`.
    pub(super) has_lib: bool,
}

impl<'a> Tree<'a> {
    /// Reads the files below `prefix`.
    pub(super) fn read(
        name: &'a str,
        prefix: &str,
        sources: &[&Source],
        errors: &mut Vec<String>,
    ) -> Self {
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

/// Reader of one file, the last of the tree.
struct Collector<'t, 'n> {
    tree: &'t mut Tree<'n>,
    /// Names and paths of macros that `macro_export` puts at the crate's root.
    exported: &'t mut Vec<(String, Vec<String>)>,
    /// Path of the current module.
    scope: Vec<String>,
}

impl Collector<'_, '_> {
    fn file(&self) -> usize {
        self.tree.files.len() - 1
    }

    /// Adds the current module to the tree.
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
            .expect("enter() added the module")
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
        // A private glob imports items, not the module.
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
        // Items that the macro creates, if the call contains their names.
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

/// Whether a group is part of a visibility such as `pub(crate)`, given the tokens before it.
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
