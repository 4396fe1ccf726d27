//! `abi`: the layout of the maps changes only together with [`ABI`](NUMBER), and counters are only appended.
//!
//! nat-common/abi.lock keeps the number, a hash of the layout, and the names of the counters in order. The hash covers
//! types, constants, enums and calls of macros, with their attributes `repr` and `cfg`. It leaves out what does not change
//! the bytes in a map: comments, functions, visibility, assertions (`const _`), tests, and the order of items and files.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Attribute, ImplItem, Item, TraitItem, Visibility, visit_mut::VisitMut};

use super::{
    Report, Source,
    syntax::{attribute, attributes, is_for_tests, is_punct, is_word, parse},
};

/// Files and folders of the types in maps. A path that does not exist is left out.
pub(super) const SOURCES: &[&str] = &[
    "nat-common/src/abi.rs",
    "nat-common/src/abi",
    // Endpoints are part of bindings and keys.
    "nat-common/src/endpoint.rs",
    // The agent reads slots, bindings and buckets in pinned maps by these.
    "nat-common/src/tables/slots.rs",
    "nat-common/src/tables/bindings.rs",
    "nat-common/src/tables/buckets.rs",
    // A record has a method as a number.
    "nat-common/src/sip/method.rs",
];

/// The lock file.
pub(super) const LOCK: &str = "nat-common/abi.lock";

/// The constant that numbers the layout.
const NUMBER: &str = "ABI";

/// The macro whose call lists the counters, each as `Variant = "name"` and more.
const COUNTERS: &str = "counters";

const WRITE: &str = "`cargo xtask check abi --write`";

/// Content of the lock file.
#[derive(Debug, PartialEq)]
struct Abi {
    number: u32,
    layout: String,
    counters: Vec<String>,
}

/// Compares the sources with the lock file.
pub(super) fn check(sources: &[Source], lock: Option<&str>) -> Report {
    let mut report = Report::default();
    let current = match Abi::of(sources) {
        Ok(current) => current,
        Err(errors) => {
            report.errors = errors;
            return report;
        }
    };
    report.summary = format!(
        "ABI {}, {} counters",
        current.number,
        current.counters.len()
    );
    let locked = match lock.map(Abi::parse) {
        Some(Ok(locked)) => locked,
        Some(Err(error)) => {
            report.errors.push(error);
            return report;
        }
        None => {
            report
                .errors
                .push(format!("{LOCK} is missing: {WRITE} makes it"));
            return report;
        }
    };
    report.errors = current.contradictions(&locked);
    if report.errors.is_empty() && current != locked {
        report.errors.push(if current.number == locked.number {
            let new = &current.counters[locked.counters.len()..];
            format!("counters were appended ({}): {WRITE}", new.join(", "))
        } else {
            format!(
                "{NUMBER} is {}, {LOCK} still says {}: {WRITE}",
                current.number, locked.number
            )
        });
    }
    report
}

/// Returns the text of a new lock file, unless it contradicts the last commit's.
pub(super) fn rewrite(sources: &[Source], committed: Option<&str>) -> Result<String, Vec<String>> {
    let current = Abi::of(sources)?;
    if let Some(committed) = committed {
        let committed = Abi::parse(committed).map_err(|error| vec![error])?;
        let errors = current.contradictions(&committed);
        if !errors.is_empty() {
            return Err(errors);
        }
    }
    Ok(current.text())
}

impl Abi {
    /// Reads the sources.
    fn of(sources: &[Source]) -> Result<Self, Vec<String>> {
        let mut reader = Reader::default();
        let mut errors = Vec::new();
        for source in sources {
            match parse(&source.path, &source.text) {
                Ok(file) => reader.items("", file.items),
                Err(error) => errors.push(error),
            }
        }
        if reader.number.is_none() {
            errors.push(format!(
                "nat-common/src/abi: no `const {NUMBER}: u32` with a number"
            ));
        }
        if reader.counters.is_empty() {
            errors.push(format!(
                "nat-common/src/abi: no `{COUNTERS}! {{ Variant = \"name\", ... }}`"
            ));
        }
        let (Some(number), []) = (reader.number, &errors[..]) else {
            return Err(errors);
        };
        reader.layout.sort();
        Ok(Self {
            number,
            layout: format!("{:016x}", fnv(reader.layout.join("\n").as_bytes())),
            counters: reader.counters,
        })
    }

