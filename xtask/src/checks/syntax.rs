//! Parts of Rust's syntax that more than one check reads.

use proc_macro2::{Delimiter, Group, TokenTree};
use syn::{Attribute, Item, Meta, Token, punctuated::Punctuated};

/// Parses a file. An error names the line.
pub(crate) fn parse(path: &str, text: &str) -> Result<syn::File, String> {
    syn::parse_file(text).map_err(|error| {
        let line = error.span().start().line;
        format!("{path}:{line}: cannot be parsed: {error}")
    })
}

/// Attributes of an item.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether one of the attributes keeps the item for tests: `cfg(test)`, or `cfg(all(test, ...))`.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Meta>()
                .is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(needs_test)),
        _ => false,
    }
}

/// Whether the token is this character of punctuation.
pub(super) fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether the token is this word.
pub(super) fn is_word(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == wanted)
}

/// An attribute at the start of some tokens: its brackets, and how many tokens it has.
pub(super) fn attribute(tokens: &[TokenTree]) -> Option<(&Group, usize)> {
    if !is_punct(tokens.first(), '#') {
        return None;
    }
    let hash = if is_punct(tokens.get(1), '!') { 2 } else { 1 };
    match tokens.get(hash) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some((group, hash + 1))
        }
        _ => None,
    }
}

/// Name of the item that a keyword at the start of some tokens begins: `Pod` of `struct Pod`.
pub(super) fn item_name(tokens: &[TokenTree]) -> Option<String> {
    const KEYWORDS: [&str; 9] = [
        "const", "enum", "fn", "mod", "static", "struct", "trait", "type", "union",
    ];
    match tokens {
        [TokenTree::Ident(keyword), TokenTree::Ident(name), ..]
            if KEYWORDS.iter().any(|word| keyword == word) =>
        {
            Some(name.to_string())
        }
        _ => None,
    }
}
