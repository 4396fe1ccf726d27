//! Search for mutations in a file.
//!
//! | code | mutants |
//! |---|---|
//! | `a && b`, `a \|\| b` | each operand missing |
//! | condition of `if`, guard of an arm | true; false, so that an early return is missing |
//! | `<`, `<=`, `>`, `>=` | with or without equality |
//! | `==`, `!=`, `!a` | the contrary |
//! | <code>a \| b</code>, `a & b`, `a ^ b` | each operand missing |
//! | `a + b`, `a - b` | `a` |
//! | integers, and constants that are integers | one more, or half more |
//! | assignment, call as a statement | missing |
//! | arm before the last one, `_` | missing |
//! | function that returns bool | true; false |
//!
//! A mutant is left out if each test that notices another one notices it, too: `!a` as a condition, instead of which `true`
//! and `false` stand. What runs in the compiler has no mutants.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use quote::ToTokens as _;
use syn::{
    Arm, BinOp, Block, Expr, ExprBinary, ExprIf, ExprMatch, File, ImplItem, Item, Lit, Pat, Path,
    ReturnType, Signature, Stmt, TraitItem, UnOp,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::{
    constants::Constants,
    mutation::{Form, Mutation},
};
use crate::checks::syntax;

/// Returns the mutations of a file, in order, and the text without `const` before functions that have some.
pub(super) fn find(
    path: &str,
    text: &str,
    file: &File,
    constants: &Constants,
) -> (Vec<Mutation>, String) {
    let mut finder = Finder {
        path,
        text,
        constants,
        function: String::new(),
        owner: String::new(),
        covered: false,
        late: HashSet::new(),
        names: HashMap::new(),
        found: Vec::new(),
        no_longer_const: Vec::new(),
    };
    finder.visit_file(file);
    let mut plain = text.to_owned();
    for range in finder.no_longer_const {
        // Nothing moves.
        plain.replace_range(range.clone(), &" ".repeat(range.len()));
    }
    (finder.found, plain)
}

struct Finder<'a> {
    path: &'a str,
    text: &'a str,
    constants: &'a Constants,
    function: String,
    /// Type of an `impl`, with `::`.
    owner: String,
    /// Whether the contrary of the next expression needs no mutant.
    covered: bool,
    /// Variables that are declared without a value, which no mutant may leave out.
    late: HashSet<String>,
    /// Number of mutations of each name.
    names: HashMap<String, usize>,
    found: Vec<Mutation>,
    no_longer_const: Vec<Range<usize>>,
}