    /// Reads a lock file.
    fn parse(text: &str) -> Result<Self, String> {
        let (mut number, mut layout, mut counters) = (None, None, Vec::new());
        for (at, line) in text.lines().enumerate() {
            match line.split_once(' ') {
                Some(("abi", value)) => number = value.parse().ok(),
                Some(("layout", value)) => layout = Some(value.into()),
                Some(("counter", value)) => counters.push(value.into()),
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => return Err(format!("{LOCK}:{}: not understood: {line}", at + 1)),
            }
        }
        match (number, layout) {
            (Some(number), Some(layout)) => Ok(Self {
                number,
                layout,
                counters,
            }),
            _ => Err(format!(
                "{LOCK}: needs a line `abi N` and a line `layout HEX`"
            )),
        }
    }

    /// Text of the lock file.
    fn text(&self) -> String {
        let mut text = format!(
            "# Written by {WRITE}: see xtask/src/checks/abi.rs.\nabi {}\nlayout {}\n",
            self.number, self.layout
        );
        for counter in &self.counters {
            text += &format!("counter {counter}\n");
        }
        text
    }

    /// Changes since an earlier state that need a higher number.
    fn contradictions(&self, before: &Self) -> Vec<String> {
        let mut errors = Vec::new();
        if self.number < before.number {
            errors.push(format!(
                "{NUMBER} is {}, and was {}: it only grows",
                self.number, before.number
            ));
        }
        if self.number != before.number {
            return errors;
        }
        if self.layout != before.layout {
            errors.push(format!(
                "nat-common/src/abi changed, {NUMBER} is still {}: raise `{NUMBER}` in nat-common/src/abi, then {WRITE}",
                self.number
            ));
        }
        let mut now = self.counters.iter();
        for (at, counter) in before.counters.iter().enumerate() {
            let now = now.next().map_or("nothing", String::as_str);
            if now != counter {
                errors.push(format!(
                    "counter {at} was {counter}, now it is {now}: append counters at the end, or raise `{NUMBER}`"
                ));
                break;
            }
        }
        errors
    }
}

/// Reader of items.
#[derive(Default)]
struct Reader {
    number: Option<u32>,
    counters: Vec<String>,
    /// Text of each item that is part of the layout.
    layout: Vec<String>,
}

impl Reader {
    /// Reads the items of a module whose path within its file is `path`.
    fn items(&mut self, path: &str, items: Vec<Item>) {
        for mut item in items {
            if is_for_tests(attributes(&item)) {
                continue;
            }
            Bare.visit_item_mut(&mut item);
            match item {
                Item::Const(item) if item.ident == NUMBER => {
                    self.number = number(&item.expr);
                }
                Item::Const(item) if item.ident == "_" => {}
                Item::Macro(item) if item.mac.path.is_ident(COUNTERS) => {
                    let tokens = item.mac.tokens.into_iter().collect::<Vec<_>>();
                    self.counters.extend(counter_names(&tokens));
                }
                Item::Const(_)
                | Item::Enum(_)
                | Item::Macro(_)
                | Item::Static(_)
                | Item::Struct(_)
                | Item::Type(_)
                | Item::Union(_) => self.add(path, item.to_token_stream()),
                Item::Impl(item) => {
                    let owner = item.self_ty.to_token_stream();
                    for constant in item.items {
                        if let ImplItem::Const(constant) = constant {
                            self.add(&format!("{path}{owner}::"), constant.to_token_stream());
                        }
                    }
                }
                Item::Trait(item) => {
                    for constant in item.items {
                        if let TraitItem::Const(constant) = constant {
                            let owner = format!("{path}{}::", item.ident);
                            self.add(&owner, constant.to_token_stream());
                        }
                    }
                }
                Item::Mod(item) => {
                    let path = format!("{path}{}::", item.ident);
                    self.items(
                        &path,
                        item.content.map(|(_, items)| items).unwrap_or_default(),
                    );
                }
                _ => {}
            }
        }
    }

    fn add(&mut self, path: &str, tokens: TokenStream) {
        let mut text = path.to_owned();
        write(tokens, &mut text);
        self.layout.push(text);
    }
}

/// Remover of visibility and of attributes other than `repr` and `cfg`, which do not change the layout.
struct Bare;

impl VisitMut for Bare {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| {
            attribute.path().is_ident("repr") || attribute.path().is_ident("cfg")
        });
    }

    fn visit_visibility_mut(&mut self, visibility: &mut Visibility) {
        *visibility = Visibility::Inherited;
    }
}

