//! `words`: a doc comment begins with a noun or a verb, not with a relative clause.
//!
//! The check walks the tokens of a file, where a doc comment is an attribute `doc`. So it also sees the comments inside
//! macros, on fields, variants and arguments of clap.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{
    Report, Source,
    syntax::{attribute, is_punct, is_word},
};

/// Folders whose files are read; the first part of the path is the crate.
pub(super) const FOLDERS: &[&str] = &[
    "nat-common",
    "nat-ebpf",
    "nat-userspace",
    "xtask",
    "tests",
    "fuzz/fuzz_targets",
];

/// First words to avoid.
const AVOIDED: [&str; 9] = [
    "What", "Of", "Whom", "Those", "Where", "Who", "Which", "That", "Whether",
];

/// Highest share of avoided first words, in percent; the check fails when it is reached.
const LIMIT: f64 = 3.0;

/// Doc comments of a crate.
#[derive(Default)]
struct Count {
    all: usize,
    avoided: usize,
}

impl Count {
    fn share(&self) -> f64 {
        100.0 * self.avoided as f64 / self.all.max(1) as f64
    }
}

/// A doc comment: the line it begins in, and its first line of text.
struct Comment {
    line: usize,
    text: String,
    /// Whether the item documented is or returns a `bool`.
    on_bool: bool,
}

/// Counts the doc comments that begin with an avoided word; the limit holds for all crates together.
pub(super) fn check(sources: &[Source], list: bool) -> Report {
    let mut report = Report::default();
    let mut crates = BTreeMap::<&str, Count>::new();
    for source in sources {
        let comments = match comments(&source.text) {
            Ok(comments) => comments,
            Err(error) => {
                report.errors.push(format!("{}:{error}", source.path));
                continue;
            }
        };
        let name = source.path.split('/').next().unwrap_or_default();
        let count = crates.entry(name).or_default();
        count.all += comments.len();
        for comment in comments.iter().filter(|comment| is_avoided(comment)) {
            count.avoided += 1;
            if list {
                let Comment { line, text, .. } = comment;
                report
                    .details
                    .push(format!("{}:{line}: {text}", source.path));
            }
        }
    }
    let total = Count {
        all: crates.values().map(|count| count.all).sum(),
        avoided: crates.values().map(|count| count.avoided).sum(),
    };
    if total.share() >= LIMIT {
        report.errors.push(format!(
            "{} of {} doc comments begin with one of {}: {:.1} %, must be below {LIMIT} %; `cargo xtask check words --list` lists them",
            total.avoided,
            total.all,
            AVOIDED.join(", "),
            total.share()
        ));
    }
    let shares = crates
        .iter()
        .map(|(name, count)| format!("{name} {:.1} %", count.share()));
    report.summary = shares.collect::<Vec<_>>().join(", ");
    report
}

/// Whether a comment begins with an avoided word. "Whether" is allowed on a `bool` and on a function that returns one.
fn is_avoided(comment: &Comment) -> bool {
    let word = comment.text.split(|c: char| !c.is_alphanumeric()).next();
    word.is_some_and(|word| AVOIDED.contains(&word) && !(word == "Whether" && comment.on_bool))
}

/// Doc comments of a file.
fn comments(text: &str) -> Result<Vec<Comment>, String> {
    let tokens: TokenStream = text.parse().map_err(|error: proc_macro2::LexError| {
        format!("{}: cannot be read: {error}", error.span().start().line)
    })?;
    let mut comments = Vec::new();
    collect(tokens, &mut comments);
    Ok(comments)
}

/// Collects the doc comments among some tokens and in their groups. Attributes in a row document one item.
fn collect(tokens: TokenStream, comments: &mut Vec<Comment>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        let mut first = None;
        while let Some((group, len)) = attribute(&tokens[at..]) {
            if first.is_none() {
                first = doc(group.stream());
            }
            let inner = len == 3;
            at += len;
            // The next comment is the first item's own.
            if inner && attribute(&tokens[at..]).is_some_and(|(_, len)| len == 2) {
                break;
            }
        }
        if let Some((line, text)) = first {
            comments.push(Comment {
                line,
                text,
                on_bool: is_bool(&tokens[at..]),
            });
        } else if let Some(TokenTree::Group(group)) = tokens.get(at) {
            collect(group.stream(), comments);
            at += 1;
        } else {
            at += 1;
        }
    }
}

/// Line and first text of `doc = "text"`, the inside of an attribute; none for an empty line.
fn doc(tokens: TokenStream) -> Option<(usize, String)> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let [
        TokenTree::Ident(name),
        TokenTree::Punct(_),
        TokenTree::Literal(text),
    ] = &tokens[..]
    else {
        return None;
    };
    let syn::Lit::Str(string) = syn::Lit::new(text.clone()) else {
        return None;
    };
    let value = string.value();
    // A block comment has stars before its lines.
    let lines = value
        .lines()
        .map(|line| line.trim().trim_start_matches('*'));
    let first = lines.map(str::trim).find(|line| !line.is_empty())?;
    (name == "doc").then(|| (text.span().start().line, first.into()))
}

/// Whether the item that these tokens begin is a field or constant of type `bool`, or a function that returns one. An
/// `AtomicBool` and a `bool` in an `Option` or `Result` count too.
fn is_bool(tokens: &[TokenTree]) -> bool {
    // Generic parameters are between angle brackets, which are no group of tokens.
    let mut generic = 0;
    for (at, token) in tokens.iter().enumerate() {
        let rest = &tokens[at + 1..];
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return false,
            TokenTree::Punct(punct) => match punct.as_char() {
                '<' => generic += 1,
                '>' if !is_punct(tokens[..at].last(), '-') => generic -= 1,
                _ if generic > 0 => {}
                ',' | ';' | '=' => return false,
                ':' if is_bool_type(rest) => return true,
                '-' if is_punct(rest.first(), '>') => return is_bool_type(&rest[1..]),
                _ => {}
            },
            _ => {}
        }
    }
    false
}

