//! Tests of the search and of the rewritten code.

use std::{fs, process::Command};

use super::{constants::Constants, copy, find, mutation::Mutation, rewrite};
use crate::{checks::syntax, command, workspace::Workspace};

/// Returns the mutations of a source, and its text with them.
fn mutate(text: &str) -> (Vec<Mutation>, String) {
    let file = syntax::parse("a.rs", text).unwrap();
    let mut constants = Constants::default();
    constants.read(&file);
    constants.finish();
    let (mutations, plain) = find::find("a.rs", text, &file, &constants);
    let rewritten = rewrite::rewrite(&plain, &mutations, 0);
    (mutations, rewritten)
}

/// Returns the mutations of a function's body, without the name of the function.
fn of_body(body: &str) -> Vec<String> {
    let (mutations, _) = mutate(&format!("fn f() {{ {body} }}"));
    let names = mutations.iter().map(ToString::to_string);
    names
        .map(|name| name.trim_start_matches("a.rs f: ").to_owned())
        .collect()
}

#[test]
fn conditions() {
    assert_eq!(
        of_body("if a { return; }"),
        ["if a => if false", "if a => if true"]
    );
    assert_eq!(
        of_body("if !a {}"),
        ["if !a => if false", "if !a => if true"]
    );
    assert_eq!(
        of_body("if a == b {}"),
        ["if a == b => if false", "if a == b => if true"]
    );
    assert_eq!(
        of_body("if let Some(a) = b {}"),
        ["if let Some(a) = b => if false"]
    );
    assert_eq!(
        of_body("match a { b if c => d, e => f }"),
        ["if c => if false", "if c => if true"]
    );
}

#[test]
fn chains() {
    let all = "a && !b && c";
    assert_eq!(
        of_body("let x = a && !b && c;"),
        [
            format!("{all} => !b && c"),
            format!("{all} => a && c"),
            format!("{all} => a && !b")
        ]
    );
    assert_eq!(of_body("let x = a | b;"), ["a | b => b", "a | b => a"]);
    assert_eq!(
        of_body("if let Some(a) = b && c {}"),
        [
            "if let Some(a) = b && c => if false",
            "let Some(a) = b && c => let Some(a) = b"
        ]
    );
}

#[test]
fn comparisons_and_numbers() {
    assert_eq!(of_body("let x = a < b;"), ["a < b => a <= b"]);
    assert_eq!(of_body("let x = a == b;"), ["a == b => a != b"]);
    assert_eq!(of_body("let x = !a;"), ["!a => a"]);
    assert_eq!(of_body("let x = 7u8;"), ["7u8 => 8u8"]);
    assert_eq!(of_body("let x = a + b;"), ["a + b => a"]);
    let (mutations, _) = mutate("const N: u8 = 3; const M: u64 = 2 * 3; fn f() { g(N, h::M); }");
    let names: Vec<_> = mutations.iter().map(|m| m.mutated.as_str()).collect();
    assert_eq!(names, ["nothing", "N + 1", "h::M + h::M / 2 + 1"]);
}

#[test]
fn statements_and_arms() {
    assert_eq!(
        of_body("f(); a.b = c; d |= e;"),
        [
            "f(); => nothing",
            "a.b = c; => nothing",
            "d |= e; => nothing"
        ]
    );
    assert_eq!(of_body("let x; x = y;"), [""; 0]);
    assert_eq!(of_body("match a { b => c, _ => d }"), ["b => no arm"]);
    let (mutations, _) = mutate("fn f() -> bool { a() }");
    assert_eq!(mutations[0].to_string(), "a.rs f: body => true");
    assert_eq!(mutations[1].to_string(), "a.rs f: body => false");
}

#[test]
fn names_of_the_same_code_differ() {
    assert_eq!(
        of_body("f(); f();"),
        ["f(); => nothing", "f(); => nothing (2)"]
    );
}

/// Code that runs in the compiler, or only in tests, has no mutants.
#[test]
fn left_out() {
    let text = "const A: u8 = f(1); const fn f(x: u8) -> u8 { x + 1 } static B: [u8; 2] = [3; 2];
        #[cfg(test)] mod tests { fn g() { h(); } } enum C { D = 5 }";
    assert!(mutate(text).0.is_empty());
    let (mutations, rewritten) = mutate("const fn f(x: u8) -> u8 { x + 1 }");
    assert_eq!(mutations.len(), 1);
    assert!(!rewritten.contains("const"), "{rewritten}");
}

/// Each form of a mutant compiles, and does what its name says.
#[test]
fn each_mutant_does_as_it_says() {
    let text = "\
const LIMIT: u32 = 5;
const LONG: u32 = 2 * LIMIT;
const fn small(x: u32) -> bool { x < LIMIT }
fn play(x: u32, y: Option<u32>) -> String {
    let mut seen = Vec::new();
    if x == 3 { return \"early\".into(); }
    if let Some(z) = y // a comment
        && z > 1 && small(z) { seen.push(z); }
    if x > 0 || y.is_none() { seen.push(x | 8 ^ LONG); }
    seen.push(match x { 0 => 10, n if n > LONG => 11, _ => 12 });
    format!(\"{seen:?}\")
}
fn main() { for x in 0..12 { print!(\"{} {} \", play(x, None), play(x, Some(x))); } }
mod mutant { pub fn is(n: u32) -> bool { std::env::var(\"N\").is_ok_and(|v| v == n.to_string()) } }
";
    let end = text.find("fn main").unwrap();
    let (mutations, rewritten) = mutate(&text[..end]);
    assert_eq!(rewritten.lines().count(), text[..end].lines().count());
    let folder = tempfile::tempdir().unwrap();
    let (source, binary) = (folder.path().join("a.rs"), folder.path().join("a"));
    fs::write(&source, rewritten + &text[end..]).unwrap();
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition=2024", "--cap-lints=allow", "-o"])
        .arg(&binary)
        .arg(&source);
    command::output(&mut rustc).unwrap();
    let as_it_is = command::output(&mut Command::new(&binary)).unwrap();
    for (number, mutation) in mutations.iter().enumerate() {
        let output = command::output(Command::new(&binary).env("N", number.to_string())).unwrap();
        assert_ne!(output, as_it_is, "{number}: {mutation}");
    }
}

/// All of `nat-common` compiles with its mutants.
#[test]
fn all_mutants_compile() {
    let workspace = Workspace::find().unwrap();
    let (mutations, sources) = copy::mutate(&workspace, &[copy::SOURCES.into()]).unwrap();
    assert!(mutations.len() > 1000, "{}", mutations.len());
    let copy = workspace.target.join("mutants-compiled");
    copy::make(&workspace, &sources, &copy).unwrap();
    let mut check = workspace.cargo("check");
    check
        .current_dir(&copy)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .args(["--quiet", "--package=nat-common"]);
    command::output(&mut check).unwrap();
}