impl<'a> Finder<'a> {
    /// Returns the code of a node on one line, without comments.
    fn code(&self, node: impl Spanned) -> String {
        let lines = self.text[node.span().byte_range()].lines();
        let code = lines.map(|line| line.split("//").next().unwrap_or_default());
        code.flat_map(str::split_whitespace)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn add(&mut self, node: impl Spanned, form: Form, original: &str, mutated: &str) {
        let span = node.span();
        self.add_at(
            span.byte_range(),
            span.start().line,
            form,
            original,
            mutated,
        );
    }

    fn add_at(
        &mut self,
        range: Range<usize>,
        line: usize,
        form: Form,
        original: &str,
        mutated: &str,
    ) {
        let mut mutation = Mutation {
            file: self.path.into(),
            line,
            function: self.function.clone(),
            original: original.into(),
            mutated: mutated.into(),
            occurrence: 1,
            range,
            form,
        };
        let count = self.names.entry(mutation.to_string()).or_default();
        *count += 1;
        mutation.occurrence = *count;
        self.found.push(mutation);
    }

    fn instead(&mut self, node: &Expr, other: String) {
        let code = self.code(node);
        self.add(node, Form::Instead(other.clone()), &code, &other);
    }

    fn visit_function(&mut self, signature: &'a Signature, body: &'a Block) {
        let name = signature.ident.to_string();
        if let Some(keyword) = signature.constness {
            if !self.constants.may_run_late(&name) {
                return;
            }
            self.no_longer_const.push(keyword.span().byte_range());
        }
        let outer = std::mem::replace(&mut self.function, format!("{}{name}", self.owner));
        if matches!(&signature.output, ReturnType::Type(_, of) if of.to_token_stream().to_string() == "bool")
        {
            let open = body.brace_token.span.open();
            let start = open.byte_range().end;
            let line = signature.span().start().line;
            for value in ["true", "false"] {
                self.add_at(start..start, line, Form::Returns(value), "body", value);
            }
        }
        self.visit_block(body);
        self.function = outer;
    }

    /// Visits a condition: of `if`, or of an arm.
    fn visit_condition(&mut self, condition: &'a Expr) {
        let code = format!("if {}", self.code(condition));
        let all = operands(condition, |op| matches!(op, BinOp::And(_)));
        let some = operands(condition, |op| matches!(op, BinOp::Or(_)));
        if all.iter().any(|operand| matches!(operand, Expr::Let(_))) {
            self.add(condition, Form::FalseLet, &code, "if false");
        } else {
            if some.len() == 1 {
                self.add(condition, Form::False, &code, "if false");
            }
            if all.len() == 1 {
                self.add(condition, Form::True, &code, "if true");
            }
        }
        self.covered = true;
        self.visit_expr(condition);
        self.covered = false;
    }

    /// Visits a chain of operands of one operator.
    fn visit_chain(&mut self, chain: &'a ExprBinary, operands: &[&'a Expr]) {
        let sign = chain.op.to_token_stream().to_string();
        let code = self.code(chain);
        for (index, operand) in operands.iter().enumerate() {
            let others = operands
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index);
            let others: Vec<_> = others.map(|(_, operand)| self.code(operand)).collect();
            let rest = others.join(&format!(" {sign} "));
            match chain.op {
                BinOp::And(_) if matches!(operand, Expr::Let(_)) => {}
                BinOp::And(_) => self.add(operand, Form::True, &code, &rest),
                BinOp::Or(_) => self.add(operand, Form::False, &code, &rest),
                _ => self.add(chain, Form::Instead(rest.clone()), &code, &rest),
            }
        }
        for operand in operands {
            self.covered = matches!(chain.op, BinOp::And(_) | BinOp::Or(_));
            self.visit_expr(operand);
            self.covered = false;
        }
    }

    fn visit_binary(&mut self, node: &'a Expr, binary: &'a ExprBinary, covered: bool) {
        let same = |op: &BinOp| {
            matches!(
                (op, &binary.op),
                (BinOp::And(_), BinOp::And(_))
                    | (BinOp::Or(_), BinOp::Or(_))
                    | (BinOp::BitOr(_), BinOp::BitOr(_))
                    | (BinOp::BitAnd(_), BinOp::BitAnd(_))
                    | (BinOp::BitXor(_), BinOp::BitXor(_))
            )
        };
        let operands = operands(node, same);
        if operands.len() > 1 {
            return self.visit_chain(binary, &operands);
        }
        let other = match binary.op {
            BinOp::Lt(_) => Some("<="),
            BinOp::Le(_) => Some("<"),
            BinOp::Gt(_) => Some(">="),
            BinOp::Ge(_) => Some(">"),
            BinOp::Eq(_) if !covered => Some("!="),
            BinOp::Ne(_) if !covered => Some("=="),
            _ => None,
        };
        let (left, right) = (self.code(&binary.left), self.code(&binary.right));
        if let Some(other) = other {
            self.instead(node, format!("{left} {other} {right}"));
        }
        // A number has mutants of its own.
        if matches!(binary.op, BinOp::Add(_) | BinOp::Sub(_))
            && !matches!(*binary.right, Expr::Lit(_))
        {
            self.instead(node, left);
        }
        self.visit_expr(&binary.left);
        self.visit_expr(&binary.right);
    }

    /// Whether a statement may be left out.
    fn is_optional(&self, statement: &Expr) -> bool {
        match statement {
            Expr::Call(_) | Expr::MethodCall(_) => true,
            Expr::Assign(assign) => !self
                .late
                .contains(&assign.left.to_token_stream().to_string()),
            Expr::Binary(binary) => is_assignment(&binary.op),
            Expr::Try(inner) => self.is_optional(&inner.expr),
            _ => false,
        }
    }
}