/// Writes tokens with one space between them, so that spaces and trailing commas of the source do not matter.
///
/// Macros may contain more than layout, so this leaves out functions, `impl` blocks, and attributes other than `repr` and
/// `cfg`.
fn write(tokens: TokenStream, text: &mut String) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if let Some((group, len)) = attribute(&tokens[at..]) {
            let name = group.stream().into_iter().next();
            if !is_word(name.as_ref(), "repr") && !is_word(name.as_ref(), "cfg") {
                at += len;
                continue;
            }
        }
        if let Some(len) = code(&tokens[at..]) {
            at += len;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => (" (", " )"),
                    Delimiter::Brace => (" {", " }"),
                    Delimiter::Bracket => (" [", " ]"),
                    Delimiter::None => ("", ""),
                };
                *text += open;
                write(group.stream(), text);
                *text += close;
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' && at + 1 == tokens.len() => {}
            token => {
                text.push(' ');
                *text += &token.to_string();
            }
        }
        at += 1;
    }
}

/// Length of the function or `impl` that some tokens begin, up to its body or semicolon.
fn code(tokens: &[TokenTree]) -> Option<usize> {
    let named = matches!(tokens.get(1), Some(TokenTree::Ident(_))) || is_punct(tokens.get(1), '$');
    let function = is_word(tokens.first(), "fn") && named;
    if !function && !is_word(tokens.first(), "impl") {
        return None;
    }
    let end = tokens.iter().position(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    });
    end.map(|end| end + 1)
}

/// Names in `Variant = "name"`.
fn counter_names(tokens: &[TokenTree]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1), tokens.get(at + 2)) {
            (TokenTree::Ident(_), equals, Some(TokenTree::Literal(name)))
                if is_punct(equals, '=') =>
            {
                if let syn::Lit::Str(name) = syn::Lit::new(name.clone()) {
                    names.push(name.value());
                }
            }
            // Brackets are those of an attribute.
            (TokenTree::Group(group), ..) if group.delimiter() != Delimiter::Bracket => {
                let inside: Vec<_> = group.stream().into_iter().collect();
                names.extend(counter_names(&inside));
            }
            _ => {}
        }
    }
    names
}

/// Value of an expression that is a number.
fn number(expression: &syn::Expr) -> Option<u32> {
    let syn::Expr::Lit(literal) = expression else {
        return None;
    };
    let syn::Lit::Int(number) = &literal.lit else {
        return None;
    };
    number.base10_parse().ok()
}

