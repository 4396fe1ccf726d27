//! Mutation: a small change of the source that some test should notice, and how both forms of the code stand side by side.

use std::{fmt, ops::Range};

/// A change of one place in a file.
#[derive(Debug)]
pub(super) struct Mutation {
    /// Path of the file, below the sources of its crate.
    pub(super) file: String,
    /// Line on which the code begins.
    pub(super) line: usize,
    /// Function that has the code.
    pub(super) function: String,
    /// Code as it is, on one line.
    pub(super) original: String,
    /// Code as the mutant has it.
    pub(super) mutated: String,
    /// Number among the mutations of the file with the same name; 1 for the first.
    pub(super) occurrence: usize,
    /// Bytes of the file that the change is about.
    pub(super) range: Range<usize>,
    /// Form of the change.
    pub(super) form: Form,
}

/// Form of a change, around the code that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A condition is true.
    True,
    /// A condition is false.
    False,
    /// A condition with `let` is false.
    FalseLet,
    /// An expression is another.
    Instead(String),
    /// A statement is missing.
    Without,
    /// A function, whose body begins here, returns a value at once.
    Returns(&'static str),
    /// An arm of a match, whose pattern ends here, is missing.
    NoArm,
}

impl Form {
    /// Returns what stands before and after the code, where `chosen` is an expression that is true in the mutant.
    pub(super) fn around(&self, chosen: &str) -> (String, String) {
        let (before, after) = match self {
            Self::True => (format!("({chosen} || ("), "))"),
            Self::False => (format!("(!{chosen} && ("), "))"),
            Self::FalseLet => (format!("!{chosen} && "), ""),
            Self::Instead(other) => (format!("(if {chosen} {{ {other} }} else {{ "), " })"),
            Self::Without => (format!("if !{chosen} {{ "), " }"),
            Self::Returns(value) => (format!(" if {chosen} {{ return {value}; }}"), ""),
            Self::NoArm => (format!(" if !{chosen}"), ""),
        };
        (before, after.into())
    }
}

/// Name that holds while other lines of the file change.
impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            function,
            original,
            mutated,
            occurrence,
            ..
        } = self;
        write!(f, "{file} {function}: {original} => {mutated}")?;
        if *occurrence > 1 {
            write!(f, " ({occurrence})")?;
        }
        Ok(())
    }
}