impl<'a> Visit<'a> for Finder<'a> {
    fn visit_item(&mut self, item: &'a Item) {
        if syntax::is_for_tests(syntax::attributes(item)) {
            return;
        }
        match item {
            Item::Fn(item) => self.visit_function(&item.sig, &item.block),
            Item::Impl(item) => {
                let of = item.self_ty.to_token_stream().to_string();
                self.owner = format!("{}::", of.split(' ').next().unwrap_or_default());
                for item in &item.items {
                    if let ImplItem::Fn(item) = item {
                        self.visit_function(&item.sig, &item.block);
                    }
                }
                self.owner.clear();
            }
            Item::Trait(item) => {
                self.owner = format!("{}::", item.ident);
                for item in &item.items {
                    if let TraitItem::Fn(item) = item
                        && let Some(body) = &item.default
                    {
                        self.visit_function(&item.sig, body);
                    }
                }
                self.owner.clear();
            }
            Item::Mod(_) => visit::visit_item(self, item),
            _ => {}
        }
    }

    fn visit_block(&mut self, block: &'a Block) {
        for statement in &block.stmts {
            match statement {
                Stmt::Local(local) => match &local.init {
                    Some(init) => self.visit_local_init(init),
                    None => {
                        self.late.insert(local.pat.to_token_stream().to_string());
                    }
                },
                Stmt::Item(item) => self.visit_item(item),
                Stmt::Expr(expression, semicolon) => {
                    if semicolon.is_some() && self.is_optional(expression) {
                        let code = self.code(statement);
                        self.add(statement, Form::Without, &code, "nothing");
                    }
                    self.visit_expr(expression);
                }
                Stmt::Macro(_) => {}
            }
        }
    }

    fn visit_expr(&mut self, node: &'a Expr) {
        let covered = std::mem::take(&mut self.covered);
        match node {
            Expr::Paren(inner) => {
                self.covered = covered;
                self.visit_expr(&inner.expr);
            }
            Expr::Binary(binary) => self.visit_binary(node, binary, covered),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                if !covered {
                    self.instead(node, self.code(&unary.expr));
                }
                self.covered = covered;
                self.visit_expr(&unary.expr);
            }
            Expr::Lit(literal) => {
                if let Lit::Int(number) = &literal.lit
                    && let Ok(value) = number.base10_parse::<u64>()
                {
                    self.instead(
                        node,
                        format!("{}{}", value.wrapping_add(1), number.suffix()),
                    );
                }
            }
            Expr::Path(path) => {
                if let Some(plain) =
                    constant(&path.path).and_then(|name| self.constants.integer(&name))
                {
                    let code = self.code(node);
                    let other = if plain {
                        format!("{code} + 1")
                    } else {
                        format!("{code} + {code} / 2 + 1")
                    };
                    self.instead(node, other);
                }
            }
            // A reference to a constant lives for ever, one to a computed value does not. A number that is cast has no type of its own.
            Expr::Reference(reference) if is_constant(&reference.expr) => {}
            Expr::Cast(cast) if is_constant(&cast.expr) => {}
            Expr::Let(binding) => self.visit_expr(&binding.expr),
            Expr::Closure(closure) => self.visit_expr(&closure.body),
            Expr::Repeat(repeat) => self.visit_expr(&repeat.expr),
            Expr::Const(_) | Expr::Macro(_) => {}
            _ => visit::visit_expr(self, node),
        }
    }

    fn visit_expr_if(&mut self, node: &'a ExprIf) {
        self.visit_condition(&node.cond);
        self.visit_block(&node.then_branch);
        if let Some((_, other)) = &node.else_branch {
            self.visit_expr(other);
        }
    }

    fn visit_expr_match(&mut self, node: &'a ExprMatch) {
        self.visit_expr(&node.expr);
        let has_rest = node
            .arms
            .last()
            .is_some_and(|arm| matches!(arm.pat, Pat::Wild(_)));
        for (index, arm) in node.arms.iter().enumerate() {
            if has_rest && index + 1 < node.arms.len() && !matches!(arm.pat, Pat::Guard(_)) {
                let span = arm.pat.span();
                let end = span.byte_range().end;
                let code = self.code(&arm.pat);
                self.add_at(end..end, span.start().line, Form::NoArm, &code, "no arm");
            }
            self.visit_arm(arm);
        }
    }

    fn visit_arm(&mut self, arm: &'a Arm) {
        if let Pat::Guard(pattern) = &arm.pat {
            self.visit_condition(&pattern.guard);
        }
        self.visit_expr(&arm.body);
    }

    /// A pattern has no mutants, nor has a type.
    fn visit_pat(&mut self, _: &'a Pat) {}

    fn visit_type(&mut self, _: &'a syn::Type) {}

    fn visit_path(&mut self, _: &'a Path) {}

    fn visit_generic_argument(&mut self, _: &'a syn::GenericArgument) {}

    fn visit_attribute(&mut self, _: &'a syn::Attribute) {}
}

/// Returns the operands of a chain of one operator, of which there is one if the expression is no such chain.
fn operands(node: &Expr, same: impl Fn(&BinOp) -> bool + Copy) -> Vec<&Expr> {
    match node {
        Expr::Binary(binary) if same(&binary.op) => {
            let mut all = operands(&binary.left, same);
            all.push(&binary.right);
            all
        }
        _ => vec![node],
    }
}

/// Returns the name of a constant of a module.
fn constant(path: &Path) -> Option<String> {
    let mut names = path
        .segments
        .iter()
        .rev()
        .map(|segment| segment.ident.to_string());
    let name = names.next()?;
    let of_type = names
        .next()
        .is_some_and(|owner| owner.starts_with(char::is_uppercase));
    (!of_type).then_some(name)
}

fn is_assignment(op: &BinOp) -> bool {
    matches!(
        op,
        BinOp::AddAssign(_)
            | BinOp::SubAssign(_)
            | BinOp::MulAssign(_)
            | BinOp::DivAssign(_)
            | BinOp::RemAssign(_)
            | BinOp::BitXorAssign(_)
            | BinOp::BitAndAssign(_)
            | BinOp::BitOrAssign(_)
            | BinOp::ShlAssign(_)
            | BinOp::ShrAssign(_)
    )
}

fn is_constant(node: &Expr) -> bool {
    matches!(
        node,
        Expr::Lit(_) | Expr::Path(_) | Expr::Array(_) | Expr::Repeat(_)
    ) && !matches!(node, Expr::Path(path) if path.path.to_token_stream().to_string().chars().any(char::is_lowercase))
}