fn is_bool_type(tokens: &[TokenTree]) -> bool {
    let wrapped = (is_word(tokens.first(), "Option") || is_word(tokens.first(), "Result"))
        && is_punct(tokens.get(1), '<')
        && is_word(tokens.get(2), "bool");
    wrapped || is_word(tokens.first(), "bool") || is_word(tokens.first(), "AtomicBool")
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    /// Lines that `--list` shows for one file.
    fn listed(text: &str) -> Vec<String> {
        check(&tree(&[("a/src/lib.rs", text)]), true).details
    }

    #[test]
    fn plain_comments_pass() {
        let text = "
            //! Reads messages.
            //!
            //! What follows is not a first line.

            /// Returns the port.
            ///
            /// Of no interest here.
            pub fn port() -> u16 { 0 }
            /// Whatever and Offer only look like words to avoid.
            struct Whatever;
        ";
        let report = check(&tree(&[("a/src/lib.rs", text)]), true);
        assert_eq!(report.errors, [""; 0]);
        assert_eq!(report.details, [""; 0]);
        assert_eq!(report.summary, "a 0.0 %");
    }

    #[test]
    fn avoided_words_fail_and_are_listed() {
        let text = "//! What is read.\n\n/// Of all ports, the first.\n#[must_use]\npub fn port() -> u16 { 0 }\n";
        let tree = tree(&[
            ("a/src/lib.rs", text),
            ("b/lib.rs", "/// A port.\nstruct Port;"),
        ]);
        let report = check(&tree, true);
        assert_eq!(
            report.errors,
            [
                "2 of 3 doc comments begin with one of What, Of, Whom, Those, Where, Who, Which, That, Whether: \
              66.7 %, must be below 3 %; `cargo xtask check words --list` lists them"
            ]
        );
        assert_eq!(
            report.details,
            [
                "a/src/lib.rs:1: What is read.",
                "a/src/lib.rs:3: Of all ports, the first."
            ]
        );
        assert_eq!(report.summary, "a 100.0 %, b 0.0 %");
        assert!(check(&tree, false).details.is_empty());
    }

    #[test]
    fn a_share_below_the_limit_passes() {
        let text = format!(
            "/// Of one.\nstruct A;\n{}",
            "/// A port.\nstruct B;\n".repeat(33)
        );
        let report = check(&tree(&[("a/lib.rs", &text)]), false);
        assert_eq!(report.errors, [""; 0]);
        assert_eq!(report.summary, "a 2.9 %");
    }

    #[test]
    fn every_kind_of_item_is_seen() {
        let text = "
            struct A {
                /// Those of a field
                #[arg(long)]
                a: u8,
            }
            enum B {
                /// Who of a variant
                A { /** Which of a field in a variant */ a: u8 },
            }
            impl A {
                /// Where of a method
                fn a() {
                    /// That of a local item
                    const A: u8 = 0;
                }
            }
            macro_rules! a { () => { /// Whom of a macro's body
                struct C; } }
            a! { /// What of a macro's argument
                A = 1; }
        ";
        assert_eq!(
            listed(text),
            [
                "a/src/lib.rs:3: Those of a field",
                "a/src/lib.rs:8: Who of a variant",
                "a/src/lib.rs:9: Which of a field in a variant",
                "a/src/lib.rs:12: Where of a method",
                "a/src/lib.rs:14: That of a local item",
                "a/src/lib.rs:18: Whom of a macro's body",
                "a/src/lib.rs:20: What of a macro's argument",
            ]
        );
    }

    #[test]
    fn whether_is_for_bool() {
        let text = "
            /// Whether it is so.
            pub const fn a(b: u8, c: bool) -> bool { true }
            /// Whether it is so.
            fn b() -> Result<bool, Error>;
            /// Whether it is so.
            fn b<A: Fn(u8) -> u8, B: Iterator<Item = u8>>(b: B) -> bool where A: Copy { true }
            /// Whether it is so.
            pub const C: bool = true;
            struct D {
                /// Whether it is so.
                pub(crate) d: bool,
                /// Whether it is so.
                maybe: Option<bool>,
                /// Whether it is so.
                shared: AtomicBool,
                /// Whether this word is wrong
                e: u8,
                f: bool,
            }
            /// Whether this function is wrong
            fn g<F: Fn(u8) -> bool>(h: u8) -> u8 { let h: bool = true; 0 }
            /// Whether this one is
            fn i() {}
        ";
        assert_eq!(
            listed(text),
            [
                "a/src/lib.rs:17: Whether this word is wrong",
                "a/src/lib.rs:21: Whether this function is wrong",
                "a/src/lib.rs:23: Whether this one is",
            ]
        );
    }

    #[test]
    fn an_inner_comment_ends_before_an_outer_one() {
        assert_eq!(
            listed("//! A module.\n/// What is there.\nstruct A;"),
            ["a/src/lib.rs:2: What is there."]
        );
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let report = check(&tree(&[("a/lib.rs", "fn a(\n")]), false);
        assert!(
            report.errors[0].starts_with("a/lib.rs:"),
            "{:?}",
            report.errors
        );
        assert!(report.errors[0].contains(": cannot be read: "));
    }
}