/// FNV-1a hash. Unlike the hash of `std`, it is the same in every version of Rust.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tree, *};

    const GOOD: &str = r#"
        //! Layouts.
        /// Number.
        pub const ABI: u32 = 5;
        /// A key.
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct Key {
            /// Hash.
            pub hash: u64,
            pub port: u32,
        }
        impl Key {
            pub const NONE: u64 = 0;
            pub fn is_none(&self) -> bool { self.hash == Self::NONE }
        }
        pub mod flag { pub const DIRECT: u16 = 1; }
        macro_rules! counters { ($($a:tt)*) => { #[repr(u32)] enum Counter {} impl Counter { fn a() {} } fn b() {} } }
        counters! {
            /// Ingress
            InNotIp = "in_not_ip", Ingress, "not IP";
            InSip = "in_sip", Ingress, "SIP";
        }
        const _: () = assert!(size_of::<Key>() == 16);
        #[cfg(test)]
        mod tests { const A: u8 = 0; }
    "#;

    fn abi(text: &str) -> Vec<Source> {
        tree(&[("nat-common/src/abi/mod.rs", text)])
    }

    /// Lock file of the good text.
    fn lock() -> String {
        rewrite(&abi(GOOD), None).unwrap()
    }

    /// The good text with one replacement.
    fn changed(from: &str, to: &str) -> Vec<Source> {
        assert!(GOOD.contains(from), "{from}");
        abi(&GOOD.replacen(from, to, 1))
    }

    fn errors(sources: &[Source]) -> Vec<String> {
        check(sources, Some(&lock())).errors
    }

    #[test]
    fn an_unchanged_layout_passes() {
        let report = check(&abi(GOOD), Some(&lock()));
        assert_eq!(report.errors, [""; 0]);
        assert_eq!(report.summary, "ABI 5, 2 counters");
    }

    #[test]
    fn the_lock_file_is_readable() {
        let lock = lock();
        let lines: Vec<_> = lock.lines().collect();
        assert!(lines[0].starts_with("# Written by `cargo xtask check abi --write`"));
        assert_eq!(lines[1], "abi 5");
        assert_eq!(lines[2].len(), "layout ".len() + 16);
        assert_eq!(lines[3..], ["counter in_not_ip", "counter in_sip"]);
    }

    #[test]
    fn other_parts_than_layout_may_change() {
        for (from, to) in [
            ("/// Hash.", "/// Hash of it."),
            ("#[derive(Clone, Copy)]", "#[derive(Clone)] #[must_use]"),
            ("pub port: u32,", "port: u32"),
            ("self.hash == Self::NONE", "false"),
            ("pub fn is_none", "pub fn is_nothing"),
            ("fn a() {}", "fn a() { 1 } fn c() {}"),
            ("fn b() {}", ""),
            ("\"not IP\"", "\"ARP\""),
            ("/// Ingress", "/// Packets in"),
            ("size_of::<Key>() == 16", "true"),
            ("const A: u8 = 0;", ""),
        ] {
            assert_eq!(errors(&changed(from, to)), [""; 0], "{from} -> {to}");
        }
    }

    #[test]
    fn items_may_move_between_files() {
        let flag = "pub mod flag { pub const DIRECT: u16 = 1; }";
        let (mut moved, flag) = (
            changed(flag, ""),
            tree(&[("nat-common/src/abi/flag.rs", flag)]),
        );
        moved.extend(flag);
        assert_eq!(errors(&moved), [""; 0]);
    }

    #[test]
    fn a_layout_changes_only_with_its_number() {
        for (from, to) in [
            ("pub port: u32", "pub port: u64"),
            ("pub port: u32", "pub hole: u32"),
            ("#[repr(C)]", ""),
            ("#[repr(u32)]", "#[repr(u8)]"),
            ("NONE: u64 = 0", "NONE: u64 = 1"),
            ("DIRECT: u16 = 1", "DIRECT: u16 = 2"),
            ("mod flag", "mod bit"),
        ] {
            assert_eq!(
                errors(&changed(from, to)),
                [
                    "nat-common/src/abi changed, ABI is still 5: raise `ABI` in nat-common/src/abi, then `cargo xtask check abi --write`"
                ],
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn a_new_number_wants_a_new_lock() {
        assert_eq!(
            errors(&changed("u32 = 5", "u32 = 6")),
            ["ABI is 6, nat-common/abi.lock still says 5: `cargo xtask check abi --write`"]
        );
        assert_eq!(
            errors(&changed("u32 = 5", "u32 = 4")),
            ["ABI is 4, and was 5: it only grows"]
        );
    }

    #[test]
    fn counters_are_only_appended() {
        let new = "InNew = \"in_new\", Ingress, \"new\";";
        assert_eq!(
            errors(&changed("InSip = ", &format!("{new} InSip = "))),
            ["counter 1 was in_sip, now it is in_new: append counters at the end, or raise `ABI`"]
        );
        assert_eq!(
            errors(&changed("InSip = \"in_sip\", Ingress, \"SIP\";", "")),
            ["counter 1 was in_sip, now it is nothing: append counters at the end, or raise `ABI`"]
        );
        let appended = changed("\"SIP\";", &format!("\"SIP\"; {new}"));
        assert_eq!(
            errors(&appended),
            ["counters were appended (in_new): `cargo xtask check abi --write`"]
        );
        let lock = rewrite(&appended, Some(&lock())).unwrap();
        assert_eq!(check(&appended, Some(&lock)).errors, [""; 0]);
    }

    #[test]
    fn a_lock_is_not_rewritten_for_the_same_number() {
        let lock = lock();
        assert!(rewrite(&changed("port: u32", "port: u64"), Some(&lock)).is_err());
        assert!(
            rewrite(
                &changed("InNotIp = \"in_not_ip\"", "A = \"a\""),
                Some(&lock)
            )
            .is_err()
        );
        let raised = GOOD.replace("u32 = 5", "u32 = 6");
        for text in [
            raised.replace("port: u32", "port: u64"),
            raised.replace("InNotIp = \"in_not_ip\"", "A = \"a\""),
        ] {
            let sources = abi(&text);
            let new = rewrite(&sources, Some(&lock)).unwrap();
            assert_eq!(check(&sources, Some(&new)).errors, [""; 0]);
        }
    }

    #[test]
    fn missing_parts_are_errors() {
        assert_eq!(
            check(&abi(GOOD), None).errors,
            ["nat-common/abi.lock is missing: `cargo xtask check abi --write` makes it"]
        );
        assert_eq!(
            check(&abi(GOOD), Some("abi five")).errors,
            ["nat-common/abi.lock: needs a line `abi N` and a line `layout HEX`"]
        );
        assert_eq!(
            check(&abi(GOOD), Some("abi 5\n<<<<")).errors,
            ["nat-common/abi.lock:2: not understood: <<<<"]
        );
        assert_eq!(
            check(&abi("struct A;"), Some(&lock())).errors,
            [
                "nat-common/src/abi: no `const ABI: u32` with a number",
                "nat-common/src/abi: no `counters! { Variant = \"name\", ... }`"
            ]
        );
    }
}
