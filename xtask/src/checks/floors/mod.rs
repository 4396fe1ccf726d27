//! `floors`: a module uses only the floors below its own, and neither modules nor files use each other in a circle.
//!
//! The check reads `use` declarations and paths in code, in attributes and in calls of macros. It follows each to the
//! file that holds the item:
//! - A re-export (`pub use`) or an import of another module is followed to the item itself. A `mod` and a `pub use` of the
//!   module's own children do not count: a `mod.rs` may list and re-export its children.
//! - Either the children of a `mod.rs` use its items, or its code uses the children. Both at once is a circle.
//! - An import of a whole module counts between modules. Within one module, only paths that begin with it count.
//! - Comments, and modules and functions for tests only (`cfg(test)`), may use any floor.
//!
//! Cargo itself forbids circles between crates. A path may begin with the crate's own name, as in `main.rs` beside `lib.rs`.

mod arrows;
mod graph;
mod tree;

use std::collections::{BTreeMap, HashSet};

use self::{graph::Graph, tree::Tree};
use super::{
    Report, Source,
    layout::{CRATES, Crate},
};

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
    fn exported_macros_belong_to_their_file() {
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
