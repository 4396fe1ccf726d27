//! Constants: code that runs in the compiler, where no mutant can be chosen.

use std::collections::{HashMap, HashSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Block, Expr, ExprRepeat, GenericArgument, ImplItemConst, ImplItemFn, ItemConst, ItemFn,
    ItemMacro, ItemStatic, Lit, Signature, TraitItemConst, Type, TypeArray, Variant,
    visit::{self, Visit},
};

/// Constants of a crate, by name.
#[derive(Default)]
pub(super) struct Constants {
    /// Names that code needs which runs in the compiler.
    needed: HashSet<String>,
    /// Names in the bodies of functions that are `const`.
    bodies: HashMap<String, HashSet<String>>,
    /// Integers: true for a plain number, false for one that is computed. None for a name that is also that of something else.
    integers: HashMap<String, Option<bool>>,
}

impl Constants {
    /// Reads a file of the crate, or of a crate that uses it.
    pub(super) fn read(&mut self, file: &syn::File) {
        self.visit_file(file);
    }

    /// Takes functions for needed that needed ones call.
    pub(super) fn finish(&mut self) {
        let mut pending: Vec<_> = self.needed.iter().cloned().collect();
        while let Some(name) = pending.pop() {
            for name in self.bodies.remove(&name).into_iter().flatten() {
                if self.needed.insert(name.clone()) {
                    pending.push(name);
                }
            }
        }
    }

    /// Whether a function runs only when the program does, although it is `const`.
    pub(super) fn may_run_late(&self, function: &str) -> bool {
        !self.needed.contains(function)
    }

    /// Whether a name is that of a constant integer: Some(true) if it is a plain number.
    pub(super) fn integer(&self, name: &str) -> Option<bool> {
        self.integers.get(name).copied().flatten()
    }

    fn need(&mut self, tokens: impl ToTokens) {
        names(tokens.to_token_stream(), &mut self.needed);
    }

    fn function(&mut self, signature: &Signature, body: &Block) {
        if signature.constness.is_some() {
            let known = self.bodies.entry(signature.ident.to_string());
            names(body.to_token_stream(), known.or_default());
        }
    }

    fn constant(&mut self, name: &syn::Ident, of: &Type, value: &Expr) {
        self.need(value);
        let of = of.to_token_stream().to_string();
        let is_integer = ["u8", "u16", "u32", "u64", "usize"].contains(&of.as_str());
        let is_plain = matches!(value, Expr::Lit(lit) if matches!(lit.lit, Lit::Int(_)));
        let kind = is_integer.then_some(is_plain);
        self.integers
            .entry(name.to_string())
            .and_modify(|known| *known = known.and(kind))
            .or_insert(kind);
    }
}

impl<'a> Visit<'a> for Constants {
    fn visit_item_const(&mut self, item: &'a ItemConst) {
        self.constant(&item.ident, &item.ty, &item.expr);
    }

    fn visit_impl_item_const(&mut self, item: &'a ImplItemConst) {
        self.constant(&item.ident, &item.ty, &item.expr);
    }

    fn visit_trait_item_const(&mut self, item: &'a TraitItemConst) {
        self.need(item);
    }

    fn visit_item_static(&mut self, item: &'a ItemStatic) {
        self.need(&item.expr);
    }

    fn visit_item_macro(&mut self, item: &'a ItemMacro) {
        self.need(item);
    }

    fn visit_variant(&mut self, variant: &'a Variant) {
        self.need(variant);
    }

    fn visit_type_array(&mut self, array: &'a TypeArray) {
        self.need(&array.len);
    }

    fn visit_expr_repeat(&mut self, repeat: &'a ExprRepeat) {
        self.need(&repeat.len);
        self.visit_expr(&repeat.expr);
    }

    fn visit_generic_argument(&mut self, argument: &'a GenericArgument) {
        self.need(argument);
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_expr_const(&mut self, block: &'a syn::ExprConst) {
        self.need(block);
    }
}

/// Collects the names in some tokens.
fn names(tokens: TokenStream, found: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                found.insert(name.to_string());
            }
            TokenTree::Group(group) => names(group.stream(), found),
            _ => {}
        }
    }
}
